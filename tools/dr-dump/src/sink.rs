//! Where rows go: each piece is a member of its table's folder.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use dr_archive::Writer;
use dr_pipe::{Exit, Failure};
use dr_postgres::relations::Relation;
use dr_postgres::rows::{Format, Origin, Sink};

use crate::members::{self, LARGE_OBJECTS};

/// Pieces below this size share frames with others, in bytes.
const SMALL_BYTES: usize = 256 << 10;

/// Size of a piece: with its tar header and padding it stays within one frame of 4 MiB for rows up to some kilobytes.
const PIECE_BYTES: usize = (4 << 20) - (16 << 10);

/// Why rows are not taken any more.
const GIVEN_UP: &str = "stopped, as the definitions could not be read";

/// Writes pieces into an archive; numbers them per table.
pub struct ArchiveSink<'a, W: Write + Send> {
    archive: &'a Writer<W>,
    tables: HashMap<u32, (String, AtomicU32)>,
    large_objects: AtomicU32,
    binary: std::sync::Mutex<std::collections::HashSet<u32>>,
    unwanted: &'a AtomicBool,
}

impl<'a, W: Write + Send> ArchiveSink<'a, W> {
    /// A sink for the rows of `relations`, that takes no more of them once they are `unwanted`.
    pub fn new(archive: &'a Writer<W>, relations: &[Relation], unwanted: &'a AtomicBool) -> Self {
        let tables = relations.iter().map(|relation| (relation.oid, (members::folder(relation), AtomicU32::new(0))));
        ArchiveSink {
            archive,
            tables: tables.collect(),
            large_objects: AtomicU32::new(0),
            binary: std::sync::Mutex::default(),
            unwanted,
        }
    }

    /// Whether reading ended because rows came that were unwanted.
    pub fn has_given_up(failure: &Failure) -> bool {
        failure.message.ends_with(GIVEN_UP)
    }

    /// The path of the next piece. The first binary piece of a table brings its own COPY command along.
    fn path(&self, origin: Origin<'_>, format: Format) -> Result<String, Failure> {
        if self.unwanted.load(Ordering::Relaxed) {
            return Err(Failure::new(Exit::Bug, GIVEN_UP, "the other failure is the one to look at"));
        }
        let (folder, counter) = match origin {
            Origin::LargeObjects => (LARGE_OBJECTS, &self.large_objects),
            Origin::Table(relation) => {
                let (folder, counter) = self.tables.get(&relation.oid).expect("the sink was made from the relations that are read");
                if format == Format::Binary && self.first_binary(relation.oid) {
                    self.archive.small(
                        &format!("{folder}/copy-binary.sql"),
                        None,
                        members::copy_in(&relation.into, &relation.columns, format).as_bytes(),
                    )?;
                }
                (folder.as_str(), counter)
            }
        };
        Ok(format!("{folder}/{:06}.{}", counter.fetch_add(1, Ordering::Relaxed) + 1, format.suffix()))
    }

    fn first_binary(&self, oid: u32) -> bool {
        self.binary.lock().unwrap_or_else(std::sync::PoisonError::into_inner).insert(oid)
    }
}

impl<W: Write + Send> Sink for ArchiveSink<'_, W> {
    fn piece_bytes(&self) -> Option<usize> {
        Some(PIECE_BYTES)
    }

    fn piece(&self, origin: Origin<'_>, format: Format, rows: u64, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.path(origin, format)?;
        if bytes.len() < SMALL_BYTES {
            self.archive.small(&path, Some(rows), bytes)?;
        } else {
            self.archive.bulk(&path, Some(rows), bytes)?;
        }
        Ok(())
    }

    fn huge(&self, origin: Origin<'_>, format: Format, bytes: u64, source: &mut dyn Read) -> Result<(), Failure> {
        Ok(self.archive.streamed(&self.path(origin, format)?, Some(1), bytes, source)?)
    }
}
