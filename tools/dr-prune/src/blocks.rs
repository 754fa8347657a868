//! How are a million lines read at the speed of two processors? In blocks of whole lines: each worker takes the next block, parses it
//! beside the others, and hands it on when its turn has come, so that all arrives in order.

use std::io::{BufRead, Read};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use dr_pipe::record::MAX_LINE_BYTES;
use dr_pipe::stream::fill;
use dr_pipe::{Exit, Failure};
use dr_retention::{Catalogue, Intake};

use crate::line::Line;

/// Reads all records.
///
/// # Errors
/// 65 for a line that is none, naming it, and where two records disagree; 74 if reading fails.
pub fn read(input: impl Read + Send) -> Result<Catalogue, Failure> {
    let source = Mutex::new(Source { input, rest: Vec::new(), next: 0 });
    let sink = Mutex::new(Sink { intake: Intake::default(), turn: 0, lines: 0, failure: None });
    let moved = Condvar::new();
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| work(&source, &sink, &moved));
        }
    });
    let Sink { intake, failure, .. } = sink.into_inner().unwrap_or_else(PoisonError::into_inner);
    match failure {
        Some(failure) => Err(failure),
        None => intake.finish().map_err(|why| {
            Failure::new(Exit::Damaged, why, "one of them is not of that backup, or was changed: see what dr-verify says of it")
        }),
    }
}

/// Where blocks come from.
struct Source<R> {
    input: R,
    /// The beginning of a line whose end was not read yet.
    rest: Vec<u8>,
    next: u64,
}

impl<R: Read> Source<R> {
    /// Fills `block` with the next whole lines and says which block it is; none at the end.
    fn next(&mut self, block: &mut Vec<u8>) -> Result<Option<u64>, Failure> {
        let kept = self.rest.len();
        block.resize(MAX_LINE_BYTES, 0);
        block[..kept].copy_from_slice(&self.rest);
        let n = kept + fill(&mut self.input, &mut block[kept..]).map_err(|error| Failure::io("reading records", &error))?;
        block.truncate(n);
        let whole = block.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        self.rest.clear();
        if whole > 0 {
            self.rest.extend_from_slice(&block[whole..]);
            block.truncate(whole);
        } else if n == 0 {
            return Ok(None);
        }
        self.next += 1;
        Ok(Some(self.next - 1))
    }
}

/// Where what they say goes.
struct Sink {
    intake: Intake,
    /// Whose block is next.
    turn: u64,
    /// Lines before it.
    lines: usize,
    failure: Option<Failure>,
}

impl Sink {
    fn take(&mut self, parsed: Vec<Result<Option<Line<'_>>, String>>) {
        for line in parsed {
            self.lines += 1;
            let added = line.and_then(|line| line.map_or(Ok(()), |line| line.add_to(&mut self.intake)));
            if let Err(why) = added {
                let message = format!("record line {}: {why}", self.lines);
                self.failure = Some(Failure::new(
                    Exit::Damaged,
                    message,
                    "records are JSON Lines, as dr-verify prints them: see dr-records(5)",
                ));
                return;
            }
        }
    }
}

fn work<R: Read>(source: &Mutex<Source<R>>, sink: &Mutex<Sink>, moved: &Condvar) {
    let mut block = Vec::new();
    loop {
        let next = lock(source).next(&mut block);
        let turn = match next {
            Ok(Some(turn)) => turn,
            Ok(None) => return,
            Err(failure) => {
                lock(sink).failure.get_or_insert(failure);
                return;
            }
        };
        let parsed = parse(&block);
        let mut sink = lock(sink);
        while sink.turn != turn {
            sink = moved.wait(sink).unwrap_or_else(PoisonError::into_inner);
        }
        if sink.failure.is_none() {
            sink.take(parsed);
        }
        sink.turn += 1;
        moved.notify_all();
        if sink.failure.is_some() {
            return;
        }
    }
}

/// The lines of a block; none for an empty one. Behind one that is no record nothing is parsed.
fn parse(block: &[u8]) -> Vec<Result<Option<Line<'_>>, String>> {
    let mut lines = Vec::with_capacity(block.len() / 512);
    let mut rest = block;
    while !rest.is_empty() {
        let begin = rest;
        let n = rest.skip_until(b'\n').expect("memory can be read");
        let line = &begin[..n];
        lines.push(match line.last() {
            _ if line.iter().all(u8::is_ascii_whitespace) => Ok(None),
            Some(b'\n') => Line::parse(&line[..n - 1]).map(Some),
            _ if n >= MAX_LINE_BYTES => Err("longer than 1 MiB".into()),
            _ => Err("cut short: no newline at its end".into()),
        });
        if lines.last().is_some_and(Result::is_err) {
            break;
        }
    }
    lines
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
