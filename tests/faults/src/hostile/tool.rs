//! What is run, and how it is seen in the stores themselves whether what it said is true.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use tempfile::TempDir;

use super::well::{WELL, Well, files, segment_name};

/// No tool takes longer, whatever its server does.
const LONGEST: Duration = Duration::from_secs(90);
/// An object that a run has left which failed, by name.
const LEFT: &str = "main/files/main_files_20200101T000000Z_dead.bin";

/// A tool, and what it is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tool {
    PushSmall,
    PushLarge,
    Seal,
    List,
    Pull,
    Verify,
    CopyFrom,
    CopyTo,
    WalPush,
    WalFetch,
    WalFetchAbsent,
    Delete,
}

pub const TOOLS: [Tool; 12] = [
    Tool::PushSmall,
    Tool::PushLarge,
    Tool::Seal,
    Tool::List,
    Tool::Pull,
    Tool::Verify,
    Tool::CopyFrom,
    Tool::CopyTo,
    Tool::WalPush,
    Tool::WalFetch,
    Tool::WalFetchAbsent,
    Tool::Delete,
];

/// How a tool ended.
#[derive(Debug)]
pub struct Ended {
    /// None where a signal ended it.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: String,
    /// It did not end by itself.
    pub endless: bool,
}

/// A tool with a store of its own, where it writes one.
pub struct Run<'w> {
    pub well: &'w Well,
    pub tool: Tool,
    prefix: String,
    scratch: TempDir,
}

impl Tool {
    pub fn program(self) -> &'static str {
        match self {
            Tool::PushSmall | Tool::PushLarge => "dr-push",
            Tool::Seal => "dr-seal",
            Tool::List => "dr-list",
            Tool::Pull => "dr-pull",
            Tool::Verify => "dr-verify",
            Tool::CopyFrom | Tool::CopyTo => "dr-copy",
            Tool::WalPush => "dr-wal-push",
            Tool::WalFetch | Tool::WalFetchAbsent => "dr-wal-fetch",
            Tool::Delete => "dr-delete",
        }
    }

    /// The code that says that it has done what it was asked.
    pub fn good(self) -> i32 {
        if self == Tool::WalFetchAbsent { 1 } else { 0 }
    }

    fn payload(self) -> &'static str {
        if self == Tool::PushLarge { "large" } else { "small" }
    }

    fn writes(self) -> bool {
        matches!(self, Tool::PushSmall | Tool::PushLarge | Tool::Seal | Tool::CopyTo | Tool::WalPush | Tool::Delete)
    }
}

impl<'w> Run<'w> {
    /// Lays out what the tool starts from; `name` is that of its store.
    ///
    /// # Panics
    /// If a file cannot be written.
    pub fn new(well: &'w Well, tool: Tool, name: &str) -> Run<'w> {
        let scratch = tempfile::Builder::new().prefix("drhost").tempdir_in("/tmp").expect("a scratch directory");
        let prefix = if tool.writes() { name.to_owned() } else { WELL.into() };
        let run = Run { well, tool, prefix, scratch };
        match tool {
            Tool::Seal => {
                let store = |text: &str| text.replace(&format!("/{WELL}\""), &format!("/{}\"", run.prefix));
                fs::write(run.path("receipts"), store(&well.read("receipts.newer"))).expect("receipts");
                run.lay("main/files", |name| *name == well.newer(".bin"));
            }
            Tool::WalPush => {
                run.lay("main/wal", |name| !name.contains(&segment_name(2)) && !name.contains(&segment_name(3)));
            }
            Tool::Delete => {
                run.lay("main/files", |_| true);
                fs::write(run.object(LEFT), b"left").expect("an object");
                run.age();
            }
            _ => {}
        }
        run
    }

    /// Copies the objects of a folder of the store that is well.
    fn lay(&self, folder: &str, wanted: impl Fn(&String) -> bool) {
        for (name, bytes) in files(&self.well.objects(WELL).join(folder)).into_iter().filter(|(name, _)| wanted(name)) {
            let place = self.object(&format!("{folder}/{name}"));
            fs::create_dir_all(place.parent().expect("a folder")).expect("a folder");
            fs::write(place, bytes).expect("an object");
        }
    }

    /// Makes all of its objects a month old: no run is at work on them any more.
    fn age(&self) {
        let old = SystemTime::now() - Duration::from_secs(30 * 86400);
        for name in files(&self.objects()).keys() {
            let file = fs::File::options().write(true).open(self.object(name)).expect("an object");
            file.set_modified(old).expect("its time");
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    fn objects(&self) -> PathBuf {
        self.well.objects(&self.prefix)
    }

    fn object(&self, key: &str) -> PathBuf {
        self.objects().join(key)
    }

    /// A tool on this run's store.
    fn command(&self, program: &str, url: &str, patience: &str) -> Command {
        let mut command = self.well.command(program, url, &self.prefix);
        command.env("DR_STATE", self.path("state")).env("DR_PATIENCE", patience);
        command
    }

    /// Runs the tool on the server at `url`, to its end.
    pub fn run(&self, url: &str, patience: &str, asked: &[&str]) -> Ended {
        let mut command = self.command(self.tool.program(), url, patience);
        command.args(asked);
        if !self.tool.writes() || self.tool == Tool::Delete {
            self.well.copy_state(&self.path("state"), url);
        }
        let mut input = Vec::new();
        match self.tool {
            Tool::PushSmall | Tool::PushLarge => {
                let payload = self.tool.payload();
                let receipts = self.well.bytes(&format!("receipts.{payload}"));
                fs::write(self.path("receipts"), receipts).expect("receipts");
                command.env("DR_RECEIPT", self.path("receipts"));
                input = self.well.bytes(payload);
            }
            Tool::Seal => input = fs::read(self.path("receipts")).expect("receipts"),
            Tool::List => drop(command.arg("--json")),
            Tool::Pull => drop(command.args(["--kind", "files", "latest"])),
            Tool::Verify => {}
            Tool::CopyFrom => {
                fs::create_dir_all(self.path("target")).expect("a target");
                command.env("DR_TO", self.path("target")).args(["--kind", "files", "latest"]);
            }
            Tool::CopyTo => drop(command.env("DR_FROM", self.well.path("near")).args(["--kind", "files", "latest"])),
            Tool::WalPush => drop(command.arg(format!("pg_wal/{}", segment_name(2)))),
            Tool::WalFetch | Tool::WalFetchAbsent => {
                let number = if self.tool == Tool::WalFetch { 2 } else { 4 };
                drop(fs::remove_file(self.path("fetched")));
                command.arg(segment_name(number)).arg(self.path("fetched"));
            }
            Tool::Delete => drop(command.args(["--unsealed", "--older-than", "1h"])),
        }
        await_end(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()), &input)
    }

    /// Whether what the tool did, saying that it had done it, is done.
    ///
    /// # Errors
    /// Says what is not.
    pub fn is_true(&self, ended: &Ended) -> Result<(), String> {
        let must = |holds: bool, why: &str| if holds { Ok(()) } else { Err(why.to_owned()) };
        let near = || files(&self.well.path("near/main"));
        match self.tool {
            Tool::PushSmall | Tool::PushLarge => {
                let receipts = fs::read_to_string(self.path("receipts")).unwrap_or_default();
                let named = receipts.rsplit_once("\"object\":\"").and_then(|(_, rest)| rest.split('"').next());
                let Some(named) = named else { return Err("there is no receipt".into()) };
                let stored = fs::read(self.object(named)).map_err(|error| format!("{named}: {error}"))?;
                must(stored == self.well.bytes(self.tool.payload()), "the object has other bytes")
            }
            Tool::Seal => must(self.manifests().len() == 1, "there is no manifest"),
            Tool::List => must(ended.stdout == self.well.listed.as_bytes(), "the list is another one"),
            Tool::Pull => must(ended.stdout == self.well.bytes("newer"), "other bytes were pulled"),
            Tool::Verify => {
                let good = String::from_utf8_lossy(&ended.stdout).matches("\"good\":true").count();
                must(good == 2, &format!("{good} of 2 backups were verified"))
            }
            Tool::CopyFrom => must(files(&self.path("target/main")) == near(), "the copy is another one"),
            Tool::CopyTo => must(files(&self.object("main")) == near(), "the copy is another one"),
            Tool::WalPush => {
                let of_two = |objects: PathBuf| {
                    let all = files(&objects.join("main/wal"));
                    all.into_iter().filter(|(name, _)| name.contains(&segment_name(2))).collect::<BTreeMap<_, _>>()
                };
                let (ours, theirs) = (of_two(self.objects()), of_two(self.well.objects(WELL)));
                let objects = ours.keys().filter(|name| name.ends_with(".zst")).count();
                // It may be claimed once more, after a run that failed.
                let stored = theirs.iter().all(|(name, bytes)| ours.get(name) == Some(bytes));
                must(stored && objects == 1, &format!("the segment is stored as {:?}", ours.keys()))
            }
            Tool::WalFetch => {
                let segment = self.well.bytes(&format!("pg_wal/{}", segment_name(2)));
                must(fs::read(self.path("fetched")).ok() == Some(segment), "another segment was fetched")
            }
            Tool::WalFetchAbsent => must(!self.path("fetched").exists(), "something was fetched"),
            // Of what is not listed it says nothing, and so it stays until it is.
            Tool::Delete => {
                let said = String::from_utf8_lossy(&ended.stdout).contains(LEFT);
                must(!(said && self.has_left()), "what it says to have deleted is still there")
            }
        }
    }

    /// Whether what dr-delete is to remove is there.
    pub fn has_left(&self) -> bool {
        self.object(LEFT).exists()
    }

    /// Whether a segment that was pushed is kept beside another object.
    pub fn is_beside(&self) -> bool {
        let all = files(&self.object("main/wal"));
        all.keys().filter(|name| name.contains(&segment_name(2)) && name.ends_with(".zst")).count() == 2
    }

    /// Whether a segment that was pushed can be fetched, wherever it lies.
    pub fn is_fetched(&self) -> bool {
        let (name, place) = (segment_name(2), self.path("fetched"));
        let fetched = self.must_go_on("dr-wal-fetch", &[&name, &place.display().to_string()], b"");
        fetched.is_ok() && fs::read(place).ok() == Some(self.well.bytes(&format!("pg_wal/{name}")))
    }

    /// Whether a tool that failed has left nothing where its result should be.
    ///
    /// # Errors
    /// Says what it has left.
    pub fn is_clean(&self) -> Result<(), String> {
        if self.path("fetched").exists() { Err("it failed, and has written its file".into()) } else { Ok(()) }
    }

    /// What must hold however the tool ended; `damaged` where the server itself has spoilt what it keeps.
    ///
    /// # Errors
    /// Says what does not.
    pub fn is_safe(&self, damaged: bool) -> Result<(), String> {
        if self.tool == Tool::CopyFrom {
            return self.proves(&self.path("target"));
        }
        if !self.tool.writes() {
            return Ok(());
        }
        let all = files(&self.objects());
        match self.tool {
            Tool::PushSmall | Tool::PushLarge => {
                let payload = self.well.bytes(self.tool.payload());
                if all.len() > 1 || all.keys().any(|name| !name.ends_with(".bin")) {
                    return Err(format!("it has left {:?}", all.keys()));
                }
                if !damaged && all.values().any(|bytes| *bytes != payload) {
                    return Err("an object is visible that is not whole".into());
                }
            }
            Tool::Delete => {
                for (name, bytes) in files(&self.well.objects(WELL).join("main/files")) {
                    if all.get(&format!("main/files/{name}")) != Some(&bytes) {
                        return Err(format!("{name} of a good backup is gone"));
                    }
                }
            }
            Tool::WalPush => {
                let known = files(&self.well.objects(WELL));
                for (name, bytes) in &all {
                    // What is kept beside has a name of its own.
                    if !damaged && known.get(name).is_some_and(|known| known != bytes) {
                        return Err(format!("{name} has other bytes"));
                    }
                }
            }
            _ if !damaged => return self.proves(&self.objects()),
            _ => {}
        }
        Ok(())
    }

    fn manifests(&self) -> Vec<String> {
        files(&self.objects()).into_keys().filter(|name| name.ends_with(".json")).collect()
    }

    /// Whether each manifest in a store has its signature and its object.
    fn proves(&self, store: &Path) -> Result<(), String> {
        let (all, good) = (files(&store.join("main/files")), files(&self.well.objects(WELL).join("main/files")));
        for name in all.keys().filter(|name| name.ends_with(".json")) {
            let stem = name.trim_end_matches(".json");
            let object = format!("{stem}.bin");
            if all.get(&object) != good.get(&object) || !all.contains_key(&format!("{name}.minisig")) {
                return Err(format!("{name} is visible, and does not prove"));
            }
        }
        Ok(())
    }

    /// Verifies the store that was written, on the server itself: what is wrong, or nothing.
    pub fn verify(&self) -> Option<String> {
        let mut command = self.command("dr-verify", &self.well.s3.url(), "60");
        let ended = await_end(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()), b"");
        let said = format!("{}{}", String::from_utf8_lossy(&ended.stdout), ended.stderr);
        (ended.code != Some(0) || said.contains("\"type\":\"finding\"")).then_some(said)
    }

    /// Goes on as if all had been well, and asks dr-verify: whether it tells that it was not, or nothing shows what is not there.
    ///
    /// # Errors
    /// Says what dr-verify does not tell.
    pub fn is_found_out(&self) -> Result<(), String> {
        let receipts = fs::read(self.path("receipts")).unwrap_or_default();
        match self.tool {
            Tool::PushSmall | Tool::PushLarge => self.must_go_on("dr-seal", &[], &receipts)?,
            Tool::WalPush => self.must_go_on("dr-wal-push", &[&format!("pg_wal/{}", segment_name(3))], b"")?,
            _ => {}
        }
        self.age();
        let hidden = match self.tool {
            Tool::Seal | Tool::CopyTo => self.manifests().is_empty(),
            // Where not even a claim is left, dr-verify tells by the bases that need it, and there is none; a recovery is told.
            Tool::WalPush => {
                let name = segment_name(2);
                let fetched = self.path("fetched").display().to_string();
                let of_two = files(&self.objects()).keys().any(|key| key.contains(&name));
                !of_two && self.must_go_on("dr-wal-fetch", &[&name, &fetched], b"").is_err_and(|why| why.contains("Some(200)"))
            }
            _ => false,
        };
        if hidden || self.verify().is_some() { Ok(()) } else { Err("dr-verify finds nothing".into()) }
    }

    /// Runs another tool on the server itself.
    fn must_go_on(&self, program: &str, arguments: &[&str], input: &[u8]) -> Result<(), String> {
        let mut command = self.command(program, &self.well.s3.url(), "60");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let ended = await_end(&mut command, input);
        if ended.code == Some(0) { Ok(()) } else { Err(format!("{program} ends with {:?}: {}", ended.code, ended.stderr)) }
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        if self.tool.writes() {
            drop(fs::remove_dir_all(self.objects()));
        }
    }
}

/// Runs a command with something to read, to its end, or kills it.
fn await_end(command: &mut Command, input: &[u8]) -> Ended {
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        // It may end before it has read everything, which its exit code tells.
        scope.spawn(move || drop(stdin.map(|mut stdin| stdin.write_all(input))));
        let stdout = scope.spawn(move || read(stdout));
        let stderr = scope.spawn(move || read(stderr));
        let (code, endless) = end(&mut child);
        let (stdout, stderr) = (stdout.join().unwrap_or_default(), stderr.join().unwrap_or_default());
        Ended { code, stdout, stderr: String::from_utf8_lossy(&stderr).into_owned(), endless }
    })
}

fn read(stream: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    // What was read until it broke is what there is.
    drop(stream.map(|mut stream| stream.read_to_end(&mut bytes)));
    bytes
}

fn end(child: &mut Child) -> (Option<i32>, bool) {
    let begun = Instant::now();
    loop {
        if let Ok(Some(status)) = child.try_wait() {
            return (status.code(), false);
        }
        if begun.elapsed() > LONGEST {
            drop(child.kill());
            drop(child.wait());
            return (None, true);
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
}
