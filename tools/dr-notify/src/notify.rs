//! Reads what happened, finds out what is news to whom, and tells it.

use std::collections::BTreeMap;
use std::io::{BufReader, Read};
use std::sync::Arc;

use chrono::Utc;
use dr_pipe::record::{self, Record};
use dr_pipe::words::one_line;
use dr_pipe::{Exit, Failure, Outcome, redact, stop, stream, warn};
use dr_post::Client;

use crate::args::Args;
use crate::channel::{self, Channel, Post};
use crate::condition::{Condition, Kind, Level, Reader};
use crate::memory::{self, Heard, Memory, Rule};
use crate::notice::{Change, News, Notice};
use crate::preflight::preflight;
use crate::{TOOL, unit};

/// As much is read: records of more are those of no check.
const INPUT_BYTES: u64 = 64 << 20;

/// Conditions by the cluster they are about.
type ByCluster = BTreeMap<Option<String>, Vec<Condition>>;

/// Tells every channel what is news to it. What fails in one keeps nothing from another.
pub fn notify(args: Args) -> Outcome {
    if args.preflight {
        return preflight(&args);
    }
    // Before anything is told: what goes wrong is said with them.
    let (channels, mut failures) = channel::load(&args.channel, &args.channels)?;
    let mut secrets = redact::environment();
    secrets.extend(channels.iter().flat_map(Channel::secrets));
    let host = one_line(&dr_pipe::host::name());
    let reader = Reader { host, cluster: args.cluster.clone(), secrets, now: Utc::now() };
    let conditions = if args.test {
        vec![reader.test()]
    } else if let Some(unit) = &args.unit {
        vec![match args.service_result.as_deref() {
            Some("success") => unit::success(unit, &reader),
            result => unit::failure(unit, result, &reader),
        }]
    } else {
        let (records, damaged) = records()?;
        let mut conditions = reader.conditions(records);
        conditions.extend(damaged.iter().map(|failure| reader.damage(failure)));
        failures.extend(damaged);
        conditions
    };
    let mut by_cluster = ByCluster::new();
    for condition in conditions {
        by_cluster.entry(condition.cluster.clone()).or_default().push(condition);
    }
    if !by_cluster.is_empty() {
        stop::hint("run it again; some channels may have been told, and will be told once more");
        failures.extend(unheard(&channels, &by_cluster));
        let teller = Teller { post: Client::new(&args.post)?, args: &args, reader: &reader };
        failures.extend(teller.tell_all(&channels, &by_cluster));
    }
    worst(failures)
}

/// Standard input, and what is wrong with it. A line that cannot be read hides no other.
fn records() -> Result<(Vec<Record>, Option<Failure>), Failure> {
    let mut bytes = Vec::new();
    let read = BufReader::new(stream::input()?).take(INPUT_BYTES + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::io("reading records", &error))?;
    match record::read(&mut &bytes[..]) {
        Ok(records) if bytes.len() as u64 <= INPUT_BYTES => Ok((records, None)),
        Ok(records) => {
            let hint = "give it those of one check, verification or drill";
            Ok((records, Some(Failure::new(Exit::Damaged, "more than 64 MiB of records", hint))))
        }
        Err(failure) => {
            let lines = bytes.split_inclusive(|byte| *byte == b'\n');
            Ok((lines.filter_map(|line| record::read(&mut &line[..]).ok()).flatten().collect(), Some(failure)))
        }
    }
}

/// That something is bad about clusters whose notices nobody takes.
fn unheard(channels: &[Channel], by_cluster: &ByCluster) -> Option<Failure> {
    let bad = |conditions: &[Condition]| conditions.iter().any(|condition| condition.level > Level::Good);
    let nobody = |cluster: &Option<String>| !channels.iter().any(|channel| channel.takes(cluster.as_deref()));
    let unheard = by_cluster.iter().filter(|(cluster, conditions)| bad(conditions) && nobody(cluster));
    let names: Vec<_> = unheard.filter_map(|(cluster, _)| cluster.as_deref()).collect();
    let hint = "add them to the clusters of a channel, or name none there";
    let message = || format!("no channel takes notices of cluster {}, and something is wrong there", names.join(", "));
    (!names.is_empty()).then(|| Failure::new(Exit::Config, message(), hint))
}

/// Says all that failed, the worst last: it decides the exit code.
fn worst(mut failures: Vec<Failure>) -> Outcome {
    failures.sort_by(|a, b| (a.exit, &a.message).cmp(&(b.exit, &b.message)));
    let Some(worst) = failures.pop() else { return Ok(Exit::Good) };
    for failure in failures {
        warn(TOOL, format!("{}: {}", failure.message, failure.hint));
    }
    Err(worst)
}

/// What tells channels.
struct Teller<'a> {
    post: Client,
    args: &'a Args,
    reader: &'a Reader,
}

/// What a channel has heard of a cluster now.
type Told = (Option<String>, Heard);

impl Teller<'_> {
    /// Tells all channels at once, and gives what failed.
    fn tell_all(&self, channels: &[Channel], by_cluster: &ByCluster) -> Vec<Failure> {
        // Held until all is remembered.
        let _lock = if self.args.test { None } else { memory::lock(self.args.patience() * 2) };
        let recall = |cluster: &Option<String>| (cluster.clone(), memory::recall(cluster.as_deref()));
        let mut memories: BTreeMap<_, Memory> =
            if self.args.test { BTreeMap::new() } else { by_cluster.keys().map(recall).collect() };
        let before = Arc::new(memories.clone());
        let outcomes: Vec<(Vec<Told>, Option<Failure>)> = std::thread::scope(|scope| {
            let tell = |channel| {
                let before = Arc::clone(&before);
                scope.spawn(move || self.tell(channel, by_cluster, &before))
            };
            let threads: Vec<_> = channels.iter().map(tell).collect();
            threads.into_iter().map(|thread| thread.join().expect("a panic ends the process")).collect()
        });
        let mut failures = Vec::new();
        for (channel, (told, failure)) in channels.iter().zip(outcomes) {
            for (cluster, heard) in told {
                memories.entry(cluster).or_default().insert(channel.key.clone(), heard);
            }
            failures.extend(failure.map(|failure| failure.within(format!("channel {}", channel.name))));
        }
        if !self.args.test {
            let changed = memories.iter().filter(|(cluster, memory)| before.get(cluster) != Some(memory));
            changed.for_each(|(cluster, memory)| memory::remember(cluster.as_deref(), memory));
        }
        failures
    }

    /// Tells one channel about every cluster, until it fails.
    fn tell(
        &self,
        channel: &Channel,
        by_cluster: &ByCluster,
        before: &BTreeMap<Option<String>, Memory>,
    ) -> (Vec<Told>, Option<Failure>) {
        let post = Post::new(&self.post, self.args.patience());
        let mut told = Vec::new();
        for (cluster, conditions) in by_cluster {
            let test = |condition: &Condition| condition.kind == Kind::Test;
            if !channel.takes(cluster.as_deref()) && !conditions.iter().any(test) {
                continue;
            }
            let mut heard = before.get(cluster).and_then(|memory| memory.get(&channel.key)).cloned().unwrap_or_default();
            let rule = Rule { minimum: channel.minimum, all: self.args.all, repeat: self.args.repeat(), now: self.reader.now };
            let news = match &conditions[..] {
                [condition] if test(condition) => vec![News { condition: condition.clone(), change: Change::Good }],
                conditions => heard.news(conditions, &rule),
            };
            if !news.is_empty() {
                let (id, host) = (uuid::Uuid::new_v4().to_string(), self.reader.host.clone());
                let notice = Notice { id, at: self.reader.now, host, cluster: cluster.clone(), news };
                if let Err(failure) = channel.tell(&notice, &post) {
                    return (told, Some(failure));
                }
            }
            told.push((cluster.clone(), heard));
        }
        (told, None)
    }
}
