//! Kills a stage of the pipe, whenever it may be, and looks whether half a backup is ever taken for a whole one.

use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use dr_testing::postgres::Server;

use crate::Seeds;
use crate::host::{Host, Place, ended, said};
use crate::seeds::{Random, try_all};
use crate::strace::{self, Calls};

/// The version of the one server that all seeds dump.
const MAJOR: u32 = 15;

/// The stages, in their order; the last one runs after the pipe.
const STAGES: [&str; 4] = ["dr-dump shop", "dr-encrypt", "dr-push", "dr-seal"];

/// Rows of each table: encrypted they take more than one buffer of any stage.
const ROWS: usize = 6000;

/// The calls at which a stage is killed: those that somebody else can see, or waits for, and those of its last moments. What the
/// kernel is told to do then is not done.
const CALLS: [&str; 33] = [
    "clone3",
    "close",
    "connect",
    "exit",
    "exit_group",
    "fchmod",
    "fcntl",
    "fsync",
    "futex",
    "getdents64",
    "getrandom",
    "linkat",
    "lseek",
    "mkdirat",
    "mmap",
    "munmap",
    "openat",
    "pipe2",
    "poll",
    "pread64",
    "pwrite64",
    "read",
    "readlink",
    "recvfrom",
    "renameat2",
    "sendto",
    "socket",
    "statx",
    "unlinkat",
    "vfork",
    "wait4",
    "write",
    "writev",
];

/// No backup is there.
const NOTHING: &str = "nothing published";
/// The stage was killed after it had done its work.
const WHOLE: &str = "published whole";
/// The stage came to its end first: other threads, or a machine that was quicker.
const UNHURT: &str = "not killed in time";

/// What all seeds share.
struct Pipe {
    host: Host,
    /// The calls of each stage.
    calls: Vec<Vec<Calls>>,
    /// How long the pipe takes, and dr-seal.
    takes: [Duration; 2],
    _server: Server,
}

/// Tries all seeds: each kills one stage, at one call or after some time.
#[expect(clippy::print_stdout, reason = "a campaign for people")]
pub fn run(seeds: &Seeds) -> ExitCode {
    let pipe = Pipe::new();
    for (stage, calls) in STAGES.iter().zip(&pipe.calls) {
        println!(
            "kills: {stage}: {} of {} calls to be killed at",
            calls.len(),
            calls.iter().map(|calls| calls.most).sum::<usize>()
        );
    }
    try_all("kills", seeds, &[NOTHING, WHOLE], |seed| {
        let kill = pipe.kill(seed);
        pipe.meets(&kill).map_err(|why| format!("{kill:?}: {why}"))
    })
}

/// A stage and its end.
#[derive(Debug)]
struct Kill {
    stage: usize,
    at: At,
    /// The store is there before the first backup.
    prepared: bool,
    /// The second run is given the same file for its receipts.
    same_receipts: bool,
}

/// When a stage is killed.
#[derive(Debug)]
enum At {
    /// Before the call of this name and number.
    Call(String, usize),
    /// After so much time.
    Time(Duration),
}

impl Kill {
    /// The stage as a shell runs it: what its end was goes to the file `ended`.
    fn command(&self) -> String {
        let stage = STAGES[self.stage];
        let kills = match &self.at {
            // Without --seccomp-bpf, with which signals do not arrive (strace 6.1).
            At::Call(name, number) => {
                format!("strace -f -q -o traced -e trace={name} -e inject={name}:signal=KILL:when={number}")
            }
            At::Time(after) => format!("timeout -s KILL {:.4}", after.as_secs_f64()),
        };
        format!("{{ {kills} {stage}; echo $? >ended; }}")
    }

    /// Whether it came to that.
    fn came(&self, place: &Place<'_>) -> bool {
        // Of a shell: 128, and the number of SIGKILL.
        let read = |name: &str| fs::read_to_string(place.path(name)).unwrap_or_default();
        read("ended").trim() == "137" || read("traced").contains("+++ killed by SIGKILL +++")
    }
}

/// The pipe as people write it, with these stages.
fn script(stages: [&str; 4]) -> String {
    let [dump, encrypt, push, seal] = stages;
    format!("{dump} | {encrypt} | {push}\n{seal} <\"$DR_RECEIPT\" >sealed")
}

impl Pipe {
    /// Starts the server, and watches one run without a fault.
    ///
    /// # Panics
    /// If any of it fails.
    fn new() -> Pipe {
        let server = Server::start(MAJOR);
        server.psql("postgres", "CREATE DATABASE shop");
        let made = |name: &str| {
            format!("CREATE TABLE {name} AS SELECT n, sha512(n::text::bytea) AS noise FROM generate_series(1, {ROWS}) n;")
        };
        server.psql("shop", &["room", "guest"].map(made).concat());
        let host = Host::new(Some(&server.bin_dir()), server.env());
        let mut pipe = Pipe { host, calls: Vec::new(), takes: [Duration::ZERO; 2], _server: server };
        pipe.calls = pipe.count();
        pipe.takes = pipe.time();
        pipe
    }

    /// The calls that each stage makes in a run without a fault.
    fn count(&self) -> Vec<Vec<Calls>> {
        let place = self.host.place();
        let traced: Vec<_> = (0..).zip(STAGES).map(|(n, stage)| format!("strace -f -q -o traced.{n} {stage}")).collect();
        let stages = [0, 1, 2, 3].map(|n: usize| traced[n].as_str());
        place.must(&script(stages)).expect("a run without a fault");
        let counted = (0..STAGES.len()).map(|n| {
            let log = fs::read_to_string(place.path(&format!("traced.{n}"))).expect("strace's log");
            let calls = strace::count(&log).into_iter().filter(|calls| CALLS.contains(&calls.name.as_str()));
            calls.collect()
        });
        counted.collect()
    }

    fn time(&self) -> [Duration; 2] {
        let place = self.host.place();
        let [dump, encrypt, push, seal] = STAGES;
        [format!("{dump} | {encrypt} | {push}"), format!("{seal} <\"$DR_RECEIPT\" >sealed")].map(|part| {
            let begun = Instant::now();
            place.must(&part).expect("a run without a fault");
            begun.elapsed()
        })
    }

    /// The kill that a seed makes.
    fn kill(&self, seed: u64) -> Kill {
        let mut random = Random(seed);
        let stage = random.below(STAGES.len());
        let at = if random.below(8) == 0 {
            // A quarter longer than it takes: on a busy machine it takes longer, too.
            let most = self.takes[usize::from(stage == STAGES.len() - 1)].mul_f64(1.25);
            At::Time(most.mul_f64(random.below(1000) as f64 / 1000.0).max(Duration::from_micros(100)))
        } else {
            let calls = &self.calls[stage][random.below(self.calls[stage].len())];
            At::Call(calls.name.clone(), 1 + random.below(calls.most))
        };
        Kill { stage, at, prepared: random.below(4) > 0, same_receipts: random.below(2) == 0 }
    }

    /// Runs the pipe with the kill in it, and again without.
    fn meets(&self, kill: &Kill) -> Result<&'static str, String> {
        let place = self.host.place();
        if kill.prepared {
            place.must("dr-push --init")?;
        }
        let mut stages = STAGES;
        let command = kill.command();
        stages[kill.stage] = &command;
        let output = place.dash(&script(stages));
        let context = |why: String| format!("{why}; the run ended with {}: {}", ended(output.status), said(&output));
        let before = place.visible().map_err(context)?.len();
        if before > 1 {
            return Err(context(format!("{before} backups of one run")));
        }
        if before == 1 {
            self.is_whole(&place).map_err(context)?;
        }
        if !kill.same_receipts {
            fs::remove_file(place.path("receipts")).or_else(absent).map_err(|error| error.to_string())?;
        }
        place.must(&script(STAGES)).map_err(|why| format!("it does not work again: {why}"))?;
        let after = place.visible()?.len();
        if after != before + 1 {
            return Err(format!("{before} backups, and {after} after another run"));
        }
        self.is_whole(&place)?;
        Ok(match before {
            _ if !kill.came(&place) => UNHURT,
            0 => NOTHING,
            _ => WHOLE,
        })
    }

    /// Whether the newest backup holds all there is, and is what its signed manifest says.
    fn is_whole(&self, place: &Place<'_>) -> Result<(), String> {
        let rows = format!("\"rows\":{},", 2 * ROWS);
        match place.visible()?.iter().find(|record| !record.contains(&rows)) {
            Some(record) => Err(format!("a backup without all rows: {record}")),
            None => place.proves(),
        }
    }
}

/// A file that never came to be is removed, too.
fn absent(error: std::io::Error) -> std::io::Result<()> {
    if error.kind() == std::io::ErrorKind::NotFound { Ok(()) } else { Err(error) }
}
