//! What is used again for the next segment: fresh memory comes from the system page by page, which costs more than to read, or to
//! decompress, what goes into it.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use zstd::bulk::Compressor;

use crate::packed::parameters;

/// Buffers of plain files.
pub(crate) static PLAIN: Spare = Spare(Mutex::new(Vec::new()));
/// Buffers of objects, or of what becomes one: much smaller, as a rule.
pub(crate) static OBJECTS: Spare = Spare(Mutex::new(Vec::new()));
/// What compresses, and at which level.
static COMPRESSORS: Mutex<Vec<(i32, Compressor<'static>)>> = Mutex::new(Vec::new());

/// Buffers that nobody uses now.
pub(crate) struct Spare(Mutex<Vec<Vec<u8>>>);

impl Spare {
    /// An empty buffer with room for `bytes`: one that was given back, where there is one.
    pub fn take(&self, bytes: usize) -> Vec<u8> {
        let mut buffer = lock(&self.0).pop().unwrap_or_default();
        buffer.clear();
        buffer.reserve(bytes);
        buffer
    }

    /// A buffer of `bytes` bytes, of whatever was in it: it need not be cleared to be written over.
    pub fn take_filled(&self, bytes: usize) -> Vec<u8> {
        let mut buffer = lock(&self.0).pop().unwrap_or_default();
        buffer.resize(bytes, 0);
        buffer
    }

    /// Keeps a buffer for whoever takes one next.
    pub fn give_back(&self, buffer: Vec<u8>) {
        lock(&self.0).push(buffer);
    }
}

/// Does something with a compressor of this level, in which [`parameters`] are set.
pub(crate) fn compressing<T>(level: i32, does: impl FnOnce(&mut Compressor) -> io::Result<T>) -> io::Result<T> {
    let idle = lock(&COMPRESSORS).pop_if(|(its, _)| *its == level);
    let mut compressor = match idle {
        Some((_, compressor)) => compressor,
        None => {
            let mut compressor = Compressor::new(level)?;
            parameters(level).iter().try_for_each(|parameter| compressor.set_parameter(*parameter))?;
            compressor
        }
    };
    let done = does(&mut compressor)?;
    lock(&COMPRESSORS).push((level, compressor));
    Ok(done)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
