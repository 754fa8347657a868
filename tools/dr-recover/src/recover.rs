//! Recovers a cluster: plans, restores, and follows the server to its target.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use chrono::{DateTime, Utc};
use dr_crypt::Identities;
use dr_pipe::progress::Progress;
use dr_pipe::record::{self, Record};
use dr_pipe::{Exit, Failure, Outcome, stop, warn};

use dr_wal::{Timeline, WalName};

use crate::TOOL;
use crate::adapt;
use crate::args::{Action, Args};
use crate::choose::{Chosen, Goal};
use crate::heard::{Fetched, State};
use crate::isolation::Isolation;
use crate::plan::{self, Planned};
use crate::server::{self, Arrived, Followed, Launch};
use crate::write::Work;
use crate::{stores, told};

/// Does what the command line says.
///
/// # Errors
/// As dr-recover(1) lists them.
pub fn recover(args: &Args, now: impl Fn() -> DateTime<Utc>) -> Outcome {
    let started_at = now();
    let args = &settled(args)?;
    if !args.preflight {
        not_as_root()?;
    }
    if args.from.from.is_empty() {
        return Err(dr_catalogue::Error::NoStore.into());
    }
    stores::keep_away(&args.into, &args.from.from)?;
    // Of what is not encrypted nobody needs to be able to decrypt it.
    let named = !args.identities.identities.is_empty();
    let identities = named.then(|| Identities::read(&args.identities, TOOL)).transpose().map_err(no_identity)?;
    let planned = plan::plan(args, identities.as_ref())?;
    // Of a preflight root hears first what cannot be had.
    not_as_root()?;
    let plan = planned.record(args);
    // Programs that are named are looked at even where they only follow later.
    let launch = if args.start || args.bindir.is_some() { Some(launch(args, &planned)?).filter(|_| args.start) } else { None };
    let work = Work::prepare(&planned, args)?;
    if args.preflight {
        return told::print(&Record::Plan(Box::new(plan)));
    }
    let planned_at = now();
    stop::hint(format!("the same command goes on with {}; what is half made starts no server", args.into.display()));
    let progress = Progress::new(TOOL, Some(plan.restored_bytes));
    let written = work.write(planned_at, &progress)?;
    progress.finish();
    let restored_at = now();
    let mut recovered = record::Recovered {
        plan,
        state: "restored".into(),
        reached_lsn: None,
        reached_at: None,
        timeline: None,
        socket_dir: None,
        port: None,
        written_bytes: written.written_bytes,
        kept_bytes: written.kept_bytes,
        moved_aside: written.moved_aside.map(|path| path.display().to_string()),
        started_at,
        finished_at: restored_at,
        plan_seconds: seconds(started_at, planned_at),
        restore_seconds: seconds(planned_at, restored_at),
        replay_seconds: None,
    };
    if let Some(launch) = launch {
        let log = launch.data.join(server::LOG);
        stop::hint(format!("the server goes on by itself, and {} says how far it is", log.display()));
        start(&launch, args.wait)?;
        told::started(&mut recovered, &launch);
        if args.wait {
            let arrived = wait(&launch, &planned, &work)?;
            if arrived.state == State::Promoted {
                launch.enclose()?;
            }
            recovered.replay_seconds = Some(seconds(restored_at, now()));
            told::arrived(&mut recovered, &arrived);
        }
        recovered.finished_at = now();
    }
    if !args.standby && !args.isolated {
        warn(
            TOOL,
            "archive_mode is off in postgresql.auto.conf: turn it on before this server is used, as step 8 of dr-recovery(7) says",
        );
    }
    told::print(&Record::Recovered(Box::new(recovered)))
}

/// The setting by which a server, from 15 on, reads WAL before it replays it: to its target, and beyond.
pub const READ_AHEAD: &str = "recovery_prefetch";

/// What a shell reads as something else between the double quotes that pg_ctl puts around the path of a data directory. A server
/// would be looked for elsewhere, and its log written there.
const EXPANDED: &[u8] = b"$`\"\\";

/// What was asked for, with absolute paths, and with what an isolated server implies.
fn settled(args: &Args) -> Result<Args, Failure> {
    if args.isolated && args.target.target_action == Action::Pause {
        let hint = "leave --target-action out: what is isolated may be opened";
        return Err(Failure::new(Exit::Usage, "an isolated server does not pause: nobody may connect while it replays", hint));
    }
    let into = absolute(&args.into)?;
    let starts = args.start || args.isolated;
    if starts && into.as_os_str().as_bytes().iter().any(|byte| EXPANDED.contains(byte)) {
        let message =
            format!("{}: pg_ctl, and so the shell, reads $, `, \" and a backslash in a path as something else", into.display());
        return Err(Failure::new(Exit::Usage, message, "name a directory without them; nothing was written"));
    }
    Ok(Args {
        into,
        tablespaces_below: args.tablespaces_below.as_deref().map(absolute).transpose()?,
        start: starts,
        wait: args.wait || args.isolated,
        ..args.clone()
    })
}

fn not_as_root() -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        let hint = "run it as the user that runs the server: su postgres -c '…'; nothing was written";
        return Err(Failure::new(Exit::Config, "PostgreSQL does not run as root, and all files would be root's", hint));
    }
    Ok(())
}

/// Why an identity cannot be read, with the option that names another.
fn no_identity(error: dr_crypt::Error) -> Failure {
    let failure = Failure::from(error);
    match failure.exit {
        Exit::Missing => Failure { hint: "name the file of the identity with -i FILE; nothing was written".into(), ..failure },
        _ => failure,
    }
}

/// Starts the server. Of one that is followed, a setting that is too low will be raised, and tablespaces looked at.
fn start(launch: &Launch, followed: bool) -> Result<(), Failure> {
    match launch.start() {
        Err(_) if followed && launch.is_held_up() => Ok(()),
        started => started,
    }
}

/// Follows the server, and lets none stand that has not come as far as it was proved to be possible.
fn wait(launch: &Launch, planned: &Planned<'_>, work: &Work<'_>) -> Result<Arrived, Failure> {
    let segment_bytes = planned.survey.held.size.bytes();
    let progress = Progress::new(TOOL, Some(planned.chosen.segments as u64 * segment_bytes));
    let mut fetched = Fetched::new(segment_bytes, planned.chosen.segments);
    let (mut raised, mut released, mut reads_ahead) = (Vec::new(), false, planned.may_read_ahead(false));
    let arrived = loop {
        match launch.follow(&mut fetched, &progress)? {
            Followed::Arrived(arrived) => break arrived,
            Followed::Guarded => {
                if std::mem::replace(&mut released, true) {
                    return Err(launch.last_words());
                }
                work.release()?;
                start(launch, true)?;
            }
            Followed::Refused(failure) => {
                if !std::mem::take(&mut reads_ahead) {
                    return Err(failure);
                }
                warn(TOOL, format!("{}; it may have read ahead of its target: once more, without", failure.message));
                adapt::append(&launch.data.join("postgresql.auto.conf"), &format!("{READ_AHEAD} = off\n"))?;
                start(launch, true)?;
            }
            Followed::TooLow(name, value) => {
                launch.stop("immediate")?;
                let line = format!("{name} = '{value}'\n");
                if raised.contains(&line) {
                    let message = format!("the server does not go on: {name} must be {value} or more");
                    let hint = format!("nothing is lost: start it in {} with that setting", launch.data.display());
                    return Err(Failure::new(Exit::Config, message, hint));
                }
                warn(TOOL, format!("{name} was {value} when the WAL was written, more than at the backup: it is raised"));
                adapt::append(&launch.data.join("postgresql.auto.conf"), &line)?;
                raised.push(line);
                start(launch, true)?;
            }
        }
    };
    progress.finish();
    match short(&planned.chosen, &arrived) {
        None => {
            if let Some(timeline) = arrived.timeline {
                offer(&launch.data, timeline)?;
            }
            Ok(arrived)
        }
        Some(why) => {
            launch.stop("immediate")?;
            let hint = format!("the server was stopped: do not use {}; report this, with its log", launch.data.display());
            Err(Failure::new(Exit::Damaged, format!("the server ended its recovery too early: {why}"), hint))
        }
    }
}

/// Has the history of the new timeline archived as soon as archive_mode is on: PostgreSQL notes that it must be only where it is on
/// already, and WAL of a timeline of unknown origin is of little use.
fn offer(data: &Path, timeline: Timeline) -> Result<(), Failure> {
    let status = data.join("pg_wal/archive_status").join(format!("{}.ready", WalName::History(timeline)));
    adapt::file(&status, b"")
}

/// What is missing from where a server has come to; none where it is where it was to go.
fn short(chosen: &Chosen, arrived: &Arrived) -> Option<String> {
    if chosen.goal != Goal::End && !arrived.stopped {
        return Some("it did not stop at its target".into());
    }
    let at_least = if chosen.inclusive || chosen.goal == Goal::End { chosen.at_least } else { chosen.base.stop };
    match arrived.lsn {
        Some(lsn) if lsn < at_least => Some(format!("at {lsn}, and the WAL goes on to {at_least}")),
        None if arrived.state == State::Promoted => Some("nobody knows where".into()),
        _ => None,
    }
}

fn launch(args: &Args, planned: &Planned<'_>) -> Result<Launch, Failure> {
    let major = planned.major().ok_or_else(|| {
        let message = format!("{} does not say which PostgreSQL it is of", planned.manifest.name);
        Failure::new(Exit::Config, message, "start the server yourself: leave --start and --bindir out; nothing was written")
    })?;
    let socket_dir = args.socket_dir.as_deref().map_or_else(|| Ok(args.into.clone()), absolute)?;
    Ok(Launch {
        pg_ctl: Launch::programs(args.bindir.as_deref(), major)?,
        data: args.into.clone(),
        port: args.port,
        listen: args.listen.clone(),
        isolation: args.isolated.then(|| Isolation::prepare(major, &socket_dir)).transpose()?,
        socket_dir,
    })
}

fn absolute(path: &Path) -> Result<std::path::PathBuf, Failure> {
    // Without a slash at its end, so that its name can be told.
    let path: std::path::PathBuf = path.components().collect();
    std::path::absolute(&path).map_err(|error| Failure::io(path.display(), &error))
}

fn seconds(from: DateTime<Utc>, to: DateTime<Utc>) -> f64 {
    (to - from).num_milliseconds() as f64 / 1000.0
}
