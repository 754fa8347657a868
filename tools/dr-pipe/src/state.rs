//! Where do tools remember what they have seen? In one directory that nothing needs in order to restore.

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The state directory: `$DR_STATE`, systemd's `$STATE_DIRECTORY`, `/var/lib/dr` for root, else `$XDG_STATE_HOME/dr`
/// (`~/.local/state/dr`). None where not even a home is known.
pub fn directory() -> Option<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    named("DR_STATE")
        .or_else(|| named("STATE_DIRECTORY"))
        .or_else(|| rustix::process::geteuid().is_root().then(|| "/var/lib/dr".into()))
        .or_else(|| named("XDG_STATE_HOME").map(|home| home.join("dr")))
        .or_else(|| named("HOME").map(|home| home.join(".local/state/dr")))
}

/// What was remembered under `name`; none if nothing was, or it cannot be read any more.
pub fn recall<T: DeserializeOwned>(name: &str) -> Option<T> {
    let text = std::fs::read(directory()?.join(name)).ok()?;
    serde_json::from_slice(&text).ok()
}

/// Remembers `value` under `name` (a file name), whole or not at all.
///
/// # Errors
/// Any input/output error; callers warn and go on, as state is a witness, not a need.
pub fn remember<T: Serialize>(name: &str, value: &T) -> std::io::Result<()> {
    let directory = directory().ok_or_else(|| std::io::Error::other("no state directory: set DR_STATE"))?;
    std::fs::create_dir_all(&directory)?;
    let mut file = tempfile::NamedTempFile::new_in(&directory)?;
    serde_json::to_writer(&mut file, value)?;
    file.flush()?;
    file.as_file().sync_all()?;
    file.persist(directory.join(name))?;
    Ok(())
}
