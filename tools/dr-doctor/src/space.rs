//! Is there room where tools write, may they write there, and are the programs of the bad day here?

use std::path::{Path, PathBuf};

use crate::args::{Args, Role};
use crate::facts::Disk;
use crate::findings::{Finding, Findings, Name};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// With these alone backups can be restored, see RECOVERY.txt.
const STOCK: [(&str, &str); 4] = [("age", "age"), ("minisign", "minisign"), ("zstd", "zstd"), ("tar", "tar")];

/// Looks at the directories that tools of this host write to.
pub fn check(args: &Args, role: Role, found: &mut Findings) {
    if found.want(&[Name::Space]) {
        let temporary = std::env::temp_dir();
        let state = dr_pipe::state::directory();
        let spool = args.spool_dir.clone().or_else(|| (role.restores).then(|| PathBuf::from("/var/tmp")));
        let received = args.receive_dir.clone();
        let stores = args.archive.to.iter().filter(|store| !store.contains("://")).map(PathBuf::from);
        let mut all: Vec<_> = state.into_iter().chain([temporary]).chain(spool).chain(received).chain(stores).collect();
        all.dedup();
        for directory in all {
            found.note(Name::Space, directory.display().to_string(), room(&directory));
        }
    }
    if found.want(&[Name::StockTools]) {
        found.note(Name::StockTools, None, stock());
    }
}

/// What there is to say of a directory, or of the one that it would be made in.
fn room(directory: &Path) -> Finding {
    let Some(there) = directory.ancestors().find(|path| path.exists()) else {
        return Finding::critical("it is not there, nor anything above it", "name another place");
    };
    if !there.is_dir() {
        return Finding::critical(format!("{} is no directory", there.display()), "move it away, or name another place");
    }
    let writable = rustix::fs::accessat(rustix::fs::CWD, there, rustix::fs::Access::WRITE_OK, rustix::fs::AtFlags::empty());
    if writable.is_err() {
        let message = if there == directory {
            "it may not be written to".into()
        } else {
            format!("it is not there, and {} may not be written to", there.display())
        };
        return Finding::critical(message, format!("as root: install -d -m 700 -o USER {}", directory.display()));
    }
    match rustix::fs::statvfs(there) {
        Ok(disk) => full(Disk { total: disk.f_blocks * disk.f_frsize, free: disk.f_bavail * disk.f_frsize }),
        Err(error) => Finding::unknown(format!("its disk cannot be looked at: {error}"), "see df(1)"),
    }
}

/// A disk with less than this free is nearly full: a tenth of it, but of large ones no more than 10 GiB, of small ones 256 MiB.
pub fn nearly(total: u64) -> u64 {
    (total / 10).clamp(256 * MIB, 10 * GIB)
}

/// One with less than this free is as good as full.
pub fn too_full(total: u64) -> u64 {
    (total / 50).clamp(16 * MIB, GIB)
}

/// Judges how full a disk is.
fn full(Disk { total, free }: Disk) -> Finding {
    let percent = free.saturating_mul(100).checked_div(total).unwrap_or(0);
    let said = format!("{} MiB free, {percent} %", free >> 20);
    let finding = if free < too_full(total) {
        Finding::critical(format!("only {said}"), "make room, or name another place")
    } else if free < nearly(total) {
        Finding::warning(format!("only {said}"), "make room, or name another place")
    } else {
        Finding::ok(said)
    };
    finding.measured(free as f64, nearly(total) as f64, "bytes")
}

fn stock() -> Finding {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_here = |program: &str| std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    let missing: Vec<_> = STOCK.iter().filter(|(program, _)| !is_here(program)).map(|(_, package)| *package).collect();
    if missing.is_empty() {
        return Finding::ok("age, minisign, zstd and tar are here: backups can be read without these tools");
    }
    let message = format!("missing: {}; without it RECOVERY.txt cannot be followed here", missing.join(", "));
    Finding::warning(message, format!("apt-get install {}", missing.join(" ")))
}

#[cfg(test)]
mod tests {
    use dr_pipe::record::State;

    use super::*;

    #[test]
    fn a_disk_is_judged_by_its_part_and_by_what_is_little_anywhere() {
        for (total, free, state) in [
            (100 * GIB, 50 * GIB, State::Ok),
            (9000 * GIB, 11 * GIB, State::Ok),
            (9000 * GIB, 9 * GIB, State::Warning),
            (100 * GIB, GIB - 1, State::Critical),
            (GIB, 255 * MIB, State::Warning),
            (GIB, 15 * MIB, State::Critical),
            (0, 0, State::Critical),
        ] {
            assert_eq!(full(Disk { total, free }).state(), state, "{free} of {total}");
        }
    }
}
