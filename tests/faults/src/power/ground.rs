//! What all trials share: keys, bytes to be stored, and a store that is well.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::seeds::Random;

/// How many bytes a stream has: one write, some, and more than are handed to the disk before the end.
pub const SIZES: [usize; 3] = [1, 300_000, 9 << 20];

/// The store that is well, and that which backups are deleted from.
const SOURCE: &str = "source";
const FULL: &str = "full";

/// Files that no trial changes.
pub struct Ground {
    scratch: TempDir,
    bin: PathBuf,
}

impl Ground {
    /// Makes them.
    ///
    /// # Panics
    /// If that fails.
    pub fn new() -> Ground {
        let scratch = tempfile::Builder::new().prefix("drground").tempdir().expect("a scratch directory");
        let bin = std::env::current_exe().expect("we run").parent().expect("a directory").to_owned();
        let ground = Ground { scratch, bin };
        for (place, bytes) in SIZES.iter().enumerate() {
            let mut random = Random(place as u64);
            let bytes: Vec<u8> = (0..*bytes).map(|_| random.below(256) as u8).collect();
            fs::write(ground.input(place), bytes).expect("bytes to be stored");
        }
        ground.prepare();
        ground
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.scratch.path().join(name)
    }

    /// The stream of so many bytes as `SIZES` says.
    pub fn input(&self, size: usize) -> PathBuf {
        self.path(&format!("input{size}"))
    }

    /// A store with one backup.
    pub fn source(&self) -> PathBuf {
        self.path(SOURCE)
    }

    /// A store with four backups, two of which [`Ground::decisions`] lets go.
    pub fn full(&self) -> PathBuf {
        self.path(FULL)
    }

    /// What dr-prune has decided about it.
    pub fn decisions(&self) -> String {
        fs::read_to_string(self.path("decisions")).expect("decisions")
    }

    /// What every tool is told by its environment, whatever it does; paths are those of the trial.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.display().to_string();
        let key = |name: &str| text(&self.path(name));
        vec![
            ("PATH", format!("{}:/usr/bin:/bin:/usr/sbin:/sbin", text(&self.bin))),
            ("HOME", text(self.scratch.path())),
            ("DR_CLUSTER", "main".into()),
            ("DR_TO", "disk/store".into()),
            ("DR_FROM", "disk/store".into()),
            ("DR_RECIPIENTS", key("recipients")),
            ("DR_SINGLE_RECIPIENT", "1".into()),
            ("DR_SIGNING_KEY", key("main.key")),
            ("DR_PUBLIC_KEY", format!("{},{}", key("main.pub"), key("delete.pub"))),
            ("DR_IDENTITY", key("identity")),
            ("SOURCE", text(&self.source())),
            ("DELETE_KEY", key("delete.key")),
        ]
    }

    /// The decisions name the store as trials do.
    fn prepare(&self) {
        let script = "age-keygen -o identity 2> log && age-keygen -y identity > recipients
            for key in main delete; do minisign -G -W -p $key.pub -s $key.key > log; done
            mkdir disk
            for n in 1 2 3 4; do
                dr-run -- cat input1 | dr-push
                dr-seal < \"$DR_RECEIPT\" > log
                rm \"$DR_RECEIPT\"
                [ -d source ] || cp -a disk/store source
            done
            dr-verify --json > verified
            dr-prune --keep-last 2 < verified > decisions
            mv disk/store full";
        let mut command = Command::new("sh");
        command.args(["-euc", script]).current_dir(self.scratch.path()).env_clear().envs(self.environment());
        let output = command.env("DR_STATE", "state").env("DR_RECEIPT", "receipts").output().expect("sh");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(self.decisions().matches("\"action\":\"delete\"").count(), 2, "{}", self.decisions());
    }
}
