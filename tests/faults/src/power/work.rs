//! What tools are doing when the power goes, what they have said by then, and what must be there afterwards.

use std::collections::BTreeSet;
use std::fs;

use super::site::{Ended, Kept, Site};
use super::wal;

/// A piece of work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// A pipe into dr-push, which leaves a receipt in a file.
    Push,
    /// dr-push alone, whose receipt goes to standard output.
    PushBare,
    /// dr-seal, of what dr-push has stored.
    Seal,
    /// dr-copy, from a store that is well.
    Copy,
    /// dr-delete, of two backups of four.
    Delete,
    /// dr-wal-push, of one of three segments.
    WalPush,
    /// dr-encrypt into a file.
    Encrypt,
    /// dr-pull into a file.
    Pull,
    /// dr-heartbeat, which notes how a job has ended.
    Heartbeat,
}

pub const ALL: [Work; 9] =
    [Work::Push, Work::PushBare, Work::Seal, Work::Copy, Work::Delete, Work::WalPush, Work::Encrypt, Work::Pull, Work::Heartbeat];

impl Work {
    /// Which of the streams it stores, where that is not the seed's to say.
    pub fn size(self) -> Option<usize> {
        matches!(self, Work::Copy | Work::Delete | Work::Pull).then_some(1)
    }

    /// Where its state lies, where that is not the seed's to say: it is nothing but state.
    pub fn kept(self) -> Option<Kept> {
        (self == Work::Heartbeat).then_some(Kept::OnDisk)
    }

    /// The line of shell that does it.
    pub fn line(self) -> &'static str {
        match self {
            Work::Push => "dr-run -- cat \"$INPUT\" | $TRACED dr-push",
            Work::PushBare => "unset DR_RECEIPT; $TRACED dr-push < \"$INPUT\"",
            Work::Seal => "$TRACED dr-seal < \"$DR_RECEIPT\"",
            Work::Copy => "$TRACED dr-copy --from \"$SOURCE\" latest",
            Work::Delete => "export DR_SIGNING_KEY=$DELETE_KEY; $TRACED dr-delete --grace 0 --confirm 2 --max-age 30d < decisions",
            Work::WalPush => wal::PUSH,
            Work::Encrypt => "dr-run -- cat \"$INPUT\" | $TRACED dr-encrypt > disk/file",
            Work::Pull => "$TRACED dr-pull --from \"$SOURCE\" latest > disk/file",
            Work::Heartbeat => "$TRACED dr-heartbeat run --job dump -- true",
        }
    }

    /// What has been done before, and was acknowledged.
    pub fn prepare(self, site: &Site) -> Result<(), String> {
        match self {
            Work::Push | Work::PushBare | Work::Copy | Work::Encrypt | Work::Pull => Ok(()),
            Work::Seal => site.must(Work::Push.line()).map(drop),
            Work::Heartbeat => site.must(self.line()).map(drop),
            Work::WalPush => wal::prepare(site),
            Work::Delete => {
                fs::write(site.path("decisions"), site.ground.decisions()).map_err(|error| error.to_string())?;
                site.must(&format!("cp -a {} disk/store && sync -f disk", site.ground.full().display())).map(drop)
            }
        }
    }

    /// What it has said to be done: keys, names of backups or of segments. Files that were lost say nothing any more.
    pub fn told(self, site: &Site, ended: &Ended) -> BTreeSet<String> {
        let receipts =
            || fs::read(site.kept("receipts")).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default();
        let of = |text: &str, kind: &str, field: &str| lines(text, kind).map(|line| value(line, field)).collect();
        match self {
            Work::Push => of(&receipts(), "\"type\":\"receipt\",\"tool\":\"dr-push\"", "object"),
            Work::PushBare => of(&ended.out, "\"type\":\"receipt\",\"tool\":\"dr-push\"", "object"),
            Work::Seal => of(&ended.out, "\"type\":\"manifest\"", "name"),
            Work::Copy => of(&ended.out, "\"type\":\"copied\"", "name"),
            Work::Delete => of(&ended.out, "\"type\":\"deleted\"", "name"),
            Work::WalPush => wal::told(site, ended),
            Work::Encrypt => of(&receipts(), "\"type\":\"receipt\",\"tool\":\"dr-encrypt\"", "tool"),
            Work::Pull | Work::Heartbeat => BTreeSet::new(),
        }
    }

    /// Holds what is there against what was said; `good` is whether the line had succeeded.
    pub fn judge(self, site: &Site, told: &BTreeSet<String>, good: bool) -> Result<(), String> {
        match self {
            Work::Push | Work::PushBare => {
                let there = whole_objects(site)?;
                if good && told.is_empty() {
                    return Err("it succeeded, and there is no receipt".into());
                }
                all_of(told, &there)?;
                listed(site).map(drop)
            }
            Work::Seal | Work::Copy => {
                let there = whole_objects(site)?;
                if self == Work::Seal && there.len() != 1 {
                    return Err(format!("what was pushed before is not there: {there:?}"));
                }
                if good && told.is_empty() {
                    return Err("it succeeded, and said nothing".into());
                }
                all_of(told, &listed(site)?)
            }
            Work::Delete => deleted(site, told, good),
            Work::WalPush => wal::judge(site, told),
            Work::Encrypt if good || !told.is_empty() => same(site, "dr-decrypt < disk/file > back", "back"),
            Work::Pull if good => same(site, "true", "disk/file"),
            Work::Encrypt | Work::Pull => Ok(()),
            Work::Heartbeat => runs(site, 1 + usize::from(good)),
        }
    }

    /// Does it again, without cleaning up; then it must be done.
    pub fn again(self, site: &Site, good: bool) -> Result<(), String> {
        let again = |site: &Site| site.must(self.line()).map(drop);
        match self {
            Work::Push => {
                // The receipts of a run that has succeeded are enough.
                if !good {
                    site.must("rm -f \"$DR_RECEIPT\"").and_then(|_| again(site))?;
                }
                site.must(Work::Seal.line()).and_then(|_| backups(site, 1))
            }
            Work::PushBare => again(site).and_then(|()| whole_objects(site)).map(drop),
            Work::Seal | Work::Copy => again(site).and_then(|()| backups(site, 1)),
            Work::Delete => again(site).and_then(|()| backups(site, 2)).and_then(|()| deleted(site, &BTreeSet::new(), true)),
            Work::WalPush => wal::again(site),
            Work::Encrypt => {
                site.must("rm -f \"$DR_RECEIPT\"").and_then(|_| again(site))?;
                same(site, "dr-decrypt < disk/file > back", "back")
            }
            Work::Pull => again(site).and_then(|()| same(site, "true", "disk/file")),
            Work::Heartbeat => again(site).and_then(|()| runs(site, 2 + usize::from(good))),
        }
    }
}

/// The names of all backups that are listed. Each of them comes back byte for byte.
fn listed(site: &Site) -> Result<BTreeSet<String>, String> {
    if !site.path("disk/store/dr-store.json").exists() {
        let objects = site.objects();
        return if objects.is_empty() { Ok(BTreeSet::new()) } else { Err(format!("there is no store around {objects:?}")) };
    }
    let names: BTreeSet<_> = lines(&site.must("dr-list --json")?, "\"type\":\"backup\"").map(|line| value(line, "name")).collect();
    for name in &names {
        same(site, &format!("dr-pull {name} > back"), "back")?;
    }
    Ok(names)
}

fn backups(site: &Site, count: usize) -> Result<(), String> {
    let names = listed(site)?;
    if names.len() == count { Ok(()) } else { Err(format!("{count} backups should be listed, and are: {names:?}")) }
}

/// The keys of all that was pushed, every one of which is whole.
fn whole_objects(site: &Site) -> Result<BTreeSet<String>, String> {
    let mut objects = site.objects();
    objects.retain(|key| key.ends_with(".bin"));
    let input = site.input();
    for key in &objects {
        let bytes = fs::read(site.path("disk/store").join(key)).map_err(|error| format!("{key}: {error}"))?;
        if bytes != input {
            return Err(format!("{key} is there and not whole: {} bytes of {}", bytes.len(), input.len()));
        }
    }
    Ok(objects.into_iter().collect())
}

/// What is kept is there and whole; what was said to be gone, or marked, is not listed; all of it is gone if that is so.
fn deleted(site: &Site, told: &BTreeSet<String>, gone: bool) -> Result<(), String> {
    let decisions = site.ground.decisions();
    let decided = |action| lines(&decisions, action).map(|line| value(line, "name")).collect::<BTreeSet<_>>();
    let there = listed(site)?;
    all_of(&decided("\"action\":\"keep\""), &there)?;
    if let Some(name) = told.intersection(&there).next() {
        return Err(format!("{name} was deleted, and is listed again"));
    }
    let objects = site.objects();
    let left = |name: &&String| objects.iter().any(|key| key.contains(name.as_str()));
    match decided("\"action\":\"delete\"").iter().find(left) {
        Some(name) if gone => Err(format!("{name} was removed, and something of it is there: {objects:?}")),
        _ => Ok(()),
    }
}

/// Passes a history in which there are so many runs.
fn runs(site: &Site, count: usize) -> Result<(), String> {
    let text = fs::read(site.kept("state/runs-main.jsonl")).map_err(|error| format!("the history: {error}"))?;
    let text = String::from_utf8_lossy(&text);
    let found = lines(&text, "\"type\":\"run\"").count();
    if found >= count { Ok(()) } else { Err(format!("the history has {found} runs, and {count} were noted: {text}")) }
}

/// Passes if a file holds what was stored, after a line that must succeed; it leaves no receipt among those of the work.
fn same(site: &Site, line: &str, file: &str) -> Result<(), String> {
    site.must(&format!("unset DR_RECEIPT; {line}"))?;
    let bytes = fs::read(site.path(file)).map_err(|error| format!("{file}: {error}"))?;
    if bytes == site.input() { Ok(()) } else { Err(format!("{line}: {} other bytes", bytes.len())) }
}

fn all_of(told: &BTreeSet<String>, there: &BTreeSet<String>) -> Result<(), String> {
    let lost: Vec<_> = told.difference(there).collect();
    if lost.is_empty() { Ok(()) } else { Err(format!("acknowledged, and lost: {lost:?}; there are {there:?}")) }
}

/// The whole lines of `text` which hold `part`.
fn lines<'t>(text: &'t str, part: &'t str) -> impl Iterator<Item = &'t str> {
    text.split_inclusive('\n').filter(move |line| line.ends_with("}\n") && line.contains(part))
}

/// The first value of a field of a record.
fn value(line: &str, field: &str) -> String {
    let rest = line.split_once(&format!("\"{field}\":\"")).map_or("", |(_, rest)| rest);
    rest.split('"').next().unwrap_or_default().to_owned()
}
