//! On a server with versions and locks, and behind one that hides, denies, or is not there.
#![allow(clippy::unwrap_used)]

mod support;

use std::io::Write;
use std::process::{Command, Output, Stdio};

use chrono::{SecondsFormat, TimeDelta, Utc};
use dr_pipe::record::{Backup, Record};
use dr_testing::clock;
use dr_testing::proxy::{Fault, Proxy};
use dr_testing::s3::{BUCKET, Moto, environment};
use support::{World, deleted, fed, states, stderr_of};

const STORE: &str = "s3://dr-test/pg";

/// A world whose store is in S3.
struct S3 {
    world: World,
    moto: Moto,
}

impl S3 {
    /// With so many dumps, the first of them locked for a day where `locked`.
    fn new(dumps: usize, locked: bool) -> S3 {
        let s3 = S3 { world: World::new(), moto: Moto::start() };
        for n in 0..dumps {
            let lock = if locked && n == 0 { "--lock-until +24h" } else { "" };
            let line = format!(
                "rm -f receipts; set -e; export DR_RECEIPT=receipts; dr-run --database shop -- printf 'dump {n}' | dr-push --to {STORE} {lock}; \
                 dr-seal -s main.key < receipts > sealed"
            );
            let mut shell = Command::new("bash");
            shell.args(["-o", "pipefail", "-c", &line]);
            stderr_of(&s3.settled(shell, &s3.moto.url()).output().unwrap(), 0);
        }
        s3
    }

    fn settled(&self, command: Command, url: &str) -> Command {
        let mut command = self.world.settled(command);
        command.envs(environment(url)).env("DR_FROM", STORE);
        command
    }

    fn tool(&self, tool: &str, arguments: &str) -> Command {
        let mut command = Command::new(support::bin().join(tool));
        command.args(arguments.split_whitespace());
        self.settled(command, &self.moto.url())
    }

    fn delete(&self, arguments: &str) -> Command {
        let mut command = self.tool("dr-delete", arguments);
        command.env("DR_SIGNING_KEY", "delete.key");
        command
    }

    fn backups(&self) -> Vec<Backup> {
        let output = self.tool("dr-list", "").output().unwrap();
        stderr_of(&output, 0);
        let records = dr_pipe::record::read(&mut output.stdout.as_slice()).unwrap();
        let backup = |record| if let Record::Backup(backup) = record { *backup } else { panic!("{record:?}") };
        records.into_iter().map(backup).collect()
    }

    fn keys(&self) -> Vec<String> {
        let xml = self.moto.send("GET", &format!("/{BUCKET}?list-type=2"), "");
        xml.split("<Key>").skip(1).map(|rest| rest.split('<').next().unwrap().to_owned()).collect()
    }
}

/// The first `count` go, of backups in `store`.
fn delete_first(count: usize, backups: &[Backup], store: &str) -> String {
    let now = Utc::now().to_rfc3339_opts(SecondsFormat::Millis, true);
    let decision = |(place, Backup { manifest, .. }): (usize, &Backup)| {
        format!(
            "{{\"type\":\"decision\",\"action\":\"{}\",\"reasons\":[],\"store\":\"{store}\",\"cluster\":\"main\",\"kind\":\"dump\",\
             \"name\":\"{}\",\"sha256\":\"{}\",\"verified\":true,\"decided_at\":\"{now}\"}}\n",
            if place < count { "delete" } else { "keep" },
            manifest.name,
            manifest.sha256
        )
    };
    backups.iter().enumerate().map(decision).collect()
}

fn refused(output: &Output, code: i32) -> String {
    let said = stderr_of(output, code);
    assert!(said.ends_with("nothing was deleted\n"), "{said}");
    said
}

#[test]
fn f92_what_is_locked_is_reported_and_no_error() {
    let s3 = S3::new(5, true);
    let backups = s3.backups();
    let locked = &backups[0].manifest;
    let until = locked.stores[0].locked_until.unwrap();
    let output = fed(s3.delete("--grace 0 --confirm 2"), &delete_first(2, &backups, STORE));
    assert_eq!(stderr_of(&output, 0), "");
    let told = deleted(&output);
    assert_eq!(states(&output), ["marked", "marked", "held", "removed"]);
    assert_eq!((told[2].name.as_deref(), told[2].held_until_at, told[2].objects), (Some(&*locked.name), Some(until), 0));
    assert_eq!(told[3].objects, 3);
    assert!(s3.keys().iter().all(|key| !key.contains(&backups[1].manifest.name)));
    // As long as it is locked it is whole, and can be had.
    let pulled = s3.tool("dr-pull", &locked.name).output().unwrap();
    assert!(stderr_of(&pulled, 0).contains("is marked for deletion"));
    assert_eq!(pulled.stdout, b"dump 0");
    let again = s3.delete("--finish").output().unwrap();
    assert_eq!((stderr_of(&again, 0), states(&again)), (String::new(), vec!["held".to_owned()]));
}

#[test]
fn f92_a_lock_that_no_manifest_tells_of_is_found_by_the_store() {
    let s3 = S3::new(5, true);
    let store = format!("{STORE}/");
    let backups = s3.backups();
    let mut command = s3.delete("--grace 0 --confirm 1");
    command.env("DR_FROM", &store);
    let output = fed(command, &delete_first(1, &backups, &store));
    assert_eq!((stderr_of(&output, 0), states(&output)), (String::new(), vec!["marked".to_owned(), "held".to_owned()]));
    assert!(deleted(&output)[1].held_until_at.is_some());
    let left: Vec<_> = s3.keys().into_iter().filter(|key| key.contains(&backups[0].manifest.name)).collect();
    assert_eq!(left.len(), 3, "the object, the tombstone, its signature: {left:?}");
    assert_eq!(s3.backups().len(), 4);
    let again = s3.delete("--finish").output().unwrap();
    assert_eq!((stderr_of(&again, 0), states(&again)), (String::new(), vec!["held".to_owned()]));
}

#[test]
fn f92_what_is_denied_is_77_after_all_else_was_tried() {
    let s3 = S3::new(6, false);
    let backups = s3.backups();
    let name = backups[0].manifest.name.clone();
    let denied = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
    let proxy = Proxy::choosing(s3.moto.address(), move |_, line| {
        let meant = line.starts_with("DELETE") && line.contains(&name);
        meant.then_some(Fault::Answer("403 Forbidden", "Content-Type: application/xml\r\n", denied))
    });
    let mut command = s3.settled(s3.delete("--grace 0 --confirm 2"), &proxy.url());
    command.env("DR_SIGNING_KEY", "delete.key");
    let output = fed(command, &delete_first(2, &backups, STORE));
    let said = stderr_of(&output, 77);
    assert!(said.contains("s3:DeleteObject") && said.contains("what was allowed is done"), "{said}");
    assert_eq!(states(&output), ["marked", "marked", "removed"]);
    // With the right the next run completes it.
    let again = s3.delete("--finish").output().unwrap();
    assert_eq!((stderr_of(&again, 0), states(&again)), (String::new(), vec!["removed".to_owned()]));
    assert_eq!(s3.backups().len(), 4);
}

#[test]
fn f39_a_listing_that_lacks_backups_deletes_nothing() {
    let s3 = S3::new(5, false);
    let backups = s3.backups();
    let before = s3.keys();
    let lacking = |hidden: &dyn Fn(&str) -> bool| -> &'static str {
        let listed = s3.moto.send("GET", &format!("/{BUCKET}?list-type=2&prefix=pg/main/dump/"), "");
        let xml = listed.split_once("\r\n\r\n").unwrap().1;
        let (head, rest) = xml.split_once("<Contents>").unwrap();
        let objects: Vec<_> = rest.split("<Contents>").collect();
        let (last, tail) = objects[objects.len() - 1].split_once("</Contents>").unwrap();
        let objects = objects[..objects.len() - 1].iter().map(|it| (*it).to_owned()).chain([format!("{last}</Contents>")]);
        let left: Vec<_> = objects.filter(|it| !hidden(it)).map(|it| format!("<Contents>{it}")).collect();
        // A server that does not count them itself is found out by that alone.
        let (count, counted) = (format!("<KeyCount>{}<", left.len()), format!("<KeyCount>{}<", xml.matches("<Contents>").count()));
        let (head, tail) = (head.replace(&counted, &count), tail.replace(&counted, &count));
        Box::leak(format!("{head}{}{tail}", left.concat()).into_boxed_str())
    };
    let behind = |body: &'static str, mut command: Command| {
        let others = ["%2Fbase", "%2Ffiles", "%2Fwal"];
        let meant = move |line: &str| {
            line.contains("list-type=2") && line.contains("prefix=pg%2Fmain%2F") && !others.iter().any(|other| line.contains(other))
        };
        let proxy = Proxy::choosing(s3.moto.address(), move |_, line| meant(line).then_some(Fault::Body(body)));
        command.env("DR_ENDPOINT_URL", proxy.url());
        (command, proxy)
    };
    // A whole backup is not listed: it was to be kept.
    let hidden = backups[3].manifest.name.clone();
    let (command, _proxy) = behind(lacking(&|it| it.contains(&hidden)), s3.delete(""));
    let said = refused(&fed(command, &delete_first(1, &backups, STORE)), 76);
    assert!(said.contains(&format!("main/dump/{hidden}.json is there, and was not listed")), "{said}");
    // Nothing is listed at all.
    let (command, _proxy) = behind(lacking(&|_| true), s3.delete(""));
    refused(&fed(command, &delete_first(1, &backups, STORE)), 76);
    // A manifest and its signature are not listed: their object looks like one that was left.
    let (command, _proxy) = behind(lacking(&|it| it.contains(&format!("{hidden}.json"))), s3.delete("--unsealed --older-than 0"));
    let said = refused(&command_output(command), 76);
    assert!(said.contains(".json is there, and was not listed"), "{said}");
    // An object is not listed.
    let object = backups[3].manifest.object.clone();
    let (command, _proxy) = behind(lacking(&|it| it.contains(&object)), s3.delete("--unsealed --older-than 0"));
    assert!(refused(&command_output(command), 76).contains("is there, and was not listed"));
    assert_eq!(s3.keys(), before);
}

fn command_output(mut command: Command) -> Output {
    command.output().unwrap()
}

#[test]
fn f87_a_clock_that_is_not_the_servers_deletes_nothing() {
    let s3 = S3::new(5, false);
    let mut command = s3.delete("");
    clock::set(&mut command, "+6m");
    let said = refused(&fed(command, &delete_first(1, &s3.backups(), STORE)), 80);
    assert!(said.contains(&format!(" in {STORE}")) && said.contains("set the clock"), "{said}");
    s3.moto.kill();
    // Nobody comes back, which need not be waited for as long as for a server that is slow.
    refused(&s3.delete("--finish --patience 1").output().unwrap(), 69);
}

/// Begins to push a dump into the store, and is killed when the server has some of it.
fn abandon(s3: &S3) -> String {
    let mut push = s3.tool("dr-push", &format!("--to {STORE}")).stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    let mut input = push.stdin.take().unwrap();
    input.write_all(&vec![7; 40 << 20]).unwrap();
    let key = loop {
        let begun = s3.moto.multipart_uploads();
        if let Some((key, _)) = begun.split_once("<Key>").and_then(|(_, rest)| rest.split_once('<')) {
            break key.to_owned();
        }
        assert!(push.try_wait().unwrap().is_none(), "it has ended by itself");
        std::thread::park_timeout(std::time::Duration::from_millis(20));
    };
    push.kill().unwrap();
    push.wait().unwrap();
    key
}

#[test]
fn f34_an_upload_that_was_abandoned_is_aborted_and_no_other() {
    let s3 = S3::new(3, false);
    let key = abandon(&s3);
    let pushed = key.strip_prefix("pg/").unwrap().to_owned();
    let before = s3.keys();
    // By somebody else, and of somebody else.
    for foreign in ["pg/main/dump/mine.iso", "pg/other/dump/main_dump_20260125T020000Z_0001.tar", "elsewhere/x"] {
        s3.moto.send("POST", &format!("/{BUCKET}/{foreign}?uploads"), "");
    }
    let count = || s3.moto.multipart_uploads().matches("<UploadId>").count();
    assert_eq!(count(), 4);
    // One that was begun an hour ago may be at work. (moto dates all of them to 2010.)
    let said = s3.moto.send("GET", &format!("/{BUCKET}?uploads&prefix=pg/main/"), "");
    let hour_ago = (Utc::now() - TimeDelta::hours(1)).to_rfc3339_opts(SecondsFormat::Millis, true);
    let young = said.split_once("\r\n\r\n").unwrap().1.replace("2010-11-10T20:48:33.000Z", &hour_ago);
    assert!(young.contains(&hour_ago) && young.contains(&key), "{young}");
    let body: &'static str = young.leak();
    let proxy = Proxy::choosing(s3.moto.address(), move |_, line| line.contains("?uploads").then_some(Fault::Body(body)));
    let mut command = s3.delete("--unsealed");
    let output = command.env("DR_ENDPOINT_URL", proxy.url()).output().unwrap();
    assert_eq!((stderr_of(&output, 0), output.stdout.len(), count()), (String::new(), 0, 4));
    assert!(proxy.seen().iter().any(|line| line.contains("?uploads")), "{:?}", proxy.seen());

    let output = s3.delete("--unsealed").output().unwrap();
    assert_eq!(stderr_of(&output, 0), "");
    let told = deleted(&output);
    assert_eq!((states(&output), told[0].object.as_deref()), (vec!["aborted".to_owned()], Some(&*pushed)));
    assert_eq!((told[0].cluster.as_str(), told[0].objects, told[0].bytes), ("main", 0, 0));
    let left = s3.moto.multipart_uploads();
    assert!(count() == 3 && !left.contains(&key), "{left}");
    assert_eq!(s3.keys(), before);
    let again = s3.delete("--unsealed").output().unwrap();
    assert_eq!((stderr_of(&again, 0), again.stdout.len()), (String::new(), 0));
}

#[test]
fn f34_who_may_not_see_unfinished_uploads_is_told_and_all_else_is_collected() {
    let s3 = S3::new(3, false);
    let left = "pg/main/dump/main_dump_20200125T020000Z_0001.tar";
    s3.moto.send("PUT", &format!("/{BUCKET}/{left}"), "");
    let denied = "<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>";
    let fault = Fault::Answer("403 Forbidden", "Content-Type: application/xml\r\n", denied);
    let proxy = Proxy::choosing(s3.moto.address(), move |_, line| line.contains("?uploads").then_some(fault.clone()));
    let output = s3.delete("--unsealed --older-than 0").env("DR_ENDPOINT_URL", proxy.url()).output().unwrap();
    let said = stderr_of(&output, 77);
    assert!(said.contains("s3:ListBucketMultipartUploads") && said.ends_with("the others were removed\n"), "{said}");
    assert_eq!((states(&output), s3.keys().iter().any(|key| key == left)), (vec!["removed".to_owned()], false));
}

#[test]
fn f41_what_somebody_deleted_is_listed_and_read_as_of_before() {
    let s3 = S3::new(2, false);
    let before = s3.backups();
    // S3 dates versions to the second.
    let moment = Utc::now() + TimeDelta::seconds(1);
    while Utc::now() <= moment + TimeDelta::seconds(1) {
        std::thread::park_timeout(std::time::Duration::from_millis(100));
    }
    let moment = moment.to_rfc3339_opts(SecondsFormat::Millis, true);
    for key in s3.keys() {
        s3.moto.send("DELETE", &format!("/{BUCKET}/{key}"), "");
    }
    let now = s3.tool("dr-list", "").output().unwrap();
    assert!(stderr_of(&now, 81).contains("main/dump/ is empty"), "hidden backups are noticed");
    let past = s3.tool("dr-list", &format!("--as-of {moment}")).output().unwrap();
    stderr_of(&past, 0);
    assert_eq!(dr_pipe::record::read(&mut past.stdout.as_slice()).unwrap().len(), before.len());
    let pulled = s3.tool("dr-pull", &format!("--as-of {moment} latest")).output().unwrap();
    stderr_of(&pulled, 0);
    assert_eq!(pulled.stdout, b"dump 1");
}
