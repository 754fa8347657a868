//! dr-copy into real S3 servers and out of them: several at once, which die, lie and forget.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use dr_testing::proxy::{Fault, Proxy};
use dr_testing::s3::{ACCESS_KEY, BUCKET, Garage, Moto, S3sFs, SECRET_KEY, environment};
use support::{NAMES, World, content, copied, records, run, states, stderr_of};

/// More than two parts.
const LARGE: usize = 33 << 20;

/// dr-copy of the first backup, on the server of this environment.
fn copy(world: &World, environment: Vec<(&'static str, String)>, arguments: &str) -> Output {
    run(world.command(arguments).envs(environment), &records(&NAMES[..1]))
}

/// Whether the backup in `store` is that of `near`, file by file.
fn is_whole(world: &World, store: &str) -> bool {
    let there = world.files(store);
    world.files("near").iter().all(|(name, bytes)| there.get(name) == Some(bytes))
}

/// What a moto server says of an object of the first backup.
fn head(server: &Moto, suffix: &str) -> String {
    server.send("HEAD", &format!("/{BUCKET}/pg/main/dump/{}{suffix}", NAMES[0]), "").to_lowercase()
}

#[test]
fn a_backup_goes_to_a_bucket_and_comes_back_the_same() {
    let (world, server) = (World::new(LARGE), S3sFs::start());
    let output = copy(&world, server.environment(), "--to s3://dr-test/pg --to far");
    assert_eq!(stderr_of(&output, 0), "");
    assert_eq!(states(&output), ["copied far", "copied s3://dr-test/pg"]);
    let output = copy(&world, server.environment(), "--to s3://dr-test/pg");
    assert_eq!(states(&output), ["present s3://dr-test/pg"]);

    // From bucket to bucket, and back.
    for arguments in ["--from s3://dr-test/pg --to s3://dr-test/other", "--from s3://dr-test/other --to back"] {
        stderr_of(&copy(&world, server.environment(), arguments), 0);
    }
    assert!(is_whole(&world, "far") && is_whole(&world, "back"));
    let stderr = stderr_of(&copy(&world, server.environment(), "--from s3://dr-test/pg --to s3://dr-test/pg/"), 64);
    assert!(stderr.contains("a store that --from names"), "{stderr}");
}

#[test]
fn a_storage_class_a_lock_and_tags_are_those_of_the_object_alone() {
    let (world, server) = (World::new(9), Moto::start());
    // A moment: a while from now would end later when it is asked for again.
    let until = (chrono::Utc::now() + chrono::TimeDelta::days(30)).format("%FT%TZ");
    let arguments = &format!("--to s3://dr-test/pg --storage-class GLACIER --lock-until {until}");
    let output = copy(&world, server.environment(), arguments);
    assert_eq!(stderr_of(&output, 0), "");
    let record = &copied(&output)[0];
    assert_eq!(record.storage_class.as_deref(), Some("GLACIER"));
    assert!(record.locked_until.is_some());
    assert!(head(&server, ".tar.zst.age").contains("x-amz-storage-class: glacier"));
    for suffix in [".json", ".json.minisig"] {
        let head = head(&server, suffix);
        assert!(head.starts_with("http/1.1 200") && !head.contains("glacier") && !head.contains("retain-until"), "{head}");
    }
    stderr_of(&copy(&world, server.environment(), "--to s3://dr-test/tagged --tag tier=cold --tag team=data"), 0);
    let tags = server.send("GET", &format!("/{BUCKET}/tagged/main/dump/{}.tar.zst.age?tagging", NAMES[0]), "");
    assert!(tags.contains("<Key>tier</Key><Value>cold</Value>") && tags.contains("<Key>team</Key>"), "{tags}");

    // Asked again, it says what it is; asked for another class, it stays as it is, with a warning.
    let present = copy(&world, server.environment(), arguments);
    assert_eq!((stderr_of(&present, 0).as_str(), copied(&present)[0].storage_class.as_deref()), ("", Some("GLACIER")));
    let stderr = stderr_of(&copy(&world, server.environment(), "--to s3://dr-test/pg --storage-class STANDARD_IA"), 0);
    assert!(stderr.contains("left as it is") && stderr.contains("kept as GLACIER"), "{stderr}");
    // What lies in cold storage cannot be read before it has been thawed.
    let stderr = stderr_of(&copy(&world, server.environment(), "--from s3://dr-test/pg --to far"), 75);
    assert!(stderr.contains("frozen in GLACIER") && stderr.contains("--thaw"), "{stderr}");
    assert!(world.names("far").is_empty());
}

/// Leaves an object without manifest in a bucket, and copies again.
fn copy_again_after_a_kill(world: &World, server: &Moto, class: &str) -> Output {
    let arguments = format!("--to s3://dr-test/{class} --storage-class {class}");
    // It dies where it would write the signature.
    let proxy = Proxy::choosing(server.address(), |_, request| {
        request.contains("minisig").then_some(Fault::Answer("403 Forbidden", "", ""))
    });
    stderr_of(&copy(world, environment(&proxy.url()), &arguments), 77);
    let head = |suffix: &str| server.send("HEAD", &format!("/{BUCKET}/{class}/main/dump/{}{suffix}", NAMES[0]), "");
    assert!(head(".tar.zst.age").starts_with("HTTP/1.1 200") && head(".json").starts_with("HTTP/1.1 404"), "it is no backup");
    copy(world, server.environment(), &arguments)
}

#[test]
fn what_a_killed_run_has_left_in_a_bucket_is_taken_where_it_is_the_same() {
    let (small, large, server) = (World::new(700_000), World::new(LARGE), Moto::start());
    for (world, class) in [(&large, "STANDARD_IA"), (&small, "GLACIER")] {
        let output = copy_again_after_a_kill(world, &server, class);
        assert_eq!(stderr_of(&output, 0), "", "{class}");
        assert_eq!((copied(&output)[0].state.as_str(), copied(&output)[0].storage_class.as_deref()), ("copied", Some(class)));
    }
    // In cold storage, and the server tells no digest of what was uploaded in parts.
    let stderr = stderr_of(&copy_again_after_a_kill(&large, &server, "DEEP_ARCHIVE"), 73);
    assert!(stderr.contains("in cold storage") && stderr.contains("dr-delete --unsealed"), "{stderr}");
}

#[test]
fn f21_another_object_of_the_name_is_left_as_it_is() {
    let (world, server) = (World::new(700_000), S3sFs::start());
    let folder = server.directory().join("data").join(BUCKET).join("pg/main/dump");
    fs::create_dir_all(&folder).unwrap();
    let object = folder.join(format!("{}.tar.zst.age", NAMES[0]));
    let mut other = content(700_000);
    other[9] ^= 1;
    for bytes in [&other[..], b"short"] {
        fs::write(&object, bytes).unwrap();
        let stderr = stderr_of(&copy(&world, server.environment(), "--to s3://dr-test/pg"), 65);
        assert!(stderr.contains("with other bytes"), "{stderr}");
        assert!(fs::read(&object).unwrap() == bytes && !folder.join(format!("{}.json", NAMES[0])).exists());
    }
}

#[test]
fn f34_what_is_damaged_leaves_no_upload_behind() {
    let (world, server) = (World::new(LARGE), Moto::start());
    world.damage(&world.file("near", NAMES[0], ".tar.zst.age"));
    stderr_of(&copy(&world, server.environment(), "--to s3://dr-test/pg"), 65);
    assert!(!server.multipart_uploads().contains("<UploadId>"), "{}", server.multipart_uploads());
    assert!(head(&server, ".tar.zst.age").starts_with("http/1.1 404"));
}

#[test]
fn f05_a_signal_aborts_the_upload_and_ends_within_seconds() {
    let (world, server) = (World::new(LARGE), Moto::start());
    // Nothing comes back from the second part: the upload is under way when the signal comes.
    let proxy = Proxy::choosing(server.address(), |_, request| request.contains("partNumber=2").then_some(Fault::Stall));
    let mut child = world.command(&format!("--to s3://dr-test/pg {}", NAMES[0])).envs(environment(&proxy.url())).spawn().unwrap();
    let begun = Instant::now();
    while !proxy.seen().iter().any(|request| request.contains("partNumber=2")) {
        assert!(begun.elapsed() < Duration::from_secs(60), "a second part within a minute");
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let begun = Instant::now();
    assert!(Command::new("kill").arg(child.id().to_string()).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(75));
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert!(!server.multipart_uploads().contains("<UploadId>"), "{}", server.multipart_uploads());
}

#[test]
fn f05_a_run_that_is_killed_at_any_request_shows_no_partial_backup_and_the_next_completes_it() {
    let (world, server) = (World::new(LARGE), S3sFs::start());
    let mut kills = 0;
    for n in 0.. {
        // At this request the server says nothing any more.
        let proxy = Proxy::choosing(server.address(), move |number, _| (number == n).then_some(Fault::Stall));
        let mut child =
            world.command(&format!("--to s3://dr-test/{n} {}", NAMES[0])).envs(environment(&proxy.url())).spawn().unwrap();
        let ended = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break Some(status);
            }
            if proxy.seen().len() > n {
                child.kill().unwrap();
                child.wait().unwrap();
                break None;
            }
            std::thread::park_timeout(Duration::from_millis(2));
        };
        let bucket = server.directory().join("data").join(BUCKET).join(n.to_string());
        let file = |suffix: &str| fs::read(bucket.join("main/dump").join(format!("{}{suffix}", NAMES[0]))).ok();
        let same = |suffix: &str| file(suffix) == fs::read(world.file("near", NAMES[0], suffix)).ok();
        let is_there = file(".json").is_some();
        assert!(!is_there || same(".tar.zst.age") && same(".json.minisig") && same(".json"), "killed at request {n}");
        if let Some(status) = ended {
            assert!(status.success() && is_there);
            break;
        }
        kills += 1;
        stderr_of(&copy(&world, server.environment(), &format!("--to s3://dr-test/{n}")), 0);
        assert!(same(".tar.zst.age") && same(".json.minisig") && same(".json"), "after request {n}");
    }
    assert!(kills >= 10, "{kills} requests");
}

#[test]
fn f25_a_target_that_dies_is_unavailable_once_and_the_others_go_on() {
    let (world, server) = (World::new(LARGE), S3sFs::start());
    world.back_up("near", NAMES[1], b"x");
    let kill = |proxy: &Proxy| {
        let begun = Instant::now();
        while !proxy.seen().iter().any(|request| request.contains("partNumber=2")) {
            assert!(begun.elapsed() < Duration::from_secs(60), "a second part within a minute");
            std::thread::park_timeout(Duration::from_millis(10));
        }
        server.kill();
    };
    let proxy = Proxy::start(server.address(), &[]);
    let mut command = world.command("--to s3://dr-test/pg --to far --patience 1 --jobs 1");
    command.envs(environment(&proxy.url()));
    let output = std::thread::scope(|scope| {
        scope.spawn(|| kill(&proxy));
        run(&mut command, &records(&NAMES))
    });
    let stderr = stderr_of(&output, 69);
    assert_eq!(stderr.lines().count(), 2, "{stderr}");
    assert!(is_whole(&world, "far"));
    let bucket = server.directory().join("data").join(BUCKET).join("pg/main/dump");
    assert!(!bucket.join(format!("{}.json", NAMES[0])).exists());
}

#[test]
fn f26_f27_f28_replies_that_are_lost_late_or_lies_change_nothing() {
    let (world, server) = (World::new(LARGE), S3sFs::start());
    for (place, faults) in [
        vec![("PUT .json ", Fault::LoseReply), ("PUT minisig", Fault::LoseReply), ("PUT partNumber=1", Fault::LoseReply)],
        vec![("POST uploadId", Fault::LoseReply)],
        vec![("PUT .json ", Fault::Answer("503 Slow Down", "Retry-After: 1\r\n", "<Error><Code>SlowDown</Code></Error>"))],
        vec![("POST uploadId", Fault::Body("<Error><Code>InternalError</Code></Error>"))],
    ]
    .into_iter()
    .enumerate()
    {
        let proxy = Proxy::start(server.address(), &faults);
        stderr_of(&copy(&world, environment(&proxy.url()), &format!("--to s3://dr-test/pg{place}")), 0);
        assert_eq!(proxy.unused(), [], "{:?}", proxy.seen());
        stderr_of(&copy(&world, server.environment(), &format!("--from s3://dr-test/pg{place} --to back{place}")), 0);
        assert!(is_whole(&world, &format!("back{place}")), "{place}");
    }
}

#[test]
fn f29_f30_a_source_that_breaks_off_or_lies_is_left_for_the_next() {
    let (world, server) = (World::new(700_000), S3sFs::start());
    stderr_of(&copy(&world, server.environment(), "--to s3://dr-test/pg"), 0);
    let from = |faults: &[(&str, Fault)], arguments: &str| {
        let proxy = Proxy::start(server.address(), faults);
        let output = copy(&world, environment(&proxy.url()), arguments);
        assert_eq!(proxy.unused(), []);
        output
    };
    let flip = [("GET tar.zst.age", Fault::FlipReply)];
    let stderr = stderr_of(&from(&flip, "--from s3://dr-test/pg --to one"), 65);
    assert!(stderr.contains("and it must be 700000"), "{stderr}");
    assert!(world.names("one").is_empty());
    let stderr = stderr_of(&from(&flip, "--from s3://dr-test/pg --from near --to two"), 0);
    assert!(stderr.contains("going on with near"), "{stderr}");
    stderr_of(&from(&[("GET tar.zst.age", Fault::CutReply(5000))], "--from s3://dr-test/pg --to three"), 0);
    assert!(is_whole(&world, "two") && is_whole(&world, "three"));
    let output = from(&[("GET .json ", Fault::FlipReply)], "--from s3://dr-test/pg --from near --to four");
    assert!(stderr_of(&output, 0).contains("going on with near"));
}

#[test]
fn source_and_target_can_be_two_servers_with_the_same_names() {
    let (world, near, far) = (World::new(9), S3sFs::start(), Moto::start());
    stderr_of(&copy(&world, near.environment(), "--to s3://dr-test/pg"), 0);
    let arguments = format!("--from s3://dr-test/pg --to s3://dr-test/pg --to-endpoint-url {}", far.url());
    let output = copy(&world, near.environment(), &arguments);
    assert_eq!((stderr_of(&output, 0).as_str(), states(&output)), ("", vec!["copied s3://dr-test/pg".to_owned()]));
    assert!(head(&far, ".json").starts_with("http/1.1 200"));
    stderr_of(&copy(&world, near.environment(), "--from s3://dr-test/pg --to s3://dr-test/pg"), 64);
}

#[test]
fn a_target_can_have_a_profile_of_its_own() {
    let (world, near) = (World::new(9), S3sFs::start());
    let far = S3sFs::start();
    let profile = format!("[far]\naws_access_key_id = {ACCESS_KEY}\naws_secret_access_key = {SECRET_KEY}\n");
    fs::write(world.path("credentials"), profile).unwrap();
    fs::write(world.path("config"), format!("[profile far]\nregion = us-west-2\nendpoint_url = {}\n", far.url())).unwrap();
    stderr_of(&copy(&world, near.environment(), "--to s3://dr-test/pg"), 0);
    let with = |arguments: &str, key: &str| {
        let mut environment = near.environment();
        environment.retain(|(name, _)| !["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_ACCESS_KEY_ID"].contains(name));
        environment.push(("AWS_CONFIG_FILE", "config".into()));
        environment.push(("AWS_SHARED_CREDENTIALS_FILE", "credentials".into()));
        environment.push(("AWS_ACCESS_KEY_ID", key.into()));
        copy(&world, environment, arguments)
    };
    // The keys of the environment are the source's alone.
    fs::write(world.path("empty"), "").unwrap();
    let output = with("--from near --to s3://dr-test/pg --to-profile far", "wrong");
    assert_eq!((stderr_of(&output, 0).as_str(), states(&output)), ("", vec!["copied s3://dr-test/pg".to_owned()]));
    assert!(far.directory().join("data").join(BUCKET).join("pg/main/dump").join(format!("{}.json", NAMES[0])).exists());
    let output = with("--from s3://dr-test/pg --to s3://dr-test/other --to-profile far", ACCESS_KEY);
    assert_eq!(states(&output), ["copied s3://dr-test/other"]);
    assert!(stderr_of(&with("--to s3://dr-test/pg --to-profile nobody", ACCESS_KEY), 77).contains("s3://dr-test"));
}

#[test]
fn f42_a_credential_that_may_only_create_is_enough_for_what_is_not_there() {
    let (world, server) = (World::new(9), S3sFs::start());
    let create_only = || {
        Proxy::choosing(server.address(), |_, request| {
            (!request.starts_with("PUT")).then_some(Fault::Answer("403 Forbidden", "", ""))
        })
    };
    let proxy = create_only();
    let output = copy(&world, environment(&proxy.url()), "--to s3://dr-test/pg");
    assert_eq!((stderr_of(&output, 0).as_str(), states(&output)), ("", vec!["copied s3://dr-test/pg".to_owned()]));
    let proxy = create_only();
    let stderr = stderr_of(&copy(&world, environment(&proxy.url()), "--to s3://dr-test/pg"), 73);
    assert!(stderr.contains("s3:GetObject"), "{stderr}");
}

#[test]
fn a_server_that_drops_the_storage_class_is_found_out_and_nothing_is_published() {
    let Some(server) = Garage::start() else {
        println!("skipped: garage is not installed (scripts/setup full)");
        return;
    };
    let world = World::new(LARGE);
    for _ in 0..2 {
        let stderr = stderr_of(&copy(&world, server.environment(), "--to s3://dr-test/pg --storage-class GLACIER"), 76);
        assert!(stderr.contains("kept as STANDARD"), "{stderr}");
    }
    stderr_of(&copy(&world, server.environment(), "--to s3://dr-test/pg"), 0);
    stderr_of(&copy(&world, server.environment(), "--from s3://dr-test/pg --to back"), 0);
    assert!(is_whole(&world, "back"));
}
