//! Reading at any offset: the same bytes as from the start, from as few ciphertext bytes as can be.
#![allow(clippy::unwrap_used)]

mod keys;

use std::cell::Cell;
use std::io::{self, Cursor, Read, Seek, SeekFrom, Write};
use std::rc::Rc;

use dr_crypt::{Decrypted, Encryptor, Error, Format, Unlocked, plaintext_len};
use dr_pipe::{Exit, Failure};
use keys::Keys;
use proptest::prelude::*;

const CHUNK: usize = 64 * 1024;

fn sample(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

fn encrypt(keys: &Keys, plain: &[u8]) -> Vec<u8> {
    let mut writer = Encryptor::new(&keys.recipients()).unwrap().begin(Vec::new(), Format::Binary).unwrap();
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

fn header_len(stream: &[u8]) -> usize {
    stream.windows(5).position(|at| at == b"\n--- ").unwrap() + 5 + 43 + 1
}

/// Counts the bytes that are read of a stream.
struct Metered(Cursor<Vec<u8>>, Rc<Cell<usize>>);

impl Read for Metered {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.0.read(buf)?;
        self.1.set(self.1.get() + n);
        Ok(n)
    }
}

impl Seek for Metered {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[derive(Clone, Debug)]
enum Step {
    Seek(SeekFrom),
    Read(usize),
}

fn steps(len: usize) -> impl Strategy<Value = Vec<Step>> {
    let len = len as i64;
    // Around chunk borders as often as anywhere.
    let offset =
        prop_oneof![0..=len + 10, (0..=len / CHUNK as i64 + 1, -2..=2i64).prop_map(|(n, by)| (n * CHUNK as i64 + by).max(0))];
    let step = prop_oneof![
        offset.clone().prop_map(|at| Step::Seek(SeekFrom::Start(at as u64))),
        (-len - 5..=5).prop_map(|by| Step::Seek(SeekFrom::End(by))),
        (-len..=len).prop_map(|by| Step::Seek(SeekFrom::Current(by))),
        (0..CHUNK * 2 + 3).prop_map(Step::Read),
        (1..40usize).prop_map(Step::Read),
    ];
    prop::collection::vec(step, 1..40)
}

fn lengths() -> impl Strategy<Value = usize> {
    prop_oneof![Just(0), Just(1), 0..3 * CHUNK, (1..4usize, 0..3usize).prop_map(|(n, by)| n * CHUNK + by - 1)]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn any_walk_reads_what_a_walk_of_the_plain_bytes_reads((len, steps) in lengths().prop_flat_map(|len| (Just(len), steps(len)))) {
        let keys = Keys::new();
        let plain = sample(len);
        let mut model = Cursor::new(&plain);
        let mut reader = Decrypted::open(Cursor::new(encrypt(&keys, &plain)), &keys.identities()).unwrap();
        prop_assert_eq!(reader.plain_len(), len as u64);
        for step in steps {
            match step {
                Step::Seek(to) => match model.seek(to) {
                    Ok(at) => prop_assert_eq!(reader.seek(to).unwrap(), at),
                    Err(_) => prop_assert!(reader.seek(to).is_err()),
                },
                Step::Read(n) => {
                    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
                    reader.by_ref().take(n as u64).read_to_end(&mut ours).unwrap();
                    model.by_ref().take(n as u64).read_to_end(&mut theirs).unwrap();
                    prop_assert_eq!(ours, theirs);
                }
            }
        }
    }

    #[test]
    fn the_length_of_any_stream_is_known_by_arithmetic(len in lengths(), header in 0..100_000u64) {
        let chunks = len.div_ceil(CHUNK).max(1);
        let ciphertext = header + 16 + (len + 16 * chunks) as u64;
        prop_assert_eq!(plaintext_len(ciphertext, header), Some(len as u64));
    }

    #[test]
    fn a_length_that_arithmetic_accepts_belongs_to_one_plain_length(ciphertext in 0..20 * CHUNK as u64, header in 0..300u64) {
        if let Some(plain) = plaintext_len(ciphertext, header) {
            let chunks = plain.div_ceil(CHUNK as u64).max(1);
            prop_assert_eq!(header + 16 + plain + 16 * chunks, ciphertext);
        }
    }

    #[test]
    fn a_cut_or_prolonged_stream_is_refused_when_it_is_opened(len in lengths(), by in 1..2 * CHUNK, longer: bool) {
        let keys = Keys::new();
        let mut stream = encrypt(&keys, &sample(len));
        let body = header_len(&stream);
        if longer {
            stream.extend(sample(by));
        } else {
            stream.truncate(stream.len().saturating_sub(by).max(body));
        }
        let failure = Failure::from(Unlocked::open(&mut Cursor::new(stream), &keys.identities()).err().unwrap());
        prop_assert_eq!(failure.exit, Exit::Damaged);
    }
}

#[test]
fn a_flip_is_refused_where_it_lies_and_nowhere_else() {
    let keys = Keys::new();
    let plain = sample(4 * CHUNK);
    let mut stream = encrypt(&keys, &plain);
    let second_chunk = header_len(&stream) + 16 + (CHUNK + 16) + 5;
    stream[second_chunk] ^= 1;
    let unlocked = Unlocked::open(&mut Cursor::new(&stream), &keys.identities()).unwrap();
    for chunk in [0, 2, 3] {
        let mut reader = unlocked.reader(Cursor::new(&stream)).unwrap();
        let mut found = vec![0; CHUNK];
        reader.seek(SeekFrom::Start((chunk * CHUNK) as u64)).unwrap();
        reader.read_exact(&mut found).unwrap();
        assert_eq!(found, plain[chunk * CHUNK..][..CHUNK]);
    }
    let mut reader = unlocked.reader(Cursor::new(&stream)).unwrap();
    reader.seek(SeekFrom::Start(CHUNK as u64 + 9)).unwrap();
    let error = Error::reading("the object", reader.read(&mut [0; 10]).unwrap_err());
    assert_eq!(Failure::from(error).exit, Exit::Damaged);
    assert!(reader.read(&mut [0; 10]).is_err(), "a reader that failed stays failed");
}

#[test]
fn a_small_read_costs_one_chunk_and_a_second_reader_no_header() {
    let keys = Keys::new();
    let plain = sample(100 * CHUNK + 7);
    let stream = encrypt(&keys, &plain);
    let read = Rc::new(Cell::new(0));
    let metered = || Metered(Cursor::new(stream.clone()), Rc::clone(&read));
    let unlocked = Unlocked::open(&mut metered(), &keys.identities()).unwrap();
    assert!(read.get() < CHUNK, "opening has read {} bytes", read.get());
    for offset in [50 * CHUNK, 50 * CHUNK + 1, 51 * CHUNK - 1] {
        read.set(0);
        let mut reader = unlocked.reader(metered()).unwrap();
        assert_eq!(read.get(), 0);
        reader.seek(SeekFrom::Start(offset as u64)).unwrap();
        let mut byte = [0];
        reader.read_exact(&mut byte).unwrap();
        assert_eq!(byte[0], plain[offset]);
        assert_eq!(read.get(), CHUNK + 16, "for one byte at {offset}");
    }
}

#[test]
fn an_armored_stream_is_not_read_at_an_offset() {
    let keys = Keys::new();
    let mut writer = Encryptor::new(&keys.recipients()).unwrap().begin(Vec::new(), Format::Armored).unwrap();
    writer.write_all(b"text").unwrap();
    let error = Unlocked::open(&mut Cursor::new(writer.finish().unwrap()), &keys.identities()).err().unwrap();
    assert!(matches!(error, Error::NotAge));
}

#[test]
fn readers_can_work_in_threads() {
    fn sendable<T: Send>() {}
    sendable::<Unlocked>();
    sendable::<Decrypted<Cursor<Vec<u8>>>>();
}
