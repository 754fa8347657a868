//! Stores with sealed backups, and dr-list beside them.
#![allow(dead_code, reason = "each test file uses some of it")]

use std::fs;
use std::path::PathBuf;

use assert_cmd::Command;
use dr_catalogue::{SigningKey, chain, manifest, name, signature};
use dr_pipe::record::{self, Manifest};
use tempfile::TempDir;

const KEY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../dr-seal/tests/main.key");

/// Stores with sealed backups, and a state directory.
pub struct Stores {
    pub root: TempDir,
    pub key: SigningKey,
}

impl Stores {
    /// A directory store `near`, still without backups.
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let key = root.path().join("main.key");
        fs::write(&key, fs::read(KEY).unwrap()).unwrap();
        fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let stores = Stores { key: SigningKey::load(&key.display().to_string()).unwrap(), root };
        stores.add("near");
        stores
    }

    pub fn add(&self, store: &str) {
        fs::create_dir(self.path(store)).unwrap();
        let id = if store == "near" { "a" } else { "b" }.repeat(32);
        fs::write(self.path(&format!("{store}/dr-store.json")), format!("{{\"format\":1,\"id\":\"{id}\"}}\n")).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Seals a backup taken on 2026-01-`day` at 02:00, as dr-push and dr-seal leave it.
    pub fn seal(&self, store: &str, manifest: &Manifest) {
        let bytes = manifest::to_bytes(manifest);
        let folder = self.path(&format!("{store}/{}", name::folder(&manifest.cluster, manifest.kind)));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join(&manifest.object), vec![b'x'; manifest.bytes as usize]).unwrap();
        fs::write(folder.join(format!("{}.json", manifest.name)), &bytes).unwrap();
        let signature = signature::sign(&self.key, &bytes, &manifest.name);
        fs::write(folder.join(format!("{}.json.minisig", manifest.name)), signature).unwrap();
    }

    pub fn list(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dr-list"));
        command
            .current_dir(self.root.path())
            .env_clear()
            .env("DR_STATE", self.path("state"))
            .args(["--cluster", "main"])
            .args(args);
        command
    }

    pub fn public(&self) -> String {
        self.key.public_key().to_string()
    }

    /// The names listed, in order.
    pub fn names(&self, args: &[&str]) -> Vec<String> {
        let listed = self.list(args).assert().code(0).stderr("");
        names(&listed.get_output().stdout)
    }

    pub fn file(&self, day: u32, suffix: &str) -> PathBuf {
        self.path(&format!("near/main/dump/{}{suffix}", backup(day).name))
    }
}

pub fn names(stdout: &[u8]) -> Vec<String> {
    let lines = std::str::from_utf8(stdout).unwrap().lines();
    lines.map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["name"].as_str().unwrap().to_owned()).collect()
}

/// The manifest of a dump taken on 2026-01-`day` at 02:00.
pub fn backup(day: u32) -> Manifest {
    let receipts = include_str!("../../../dr-catalogue/tests/receipts.jsonl");
    let receipts = receipts.replace("2026-01-25T", &format!("2026-01-{day:02}T")).replace("20260125T", &format!("202601{day:02}T"));
    let chain = chain::check(&record::read(&mut receipts.as_bytes()).unwrap()).unwrap();
    manifest::from_chain(&chain, "main").unwrap()
}

pub fn near_with(days: &[u32]) -> Stores {
    let stores = Stores::new();
    for day in days {
        stores.seal("near", &backup(*day));
    }
    stores
}
