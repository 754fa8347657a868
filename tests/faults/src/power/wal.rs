//! WAL as PostgreSQL hands it to archive_command: three segments of which one is asked for, and the others are ready.

use std::collections::BTreeSet;
use std::fs;

use super::site::{Ended, Site};

/// Archives the first of them.
pub const PUSH: &str = "$TRACED dr-wal-push pg_wal/000000010000000000000001";

/// Bytes of a segment: the smallest there are.
const BYTES: usize = 1 << 20;

/// How many segments are ready.
const SEGMENTS: usize = 3;

fn name(number: usize) -> String {
    format!("0000000100000000{number:08X}")
}

/// A segment as PostgreSQL 18 begins it.
fn segment(number: usize) -> Vec<u8> {
    let mut bytes = vec![0; BYTES];
    bytes[..2].copy_from_slice(&0xD118_u16.to_ne_bytes());
    bytes[2..4].copy_from_slice(&2_u16.to_ne_bytes());
    bytes[4..8].copy_from_slice(&1_u32.to_ne_bytes());
    bytes[8..16].copy_from_slice(&((number * BYTES) as u64).to_ne_bytes());
    bytes[24..32].copy_from_slice(&7_000_000_000_000_000_001_u64.to_ne_bytes());
    bytes[32..36].copy_from_slice(&(BYTES as u32).to_ne_bytes());
    bytes[36..40].copy_from_slice(&8192_u32.to_ne_bytes());
    for (place, byte) in bytes.iter_mut().enumerate().skip(40).take(BYTES / 2) {
        *byte = (place as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3] ^ number as u8;
    }
    bytes
}

/// Writes them where a server would, who marks them as ready.
pub fn prepare(site: &Site) -> Result<(), String> {
    let status = site.path("pg_wal/archive_status");
    let write = || {
        fs::create_dir_all(&status)?;
        (1..=SEGMENTS).try_for_each(|number| {
            fs::write(status.join(format!("{}.ready", name(number))), "")?;
            fs::write(site.path("pg_wal").join(name(number)), segment(number))
        })
    };
    write().map_err(|error: std::io::Error| error.to_string())
}

/// What the server was told, and what the next call would tell it without another look.
pub fn told(site: &Site, ended: &Ended) -> BTreeSet<String> {
    let journal = fs::read_dir(site.kept("state/wal/main/pushed")).into_iter().flatten().flatten();
    let mut told: BTreeSet<_> = journal.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    told.retain(|told| (1..=SEGMENTS).any(|number| *told == name(number)));
    told.extend(ended.good.then(|| name(1)));
    told
}

/// Each segment that was told comes back, and none comes back other than it was.
pub fn judge(site: &Site, told: &BTreeSet<String>) -> Result<(), String> {
    if told.is_empty() && !site.path("disk/store/dr-store.json").exists() {
        let objects = site.objects();
        return if objects.is_empty() { Ok(()) } else { Err(format!("there is no store around {objects:?}")) };
    }
    (1..=SEGMENTS).try_for_each(|number| match fetched(site, number)? {
        Some(said) if told.contains(&name(number)) => Err(format!("acknowledged, and lost: {said}{:?}", site.objects())),
        _ => Ok(()),
    })
}

/// Archives all of them.
pub fn again(site: &Site) -> Result<(), String> {
    (1..=SEGMENTS).try_for_each(|number| {
        site.must(&PUSH.replace(&name(1), &name(number)))?;
        fetched(site, number)?.map_or(Ok(()), |said| Err(format!("acknowledged, and lost: {said}")))
    })
}

/// Brings a segment back, byte for byte; what dr-wal-fetch says where it does not.
fn fetched(site: &Site, number: usize) -> Result<Option<String>, String> {
    let ended = site.run(&format!("rm -f back; dr-wal-fetch --ahead 0 {} back", name(number)), "");
    let same = fs::read(site.path("back")).is_ok_and(|bytes| bytes == segment(number));
    match ended.good {
        true if same => Ok(None),
        true => Err(format!("{} comes back with other bytes", name(number))),
        false => Ok(Some(format!("{}: {}", name(number), ended.said))),
    }
}
