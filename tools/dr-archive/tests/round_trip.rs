//! Whatever members are written, by however many threads: the same bytes come back, from our reader and from stock tools.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::thread;

use dr_archive::{Contents, Finished, Options, Own, Reader, Seekable, Writer, verify};
use proptest::collection::vec;
use proptest::prelude::*;

#[derive(Clone, Copy, Debug)]
enum Way {
    Small,
    Bulk,
    Streamed,
    Pieces,
}

#[derive(Clone, Debug)]
struct Plan {
    directories: Vec<String>,
    name: String,
    way: Way,
    bytes: usize,
    seed: u32,
    rows: Option<u64>,
}

/// Bytes that compress a little, different for every seed.
fn content(plan: &Plan) -> Vec<u8> {
    let mut state = plan.seed | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        if state.is_multiple_of(3) { b'\t' } else { (state >> 24) as u8 }
    };
    (0..plan.bytes).map(|_| next()).collect()
}

fn plan() -> impl Strategy<Value = Plan> {
    let directories = prop_oneof![
        4 => vec("d[ -.0-~äß]{0,12}", 0..3),
        1 => vec("d[a-z%\"\\\\]{20,120}", 1..6),
    ];
    let name = prop_oneof![4 => "[ -.0-~é]{0,20}", 1 => "[a-z]{90,110}", 1 => "[a-z]{240}"];
    let way = prop_oneof![Just(Way::Small), Just(Way::Bulk), Just(Way::Streamed), Just(Way::Pieces)];
    let bytes = prop_oneof![Just(0), 1usize..600, Just(512), Just(1024), 0usize..20_000, 0usize..300_000];
    (directories, name, way, bytes, any::<u32>(), proptest::option::of(0u64..1000))
        .prop_map(|(directories, name, way, bytes, seed, rows)| Plan { directories, name, way, bytes, seed, rows })
}

/// Paths that never collide: names of files begin with a digit, those of directories with a letter.
fn paths(plans: &[Plan]) -> Vec<String> {
    let path = |(number, plan): (usize, &Plan)| {
        let parts = plan.directories.iter().cloned().chain([format!("{number}{}", plan.name)]);
        parts.collect::<Vec<_>>().join("/")
    };
    plans.iter().enumerate().map(path).collect()
}

fn add<W: Write + Send>(writer: &Writer<W>, path: &str, plan: &Plan) {
    let bytes = content(plan);
    match plan.way {
        Way::Small => writer.small(path, plan.rows, &bytes).unwrap(),
        Way::Bulk => writer.bulk(path, plan.rows, &bytes).unwrap(),
        Way::Streamed => writer.streamed(path, plan.rows, bytes.len() as u64, &mut &bytes[..]).unwrap(),
        Way::Pieces => thread::scope(|scope| {
            for piece in writer.reserve(path, plan.rows, bytes.len() as u64).unwrap() {
                let bytes = &bytes;
                let range = piece.range();
                scope.spawn(move || piece.deposit(&bytes[range.start as usize..range.end as usize]).unwrap());
            }
        }),
    }
}

fn write(plans: &[Plan], paths: &[String], options: Options, threads: usize) -> (Vec<u8>, Finished) {
    let writer = Writer::new(Vec::new(), options);
    thread::scope(|scope| {
        for worker in 0..threads {
            let writer = &writer;
            scope.spawn(move || {
                for (path, plan) in paths.iter().zip(plans).skip(worker).step_by(threads) {
                    add(writer, path, plan);
                }
            });
        }
    });
    writer.finish().unwrap()
}

fn unpack_with_stock_tools(archive: &[u8], directory: &Path) {
    let file = directory.join("archive.tar.zst");
    fs::write(&file, archive).unwrap();
    for flag in ["-t", "--list"] {
        let said = Command::new("zstd").arg(flag).arg(&file).output().unwrap();
        assert!(said.status.success(), "zstd {flag}: {}", String::from_utf8_lossy(&said.stderr));
    }
    fs::create_dir(directory.join("out")).unwrap();
    let mut zstd = Command::new("zstd").args(["-d", "-q", "-c"]).arg(&file).stdout(Stdio::piped()).spawn().unwrap();
    let tar = Command::new("tar").arg("-x").current_dir(directory.join("out")).stdin(zstd.stdout.take().unwrap()).output().unwrap();
    assert!(zstd.wait().unwrap().success());
    assert!(tar.status.success() && tar.stderr.is_empty(), "tar: {}", String::from_utf8_lossy(&tar.stderr));
}

fn files_below(directory: &Path, root: &Path, into: &mut BTreeMap<String, Vec<u8>>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_below(&path, root, into);
        } else {
            into.insert(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), fs::read(&path).unwrap());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn every_member_comes_back_by_random_access_and_from_stock_tools(
        plans in vec(plan(), 0..25),
        frame_bytes in prop_oneof![Just(1 << 10), Just(1500), Just(4 << 10), Just(100_000), Just(4 << 20)],
        threads in 1usize..6,
        window in 1usize..5,
        level in prop_oneof![Just(1), Just(3), Just(-3)],
    ) {
        let paths = paths(&plans);
        let expected: BTreeMap<_, _> = paths.iter().cloned().zip(plans.iter().map(content)).collect();
        let options = Options { level, frame_bytes, window, ..Options::new(1_769_306_400) };
        let (archive, finished) = write(&plans, &paths, options, threads);

        prop_assert_eq!(finished.stored_bytes, archive.len() as u64);
        prop_assert_eq!(finished.members, plans.len() as u64);
        prop_assert_eq!(finished.rows, plans.iter().filter_map(|plan| plan.rows).reduce(|a, b| a + b));
        for root in [None, Some(&finished.root)] {
            prop_assert_eq!(verify(&mut &archive[..], archive.len() as u64, root).unwrap(), finished);
        }

        let contents = Contents::open(&mut &archive[..], archive.len() as u64, Some(&finished.root)).unwrap();
        let mut reader = Reader::new(Arc::new(contents), Seekable::new(std::io::Cursor::new(&archive)));
        prop_assert_eq!(reader.contents().members().len(), plans.len());
        for (path, plan) in paths.iter().zip(&plans).rev() {
            let member = reader.contents().member(path).unwrap().clone();
            prop_assert_eq!((member.bytes, member.rows), (plan.bytes as u64, plan.rows));
            prop_assert_eq!(&reader.whole(path, u64::MAX).unwrap(), &expected[path]);
            let mut half = vec![0; plan.bytes / 2];
            reader.read(&member).read_exact(&mut half).unwrap();
            prop_assert_eq!(&half, &expected[path][..plan.bytes / 2]);
        }

        let directory = tempfile::tempdir().unwrap();
        unpack_with_stock_tools(&archive, directory.path());
        let mut found = BTreeMap::new();
        files_below(&directory.path().join("out"), &directory.path().join("out"), &mut found);
        prop_assert!(found.remove("toc.jsonl").is_some() && found.remove("end.json").is_some());
        prop_assert!(found == expected);
    }
}

#[test]
fn a_data_directory_comes_back_with_its_empty_directories() {
    let options = Options { own: Own::InPgWal, paths_are_unique: true, ..Options::new(1_769_306_400) };
    let writer = Writer::new(Vec::new(), options);
    let deep = format!("{}/", vec!["d".repeat(90); 3].join("/"));
    for directory in ["base", "base/1", "pg_wal", "pg_notify/", deep.as_str()] {
        writer.directory(directory).unwrap();
    }
    writer.small("base/1/2", None, b"rows").unwrap();
    let (archive, finished) = writer.finish().unwrap();
    assert_eq!(verify(&mut &archive[..], archive.len() as u64, Some(&finished.root)).unwrap(), finished);
    let contents = Contents::open(&mut &archive[..], finished.stored_bytes, None).unwrap();
    let directories: Vec<_> = contents.members().filter(|member| member.is_directory()).map(|member| &*member.path).collect();
    assert_eq!(directories, ["base/", "base/1/", "pg_wal/", "pg_notify/", &*deep]);

    let scratch = tempfile::tempdir().unwrap();
    unpack_with_stock_tools(&archive, scratch.path());
    let out = scratch.path().join("out");
    assert!(directories.iter().all(|path| out.join(path).metadata().unwrap().permissions().mode() & 0o7777 == 0o700));
    let mut found = BTreeMap::new();
    files_below(&out, &out, &mut found);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["base/1/2", "pg_wal/end.json", "pg_wal/toc.jsonl"]);
}

#[test]
fn files_and_directories_are_told_apart_by_the_slash() {
    let writer = || {
        let writer = Writer::new(Vec::new(), Options::new(0));
        writer.directory("a").unwrap();
        writer
    };
    assert!(writer().small("b/", None, b"").is_err());
    assert!(writer().bulk("b/", None, b"x").is_err());
    assert!(writer().small("a", None, b"").is_err());
    assert!(writer().directory("a/").is_err());
    assert!(writer().directory("/").is_err());
}

#[test]
fn pieces_are_cut_where_pages_are() {
    let options = Options { frame_bytes: 100_000, align_bytes: 8192, ..Options::new(0) };
    let writer = Writer::new(Vec::new(), options);
    let bytes = vec![7; 1_000_001];
    for piece in writer.reserve("a", None, bytes.len() as u64).unwrap() {
        let range = piece.range();
        assert!(range.start.is_multiple_of(8192) && (range.end.is_multiple_of(8192) || range.end == 1_000_001));
        piece.deposit(&bytes[range.start as usize..range.end as usize]).unwrap();
    }
    let (archive, finished) = writer.finish().unwrap();
    assert!(finished.frames > 8);
    let contents = Contents::open(&mut &archive[..], finished.stored_bytes, None).unwrap();
    assert_eq!(Reader::new(Arc::new(contents), &archive[..]).whole("a", u64::MAX).unwrap(), bytes);
}

#[test]
fn what_is_flushed_first_is_first_in_the_tar() {
    let writer = Writer::new(Vec::new(), Options::new(0));
    writer.small("about.json", None, b"{}").unwrap();
    writer.small("globals.sql", None, b"").unwrap();
    writer.flush_small().unwrap();
    writer.small("a", None, b"a").unwrap();
    writer.bulk("b", Some(1), b"b").unwrap();
    let (archive, finished) = writer.finish().unwrap();
    let contents = Contents::open(&mut &archive[..], finished.stored_bytes, None).unwrap();
    let places: Vec<_> = contents.members().map(|member| (&*member.path, member.frame)).collect();
    assert_eq!(places, [("about.json", 0), ("globals.sql", 0), ("b", 1), ("a", 2)]);
}

#[test]
fn members_below_a_directory_are_found_in_order_of_their_paths() {
    let writer = Writer::new(Vec::new(), Options::new(0));
    for path in ["data/a/2", "data/a-b/1", "data/a/1", "data/b/1", "dat"] {
        writer.small(path, None, b"").unwrap();
    }
    let (archive, finished) = writer.finish().unwrap();
    let contents = Contents::open(&mut &archive[..], finished.stored_bytes, None).unwrap();
    assert_eq!(contents.members_below("data/a/").map(|member| &*member.path).collect::<Vec<_>>(), ["data/a/1", "data/a/2"]);
    assert_eq!(contents.members_below("nothing/").count(), 0);
}

#[test]
fn a_member_larger_than_the_caller_allows_is_not_fetched() {
    let writer = Writer::new(Vec::new(), Options::new(0));
    writer.small("a", None, &[0; 100]).unwrap();
    let (archive, finished) = writer.finish().unwrap();
    let contents = Contents::open(&mut &archive[..], finished.stored_bytes, None).unwrap();
    let mut reader = Reader::new(Arc::new(contents), &archive[..]);
    assert!(matches!(reader.whole("a", 99), Err(dr_archive::Error::TooLarge { bytes: 100, max_bytes: 99, .. })));
    assert!(matches!(reader.whole("b", 99), Err(dr_archive::Error::NoMember { .. })));
}
