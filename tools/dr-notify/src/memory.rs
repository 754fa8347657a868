//! What has each channel been told already, and what is news to it? A witness: without it everything is told.

use std::collections::BTreeMap;
use std::fs::File;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use dr_pipe::args::cluster_name;
use dr_pipe::{Failure, lock, state, warn};
use serde::{Deserialize, Serialize};

use crate::TOOL;
use crate::condition::{Condition, Level};
use crate::notice::{Change, News};

/// What a channel was told of one thing last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Told {
    /// How bad it was then.
    level: Level,
    /// Since when it has been bad.
    since_at: DateTime<Utc>,
    /// When the channel was told.
    told_at: DateTime<Utc>,
    /// When it was last seen to be so.
    seen_at: DateTime<Utc>,
}

/// What a channel was told of everything, by key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    told: BTreeMap<String, Told>,
    /// Of what happens once: the last that was told, or held back.
    events: BTreeMap<String, String>,
}

/// What all channels were told about a cluster.
pub type Memory = BTreeMap<String, Heard>;

/// What is news.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// What is not as bad as this is good.
    pub minimum: Level,
    /// Whether good news is told.
    pub all: bool,
    /// After which time what is still bad is told again.
    pub repeat: TimeDelta,
    /// The moment.
    pub now: DateTime<Utc>,
}

/// What nobody has seen for so long is forgotten: a check that is not made any more never says that it is well.
const FORGOTTEN: TimeDelta = TimeDelta::days(30);
/// What never says that it is well again is held back for so long at most.
const ENDLESS: TimeDelta = TimeDelta::hours(1);

impl Heard {
    /// What of this is news, the worst first; from now on it is none any more.
    pub fn news(&mut self, conditions: &[Condition], rule: &Rule) -> Vec<News> {
        self.told.retain(|_, told| rule.now - told.seen_at < FORGOTTEN.max(rule.repeat * 2));
        let told = &self.told;
        self.events.retain(|key, _| told.contains_key(key));
        let mut news: Vec<News> = conditions
            .iter()
            .filter_map(|condition| Some(News { change: self.change(condition, rule)?, condition: condition.clone() }))
            .collect();
        news.sort_by(|a, b| a.rank().cmp(&b.rank()).then_with(|| a.condition.key.cmp(&b.condition.key)));
        news
    }

    fn change(&mut self, condition: &Condition, rule: &Rule) -> Option<Change> {
        let before = self.told.get(&condition.key).copied();
        let was_bad = before.is_some_and(|told| told.level > Level::Good);
        let is_bad = condition.level >= rule.minimum;
        let is_told = is_bad || rule.all && condition.level == Level::Good;
        if !is_bad && was_bad {
            let since_at = before.map_or(rule.now, |told| told.since_at);
            self.forget(&condition.key);
            if is_told {
                self.note(condition, since_at, rule.now);
            }
            return Some(Change::Cleared { since_at });
        }
        if !is_told {
            self.forget(&condition.key);
            return None;
        }
        if let Some(told) = self.told.get_mut(&condition.key)
            && condition.level <= told.level
            && was_bad == is_bad
        {
            told.seen_at = rule.now;
            let same_event = condition.event.is_some() && self.events.get(&condition.key) == condition.event.as_ref();
            if same_event || !is_due(told.told_at, condition, rule) {
                return None;
            }
        }
        let since_at = before.filter(|_| was_bad).map(|told| told.since_at).or(condition.since_at);
        self.note(condition, since_at.unwrap_or(condition.found_at), rule.now);
        Some(if is_bad { Change::Bad } else { Change::Good })
    }

    fn note(&mut self, condition: &Condition, since_at: DateTime<Utc>, now: DateTime<Utc>) {
        let told = Told { level: condition.level, since_at, told_at: now, seen_at: now };
        self.told.insert(condition.key.clone(), told);
        if let Some(event) = &condition.event {
            self.events.insert(condition.key.clone(), event.clone());
        }
    }

    fn forget(&mut self, key: &str) {
        self.told.remove(key);
        self.events.remove(key);
    }
}

/// Whether it is time to tell it again. Where the clock was set back by as much, it is; by less, it was another dr-notify that told it
/// while this one waited.
fn is_due(told_at: DateTime<Utc>, condition: &Condition, rule: &Rule) -> bool {
    let repeat = if condition.kind.ends() { rule.repeat } else { rule.repeat.min(ENDLESS) };
    // A job of every night does not begin at the same second: it must not be a little too early for its own repeat.
    (rule.now - told_at).abs() >= repeat - repeat / 24
}

/// The state file of a cluster. None for a name that is none: it does not become a path.
fn file(cluster: Option<&str>) -> Option<String> {
    match cluster {
        None => Some("notify.json".into()),
        Some(name) => cluster_name(name).ok().map(|name| format!("notify-{name}.json")),
    }
}

/// What was told about a cluster; nothing where nobody knows.
pub fn recall(cluster: Option<&str>) -> Memory {
    file(cluster).and_then(|file| state::recall(&file)).unwrap_or_default()
}

/// Remembers what was told. Where that fails it is told again.
pub fn remember(cluster: Option<&str>, memory: &Memory) {
    let Some(file) = file(cluster) else { return };
    if let Err(error) = state::remember(&file, memory) {
        warn(TOOL, format!("cannot remember what was told, so it will be told again: {file}: {error}"));
    }
}

/// Waits for another dr-notify of this host to be done, so that nothing is told twice; where it takes longer than it may, that is
/// better than that nothing is told at all. Held until it is dropped.
pub fn lock(patience: Duration) -> Option<File> {
    let nothing = |why: String| {
        warn(TOOL, format!("nothing keeps two of these from telling the same: {why}"));
        None
    };
    let Some(directory) = state::directory() else { return nothing("no state directory: set DR_STATE".into()) };
    let path = directory.join("notify.lock");
    match state::make(&directory).and_then(|()| lock::wait(&path, patience)) {
        Ok(None) => nothing(format!("{} is held by another process", path.display())),
        Ok(locked) => locked,
        Err(Failure { message, hint, .. }) => nothing(format!("{message} ({hint})")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::condition::{Kind, Reader};

    fn at(hour: i64) -> DateTime<Utc> {
        "2026-01-25T00:00:00Z".parse::<DateTime<Utc>>().unwrap() + TimeDelta::hours(hour)
    }

    fn condition(kind: Kind, level: Level, event: Option<&str>) -> Condition {
        let reader = Reader { host: "h".into(), cluster: None, secrets: Vec::new(), now: at(0) };
        Condition { event: event.map(Into::into), ..reader.bare(kind, "x", None, (level, "x")) }
    }

    /// What a channel hears: `b`ad, `c`leared, `g`ood or nothing (`.`), hour by hour.
    fn hears(minimum: Level, all: bool, told: &[(i64, Condition)]) -> String {
        let mut heard = Heard::default();
        let hear = |(hour, condition): &(i64, Condition)| {
            let rule = Rule { minimum, all, repeat: TimeDelta::hours(24), now: at(*hour) };
            match heard.news(std::slice::from_ref(condition), &rule)[..] {
                [] => '.',
                [News { change: Change::Bad, .. }] => 'b',
                [News { change: Change::Cleared { .. }, .. }] => 'c',
                _ => 'g',
            }
        };
        told.iter().map(hear).collect()
    }

    fn checks(levels: &[(i64, Level)]) -> Vec<(i64, Condition)> {
        levels.iter().map(|(hour, level)| (*hour, condition(Kind::Check, *level, None))).collect()
    }

    #[test]
    fn what_is_bad_is_told_once_a_day_and_its_end_once() {
        use Level::{Critical, Good, Warning};
        let day = checks(&[(0, Good), (1, Critical), (2, Critical), (23, Critical), (25, Critical), (26, Good), (27, Good)]);
        assert_eq!(hears(Warning, false, &day), ".b..bc.");
        assert_eq!(hears(Warning, true, &day), "gb..bc.");
        // Worse is told at once, milder is not.
        let worse = checks(&[(0, Warning), (1, Critical), (2, Warning), (3, Good), (4, Warning)]);
        assert_eq!(hears(Warning, false, &worse), "bb.cb");
        assert_eq!(hears(Critical, false, &worse), ".bc..");
        // A clock that was set back far holds nothing back.
        assert_eq!(hears(Warning, false, &checks(&[(99, Critical), (98, Critical), (2, Critical), (3, Critical)])), "b.b.");
        // After a month without a word nobody remembers.
        assert_eq!(hears(Warning, false, &checks(&[(0, Critical), (24 * 31, Good)])), "b.");
    }

    #[test]
    fn one_event_is_told_once_and_the_next_one_within_a_day_not_at_all() {
        let run = |hour, level, event| (hour, condition(Kind::Run, level, Some(event)));
        let bad = Level::Critical;
        let runs = [run(0, bad, "a"), run(30, bad, "a"), run(31, bad, "b"), run(32, bad, "c"), run(55, bad, "d")];
        assert_eq!(hears(Level::Warning, false, &runs), "b.b.b");
        let well = [run(0, bad, "a"), run(1, Level::Good, "b"), run(2, bad, "c")];
        assert_eq!(hears(Level::Warning, false, &well), "bcb");
    }

    #[test]
    fn what_never_ends_is_held_back_for_an_hour() {
        let unit = |hour, event| (hour, condition(Kind::Unit, Level::Critical, Some(event)));
        assert_eq!(hears(Level::Warning, false, &[unit(0, "a"), unit(0, "b"), unit(1, "b"), unit(1, "c")]), "b.b.");
    }

    #[test]
    fn a_name_that_is_none_becomes_no_path() {
        assert_eq!(file(Some("main")).as_deref(), Some("notify-main.json"));
        for name in ["../main", "", "a/b", "a\0"] {
            assert_eq!(file(Some(name)), None);
        }
    }
}
