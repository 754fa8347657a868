//! With the key: what is in backups of a real server, and what is not as it says it is.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use dr_archive::{Options, Writer};
use dr_pipe::record::{Depth, Manifest, Severity};
use dr_testing::postgres::{Server, as_server_user, own};
use support::{World, flipped, key, write};

/// The programs that make backups here.
const TOOLS: [&str; 7] = ["dr-base", "dr-dump", "dr-encrypt", "dr-push", "dr-run", "dr-seal", "dr-wal-push"];

/// A server that archives into a store, with a dump, a base and a foreign dump of it there.
struct Host {
    server: Server,
}

impl Host {
    fn new() -> Host {
        let server = Server::initialise(15, &[]);
        let host = Host { server };
        let archive = format!("{}/dr-wal-push %p --to store --cluster main -R recipients -s main.key", host.text("bin"));
        let archive = format!("cd {} && DR_STATE={} {archive}", host.text(""), host.text("state"));
        let archive = archive.replace(" %p", &format!(" {}/%p", host.server.data_dir().display()));
        host.server.configure(&[("archive_mode", "on"), ("archive_command", &archive), ("wal_level", "replica")]);
        fs::create_dir(host.path("bin")).unwrap();
        let built = Path::new(env!("CARGO_BIN_EXE_dr-verify")).parent().unwrap();
        for tool in TOOLS {
            let (program, place) = (built.join(tool), host.path("bin").join(tool));
            assert!(program.exists(), "build {tool} first: cargo build -p {tool}");
            fs::hard_link(&program, &place).or_else(|_| fs::copy(&program, &place).map(drop)).unwrap();
        }
        own(&host.path("bin"));
        host.shell("age-keygen -o identity 2> key && sed -n 's/^Public key: //p' key > recipients && minisign -GW -p main.pub -s main.key > key");
        host.server.restart();
        host.server.psql(
            "postgres",
            "CREATE TABLE guests (n int, name text); INSERT INTO guests SELECT n, repeat(md5(n::text), 4) FROM generate_series(1, 20000) n;
             CREATE TABLE parts (n int) PARTITION BY RANGE (n); CREATE TABLE parts1 PARTITION OF parts FOR VALUES FROM (0) TO (100);
             INSERT INTO parts SELECT generate_series(1, 99); CREATE TABLE nothing (n int); CREATE TABLE child () INHERITS (guests);
             CREATE MATERIALIZED VIEW seen AS SELECT count(*) FROM guests; SELECT lo_from_bytea(0, 'large');",
        );
        host
    }

    fn backup(&self) {
        for producer in ["dr-dump postgres", "dr-base postgres", "dr-run -- pg_dump -Fc postgres"] {
            self.shell(&format!(
                "export DR_RECEIPT=$PWD/receipt; rm -f receipt; {producer} | dr-encrypt -R recipients | dr-push --to store --cluster main
                 dr-seal --cluster main -s main.key < receipt"
            ));
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.server.socket_dir().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    fn shell(&self, script: &str) {
        let mut command = Command::new("bash");
        command.args(["-o", "pipefail", "-ec", script]).env_clear().envs(self.server.env()).current_dir(self.server.socket_dir());
        command.env("PATH", format!("{}:{}:/usr/bin:/bin", self.text("bin"), self.server.bin_dir().display()));
        command.env("DR_STATE", self.path("state")).env("HOME", self.server.socket_dir());
        command.env("DR_PG_BINDIRS", self.server.bin_dir());
        let output = as_server_user(&mut command).output().unwrap();
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    }

    fn verify(&self, arguments: &str, code: i32) -> support::Said {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dr-verify"));
        command.env_clear().env("DR_STATE", self.path("seen")).current_dir(self.server.socket_dir());
        command.args(["--from", "store", "-p", "main.pub"]).args(arguments.split_whitespace());
        support::said(&command.output().unwrap(), code)
    }
}

/// An archive with these members.
fn archive(members: &[(&str, Vec<u8>)]) -> (Vec<u8>, dr_pipe::record::ArchiveRoot) {
    let writer = Writer::new(Vec::new(), Options { frame_bytes: 16 << 10, ..Options::new(1_769_300_000) });
    for (path, bytes) in members {
        writer.bulk(path, None, bytes).unwrap();
    }
    let (bytes, finished) = writer.finish().unwrap();
    (bytes, finished.root)
}

/// Publishes it as a base whose pages have checksums.
fn base(world: &World, damaged_pages: u64, members: &[(&str, Vec<u8>)]) -> Manifest {
    let (bytes, root) = archive(members);
    let mut manifest = support::base(1, 2, &bytes);
    manifest.produced.archive = Some(root);
    let base = manifest.produced.base.as_mut().unwrap();
    (base.page_checksums, base.damaged_pages, base.wal) = (true, damaged_pages, dr_pipe::record::WalKept::Inside);
    world.seal(&world.store("store"), &manifest, &bytes);
    manifest
}

#[test]
fn all_that_a_server_gives_is_looked_into_and_good() {
    let host = Host::new();
    host.backup();
    let bytes = host.verify("", 0);
    assert!(bytes.findings.is_empty() && bytes.stderr.is_empty(), "{bytes:?}");
    assert!(bytes.verified.len() == 3 && bytes.verified.iter().all(|it| it.good && it.depth == Depth::Bytes));
    // What was only read is looked into at once.
    let said = host.verify("-i identity --every 7d", 0);
    assert!(said.findings.is_empty() && said.stderr.is_empty(), "{said:?}");
    assert!(said.verified.len() == 3 && said.verified.iter().all(|it| it.good && it.depth == Depth::Content), "{said:?}");
    let again = host.verify("-i identity --every 7d", 0);
    let at = |said: &support::Said| said.verified.iter().map(|it| it.verified_at).max();
    assert_eq!(at(&again), at(&said));
}

#[test]
fn f68_damage_is_told_with_its_place_and_what_lies_there() {
    let host = Host::new();
    host.backup();
    let good = host.verify("-i identity", 0);
    for verified in good.verified {
        let manifest = &verified.backup.manifest;
        let path = host.path("store").join(key(manifest));
        let bytes = fs::read(&path).unwrap();
        for part in [0, 1, 4, 7, 9] {
            let at = (bytes.len() - 1) * part / 9;
            write(&path, &flipped(&bytes, at * 8 + 3));
            let said = host.verify(&format!("-i identity {}", manifest.name), 1);
            let finding = said.only();
            assert_eq!((finding.code.as_str(), finding.backup.as_ref()), ("digest", Some(&manifest.name)));
            if let Some(offset) = finding.offset_bytes {
                // Encrypted, it is the chunk; a frame is read from its beginning on.
                assert!(offset <= at as u64 && at as u64 - offset < 5 << 20, "{at}: {finding:?}");
            }
            let is_inside = (1..9).contains(&part) && manifest.produced.archive.is_some();
            assert!(!is_inside || finding.offset_bytes.is_some(), "{at}: {finding:?}");
        }
        write(&path, &bytes);
    }
    let said = host.verify("-i identity", 0);
    assert!(said.verified.iter().all(|it| it.good));
}

#[test]
fn f73_a_wrong_key_is_told_before_anything_is_read() {
    let world = World::new();
    let store = world.store("store");
    let name = support::segment(1, 1);
    world.put(&store, &name, &support::segment_bytes(&name, 1));
    let encrypted = |number: u32, to: &str| {
        let mut command = Command::new("age");
        let output = command.args(["-r", to, "-o", "-"]).arg(world.path("identity")).output().unwrap();
        let mut manifest = support::dump(number, &output.stdout);
        manifest.recipients = vec![to.to_owned()];
        world.seal(&store, &manifest, &output.stdout);
        manifest
    };
    let public = |file: &str| {
        let output = Command::new("age-keygen").arg("-y").arg(world.path(file)).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let first = encrypted(1, &public("identity"));
    let begun = Instant::now();
    let output = world.verify("--from store -i other").output().unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!((output.status.code(), output.stdout.len()), (Some(77), 0));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains(world.recipient()) && stderr.contains(&first.object) && stderr.contains("nothing was read"),
        "{stderr}"
    );
    // With a key of some of them, the others are read as who has none reads them, and it is told.
    let second = encrypted(2, &public("other"));
    let said = support::said(&world.verify("--from store -i identity").output().unwrap(), 77);
    let depth = |manifest: &Manifest| said.verified.iter().find(|it| it.backup.manifest == *manifest).unwrap().depth;
    assert_eq!((depth(&first), depth(&second)), (Depth::Content, Depth::Bytes));
    assert!(said.findings.is_empty() && said.stderr.contains(&public("other")), "{said:?}");
    let said = world.run("--from store -i identity -i other", 0);
    assert!(said.verified.iter().all(|it| it.good && it.depth == Depth::Content));
}

#[test]
fn f65_pages_whose_checksum_is_wrong_are_found() {
    let page = |seed: u8| {
        let mut page = vec![seed; 8192];
        page[..8].fill(0);
        page
    };
    let clean = ("base/1/2000", vec![0; 3 * 8192]);
    for (damaged, code, severity) in [(0, 1, Severity::Error), (2, 0, Severity::Note)] {
        let world = World::new();
        let torn = ("base/1/2001", [vec![0; 8192], page(7), page(9)].concat());
        base(&world, damaged, &[clean.clone(), torn, ("base/1/PG_VERSION", b"15\n".to_vec())]);
        world.run("--from store", 0);
        let said = world.run("--from store --content", code);
        assert_eq!((said.only().code.as_str(), said.only().severity), ("page", severity));
        assert!(said.only().message.contains("base/1/2001, block 1:") && said.only().message.contains("and 1 more"), "{said:?}");
        assert_eq!((said.verified[0].good, said.verified[0].depth), (code == 0, Depth::Content));
    }
    let world = World::new();
    base(&world, 0, &[clean, ("base/1/2002", vec![5; 8191])]);
    world.run("--from store --content", 0);
}

#[test]
fn what_is_no_dump_inside_is_found() {
    let world = World::new();
    let (bytes, root) = archive(&[("about.json", b"{}\n".to_vec()), ("fingerprint.jsonl", b"\n".to_vec())]);
    let mut manifest = support::dump(1, &bytes);
    manifest.produced.archive = Some(root);
    world.seal(&world.store("store"), &manifest, &bytes);
    world.run("--from store", 0);
    let said = world.run("--from store --content", 1);
    assert!(said.only().code == "content" && said.only().message.starts_with("about.json"), "{said:?}");
}

#[test]
fn f68_an_archive_that_is_not_encrypted_is_told_by_frame_and_member() {
    let world = World::new();
    let noise: Vec<u8> = (0..60_000u32).map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let manifest = base(&world, 0, &[("base/1/PG_VERSION", noise.clone()), ("base/2/PG_VERSION", noise)]);
    let path = world.path("store").join(key(&manifest));
    let bytes = fs::read(&path).unwrap();
    let at = bytes.len() / 3;
    write(&path, &flipped(&bytes, at * 8));
    let said = world.run("--from store --content", 1);
    let finding = said.only();
    assert!(finding.message.contains("base/1/PG_VERSION") && finding.message.contains("frame"), "{finding:?}");
    assert!(finding.offset_bytes.is_some_and(|offset| offset <= at as u64 && at as u64 - offset < 17 << 10), "{finding:?}");
}
