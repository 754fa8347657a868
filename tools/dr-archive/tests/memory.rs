//! Memory stays bounded, however large the archive or its claims. One test, as it measures the whole process.
#![allow(clippy::unwrap_used)]

mod forge;

use std::fs;
use std::io::{self, Read};
use std::sync::Arc;
use std::thread;

use dr_archive::{Contents, Options, Reader, Writer, verify};
use forge::{Forge, header};
use serde_json::json;

const MIB: u64 = 1 << 20;

#[test]
fn f75_memory_is_bounded_by_frames_and_not_by_the_archive() {
    let frame_bytes = MIB as usize;
    let options = Options { level: 1, frame_bytes, window: 4, ..Options::new(0) };
    let writer = Writer::new(tempfile::tempfile().unwrap(), options);
    let written = growth_bytes(|| {
        thread::scope(|scope| {
            for worker in 0..4u32 {
                let writer = &writer;
                scope.spawn(move || {
                    writer.streamed(&format!("{worker}"), None, 64 * MIB, &mut Noise(worker + 1).take(64 * MIB)).unwrap()
                });
            }
        });
    });
    assert!(written < 48 * MIB, "writing 256 MiB took {written} bytes");

    let (file, finished) = writer.finish().unwrap();
    assert!(finished.stored_bytes > 200 * MIB, "the noise does not compress");
    let read = growth_bytes(|| {
        let contents = Contents::open(&mut &file, finished.stored_bytes, Some(&finished.root)).unwrap();
        let mut reader = Reader::new(Arc::new(contents), &file);
        assert_eq!(io::copy(&mut reader.member("3").unwrap(), &mut io::sink()).unwrap(), 64 * MIB);
        verify(&mut &file, finished.stored_bytes, Some(&finished.root)).unwrap();
    });
    assert!(read < 16 * MIB, "reading took {read} bytes");

    // A table of contents that decompresses to 128 MiB of lines, in frames of 16 MiB.
    let line =
        json!({"type": "frame", "offset": 0, "bytes": 13, "raw_bytes": 512, "sha256": "0".repeat(64), "pad": "x"}).to_string();
    let block = format!("{line:\u{20}<511}\n").repeat(16 * MIB as usize / 512);
    let mut forge = Forge::honest();
    forge.toc =
        Some([header("toc.jsonl", block.len() as u64 * 8)].into_iter().chain((0..8).map(|_| block.clone().into_bytes())).collect());
    let (archive, root) = forge.build();
    let refused = growth_bytes(|| drop(verify(&mut &archive[..], archive.len() as u64, Some(&root)).unwrap_err()));
    assert!(refused < 40 * MIB, "refusing took {refused} bytes");
}

/// By how much the process grew beyond what it had before, at its peak.
fn growth_bytes(work: impl FnOnce()) -> u64 {
    // 5 sets the peak back to what is resident now: proc(5).
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = resident_bytes("VmRSS:");
    work();
    resident_bytes("VmHWM:").saturating_sub(before)
}

fn resident_bytes(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// Bytes that do not compress.
struct Noise(u32);

impl Read for Noise {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        for word in buf.chunks_mut(4) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 17;
            self.0 ^= self.0 << 5;
            word.copy_from_slice(&self.0.to_le_bytes()[..word.len()]);
        }
        Ok(buf.len())
    }
}
