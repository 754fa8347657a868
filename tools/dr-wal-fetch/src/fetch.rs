//! Answers one question of a recovering server: where is this file of WAL?

use std::sync::{Arc, mpsc};
use std::time::Duration;

use dr_pipe::{Exit, Failure, Outcome, warn};
use dr_wal::{Got, WalName};

use crate::args::Args;
use crate::queue::Queue;
use crate::server::Server;
use crate::{ahead, ask, place};

/// The tool's name.
pub const TOOL: &str = "dr-wal-fetch";

/// Writes the file NAME under PATH, whole and verified, or says that it is proven absent. What was fetched ahead is taken from
/// the spool; nothing that happens there becomes an answer.
pub fn fetch(args: Args) -> Outcome {
    let server = Server::of(&args.path);
    let queue = server.as_ref().and_then(|server| Queue::of(&args, server));
    if args.keep_ahead {
        return ahead::keep(&args, server.as_ref(), queue.as_ref());
    }
    let args = Arc::new(args);
    let left = |failure: Failure| failure.leaving(format!("{} was not written", args.path.display()));
    let taken = queue.as_ref().and_then(|queue| queue.take(&args.name, &args.path));
    let bytes = match taken {
        Some(bytes) => bytes,
        None => match ask_in_time(&args, server).map_err(left)? {
            got if !is_as_planned(&args, got.as_ref()) => return Err(left(vanished(&args))),
            None => return Ok(Exit::Bad),
            Some(got) => {
                place::write(&args.path, &got.bytes).map_err(left)?;
                if let Some(reached) = got.partial {
                    warn(TOOL, format!("{} was never finished: its first {reached} bytes were streamed, zeros follow", args.name));
                    return Ok(Exit::Good);
                }
                got.bytes.len() as u64
            }
        },
    };
    if let (Some(queue), WalName::Segment(segment)) = (&queue, args.name) {
        queue.refill(segment, bytes);
    }
    Ok(Exit::Good)
}

/// Whether there is as much of it as there was when this recovery was planned.
fn is_as_planned(args: &Args, got: Option<&Got>) -> bool {
    let WalName::Segment(segment) = args.name else { return true };
    let begun = got.map(|got| got.partial);
    match args.planned_beginning(&segment) {
        _ if begun == Some(None) => true,
        Some(bytes) => begun.flatten().is_some_and(|reached| reached >= bytes),
        None => !args.planned_whole(&segment),
    }
}

/// Whatever the stores say now: the log does not end here.
fn vanished(args: &Args) -> Failure {
    let message = format!("{} was in the stores when this recovery was planned, and is not there now, or less of it", args.name);
    Failure::new(
        Exit::Unavailable,
        message,
        "find out what became of it (dr-list --wal); the same recovery goes on once it is back",
    )
}

/// Asks the stores on a thread of its own, as nothing else can end a question that hangs.
fn ask_in_time(args: &Arc<Args>, server: Option<Server>) -> Result<Option<Got>, Failure> {
    let (tell, answer) = mpsc::channel();
    let asked = Arc::clone(args);
    std::thread::spawn(move || tell.send(ask::ask(&asked, server.as_ref())).unwrap_or_default());
    let seconds = args.timeout;
    answer.recv_timeout(Duration::from_secs(seconds.into())).unwrap_or_else(|_| {
        let hint = "are the stores up, and reachable from here? --timeout gives them longer";
        Err(Failure::new(Exit::Unavailable, format!("{}: no answer within {seconds} seconds", args.name), hint))
    })
}
