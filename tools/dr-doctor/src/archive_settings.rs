//! The verb: ask the server, print what it lacks, warn of what cannot work.

use std::io::Write;

use dr_pipe::{Exit, Failure, Outcome, warn};
use dr_postgres::Session;

use crate::args::Args;
use crate::examine::TOOL;
use crate::{command, conf, facts, settings, warnings};

/// Prints the lines of postgresql.conf that the server lacks, if there are any: 0. But 1 where archive_command names what is missing,
/// so that the lines would not do.
pub fn archive_settings(args: &Args, output: &mut impl Write) -> Outcome {
    let push = command::push()?;
    let archive_command = command::archive_command(&args.archive, &push)?;
    let conn = args.connect.resolve(TOOL, args.database.as_deref().or(Some("postgres")))?;
    let mut session = Session::connect(&conn, TOOL).map_err(|error| elsewhere(error.into(), args))?;
    let facts = facts::read(&mut session)?;
    let file = args.archive.env_file.as_ref().filter(|_| args.connect.host.is_none());
    let text = file.and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    if let (Some(file), Some(other)) = (file, settings::leads_elsewhere(&text, |name| std::env::var(name).ok())) {
        let how = format!("set -a; . {}; set +a comes before this, if that one is meant", file.display());
        warn(TOOL, format!("these lines are for the server that was asked, and {} has {other}: {how}", file.display()));
    }
    let lines = conf::lines(&facts, &archive_command);
    let missing = if facts.here { command::missing(&args.archive) } else { Vec::new() };
    for warning in warnings::warnings(&facts, &lines, &push).into_iter().chain(missing.clone()) {
        warn(TOOL, warning);
    }
    let text = conf::print(&lines, &facts);
    output.write_all(text.as_bytes()).and_then(|()| output.flush()).map_err(|error| Failure::io("standard output", &error))?;
    let fails = facts.here && !push.is_file() || !missing.is_empty();
    Ok(if fails { Exit::Bad } else { Exit::Good })
}

/// The file of settings is for the command that is printed: whoever has PGHOST in it may take it for read.
fn elsewhere(mut failure: Failure, args: &Args) -> Failure {
    if let Some(file) = &args.archive.env_file {
        failure.hint.push_str(&format!("; {0} is not read for this connection: set -a; . {0}; set +a does that", file.display()));
    }
    failure
}
