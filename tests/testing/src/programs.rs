//! Programs where a server's user can run them: the build directory may lie in a home that is closed to others.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

/// A directory that everybody may enter, with the programs `names` of the directory `from`: links to them, or copies.
///
/// # Panics
/// If one is not there: it has to be built first (`cargo build --workspace`).
pub fn reachable(from: &Path, names: &[&str]) -> TempDir {
    let directory = tempfile::Builder::new().prefix("drbin").tempdir_in("/tmp").expect("a scratch directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("its mode");
    for name in names {
        let (program, place) = (from.join(name), directory.path().join(name));
        if fs::hard_link(&program, &place).is_err() {
            let copied = fs::copy(&program, &place);
            copied.unwrap_or_else(|error| panic!("{}: {error}: cargo build --workspace makes it", program.display()));
        }
    }
    directory
}
