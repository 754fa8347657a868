//! Whatever happens to the bytes of an archive, it is found, and no byte of it reaches whoever reads.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use dr_archive::{Contents, Error, Finished, Options, Reader, Writer, verify};
use dr_pipe::record::ArchiveRoot;
use dr_pipe::{Exit, Failure};

const MEMBERS: [(&str, &str); 4] =
    [("about.json", "{}"), ("data/a/1.copy", "1\tone\n2\ttwo\n"), ("data/b/1.copy", "3\tthree\n"), ("empty", "")];

/// An archive of some hundred bytes with frames of one and of several members.
fn small_archive() -> (Vec<u8>, Finished) {
    let writer = Writer::new(Vec::new(), Options { frame_bytes: 1024, ..Options::new(1_769_306_400) });
    let [about, a, b, empty] = MEMBERS;
    writer.bulk(about.0, None, about.1.as_bytes()).unwrap();
    writer.bulk(a.0, Some(2), a.1.as_bytes()).unwrap();
    writer.small(b.0, Some(1), b.1.as_bytes()).unwrap();
    writer.small(empty.0, None, empty.1.as_bytes()).unwrap();
    writer.finish().unwrap()
}

/// Reads all members and fails the test if one comes back with bytes that were never written.
fn read_all(archive: &[u8], root: Option<&ArchiveRoot>) -> Result<(), Error> {
    let contents = Arc::new(Contents::open(&mut &archive[..], archive.len() as u64, root)?);
    let mut reader = Reader::new(Arc::clone(&contents), archive);
    for (path, text) in MEMBERS {
        let bytes = reader.whole(path, 1 << 20)?;
        assert_eq!(String::from_utf8_lossy(&bytes), text, "{path} came back with other bytes");
    }
    Ok(())
}

fn refusal(archive: &[u8], root: Option<&ArchiveRoot>) -> Failure {
    verify(&mut &archive[..], archive.len() as u64, root).unwrap_err().into()
}

#[test]
fn the_whole_archive_is_accepted() {
    let (archive, finished) = small_archive();
    assert_eq!(verify(&mut &archive[..], archive.len() as u64, Some(&finished.root)).unwrap(), finished);
    read_all(&archive, None).unwrap();
}

#[test]
fn f68_every_single_bit_flip_is_found_and_gives_no_other_bytes() {
    let (mut archive, finished) = small_archive();
    for bit in 0..archive.len() * 8 {
        archive[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(refusal(&archive, Some(&finished.root)).exit, Exit::Damaged, "bit {bit}");
        // Reading by random access touches only what it needs: it may succeed, with the true bytes.
        drop(read_all(&archive, Some(&finished.root)));
        drop(read_all(&archive, None));
        archive[bit / 8] ^= 1 << (bit % 8);
    }
}

#[test]
fn f69_every_cut_is_refused() {
    let (archive, finished) = small_archive();
    for length in 0..archive.len() {
        assert!(read_all(&archive[..length], Some(&finished.root)).is_err(), "{length} bytes");
        assert_eq!(refusal(&archive[..length], Some(&finished.root)).exit, Exit::Damaged, "{length} bytes");
        assert_eq!(refusal(&archive[..length], None).exit, Exit::Missing, "{length} bytes");
    }
}

#[test]
fn f69_every_appended_byte_and_zeroed_block_is_refused() {
    let (archive, finished) = small_archive();
    for extra in [&[0][..], b"x", &archive] {
        let longer = [&archive[..], extra].concat();
        assert_eq!(refusal(&longer, Some(&finished.root)).exit, Exit::Damaged);
        assert!(verify(&mut &longer[..], longer.len() as u64, None).is_err());
    }
    for start in (0..archive.len()).step_by(16) {
        let mut zeroed = archive.clone();
        let end = archive.len().min(start + 64);
        zeroed[start..end].fill(0);
        assert_eq!(refusal(&zeroed, Some(&finished.root)).exit, Exit::Damaged, "from {start}");
        drop(read_all(&zeroed, None));
    }
}

#[test]
fn f70_swapped_frames_and_other_archives_are_refused() {
    let writer = Writer::new(Vec::new(), Options::new(0));
    for path in ["a", "b", "c"] {
        writer.bulk(path, None, path.as_bytes()).unwrap();
    }
    let (archive, finished) = writer.finish().unwrap();
    let contents = Contents::open(&mut &archive[..], finished.stored_bytes, None).unwrap();
    let frame = |number: usize| {
        let frame = contents.frames()[number];
        frame.offset as usize..frame.offset as usize + frame.bytes as usize
    };
    assert_eq!(frame(0).len(), frame(1).len(), "frames that fit in each other's place");
    let mut swapped = archive.clone();
    swapped[frame(0)].copy_from_slice(&archive[frame(1)]);
    swapped[frame(1)].copy_from_slice(&archive[frame(0)]);
    for root in [None, Some(&finished.root)] {
        assert!(
            matches!(verify(&mut &swapped[..], finished.stored_bytes, root), Err(Error::Damaged { what, .. }) if what == "frame 0")
        );
    }
    let (other, other_finished) = small_archive();
    assert_eq!(refusal(&other, Some(&finished.root)).exit, Exit::Damaged);
    assert_eq!(refusal(&archive, Some(&other_finished.root)).exit, Exit::Damaged);
}

#[test]
fn what_is_no_archive_is_told_from_one_that_is_unfinished() {
    let exit = |bytes: &[u8]| (Failure::from(Contents::open(&mut &*bytes, bytes.len() as u64, None).unwrap_err())).exit;
    assert_eq!(exit(b""), Exit::Missing);
    assert_eq!(exit(&zstd::bulk::compress(b"a zstd file of another program", 3).unwrap()), Exit::Missing);
    assert_eq!(exit(b"PGDMP"), Exit::Damaged);
    assert_eq!(exit(b"age-encryption.org/v1\n-> X25519 and so on"), Exit::Damaged);
}

#[test]
fn an_error_keeps_its_kind_through_io_read() {
    let (mut archive, finished) = small_archive();
    let contents = Contents::open(&mut &archive[..], finished.stored_bytes, Some(&finished.root)).unwrap();
    archive[20] ^= 1;
    let mut reader = Reader::new(Arc::new(contents), &archive[..]);
    let through_io = std::io::copy(&mut reader.member("about.json").unwrap(), &mut std::io::sink()).unwrap_err();
    assert!(matches!(Error::io("about.json", through_io), Error::Damaged { what, offset: 0 } if what == "frame 0"));
}
