//! One recovery that meets a fault.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use dr_testing::postgres::{as_server_user, bin_dir, own};
use dr_testing::proxy::{Fault, OUTAGES, Proxy};
use tempfile::TempDir;

use super::cluster::Cluster;
use crate::seeds::Random;

/// How long a store is given that a fault will meet, in seconds: it is given up soon.
const FAULTY_PATIENCE: &str = "2";
/// How long a store is given that is well, in seconds, on a machine that has much to do.
pub const PATIENCE: &str = "120";

/// A fault, and when it comes.
#[derive(Debug)]
pub struct Trial {
    fault: Fault,
    /// The first request that it meets, and the first that it does not meet any more.
    from: usize,
    to: usize,
}

/// All rows came back at once.
pub const COMPLETE: &str = "complete in spite of the fault";
/// The recovery stopped, and went on once the store was well.
pub const STOPPED: &str = "stopped, and complete later";

impl Trial {
    /// The trial that a seed makes, where a recovery has so many requests.
    pub fn of(seed: u64, requests: usize) -> Trial {
        let mut random = Random(seed);
        let fault = OUTAGES[random.below(OUTAGES.len())].clone();
        let from = random.below(requests + 2);
        let length = [1, 2, 5, usize::MAX / 2][random.below(4)];
        Trial { fault, from, to: from + length }
    }

    /// Recovers; whatever comes of it, no server may be open with rows missing.
    pub fn run(self, cluster: &Cluster) -> Result<&'static str, String> {
        let (fault, from, to) = (self.fault.clone(), self.from, self.to);
        let proxy = Proxy::choosing(cluster.s3.address(), move |number, _| (from <= number && number < to).then(|| fault.clone()));
        let recovery = Recovery::begin(cluster, &proxy, FAULTY_PATIENCE);
        let ended = recovery.recover();
        let rows = recovery.rows();
        let wrong = |why: &str| Err(format!("{why}: {self:?}; {rows:?} rows, code {:?}: {}", ended.code, ended.said));
        match (ended.code, rows) {
            (Some(0), Some(rows)) if rows == cluster.rows => return Ok(COMPLETE),
            (Some(0), _) => return wrong("a recovery succeeded with rows missing"),
            (_, Some(rows)) if rows != cluster.rows => return wrong("a server was opened with rows missing"),
            (None, _) => return wrong("it was killed"),
            _ => {}
        }
        recovery.stop();
        proxy.heal();
        let again = Recovery::begin(cluster, &proxy, PATIENCE);
        let later = again.recover();
        match (later.code, again.rows()) {
            (Some(0), Some(rows)) if rows == cluster.rows => Ok(STOPPED),
            (code, rows) => Err(format!("it does not recover later: {rows:?} rows, code {code:?}: {}", later.said)),
        }
    }
}

/// A directory to recover into, and the server that runs in it then. Both are gone when it is dropped.
pub struct Recovery<'c> {
    cluster: &'c Cluster,
    work: TempDir,
    environment: Vec<(&'static str, String)>,
}

/// How dr-recover ended.
pub struct Ended {
    pub code: Option<i32>,
    pub said: String,
}

impl<'c> Recovery<'c> {
    pub fn begin(cluster: &'c Cluster, proxy: &Proxy, patience: &str) -> Recovery<'c> {
        let work = tempfile::Builder::new().prefix("drout").tempdir_in("/tmp").expect("a scratch directory");
        fs::set_permissions(work.path(), fs::Permissions::from_mode(0o700)).expect("its mode");
        own(work.path());
        let mut environment = cluster.environment(&proxy.url(), &work.path().join("state"));
        environment.push(("DR_PATIENCE", patience.into()));
        environment.push(("DR_PG_BINDIRS", bin_dir(cluster.major).expect("installed").display().to_string()));
        Recovery { cluster, work, environment }
    }

    fn data_dir(&self) -> PathBuf {
        self.work.path().join("data")
    }

    /// Recovers to the end of the WAL, and waits for it.
    pub fn recover(&self) -> Ended {
        let mut command = self.command("dr-recover");
        command.args(["--start", "--wait", "--no-sync", "--into"]).arg(self.data_dir());
        command.arg("--socket-dir").arg(self.work.path());
        let output = command.stdin(Stdio::null()).output().expect("dr-recover");
        Ended { code: output.status.code(), said: String::from_utf8_lossy(&output.stderr).into_owned() }
    }

    /// The rows that a server shows which is open for writing; none if there is no such server.
    pub fn rows(&self) -> Option<u64> {
        let mut psql = self.command("psql");
        psql.args(["-XAtq", "-U", "postgres", "-d", "postgres", "-h"]).arg(self.work.path());
        psql.args(["-c", "SELECT pg_is_in_recovery(), (SELECT count(*) FROM t)"]);
        let output = psql.output().expect("psql");
        String::from_utf8_lossy(&output.stdout).trim().strip_prefix("f|")?.parse().ok()
    }

    /// Stops the server, if there is one.
    pub fn stop(&self) {
        let bin = bin_dir(self.cluster.major).expect("installed");
        let mut command = Command::new(bin.join("pg_ctl"));
        command.args(["-m", "immediate", "-s", "stop", "-D"]).arg(self.data_dir()).stderr(Stdio::null());
        drop(as_server_user(&mut command).current_dir("/tmp").status());
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(match program {
            "psql" => bin_dir(self.cluster.major).expect("installed").join(program),
            ours => self.cluster.bin.path().join(ours),
        });
        command.env_clear().envs(self.environment.iter().map(|(name, value)| (*name, value))).current_dir(self.work.path());
        as_server_user(&mut command);
        command
    }
}

impl Drop for Recovery<'_> {
    fn drop(&mut self) {
        self.stop();
    }
}
