//! Encrypts standard input to its end, holds it against the receipt of the stage before, and vouches for the result.

use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Write};
use std::os::fd::AsFd;

use chrono::{DateTime, Utc};
use dr_crypt::{Encrypting, Encryptor, Error, Format, Recipients};
use dr_pipe::drilled::Drilled;
use dr_pipe::progress::Progress;
use dr_pipe::record::{Encrypted, Extent, Receipt, Record, Start};
use dr_pipe::{Exit, Failure, Outcome, Output, ReadAhead, Receipts, WriteBehind, stream, warn};

use crate::args::Args;
use crate::proved;

const TOOL: &str = "dr-encrypt";

/// Encrypts standard input onto standard output.
///
/// The end of the age stream is written only after the stage before has vouched for all of it: what a broken pipe leaves
/// can never be taken for whole, even by stock age.
pub fn encrypt(args: Args) -> Outcome {
    let started_at = Utc::now();
    let recipients = Recipients::read(&args.recipients, TOOL)?;
    if recipients.given().len() == 1 && !args.single_recipient {
        warn(TOOL, "only one recipient: who loses that one key loses every backup; add one that is kept elsewhere");
    }
    if let Some(age) = args.drilled_within {
        proved::complaints(recipients.given(), &Drilled::recall(), age, started_at).for_each(|complaint| warn(TOOL, complaint));
    }
    let encryptor = Encryptor::new(&recipients)?;
    let mut receipts = Receipts::open(args.receipt.receipt.as_deref())?;
    let format = if args.armor { Format::Armored } else { Format::Binary };
    let output = WriteBehind::new(output(format)?).map_err(|error| writing(&error))?;
    drop(stream::input()?);
    let mut input = ReadAhead::new(io::stdin()).map_err(|error| reading(&error))?;

    let empty = input.fill_buf().map_err(|error| reading(&error))?.is_empty();
    // Also where nothing has come: without this trace, dr-seal would take an earlier run in the file for this one.
    receipts.append(&start(started_at))?;
    if empty {
        return Err(Error::Empty.into());
    }

    let mut encrypting = encryptor.begin(output, format).map_err(|error| writing(&error))?;
    let read = copy(&mut input, &mut encrypting)?;
    receipts.upstream_must_match(&read).map_err(|failure| failure.leaving("what was written lacks its end"))?;
    let (output, written) = encrypting.finish().and_then(WriteBehind::finish).map_err(|error| writing(&error))?;
    stream::settle(&output)?;
    receipts.append(&receipt(started_at, &recipients, read, written))?;
    Ok(Exit::Good)
}

/// Copies `input` to its end; gives what was read.
fn copy(input: &mut ReadAhead, output: &mut Encrypting<WriteBehind<Output>>) -> Result<Extent, Failure> {
    let progress = Progress::new(TOOL, None);
    loop {
        let bytes = input.fill_buf().map_err(|error| reading(&error))?;
        if bytes.is_empty() {
            break;
        }
        let n = bytes.len();
        output.write_all(bytes).map_err(|error| writing(&error))?;
        input.consume(n);
        progress.add(n as u64);
    }
    progress.finish();
    Ok(input.extent().expect("the input has been read to its end"))
}

/// Standard output; a terminal is refused unless it gets text.
fn output(format: Format) -> Result<Output, Failure> {
    let stdout = io::stdout();
    if format == Format::Binary || !stdout.is_terminal() {
        return stream::output();
    }
    let copy = stdout.as_fd().try_clone_to_owned().map_err(|error| Failure::io("standard output", &error))?;
    Ok(Output::from(File::from(copy)))
}

fn start(started_at: DateTime<Utc>) -> Record {
    Record::Start(Start { tool: TOOL.into(), started_at, kind: None, suffix: "age".into() })
}

fn receipt(started_at: DateTime<Utc>, recipients: &Recipients, read: Extent, written: Extent) -> Record {
    Record::Receipt(Box::new(Receipt {
        input: Some(read),
        output: Some(written),
        encrypted: Some(Encrypted { recipients: recipients.given().to_vec() }),
        ..Receipt::new(TOOL, env!("CARGO_PKG_VERSION"), started_at, Utc::now())
    }))
}

fn reading(error: &io::Error) -> Failure {
    Failure::io("reading standard input", error)
}

fn writing(error: &io::Error) -> Failure {
    Failure::io("writing standard output", error)
}
