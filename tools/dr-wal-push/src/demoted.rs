//! Has another server taken over? A history in a store tells that a newer timeline has left this one behind; what the old
//! primary writes after that point would only confuse a recovery.

use chrono::{DateTime, TimeDelta, Utc};
use dr_catalogue::PublicKey;
use dr_pipe::{Exit, Failure};
use dr_wal::{Error, Fork, SegmentName, SegmentSize, Shelf, Timeline, WalName};

use crate::memory::Forks;
use crate::stores::Stores;

/// How many timelines after one's own are looked for beyond the newest that is found.
const AFTER: u32 = 2;

/// Looks for newer timelines, once a minute, or once an hour where no store may be read. Tells whether it looked.
pub fn look(stores: &Stores, timeline: Timeline, trusted: &[PublicKey], now: DateTime<Utc>, forks: &mut Forks) -> bool {
    let pause = if forks.denied { TimeDelta::hours(1) } else { TimeDelta::minutes(1) };
    if forks.asked_at.is_some_and(|asked_at| (now - asked_at).abs() < pause) {
        return false;
    }
    forks.asked_at = Some(now);
    forks.denied = true;
    for (_, shelf) in stores.shelves() {
        match newer(&shelf, timeline, trusted) {
            Ok(found) => {
                forks.denied = false;
                forks.found.extend(found);
            }
            Err(Error::Store(dr_store::Error::Denied { .. })) => {}
            // Whatever else is wrong with the store, the push itself will say.
            Err(_) => forks.denied = false,
        }
    }
    true
}

/// The timelines after `timeline` that a store has the history of. A claim that is not to be trusted counts for nothing:
/// else whoever can write there could stop the archiving.
fn newer(shelf: &Shelf, timeline: Timeline, trusted: &[PublicKey]) -> Result<Vec<(u32, Fork)>, Error> {
    let (mut found, mut next, mut absent) = (Vec::new(), timeline, 0);
    while absent < AFTER {
        let Some(number) = next.0.checked_add(1) else { break };
        next = Timeline(number);
        let name = WalName::History(next);
        let inventory = shelf.inventory_of_name(&name)?;
        let Some(item) = inventory.files.get(&name).filter(|item| !item.objects.is_empty()) else {
            absent += 1;
            continue;
        };
        absent = 0;
        match shelf.claims_of(item, &name, trusted) {
            Ok(claims) => found.extend(claims.into_iter().filter_map(|claim| Some((number, claim.fork?)))),
            Err(Error::Store(error)) => return Err(error.into()),
            Err(_) => {}
        }
    }
    Ok(found)
}

/// Refuses a segment that begins after its timeline was left behind.
///
/// # Errors
/// 80.
pub fn refuse(forks: &Forks, segment: SegmentName, size: SegmentSize) -> Result<(), Failure> {
    let Some((newer, fork)) = forks.leaving(segment.timeline, segment.start(size)) else { return Ok(()) };
    let message = format!(
        "{segment}: this server was demoted: timeline {newer} has left timeline {} behind at {}",
        segment.timeline, fork.forked_at
    );
    let hint = "stop this server and make it a standby of the new primary (pg_rewind); if it is the right one, let it archive under \
                another --cluster, or here with --allow-fork";
    Err(Failure::new(Exit::Refused, message, hint))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn only_what_begins_after_the_fork_is_refused() {
        let mut forks = Forks::default();
        forks.found.insert(2, Fork { parent_timeline: Timeline(1), forked_at: "0/5000028".parse().unwrap() });
        let refused = |name: &str| refuse(&forks, name.parse().unwrap(), SegmentSize::DEFAULT).is_err();
        assert!(!refused("000000010000000000000004"));
        assert!(!refused("000000010000000000000005"), "the fork is inside of it");
        assert!(refused("000000010000000000000006"));
        assert!(!refused("000000020000000000000006") && !refused("000000030000000000000006"));
    }
}
