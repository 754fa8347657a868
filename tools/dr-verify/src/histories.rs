//! Where did each timeline come from? As signed claims say it, so that nobody needs to decrypt a history.

use std::collections::BTreeMap;

use dr_wal::history::Timelines;
use dr_wal::{Fork, History, Switch, Timeline};

/// The histories of timelines that forked so; as far back as forks are known.
pub fn known(forks: &BTreeMap<Timeline, Option<Fork>>) -> Timelines {
    forks.keys().map(|timeline| History { timeline: *timeline, switches: switches(forks, *timeline) }).collect()
}

fn switches(forks: &BTreeMap<Timeline, Option<Fork>>, timeline: Timeline) -> Vec<Switch> {
    let mut switches = Vec::new();
    let mut at = timeline;
    // Parents are older, so that this ends whatever the claims say.
    while let Some(Fork { parent_timeline, forked_at }) = forks.get(&at).copied().flatten().filter(|fork| fork.parent_timeline < at)
    {
        switches.push(Switch { timeline: parent_timeline, at: forked_at, reason: String::new() });
        at = parent_timeline;
    }
    switches.reverse();
    switches
}

#[cfg(test)]
mod tests {
    use dr_wal::Lsn;

    use super::*;

    #[test]
    fn a_history_is_put_together_from_forks() {
        let fork = |parent, at| Some(Fork { parent_timeline: Timeline(parent), forked_at: Lsn(at) });
        let forks = [(Timeline(2), fork(1, 10)), (Timeline(3), fork(2, 20)), (Timeline(5), fork(4, 50)), (Timeline(6), fork(6, 1))];
        let known = known(&forks.into_iter().collect());
        let told = |timeline| {
            let history = known.history(Timeline(timeline));
            history.map(|history| history.switches.iter().map(|switch| (switch.timeline.0, switch.at.0)).collect::<Vec<_>>())
        };
        assert_eq!(told(3), Some(vec![(1, 10), (2, 20)]));
        assert_eq!(told(5), Some(vec![(4, 50)]), "as far back as is known");
        assert_eq!(told(6), Some(vec![]), "no timeline comes from itself");
        assert_eq!(told(4), None);
    }
}
