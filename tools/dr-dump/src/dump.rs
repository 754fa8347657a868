//! The verb: what is read, in which order, and when it may be vouched for.

use std::fs::File;

use chrono::Utc;
use dr_archive::{Finished, Options, Writer};
use dr_pipe::progress::Progress;
use dr_pipe::record::{Kind, Produced, Receipt, Record, Start};
use dr_pipe::{Exit, Failure, Outcome, Receipts, TallyWriter, stream, warn};
use dr_postgres::about::{About, Scope};
use dr_postgres::clients::Clients;
use dr_postgres::conninfo::ConnInfo;
use dr_postgres::reading::{Reader, Reading};
use dr_postgres::relations::Relation;
use dr_postgres::snapshot::Snapshot;
use dr_postgres::{large_objects, server};

use crate::args::Args;
use crate::ddl::Ddl;
use crate::members;
use crate::sink::ArchiveSink;

/// The tool's name, in receipts, warnings and `application_name`.
pub const TOOL: &str = "dr-dump";
/// What the stream is, as a file name suffix.
const SUFFIX: &str = "tar.zst";

/// Dumps the database that `args` name to `output`, and leaves the receipt once all of it is written.
pub fn dump(args: &Args, output: File) -> Outcome {
    let started_at = Utc::now();
    let mut receipts = Receipts::open(args.receipt.receipt.as_deref())?;
    receipts.append(&Record::Start(Start { tool: TOOL.into(), started_at, kind: Some(Kind::Dump), suffix: SUFFIX.into() }))?;
    let conn = args.connect.resolve(TOOL, args.database.as_deref())?;
    let mut snapshot = Snapshot::take(&conn, TOOL, &args.scope, &args.snapshot)?;
    // Of several hosts, everybody must go to the one that holds the snapshot.
    let conn = snapshot.session.conninfo().clone();
    let clients = Clients::find_for_dump(snapshot.session.server_version(), args.pg_dump.as_deref())?;
    if clients.pg_dump.version.major > snapshot.session.server_major() {
        warn(
            TOOL,
            format!("definitions come from {}, newer than the server: an older server may not read them again", clients.pg_dump),
        );
    }
    let objects = if args.schema_only || args.scope.selects() { Vec::new() } else { large_objects::list(&mut snapshot.session)? };
    let about = describe(args, &conn, &clients, &mut snapshot, objects.len())?;
    if !args.allow_empty && !args.schema_only && about.tables.is_empty() {
        return Err(empty(&about, "has no tables"));
    }
    let (extent, finished, reading) = write(args, &conn, &clients, &mut snapshot, &about, &objects, output)?;
    receipts.append(&Record::Receipt(Box::new(Receipt {
        tool: TOOL.into(),
        version: env!("CARGO_PKG_VERSION").into(),
        started_at,
        finished_at: Utc::now(),
        input: None,
        output: Some(extent),
        produced: Some(produced(about, &finished, &reading)),
        encrypted: None,
        pushed: None,
    })))?;
    Ok(Exit::Good)
}

fn write(
    args: &Args,
    conn: &ConnInfo,
    clients: &Clients,
    snapshot: &mut Snapshot,
    about: &About,
    objects: &[u32],
    output: File,
) -> Result<(dr_pipe::record::Extent, Finished, Reading), Failure> {
    let expected = about.tables.iter().map(|table| table.estimated_bytes).sum();
    let progress = Progress::new(TOOL, (!args.schema_only).then_some(expected));
    let workers = args.jobs.workers();
    let options = Options { level: args.level, window: workers + 2, ..Options::new(about.taken_at.timestamp().unsigned_abs()) };
    let archive = Writer::new(TallyWriter::new(output), options);
    members::head(&archive, about, &mut snapshot.session, objects)?;
    // What the dump is stands before what is in it.
    archive.flush_small()?;
    let no_data = members::without_data(&snapshot.relations);
    let ddl = Ddl { conn, clients, args, snapshot_id: snapshot.id.clone(), relations: relation_oids(&snapshot.relations) };
    let reading = std::thread::scope(|scope| {
        // DDL is read beside the data: pg_dump takes its locks while ours are fresh, and its time costs nothing.
        let ddl = scope.spawn(|| ddl.write(&archive));
        let sink = ArchiveSink::new(&archive, &snapshot.relations);
        if args.schema_only {
            snapshot.relations = no_data;
        }
        let reading = Reader { tool: TOOL, conn, workers, sink: &sink, progress: &progress }.read(snapshot, objects);
        let ddl = ddl.join().expect("a panic ends the process (dr_pipe::run)");
        // Whichever failed first made the archive fail for the other: the reader's own word is nearer to the cause.
        reading.and_then(|reading| ddl.map(|()| reading))
    })?;
    if !args.allow_empty && !args.schema_only && reading.rows == 0 && members::rows_expected(&mut snapshot.session, about)? {
        return Err(empty(about, "has not one row in any table, though its statistics say there should be some"));
    }
    members::tail(&archive, &reading)?;
    let (out, finished) = archive.finish()?;
    progress.finish();
    let extent = out.tally().extent();
    stream::settle(&out.into_inner())?;
    Ok((extent, finished, reading))
}

fn describe(args: &Args, conn: &ConnInfo, clients: &Clients, snapshot: &mut Snapshot, objects: usize) -> Result<About, Failure> {
    let session = &mut snapshot.session;
    let about = About {
        format: 1,
        tool: format!("{TOOL} {}", env!("CARGO_PKG_VERSION")),
        pg_dump: clients.pg_dump.to_string(),
        database: conn.database().to_owned(),
        taken_at: snapshot.taken_at,
        server: server::facts(session)?,
        properties: server::properties(session)?,
        roles: server::roles(session)?,
        tablespaces: server::tablespaces(session)?,
        extensions: if args.scope.selects() { Vec::new() } else { server::extensions(session)? },
        scope: Scope { schema_only: args.schema_only, partial: args.scope.is_partial() },
        tables: members::tables(&snapshot.relations, args.schema_only),
        large_objects: objects as u64,
        sequences: snapshot
            .relations
            .iter()
            .filter(|relation| relation.kind == dr_postgres::relations::RelationKind::Sequence)
            .count() as u64,
    };
    for extension in members::unregistered(&mut snapshot.session)? {
        warn(TOOL, format!("rows of {extension} are not dumped: its extension has not registered the table for dumps"));
    }
    Ok(about)
}

fn produced(about: About, finished: &Finished, reading: &Reading) -> Produced {
    Produced {
        kind: Kind::Dump,
        taken_at: about.taken_at,
        suffix: SUFFIX.into(),
        host: host(),
        database: Some(about.database),
        server_version: Some(about.server.version),
        system_identifier: about.server.system_identifier,
        command: None,
        plain_bytes: Some(finished.plain_bytes),
        tables: Some(about.tables.len() as u64),
        rows: Some(reading.rows),
        archive: Some(finished.root),
    }
}

fn empty(about: &About, what: &str) -> Failure {
    Failure::new(
        Exit::Missing,
        format!("database {:?} {what}", about.database),
        "is it the right database? --allow-empty takes it as it is",
    )
}

fn relation_oids(relations: &[Relation]) -> Vec<(u32, String)> {
    let own = |relation: &&Relation| relation.is_lockable() && relation.extension.is_none();
    relations.iter().filter(own).map(|relation| (relation.oid, relation.qualified())).collect()
}

fn host() -> Option<String> {
    let name = rustix::system::uname();
    name.nodename().to_str().ok().map(str::to_owned)
}
