//! Which backup is meant? Laws of a pure choice.
#![allow(clippy::unwrap_used)]

use chrono::{DateTime, Utc};
use dr_catalogue::{Error, Selector, chain, manifest, order};
use dr_pipe::record::{self, Backup, SignatureState};
use proptest::prelude::*;

fn at(seconds: u32) -> DateTime<Utc> {
    DateTime::from_timestamp(i64::from(seconds), 0).unwrap()
}

/// One backup for each moment, in seconds since 1970.
fn backups(taken: &[u32]) -> Vec<Backup> {
    let receipts = record::read(&mut include_bytes!("receipts.jsonl").as_slice()).unwrap();
    let sample = manifest::from_chain(&chain::check(&receipts).unwrap(), "main").unwrap();
    let backup = |(place, taken): (usize, &u32)| {
        let mut manifest = sample.clone();
        manifest.taken_at = at(*taken);
        manifest.sequence = u64::from(*taken);
        manifest.name = format!("main_dump_{:010}_{place:04x}", taken);
        Backup { store: "near".into(), signature: SignatureState::Unchecked, manifest }
    };
    taken.iter().enumerate().map(backup).collect()
}

proptest! {
    #[test]
    fn the_latest_is_older_than_no_other(taken in prop::collection::vec(0..1000_u32, 1..20)) {
        let backups = backups(&taken);
        let latest = Selector::Latest.choose(&backups).unwrap();
        prop_assert!(backups.iter().all(|backup| order(backup) <= order(latest)));
    }

    #[test]
    fn the_one_at_a_moment_is_the_latest_of_those_taken_by_then(taken in prop::collection::vec(0..1000_u32, 0..20), moment in 0..1000_u32) {
        let backups = backups(&taken);
        let by_then: Vec<_> = backups.iter().filter(|backup| backup.manifest.taken_at <= at(moment)).cloned().collect();
        match (Selector::At(at(moment)).choose(&backups), Selector::Latest.choose(&by_then)) {
            (Ok(chosen), Ok(latest)) => prop_assert_eq!(chosen, latest),
            (chosen, latest) => prop_assert!(chosen.is_err() && latest.is_err()),
        }
    }

    #[test]
    fn a_whole_name_means_itself_and_a_beginning_never_guesses(taken in prop::collection::vec(0..1000_u32, 1..20), place: prop::sample::Index, length in 0..30_usize) {
        let backups = backups(&taken);
        let name = &place.get(&backups).manifest.name;
        prop_assert_eq!(&Selector::Name(name.clone()).choose(&backups).unwrap().manifest.name, name);
        let beginning = &name[..length.min(name.len())];
        let fitting = backups.iter().filter(|backup| backup.manifest.name.starts_with(beginning)).count();
        match Selector::Name(beginning.into()).choose(&backups) {
            Ok(chosen) => prop_assert!(fitting == 1 && &chosen.manifest.name == name || chosen.manifest.name == beginning),
            Err(error) => {
                let ambiguous = matches!(error, Error::Ambiguous { .. });
                prop_assert!(ambiguous && fitting > 1);
            }
        }
    }
}
