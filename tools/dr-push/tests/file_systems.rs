//! dr-push on file systems that fail on the way, or cannot do what a store needs.
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::Write;
use std::process::{Command, Output, Stdio};

use support::{World, stderr_of, until};

/// A file system in a file, mounted at `mount` of a world.
struct Disk<'w>(&'w World);

impl Disk<'_> {
    /// Makes one by a line of shell that makes a file system in `image`; none where this user may mount nothing.
    #[expect(clippy::print_stdout, reason = "whoever runs the tests is to see what was left out")]
    fn new<'w>(world: &'w World, make: &str, options: &str) -> Option<Disk<'w>> {
        let line = format!("set -e; mkdir mount; truncate -s 32M image; {make} > log; mount -o loop,{options} image mount");
        let made = in_world(world, &line).output().unwrap();
        if !made.status.success() {
            println!("skipped: this user may not mount a file system: {}", String::from_utf8_lossy(&made.stderr));
        }
        made.status.success().then_some(Disk(world))
    }

    fn run(&self, line: &str) {
        let output = in_world(self.0, line).output().unwrap();
        assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// What lies there as an object, whole or not.
    fn objects(&self) -> String {
        let found = in_world(self.0, "find mount -type f ! -name dr-store.json ! -name '.tmp-*'").output().unwrap();
        String::from_utf8(found.stdout).unwrap()
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        drop(in_world(self.0, "umount -l mount").output());
    }
}

fn in_world(world: &World, line: &str) -> Command {
    let mut command = world.shell(line);
    command.current_dir(world.path("")).stdin(Stdio::null());
    command
}

fn push(world: &World, line: &str) -> Output {
    in_world(world, line).output().unwrap()
}

/// The kernel finds an error in the file system, and lets nobody write any more.
const ERROR: &str = "echo 1 > /sys/fs/ext4/$(basename $(findmnt -no SOURCE mount))/trigger_fs_error";

#[test]
fn f19_a_file_system_that_becomes_read_only_on_the_way_is_an_error_and_publishes_nothing() {
    let world = World::new();
    let Some(disk) = Disk::new(&world, "mkfs.ext4 -q image", "errors=remount-ro") else { return };
    for more in [0, 1 << 20] {
        disk.run("dr-push --init --to mount/store");
        let mut command = in_world(&world, "exec dr-push --to mount/store");
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(&vec![1; 1 << 20]).unwrap();
        until("a temporary file", || {
            in_world(&world, "ls -A mount/store/main/dump 2> ls | grep -q .tmp-").status().unwrap().success()
        });
        disk.run(ERROR);
        // It may have seen the error before all of this is read.
        drop(input.write_all(&vec![1; more]));
        drop(input);
        let output = child.wait_with_output().unwrap();
        let stderr = stderr_of(&output, 74);
        assert!(stderr.contains("Read-only file system") && stderr.contains("nothing was published"), "{stderr}");
        assert!(output.stdout.is_empty(), "no receipt: {output:?}");
        disk.run("umount mount && mount -o loop,errors=remount-ro image mount");
        assert_eq!(disk.objects(), "");
    }
    let later = push(&world, "echo later | dr-push --to mount/store");
    stderr_of(&later, 0);
    assert_eq!(disk.objects().lines().count(), 1);
}

#[test]
fn f19_a_name_that_a_read_only_file_system_does_not_keep_is_no_success() {
    let world = World::new();
    let Some(disk) = Disk::new(&world, "mkfs.ext4 -q image", "errors=remount-ro") else { return };
    disk.run("dr-push --init --to mount/store");
    // It is stopped once it has the name, before that is synced.
    let line = "strace -f -qq -o trace -e trace=fsync -e inject=fsync:signal=STOP:when=2 dr-push --to mount/store";
    let mut command = in_world(&world, &format!("echo x | {line}"));
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let stopped = || fs::read_to_string(world.path("trace")).is_ok_and(|trace| trace.contains("stopped by SIGSTOP"));
    until("the second fsync", stopped);
    disk.run(&format!("{ERROR}; kill -CONT $(sed -n 's/ .*stopped by SIGSTOP.*//p' trace | head -n 1)"));
    let output = child.wait_with_output().unwrap();
    let stderr = stderr_of(&output, 74);
    assert!(stderr.contains("Read-only file system") && stderr.contains("nothing was published"), "{stderr}");
    assert!(output.stdout.is_empty(), "no receipt: {output:?}");
}

/// What a file system answers that has no such call, and what is said of it then.
const LACKING: [(&str, &str); 4] = [
    ("-e inject=linkat:error=EPERM -e inject=renameat2:error=EINVAL", "neither hard links nor such renames"),
    ("-e inject=linkat:error=EOPNOTSUPP -e inject=renameat2:error=ENOSYS", "neither hard links nor such renames"),
    ("-e inject=fsync:error=EINVAL", "cannot sync what was written (fsync)"),
    ("-e inject=fsync:error=EOPNOTSUPP:when=2", "cannot sync what was written (fsync)"),
];

#[test]
fn f23_a_file_system_that_cannot_keep_a_store_is_refused_when_it_is_made_one_and_later() {
    for (inject, why) in LACKING {
        let world = World::new();
        let strace = format!("strace -f -qq -o trace -e trace=linkat,renameat2,fsync {inject} dr-push --to store");
        for line in [format!("mkdir store; {strace} --init"), format!("dr-push --init --to store; echo x | {strace}")] {
            let stderr = stderr_of(&push(&world, &line), 78);
            assert!(stderr.contains(why) && stderr.contains("keep the store on another file system"), "{inject}: {stderr}");
            assert_eq!(world.files(), Vec::<String>::new());
        }
    }
}

#[test]
fn f23_one_of_the_two_ways_to_a_name_is_enough() {
    let world = World::new();
    let strace = "strace -f -qq -o trace -e trace=linkat,renameat2 -e inject=linkat:error=EPERM";
    stderr_of(&push(&world, &format!("echo x | {strace} dr-push --to store")), 0);
    assert_eq!(world.object(), b"x\n");
}

#[test]
fn f23_exfat_by_fuse_is_refused_when_it_is_made_a_store() {
    if std::env::var_os("DR_TEST_FULL").is_none() {
        return;
    }
    let world = World::new();
    let Some(disk) = Disk::new(&world, "mkfs.exfat image", "rw -t exfat-fuse") else { return };
    for line in ["dr-push --init --to mount/store", "echo x | dr-push --to mount/store"] {
        let stderr = stderr_of(&push(&world, line), 78);
        assert!(stderr.contains("neither hard links nor such renames"), "{stderr}");
    }
    assert_eq!(disk.objects(), "");
}
