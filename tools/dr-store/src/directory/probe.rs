//! Clearing away what a probe has left.

use crate::{Error, Removed};

use super::Directory;

impl Directory {
    /// Removes every file below `prefix`, then the folders of it that are empty.
    pub(crate) fn clear(&self, prefix: &str) -> Result<(), Error> {
        for object in self.list(prefix, "")? {
            match self.remove(&object.key)? {
                Removed::Gone | Removed::Absent | Removed::Held { .. } => {}
            }
        }
        let mut folder = prefix.trim_end_matches('/');
        // `CLUSTER/probe/RUN`, and then `CLUSTER/probe`: what is not empty stays.
        while folder.matches('/').count() > 0 && std::fs::remove_dir(self.root.join(folder)).is_ok() {
            folder = folder.rsplit_once('/').map_or("", |(above, _)| above);
        }
        Ok(())
    }
}
