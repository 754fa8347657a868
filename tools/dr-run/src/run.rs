//! Passes on what a command writes, and vouches for it once the command has exited with 0.

use std::io::{self, BufRead, Write};
use std::os::unix::process::ExitStatusExt;

use chrono::{DateTime, Utc};
use dr_pipe::command::{Manner, Running, describe};
use dr_pipe::progress::Progress;
use dr_pipe::record::{Extent, Produced, Receipt, Record, Start};
use dr_pipe::{Exit, Failure, Outcome, ReadAhead, Receipts, redact, stream};

use crate::args::Args;
use crate::suffix;

const TOOL: &str = "dr-run";

/// Runs the command, its output onto standard output.
pub fn run(args: Args) -> Outcome {
    let started_at = Utc::now();
    let suffix = args.suffix.clone().unwrap_or_else(|| suffix::guess(&args.command).into());
    let mut receipts = Receipts::open(args.receipt.receipt.as_deref())?;
    let mut output = stream::output()?;
    receipts.append(&start(started_at, &args, &suffix))?;

    let mut command = Running::start(&args.command, Manner::default())?;
    let written = match copy(&mut command, &mut output) {
        Ok(written) => written,
        Err(failure) => {
            command.end();
            return Err(failure);
        }
    };
    let name = args.command[0].to_string_lossy();
    finish(command, &name)?;
    if written.bytes == 0 {
        let message = format!("{name} wrote nothing");
        return Err(Failure::new(Exit::Missing, message, "it must write the backup to its standard output"));
    }
    stream::settle(&output)?;
    receipts.append(&receipt(started_at, &args, suffix, written))?;
    Ok(Exit::Good)
}

/// Waits for the command to end by itself. What it wrote is a backup only if it exits with 0.
fn finish(command: Running, name: &str) -> Result<(), Failure> {
    let status = command.wait().map_err(|error| Failure::io(format!("waiting for {name}"), &error))?;
    if status.success() {
        return Ok(());
    }
    let hint = match status.signal() {
        Some(9) => "the kernel kills what takes too much memory: see dmesg(1); nothing was published",
        _ => "its own message says why; nothing was published",
    };
    Err(Failure::new(Exit::Missing, format!("{name} {}", describe(status)), hint))
}

/// Copies all that the command writes; gives what that was.
fn copy(command: &mut Running, output: &mut impl Write) -> Result<Extent, Failure> {
    let reading = |error: io::Error| Failure::io("reading from the command", &error);
    let progress = Progress::new(TOOL, None);
    let mut input = ReadAhead::new(command.output()).map_err(reading)?;
    loop {
        let bytes = input.fill_buf().map_err(reading)?;
        if bytes.is_empty() {
            break;
        }
        let n = bytes.len();
        output.write_all(bytes).map_err(|error| Failure::io("writing standard output", &error))?;
        input.consume(n);
        progress.add(n as u64);
    }
    progress.finish();
    Ok(input.extent().expect("the input has been read to its end"))
}

fn start(started_at: DateTime<Utc>, args: &Args, suffix: &str) -> Record {
    Record::Start(Start { tool: TOOL.into(), started_at, kind: Some(args.kind), suffix: suffix.into() })
}

fn receipt(started_at: DateTime<Utc>, args: &Args, suffix: String, written: Extent) -> Record {
    let produced = Produced {
        host: Some(dr_pipe::host::name()),
        database: args.database.clone(),
        command: Some(redact::command(&args.command)),
        ..Produced::new(args.kind, started_at, suffix)
    };
    Record::Receipt(Box::new(Receipt {
        output: Some(written),
        produced: Some(produced),
        ..Receipt::new(TOOL, env!("CARGO_PKG_VERSION"), started_at, Utc::now())
    }))
}
