//! One piece of work, and the moment at which the power goes.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;

use super::disk::Loss;
use super::ground::{Ground, SIZES};
use super::site::{Kept, Site};
use super::work::{ALL, Work};
use crate::seeds::Random;

/// The tool had said that its work was done.
pub const ACKNOWLEDGED: &str = "acknowledged and there";
/// It had not.
pub const NOT_ACKNOWLEDGED: &str = "not acknowledged";

/// The system calls at which the power may go: those that write, name, remove or sync, and those around them.
const CALLS: [&str; 20] = [
    "openat",
    "write",
    "close",
    "fsync",
    "fdatasync",
    "fadvise64",
    "ftruncate",
    "mkdir",
    "mkdirat",
    "fchmod",
    "fchown",
    "link",
    "linkat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "fstat",
    "exit_group",
];

/// Which of these calls each piece of work makes, and how often in one thread.
pub struct Calls(BTreeMap<Work, BTreeMap<String, usize>>);

impl Calls {
    /// Does all work once, and looks.
    ///
    /// # Panics
    /// If it fails without a fault.
    pub fn rehearse(ground: &Ground) -> Calls {
        let rehearsed = ALL.iter().map(|work| (*work, calls_of(ground, *work).unwrap_or_else(|why| panic!("{work:?}: {why}"))));
        Calls(rehearsed.collect())
    }
}

impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |calls: &BTreeMap<String, usize>| calls.values().sum::<usize>();
        let said: Vec<_> = self.0.iter().map(|(work, calls)| format!("{} moments in {work:?}", count(calls))).collect();
        f.write_str(&said.join(", "))
    }
}

fn calls_of(ground: &Ground, work: Work) -> Result<BTreeMap<String, usize>, String> {
    let size = work.size().unwrap_or(SIZES.len() - 1);
    let site = Site::new(ground, work.kept().unwrap_or(Kept::Beside), size, "ordered")?;
    work.prepare(&site)?;
    let ended =
        site.run(work.line(), &format!("strace -f -qq -o trace -e trace={}", CALLS.map(|call| format!("?{call}")).join(",")));
    if !ended.good {
        return Err(ended.said);
    }
    let trace = fs::read_to_string(site.path("trace")).map_err(|error| error.to_string())?;
    let mut counts = BTreeMap::<(&str, &str), usize>::new();
    for line in trace.lines().filter(|line| !line.contains("resumed>")) {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let Some((call, _)) = call.trim_start().split_once('(') else { continue };
        *counts.entry((thread, call)).or_default() += 1;
    }
    let mut most = BTreeMap::new();
    for ((_, call), count) in counts {
        let of = most.entry(call.to_owned()).or_default();
        *of = count.max(*of);
    }
    Ok(most)
}

/// What is done, and when it ends.
#[derive(Debug)]
pub struct Trial {
    work: Work,
    /// The system call, and the how manyth of its thread; none: the power goes when all is done.
    moment: Option<(String, usize)>,
    loss: Loss,
    kept: Kept,
    data: &'static str,
    size: usize,
}

impl Trial {
    /// The trial that a seed makes.
    pub fn of(seed: u64, calls: &Calls) -> Trial {
        let mut random = Random(seed);
        let work = ALL[random.below(ALL.len())];
        let calls = &calls.0[&work];
        let (call, count) = calls.iter().nth(random.below(calls.len())).expect("it makes some");
        let moment = (call.clone(), 1 + random.below(*count));
        Trial {
            work,
            moment: (random.below(4) > 0).then_some(moment),
            loss: [Loss::Bytes, Loss::All][random.below(2)],
            kept: work.kept().unwrap_or([Kept::Beside, Kept::OnDisk][random.below(2)]),
            data: ["ordered", "writeback"][random.below(2)],
            size: work.size().unwrap_or(random.below(SIZES.len())),
        }
    }

    /// Does the work, takes the power, and looks; then does it again, which must succeed.
    pub fn run(self, ground: &Ground) -> Result<&'static str, String> {
        self.tried(ground).map_err(|why| format!("{why}: {self:?}"))
    }

    fn tried(&self, ground: &Ground) -> Result<&'static str, String> {
        let site = Site::new(ground, self.kept, self.size, self.data)?;
        self.work.prepare(&site)?;
        // Without --seccomp-bpf, with which signals do not arrive (strace 6.1).
        let traced = self
            .moment
            .as_ref()
            .map(|(call, n)| format!("strace -f -qq -o /dev/null -e trace={call} -e inject={call}:signal=KILL:when={n}"));
        let ended = site.run(self.work.line(), &traced.unwrap_or_default());
        if !(ended.good || ended.killed && self.moment.is_some()) {
            return Err(format!("it failed before the power went: {}", ended.said));
        }
        site.lose(self.loss)?;
        let told = self.work.told(&site, &ended);
        self.work.judge(&site, &told, ended.good)?;
        self.work.again(&site, ended.good).map_err(|why| format!("it does not succeed later: {why}"))?;
        Ok(if told.is_empty() && !ended.good { NOT_ACKNOWLEDGED } else { ACKNOWLEDGED })
    }
}
