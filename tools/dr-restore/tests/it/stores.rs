//! Straight from stores: signed, encrypted, read in ranges.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use dr_testing::s3::{ACCESS_KEY, BUCKET, S3sFs, SECRET_KEY};

use crate::fixture::{Place, run};

/// A cluster that is backed up as it is meant to be.
struct Kept {
    place: Place,
    store: String,
    settings: Vec<(&'static str, String)>,
}

fn made(command: &mut Command) -> String {
    let ran = run(command, b"");
    ran.ends(0);
    String::from_utf8(ran.stdout).expect("UTF-8")
}

impl Kept {
    /// Dumps a small database into a directory store.
    fn new() -> Kept {
        let place = Place::new(15);
        let store = place.path("store").display().to_string();
        Kept::into(place, store, Vec::new())
    }

    fn into(place: Place, store: String, settings: Vec<(&'static str, String)>) -> Kept {
        place.server.psql(
            "postgres",
            "CREATE DATABASE small TEMPLATE template0; \\connect small\nCREATE TABLE t AS SELECT n, md5(n::text) FROM generate_series(1, 200000) n; CREATE INDEX ON t (n)",
        );
        let kept = Kept { place, store, settings };
        made(Command::new("age-keygen").arg("-o").arg(kept.file("identity")));
        made(Command::new("age-keygen").arg("-o").arg(kept.file("other")));
        let recipient = made(Command::new("age-keygen").arg("-y").arg(kept.file("identity")));
        fs::write(kept.file("recipients"), recipient).expect("a file");
        made(Command::new("minisign").args(["-G", "-W", "-p"]).arg(kept.file("main.pub")).arg("-s").arg(kept.file("main.key")));
        made(Command::new("minisign").args(["-G", "-W", "-p"]).arg(kept.file("other.pub")).arg("-s").arg(kept.file("other.key")));
        kept.back_up("small");
        kept
    }

    fn file(&self, name: &str) -> PathBuf {
        self.place.path(name)
    }

    fn back_up(&self, database: &str) {
        let script = "set -e; : > \"$DR_RECEIPT\"; dr-dump $DATABASE | dr-encrypt -R recipients | dr-push --to \"$STORE\" --cluster main; dr-seal --cluster main -s main.key < \"$DR_RECEIPT\" > sealed";
        let bin = Path::new(env!("CARGO_BIN_EXE_dr-restore")).parent().expect("a directory");
        let mut shell = self.place.tool(Path::new("/bin/sh"));
        shell.current_dir(self.place.dir.path()).env("PATH", format!("{}:/usr/bin:/bin", bin.display()));
        shell
            .env("DATABASE", database)
            .env("STORE", &self.store)
            .env("DR_RECEIPT", self.file("receipt"))
            .envs(self.settings.clone());
        made(shell.args(["-c", script]));
    }

    fn restore(&self, args: &[&str]) -> Command {
        let mut command = self.place.restore(&["--from", &self.store, "--into", "new"]);
        command
            .env("DR_IDENTITY", self.file("identity"))
            .env("DR_PUBLIC_KEY", self.file("main.pub"))
            .envs(self.settings.clone())
            .args(args);
        command
    }

    /// The only object of the store.
    fn object(&self) -> PathBuf {
        let folder = Path::new(&self.store).join("main/dump");
        let objects = fs::read_dir(folder).expect("the folder").map(|entry| entry.expect("an entry").path());
        objects.into_iter().find(|path| path.extension().is_some_and(|suffix| suffix == "age")).expect("an object")
    }

    /// Nothing was made, and nothing was left.
    #[track_caller]
    fn refuses(&self, command: &mut Command, code: i32) -> String {
        let ran = run(command, b"");
        let said = ran.ends(code).to_owned();
        assert_eq!(self.place.databases("new%"), "", "{said}");
        said
    }
}

#[test]
fn a_backup_is_restored_by_name_from_a_directory() {
    let kept = Kept::new();
    let name =
        kept.object().file_name().and_then(|name| name.to_str()).expect("a name").split('.').next().expect("a name").to_owned();
    let record = run(&mut kept.restore(&["latest"]), b"").record();
    assert_eq!(record["backup"].as_str(), Some(&*name));
    assert_eq!((record["rows"].as_u64(), record["proved"].as_bool()), (Some(200_000), Some(true)));
    let ran = run(
        kept.restore(&["--swap", "--cluster", "main", "--database", "small", &name[..name.len() - 2]]).env_remove("DR_PUBLIC_KEY"),
        b"",
    );
    assert!(ran.stderr.contains("was not checked"), "{}", ran.stderr);
    assert!(ran.record()["kept"].is_string());
    run(&mut kept.restore(&["--swap", "--at", "2999-01-01T00:00:00Z"]), b"").record();
    run(&mut kept.restore(&["--swap", "nothing"]), b"").ends(66);
}

#[test]
fn f70_f71_f73_wrong_keys_signatures_and_objects_are_refused() {
    let kept = Kept::new();
    let said = kept.refuses(kept.restore(&["latest"]).env("DR_IDENTITY", kept.file("other")), 77);
    let recipients = fs::read_to_string(kept.file("recipients")).expect("they are there");
    let whose = format!("no identity given opens this stream; it is encrypted to {}", recipients.trim());
    assert!(said.contains(&whose), "{said}");
    kept.refuses(kept.restore(&["latest"]).env_remove("DR_IDENTITY"), 64);
    let said = kept.refuses(kept.restore(&["main_base_20260101T020000Z_0001"]).env_remove("DR_IDENTITY"), 66);
    assert!(said.contains("dr-recover --backup main_base_20260101T020000Z_0001"), "{said}");
    kept.refuses(kept.restore(&["latest"]).env("DR_PUBLIC_KEY", kept.file("other.pub")), 81);
    // Another good archive, encrypted to the same people, in the place of this one.
    let object = kept.object();
    let (good, mode) = (fs::read(&object).expect("it"), fs::metadata(&object).expect("it").permissions());
    let replace = |bytes: &[u8]| {
        fs::remove_file(&object).expect("it is there");
        fs::write(&object, bytes).expect("it is ours");
        fs::set_permissions(&object, mode.clone()).expect("its mode");
    };
    let mut forged = good.clone();
    for byte in forged.iter_mut().skip(good.len() / 2).take(9) {
        *byte ^= 0x5a;
    }
    replace(&forged);
    let said = kept.refuses(&mut kept.restore(&["latest"]), 65);
    assert!(said.contains("the half-made database was dropped") || said.contains("damaged"), "{said}");
    replace(&good[..good.len() - 1]);
    kept.refuses(&mut kept.restore(&["latest"]), 65);
    kept.place.server.psql("small", "UPDATE t SET n = n + 1");
    let other = kept.place.dr_dump(&["small"]);
    let encrypted = run(Command::new("age").arg("-R").arg(kept.file("recipients")), &other).stdout;
    replace(&encrypted);
    let said = kept.refuses(&mut kept.restore(&["latest"]), 65);
    assert!(said.contains("bytes") || said.contains("damaged"), "{said}");
    replace(&good);
    run(&mut kept.restore(&["latest"]), b"").record();
}

#[test]
fn a_backup_is_restored_from_s3() {
    let s3 = S3sFs::start();
    let place = Place::new(18);
    let settings = vec![
        ("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
        ("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
        ("AWS_REGION", "us-east-1".to_owned()),
        ("DR_ENDPOINT_URL", s3.url()),
    ];
    let kept = Kept::into(place, format!("s3://{BUCKET}/pg"), settings);
    // The signature vouches for the dump, whatever flaws this pg_restore has.
    let record = run(kept.restore(&["latest", "-j4"]).env_remove("DR_TRUST_ARCHIVE"), b"").record();
    assert_eq!((record["rows"].as_u64(), record["proved"].as_bool()), (Some(200_000), Some(true)));
    assert_eq!(kept.place.server.psql("new", "SELECT count(*) FROM pg_indexes WHERE tablename = 't'"), "1");
}

#[test]
fn an_encrypted_dump_of_pg_dump_is_restored_from_a_file() {
    let kept = Kept::new();
    for (name, args) in [("custom", &["-Fc", "small"][..]), ("plain", &["small"])] {
        let dump = kept.place.pg_dump(args);
        let encrypted = run(Command::new("age").arg("-R").arg(kept.file("recipients")), &dump).stdout;
        let file = kept.place.file(name, encrypted);
        let mut command = kept.place.restore(&[&file, "--into", &format!("from_{name}")]);
        run(command.env("DR_IDENTITY", kept.file("identity")), b"").record();
        assert_eq!(kept.place.server.psql(&format!("from_{name}"), "SELECT count(*) FROM t"), "200000");
    }
}

#[test]
fn the_newest_backup_is_of_a_database_that_was_named_where_there_are_several() {
    let kept = Kept::new();
    kept.place.server.psql("postgres", "CREATE DATABASE later; \\connect later\nCREATE TABLE u AS SELECT 1 AS n");
    kept.back_up("later");
    let swap = |more: &[&str]| {
        let mut command = kept.place.restore(&["--from", &kept.store, "latest", "--into", "small", "--swap"]);
        command.env("DR_IDENTITY", kept.file("identity")).env("DR_PUBLIC_KEY", kept.file("main.pub")).args(more);
        run(&mut command, b"")
    };
    let beside = || run(&mut kept.restore(&["latest"]), b"");
    assert!([swap(&[]), beside()].iter().all(|it| it.ends(64).contains("several databases: later, small\n")));
    assert_eq!(kept.place.server.psql("small", "SELECT count(*) FROM t").trim(), "200000");
    swap(&["--database", "small"]).ends(0);
    assert_eq!(kept.place.server.psql("small", "SELECT count(*) FROM t").trim(), "200000");
}
