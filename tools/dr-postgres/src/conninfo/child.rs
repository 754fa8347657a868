//! How does a child (pg_dump, psql, pg_restore) get the very same connection, and no secret where others can see it?

use std::fs::OpenOptions;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

use dr_pipe::scratch::Scratch;

use super::keywords::KEYWORDS;
use super::{Address, ConnInfo, Host, RootCert, default_socket_dirs, passfile};
use crate::Error;

/// What the child must find somewhere else than in its environment.
const NOT_INHERITED: [&str; 6] = ["host", "hostaddr", "password", "passfile", "service", "servicefile"];

/// What libpq has no environment variable for: it goes through a service file of the child's own.
const BY_SERVICE: [&str; 5] = ["keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"];

/// Frees a session of the timeouts that a role or database has. Programs of PostgreSQL lift most of them themselves, but only after
/// their first statement; pg_dumpall lifts none.
const NO_TIMEOUTS: &str =
    "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0";

/// Keeps the child's password and service files; dropping it removes them, so it must outlive the child.
#[derive(Debug)]
#[must_use = "dropping this removes the password file that the child needs"]
pub struct ChildGuard(#[expect(dead_code, reason = "only its drop counts")] Scratch);

impl ConnInfo {
    /// Makes a libpq program use this connection: everything through its environment, the password through a file of mode 0600
    /// that lives as long as the returned guard. Nothing goes into its arguments. Of several hosts the child chooses anew; to
    /// reach the server of a session, ask its [`Session::conninfo`](crate::wire::Session::conninfo).
    ///
    /// # Errors
    /// [`Error::Config`] where the password cannot be written into a password file (it holds a line break), or no temporary
    /// file can be made.
    pub fn child(&self, command: &mut Command) -> Result<ChildGuard, Error> {
        for (keyword, variable) in KEYWORDS {
            let Some(variable) = variable else { continue };
            match self.setting(keyword) {
                Some(value) if !NOT_INHERITED.contains(keyword) => command.env(variable, value),
                _ => command.env_remove(variable),
            };
        }
        command.env_remove("PGREQUIRESSL").env("PGUSER", self.user()).env("PGDATABASE", self.database());
        self.address_child(command);
        self.secure_child(command);
        self.write_files(command)
    }

    /// The same, with `options` (`-c NAME=VALUE …`) beside those of the connection, and freed of timeouts.
    ///
    /// # Errors
    /// As [`ConnInfo::child`].
    pub fn unhurried_child(&self, command: &mut Command, options: &str) -> Result<ChildGuard, Error> {
        let guard = self.child(command)?;
        let options: Vec<_> = self.setting("options").into_iter().chain([NO_TIMEOUTS, options]).collect();
        command.env("PGOPTIONS", options.join(" ").trim_end());
        Ok(guard)
    }

    /// Makes a libpq program use the socket of `port` in `directory`, at which it finds the database of this connection, and nothing
    /// of what leads to the server itself.
    pub(crate) fn lent_child(&self, command: &mut Command, directory: &Path, port: u16) {
        for variable in KEYWORDS.iter().filter_map(|(_, variable)| *variable) {
            command.env_remove(variable);
        }
        command.env_remove("PGREQUIRESSL").env("PGHOST", directory).env("PGPORT", port.to_string());
        command.env("PGUSER", self.user()).env("PGDATABASE", self.database());
        // A file that is not there: about another that is none libpq would complain.
        command.env("PGGSSENCMODE", "disable").env("PGPASSFILE", directory.join("passfile")).env("PGMAXPROTOCOLVERSION", "3.0");
    }

    fn address_child(&self, command: &mut Command) {
        let join = |part: &dyn Fn(&Host) -> String| self.hosts().iter().map(part).collect::<Vec<_>>().join(",");
        let name = |host: &Host| match &host.address {
            Address::Socket(directory) => directory.display().to_string(),
            Address::Tcp { name, .. } => name.clone().unwrap_or_default(),
        };
        let hostaddr = |host: &Host| match &host.address {
            Address::Tcp { address: Some(address), .. } => address.to_string(),
            _ => String::new(),
        };
        command.env("PGHOST", join(&name)).env("PGPORT", join(&|host| host.port.to_string()));
        if self.setting("hostaddr").is_some() {
            command.env("PGHOSTADDR", join(&hostaddr));
        }
    }

    /// The mode is ours, not libpq's default; and system roots are named as a file, as only libpq 16 has a word for them.
    fn secure_child(&self, command: &mut Command) {
        let strictest = self.hosts().iter().filter(|host| !matches!(host.address, Address::Socket(_))).map(|host| host.ssl_mode);
        let Some(mode) = strictest.max_by_key(|mode| *mode as u8) else { return };
        command.env("PGSSLMODE", mode.name());
        if matches!(self.ssl().root, None | Some(RootCert::System)) && mode.name().starts_with("verify") {
            let bundle = crate::wire::system_bundle().map_or_else(|| "system".into(), |path| path.into_os_string());
            command.env("PGSSLROOTCERT", bundle);
        }
    }

    fn write_files(&self, command: &mut Command) -> Result<ChildGuard, Error> {
        let failed = |error: std::io::Error| Error::Local { message: format!("writing a temporary password file: {error}") };
        let directory = Scratch::new().map_err(|failure| Error::config(failure.message))?;
        let write = |name: &str, text: String| {
            let path = directory.path().join(name);
            let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
            file.write_all(text.as_bytes())?;
            Ok(path)
        };
        // Always there, so that the child does not look into another one.
        let passfile = write("passfile", self.passfile()?).map_err(failed)?;
        command.env("PGPASSFILE", passfile);
        let keepalives = crate::wire::keepalives(self);
        let lines = BY_SERVICE.into_iter().zip(keepalives).map(|(keyword, value)| format!("{keyword}={value}\n"));
        let service = write("service", format!("[dr]\n{}", lines.collect::<String>())).map_err(failed)?;
        command.env("PGSERVICEFILE", service).env("PGSERVICE", "dr");
        Ok(ChildGuard(directory))
    }

    fn passfile(&self) -> Result<String, Error> {
        let mut lines = String::new();
        for host in self.hosts() {
            let Some(password) = &host.password else { continue };
            if password.contains(['\n', '\r', '\0']) {
                return Err(Error::config("a password with a line break cannot be handed to a child program"));
            }
            let name = host.address.passfile_name();
            // A libpq with another default directory than ours takes the one for localhost, the other for itself.
            let names = if default_socket_dirs().contains(&name.as_str()) { vec!["localhost".into(), name] } else { vec![name] };
            for name in names {
                let password = passfile::escape(password);
                lines.push_str(&format!(
                    "{}:{}:*:{}:{password}\n",
                    passfile::escape(&name),
                    host.port,
                    passfile::escape(self.user())
                ));
            }
        }
        Ok(lines)
    }
}
