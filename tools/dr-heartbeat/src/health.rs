//! Answers one HTTP request about the last successes: systemd accepts the connection, and gives it to us as standard input and
//! output.

use std::fs::File;
use std::io;
use std::time::{Duration, Instant};

use dr_pipe::{Exit, Failure, Outcome, stop};

use crate::answer::Answer;
use crate::args::{Args, usage};
use crate::http::{self, Request, Response};

/// How long a client may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Answers. That the answer is 503 is no failure of ours.
pub fn health(args: &Args) -> Outcome {
    stop::hint("the client has no answer");
    if args.max_age.is_empty() {
        return Err(usage("which jobs to look at is not said", "give --max-age, such as --max-age dump=26h,base=8d"));
    }
    let end = Instant::now() + PATIENCE;
    // Not the buffered one: what a buffer holds already, nobody waits for in vain.
    let input = rustix::io::fcntl_dupfd_cloexec(io::stdin(), 3).map_err(|error| Failure::io("standard input", &error.into()))?;
    let (response, head) = match http::read(File::from(input), end) {
        Ok(None) => return Ok(Exit::Good),
        Ok(Some(request)) => (answer(args, &request)?, request.method == "HEAD"),
        Err(response) => (response, false),
    };
    match http::write(io::stdout(), &response, head, end + PATIENCE) {
        // Whoever has hung up wants no answer.
        Err(error)
            if [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionReset, io::ErrorKind::TimedOut].contains(&error.kind()) =>
        {
            Ok(Exit::Good)
        }
        Err(error) => Err(Failure::io("standard output", &error)),
        Ok(()) => Ok(Exit::Good),
    }
}

fn answer(args: &Args, request: &Request) -> Result<Response, Failure> {
    if !["/healthz/backup", "/healthz"].contains(&request.path.as_str()) {
        return Ok(Response::wrong(404));
    }
    if !["GET", "HEAD"].contains(&request.method.as_str()) {
        return Ok(Response::wrong(405));
    }
    let answer = Answer::now(args);
    let json =
        serde_json::to_string(&answer).map_err(|error| Failure::new(Exit::Bug, error.to_string(), "please report this line"))?;
    Ok(Response { status: if answer.is_good() { 200 } else { 503 }, body: json + "\n" })
}
