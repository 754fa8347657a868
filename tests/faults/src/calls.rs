//! Has one system call of a tool fail, and looks whether the tool says so as its manual page does, and what it calls done is done.

mod tools;

use std::fs;
use std::process::{ExitCode, Output};

use crate::Seeds;
use crate::host::{Host, Place, ended, said};
use crate::manual::codes;
use crate::seeds::{Random, try_all};
use crate::strace;
use tools::{TOOLS, Tool, is_failed, last_words};

/// What each call can really fail with, in strace's words. Left out are: close, as the kernel closes whatever it answers, and strace
/// does not; what waits and wakes; what no kernel refuses.
const CALLS: [(&str, &[&str]); 27] = [
    // The kernel does not say -ENOMEM, but where the memory ends: below what was asked for.
    ("brk", &["retval=0"]),
    ("clone3", &["error=ENOMEM"]),
    ("fchmod", &["error=EIO", "error=ENOMEM"]),
    ("fcntl", &["error=EMFILE"]),
    ("fstat", &["error=EIO", "error=ENOMEM"]),
    ("fsync", &["error=EIO", "error=ENOSPC", "error=EINTR"]),
    ("getdents64", &["error=EIO", "error=ENOMEM"]),
    ("getrandom", &["error=EINTR"]),
    ("linkat", &["error=EIO", "error=ENOSPC", "error=ENOMEM"]),
    ("mkdir", &["error=EIO", "error=ENOSPC", "error=ENOMEM"]),
    ("mkdirat", &["error=EIO", "error=ENOSPC", "error=ENOMEM"]),
    ("mmap", &["error=ENOMEM"]),
    ("mprotect", &["error=ENOMEM"]),
    ("newfstatat", &["error=EIO", "error=ENOMEM"]),
    ("openat", &["error=EIO", "error=ENOSPC", "error=EINTR", "error=EMFILE", "error=ENOMEM"]),
    ("pipe2", &["error=EMFILE", "error=ENOMEM"]),
    ("pread64", &["error=EIO", "error=EINTR", "error=ENOMEM"]),
    ("pwrite64", &["error=EIO", "error=ENOSPC", "error=EINTR"]),
    ("read", &["error=EIO", "error=EINTR", "error=ENOMEM"]),
    ("readlink", &["error=EIO", "error=ENOMEM"]),
    ("recvfrom", &["error=EINTR"]),
    ("rename", &["error=EIO", "error=ENOSPC", "error=ENOMEM"]),
    ("socketpair", &["error=EMFILE", "error=ENOMEM"]),
    ("statx", &["error=EIO", "error=ENOMEM"]),
    ("unlinkat", &["error=EIO", "error=ENOMEM"]),
    ("write", &["error=EIO", "error=ENOSPC", "error=EINTR", "error=EPIPE"]),
    ("writev", &["error=EIO", "error=ENOSPC", "error=EINTR", "error=EPIPE"]),
];

/// That a signal came.
const INTERRUPTED: &str = "error=EINTR";

/// How often a call is interrupted, at most: for good would be for ever, as whoever is interrupted tries again.
const INTERRUPTIONS: usize = 20;

/// How long a tool may take that meets a fault, in seconds.
const PATIENCE: &str = "60";

/// That of a panic that we catch. It is documented, and never right.
const BUG: i32 = 70;

/// The tool did what it was to do.
const SUCCEEDED: &str = "succeeded in spite of it";
/// The tool failed, and nothing was published.
const FAILED: &str = "failed as documented";
/// The tool failed at the last, and what it had done was whole.
const LATE: &str = "failed as documented, with a whole backup";
/// The call was not made this time: threads take turns in another way.
const UNMET: &str = "not met";

/// What all seeds share.
struct Bench {
    host: Host,
    /// What can fail.
    targets: Vec<Target>,
}

/// Calls of one name, by which faults can be made.
struct Target {
    tool: &'static Tool,
    /// Only those that meet this file or directory; all, if none.
    path: Option<&'static str>,
    call: &'static str,
    errors: &'static [&'static str],
    /// The numbers that come after main() was called.
    numbers: std::ops::RangeInclusive<usize>,
}

/// A call, and how it fails.
#[derive(Debug)]
struct Fault {
    tool: &'static Tool,
    path: Option<&'static str>,
    call: &'static str,
    error: &'static str,
    /// Such as `3` or `3+`.
    when: String,
    /// Standard error fails as well.
    mute: bool,
}

/// Tries all seeds: each makes one fault.
#[expect(clippy::print_stdout, reason = "a campaign for people")]
pub fn run(seeds: &Seeds) -> ExitCode {
    let bench = Bench::new();
    for tool in &TOOLS {
        let calls = bench.targets.iter().filter(|target| std::ptr::eq(target.tool, tool));
        println!("calls: {}: {} calls to fail", tool.name, calls.map(|target| target.numbers.clone().count()).sum::<usize>());
    }
    try_all("calls", seeds, &[SUCCEEDED, FAILED], |seed| {
        let fault = bench.fault(seed);
        bench.meets(&fault).map_err(|why| format!("{fault:?}: {why}"))
    })
}

impl Bench {
    /// Watches each tool do its work without a fault.
    ///
    /// # Panics
    /// If any of it fails.
    fn new() -> Bench {
        let mut bench = Bench { host: Host::new(None, Vec::new()), targets: Vec::new() };
        bench.targets = TOOLS.iter().flat_map(|tool| bench.targets_of(tool)).collect();
        bench
    }

    /// What can fail of a tool.
    fn targets_of(&self, tool: &'static Tool) -> Vec<Target> {
        let whole = std::iter::once(None).chain(tool.paths.iter().copied().map(Some));
        let targets = whole.flat_map(|path| {
            let place = self.host.place();
            tool.prepare(&place).expect("a run without a fault");
            let words = path.map(|name| only(&place, name)).unwrap_or_default();
            place.must(&tool.below(&format!("strace -f -q -o traced{words}"))).expect("a run without a fault");
            let log = fs::read_to_string(place.path("traced")).expect("strace's log");
            let known = strace::count(&log).into_iter().filter_map(|counted| {
                let (call, errors) = CALLS.into_iter().find(|(name, _)| *name == counted.name)?;
                // The loader is not called with our paths.
                let before_main = if path.is_some() { 0 } else { counted.before_main };
                Some(Target { tool, path, call, errors, numbers: before_main + 1..=counted.most })
            });
            known.filter(|target| !target.numbers.is_empty()).collect::<Vec<_>>()
        });
        targets.collect()
    }

    /// The fault that a seed makes.
    fn fault(&self, seed: u64) -> Fault {
        let mut random = Random(seed);
        let tool = &TOOLS[random.below(TOOLS.len())];
        let targets = self.targets.iter().filter(|target| std::ptr::eq(target.tool, tool));
        let calls: Vec<_> = targets.flat_map(|target| target.numbers.clone().map(move |number| (target, number))).collect();
        let (Target { path, call, errors, .. }, number) = calls[random.below(calls.len())];
        let error = errors[random.below(errors.len())];
        let when = match (random.below(3), error) {
            (0, INTERRUPTED) => format!("{number}..{}", number + INTERRUPTIONS - 1),
            (0, _) => format!("{number}+"),
            _ => number.to_string(),
        };
        Fault { tool, path: *path, call, error, when, mute: random.below(10) == 0 }
    }

    /// Runs the tool with the fault, then all that comes after it without, then all of it again.
    fn meets(&self, fault: &Fault) -> Result<&'static str, String> {
        let (place, tool) = (self.host.place(), fault.tool);
        tool.prepare(&place)?;
        let output = fault.run(&place);
        let log = fs::read_to_string(place.path("traced")).unwrap_or_default();
        let context = |why: String| format!("{why}; {} ended with {}: {}", tool.name, ended(output.status), said(&output));
        let code = fault.judge(&output, &log).map_err(context)?;
        // As in a shell without pipefail, whatever the code was.
        let rest = tool.finish(&place);
        let visible = place.visible().map_err(context)?.len();
        match (code, visible) {
            (0, n) if n == usize::from(tool.is_sealed()) => tool.proves(&place).map_err(context)?,
            (0, n) => return Err(context(format!("success, and {n} backups: {}", last_words(rest.as_ref())))),
            (_, 0) => {}
            (_, 1) if tool.ends_late(&log, &said(&output)) => tool.proves(&place).map_err(context)?,
            (_, n) => return Err(context(format!("a failure, and {n} backups"))),
        }
        let again = tool.again(&place, visible)?;
        if again != place.visible()?.len() {
            return Err(format!("{visible} backups, and {} after another run", place.visible()?.len()));
        }
        place.proves()?;
        Ok(match (code, visible) {
            _ if !log.contains("(INJECTED)") => UNMET,
            (0, _) => SUCCEEDED,
            (_, 0) => FAILED,
            _ => LATE,
        })
    }
}

impl Fault {
    /// Runs the tool, where the call fails.
    fn run(&self, place: &Place<'_>) -> Output {
        let words = self.path.map(|name| only(place, name)).unwrap_or_default();
        let Fault { call, error, when, .. } = self;
        let strace = format!("strace -f -y -q --seccomp-bpf -o traced -e trace={call} -e inject={call}:{error}:when={when}{words}");
        let mute = if self.mute { " 2>/dev/full" } else { "" };
        place.dash(&format!("{}{mute}", self.tool.below(&format!("timeout -s KILL {PATIENCE} {strace}"))))
    }

    /// Whether a tool may end so; gives its code.
    fn judge(&self, output: &Output, log: &str) -> Result<i32, String> {
        let code = output.status.code().ok_or("a signal ended it")?;
        if code == BUG || !codes(self.tool.name).contains(&code) {
            return Err("its manual page knows no such end".into());
        }
        if code == 0 {
            let unsynced = |line: &&str| self.call == "fsync" && self.error != INTERRUPTED && line.contains("(INJECTED)");
            return log.lines().find(unsynced).map_or(Ok(0), |line| Err(format!("it calls durable what was not synced: {line}")));
        }
        let muted = log.lines().any(|line| line.contains("write(2<") && is_failed(line));
        if self.mute || muted {
            return Ok(code);
        }
        self.tool.says(&said(output)).map(|()| code)
    }
}

/// The words that keep strace to a file or directory of a place.
fn only(place: &Place<'_>, name: &str) -> String {
    format!(" -P {}", place.path(name).display())
}
