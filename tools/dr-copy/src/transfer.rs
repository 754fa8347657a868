//! An object on its way: read once, digested, and given to all targets; finished there only if it is what it must be.

use std::io::{BufRead, Read};

use dr_pipe::progress::Progress;
use dr_pipe::record::Extent;
use dr_pipe::{Exit, Failure, ReadAhead, Tally, stream};
use dr_store::{Error, Store, Stored, Upload, UploadOptions};

use crate::report::warn;
use crate::tiers::Tier;

/// What is to be carried.
pub struct Cargo<'a> {
    /// Its key, here and there.
    pub key: &'a str,
    /// Its size and digest.
    pub extent: Extent,
    /// What is asked of the targets.
    pub options: &'a UploadOptions,
}

/// An object that has been carried.
pub struct Carried {
    /// Which of the sources gave it.
    pub from: usize,
    /// What became of it in every target.
    pub stored: Vec<Result<Stored, Failure>>,
}

/// Carries an object to all targets, from the nearest source that gives what it must be. Nothing appears in a target but that.
///
/// # Errors
/// What the first source says, where none gives it.
pub fn carry(cargo: &Cargo, from: &[&Tier], to: &[&Tier], progress: &Progress) -> Result<Carried, Failure> {
    let mut first = None;
    let mut failed: Vec<Option<Failure>> = to.iter().map(|_| None).collect();
    for (place, source) in from.iter().enumerate().filter(|(_, source)| !source.is_lost()) {
        match carry_from(cargo, &source.store, to, &mut failed, progress) {
            Ok(stored) => return Ok(Carried { from: place, stored }),
            Err(failure) => {
                source.failed_to_read(&failure);
                if let Some(next) = from.get(place + 1) {
                    warn(format!("{}: {}; going on with {}", source.store.location(), failure.message, next.store.location()));
                }
                first.get_or_insert(failure);
            }
        }
    }
    Err(first
        .unwrap_or_else(|| Failure::new(Exit::Unavailable, format!("{}: no store is left to read", cargo.key), "run it again")))
}

/// Carries an object from one source; `failed` remembers the targets that take nothing more.
fn carry_from(
    cargo: &Cargo,
    source: &Store,
    to: &[&Tier],
    failed: &mut [Option<Failure>],
    progress: &Progress,
) -> Result<Vec<Result<Stored, Failure>>, Failure> {
    let Cargo { key, extent, .. } = cargo;
    let reader = source.reader(key)?;
    if reader.size() != extent.bytes {
        return Err(damaged(format!("{}/{key} has {} bytes, and must have {}", source.location(), reader.size(), extent.bytes)));
    }
    let options = UploadOptions { expected_bytes: Some(extent.bytes), ..cargo.options.clone() };
    let mut uploads: Vec<Option<Upload>> = Vec::new();
    for (tier, failed) in to.iter().zip(&mut *failed) {
        uploads.push(step(failed, || tier.store.upload(key, &options)));
    }
    let mut input = ReadAhead::new(reader).map_err(|error| Failure::io("starting a thread", &error))?;
    loop {
        let chunk = input.fill_buf().map_err(|error| Error::from_read(format!("{}/{key}", source.location()), error))?;
        if chunk.is_empty() {
            break;
        }
        for (upload, failed) in uploads.iter_mut().zip(&mut *failed) {
            if let Some(open) = upload
                && step(failed, || open.write(chunk)).is_none()
            {
                *upload = None;
            }
        }
        let n = chunk.len();
        input.consume(n);
        progress.add(n as u64);
    }
    let read = input.extent().expect("the input has been read to its end");
    if read != *extent {
        let why = format!("{}/{key}: {} bytes with SHA-256 {} were read", source.location(), read.bytes, read.sha256);
        return Err(damaged(format!("{why}, and it must be {} with {}", extent.bytes, extent.sha256)));
    }
    let finish = |((upload, failed), tier): ((Option<Upload>, &mut Option<Failure>), &&Tier)| match (upload, failed.take()) {
        (_, Some(failure)) => Err(failure),
        (Some(upload), None) => upload.finish().or_else(|error| settle(cargo, &tier.store, error)),
        (None, None) => unreachable!("an upload that is gone has failed"),
    };
    Ok(uploads.into_iter().zip(failed).zip(to).map(finish).collect())
}

/// Does a step in one target; remembers why it failed.
fn step<T>(failed: &mut Option<Failure>, does: impl FnOnce() -> Result<T, Error>) -> Option<T> {
    if failed.is_some() {
        return None;
    }
    does().map_err(|error| *failed = Some(error.into())).ok()
}

/// What it means that an upload could not be finished: where the name is taken by the very same bytes, it is as good as done.
///
/// # Errors
/// 65 for other bytes, 73 where they may not be read; whatever else the upload failed with.
pub fn settle(cargo: &Cargo, target: &Store, error: Error) -> Result<Stored, Failure> {
    if !matches!(error, Error::Exists { .. }) {
        return Err(error.into());
    }
    match holds(target, cargo) {
        Ok(true) => Ok(target.confirm(cargo.key, cargo.options)?),
        Ok(false) => Err(taken(target, cargo.key)),
        Err(Error::Denied { .. }) => Err(unknown(target, cargo.key, "let the credential read there (s3:GetObject)")),
        Err(Error::Frozen { .. }) => Err(unknown(target, cargo.key, "it lies in cold storage")),
        Err(other) => Err(other.into()),
    }
}

/// That nobody can say which bytes have an object's name in a target.
fn unknown(target: &Store, key: &str, hint: &str) -> Failure {
    let message = format!("{}/{key} is there, and cannot be read to compare it", target.location());
    Failure::new(Exit::Exists, message, format!("{hint}; if a run that was killed has left it, dr-delete --unsealed removes it"))
}

/// That other bytes have an object's name in a target.
pub fn taken(target: &Store, key: &str) -> Failure {
    let message = format!("{}/{key} is there, with other bytes than it must have", target.location());
    Failure::new(Exit::Damaged, message, "it was left as it is; what no manifest speaks of, dr-delete --unsealed removes")
}

/// Whether a target's object is what it must be, to the last byte.
///
/// # Errors
/// As the store says, where it cannot be read.
pub fn holds(target: &Store, cargo: &Cargo) -> Result<bool, Error> {
    let reader = target.reader(cargo.key)?;
    let of_size = reader.size() == cargo.extent.bytes;
    Ok(of_size && digest(reader, cargo.key)? == cargo.extent)
}

/// Size and digest of all that a reader gives.
///
/// # Errors
/// As its store says, of `object`.
pub fn digest(mut reader: impl Read, object: &str) -> Result<Extent, Error> {
    let (mut tally, mut chunk) = (Tally::default(), vec![0; stream::CHUNK_BYTES]);
    loop {
        match stream::fill(&mut reader, &mut chunk).map_err(|error| Error::from_read(object, error))? {
            0 => return Ok(tally.extent()),
            n => tally.update(&chunk[..n]),
        }
    }
}

fn damaged(message: String) -> Failure {
    Failure::new(Exit::Damaged, message, "use another copy of it, if there is one; nothing of it was published")
}
