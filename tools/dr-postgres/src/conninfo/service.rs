//! What does a connection service set? (PostgreSQL, "The Connection Service File".)

use std::path::{Path, PathBuf};

use super::environment::Environment;
use super::keywords::keyword;
use super::parse::Settings;
use crate::Error;

/// Where packagers put the system-wide file when `$PGSYSCONFDIR` does not say: Debian, then PGDG for Red Hat.
const SYSTEM_DIRS: [&str; 3] = ["/etc/postgresql-common", "/etc/sysconfig/pgsql", "/etc"];

/// Adds what the service called `name` sets to `settings`, without overriding any.
///
/// # Errors
/// [`Error::Config`] if no file defines the service, or its definition is malformed.
pub(super) fn apply(name: &str, settings: &mut Settings, environment: &Environment) -> Result<(), Error> {
    let named = settings.get("servicefile").cloned().or_else(|| environment.var("PGSERVICEFILE"));
    let mut files = Vec::new();
    match named {
        Some(path) if !Path::new(&path).exists() => return Err(Error::config(format!("service file \"{path}\" not found"))),
        Some(path) => files.push(PathBuf::from(path)),
        None => files.extend(environment.home().map(|home| home.join(".pg_service.conf"))),
    }
    match environment.var("PGSYSCONFDIR") {
        Some(directory) => files.push(Path::new(&directory).join("pg_service.conf")),
        None => files
            .extend(SYSTEM_DIRS.iter().map(|directory| Path::new(directory).join("pg_service.conf")).find(|path| path.exists())),
    }
    for path in files.iter().filter(|path| path.exists()) {
        let text = std::fs::read(path).map_err(|error| Error::config(format!("service file \"{}\": {error}", path.display())))?;
        if let Some(section) = section(&String::from_utf8_lossy(&text), name, path)? {
            for (keyword, value) in section {
                settings.entry(keyword).or_insert(value);
            }
            return Ok(());
        }
    }
    Err(Error::config(format!("definition of service \"{name}\" not found")))
}

/// The settings of a service, the first of each keyword; none if the file does not define it.
fn section(text: &str, name: &str, path: &Path) -> Result<Option<Settings>, Error> {
    let mut found: Option<Settings> = None;
    for (number, line) in (1..).zip(text.lines().map(str::trim)) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(header) = line.strip_prefix('[') {
            if found.is_some() {
                break;
            }
            if header.strip_prefix(name).is_some_and(|rest| rest.starts_with(']')) {
                found = Some(Settings::new());
            }
            continue;
        }
        let Some(settings) = &mut found else { continue };
        let place = || format!("service file \"{}\", line {number}", path.display());
        match line.split_once('=') {
            Some(("service" | "servicefile", _)) => {
                return Err(Error::config(format!("nested service specifications not supported in {}", place())));
            }
            Some((name, value)) if keyword(name).is_some() => {
                settings.entry(keyword(name).expect("just found")).or_insert_with(|| value.into());
            }
            _ => return Err(Error::config(format!("syntax error in {}", place()))),
        }
    }
    Ok(found)
}
