//! Whole streams: what is encrypted comes back, and nothing else passes for it.
#![allow(clippy::unwrap_used)]

mod keys;

use std::io::{self, Read, Write};

use dr_crypt::{Encryptor, Error, Format, decrypt};
use dr_pipe::{Exit, Failure};
use keys::Keys;
use proptest::prelude::*;

/// Plain bytes of a chunk.
const CHUNK: usize = 64 * 1024;

fn encrypt(keys: &Keys, plain: &[u8], format: Format) -> Vec<u8> {
    let mut writer = Encryptor::new(&keys.recipients()).unwrap().begin(Vec::new(), format).unwrap();
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

/// What came out before the stream ended or was refused, and the exit code.
fn open(keys: &Keys, stream: &[u8]) -> (Vec<u8>, Exit) {
    let mut plain = Vec::new();
    let exit = |error: Error| Failure::from(error).exit;
    match decrypt(stream, &keys.identities()) {
        Err(error) => (plain, exit(error)),
        Ok(mut reader) => match reader.read_to_end(&mut plain) {
            Ok(_) => (plain, Exit::Good),
            Err(error) => (plain, exit(Error::reading("test", error))),
        },
    }
}

fn sample(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
}

#[test]
fn streams_around_the_chunk_size_come_back_in_both_formats() {
    let keys = Keys::new();
    for len in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 17] {
        for format in [Format::Binary, Format::Armored] {
            let plain = sample(len);
            assert_eq!(open(&keys, &encrypt(&keys, &plain, format)), (plain, Exit::Good), "{len} bytes {format:?}");
        }
    }
}

#[test]
fn every_prefix_of_a_small_stream_is_refused() {
    let keys = Keys::new();
    let stream = encrypt(&keys, b"all of it or nothing", Format::Binary);
    assert_eq!(open(&keys, b"").1, Exit::Missing);
    for end in 1..stream.len() {
        assert_eq!(open(&keys, &stream[..end]), (Vec::new(), Exit::Damaged), "prefix of {end} bytes");
    }
}

#[test]
fn every_bit_flip_of_a_small_stream_is_refused() {
    let keys = Keys::new();
    let stream = encrypt(&keys, b"all of it or nothing", Format::Binary);
    let body = stream.windows(5).position(|at| at == b"\n--- ").unwrap() + 5 + 43 + 1;
    for bit in 0..stream.len() * 8 {
        let mut flipped = stream.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let (plain, exit) = open(&keys, &flipped);
        // A changed X25519 stanza cannot be told from one for another key.
        let fair = exit == Exit::Damaged || (exit == Exit::Denied && bit / 8 < body);
        assert!(fair && plain.is_empty(), "bit {bit}: {exit:?}, {} bytes", plain.len());
    }
}

#[test]
fn every_prefix_of_an_armored_stream_is_refused() {
    let keys = Keys::new();
    let stream = encrypt(&keys, b"all of it or nothing", Format::Armored);
    // The newline after the end marker may be missing.
    for end in 1..stream.len() - 1 {
        assert_eq!(open(&keys, &stream[..end]), (Vec::new(), Exit::Damaged), "prefix of {end} bytes");
    }
}

#[test]
fn bytes_after_the_end_are_refused() {
    let keys = Keys::new();
    for len in [20, CHUNK] {
        let mut stream = encrypt(&keys, &sample(len), Format::Binary);
        stream.push(0);
        assert_eq!(open(&keys, &stream).1, Exit::Damaged, "{len} bytes");
    }
}

#[test]
fn f73_a_foreign_key_is_refused_before_the_body_is_read() {
    let (ours, theirs) = (Keys::new(), Keys::new());
    let stream = encrypt(&ours, &sample(10), Format::Binary);
    let header = stream.windows(5).position(|at| at == b"\n--- ").unwrap() + 5 + 43 + 1;
    let failure = Failure::from(decrypt(OnlyThen(&stream[..header + 16]), &theirs.identities()).err().unwrap());
    assert_eq!(failure.exit, Exit::Denied);
    assert!(failure.message.ends_with("it is encrypted to 1 age key (X25519)"), "{}", failure.message);
}

/// Gives its bytes, and panics when asked for more.
struct OnlyThen<'a>(&'a [u8]);

impl Read for OnlyThen<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        assert!(!self.0.is_empty(), "the body was read");
        self.0.read(buf)
    }
}

impl io::BufRead for OnlyThen<'_> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        assert!(!self.0.is_empty(), "the body was read");
        Ok(self.0)
    }

    fn consume(&mut self, amount: usize) {
        self.0 = &self.0[amount..];
    }
}

#[test]
fn f75_a_line_of_armor_without_end_is_cut_off() {
    let keys = Keys::new();
    let endless = io::Cursor::new(b"-----BEGIN AGE ENCRYPTED FILE-----\n").chain(io::repeat(b'A'));
    let failure = Failure::from(decrypt(io::BufReader::new(endless), &keys.identities()).err().unwrap());
    assert_eq!(failure.exit, Exit::Damaged);
    assert!(failure.message.contains("a line of armor"), "{}", failure.message);
}

#[test]
fn an_error_of_the_input_is_not_called_damage() {
    struct Torn(io::Cursor<Vec<u8>>);
    impl Read for Torn {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            match self.0.read(buf)? {
                0 => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "connection lost")),
                n => Ok(n),
            }
        }
    }
    let keys = Keys::new();
    let mut stream = encrypt(&keys, &sample(3 * CHUNK), Format::Binary);
    stream.truncate(2 * CHUNK);
    let mut reader = decrypt(io::BufReader::new(Torn(io::Cursor::new(stream))), &keys.identities()).unwrap();
    let error = Error::reading("the object", io::copy(&mut reader, &mut io::sink()).unwrap_err());
    assert_eq!(error.to_string(), "the object: connection lost");
    assert_eq!(Failure::from(error).exit, Exit::Io);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_damaged_stream_gives_whole_true_chunks_at_most(len in 0..4 * CHUNK, at in any::<prop::sample::Index>(), bit in 0..8u8, cut: bool) {
        let keys = Keys::new();
        let plain = sample(len);
        let mut stream = encrypt(&keys, &plain, Format::Binary);
        let at = at.index(stream.len());
        if cut {
            stream.truncate(at);
        } else {
            stream[at] ^= 1 << bit;
        }
        let (out, exit) = open(&keys, &stream);
        prop_assert_ne!(exit, Exit::Good);
        prop_assert!(plain.starts_with(&out));
        prop_assert_eq!(out.len() % CHUNK, 0);
    }
}
