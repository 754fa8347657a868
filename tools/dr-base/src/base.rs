//! The verb: which way a backup is taken, and when it may be vouched for.

use chrono::Utc;
use dr_pipe::record::{Kind, Produced, Receipt, Record, Start, WalKept};
use dr_pipe::{Exit, Failure, Outcome, Output, Receipts, warn};
use dr_postgres::{Session, settings};
use dr_store::Store;

use crate::args::Args;
use crate::facts::Facts;
use crate::local::{self, Plan, Taken};
use crate::{TOOL, remote, wal};

/// What the stream is, as a file name suffix.
const SUFFIX: &str = "tar.zst";

/// Backs up the cluster that `args` name to `output`, and leaves the receipt once all of it is written, and its WAL is safe.
pub fn base(args: &Args, output: Output) -> Outcome {
    let started_at = Utc::now();
    let mut receipts = Receipts::open(args.receipt.receipt.as_deref())?;
    receipts.append(&Record::Start(Start { tool: TOOL.into(), started_at, kind: Some(Kind::Base), suffix: SUFFIX.into() }))?;
    let conn = args.connect.resolve(TOOL, args.database.as_deref())?;
    let mut session = Session::connect(&conn, TOOL)?;
    settings::for_reading(&mut session, false)?;
    let facts = Facts::read(&mut session)?;
    let wal = wal::plan(&args.wal, facts.archives, facts.in_recovery)?;
    let open = |location| Store::open_for_read(location, &args.wal.store);
    let stores = args.wal.from.iter().filter(|_| wal == WalKept::Verified).map(open).collect::<Result<_, _>>()?;
    let plan = Plan { args, facts, wal, stores };
    let taken = take(&plan, session, output)?;
    let damaged_pages = taken.base.damaged_pages;
    receipts.append(&Record::Receipt(Box::new(Receipt {
        output: Some(taken.extent),
        produced: Some(produced(&plan.facts, taken)),
        ..Receipt::new(TOOL, env!("CARGO_PKG_VERSION"), started_at, Utc::now())
    })))?;
    if damaged_pages == 0 { Ok(Exit::Good) } else { Err(suspect(damaged_pages)) }
}

/// Reads the files here, if they are here; else has pg_basebackup read them.
fn take(plan: &Plan<'_>, session: Session, output: Output) -> Result<Taken, Failure> {
    if plan.args.remote {
        return remote::take(plan, session, output);
    }
    let told = plan.args.pgdata.as_ref();
    let here = match told.or(plan.facts.data_directory.as_ref()) {
        Some(pgdata) => local::data_directory(pgdata, &plan.facts),
        None => {
            Err(Failure::new(Exit::Denied, "the role may not know where the data directory is", "GRANT pg_read_all_settings TO it"))
        }
    };
    match here {
        Ok(pgdata) => local::take(plan, session, &pgdata, output),
        Err(failure) if told.is_some() => Err(failure),
        Err(failure) => {
            warn(TOOL, format!("{}; pg_basebackup reads the files (--remote is silent)", failure.message));
            remote::take(plan, session, output)
        }
    }
}

fn produced(facts: &Facts, taken: Taken) -> Produced {
    let stopped_at = taken.base.stopped_at;
    Produced {
        host: Some(dr_pipe::host::name()),
        server_version: Some(facts.server_version),
        system_identifier: Some(facts.system_identifier.clone()),
        plain_bytes: Some(taken.finished.plain_bytes),
        archive: Some(taken.finished.root),
        base: Some(taken.base),
        ..Produced::new(Kind::Base, stopped_at, SUFFIX)
    }
}

/// Damage on the server's disk is no reason to have no backup, and a reason to be told.
fn suspect(damaged_pages: u64) -> Failure {
    Failure::new(
        Exit::Damaged,
        format!("{damaged_pages} pages of the cluster are damaged: their checksums are wrong"),
        "find the tables with pg_amcheck, and look at the disk; keep older backups; this one is kept, but suspect",
    )
}
