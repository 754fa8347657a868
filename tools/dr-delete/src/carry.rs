//! Carries a plan out: each step can be repeated, and a kill after any of them leaves what the next run completes.

use chrono::Utc;
use dr_pipe::record::Record;
use dr_pipe::{Exit, Failure, Outcome, warn};
use dr_store::{Put, Removed, Store};

use crate::TOOL;
use crate::grave::{Done, Grave};
use crate::plan::{DeletePlan, Removal, Work};
use crate::survey::Survey;

/// What a step that is denied leaves.
const AGAIN: &str = "every step can be repeated: run it again";

/// Removes what is due, in all stores, then marks what is to be marked: what is full has room for that only then. `tell` hears of
/// each thing that was done.
///
/// # Errors
/// 77 where a store denied some of it, after the rest was tried; at once where it fails otherwise.
pub fn carry_out(plan: DeletePlan<'_>, tell: &mut impl FnMut(&Record) -> Result<(), Failure>) -> Outcome {
    plan.clock.remember();
    let mut denied = None;
    for Work { survey, removals, .. } in &plan.works {
        for key in &survey.strays {
            go_on(&mut denied, survey.store.remove(key).map_err(Failure::from))?;
        }
        remove_all(survey, removals, &mut denied, tell)?;
    }
    for Work { survey, marks, waiting, .. } in &plan.works {
        for grave in marks {
            if go_on(&mut denied, mark(&survey.store, &survey.key, grave))?.is_some() {
                tell(&grave.told(&survey.named(), Done::nothing("marked"), Utc::now()))?;
            }
        }
        for grave in waiting {
            tell(&grave.told(&survey.named(), Done::nothing("waiting"), Utc::now()))?;
        }
    }
    for Work { survey, at_once, .. } in &plan.works {
        remove_all(survey, at_once, &mut denied, tell)?;
    }
    denied.map_or(Ok(Exit::Good), |failure: Failure| Err(failure.leaving(format!("what was allowed is done; {AGAIN}"))))
}

fn remove_all(
    survey: &Survey,
    removals: &[Removal],
    denied: &mut Option<Failure>,
    tell: &mut impl FnMut(&Record) -> Result<(), Failure>,
) -> Result<(), Failure> {
    for removal in removals {
        if let Some(Some(done)) = go_on(denied, remove(&survey.store, removal))? {
            tell(&removal.grave.told(&survey.named(), done, Utc::now()))?;
        }
    }
    Ok(())
}

/// Where a step is denied, the others may be allowed: it is noted. Any other failure ends the run.
fn go_on<T>(denied: &mut Option<Failure>, step: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match step {
        Ok(done) => Ok(Some(done)),
        Err(failure) if failure.exit == Exit::Denied => {
            match denied {
                Some(_) => warn(TOOL, &failure.message),
                None => *denied = Some(failure),
            }
            Ok(None)
        }
        Err(failure) => Err(failure.leaving(AGAIN)),
    }
}

/// The signature first: a tombstone without one does not count.
fn mark(store: &Store, key: &dr_catalogue::SigningKey, grave: &Grave) -> Result<(), Failure> {
    let (text, signature) = grave.signed(key);
    match store.put_ahead(&grave.signature_key(), &signature) {
        // Left by a run that was killed before it wrote the tombstone itself.
        Err(dr_store::Error::Exists { .. }) if store.size(&grave.key())?.is_none() => {
            if let Removed::Held { until } = store.remove(&grave.signature_key())? {
                let until = until.map_or_else(|| "for good".into(), |until| format!("until {until}"));
                let message = format!("{} was left by a run that was killed, and is locked {until}", grave.signature_key());
                return Err(Failure::new(Exit::Denied, message, "it can be marked when the lock has ended"));
            }
            store.put_ahead(&grave.signature_key(), &signature)?;
        }
        put => drop(put?),
    }
    match store.put(&grave.key(), &text)? {
        Put::Created | Put::Identical => Ok(()),
    }
}

/// Removes what a tombstone speaks of, and the tombstone last. None where somebody took the mark off meanwhile.
fn remove(store: &Store, Removal { grave, steps, locked_until }: &Removal) -> Result<Option<Done>, Failure> {
    if locked_until.is_some() {
        return Ok(Some(Done { held_until_at: *locked_until, ..Done::nothing("held") }));
    }
    let mut done = Done::nothing("removed");
    for step in steps {
        if store.size(&grave.key())?.is_none() {
            let before = if done.objects == 0 { String::new() } else { format!("; {} of its objects are gone", done.objects) };
            warn(TOOL, format!("{} is not marked any more: it is left{before}", grave.name()));
            return Ok(None);
        }
        for (key, bytes) in step {
            match store.remove(key)? {
                Removed::Gone => (done.objects, done.bytes) = (done.objects + 1, done.bytes + bytes),
                Removed::Absent => {}
                Removed::Held { until } => return Ok(Some(Done { state: "held", held_until_at: until, ..done })),
            }
        }
    }
    for key in [grave.key(), grave.signature_key()] {
        if let Removed::Held { until } = store.remove(&key)? {
            return Ok(Some(Done { state: "held", held_until_at: until, ..done }));
        }
    }
    Ok(Some(done))
}
