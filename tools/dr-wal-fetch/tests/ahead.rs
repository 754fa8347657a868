//! What is fetched ahead: it makes answers faster, and never decides one.
#![allow(clippy::unwrap_used)]
#![expect(clippy::disallowed_methods, reason = "a store is moved away, as an unmounted one would be")]

mod world;

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use dr_testing::proxy::{Fault, Proxy};
use dr_testing::s3::{BUCKET, S3sFs, environment};
use dr_wal::Shelf;
use world::{SYSTEM, World, names, said, segment, wait_for};

/// dr-wal-fetch that keeps four segments ahead.
fn fetch(world: &World, name: &str) -> Command {
    let mut command = world.fetch(name);
    command.env("DR_AHEAD", "4");
    command
}

fn fetched(world: &World, name: &str) -> Vec<u8> {
    let output = fetch(world, name).output().unwrap();
    assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), ""), "{name}");
    world.taken()
}

/// The segments in the spool, whole.
fn whole(world: &World) -> Vec<String> {
    let spooled = world.spooled().into_iter().filter(|name| !name.starts_with('.'));
    spooled.filter_map(|name| Some(name.split_once('.')?.0.to_owned())).collect()
}

/// Where the queue is.
fn queue(world: &World) -> PathBuf {
    let root = world.path("state/wal-fetch");
    root.join(world::files(&root).into_iter().find(|name| name.starts_with("main-")).unwrap())
}

fn archive(world: &World, count: u32) -> Vec<String> {
    let store = world.directory("store");
    let names = names(1, count);
    names.iter().for_each(|name| world.put(&store, name, &segment(name, SYSTEM, 1)));
    names
}

#[test]
fn segments_are_taken_from_the_spool_and_it_is_filled_again() {
    let world = World::sealed();
    let names = archive(&world, 12);
    assert!(fetched(&world, &names[0]) == segment(&names[0], SYSTEM, 1));
    wait_for("four segments ahead", || whole(&world) == names[1..5]);
    assert_eq!(queue(&world).metadata().unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(queue(&world).parent().unwrap().metadata().unwrap().permissions().mode() & 0o7777, 0o700);
    // What comes from the spool needs no store.
    fs::rename(world.path("store"), world.path("elsewhere")).unwrap();
    assert!(fetched(&world, &names[1]) == segment(&names[1], SYSTEM, 1));
    assert!(fetched(&world, &names[2]) == segment(&names[2], SYSTEM, 1));
    assert_eq!(whole(&world), names[3..5]);
    // A store that is gone ends it, and nothing of that is an answer.
    assert_eq!(fetch(&world, &names[6]).output().unwrap().status.code(), Some(200));
    fs::rename(world.path("elsewhere"), world.path("store")).unwrap();
    for (place, name) in names.iter().enumerate().skip(3) {
        assert!(fetched(&world, name) == segment(name, SYSTEM, 1));
        let ahead: Vec<_> = names.iter().skip(place + 1).take(2).cloned().collect();
        wait_for("at least half ahead", || whole(&world).starts_with(&ahead));
    }
    wait_for("an end of it", || ended(&world));
    let output = fetch(&world, "00000001000000000000000D").output().unwrap();
    assert_eq!((output.status.code(), said(&output)), (Some(1), String::new()));
    world.put(&world.directory("store"), "00000001000000000000000D", &segment("00000001000000000000000D", SYSTEM, 1));
    assert!(
        fetched(&world, "00000001000000000000000D") == segment("00000001000000000000000D", SYSTEM, 1),
        "absence is not remembered"
    );
}

/// Whether nobody fetches ahead.
fn ended(world: &World) -> bool {
    let lock = File::open(queue(world).join("lock")).unwrap();
    rustix::fs::flock(&lock, rustix::fs::FlockOperation::NonBlockingLockExclusive).is_ok()
}

#[test]
fn nothing_is_served_that_is_not_what_was_fetched() {
    let world = World::new();
    let names = archive(&world, 4);
    fetched(&world, &names[0]);
    wait_for("three segments ahead", || whole(&world) == names[1..4] && ended(&world));
    let spooled = |name: &str| queue(&world).join(world.spooled().into_iter().find(|file| file.starts_with(name)).unwrap());
    // Torn by a power cut, changed, and another segment of the same name.
    File::options().write(true).open(spooled(&names[1])).unwrap().set_len(4096).unwrap();
    let mut bytes = fs::read(spooled(&names[2])).unwrap();
    bytes[5000] ^= 1;
    fs::write(spooled(&names[2]), bytes).unwrap();
    fs::write(spooled(&names[3]), segment(&names[3], SYSTEM, 9)).unwrap();
    for name in &names[1..] {
        let output = fetch(&world, name).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(said(&output).contains("it is fetched again"), "{}", said(&output));
        assert!(world.taken() == segment(name, SYSTEM, 1));
    }
}

#[test]
fn what_lies_in_the_spool_for_long_is_held_against_its_checksum() {
    let world = World::new();
    let names = archive(&world, 3);
    fetched(&world, &names[0]);
    wait_for("two segments ahead", || whole(&world) == names[1..3] && ended(&world));
    let spooled = |name: &str| queue(&world).join(world.spooled().into_iter().find(|file| file.starts_with(name)).unwrap());
    let age = |path: &Path| {
        File::options().write(true).open(path).unwrap().set_modified(SystemTime::now() - Duration::from_secs(60)).unwrap()
    };
    age(&spooled(&names[1]));
    let output = fetch(&world, &names[1]).output().unwrap();
    assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), ""));
    assert!(world.taken() == segment(&names[1], SYSTEM, 1));
    let rotten = spooled(&names[2]);
    let mut bytes = fs::read(&rotten).unwrap();
    bytes[70_000] ^= 1;
    fs::write(&rotten, bytes).unwrap();
    age(&rotten);
    let output = fetch(&world, &names[2]).output().unwrap();
    assert!(output.status.success() && said(&output).contains("it is fetched again"), "{}", said(&output));
    assert!(world.taken() == segment(&names[2], SYSTEM, 1));
}

#[test]
fn nothing_is_taken_from_a_directory_in_which_others_may_write() {
    let world = World::new();
    let names = archive(&world, 3);
    fetched(&world, &names[0]);
    wait_for("two segments ahead", || whole(&world) == names[1..3] && ended(&world));
    let forged = segment(&names[1], SYSTEM, 9);
    let digest = format!("{:016x}", crc_fast::checksum(crc_fast::CrcAlgorithm::Crc64Nvme, &forged));
    fs::remove_file(queue(&world).join(&world.spooled()[0])).unwrap();
    fs::write(queue(&world).join(format!("{}.{digest}.", names[1])), forged).unwrap();
    fs::set_permissions(queue(&world), fs::Permissions::from_mode(0o777)).unwrap();
    let output = fetch(&world, &names[1]).output().unwrap();
    assert!(output.status.success() && said(&output).contains("not a directory of ours alone"), "{}", said(&output));
    assert!(world.taken() == segment(&names[1], SYSTEM, 1));
}

#[test]
fn a_queue_is_for_one_store_one_system_one_data_directory_and_one_trust() {
    let world = World::sealed();
    let names = archive(&world, 3);
    fetched(&world, &names[0]);
    wait_for("two segments ahead", || whole(&world) == names[1..3] && ended(&world));
    // The other store has another segment of that name; who trusts nobody else gets nothing that was fetched by one who did not.
    let far = world.directory("far");
    world.put(&far, &names[1], &segment(&names[1], SYSTEM, 2));
    let output = fetch(&world, &names[1]).env("DR_FROM", world.path("far")).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    assert!(world.taken() == segment(&names[1], SYSTEM, 2));
    let claims = world.path("store/main/wal/00000001");
    for claim in world::files(&claims).into_iter().filter(|name| name.ends_with(".claim")) {
        let text = fs::read_to_string(claims.join(&claim)).unwrap();
        fs::write(claims.join(&claim), format!("{}\n", text.lines().next().unwrap())).unwrap();
    }
    let output = fetch(&world, &names[0]).env_remove("DR_PUBLIC_KEY").output().unwrap();
    assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), ""));
    world.taken();
    let queues = || world::files(&world.path("state/wal-fetch")).len();
    assert_eq!(queues(), 3);
    fs::write(world.path("data/global/pg_control"), 9_u64.to_ne_bytes()).unwrap();
    assert_eq!(fetch(&world, &names[1]).output().unwrap().status.code(), Some(200), "of another system");
    // A day later the others are gone; what is not ours to remove stays.
    fs::write(world.path("data/global/pg_control"), SYSTEM.to_ne_bytes()).unwrap();
    let root = world.path("state/wal-fetch");
    fs::create_dir_all(root.join("somebody's")).unwrap();
    let long_ago = SystemTime::now() - Duration::from_secs(25 * 60 * 60);
    for queue in world::files(&root).into_iter().filter(|name| name.starts_with("main-")) {
        if let Ok(asked) = File::options().write(true).open(root.join(&queue).join("asked")) {
            asked.set_modified(long_ago).unwrap();
        }
    }
    // One that is being filled at that moment goes with a later call.
    wait_for("the old ones to go", || {
        let output = fetch(&world, &names[1]).env("DR_FROM", world.path("far")).env_remove("DR_PUBLIC_KEY").output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        world.taken();
        queues() == 2 && root.join("somebody's").exists()
    });
}

#[test]
fn another_timeline_has_another_queue_and_pieces_are_never_kept() {
    let world = World::new();
    let names = archive(&world, 4);
    let store = world.directory("store");
    fetched(&world, &names[0]);
    wait_for("three segments ahead", || whole(&world) == names[1..4] && ended(&world));
    let on_two: Vec<_> = ["000000020000000000000002", "000000020000000000000003"].map(String::from).into();
    world.put(&store, &on_two[0], &segment(&on_two[0], SYSTEM, 2));
    world.put_piece(&store, &on_two[1], 0, &segment(&on_two[1], SYSTEM, 2)[..9000]);
    assert!(fetched(&world, &on_two[0]) == segment(&on_two[0], SYSTEM, 2));
    wait_for("the old timeline to go", || whole(&world).is_empty() && ended(&world));
    let output = fetch(&world, &on_two[1]).output().unwrap();
    assert!(said(&output).contains("first 9000 bytes"), "{}", said(&output));
    world.taken();
    let packed = world.pack(&on_two[1], &segment(&on_two[1], SYSTEM, 2));
    Shelf::new(&store, "main").put(&packed).unwrap();
    assert!(fetched(&world, &on_two[1]) == segment(&on_two[1], SYSTEM, 2), "it has grown");
}

/// Nobody waits for the process in the background: it has none of the server's files, is not in its session, and ends by itself.
#[test]
fn the_process_in_the_background_holds_nothing_of_the_server() {
    let world = World::new();
    let s3 = S3sFs::start();
    let store = world.directory_at(&s3.directory().join("data").join(BUCKET).join("wal"));
    let names = names(1, 3);
    names.iter().for_each(|name| world.put(&store, name, &segment(name, SYSTEM, 1)));
    // The first is answered; whoever asks for the second one hangs.
    let second = names[1].clone();
    let proxy = Proxy::choosing(s3.address(), move |_, line| (line.contains(&second)).then_some(Fault::Stall));
    let mut fetch = fetch(&world, &names[0]);
    fetch.envs(environment(&proxy.url())).env("DR_FROM", format!("s3://{BUCKET}/wal"));
    // The end of this pipe is seen by us only when every process that has it has ended, or closed it.
    let line = format!("exec 7>&1; exec \"$0\" {} pg_wal/RECOVERYXLOG", names[0]);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(line).arg(fetch.get_program()).current_dir(world.path("data"));
    shell.env_clear().envs(fetch.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let output = shell.output().unwrap();
    assert_eq!((output.status.code(), said(&output).as_str()), (Some(0), ""));
    world.taken();
    wait_for("a request for the second", || proxy.seen().iter().any(|line| line.contains(&names[1])));
    assert!(!ended(&world));
    let background = background(&world);
    let stat = fs::read_to_string(format!("/proc/{background}/stat")).unwrap();
    let session = stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().to_owned();
    assert_eq!(session, background, "a session of its own");
    wait_for("its end", || ended(&world));
}

/// The one process with our state directory in its environment.
fn background(world: &World) -> String {
    let state = format!("DR_STATE={}", world.text("state"));
    let numbers = world::files("/proc".as_ref()).into_iter().filter(|name| name.bytes().all(|byte| byte.is_ascii_digit()));
    let ours = |pid: &String| {
        fs::read(format!("/proc/{pid}/environ")).is_ok_and(|text| text.split(|b| *b == 0).any(|v| v == state.as_bytes()))
    };
    let found: Vec<_> = numbers.filter(ours).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

#[test]
fn a_spool_in_the_data_directory_is_not_used() {
    let world = World::new();
    let names = archive(&world, 2);
    for spool in ["pg_wal/spool".to_owned(), world.text("data/spool")] {
        let output = fetch(&world, &names[0]).args(["--spool", &spool]).output().unwrap();
        assert_eq!(output.status.code(), Some(0));
        assert!(said(&output).contains("lies in the data directory"), "{}", said(&output));
        world.taken();
        assert_eq!(world::files(&world.path("data")), ["global", "pg_wal"]);
        assert_eq!(world.left(), Vec::<String>::new());
    }
    // Only where it leads to counts: this one is beside it.
    assert_eq!(said(&fetch(&world, &names[0]).args(["--spool", "../spool"]).output().unwrap()), "");
    wait_for("one segment ahead", || world::files(&world.path("spool")).len() == 1);
}

/// F50: killed at any write or rename, nothing is under PATH but the whole segment.
#[test]
fn f50_killed_anywhere_there_is_a_whole_file_or_none() {
    let world = World::new();
    let names = archive(&world, 1);
    let bytes = segment(&names[0], SYSTEM, 1);
    let mut whole = 0;
    for call in ["write", "openat", "linkat", "unlink", "renameat2", "exit_group"] {
        for number in 1..40 {
            let plain = world.fetch(&names[0]);
            let mut strace = Command::new("strace");
            strace.args(["-f", "-qq", "-o", "/dev/null", "-e"]).arg(format!("trace={call}"));
            strace.arg("-e").arg(format!("inject={call}:signal=KILL:when={number}"));
            strace.arg(plain.get_program()).args(plain.get_args()).current_dir(world.path("data"));
            strace.env_clear().envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
            let output = strace.output().unwrap();
            let there = world.target().exists().then(|| world.taken());
            assert!(there.as_ref().is_none_or(|found| *found == bytes), "{call} {number}: a part of it");
            whole += usize::from(there.is_some());
            for left in world.left() {
                assert!(left.starts_with(".dr-wal-fetch-"), "{left}");
                fs::remove_file(world.path("data/pg_wal").join(left)).unwrap();
            }
            if output.status.success() {
                assert!(there.is_some(), "{call} {number}");
                break;
            }
        }
    }
    assert!(whole > 4, "{whole}");
}
