//! The directory store on a real file system.
#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, reason = "a test moves stores away, as umount does")]

use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::{MetadataExt, chown};
use std::path::Path;
use std::process::Command;

use dr_pipe::{Exit, Failure};
use dr_store::{Confirmed, Error, Location, Put, Removed, Store, StoreArgs, Thaw, UploadOptions};

/// Runs a test in a process of its own, with a state directory and a store of its own.
macro_rules! on_a_directory {
    ($(fn $name:ident($root:ident) $body:block)*) => {$(
        #[test]
        fn $name() {
            let body = |$root: &Path| $body;
            match std::env::var_os("DR_TEST_ROOT") {
                Some(root) => body(Path::new(&root)),
                None => {
                    let scratch = tempfile::tempdir().unwrap();
                    let mut test = Command::new(std::env::current_exe().unwrap());
                    test.args(["--exact", stringify!($name), "--nocapture"]);
                    test.env("DR_STATE", scratch.path().join("state")).env("DR_TEST_ROOT", scratch.path().join("store"));
                    let output = test.output().unwrap();
                    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                }
            }
        }
    )*};
}

fn store(root: &Path) -> Store {
    Store::open_for_write(&root.to_str().unwrap().parse().unwrap(), &StoreArgs::default()).unwrap()
}

fn exit(error: Error) -> Exit {
    Failure::from(error).exit
}

fn names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort_unstable();
    names
}

on_a_directory! {
    fn a_small_object_is_created_once_and_read_back(root) {
        let store = store(root);
        assert_eq!(store.warnings().len(), 1, "a new store is worth a warning");
        assert_eq!(store.size("main/x.json").unwrap(), None);
        assert_eq!(store.put("main/x.json", b"one").unwrap(), Put::Created);
        assert_eq!(store.put("main/x.json", b"one").unwrap(), Put::Identical);
        assert!(matches!(store.put("main/x.json", b"two"), Err(Error::Exists { comparable: true, .. })));
        assert!(matches!(store.put("main/x.json", b"on"), Err(Error::Exists { comparable: true, .. })));
        assert_eq!(store.read("main/x.json", 100).unwrap(), b"one");
        assert_eq!(store.size("main/x.json").unwrap(), Some(3));
        assert_eq!(exit(store.read("main/x.json", 2).unwrap_err()), Exit::Damaged);
        assert_eq!(exit(store.read("main/y.json", 2).unwrap_err()), Exit::Missing);
        assert_eq!(names(&root.join("main")), ["x.json"]);
    }

    fn what_root_makes_in_a_store_of_somebody_else_is_his(root) {
        let store = store(root);
        store.put("main/dump/a", b"a").unwrap();
        let owners = || walkdir::WalkDir::new(root).into_iter().map(|entry| {
            let (path, metadata) = entry.map(|entry| (entry.path().to_owned(), entry.metadata().unwrap())).unwrap();
            (path.strip_prefix(root).unwrap().display().to_string(), metadata.uid(), metadata.gid())
        }).collect::<Vec<_>>();
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        assert!(owners().iter().all(|(_, owner, group)| (*owner, *group) == (uid, gid)), "{:?}", owners());
        // Nobody else can give away what is his.
        if uid != 0 {
            return;
        }
        for (path, ..) in owners() {
            chown(root.join(path), Some(65534), Some(65533)).unwrap();
        }
        store.put("main/dump/b", b"b").unwrap();
        store.put_ahead("main/wal/00000001/c", b"c").unwrap();
        assert!(owners().iter().all(|(_, owner, group)| (*owner, *group) == (65534, 65533)), "{:?}", owners());
        assert_eq!(names(&root.join("main/wal/00000001")), ["c"]);
        // What he has laid a link to is not his by that.
        let elsewhere = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), root.join("main/base")).unwrap();
        store.put("main/base/d/e", b"e").unwrap();
        assert_eq!(fs::metadata(elsewhere.path().join("d")).unwrap().uid(), 0);
        assert_eq!(fs::metadata(elsewhere.path().join("d/e")).unwrap().uid(), 0);
        // Nor does what root makes in a store of its own change hands.
        chown(root, Some(0), Some(0)).unwrap();
        store.put("main/dump/f", b"f").unwrap();
        assert_eq!(fs::metadata(root.join("main/dump/f")).unwrap().uid(), 0);
    }

    fn who_owns_a_store_does_not_lead_root_into_that_of_another(root) {
        let store = store(root);
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let theirs = tempfile::tempdir().unwrap();
        fs::write(theirs.path().join("x"), "theirs").unwrap();
        fs::write(theirs.path().join(".tmp-x"), "theirs").unwrap();
        std::os::unix::fs::symlink(theirs.path(), root.join("main")).unwrap();
        for owner in [65533, 65534] {
            std::os::unix::fs::lchown(root.join("main"), Some(owner), Some(owner)).unwrap();
            chown(theirs.path(), Some(65534), Some(65534)).unwrap();
            let own = owner == 65534;
            assert_eq!(store.put("main/y", b"y").is_ok(), own);
            assert_eq!(store.remove_temporary("main/.tmp-x").is_ok(), own);
            assert_eq!(store.remove("main/x").is_ok(), own);
            assert_eq!(names(theirs.path()), if own { vec!["y"] } else { vec![".tmp-x", "x"] });
        }
        assert!(store.remove_temporary("main/y").is_err(), "that has its name");
    }

    fn the_time_of_the_last_change_cannot_be_set(root) {
        let store = store(root);
        assert_eq!(store.changed_at("main/x").unwrap(), None);
        let before = chrono::Utc::now() - chrono::TimeDelta::seconds(1);
        store.put("main/x", b"x").unwrap();
        let file = fs::File::options().write(true).open(root.join("main/x")).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        assert!(store.list("main/").unwrap()[0].modified_at.unwrap() < before);
        assert!(store.changed_at("main/x").unwrap().unwrap() > before);
    }

    fn f21_of_a_hundred_writers_one_creates_the_object_and_nothing_is_left_over(root) {
        let store = &store(root);
        let created = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..100_u8).map(|n| scope.spawn(move || store.put("main/dump/x", &[n; 1000]))).collect();
            writers.into_iter().map(|writer| writer.join().unwrap()).filter(|outcome| match outcome {
                Ok(put) => *put == Put::Created,
                Err(Error::Exists { .. }) => false,
                Err(error) => panic!("{error}"),
            }).count()
        });
        assert_eq!(created, 1);
        let bytes = store.read("main/dump/x", 1000).unwrap();
        assert!(bytes.len() == 1000 && bytes.iter().all(|byte| *byte == bytes[0]), "of one writer");
        assert_eq!(names(&root.join("main/dump")), ["x"]);
    }

    fn an_upload_appears_when_it_is_finished_or_never(root) {
        let store = store(root);
        let mut upload = store.upload("main/dump/x", &UploadOptions::default()).unwrap();
        upload.write(b"half").unwrap();
        assert_eq!(store.list("").unwrap(), []);
        upload.abort();
        assert_eq!(names(&root.join("main/dump")), Vec::<String>::new());
        let mut upload = store.upload("main/dump/x", &UploadOptions::default()).unwrap();
        upload.write(b"who").unwrap();
        upload.write(b"le").unwrap();
        assert_eq!(upload.finish().unwrap().confirmed, Confirmed::Fsync);
        assert_eq!(store.read("main/dump/x", 10).unwrap(), b"whole");
    }

    fn a_listing_has_objects_only_sorted_by_key(root) {
        let store = store(root);
        for key in ["main/dump/b", "main/dump/a", "main/dump.txt", "main/dump-2/a", "other/a"] {
            store.put(key, key.as_bytes()).unwrap();
        }
        fs::write(root.join("main/dump/.tmp-c.00000000"), "unfinished").unwrap();
        std::os::unix::fs::symlink("a", root.join("main/dump/link")).unwrap();
        let list = |prefix| store.list(prefix).unwrap().into_iter().map(|listed| listed.key).collect::<Vec<_>>();
        assert_eq!(list(""), ["main/dump-2/a", "main/dump.txt", "main/dump/a", "main/dump/b", "other/a"]);
        assert_eq!(list("main/dump/"), ["main/dump/a", "main/dump/b"]);
        assert_eq!(list("main/dump"), ["main/dump-2/a", "main/dump.txt", "main/dump/a", "main/dump/b"]);
        assert_eq!(list("absent/"), Vec::<String>::new());
        let listed = &store.list("other/").unwrap()[0];
        assert_eq!(listed.bytes, 7);
        assert!(listed.modified_at.is_some());
    }

    fn an_object_is_read_here_and_there_and_by_clones(root) {
        let store = store(root);
        let all: Vec<u8> = (0..200_000_u32).flat_map(u32::to_le_bytes).collect();
        store.put("main/x", &all).unwrap();
        let mut reader = store.reader("main/x").unwrap();
        assert_eq!(reader.size(), 800_000);
        let mut buf = [0; 8];
        reader.seek(SeekFrom::Start(400_000)).unwrap();
        reader.clone().read_exact(&mut buf).unwrap();
        assert_eq!(buf, all[400_000..400_008]);
        assert_eq!(reader.stream_position().unwrap(), 400_000);
        reader.seek(SeekFrom::End(-4)).unwrap();
        let mut tail = Vec::new();
        reader.read_to_end(&mut tail).unwrap();
        assert_eq!(tail, all[799_996..]);
        assert!(reader.seek(SeekFrom::Current(-900_000)).is_err());
    }

    fn a_file_that_is_cut_while_it_is_read_is_damage_and_not_an_end(root) {
        let store = store(root);
        store.put("main/x", &[7; 1000]).unwrap();
        let mut reader = store.reader("main/x").unwrap();
        reader.read_exact(&mut [0; 100]).unwrap();
        fs::OpenOptions::new().write(true).open(root.join("main/x")).unwrap().set_len(500).unwrap();
        let error = reader.read_to_end(&mut Vec::new()).unwrap_err();
        assert_eq!(exit(Error::from_read("main/x", error)), Exit::Damaged);
    }

    fn f22_what_is_not_mounted_proves_nothing_absent(root) {
        let open = store(root);
        open.put("main/x", b"x").unwrap();
        let away = root.with_file_name("away");
        fs::rename(root, &away).unwrap();
        fs::create_dir(root).unwrap();
        assert_eq!(exit(open.size("main/x").unwrap_err()), Exit::Config);
        assert_eq!(exit(open.list("").unwrap_err()), Exit::Config);
        assert_eq!(exit(open.reader("main/x").map(drop).unwrap_err()), Exit::Config);
        let location: Location = root.to_str().unwrap().parse().unwrap();
        assert_eq!(exit(Store::open_for_read(&location, &StoreArgs::default()).unwrap_err()), Exit::Config);
        fs::remove_dir(root).unwrap();
        fs::rename(&away, root).unwrap();
        assert_eq!(store(root).warnings(), Vec::<String>::new());
    }

    fn a_marker_that_is_no_small_file_is_refused_and_not_waited_for(root) {
        store(root);
        let (location, marker) = (root.to_str().unwrap().parse().unwrap(), root.join("dr-store.json"));
        let open = || exit(Store::open_for_read(&location, &StoreArgs::default()).unwrap_err());
        fs::File::options().write(true).open(&marker).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(open(), Exit::Config);
        fs::remove_file(&marker).unwrap();
        assert!(Command::new("mkfifo").arg(&marker).status().unwrap().success());
        assert_eq!(open(), Exit::Config);
    }

    fn f22_another_store_in_the_same_place_is_refused_until_it_is_accepted(root) {
        store(root);
        let location = root.to_str().unwrap().parse().unwrap();
        fs::write(root.join("dr-store.json"), "{\"format\":1,\"id\":\"00\"}").unwrap();
        assert_eq!(exit(Store::open_for_write(&location, &StoreArgs::default()).unwrap_err()), Exit::Config);
        Store::init(&location, &StoreArgs::default()).unwrap();
        assert_eq!(store(root).warnings(), Vec::<String>::new());
        fs::write(root.join("dr-store.json"), "{\"format\":2,\"id\":\"00\"}").unwrap();
        assert_eq!(exit(Store::open_for_write(&location, &StoreArgs::default()).unwrap_err()), Exit::Config);
    }

    fn what_is_removed_is_gone_and_leaves_its_folders(root) {
        let store = store(root);
        for key in ["main/dump/x", "main/y"] {
            store.put(key, b"x").unwrap();
        }
        assert_eq!(store.remove("main/dump/x").unwrap(), Removed::Gone);
        assert_eq!(store.remove("main/dump/x").unwrap(), Removed::Absent);
        assert_eq!(store.remove("other/folder/x").unwrap(), Removed::Absent);
        assert_eq!(store.size("main/dump/x").unwrap(), None);
        assert_eq!(names(&root.join("main")), ["dump", "y"]);
        assert_eq!(store.list("").unwrap().len(), 1);
        assert_eq!(store.put("main/dump/x", b"new").unwrap(), Put::Created);
        assert_eq!(store.hidden("").unwrap(), []);
        assert_eq!(store.thaw("main/y", 1).unwrap(), Thaw::Ready);
        assert!(matches!(store.thaw("main/z", 1), Err(Error::Absent { .. })));
    }

    fn a_folder_the_marker_and_what_lies_outside_are_not_removed(root) {
        let store = store(root);
        store.put("main/dump/x", b"x").unwrap();
        assert!(store.remove("main/dump").is_err());
        for key in ["dr-store.json", "../store/main/dump/x", "main//dump/x", ""] {
            assert_eq!(exit(store.remove(key).unwrap_err()), Exit::Usage, "{key:?}");
        }
        assert_eq!(store.read("main/dump/x", 9).unwrap(), b"x");
        assert!(root.join("dr-store.json").exists());
    }

    fn f22_from_what_is_not_mounted_nothing_is_removed(root) {
        let open = store(root);
        open.put("main/x", b"x").unwrap();
        let away = root.with_file_name("away");
        fs::rename(root, &away).unwrap();
        fs::create_dir(root).unwrap();
        assert_eq!(exit(open.remove("main/x").unwrap_err()), Exit::Config);
        assert!(away.join("main/x").exists());
    }

    fn f41_a_directory_has_no_past(root) {
        store(root);
        let args = StoreArgs { as_of: Some("2026-01-25T02:00:00Z".parse().unwrap()), ..StoreArgs::default() };
        let location = root.to_str().unwrap().parse().unwrap();
        let failures = [Store::open_for_read(&location, &args), Store::open_for_write(&location, &args), Store::init(&location, &args)];
        for failure in failures.map(|opened| Failure::from(opened.unwrap_err())) {
            assert!(failure.exit == Exit::Usage && failure.hint.contains("--as-of"), "{failure:?}");
        }
    }
}

/// Removes under strace: a removal that is not synced may be undone by a power cut.
#[test]
fn a_removal_is_durable_when_it_is_told() {
    if let Some(root) = std::env::var_os("DR_TEST_ROOT") {
        let store = store(Path::new(&root));
        store.put("main/dump/x", b"x").unwrap();
        assert_eq!(store.remove("main/dump/x").unwrap(), Removed::Gone);
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let mut traced = Command::new("strace");
    traced.args(["-f", "-y", "-e", "trace=unlink,unlinkat,fsync", "-o"]).arg(scratch.path().join("trace"));
    traced.arg(std::env::current_exe().unwrap()).args(["--exact", "a_removal_is_durable_when_it_is_told"]);
    traced.env("DR_STATE", scratch.path().join("state")).env("DR_TEST_ROOT", scratch.path().join("store"));
    assert!(traced.output().unwrap().status.success());
    let trace = fs::read_to_string(scratch.path().join("trace")).unwrap();
    let lines: Vec<_> = trace.lines().collect();
    let removed = lines.iter().rposition(|line| line.contains("unlinkat(") && line.contains("main/dump>, \"x\"")).unwrap();
    assert!(lines[removed..].iter().any(|line| line.contains("fsync(") && line.contains("store/main/dump>")), "{trace}");
}
