//! When one thread fails, all fail, at once and for the same reason; nobody waits forever.
#![allow(clippy::unwrap_used)]

use std::io::{self, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use dr_archive::{Error, Options, Writer};
use dr_pipe::{Exit, Failure};

const THREADS: usize = 4;

fn options() -> Options {
    Options { frame_bytes: 4096, window: 1, ..Options::new(0) }
}

/// Adds members until that fails, in several threads; gives each thread's error.
fn add_until_failure<W: Write + Send>(writer: &Writer<W>) -> Vec<Result<(), Error>> {
    let endless = |worker: usize| move || (0..).try_for_each(|n: u64| writer.bulk(&format!("{worker}/{n}"), None, &[7; 5000]));
    thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|worker| scope.spawn(endless(worker))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(Err(Error::Abandoned))).collect()
    })
}

/// Takes so many bytes, then does as told.
struct Until(usize, fn() -> io::Error);

impl Write for Until {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return Err((self.1)());
        }
        let n = buf.len().min(self.0);
        self.0 -= n;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Gives so many bytes, then does as told.
struct Source(u64, fn() -> io::Result<usize>);

impl Read for Source {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if self.0 == 0 {
            return (self.1)();
        }
        let n = buf.len().min(self.0 as usize);
        self.0 -= n as u64;
        Ok(n)
    }
}

#[test]
fn a_full_disk_fails_every_thread_with_its_own_words() {
    let writer = Writer::new(Until(2000, || io::ErrorKind::StorageFull.into()), options());
    for failed in add_until_failure(&writer) {
        let failure = Failure::from(failed.unwrap_err());
        assert_eq!(failure.exit, Exit::Io);
        assert!(failure.message.contains("no storage space"), "{failure:?}");
    }
    assert!(writer.finish().is_err());
}

#[test]
fn a_panic_of_the_output_leaves_nobody_waiting() {
    let writer = Writer::new(Until(2000, || panic!("the output panics")), options());
    assert!(add_until_failure(&writer).iter().all(Result::is_err));
    assert!(matches!(writer.finish(), Err(Error::Abandoned)));
}

#[test]
fn a_panic_of_a_source_leaves_nobody_waiting() {
    let writer = Writer::new(Vec::new(), options());
    thread::scope(|scope| {
        let others = scope.spawn(|| add_until_failure(&writer));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            writer.streamed("huge", None, 1 << 30, &mut Source(100_000, || panic!("the source panics")))
        }));
        assert!(panicked.is_err());
        assert!(others.join().unwrap().iter().all(|failed| matches!(failed, Err(Error::Abandoned))));
    });
    assert!(writer.finish().is_err());
}

#[test]
fn a_source_that_changed_while_it_was_read_fails_the_archive() {
    let sources: [(u64, Source); 4] =
        [(10_000, Source(9_999, || Ok(0))), (10_000, Source(10_001, || Ok(0))), (0, Source(1, || Ok(0))), (1, Source(0, || Ok(0)))];
    for (announced, mut source) in sources {
        let writer = Writer::new(Vec::new(), options());
        let failed = writer.streamed("file", None, announced, &mut source);
        assert!(matches!(&failed, Err(Error::SourceChanged { path }) if path == "file"), "{failed:?}");
        assert!(matches!(writer.small("next", None, b""), Err(Error::SourceChanged { .. })));
        assert!(matches!(writer.finish(), Err(Error::SourceChanged { .. })));
    }
}

#[test]
fn a_source_that_cannot_be_read_is_named() {
    let writer = Writer::new(Vec::new(), options());
    let failed = writer.streamed("file", None, 10, &mut Source(5, || Err(io::ErrorKind::PermissionDenied.into())));
    let failure = Failure::from(failed.unwrap_err());
    assert_eq!((failure.exit, failure.message.as_str()), (Exit::Denied, "file: permission denied"));
}

#[test]
fn a_piece_of_another_size_than_reserved_fails_the_archive() {
    let writer = Writer::new(Vec::new(), options());
    let piece = writer.reserve("file", None, 10).unwrap().next().unwrap();
    assert!(matches!(piece.deposit(b"eleven byte"), Err(Error::SourceChanged { .. })));
    assert!(writer.finish().is_err());
}

#[test]
fn pieces_that_are_given_up_fail_the_archive() {
    let writer = Writer::new(Vec::new(), options());
    drop(writer.reserve("file", None, 10).unwrap());
    assert!(matches!(writer.finish(), Err(Error::Abandoned)));
}

#[test]
fn f76_a_path_that_no_reader_would_accept_fails_the_archive() {
    for path in ["/etc/passwd", "../up", "a", "end.json", "toc.jsonl"] {
        let writer = Writer::new(Vec::new(), options());
        writer.small("a", None, b"").unwrap();
        let failed = writer.bulk(path, None, b"");
        assert!(matches!(&failed, Err(Error::Path { path: named, .. }) if named == path), "{failed:?}");
        assert!(matches!(writer.finish(), Err(Error::Path { .. })));
    }
}
