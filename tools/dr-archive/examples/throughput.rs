//! How fast are archives written and proved here? `cargo run --release -p dr-archive --example throughput`
//!
//! Writes and verifies 1 GiB of text like COPY's, in as many threads as there are processors.

use std::error::Error;
use std::io::{self, Write};
use std::thread;
use std::time::Instant;

use dr_archive::{Options, Writer, verify};

const PIECE_BYTES: usize = 4 << 20;
const PIECES: usize = 256;

fn main() -> Result<(), Box<dyn Error>> {
    let threads = thread::available_parallelism()?.get();
    let piece = copy_text();
    let started = Instant::now();
    let writer = Writer::new(tempfile::tempfile()?, Options::new(0));
    thread::scope(|scope| -> Result<(), Box<dyn Error>> {
        let workers: Vec<_> = (0..threads)
            .map(|worker| {
                let (writer, piece) = (&writer, &piece);
                let mut numbers = (worker..PIECES).step_by(threads);
                scope.spawn(move || numbers.try_for_each(|number| writer.bulk(&format!("data/{number:06}.copy"), None, piece)))
            })
            .collect();
        for worker in workers {
            worker.join().map_err(|_| "a worker panicked")??;
        }
        Ok(())
    })?;
    let (mut file, finished) = writer.finish()?;
    let mut out = io::stdout().lock();
    let mib = finished.plain_bytes as f64 / f64::from(1 << 20);
    writeln!(
        out,
        "wrote    {:7.1} MiB/s on {threads} threads, {} bytes",
        mib / started.elapsed().as_secs_f64(),
        finished.stored_bytes
    )?;
    let started = Instant::now();
    verify(&mut file, finished.stored_bytes, Some(&finished.root))?;
    writeln!(out, "verified {:7.1} MiB/s on one thread", mib / started.elapsed().as_secs_f64())?;
    Ok(())
}

fn copy_text() -> Vec<u8> {
    let row = |n: u64| format!("{n}\tcustomer {}\t2026-01-25 02:00:00+00\t{}.{:02}\n", n * 7919 % 100_003, n * 31 % 997, n % 100);
    (0..).map(row).flat_map(String::into_bytes).take(PIECE_BYTES).collect()
}
