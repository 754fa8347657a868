//! Checks the chain of receipts and publishes the signed manifest.

mod args;

use std::io;
use std::process::ExitCode;

use dr_catalogue::{Chain, SigningKey, chain, manifest, publish};
use dr_pipe::record::{self, Manifest, Record};
use dr_pipe::{Exit, Failure, Outcome, stream, warn};

use crate::args::Args;

fn main() -> ExitCode {
    dr_pipe::run(seal)
}

/// Reads receipts, and publishes the backup they prove: in every store that holds it, signed.
fn seal(args: Args) -> Outcome {
    let (chain, manifest, key) = prove(&args).map_err(unpublished)?;
    let published = publish(&chain, &manifest, &key, &args.store)?;
    for warning in &published.warnings {
        warn("dr-seal", warning);
    }
    record::write(&mut io::stdout().lock(), &Record::Manifest(Box::new(manifest))).map_err(|error| {
        let state = format!("the backup is published in {}; only its record could not be printed", published.stores.join(", "));
        Failure::new(Exit::Io, format!("standard output: {error}"), state)
    })?;
    Ok(Exit::Good)
}

/// Everything that is decided before the first store is touched.
fn prove(args: &Args) -> Result<(Chain, Manifest, SigningKey), Failure> {
    let receipts = record::read(&mut stream::input()?)?;
    let chain = chain::check(&receipts)?;
    let manifest = manifest::from_chain(&chain, &args.cluster.cluster)?;
    let key = args.signing_key.load(&args.cluster.cluster)?;
    Ok((chain, manifest, key))
}

/// The same failure, its hint saying what state was left behind.
fn unpublished(failure: Failure) -> Failure {
    const STATE: &str = "nothing was published";
    if failure.hint.ends_with(STATE) { failure } else { failure.leaving(STATE) }
}
