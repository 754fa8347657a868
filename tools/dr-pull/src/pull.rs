//! Finds a backup in the catalogue and writes its bytes out; vouches for them only once all of them fit its manifest.

use std::io::Write;

use chrono::{DateTime, Utc};
use dr_catalogue::{Found, Scope, Selector};
use dr_pipe::progress::Progress;
use dr_pipe::record::{Encrypted, Extent, Kind, Manifest, Receipt, Record, Start};
use dr_pipe::{Exit, Failure, Outcome, Receipts, Tally, stream, warn};
use dr_store::Store;

use crate::args::{Args, Range};
use crate::source::Source;

const TOOL: &str = "dr-pull";

/// Writes a stored backup, a part of it, or any object, to standard output.
pub fn pull(args: Args) -> Outcome {
    let started_at = Utc::now();
    let mut receipts = Receipts::open(args.receipt.receipt.as_deref())?;
    let mut output = stream::output()?;
    let wanted = find(&args)?;
    receipts.append(&start(started_at, &wanted))?;

    let proof = wanted.manifest.as_ref().filter(|_| args.range.is_none());
    let mut source = Source::open(wanted.stores, &wanted.key, wanted.manifest.as_ref().map(|manifest| manifest.bytes))?;
    if let (true, Some(manifest)) = (args.verify_first, proof) {
        let progress = Progress::new(TOOL, Some(2 * source.size()));
        must_fit(manifest, copy(&mut source, u64::MAX, &mut std::io::sink(), &progress)?, "nothing was written")?;
        source.move_to(0)?;
    }
    let length = part(&mut source, args.range)?;
    let progress = Progress::new(TOOL, Some(length));
    let wrote = copy(&mut source, length, &mut output, &progress)?;
    progress.finish();
    if let Some(manifest) = proof {
        must_fit(manifest, wrote, "what was written must not be used")?;
    }
    stream::settle(&output)?;
    receipts.append(&receipt(started_at, wrote, proof))?;
    Ok(Exit::Good)
}

/// What is to be read, and where it may lie.
struct Wanted {
    stores: Vec<Store>,
    key: String,
    kind: Kind,
    manifest: Option<Manifest>,
}

fn find(args: &Args) -> Result<Wanted, Failure> {
    let kind = args.kind.unwrap_or(Kind::Dump);
    if let Some(key) = &args.object {
        let open = |location| Store::open_for_read(location, &args.catalogue.store).map_err(Failure::from);
        let stores = args.catalogue.from.from.iter().map(open).collect::<Result<_, _>>()?;
        return Ok(Wanted { stores, key: key.clone(), kind, manifest: None });
    }
    let selector: Selector = args.name.as_deref().unwrap_or("latest").parse().expect("every text is a selector");
    let kind = if selector == Selector::Latest { Some(kind) } else { args.kind };
    let scope = Scope { cluster: args.cluster.clone(), kind, database: None };
    let Found { backup, store, others, object_key, warnings, .. } = args.catalogue.open()?.find(&scope, &selector)?;
    warnings.iter().for_each(|warning| warn(TOOL, warning));
    let stores = std::iter::once(store).chain(others).collect();
    Ok(Wanted { stores, key: object_key, kind: backup.manifest.kind, manifest: Some(backup.manifest) })
}

/// Goes to the beginning of the range; gives its length.
fn part(source: &mut Source, range: Option<Range>) -> Result<u64, Failure> {
    let size = source.size();
    let Some(Range { first, length }) = range else { return Ok(size) };
    let rest = size.checked_sub(first).filter(|rest| length.is_none_or(|length| length <= *rest));
    let Some(rest) = rest else {
        return Err(Failure::new(Exit::Missing, format!("the object has {size} bytes: the range is not in it"), "ask for less"));
    };
    source.move_to(first)?;
    Ok(length.unwrap_or(rest))
}

/// Copies at most `length` bytes; gives what was copied.
fn copy(source: &mut Source, length: u64, output: &mut impl Write, progress: &Progress) -> Result<Extent, Failure> {
    let mut buf = vec![0; stream::CHUNK_BYTES];
    let mut tally = Tally::default();
    while tally.bytes() < length {
        let most = usize::try_from(length - tally.bytes()).unwrap_or(usize::MAX).min(buf.len());
        let n = source.read(&mut buf[..most])?;
        if n == 0 {
            break;
        }
        output.write_all(&buf[..n]).map_err(|error| Failure::io("writing standard output", &error))?;
        tally.update(&buf[..n]);
        progress.add(n as u64);
    }
    Ok(tally.extent())
}

fn must_fit(manifest: &Manifest, read: Extent, state: &str) -> Result<(), Failure> {
    if read.bytes == manifest.bytes && read.sha256 == manifest.sha256 {
        return Ok(());
    }
    let what = format!("{}: {} bytes with SHA-256 {} were read", manifest.object, read.bytes, read.sha256);
    let why = format!("{what}, its manifest says {} with {}", manifest.bytes, manifest.sha256);
    Err(Failure::new(Exit::Damaged, why, format!("use another copy of this backup, if there is one; {state}")))
}

fn start(started_at: DateTime<Utc>, wanted: &Wanted) -> Record {
    let file = wanted.key.rsplit('/').next().unwrap_or_default();
    let suffix = match &wanted.manifest {
        Some(manifest) => file.strip_prefix(manifest.name.as_str()).unwrap_or_default(),
        None => file.split_once('.').map_or("", |(_, suffix)| suffix),
    };
    let suffix = suffix.trim_start_matches('.').into();
    Record::Start(Start { tool: TOOL.into(), started_at, kind: Some(wanted.kind), suffix })
}

/// A whole backup that fits its manifest may be pushed and sealed elsewhere as what it was; a part of one may not.
fn receipt(started_at: DateTime<Utc>, wrote: Extent, proof: Option<&Manifest>) -> Record {
    let recipients = proof.map(|manifest| &manifest.recipients).filter(|recipients| !recipients.is_empty());
    Record::Receipt(Box::new(Receipt {
        output: Some(wrote),
        produced: proof.map(|manifest| manifest.produced.clone()),
        encrypted: recipients.map(|recipients| Encrypted { recipients: recipients.clone() }),
        ..Receipt::new(TOOL, env!("CARGO_PKG_VERSION"), started_at, Utc::now())
    }))
}
