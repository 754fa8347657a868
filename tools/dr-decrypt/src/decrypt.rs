//! Decrypts standard input to its proven end, and vouches for what came out.

use std::io::{self, BufRead, Read, Write};

use chrono::{DateTime, Utc};
use dr_crypt::{Decrypting, Error, Identities};
use dr_pipe::progress::Progress;
use dr_pipe::record::{Extent, Receipt, Record, Start};
use dr_pipe::{Exit, Failure, Outcome, Output, ReadAhead, Receipts, WriteBehind, stream};

use crate::args::Args;

const TOOL: &str = "dr-decrypt";

/// Decrypts standard input onto standard output. Whatever is written is authenticated, and exit 0 says that it is all.
///
/// No receipt of the stage before is asked for: an age stream proves its own end. What was authenticated before damage is
/// found is still written, when the output is dropped.
pub fn decrypt(args: Args) -> Outcome {
    let started_at = Utc::now();
    let identities = Identities::read(&args.identities, TOOL)?;
    let mut receipts = Receipts::open(args.receipt.receipt.as_deref())?;
    let mut output = WriteBehind::new(stream::output()?).map_err(|error| writing(&error))?;
    drop(stream::input()?);
    let mut input = ReadAhead::new(io::stdin()).map_err(|error| reading(&error))?;

    let mut plain = dr_crypt::decrypt(&mut input, &identities)?;
    receipts.append(&start(started_at))?;
    copy(&mut plain, &mut output)?;
    drop(plain);
    if !input.fill_buf().map_err(|error| reading(&error))?.is_empty() {
        return Err(Error::Damaged("bytes follow its end".into()).into());
    }
    let read = input.extent().expect("the input has been read to its end");
    let (output, written) = output.finish().map_err(|error| writing(&error))?;
    stream::settle(&output)?;
    receipts.append(&receipt(started_at, read, written))?;
    Ok(Exit::Good)
}

fn copy(plain: &mut Decrypting<'_>, output: &mut WriteBehind<Output>) -> Result<(), Failure> {
    let progress = Progress::new(TOOL, None);
    let mut buf = vec![0; stream::CHUNK_BYTES];
    loop {
        let n = plain.read(&mut buf).map_err(|error| Error::reading("reading standard input", error))?;
        if n == 0 {
            break;
        }
        output.write_all(&buf[..n]).map_err(|error| writing(&error))?;
        progress.add(n as u64);
    }
    progress.finish();
    Ok(())
}

fn start(started_at: DateTime<Utc>) -> Record {
    Record::Start(Start { tool: TOOL.into(), started_at, kind: None, suffix: String::new() })
}

fn receipt(started_at: DateTime<Utc>, read: Extent, written: Extent) -> Record {
    Record::Receipt(Box::new(Receipt {
        input: Some(read),
        output: Some(written),
        ..Receipt::new(TOOL, env!("CARGO_PKG_VERSION"), started_at, Utc::now())
    }))
}

fn reading(error: &io::Error) -> Failure {
    Failure::io("reading standard input", error)
}

fn writing(error: &io::Error) -> Failure {
    Failure::io("writing standard output", error)
}
