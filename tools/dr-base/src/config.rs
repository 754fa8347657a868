//! Configuration outside the data directory, as Debian has it: a restored server would lack it.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use dr_pipe::{Failure, warn};

use crate::TOOL;
use crate::copy::Copy;

/// The folder of such files in a backup.
const FOLDER: &str = "dr_config";

/// Adds each file of `configuration` that lies outside `pgdata`.
///
/// # Errors
/// As the archive or the manifest. A file that cannot be read is only told of.
pub fn add<W: Write + Send>(copy: &Copy<'_, W>, configuration: &[PathBuf], pgdata: &Path) -> Result<(), Failure> {
    for (path, source) in members(configuration, pgdata) {
        match std::fs::read(&source).and_then(|bytes| Ok((bytes, source.metadata()?.modified()?))) {
            Ok((bytes, modified)) => copy.known(&path, &bytes, modified)?,
            Err(error) => warn(TOOL, format!("{} is left out: {error}", source.display())),
        }
    }
    Ok(())
}

/// The paths of such files in a backup: relative to the directory of the first, `postgresql.conf`, else by their names.
fn members(configuration: &[PathBuf], pgdata: &Path) -> BTreeMap<String, PathBuf> {
    let home = configuration.first().and_then(|file| file.parent());
    let mut members = BTreeMap::new();
    for source in configuration.iter().filter(|source| !is_below(source, pgdata)) {
        let relative = home.and_then(|home| source.strip_prefix(home).ok());
        let Some(name) = relative.or(source.file_name().map(Path::new)).and_then(Path::to_str) else { continue };
        members.entry(format!("{FOLDER}/{name}")).or_insert_with(|| source.clone());
    }
    members
}

fn is_below(source: &Path, pgdata: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    real(source).starts_with(real(pgdata))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_keep_their_places_beside_postgresql_conf() {
        let files = ["/etc/pg/main/postgresql.conf", "/srv/data/pg_hba.conf", "/etc/pg/main/conf.d/a.conf", "/opt/pg_ident.conf"];
        let members = members(&files.map(PathBuf::from), Path::new("/srv/data"));
        assert_eq!(
            members.keys().collect::<Vec<_>>(),
            ["dr_config/conf.d/a.conf", "dr_config/pg_ident.conf", "dr_config/postgresql.conf"]
        );
    }
}
