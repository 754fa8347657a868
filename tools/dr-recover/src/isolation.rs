//! What keeps a server that is only to prove something from reaching anything, and all others from reaching it?
//!
//! Settings on its command line, which no file of the backup can change. And as functions of the database can open sockets
//! themselves, it runs where there is no network, and no file but its own, once it has recovered; while it replays, it lets nobody
//! in, and nothing that the database holds runs.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use dr_pipe::{Exit, Failure, warn};

use crate::{TOOL, adapt, directory};

/// Runs a command that reaches nothing.
const ENCLOSE: &str = include_str!("../../../scripts/enclose");

/// Of the environment, what an enclosed server gets: no credentials.
const KEPT: [&str; 8] = ["PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "LC_MESSAGES", "LD_LIBRARY_PATH", "TZ"];

/// Only who may enter the socket's directory connects, and is believed; nobody for replication.
const HBA: (&str, &str) = ("dr-isolated-hba.conf", "local all all trust\n");

/// No names are mapped.
const IDENT: (&str, &str) = ("dr-isolated-ident.conf", "");

/// What the server has whatever files say. Settings that recovery needs as high as they were are not among them.
const SETTINGS: [(&str, &str); 17] = [
    ("archive_mode", "off"),
    ("archive_command", "/bin/false"),
    ("primary_conninfo", ""),
    ("synchronous_standby_names", ""),
    ("max_logical_replication_workers", "0"),
    ("shared_preload_libraries", ""),
    ("session_preload_libraries", ""),
    ("local_preload_libraries", ""),
    ("dynamic_library_path", "$libdir"),
    ("ssl", "off"),
    ("bonjour", "off"),
    ("unix_socket_group", ""),
    ("unix_socket_permissions", "0700"),
    // A file that another server may have.
    ("external_pid_file", ""),
    // They would hide damage from whoever checks.
    ("zero_damaged_pages", "off"),
    ("ignore_checksum_failure", "off"),
    ("ignore_invalid_pages", "off"),
];

/// While it replays: no session, and no worker that evaluates what the database defines.
const REPLAYING: [(&str, &str); 2] = [("hot_standby", "off"), ("autovacuum", "off")];

/// How a server is isolated.
#[derive(Clone, Debug)]
pub struct Isolation {
    /// Its major version.
    major: u32,
    /// Whether this system can run something that reaches nothing.
    can_enclose: bool,
    /// Whether it runs so.
    enclosed: bool,
}

impl Isolation {
    /// Looks what this system allows, and whether the socket would be out of others' reach.
    ///
    /// # Errors
    /// 80 where others may enter the directory of the socket; 74 or 77 where it cannot be looked at.
    pub fn prepare(major: u32, socket_dir: &Path) -> Result<Self, Failure> {
        match fs::metadata(socket_dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(Failure::io(socket_dir.display(), &error)),
            Ok(there) if there.uid() == rustix::process::geteuid().as_raw() && there.permissions().mode() & 0o077 == 0 => {}
            // It is closed before it is used.
            Ok(_) if directory::look(socket_dir)? == directory::State::Free => {}
            Ok(_) => {
                let message = format!("{}: others may enter it, and could reach an isolated server", socket_dir.display());
                let hint = "name a directory of your own, with mode 0700, with --socket-dir; nothing was written";
                return Err(Failure::new(Exit::Refused, message, hint));
            }
        }
        let tried = dr_pipe::child::output(enclosing(&[]).arg("true"));
        let why_not = match &tried {
            Ok(output) if output.status.success() => None,
            Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = &why_not {
            let reach = "what the database runs may reach the network, and all that its user may";
            warn(TOOL, format!("the server is not enclosed ({why}): {reach}"));
        }
        Ok(Isolation { major, can_enclose: why_not.is_none(), enclosed: false })
    }

    /// The settings of its command line. Writes what they name into the data directory.
    ///
    /// # Errors
    /// 74 or 77 as the file system says.
    pub fn settings(&self, data: &Path) -> Result<Vec<(&'static str, String)>, Failure> {
        let mut settings: Vec<_> = SETTINGS.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        for (name, (file, text)) in [("hba_file", HBA), ("ident_file", IDENT)] {
            adapt::file(&data.join(file), text.as_bytes())?;
            settings.push((name, data.join(file).display().to_string()));
        }
        match self.major {
            15.. => settings.push(("archive_library", String::new())),
            _ => settings.push(("stats_temp_directory", "pg_stat_tmp".into())),
        }
        if !self.enclosed {
            settings.extend(REPLAYING.iter().map(|(name, value)| (*name, (*value).to_owned())));
        }
        Ok(settings)
    }

    /// How it is isolated once it has recovered; none where the system does not allow more.
    pub fn enclosed(&self) -> Option<Isolation> {
        self.can_enclose.then(|| Isolation { enclosed: true, ..self.clone() })
    }

    /// A command to run a program that starts the server in `data`, with its socket in `socket_dir`.
    ///
    /// # Errors
    /// 74 or 77 as the file system says.
    pub fn command(&self, program: &Path, data: &Path, socket_dir: &Path) -> Result<Command, Failure> {
        if !self.enclosed {
            return Ok(Command::new(program));
        }
        let mut own = vec![data.to_owned(), socket_dir.to_owned()];
        own.extend(linked(data).map_err(|error| Failure::io(data.display(), &error))?);
        let mut command = enclosing(&own);
        // What the programs need lies beside them, where they do not lie in /usr.
        let program = fs::canonicalize(program).map_err(|error| Failure::io(program.display(), &error))?;
        let bin = program.parent().unwrap_or(Path::new("/usr/bin"));
        for beside in ["", "../lib", "../share"] {
            command.arg("--see").arg(bin.join(beside));
        }
        command.arg(&program);
        command.env_clear().envs(KEPT.iter().filter_map(|name| Some((name, std::env::var_os(name)?))));
        Ok(command)
    }
}

/// Directories that a data directory leads to: its WAL and its tablespaces may lie elsewhere.
fn linked(data: &Path) -> io::Result<Vec<PathBuf>> {
    let mut links = vec![data.join("pg_wal")];
    for entry in fs::read_dir(data.join("pg_tblspc"))? {
        links.push(entry?.path());
    }
    links.retain(|path| path.is_symlink());
    links.iter().map(|link| Ok(link.parent().unwrap_or(data).join(fs::read_link(link)?))).collect()
}

/// Runs what follows where it reaches nothing but its own directories. pg_ctl writes the number of the server's process.
fn enclosing(own: &[PathBuf]) -> Command {
    let mut command = Command::new("bash");
    command.args(["-c", ENCLOSE, "enclose", "--same-pids"]);
    for path in own {
        command.arg("--own").arg(path);
    }
    command
}
