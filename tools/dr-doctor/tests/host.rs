//! Is what is wrong with a host found, and found to be right again when it is?
#![allow(clippy::unwrap_used, missing_docs)]

mod support;

use std::fs;
use std::path::Path;
use std::process::Command;

use dr_pipe::record::State::{Critical, Ok, Warning};
use support::{Host, RECIPIENTS, chmod, finds, run};

const IDENTITY: &str = "AGE-SECRET-KEY-1GQ9778VQXMMJVE8SK7J6VT8UJ4HDQAJUVSFCWCM02D8GEWQ72PVQ2Y5J33\n";

#[test]
fn settings_are_ours_readable_and_without_a_slip_of_the_pen() {
    let host = Host::new();
    let file = host.path("main.env");
    let with = |text: &str, mode, state, part: &str| {
        host.write("main.env", text, mode);
        finds(host.checking("settings").arg("--env-file").arg(&file), "settings", state, part);
    };
    finds(host.checking("settings").arg("--env-file").arg(&file), "settings", Critical, "No such file");
    with("DR_TO=/store\nDATABASES=\"a b\"\n", 0o644, Ok, "");
    with("DR_TO=/store\nDR_RECIPENTS=/x\n", 0o644, Warning, "is DR_RECIPIENTS meant?");
    with("DR_TO=/store\n", 0o666, Critical, "others can write it");
    with("DR_TO=/store\n", 0o640, Ok, "");
}

#[test]
fn f96_a_secret_in_the_settings_is_told_and_not_shown() {
    let host = Host::new();
    let file = host.write("main.env", "AWS_SECRET_ACCESS_KEY=canary-4711\nPGPASSWORD=canary-4711\n", 0o600);
    let found = run(host.checking("settings").arg("--env-file").arg(&file));
    assert_eq!((found.of("settings").count(), found.state("settings")), (2, Some(Warning)));
    assert!(!format!("{:?}{}", found.checks, found.said).contains("canary"));
}

#[test]
fn fewer_than_two_who_can_read_are_too_few() {
    let host = Host::new();
    let with = |text: &str, state, part: &str| {
        host.write("recipients", text, 0o644);
        finds(&mut host.checking("recipients"), "recipients", state, part);
    };
    with(&RECIPIENTS.join("\n"), Ok, "2 can read");
    with(RECIPIENTS[0], Warning, "only one identity");
    with("age1nonsense", Critical, "neither an age nor an ssh public key");
    with(&RECIPIENTS.join("\n"), Ok, "");
    let mut without = host.command();
    without.args(["--to", "/store", "--check", "recipients"]);
    finds(&mut without, "recipients", Critical, "nobody is named");
    finds(without.args(["-r", RECIPIENTS[0], "-r", RECIPIENTS[1]]), "recipients", Ok, "2 can read");
}

#[test]
fn the_key_that_signs_is_ours_alone_and_fits_the_public_one() {
    let host = Host::new();
    let key = host.path("main.key");
    let check = |state, part: &str| finds(&mut host.checking("signing-key"), "signing-key", state, part);
    check(Ok, "which is trusted");
    chmod(&key, 0o640);
    check(Critical, "chmod 600");
    chmod(&key, 0o600);
    host.sign("other");
    fs::copy(host.path("main.pub"), host.path("right.pub")).unwrap();
    fs::copy(host.path("other.pub"), host.path("main.pub")).unwrap();
    check(Critical, "none of the keys that are trusted");
    fs::copy(host.path("right.pub"), host.path("main.pub")).unwrap();
    check(Ok, "");
    fs::remove_file(&key).unwrap();
    check(Critical, "main.key");
    host.sign("new");
    let mut unproved = host.command();
    unproved.args(["--to", "/store", "--check", "signing-key", "-s"]).arg(host.path("new.key"));
    finds(&mut unproved, "signing-key", Warning, "no public key is named");
}

#[test]
fn what_decrypts_is_not_where_backups_are_made_and_works_where_they_are_restored() {
    let host = Host::new();
    let check = |state, part: &str| finds(&mut host.checking("identity"), "identity", state, part);
    check(Ok, "none on this host");
    let identity = host.write("forgotten.txt", &format!("# created: today\n{IDENTITY}"), 0o600);
    check(Warning, "whoever breaks in reads all of them");
    let restoring = |key: &str| {
        let mut command = host.command();
        command.args(["--from", "/store", "--check", "identity", "-i"]).arg(host.path(key));
        command
    };
    finds(&mut restoring("forgotten.txt"), "identity", Ok, "by nobody else");
    chmod(&identity, 0o644);
    finds(&mut restoring("forgotten.txt"), "identity", Critical, "chmod 600");
    finds(&mut restoring("gone.txt"), "identity", Critical, "gone.txt");
    fs::remove_file(&identity).unwrap();
    check(Ok, "");
}

#[test]
fn whoever_reads_backups_has_a_key_to_check_signatures_with() {
    let host = Host::new();
    let mut command = host.command();
    command.args(["--from", "/store", "--check", "public-key"]);
    finds(&mut command, "public-key", Warning, "signatures are not checked");
    finds(command.arg("--public-key").arg(host.path("main.pub")), "public-key", Ok, "signatures are checked with RW");
    finds(command.arg("--public-key").arg(host.path("recipients")), "public-key", Critical, "not a minisign public key");
}

#[test]
fn f96_files_of_passwords_and_access_keys_are_nobody_elses() {
    let host = Host::new();
    let aws = host.write("credentials", "[default]\n", 0o644);
    let pgpass = host.write("home/.pgpass", "*:*:*:*:secret\n", 0o600);
    let check = |state, part: &str| {
        let mut command = host.backing_up("s3://b", "credentials");
        finds(command.env("AWS_SHARED_CREDENTIALS_FILE", &aws), "credentials", state, part);
    };
    check(Critical, "its mode 0644");
    chmod(&aws, 0o600);
    check(Ok, "");
    chmod(&pgpass, 0o640);
    check(Critical, "chmod 600");
}

#[test]
fn channels_are_looked_at_by_who_tells_them() {
    let host = Host::new();
    fs::create_dir(host.path("channels")).unwrap();
    let check = |state, part: &str| {
        let mut command = host.checking("channels");
        finds(command.env("DR_CHANNELS", host.path("channels")), "channels", state, part);
    };
    check(Warning, "nobody can be told: no file in ");
    let channel = host.write("channels/ops.toml", "kind = \"ntfy\"\nurl = \"https://canary.example/canary\"\n", 0o600);
    check(Ok, "it can be read, by nobody else");
    chmod(&channel, 0o644);
    check(Critical, &format!("chmod 600 {}", channel.display()));
    host.write("channels/ops.toml", "kind = \"ntfy\"\nulr = \"https://canary.example/canary\"\n", 0o600);
    check(Critical, "line 1: url is not set");
    // Who only reads backups need not tell anybody.
    let mut reads = host.command();
    reads.args(["--from", "/store", "--check", "channels"]);
    if !Path::new("/etc/dr/channels").exists() {
        assert_eq!(run(&mut reads).of("channels").count(), 0);
    }
    finds(reads.env("DR_CHANNELS", host.path("channels")), "channels", Critical, "ops.toml");
}

#[test]
fn the_programs_of_the_bad_day_are_looked_for() {
    let host = Host::new();
    let mut command = host.checking("stock-tools");
    finds(&mut command, "stock-tools", Ok, "age, minisign, zstd and tar");
    let bin = host.path("bin");
    fs::create_dir(&bin).unwrap();
    for tool in ["age", "tar"] {
        fs::write(bin.join(tool), "").unwrap();
    }
    finds(command.env("PATH", &bin), "stock-tools", Warning, "apt-get install minisign zstd");
}

#[test]
fn directories_have_room_and_may_be_written_to() {
    let host = Host::new();
    let spool = host.path("spool");
    fs::create_dir(&spool).unwrap();
    // A disk of its own: as large as asked for, and empty.
    let on_disk = |size: &str| {
        let mut command = Command::new("unshare");
        let script = "mount -t tmpfs -o size=\"$1\" none \"$2\" && shift 2 && exec \"$@\"";
        command.args(["--map-root-user", "--mount", "sh", "-c", script, "sh", size]).arg(&spool);
        let inner = host.checking("space");
        command.arg(inner.get_program()).args(inner.get_args()).arg("--spool-dir").arg(&spool);
        command.env("DR_STATE", host.path("state"));
        run(&mut command)
    };
    for (size, state) in [("1g", Ok), ("100m", Warning), ("8m", Critical)] {
        let found = on_disk(size);
        let of = |check: &&dr_pipe::record::Check| check.subject.as_deref() == spool.to_str();
        assert_eq!(found.of("space").find(of).unwrap().state, state, "{size}: {} {}", found.words("space"), found.said);
    }
    let mut command = host.checking("space");
    finds(command.env("DR_STATE", host.path("main.key")), "space", Critical, "is no directory");
    let new = host.path("new/state");
    let found = run(host.checking("space").env("DR_STATE", &new));
    assert!(found.of("space").any(|check| check.subject.as_deref() == new.to_str() && check.state != Critical));
    assert!(!new.exists(), "a look leaves no trace");
}

#[test]
fn what_is_not_said_is_64_and_a_table_is_for_people() {
    let host = Host::new();
    for words in [
        &["--to", "/store", "--check", "nonsense"][..],
        &[],
        &["--probe", "--from", "/store"],
        &["--to", "/store", "--check", "create-only"],
        &["--to", "ftp://x"],
        &["--to", "/store", "--table"],
    ] {
        let found = run(host.command().args(words));
        assert_eq!(found.code, 64, "{words:?}: {}", found.said);
        assert_eq!(found.said.lines().count(), 2, "{}", found.said);
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_dr-doctor"));
    command.env_clear().args(["--cluster", "main", "--to", "/store", "--check", "recipients", "--table"]);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let table = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<_> = table.lines().collect();
    assert_eq!(lines[..2], ["STATE     CHECK       FOUND", "CRITICAL  recipients  nobody is named who can read the backups"]);
    assert!(lines[2].trim_start().starts_with("-> name their file with -R"), "{table}");
}

#[test]
fn the_manual_lists_the_checks_there_are() {
    let page = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../man/dr-doctor.1")).unwrap();
    let listed: Vec<_> = page.lines().filter_map(|line| line.strip_prefix(".It Cm ")).collect();
    let help = Command::new(env!("CARGO_BIN_EXE_dr-doctor")).arg("--help").env("COLUMNS", "1000").output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let from = help.lines().skip_while(|line| !line.contains("--check <NAME>"));
    let there: Vec<_> = from
        .take_while(|line| !line.contains("--probe"))
        .filter_map(|line| Some(line.trim().strip_prefix("- ")?.split(':').next()?.to_owned()))
        .collect();
    assert!(there.len() > 30, "{there:?}");
    assert_eq!(listed, there);
}
