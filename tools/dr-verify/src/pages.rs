//! Are the pages of relations in a base whole? Judged by their checksums while the archive goes by.

use dr_archive::{Contents, Member};
use dr_pipe::record::Base;
use dr_postgres::page::{self, Verdict};
use dr_postgres::relation_files;
use dr_wal::Lsn;

use crate::content::Found;

/// Pages of one base.
pub struct Pages<'c> {
    contents: &'c Contents,
    page_bytes: usize,
    /// A page that was written between these was torn by being read, and WAL repairs it.
    start: Lsn,
    stop: Lsn,
    /// The number of the first page of the file that goes by; none where it holds no pages.
    first_block: Option<u32>,
    /// The beginning of a page of which the rest is to come, and its number in the file.
    begun: Vec<u8>,
    block: u32,
    wrong: u64,
    first: Option<(String, u32)>,
}

impl<'c> Pages<'c> {
    /// The pages of `base`, whose archive holds `contents`.
    pub fn new(base: &Base, contents: &'c Contents) -> Self {
        Pages {
            contents,
            page_bytes: (base.page_bytes as usize).max(512),
            start: base.start_lsn.parse().unwrap_or_default(),
            stop: base.stop_lsn.parse().unwrap_or_default(),
            first_block: None,
            begun: Vec::new(),
            block: 0,
            wrong: 0,
            first: None,
        }
    }

    /// Judges the bytes of `member` that begin at `from`. They come in order.
    pub fn pass(&mut self, member: &Member, from: u64, mut bytes: &[u8]) {
        if from == 0 {
            self.begun.clear();
            self.block = 0;
            self.first_block = self.first_block_of(member);
        }
        let Some(first_block) = self.first_block else { return };
        while !bytes.is_empty() {
            let n = (self.page_bytes - self.begun.len()).min(bytes.len());
            self.begun.extend_from_slice(&bytes[..n]);
            bytes = &bytes[n..];
            if self.begun.len() == self.page_bytes {
                self.judge(&member.path, first_block.wrapping_add(self.block));
                self.begun.clear();
                self.block += 1;
            }
        }
    }

    fn judge(&mut self, path: &str, relation_block: u32) {
        let written = Lsn(page::lsn(&self.begun));
        let torn = self.start <= written && written <= self.stop;
        if page::judge(&self.begun, relation_block) == Verdict::Wrong && !torn {
            self.wrong += 1;
            self.first.get_or_insert_with(|| (path.to_owned(), self.block));
        }
    }

    /// The number of the first page of a file in its relation; none where it holds no pages, or not whole ones.
    fn first_block_of(&self, member: &Member) -> Option<u32> {
        let page_bytes = self.page_bytes as u64;
        let relation = relation_files::relation_at(&member.path).filter(|_| member.bytes.is_multiple_of(page_bytes))?;
        if relation.segment == 0 {
            return Some(0);
        }
        // All files of a relation but its last are as large as the first.
        let (first, _) = member.path.rsplit_once('.')?;
        let pages = u32::try_from(self.contents.member(first)?.bytes / page_bytes).ok()?;
        Some(relation.segment.wrapping_mul(pages))
    }

    /// What is wrong; `known` pages were when the base was taken.
    pub fn found(&self, known: u64) -> Option<Found> {
        let (path, block) = self.first.as_ref()?;
        let more = if self.wrong == 1 { String::new() } else { format!("; and {} more pages", self.wrong - 1) };
        let said = if known > 0 { format!("; {known} were when it was taken") } else { String::new() };
        let message = format!("{path}, block {block}: the page's checksum is wrong{more}{said}");
        Some(Found { code: "page", severe: self.wrong > known, offset: None, message })
    }
}
