//! Which server, which database, as whom? The answer is libpq's, from the same places in the same order: connection string
//! (or flags), service file, environment, defaults.

mod args;
mod child;
mod environment;
mod keywords;
mod parse;
mod passfile;
mod service;
mod ssl;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use args::ConnectArgs;
pub use child::ChildGuard;
pub use environment::Environment;
pub use parse::is_connection_string;
pub(crate) use ssl::{ChannelBinding, RootCert, SslMode, SslNegotiation, SslSettings};

use crate::Error;
use keywords::KEYWORDS;
use parse::Settings;
use passfile::Entry;

const DEFAULT_PORT: &str = "5432";

/// Everything that a connection needs to know, resolved and checked. `Debug` shows no password.
#[derive(Clone)]
pub struct ConnInfo {
    settings: Settings,
    hosts: Vec<Host>,
    user: String,
    database: String,
    ssl: SslSettings,
    home: Option<PathBuf>,
    warnings: Vec<String>,
}

/// One place to try, of the several that `host` may list.
#[derive(Clone)]
pub struct Host {
    /// How to reach it.
    pub address: Address,
    /// Its TCP port, or the number in its socket's name.
    pub port: u16,
    pub(crate) password: Option<String>,
    pub(crate) ssl_mode: SslMode,
}

/// How a server is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// The directory of a Unix socket; one that starts with `@` is in Linux' abstract namespace.
    Socket(PathBuf),
    /// A TCP endpoint: a name, which is looked up unless the address is given too, or an address only.
    Tcp {
        /// `host`: a name (or an address as text), which the server's certificate is held against.
        name: Option<String>,
        /// `hostaddr`.
        address: Option<IpAddr>,
    },
}

/// Which servers of several are acceptable (`target_session_attrs`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    Any,
    ReadWrite,
    ReadOnly,
    Primary,
    Standby,
    PreferStandby,
}

impl ConnInfo {
    /// Resolves `text`: a connection string, or just a database name; empty means the defaults.
    ///
    /// # Errors
    /// [`Error::Config`] for what libpq refuses, and for an `sslmode` of `allow` or `prefer` to a host that is not this one,
    /// as anyone in between could turn the encryption off unseen.
    pub fn resolve(text: &str, environment: &Environment) -> Result<ConnInfo, Error> {
        ConnInfo::over(Settings::new(), text, environment)
    }

    /// Resolves `text` as psql does with flags beside it: a connection string overrides them.
    fn over(mut flags: Settings, text: &str, environment: &Environment) -> Result<ConnInfo, Error> {
        let mut warnings = Vec::new();
        if is_connection_string(text) {
            let parsed = parse::parse(text)?;
            if parsed.get("password").is_some_and(|password| !password.is_empty()) {
                warnings
                    .push("the connection string holds a password, which ps(1) shows to everyone: put it into ~/.pgpass".into());
            }
            flags.extend(parsed);
        } else if !text.is_empty() {
            flags.insert("dbname", text.into());
        }
        ConnInfo::complete(flags, environment, warnings)
    }

    fn complete(mut settings: Settings, environment: &Environment, warnings: Vec<String>) -> Result<ConnInfo, Error> {
        let service = settings.get("service").cloned().or_else(|| environment.var("PGSERVICE"));
        if let Some(service) = service {
            service::apply(&service, &mut settings, environment)?;
        }
        for (keyword, variable) in KEYWORDS {
            if let Some(value) = variable.filter(|_| !settings.contains_key(keyword)).and_then(|name| environment.var(name)) {
                settings.insert(keyword, value);
            }
        }
        if environment.var("PGREQUIRESSL").is_some_and(|value| value.starts_with('1')) {
            settings.entry("sslmode").or_insert_with(|| "require".into());
        }
        if filled(&settings, "user").is_none() {
            let user = environment.user().ok_or_else(|| Error::config("no user name: give one with -U or PGUSER"))?;
            settings.insert("user", user.into());
        }
        ConnInfo::build(settings, environment.home(), warnings)
    }

    fn build(settings: Settings, home: Option<&Path>, mut warnings: Vec<String>) -> Result<ConnInfo, Error> {
        if let Some((keyword, _)) = settings.iter().find(|(_, value)| value.contains('\0')) {
            return Err(Error::config(format!("connection option \"{keyword}\" holds a zero byte")));
        }
        let user = filled(&settings, "user").unwrap_or_default().to_owned();
        let database = filled(&settings, "dbname").unwrap_or(&user).to_owned();
        let ssl = SslSettings::from_settings(&settings, home)?;
        let mut hosts = hosts(&settings)?;
        let passfile = filled(&settings, "passfile").map(PathBuf::from).or_else(|| home.map(|home| home.join(".pgpass")));
        for host in &mut hosts {
            host.ssl_mode = ssl.mode_for(&host.address)?;
            host.password = filled(&settings, "password").map(Into::into);
            if let (None, Some(passfile)) = (&host.password, &passfile) {
                let (name, port) = (host.address.passfile_name(), host.port.to_string());
                let entry = Entry { host: &name, port: &port, database: &database, user: &user };
                match passfile::lookup(passfile, entry) {
                    Ok(password) => host.password = password.filter(|password| !password.is_empty()),
                    Err(warning) if warnings.contains(&warning) => {}
                    Err(warning) => warnings.push(warning),
                }
            }
        }
        let conn = ConnInfo { settings, hosts, user, database, ssl, home: home.map(Into::into), warnings };
        conn.check()?;
        Ok(conn)
    }

    /// The same connection to another database of the same server. `~/.pgpass` is asked again.
    ///
    /// # Errors
    /// [`Error::Config`], as for [`ConnInfo::resolve`].
    pub fn with_database(&self, database: &str) -> Result<ConnInfo, Error> {
        self.with(&[("dbname", database)])
    }

    /// The same connection with some settings replaced.
    pub(crate) fn with(&self, replaced: &[(&'static str, &str)]) -> Result<ConnInfo, Error> {
        let mut settings = self.settings.clone();
        settings.extend(replaced.iter().map(|(keyword, value)| (*keyword, (*value).to_owned())));
        ConnInfo::build(settings, self.home.as_deref(), self.warnings.clone())
    }

    /// The same connection to one of its hosts only, at the address where it was reached.
    pub(crate) fn pinned(&self, host: &Host, address: Option<IpAddr>) -> ConnInfo {
        let mut pinned = self.clone();
        let mut host = host.clone();
        let (name, hostaddr) = match &mut host.address {
            Address::Socket(directory) => (directory.display().to_string(), String::new()),
            Address::Tcp { name, address: known } => {
                *known = known.or(address);
                (name.clone().unwrap_or_default(), known.map(|address| address.to_string()).unwrap_or_default())
            }
        };
        pinned.settings.insert("host", name);
        pinned.settings.insert("hostaddr", hostaddr);
        pinned.settings.insert("port", host.port.to_string());
        pinned.hosts = vec![host];
        pinned
    }

    /// The places to try, in order; at least one.
    pub fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    /// The role to connect as.
    pub fn user(&self) -> &str {
        &self.user
    }

    /// The database to connect to.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// What the user should be told: a password on the command line, a password file that is ignored.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    pub(crate) fn ssl(&self) -> &SslSettings {
        &self.ssl
    }

    /// The name that pg_stat_activity shows, `usual` unless something else is said; an empty one says none.
    pub(crate) fn application_name<'a>(&'a self, usual: &'a str) -> &'a str {
        self.word("application_name", self.word("fallback_application_name", usual))
    }

    /// A setting that is there and not empty.
    pub(crate) fn setting(&self, keyword: &str) -> Option<&str> {
        filled(&self.settings, keyword)
    }

    /// One of a few words: unlike elsewhere, an empty value is not the default but wrong.
    fn word<'a>(&'a self, keyword: &str, default: &'a str) -> &'a str {
        self.settings.get(keyword).map_or(default, String::as_str)
    }

    /// How long connecting to one address may take; none for ever. As libpq: 0 is for ever, 1 means 2.
    pub(crate) fn connect_timeout(&self) -> Option<Duration> {
        let seconds = self.number("connect_timeout").unwrap_or(None).filter(|seconds| *seconds > 0)?;
        Some(Duration::from_secs(seconds.max(2).unsigned_abs().into()))
    }

    /// A whole number, where it is set.
    pub(crate) fn number(&self, keyword: &str) -> Result<Option<i32>, Error> {
        let Some(text) = self.settings.get(keyword) else { return Ok(None) };
        match text.trim().parse() {
            Ok(number) => Ok(Some(number)),
            Err(_) => Err(Error::config(format!("invalid integer value \"{text}\" for connection option \"{keyword}\""))),
        }
    }

    pub(crate) fn target(&self) -> Result<Target, Error> {
        match self.word("target_session_attrs", "any") {
            "any" => Ok(Target::Any),
            "read-write" => Ok(Target::ReadWrite),
            "read-only" => Ok(Target::ReadOnly),
            "primary" => Ok(Target::Primary),
            "standby" => Ok(Target::Standby),
            "prefer-standby" => Ok(Target::PreferStandby),
            other => Err(Error::config(format!("invalid target_session_attrs value: \"{other}\""))),
        }
    }

    /// Refuses now what would otherwise be found out in the middle of connecting.
    fn check(&self) -> Result<(), Error> {
        for keyword in
            ["connect_timeout", "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout"]
        {
            self.number(keyword)?;
        }
        self.target()?;
        match self.word("gssencmode", "prefer") {
            "disable" | "prefer" => {}
            "require" => return Err(Error::config("gssencmode \"require\": GSSAPI is not supported here")),
            other => return Err(Error::config(format!("invalid gssencmode value: \"{other}\""))),
        }
        match self.word("load_balance_hosts", "disable") {
            "disable" | "random" => Ok(()),
            other => Err(Error::config(format!("invalid load_balance_hosts value: \"{other}\""))),
        }
    }
}

impl std::fmt::Debug for ConnInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let places: Vec<_> = self.hosts.iter().map(|host| format!("{} port {}", host.address, host.port)).collect();
        f.debug_struct("ConnInfo")
            .field("hosts", &places)
            .field("user", &self.user)
            .field("database", &self.database)
            .finish_non_exhaustive()
    }
}

impl Host {
    /// What is asked of TLS to this place: libpq's `sslmode`, as `verify-full`.
    pub fn sslmode(&self) -> &'static str {
        self.ssl_mode.name()
    }
}

impl Address {
    /// The name that the password file knows it by.
    fn passfile_name(&self) -> String {
        match self {
            Address::Socket(directory) => directory.display().to_string(),
            Address::Tcp { name: Some(name), .. } => name.clone(),
            Address::Tcp { address, .. } => address.map(|address| address.to_string()).unwrap_or_default(),
        }
    }

    /// Whether nobody can be in between: a Unix socket, or this host itself.
    pub fn is_local(&self) -> bool {
        match self {
            Address::Socket(_) => true,
            Address::Tcp { address: Some(address), .. } => address.is_loopback(),
            Address::Tcp { name: Some(name), .. } => {
                name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
            }
            Address::Tcp { .. } => false,
        }
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.passfile_name())
    }
}

/// The value of a setting, if there is one that is not empty.
fn filled<'a>(settings: &'a Settings, keyword: &str) -> Option<&'a str> {
    settings.get(keyword).map(String::as_str).filter(|value| !value.is_empty())
}

/// Where servers put their socket unless told otherwise: Debian and Red Hat, then PostgreSQL itself.
fn default_socket_dirs() -> [&'static str; 2] {
    ["/var/run/postgresql", "/tmp"]
}

/// The default directory that has a socket of this port, or else the first of them.
fn default_socket_dir(port: u16) -> PathBuf {
    let has_socket = |directory: &&str| Path::new(directory).join(format!(".s.PGSQL.{port}")).exists();
    default_socket_dirs().into_iter().find(has_socket).unwrap_or(default_socket_dirs()[0]).into()
}

/// Pairs up `host`, `hostaddr` and `port`, each a comma-separated list.
fn hosts(settings: &Settings) -> Result<Vec<Host>, Error> {
    let list = |keyword| filled(settings, keyword).map(|text| text.split(',').collect::<Vec<_>>());
    let (names, addresses) = (list("host"), list("hostaddr"));
    let count = addresses.as_ref().or(names.as_ref()).map_or(1, Vec::len);
    if let Some(names) = names.as_ref().filter(|names| names.len() != count) {
        return Err(Error::config(format!("could not match {} host names to {count} hostaddr values", names.len())));
    }
    let ports = list("port").unwrap_or_else(|| vec![DEFAULT_PORT]);
    if ports.len() != 1 && ports.len() != count {
        return Err(Error::config(format!("could not match {} port numbers to {count} hosts", ports.len())));
    }
    (0..count)
        .map(|at| {
            let port = port(if ports.len() == 1 { ports[0] } else { ports[at] })?;
            let pick = |list: &Option<Vec<&str>>| list.as_ref().map(|list| list[at].to_owned()).filter(|text| !text.is_empty());
            let address = address(pick(&names), pick(&addresses), port)?;
            Ok(Host { address, port, password: None, ssl_mode: SslMode::Disable })
        })
        .collect()
}

fn address(name: Option<String>, hostaddr: Option<String>, port: u16) -> Result<Address, Error> {
    match (name, hostaddr) {
        (name, Some(text)) => match text.parse() {
            Ok(address) => Ok(Address::Tcp { name, address: Some(address) }),
            Err(_) => Err(Error::config(format!("could not parse network address \"{text}\""))),
        },
        (Some(name), None) if name.starts_with(['/', '@']) => Ok(Address::Socket(name.into())),
        (Some(name), None) => Ok(Address::Tcp { name: Some(name), address: None }),
        (None, None) => Ok(Address::Socket(default_socket_dir(port))),
    }
}

fn port(text: &str) -> Result<u16, Error> {
    let text = if text.is_empty() { DEFAULT_PORT } else { text };
    match text.trim().parse::<i64>() {
        Ok(port @ 1..=65535) => Ok(u16::try_from(port).expect("in range")),
        Ok(_) => Err(Error::config(format!("invalid port number: \"{text}\""))),
        Err(_) => Err(Error::config(format!("invalid integer value \"{text}\" for connection option \"port\""))),
    }
}
