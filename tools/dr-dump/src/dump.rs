//! The verb: what is read, in which order, and when it may be vouched for.

use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};

use chrono::Utc;
use dr_archive::{Finished, Options, Writer};
use dr_pipe::progress::Progress;
use dr_pipe::record::{Extent, Kind, Produced, Receipt, Record, Start};
use dr_pipe::{Exit, Failure, Outcome, Output, Receipts, TallyWriter, stream, warn};
use dr_postgres::about::{About, Scope};
use dr_postgres::clients::Clients;
use dr_postgres::conninfo::ConnInfo;
use dr_postgres::reading::{Reader, Reading};
use dr_postgres::relations::{self, Relation};
use dr_postgres::snapshot::Snapshot;
use dr_postgres::{large_objects, server};

use crate::TOOL;
use crate::args::Args;
use crate::ddl::Ddl;
use crate::members;
use crate::sink::ArchiveSink;

/// What the stream is, as a file name suffix.
const SUFFIX: &str = "tar.zst";

/// Dumps the database that `args` name to `output`, and leaves the receipt once all of it is written.
pub fn dump(args: &Args, output: Output) -> Outcome {
    let started_at = Utc::now();
    let mut receipts = Receipts::open(args.receipt.receipt.as_deref())?;
    receipts.append(&Record::Start(Start { tool: TOOL.into(), started_at, kind: Some(Kind::Dump), suffix: SUFFIX.into() }))?;
    let conn = args.connect.resolve(TOOL, args.database.as_deref())?;
    let mut snapshot = Snapshot::take(&conn, TOOL, &args.scope, &args.snapshot)?;
    // Of several hosts, everybody must go to the one that holds the snapshot.
    let conn = snapshot.session.conninfo().clone();
    if args.binary {
        relations::prefer_binary(&mut snapshot.session, &mut snapshot.relations)?;
    }
    let clients = Clients::find_for_dump(snapshot.session.server_version(), args.pg_dump.as_deref())?;
    if clients.pg_dump.version.major > snapshot.session.server_major() {
        warn(
            TOOL,
            format!("definitions come from {}, newer than the server: an older server may not read them again", clients.pg_dump),
        );
    }
    let objects = if args.schema_only || args.scope.selects() { Vec::new() } else { large_objects::list(&mut snapshot.session)? };
    let about = describe(args, &conn, &clients, &mut snapshot, objects.len())?;
    let dump = Dump { args, conn, clients, about, objects };
    dump.has_tables()?;
    let (extent, finished, reading) = dump.write(&mut snapshot, output)?;
    receipts.append(&Record::Receipt(Box::new(Receipt {
        output: Some(extent),
        produced: Some(produced(dump.about, &finished, &reading)),
        ..Receipt::new(TOOL, env!("CARGO_PKG_VERSION"), started_at, Utc::now())
    })))?;
    Ok(Exit::Good)
}

/// What is dumped, from where, and by whom.
struct Dump<'a> {
    args: &'a Args,
    conn: ConnInfo,
    clients: Clients,
    about: About,
    objects: Vec<u32>,
}

impl Dump<'_> {
    /// Writes the whole archive. What was written counts only once this has succeeded.
    fn write(&self, snapshot: &mut Snapshot, output: Output) -> Result<(Extent, Finished, Reading), Failure> {
        let taken_at = self.about.taken_at.timestamp().unsigned_abs();
        let options = Options { level: self.args.level, window: self.args.jobs.workers() + 2, ..Options::new(taken_at) };
        let archive = Writer::new(TallyWriter::new(output), options);
        members::head(&archive, &self.about, &mut snapshot.session, &self.objects)?;
        // What the dump is stands before what is in it.
        archive.flush_small()?;
        let reading = self.read(snapshot, &archive)?;
        self.has_rows(snapshot, &reading)?;
        members::tail(&archive, &reading)?;
        let (out, finished) = archive.finish()?;
        let extent = out.tally().extent();
        stream::settle(&out.into_inner())?;
        Ok((extent, finished, reading))
    }

    /// Reads rows and definitions, side by side: pg_dump reads on the session that holds the locks, which has little else to do.
    fn read<W: Write + Send>(&self, snapshot: &mut Snapshot, archive: &Writer<W>) -> Result<Reading, Failure> {
        let Dump { args, conn, clients, about, objects } = self;
        let expected = about.tables.iter().map(|table| table.estimated_bytes).sum();
        let progress = Progress::new(TOOL, (!args.schema_only).then_some(expected));
        let encoding = snapshot.session.parameter("server_encoding").unwrap_or("UTF8").to_owned();
        let ddl = Ddl::new(conn, clients, args, encoding, relation_oids(&snapshot.relations))?;
        // Rows without definitions are no backup: no more of them are read then.
        let undefined = AtomicBool::new(false);
        let sink = ArchiveSink::new(archive, &snapshot.relations, &undefined);
        if args.schema_only {
            snapshot.relations = members::without_data(&snapshot.relations);
        }
        let (reading, written) = std::thread::scope(|scope| {
            let writing = scope.spawn(|| ddl.write(archive).inspect_err(|_| undefined.store(true, Ordering::Relaxed)));
            let reader = Reader { tool: TOOL, conn, workers: args.jobs.workers(), sink: &sink, progress: &progress };
            let reading =
                reader.read_while(snapshot, objects, |session, stop| ddl.lend(session, stop)).inspect_err(|_| ddl.abandon());
            (reading, writing.join().expect("a panic ends the process (dr_pipe::run)"))
        });
        progress.finish();
        let reading = match (reading, written) {
            (Err(stopped), Err(failure)) if ArchiveSink::<W>::has_given_up(&stopped) => return Err(failure),
            // Whichever failed first made the archive fail for the other: the reader's own word is nearer to the cause.
            (reading, written) => reading.and_then(|reading| written.map(|()| reading))?,
        };
        // Once more: rows were read until now.
        ddl.prove_unchanged(&mut snapshot.session)?;
        Ok(reading)
    }

    fn has_tables(&self) -> Result<(), Failure> {
        // Sequences that were asked for by name have values of their own.
        let sequences = self.args.scope.selects() && self.about.sequences > 0;
        let may_be_empty = self.args.allow_empty || self.args.schema_only || sequences;
        if may_be_empty || !self.about.tables.is_empty() { Ok(()) } else { Err(empty(&self.about, "has no tables")) }
    }

    fn has_rows(&self, snapshot: &mut Snapshot, reading: &Reading) -> Result<(), Failure> {
        let may_be_empty = self.args.allow_empty || self.args.schema_only || reading.rows > 0;
        if may_be_empty || !members::rows_expected(&mut snapshot.session, &self.about)? {
            return Ok(());
        }
        Err(empty(&self.about, "has not one row in any table, though its statistics say there should be some"))
    }
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
    let only = match about.scope {
        Scope { schema_only: true, .. } => Some("schema"),
        Scope { partial: true, .. } => Some("part"),
        Scope { .. } => None,
    };
    Produced {
        host: Some(dr_pipe::host::name()),
        database: Some(about.database),
        only: only.map(str::to_owned),
        server_version: Some(about.server.version),
        system_identifier: about.server.system_identifier,
        plain_bytes: Some(finished.plain_bytes),
        tables: Some(about.tables.len() as u64),
        rows: Some(reading.rows),
        archive: Some(finished.root),
        ..Produced::new(Kind::Dump, about.taken_at, SUFFIX)
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
