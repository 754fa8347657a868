//! Are the pages of the cluster whole? Each is judged on its way into the backup, where the cluster has checksums.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dr_pipe::warn;
use dr_postgres::page::{self, Verdict};
use dr_wal::Lsn;

use crate::TOOL;

/// How many damaged pages are named on stderr; all of them are counted.
const NAMED: u64 = 20;

/// How many pages are remembered that only their position in WAL excuses.
const REMEMBERED: usize = 100_000;

/// How long is waited before a page is read again: a server that was writing it is done by then.
const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(100)];

/// Judges pages, on any thread.
pub struct Pages {
    page_bytes: usize,
    start: Lsn,
    /// Whether damaged pages are named on stderr.
    named: bool,
    findings: Mutex<Findings>,
}

#[derive(Default)]
struct Findings {
    damaged: u64,
    /// Pages with a wrong checksum that were written after the backup began: torn, and repaired by WAL. File, block, position.
    torn: Vec<(String, u64, Lsn)>,
}

/// Some pages in a row of one file.
pub struct Run<'r> {
    /// The file's path in the backup.
    pub path: &'r str,
    /// The file, to be read again.
    pub file: Option<&'r File>,
    /// Where the pages begin in the file, in bytes.
    pub offset: u64,
    /// The number of the file's first page in its relation.
    pub first_block: u32,
}

impl Pages {
    /// Judges pages of this size in a backup that begins at `start`.
    pub fn new(page_bytes: u32, start: Lsn) -> Self {
        Pages { page_bytes: page_bytes as usize, start, named: true, findings: Mutex::default() }
    }

    /// The same, that only counts: where another names them.
    pub fn unnamed(self) -> Self {
        Pages { named: false, ..self }
    }

    /// Judges the pages of `run`, which `bytes` hold; those that were read while they were written are read again.
    pub fn check(&self, run: &Run<'_>, bytes: &mut [u8]) {
        for (number, page) in (0..).zip(bytes.chunks_exact_mut(self.page_bytes)) {
            let block = run.offset / self.page_bytes as u64 + number;
            let relation_block = run.first_block.wrapping_add(block as u32);
            if page::judge(page, relation_block) != Verdict::Wrong || self.is_whole_again(run, block, relation_block, page) {
                continue;
            }
            let lsn = Lsn(page::lsn(page));
            let mut findings = self.findings();
            if lsn < self.start || findings.torn.len() == REMEMBERED {
                self.damage(&mut findings, run.path, block);
            } else {
                findings.torn.push((run.path.to_owned(), block, lsn));
            }
        }
    }

    /// Reads a page again, and again. A file that has become shorter has lost it: then WAL says so, too.
    fn is_whole_again(&self, run: &Run<'_>, block: u64, relation_block: u32, page: &mut [u8]) -> bool {
        let Some(file) = run.file else { return false };
        for pause in PAUSES {
            if Lsn(page::lsn(page)) >= self.start {
                break;
            }
            std::thread::park_timeout(pause);
            if file.read_exact_at(page, block * self.page_bytes as u64).is_err() {
                page.fill(0);
                return true;
            }
            if page::judge(page, relation_block) != Verdict::Wrong {
                return true;
            }
        }
        false
    }

    /// How many pages are damaged, in a backup that ends at `stop`: nothing in it can be from later than that.
    pub fn damaged(&self, stop: Lsn) -> u64 {
        let mut findings = self.findings();
        for (path, block, lsn) in std::mem::take(&mut findings.torn) {
            if lsn > stop {
                self.damage(&mut findings, &path, block);
            }
        }
        findings.damaged
    }

    fn damage(&self, findings: &mut Findings, path: &str, block: u64) {
        findings.damaged += 1;
        let more = if findings.damaged == NAMED { "; further ones are only counted" } else { "" };
        if self.named && findings.damaged <= NAMED {
            warn(TOOL, format!("{path}, block {block}: the page's checksum is wrong{more}"));
        }
    }

    fn findings(&self) -> MutexGuard<'_, Findings> {
        self.findings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A page that was written at `lsn`, and is not whole.
    fn page(lsn: u64) -> Vec<u8> {
        let mut page = vec![1; 8192];
        page[..4].copy_from_slice(&((lsn >> 32) as u32).to_ne_bytes());
        page[4..8].copy_from_slice(&(lsn as u32).to_ne_bytes());
        page
    }

    fn damage_of(written_at: u64) -> u64 {
        let pages = Pages::new(8192, Lsn(1000));
        let mut bytes = [vec![0; 8192], page(written_at)].concat();
        pages.check(&Run { path: "base/1/2", file: None, offset: 0, first_block: 0 }, &mut bytes);
        pages.damaged(Lsn(2000))
    }

    #[test]
    fn f65_a_torn_page_is_excused_by_wal_of_the_backup_only() {
        assert_eq!(damage_of(999), 1);
        assert_eq!(damage_of(1000), 0);
        assert_eq!(damage_of(2000), 0);
        assert_eq!(damage_of(2001), 1);
    }

    #[test]
    fn f65_a_page_that_is_whole_when_read_again_is_taken_then() {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(&[0; 16384], 0).unwrap();
        let pages = Pages::new(8192, Lsn(1000));
        let mut bytes = page(7);
        pages.check(&Run { path: "a", file: Some(&file), offset: 8192, first_block: 0 }, &mut bytes);
        assert_eq!((pages.damaged(Lsn(2000)), bytes), (0, vec![0; 8192]));
    }
}
