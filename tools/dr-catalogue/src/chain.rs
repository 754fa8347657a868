//! Law 1: do these receipts form an unbroken chain from one producer to the stores?

use dr_pipe::record::{Encrypted, Extent, Produced, Pushed, Receipt, Record, Start};

use crate::Error;

/// The receipts of one complete run of a pipe, first stage to last. Made by [`check`] alone.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain {
    stages: Vec<Receipt>,
    produced: Produced,
    object: Extent,
    pushed: Pushed,
}

impl Chain {
    /// The receipts, producer first, dr-push last.
    pub fn stages(&self) -> &[Receipt] {
        &self.stages
    }

    /// What the producer vouches for.
    pub fn produced(&self) -> &Produced {
        &self.produced
    }

    /// Size and digest of what was stored.
    pub fn object(&self) -> Extent {
        self.object
    }

    /// Where it was stored.
    pub fn pushed(&self) -> &Pushed {
        &self.pushed
    }

    /// When the bytes were durable: the moment dr-push had finished.
    pub fn stored_at(&self) -> chrono::DateTime<chrono::Utc> {
        self.stages.last().expect("check() makes no chain without stages").finished_at
    }

    /// Everyone who can decrypt the object; empty where no stage encrypted it.
    pub fn recipients(&self) -> Vec<String> {
        let encrypted = self.stages.iter().filter_map(|stage| stage.encrypted.as_ref());
        encrypted.flat_map(|Encrypted { recipients }| recipients.iter().cloned()).collect()
    }
}

/// Checks the current run of a receipt file: the last `start` of a producer and what follows it. Runs before it do not
/// count, whether complete or not.
///
/// # Errors
/// [`Error::NoReceipts`] for an empty file; [`Error::Unfinished`] naming the first stage that began and left no receipt;
/// [`Error::BrokenLink`] where a stage read other bytes than the stage before it wrote; [`Error::Disorder`] where the
/// records are not those of one pipe; [`Error::TooFewStores`] where fewer stores hold the bytes than are required.
pub fn check(records: &[Record]) -> Result<Chain, Error> {
    if records.is_empty() {
        return Err(Error::NoReceipts);
    }
    let stages = stages(current_run(records)?)?;
    let (produced, pushed) = ends(&stages)?;
    let object = links(&stages)?;
    stored(&pushed)?;
    Ok(Chain { stages, produced, object, pushed })
}

/// The records from the last producer's `start` on.
fn current_run(records: &[Record]) -> Result<&[Record], Error> {
    let begins = |record: &Record| matches!(record, Record::Start(Start { kind: Some(_), .. }));
    match records.iter().rposition(begins) {
        Some(first) => Ok(&records[first..]),
        None => Err(Error::NoProducer),
    }
}

/// Pairs every `start` with its receipt, in the order of the pipe. A tool appends its receipt before it closes its output,
/// so receipts stand in the same order as starts, each after its own.
fn stages(run: &[Record]) -> Result<Vec<Receipt>, Error> {
    let mut starts = Vec::new();
    let mut receipts: Vec<Receipt> = Vec::new();
    for record in run {
        match record {
            Record::Start(start) => starts.push(start),
            Record::Receipt(receipt) => {
                if starts.len() <= receipts.len() {
                    return Err(Error::Disorder(format!("a receipt of {} that had not begun", receipt.tool)));
                }
                receipts.push((**receipt).clone());
            }
            _ => return Err(Error::Disorder("a record that is neither start nor receipt".into())),
        }
    }
    for (place, start) in starts.iter().enumerate() {
        let left = receipts.iter().filter(|receipt| receipt.tool == start.tool).count();
        let begun = starts[..=place].iter().filter(|earlier| earlier.tool == start.tool).count();
        if left < begun {
            return Err(Error::Unfinished { tool: start.tool.clone() });
        }
        if receipts[place].tool != start.tool {
            let found = &receipts[place].tool;
            return Err(Error::Disorder(format!("a receipt of {found} where one of {} is due", start.tool)));
        }
        if start.kind.is_some_and(|kind| receipts[place].produced.as_ref().is_some_and(|produced| produced.kind != kind)) {
            return Err(Error::Disorder(format!("{} began one kind of backup and finished another", start.tool)));
        }
    }
    Ok(receipts)
}

/// The two ends of the chain: the only producer comes first, the only push last, and both mean the same kind of backup.
fn ends(stages: &[Receipt]) -> Result<(Produced, Pushed), Error> {
    let (first, rest) = stages.split_first().ok_or(Error::NoProducer)?;
    let Some(produced) = &first.produced else { return Err(Error::NoProducer) };
    if let Some(other) = rest.iter().find(|stage| stage.produced.is_some()) {
        return Err(Error::Disorder(format!("two producers, {} and {}", first.tool, other.tool)));
    }
    let pushed: Vec<_> = stages.iter().filter_map(|stage| stage.pushed.as_ref()).collect();
    let last = stages.last().and_then(|stage| stage.pushed.as_ref());
    match (pushed.as_slice(), last) {
        ([], _) => Err(Error::NotPushed { tool: stages.last().map_or_else(|| first.tool.clone(), |stage| stage.tool.clone()) }),
        ([_], Some(pushed)) if pushed.kind == produced.kind => Ok((produced.clone(), pushed.clone())),
        ([_], Some(pushed)) => {
            Err(Error::Disorder(format!("{} made a {}, but it was pushed as {}", first.tool, produced.kind, pushed.kind)))
        }
        ([_], None) => Err(Error::Disorder("a stage after the push".into())),
        _ => Err(Error::Disorder("more than one push".into())),
    }
}

/// Follows the bytes from stage to stage; gives what the last one read.
fn links(stages: &[Receipt]) -> Result<Extent, Error> {
    let (first, rest) = stages.split_first().ok_or(Error::NoProducer)?;
    if first.input.is_some() {
        return Err(Error::Disorder(format!("{} is a producer and has read input", first.tool)));
    }
    let mut writer = first;
    for reader in rest {
        let wrote = writer.output.ok_or_else(|| Error::Disorder(format!("{} does not say what it wrote", writer.tool)))?;
        let read = reader.input.ok_or_else(|| Error::Disorder(format!("{} does not say what it read", reader.tool)))?;
        if wrote.bytes == 0 {
            return Err(Error::EmptyStream { tool: writer.tool.clone() });
        }
        if wrote != read {
            let (wrote, read) = (Box::new(wrote), Box::new(read));
            return Err(Error::BrokenLink { writer: writer.tool.clone(), wrote, reader: reader.tool.clone(), read });
        }
        writer = reader;
    }
    if writer.output.is_some() {
        return Err(Error::Disorder(format!("{} is the last stage and has written output", writer.tool)));
    }
    writer.input.ok_or(Error::NoProducer)
}

/// At least as many different stores as required hold the bytes.
fn stored(pushed: &Pushed) -> Result<(), Error> {
    let mut names: Vec<_> = pushed.stores.iter().map(|at| at.store.as_str()).collect();
    names.sort_unstable();
    if names.iter().any(|name| name.is_empty()) || names.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Error::Disorder("a store without a name, or named twice".into()));
    }
    let stored = pushed.stores.iter().filter(|at| at.stored).count();
    let required = pushed.required.max(1);
    if stored < required as usize {
        let lacking = pushed.stores.iter().filter(|at| !at.stored);
        let lacking = lacking.map(|at| format!("{}: {}", at.store, at.error.as_deref().unwrap_or("not stored")));
        return Err(Error::TooFewStores { stored, required, lacking: lacking.collect::<Vec<_>>().join(", ") });
    }
    Ok(())
}
