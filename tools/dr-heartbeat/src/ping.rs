//! Pings alone, for hooks and scripts.

use std::io::Read;
use std::os::fd::AsFd;
use std::time::Instant;

use dr_pipe::{Exit, Failure, Outcome, redact, stop};
use rustix::fs::FileType;

use crate::args::{Args, usage};
use crate::ended::Ended;
use crate::pinger::{BODY_BYTES, News, Ping, Pinger};

/// As much of standard input is read: the end of it is sent.
const READ_BYTES: u64 = 1 << 20;

/// Pings.
pub fn ping(args: &Args) -> Outcome {
    stop::hint("who was pinged already knows of it");
    let Some(pinger) = Pinger::open(args)? else {
        return Err(usage("whom to ping is not said", "name the file of URLs with --ping-file, or set DR_PING_FILE"));
    };
    let news = match (args.start, args.fail, args.log) {
        (true, _, _) => News::Start,
        (_, true, _) => News::End(Ended::Badly("it has failed".into())),
        (_, _, true) => News::Log,
        _ => News::End(args.ended()?.unwrap_or(Ended::With(0))),
    };
    let known = [redact::environment(), pinger.secrets()].concat();
    let text = said()?.lines().map(|line| redact::line(line, &known)).collect::<Vec<_>>().join("\n");
    let end = Instant::now() + args.ping_patience();
    let answers = pinger.send(&Ping { news, run: None, text, took: None }, args.ping_patience()).wait(end, || false);
    let late = answers.is_err();
    let failed = answers.unwrap_or_else(|some| some).into_iter().filter_map(|(_, answer)| answer.err());
    // The one that says most comes last.
    match failed.max_by_key(|failure| failure.exit) {
        Some(failure) => Err(failure),
        None if late => Err(Failure::new(Exit::Unavailable, "no answer in time", "is the server up, and reached from this host?")),
        None => Ok(Exit::Good),
    }
}

/// What standard input says, where it is a file or a pipe; its end where it is long.
fn said() -> Result<String, Failure> {
    let input = std::io::stdin();
    if !is_given(&input) {
        return Ok(String::new());
    }
    let mut text = Vec::new();
    input.lock().take(READ_BYTES).read_to_end(&mut text).map_err(|error| Failure::io("standard input", &error))?;
    let from = text.len().saturating_sub(BODY_BYTES);
    Ok(String::from_utf8_lossy(&text[from..]).into_owned())
}

/// Whether somebody has put something there for us to read: a terminal, /dev/null and a socket are what we were started with.
pub fn is_given(input: &impl AsFd) -> bool {
    rustix::fs::fstat(input)
        .is_ok_and(|stat| matches!(FileType::from_raw_mode(stat.st_mode), FileType::Fifo | FileType::RegularFile))
}
