//! Law 1: which receipts deserve a manifest?
#![allow(clippy::unwrap_used)]

use dr_catalogue::{Chain, Error, chain, manifest};
use dr_pipe::record::{self, Extent, Kind, Receipt, Record};
use dr_pipe::{Exit, Failure, Sha256};
use proptest::prelude::*;

/// The receipts of one complete run.
fn complete() -> Vec<Record> {
    record::read(&mut include_bytes!("receipts.jsonl").as_slice()).unwrap()
}

fn receipt<'a>(records: &'a mut [Record], tool: &str) -> &'a mut Receipt {
    let receipts = records.iter_mut().filter_map(|record| match record {
        Record::Receipt(receipt) => Some(&mut **receipt),
        _ => None,
    });
    receipts.into_iter().find(|receipt| receipt.tool == tool).unwrap()
}

fn check(records: &[Record]) -> Result<Chain, (Exit, String)> {
    chain::check(records).map_err(|error| {
        let failure = Failure::from(error);
        (failure.exit, failure.message)
    })
}

#[test]
fn a_complete_chain_is_accepted() {
    let chain = check(&complete()).unwrap();
    assert_eq!(chain.object().bytes, 16);
    assert_eq!(chain.recipients(), ["age1one", "age1two"]);
    assert_eq!(chain.stages().len(), 3);
}

#[test]
fn no_receipts_are_no_chain() {
    assert_eq!(check(&[]), Err((Exit::Missing, "there are no receipts".into())));
}

#[test]
fn f02_the_stage_without_a_receipt_is_named() {
    for tool in ["dr-dump", "dr-encrypt", "dr-push"] {
        let left: Vec<_> =
            complete().into_iter().filter(|record| !matches!(record, Record::Receipt(it) if it.tool == tool)).collect();
        assert_eq!(check(&left), Err((Exit::Missing, format!("{tool} has begun and left no receipt"))));
    }
}

#[test]
fn a_stage_that_read_other_bytes_than_were_written_is_a_conflict() {
    let mut records = complete();
    receipt(&mut records, "dr-push").input = Some(Extent { bytes: 16, sha256: Sha256([0; 32]) });
    let (exit, message) = check(&records).unwrap_err();
    assert_eq!(exit, Exit::Damaged);
    assert!(
        message.starts_with("dr-push read 16 bytes (0000") && message.contains("but dr-encrypt wrote 16 bytes (9f9f"),
        "{message}"
    );
}

#[test]
fn f04_an_empty_stream_is_no_backup() {
    let mut records = complete();
    let nothing = Extent { bytes: 0, sha256: Sha256::of(b"") };
    receipt(&mut records, "dr-dump").output = Some(nothing);
    receipt(&mut records, "dr-encrypt").input = Some(nothing);
    assert_eq!(check(&records), Err((Exit::Missing, "dr-dump wrote 0 bytes: an empty stream is no backup".into())));
}

#[test]
fn a_chain_that_ends_before_a_push_is_refused() {
    let mut records = complete();
    records.retain(|record| match record {
        Record::Start(start) => start.tool != "dr-push",
        Record::Receipt(receipt) => receipt.tool != "dr-push",
        _ => true,
    });
    assert_eq!(check(&records), Err((Exit::Missing, "the chain of receipts ends with dr-encrypt: nothing was pushed".into())));
}

#[test]
fn too_few_stores_are_refused_and_each_missing_one_named() {
    let mut records = complete();
    receipt(&mut records, "dr-push").pushed.as_mut().unwrap().required = 3;
    assert_eq!(check(&records), Err((Exit::Missing, "2 of 3 required stores hold the bytes (gone: no such host)".into())));
    let pushed = receipt(&mut records, "dr-push").pushed.as_mut().unwrap();
    pushed.required = 0;
    pushed.stores.retain(|at| !at.stored);
    assert_eq!(check(&records).unwrap_err().0, Exit::Missing, "zero stores are never enough");
}

#[test]
fn earlier_runs_do_not_count_but_an_unfinished_last_one_does() {
    let run = complete();
    for cut in 0..=run.len() {
        let after_a_cut_run = [&run[..cut], &run].concat();
        assert!(chain::check(&after_a_cut_run).is_ok(), "a run that died after {cut} records, then a complete one");
        let before_a_cut_run = [&run, &run[..cut]].concat();
        assert_eq!(chain::check(&before_a_cut_run).is_ok(), cut == 0 || cut == run.len(), "a complete run, then {cut} records");
    }
}

#[test]
fn a_latecomer_of_an_earlier_run_is_refused() {
    let run = complete();
    let latecomer = [&run[..5], &run, &run[5..]].concat();
    assert_eq!(check(&latecomer).unwrap_err().0, Exit::Damaged);
}

#[test]
fn one_kind_of_backup_runs_through_the_chain() {
    for change in [
        (|records: &mut Vec<Record>| receipt(records, "dr-dump").produced.as_mut().unwrap().kind = Kind::Base)
            as fn(&mut Vec<Record>),
        |records| receipt(records, "dr-push").pushed.as_mut().unwrap().kind = Kind::Files,
        |records| receipt(records, "dr-encrypt").produced = receipt(records, "dr-dump").produced.clone(),
        |records| receipt(records, "dr-encrypt").pushed = receipt(records, "dr-push").pushed.clone(),
        |records| receipt(records, "dr-push").output = Some(Extent { bytes: 1, sha256: Sha256([1; 32]) }),
        |records| receipt(records, "dr-dump").input = Some(Extent { bytes: 1, sha256: Sha256([1; 32]) }),
        |records| {
            records.push(Record::Manifest(Box::new(manifest::from_chain(&chain::check(&complete()).unwrap(), "main").unwrap())))
        },
    ] {
        let mut records = complete();
        change(&mut records);
        assert_eq!(check(&records).unwrap_err().0, Exit::Damaged);
    }
}

#[test]
fn f07_the_same_chain_gives_the_same_manifest() {
    let manifest = |records: &[Record]| manifest::to_bytes(&manifest::from_chain(&chain::check(records).unwrap(), "main").unwrap());
    let text = String::from_utf8(manifest(&complete())).unwrap();
    assert_eq!(text.as_bytes(), manifest(&[complete(), complete()].concat()));
    for line in [
        r#"  "type": "manifest","#,
        r#"  "object": "main_dump_20260125T020000Z_7f3a.tar.zst.age","#,
        r#"  "bytes": 16,"#,
        r#"  "sha256": "9f9f5111f7b27a781f1f1ddde5ebc2dd2b796bfc7365c9c28b548e564176929f","#,
        r#"  "sequence": 1769306461500,"#,
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in {text}");
    }
    assert!(!text.contains("gone"), "a store that does not hold the bytes is not named");
}

#[test]
fn a_backup_of_another_cluster_is_refused() {
    let chain = chain::check(&complete()).unwrap();
    let error = manifest::from_chain(&chain, "other").unwrap_err();
    assert_eq!(error, Error::OtherCluster { pushed: "main".into(), asked: "other".into() });
    assert_eq!(error.exit(), Exit::Config);
}

#[test]
fn a_name_that_could_leave_its_folder_is_refused() {
    for object in ["main/dump/../x", "main/dump/other.tar", "/etc/passwd", "main/dump/main_dump_20260125T020000Z_7f3a.json"] {
        let mut records = complete();
        receipt(&mut records, "dr-push").pushed.as_mut().unwrap().object = object.into();
        let error = manifest::from_chain(&chain::check(&records).unwrap(), "main").unwrap_err();
        assert_eq!(error.exit(), Exit::Damaged, "{object}");
    }
}

/// A pipe of `filters` filters between a producer and a push, every stage with an extent of its own.
fn pipe(filters: usize, seed: u8) -> Vec<Record> {
    let sample = complete();
    let [Record::Start(producer), Record::Start(filter), Record::Start(push), ..] = sample.as_slice() else { unreachable!() };
    let mut starts = vec![Record::Start(producer.clone())];
    starts.extend(std::iter::repeat_n(Record::Start(filter.clone()), filters));
    starts.push(Record::Start(push.clone()));
    let extent = |stage: usize| Extent { bytes: 1 + stage as u64, sha256: Sha256([seed.wrapping_add(stage as u8); 32]) };
    let mut records = sample.clone();
    let receipts = (0..filters + 2).map(|stage| {
        let tool = if stage == 0 {
            "dr-dump"
        } else if stage <= filters {
            "dr-encrypt"
        } else {
            "dr-push"
        };
        let mut made = receipt(&mut records, tool).clone();
        made.input = (stage > 0).then(|| extent(stage - 1));
        made.output = (stage <= filters).then(|| extent(stage));
        Record::Receipt(Box::new(made))
    });
    starts.into_iter().chain(receipts).collect()
}

proptest! {
    #[test]
    fn complete_chains_of_any_length_are_accepted(filters in 0..5_usize, seed: u8) {
        prop_assert!(chain::check(&pipe(filters, seed)).is_ok());
    }

    #[test]
    fn a_chain_without_any_one_of_its_records_is_refused(filters in 0..5_usize, seed: u8, place: prop::sample::Index) {
        let mut records = pipe(filters, seed);
        records.remove(place.index(records.len()));
        prop_assert!(chain::check(&records).is_err());
    }

    #[test]
    fn a_chain_cut_short_anywhere_is_refused(filters in 0..5_usize, seed: u8, place: prop::sample::Index) {
        let mut records = pipe(filters, seed);
        records.truncate(place.index(records.len()));
        prop_assert!(chain::check(&records).is_err());
    }

    #[test]
    fn a_chain_with_any_one_digest_or_size_changed_is_refused(
        filters in 0..5_usize, seed: u8, stage: prop::sample::Index, of_input: bool, byte in 0..33_usize, flip in 1..=255_u8,
    ) {
        let mut records = pipe(filters, seed);
        let stages = filters + 2;
        let Record::Receipt(changed) = &mut records[stages + stage.index(stages)] else { unreachable!() };
        let extent = if of_input { changed.input.as_mut() } else { changed.output.as_mut() };
        let Some(extent) = extent else { return Ok(()) };
        match extent.sha256.0.get_mut(byte) {
            Some(digest) => *digest ^= flip,
            None => extent.bytes ^= u64::from(flip),
        }
        prop_assert!(chain::check(&records).is_err());
    }

    #[test]
    fn a_chain_whose_receipts_stand_in_another_order_is_refused(filters in 0..5_usize, seed: u8, a: prop::sample::Index, b: prop::sample::Index) {
        let mut records = pipe(filters, seed);
        let stages = filters + 2;
        let (a, b) = (stages + a.index(stages), stages + b.index(stages));
        prop_assume!(a != b);
        records.swap(a, b);
        prop_assert!(chain::check(&records).is_err());
    }

    #[test]
    fn a_chain_with_any_one_record_twice_is_refused(filters in 0..5_usize, seed: u8, place: prop::sample::Index) {
        let mut records = pipe(filters, seed);
        let doubled = records[place.index(records.len())].clone();
        records.push(doubled);
        prop_assert!(chain::check(&records).is_err());
    }
}
