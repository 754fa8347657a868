//! Reading a stored file at any offset.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{Advice, OFlags, fadvise};

use crate::Error;

/// Up to this size an object is read from end to end as a rule: a segment of WAL, a manifest.
const READ_WHOLE_BYTES: u64 = 16 << 20;

/// A file and a position of one's own in it.
#[derive(Clone)]
pub(crate) struct FileReader {
    file: Arc<File>,
    object: Arc<str>,
    size: u64,
    position: u64,
}

impl FileReader {
    pub(super) fn open(path: &Path, object: String) -> Result<Self, Error> {
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
        let file = match OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::Absent { object }),
            Err(error) => return Err(Error::io(object, error)),
        };
        let metadata = file.metadata().map_err(|error| Error::io(&object, error))?;
        if !metadata.is_file() {
            return Err(Error::Damaged { object, why: "not a regular file".into() });
        }
        if metadata.len() <= READ_WHOLE_BYTES {
            // An advice: the disk then works while the first bytes are decrypted.
            let (Ok(()) | Err(_)) = fadvise(&file, 0, None, Advice::WillNeed);
        }
        Ok(FileReader { file: Arc::new(file), object: object.into(), size: metadata.len(), position: 0 })
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn move_to(&mut self, target: u64) {
        self.position = target;
    }

    pub(crate) fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size.saturating_sub(self.position)).unwrap_or(usize::MAX);
        let wanted = buf.len().min(left);
        if wanted == 0 {
            return Ok(0);
        }
        let at = |error: io::Error| Error::io(format!("{} at byte {}", self.object, self.position), error);
        let n = self.file.read_at(&mut buf[..wanted], self.position).map_err(at)?;
        if n == 0 {
            let why = format!("it ends at byte {}, and had {} when it was opened", self.position, self.size);
            return Err(Error::Damaged { object: self.object.to_string(), why }.into());
        }
        self.position += n as u64;
        Ok(n)
    }
}
