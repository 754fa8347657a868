//! Did the stage before us finish, and is what we read what it wrote?
//!
//! The order of `start` records in a receipt file is the order of the pipe: a filter appends its own only when its first
//! input byte has come. A stage appends its receipt before it closes its output, so whoever sees the end of its input
//! finds that receipt in the file, or the stage has died.

use crate::record::{Extent, Receipt, Record, Start};
use crate::{Exit, Failure};

/// Holds what a stage has read against the receipt of the stage before it. `own` is the `start` that the reading stage
/// has appended itself; none for the last stage, which appends none.
///
/// # Errors
/// 66 where nobody has announced a backup, or the stage before has left no receipt; 65 where it wrote something else.
pub(crate) fn must_match(records: &[Record], own: Option<&Start>, read: &Extent) -> Result<(), Failure> {
    let run = current_run(records);
    let Some(before) = stage_before(run, own) else {
        return Err(Failure::new(
            Exit::Missing,
            "no stage before this one has left a record in the receipt file",
            "give every tool of the pipe the same DR_RECEIPT, and run a foreign producer as `dr-run -- COMMAND`",
        ));
    };
    let Some(wrote) = receipt_of(run, before).and_then(|receipt| receipt.output) else {
        return Err(Failure::new(
            Exit::Missing,
            format!("{} has left no receipt: its output ended unfinished", before.tool),
            "its own message says why; run the whole pipe again; nothing was published",
        ));
    };
    if wrote == *read {
        return Ok(());
    }
    Err(Failure::new(
        Exit::Damaged,
        format!(
            "read {} bytes with SHA-256 {}, but {} wrote {} bytes with SHA-256 {}",
            read.bytes, read.sha256, before.tool, wrote.bytes, wrote.sha256
        ),
        "something between the two has changed the stream; nothing was published",
    ))
}

/// The records from the last producer's `start` on; a file may hold earlier runs too.
fn current_run(records: &[Record]) -> &[Record] {
    let producer = |record: &Record| matches!(record, Record::Start(start) if start.kind.is_some());
    records.iter().rposition(producer).map_or(&[], |first| &records[first..])
}

fn starts(run: &[Record]) -> impl DoubleEndedIterator<Item = &Start> {
    run.iter().filter_map(|record| match record {
        Record::Start(start) => Some(start),
        _ => None,
    })
}

fn stage_before<'a>(run: &'a [Record], own: Option<&Start>) -> Option<&'a Start> {
    match own {
        None => starts(run).next_back(),
        Some(own) => starts(run).take_while(|start| *start != own).last(),
    }
}

/// The receipt of `stage`: as stages end in the order of the pipe, the n-th `start` of a tool goes with its n-th receipt.
fn receipt_of<'a>(run: &'a [Record], stage: &Start) -> Option<&'a Receipt> {
    let earlier = starts(run).take_while(|start| *start != stage).filter(|start| start.tool == stage.tool).count();
    let receipts = run.iter().filter_map(|record| match record {
        Record::Receipt(receipt) if receipt.tool == stage.tool => Some(&**receipt),
        _ => None,
    });
    receipts.into_iter().nth(earlier)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use chrono::{DateTime, Utc};

    use super::*;
    use crate::Sha256;
    use crate::record::Kind;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    fn start(tool: &str, second: i64, kind: Option<Kind>) -> Start {
        Start { tool: tool.into(), started_at: at(second), kind, suffix: String::new() }
    }

    fn extent(text: &str) -> Extent {
        Extent { bytes: text.len() as u64, sha256: Sha256::of(text.as_bytes()) }
    }

    fn receipt(tool: &str, out: &str) -> Record {
        Record::Receipt(Box::new(Receipt {
            tool: tool.into(),
            version: "0".into(),
            started_at: at(0),
            finished_at: at(9),
            input: None,
            output: Some(extent(out)),
            produced: None,
            encrypted: None,
            pushed: None,
        }))
    }

    fn exit(result: Result<(), Failure>) -> Exit {
        result.map_or_else(|failure| failure.exit, |()| Exit::Good)
    }

    #[test]
    fn a_finished_producer_with_equal_bytes_is_good() {
        let own = start("dr-encrypt", 2, None);
        let records = [Record::Start(start("dr-dump", 1, Some(Kind::Dump))), Record::Start(own.clone()), receipt("dr-dump", "abc")];
        assert_eq!(exit(must_match(&records, Some(&own), &extent("abc"))), Exit::Good);
        assert_eq!(exit(must_match(&records, Some(&own), &extent("abd"))), Exit::Damaged);
    }

    #[test]
    fn f02_the_stage_without_receipt_is_named() {
        let own = start("dr-encrypt", 2, None);
        let records = [Record::Start(start("dr-dump", 1, Some(Kind::Dump))), Record::Start(own.clone())];
        let failure = must_match(&records, Some(&own), &extent("abc")).unwrap_err();
        assert_eq!(failure.exit, Exit::Missing);
        assert!(failure.message.starts_with("dr-dump has left no receipt"), "{}", failure.message);
    }

    #[test]
    fn a_stage_that_announces_nothing_follows_the_last_one_that_did() {
        let mut records = vec![
            Record::Start(start("dr-dump", 1, Some(Kind::Dump))),
            Record::Start(start("dr-encrypt", 2, None)),
            receipt("dr-dump", "abc"),
        ];
        assert_eq!(exit(must_match(&records, None, &extent("xyz"))), Exit::Missing);
        records.push(receipt("dr-encrypt", "xyz"));
        assert_eq!(exit(must_match(&records, None, &extent("xyz"))), Exit::Good);
    }

    #[test]
    fn the_same_tool_twice_in_a_pipe_is_told_apart() {
        let (inner, outer) = (start("dr-encrypt", 2, None), start("dr-encrypt", 3, None));
        let mut records = vec![
            Record::Start(start("dr-dump", 1, Some(Kind::Dump))),
            Record::Start(inner.clone()),
            Record::Start(outer.clone()),
            receipt("dr-dump", "plain"),
        ];
        assert_eq!(exit(must_match(&records, Some(&inner), &extent("plain"))), Exit::Good);
        assert_eq!(exit(must_match(&records, Some(&outer), &extent("once"))), Exit::Missing);
        records.push(receipt("dr-encrypt", "once"));
        assert_eq!(exit(must_match(&records, Some(&outer), &extent("once"))), Exit::Good);
        assert_eq!(exit(must_match(&records, None, &extent("twice"))), Exit::Missing);
    }

    #[test]
    fn an_earlier_run_in_the_same_file_counts_for_nothing() {
        let records = [
            Record::Start(start("dr-dump", 1, Some(Kind::Dump))),
            receipt("dr-dump", "abc"),
            Record::Start(start("dr-dump", 5, Some(Kind::Dump))),
        ];
        assert_eq!(exit(must_match(&records, None, &extent("abc"))), Exit::Missing);
        assert_eq!(exit(must_match(&records[1..2], None, &extent("abc"))), Exit::Missing);
        assert_eq!(exit(must_match(&[], None, &extent("abc"))), Exit::Missing);
    }
}
