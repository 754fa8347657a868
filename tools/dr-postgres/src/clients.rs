//! Which pg_dump, pg_restore, psql fit a server? Found as Debian's wrapper does: by the server's major version.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::Command;

use dr_pipe::{Exit, Failure};

/// Directories that are searched before all others, colon-separated.
const EXTRA_DIRS: &str = "DR_PG_BINDIRS";

/// Where packages put the programs of one major version, as `{}`: Debian, PGDG for Red Hat, Homebrew (Apple, Intel, Linux),
/// Postgres.app, FreeBSD ports and plain builds.
const DIRS: [&str; 7] = [
    "/usr/lib/postgresql/{}/bin",
    "/usr/pgsql-{}/bin",
    "/opt/homebrew/opt/postgresql@{}/bin",
    "/usr/local/opt/postgresql@{}/bin",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@{}/bin",
    "/Applications/Postgres.app/Contents/Versions/{}/bin",
    "/usr/local/pgsql-{}/bin",
];

/// What Debian has in the package of the server; all else is in that of the client.
const SERVER_PROGRAMS: [&str; 4] = ["initdb", "pg_controldata", "pg_ctl", "postgres"];

/// The majors whose directories are looked into.
const MAJORS: RangeInclusive<u32> = 9..=30;

/// A client program of PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// Where it is.
    pub path: PathBuf,
    /// Its version.
    pub version: Version,
}

/// A version of PostgreSQL from 10 on: major and minor. Pre-releases have minor 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    /// 15 of 15.18.
    pub major: u32,
    /// 18 of 15.18.
    pub minor: u32,
}

/// The client programs of one installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Clients {
    /// pg_dump.
    pub pg_dump: Client,
    /// pg_dumpall.
    pub pg_dumpall: Client,
    /// pg_restore.
    pub pg_restore: Client,
    /// psql.
    pub psql: Client,
}

/// A flaw of a client program that the dump it reads, or the server it dumps, can use to run code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// Its name: `CVE-2025-8714`.
    pub name: &'static str,
    /// What an attacker can do.
    pub what: &'static str,
    /// The programs that have it.
    programs: &'static [&'static str],
    /// The first minor version of each major without it; majors below the lowest keep it, majors above the highest never had it.
    fixed: &'static [Version],
}

const fn version(major: u32, minor: u32) -> Version {
    Version { major, minor }
}

/// The flaws that matter to whoever restores a dump.
const FLAWS: [Flaw; 4] = [
    Flaw {
        name: "CVE-2025-8714",
        what: "a malicious superuser of the dumped server runs commands on the restoring host through psql meta-commands",
        programs: &["pg_dump", "pg_dumpall", "pg_restore", "psql"],
        fixed: &[version(13, 22), version(14, 19), version(15, 14), version(16, 10), version(17, 6), version(18, 0)],
    },
    Flaw {
        name: "CVE-2025-8715",
        what: "line breaks in object names of the dumped server run commands or SQL where the dump is restored",
        programs: &["pg_dump", "pg_dumpall", "pg_restore", "psql"],
        fixed: &[version(13, 22), version(14, 19), version(15, 14), version(16, 10), version(17, 6), version(18, 0)],
    },
    Flaw {
        name: "CVE-2026-18408",
        what: "a plain dump gets out of psql's \\restrict and runs commands on the restoring host",
        programs: &["psql"],
        fixed: &[version(14, 24), version(15, 19), version(16, 15), version(17, 11), version(18, 6)],
    },
    Flaw {
        name: "CVE-2026-116314",
        what: "a crafted archive makes pg_restore run code",
        programs: &["pg_restore"],
        fixed: &[version(14, 25), version(15, 20), version(16, 16), version(17, 12), version(18, 7)],
    },
];

impl Clients {
    /// The programs to dump a server of `server_version` (as 150018) with: those beside `pg_dump` where one is named, else
    /// those of the server's major version, else of the lowest newer one.
    ///
    /// # Errors
    /// 78 where there are none, or the named one is older than the server.
    pub fn find_for_dump(server_version: u32, pg_dump: Option<&Path>) -> Result<Clients, Failure> {
        let major = server_version / 10_000;
        if let Some(path) = pg_dump {
            let pg_dump = Client::at(path)?;
            if pg_dump.version.major < major {
                let message = format!("{pg_dump} is older than the server, a PostgreSQL {major}, and would refuse it");
                return Err(Failure::new(Exit::Config, message, format!("name a pg_dump of version {major} with --pg-dump")));
            }
            let directory = path.parent().unwrap_or(Path::new("")).to_owned();
            return Clients::beside(pg_dump, &directory);
        }
        let pg_dump = Client::find("pg_dump", major)?;
        let directory = pg_dump.path.parent().unwrap_or(Path::new("")).to_owned();
        Clients::beside(pg_dump, &directory)
    }

    /// The other programs of the directory that a pg_dump is in.
    fn beside(pg_dump: Client, directory: &Path) -> Result<Clients, Failure> {
        let sibling = |name: &str| Client::at(&directory.join(name));
        Ok(Clients { pg_dumpall: sibling("pg_dumpall")?, pg_restore: sibling("pg_restore")?, psql: sibling("psql")?, pg_dump })
    }
}

impl Client {
    /// The program at `path`, which must say what PostgreSQL version it is; a name without a slash is looked up in `$PATH`.
    ///
    /// # Errors
    /// 78 where it cannot be run, or is something else.
    pub fn at(path: &Path) -> Result<Client, Failure> {
        let wrong = |what: &dyn fmt::Display| {
            Failure::new(
                Exit::Config,
                format!("{}: {what}", path.display()),
                "name a client program of PostgreSQL, or install its package",
            )
        };
        let output = Command::new(path).arg("--version").output().map_err(|error| wrong(&error))?;
        let said = String::from_utf8_lossy(&output.stdout);
        let version = Version::parse(&said).filter(|_| output.status.success());
        let version = version.ok_or_else(|| wrong(&format!("its --version says {:?}", said.trim_end())))?;
        Ok(Client { path: path.into(), version })
    }

    /// The program `name` (psql, pg_restore, …) of exactly this major version, or else of the lowest newer one.
    ///
    /// # Errors
    /// 78 where there is none.
    pub fn find(name: &str, major: u32) -> Result<Client, Failure> {
        let found = installed(name, major..=*MAJORS.end(), Some(major));
        match found.range(major..).next() {
            Some((_, client)) => Ok(client.clone()),
            None => Err(none(name, major, &installed(name, MAJORS, None))),
        }
    }

    /// The newest program `name` that is installed: what reads archives of every version.
    ///
    /// # Errors
    /// 78 where there is none.
    pub fn newest(name: &str) -> Result<Client, Failure> {
        let found = installed(name, MAJORS, None);
        found.values().next_back().cloned().ok_or_else(|| none(name, 0, &found))
    }

    /// Whether this psql knows `\restrict`: minor versions of August 2025 and later, and all newer majors.
    pub fn restricts(&self) -> bool {
        FLAWS.iter().filter(|flaw| flaw.name == "CVE-2025-8714").all(|flaw| !flaw.is_in(self.version))
    }

    /// The known flaws of this program, by its name and version, that let a dump run code.
    pub fn known_flaws(&self) -> Vec<Flaw> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy();
        FLAWS.into_iter().filter(|flaw| flaw.programs.contains(&name.as_ref()) && flaw.is_in(self.version)).collect()
    }
}

impl Flaw {
    /// Whether programs of this version have the flaw.
    fn is_in(&self, version: Version) -> bool {
        match self.fixed.iter().find(|fixed| fixed.major >= version.major) {
            Some(fixed) => version < *fixed,
            None => false,
        }
    }
}

impl Version {
    /// Reads what `--version` prints: `pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`.
    pub fn parse(said: &str) -> Option<Version> {
        let (_, rest) = said.split_once("(PostgreSQL) ")?;
        let word = rest.split_whitespace().next()?;
        let mut numbers = word.split(|c: char| !c.is_ascii_digit());
        let major = numbers.next()?.parse().ok()?;
        let minor = if word.contains('.') { numbers.next()?.parse().ok()? } else { 0 };
        Some(Version { major, minor })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.path.display(), self.version)
    }
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.what)
    }
}

/// The program `name` by major version: from `$DR_PG_BINDIRS`, then the places of packages of these `majors`, then `$PATH`.
/// None is looked for once `enough` is found: each has to be run, and Debian's wrappers in `$PATH` are slow to start.
fn installed(name: &str, majors: RangeInclusive<u32>, enough: Option<u32>) -> BTreeMap<u32, Client> {
    let mut found = BTreeMap::new();
    let listed = |variable: &str| {
        std::env::var_os(variable).map(|list| std::env::split_paths(&list).collect::<Vec<_>>()).unwrap_or_default()
    };
    let packaged = majors.flat_map(|major| DIRS.map(|pattern| PathBuf::from(pattern.replace("{}", &major.to_string()))));
    let directories = listed(EXTRA_DIRS).into_iter().chain(packaged).chain(listed("PATH"));
    for path in directories.map(|directory| directory.join(name)).filter(|path| path.is_file()) {
        // One that cannot be run, or is a wrapper without a version of its own, is no candidate.
        if let Ok(client) = Client::at(&path) {
            let major = client.version.major;
            found.entry(major).or_insert(client);
            if enough == Some(major) {
                break;
            }
        }
    }
    found
}

fn none(name: &str, major: u32, found: &BTreeMap<u32, Client>) -> Failure {
    let others: Vec<_> = found.values().map(ToString::to_string).collect();
    let seen = if others.is_empty() { String::new() } else { format!(" (only {})", others.join(", ")) };
    let package = if SERVER_PROGRAMS.contains(&name) { "postgresql" } else { "postgresql-client" };
    let hint = format!("install the package {package}-{major} (apt.postgresql.org has all), or name its directory in {EXTRA_DIRS}");
    Failure::new(Exit::Config, format!("no {name} for a PostgreSQL {major} is installed{seen}"), hint)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn versions_are_read_as_the_programs_print_them() {
        assert_eq!(Version::parse("pg_dump (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"), Some(version(15, 18)));
        assert_eq!(Version::parse("psql (PostgreSQL) 18beta1"), Some(version(18, 0)));
        assert_eq!(Version::parse("psql (PostgreSQL) 19devel\n"), Some(version(19, 0)));
        assert_eq!(Version::parse("GNU bash, version 5.2"), None);
    }

    fn flaws(name: &str, major: u32, minor: u32) -> Vec<&'static str> {
        let client = Client { path: Path::new("/x").join(name), version: version(major, minor) };
        client.known_flaws().iter().map(|flaw| flaw.name).collect()
    }

    #[test]
    fn f77_flaws_are_known_by_program_and_minor_version() {
        assert_eq!(flaws("psql", 15, 13), ["CVE-2025-8714", "CVE-2025-8715", "CVE-2026-18408"]);
        assert_eq!(flaws("psql", 15, 18), ["CVE-2026-18408"]);
        assert_eq!(flaws("psql", 15, 19), Vec::<&str>::new());
        assert_eq!(flaws("pg_restore", 15, 19), ["CVE-2026-116314"]);
        assert_eq!(flaws("pg_restore", 18, 7), Vec::<&str>::new());
        assert_eq!(flaws("pg_restore", 17, 11), ["CVE-2026-116314"]);
        assert_eq!(flaws("pg_dump", 12, 22), ["CVE-2025-8714", "CVE-2025-8715"]);
        assert_eq!(flaws("pg_dump", 13, 22), Vec::<&str>::new());
        assert_eq!(flaws("psql", 13, 99), ["CVE-2026-18408"]);
        assert_eq!(flaws("psql", 19, 0), Vec::<&str>::new());
    }

    #[test]
    fn f60_a_client_older_than_its_server_is_refused() {
        let failure = Clients::find_for_dump(990_000, None).unwrap_err();
        assert_eq!(failure.exit, Exit::Config);
        assert!(failure.message.starts_with("no pg_dump for a PostgreSQL 99 is installed (only "), "{}", failure.message);
        let failure = Clients::find_for_dump(990_000, Some(Path::new("/usr/lib/postgresql/15/bin/pg_dump"))).unwrap_err();
        assert_eq!(failure.exit, Exit::Config);
    }

    #[test]
    fn the_programs_of_the_servers_major_are_found() {
        let clients = Clients::find_for_dump(150_000, None).unwrap();
        assert_eq!(clients.pg_dump.version.major, 15);
        assert_eq!(clients.psql.path, Path::new("/usr/lib/postgresql/15/bin/psql"));
        let again = Clients::find_for_dump(140_000, Some(&clients.pg_dump.path)).unwrap();
        assert_eq!(again, clients);
    }
}
