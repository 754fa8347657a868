//! Would the restore succeed? Everything that is missing on the target is found before anything is written, and told at once.

use std::collections::BTreeSet;

use dr_pipe::{Exit, Failure};
use dr_postgres::about::About;

use crate::server::Facts;

/// Why a thing that is missing matters; the first of a report decides the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cause {
    /// The server is older than the one the backup came from.
    Version,
    /// An extension is not installed on the server's host.
    Extension,
    /// A locale is not known to the server.
    Locale,
    /// The role we connect as may not do what must be done.
    Right,
    /// A role is missing.
    Role,
    /// A tablespace is missing.
    Tablespace,
    /// The data does not fit the server's disk.
    Space,
}

impl Cause {
    fn exit(self) -> Exit {
        match self {
            Cause::Version | Cause::Extension | Cause::Locale => Exit::Config,
            Cause::Right => Exit::Denied,
            Cause::Role | Cause::Tablespace => Exit::Missing,
            Cause::Space => Exit::Io,
        }
    }

    fn hint(self) -> &'static str {
        match self {
            Cause::Version => "restore into a server of the same major version or a newer one",
            Cause::Extension => {
                "install the packages of the extensions on the server's host; --keep-going leaves out what needs them"
            }
            Cause::Locale => "generate the locale on the server's host and restart the server",
            Cause::Right => "connect as a superuser, or grant what is named; --no-owner leaves owners out",
            Cause::Role => "--globals creates the roles of the backup; with --no-owner and --no-privileges fewer are needed",
            Cause::Tablespace => "CREATE TABLESPACE, or --no-tablespaces",
            Cause::Space => "free space on the server, or move its data directory",
        }
    }
}

/// What a restore needs of the server, whatever it is made from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The version of the server the data came from, as 150018; none where nobody knows.
    pub server_version: Option<u32>,
    /// Extensions, each with the version it had, where that is known.
    pub extensions: BTreeSet<(String, Option<String>)>,
    /// Roles that must exist.
    pub roles: BTreeSet<String>,
    /// A role that the database will be given to.
    pub owner: Option<String>,
    /// Tablespaces that must exist.
    pub tablespaces: BTreeSet<String>,
    /// Whether a table forces row security upon its owner, who then cannot read all of its rows, to prove them.
    pub forced_row_security: bool,
    /// Kinds of objects that only a superuser can make.
    pub superuser_objects: BTreeSet<String>,
    /// Bytes of data before compression; none where nobody knows.
    pub data_bytes: Option<u64>,
}

/// What of the backup is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Owners: everything will belong to the role we connect as.
    pub owners: bool,
    /// Rights, and settings of single roles.
    pub privileges: bool,
    /// Tablespaces: everything goes into the default one.
    pub tablespaces: bool,
}

impl Needs {
    /// What a dump of ours needs; `definitions` is what its definitions do.
    pub fn of(about: &About, definitions: &Needs, left_out: LeftOut, data_bytes: u64) -> Needs {
        let mut needs = definitions.clone();
        needs.server_version = Some(about.server.version);
        needs.extensions = about.extensions.iter().map(|it| (it.name.clone(), Some(it.version.clone()))).collect();
        needs.data_bytes = Some(data_bytes);
        // Beside definitions, roles are named by the database's own properties and by large objects.
        if !(left_out.owners && left_out.privileges) {
            needs.roles.extend(about.roles.iter().cloned());
        }
        if !left_out.owners {
            needs.owner = Some(about.properties.owner.clone());
        }
        if !left_out.tablespaces {
            needs.tablespaces.extend(about.tablespaces.iter().cloned());
        }
        needs
    }
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// What keeps the restore from succeeding.
    pub missing: BTreeSet<(Cause, String)>,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// Holds what is needed against what the server has.
pub fn compare(needs: &Needs, facts: &Facts) -> Report {
    let mut report = Report::default();
    version(needs, facts, &mut report);
    extensions(needs, facts, &mut report);
    rights(needs, facts, &mut report);
    for role in needs.roles.difference(&facts.roles) {
        report.missing.insert((Cause::Role, format!("role {role}")));
    }
    for tablespace in needs.tablespaces.difference(&facts.tablespaces) {
        report.missing.insert((Cause::Tablespace, format!("tablespace {tablespace}")));
    }
    if let (Some(needed), Some(free)) = (needs.data_bytes, facts.free_bytes) {
        // How much text a byte on disk holds differs by type and TOAST: only a multiple is a proof.
        if free < needed / 4 {
            report
                .missing
                .insert((Cause::Space, format!("{} MiB of disk for {} MiB of data", (needed - free) >> 20, needed >> 20)));
        } else if free < needed / 10 * 11 {
            report.warnings.push(format!(
                "the server has {} MiB free for {} MiB of data and its indexes",
                free >> 20,
                needed >> 20
            ));
        }
    }
    report
}

fn version(needs: &Needs, facts: &Facts, report: &mut Report) {
    let Some(source) = needs.server_version.map(|version| version / 10_000) else { return };
    let target = facts.version / 10_000;
    if target < source {
        report
            .missing
            .insert((Cause::Version, format!("PostgreSQL {source}, as the backup is from it and the server is {target}")));
    }
}

fn extensions(needs: &Needs, facts: &Facts, report: &mut Report) {
    for (name, version) in &needs.extensions {
        let Some(offered) = facts.extensions.get(name) else {
            let version = version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
            report.missing.insert((Cause::Extension, format!("extension {name}{version}")));
            continue;
        };
        if let Some(version) = version.as_ref().filter(|version| **version != offered.default_version) {
            report.warnings.push(format!("extension {name} was {version} and will be {}", offered.default_version));
        }
        if offered.needs_superuser && !facts.superuser {
            report.missing.insert((Cause::Right, format!("superuser to create extension {name}")));
        }
    }
}

fn rights(needs: &Needs, facts: &Facts, report: &mut Report) {
    if facts.superuser {
        return;
    }
    if !facts.may_create_databases {
        report.missing.insert((Cause::Right, format!("CREATEDB for role {}", facts.user)));
    }
    if needs.forced_row_security && !facts.bypasses_row_security {
        let message =
            format!("BYPASSRLS for role {}, to prove tables that force row security (--no-prove goes without)", facts.user);
        report.missing.insert((Cause::Right, message));
    }
    for kind in &needs.superuser_objects {
        report.missing.insert((Cause::Right, format!("superuser to create {kind}")));
    }
    if let Some(owner) = needs.owner.as_ref().filter(|owner| facts.roles.contains(*owner) && !facts.member_of.contains(*owner)) {
        report.missing.insert((Cause::Right, format!("membership of {} in role {owner}, the owner", facts.user)));
    }
}

impl Report {
    /// Lets a restore that keeps going begin without extensions: the server will refuse what needs them.
    pub fn without_extensions(&mut self) {
        for (_, what) in self.missing.extract_if((Cause::Extension, String::new()).., |(cause, _)| *cause == Cause::Extension) {
            self.warnings.push(format!("{what} is not installed on the server's host: what needs it is left out"));
        }
    }

    /// Nothing, where nothing is missing.
    ///
    /// # Errors
    /// All that is missing in one message; the code of the gravest cause: 78, 77, 66, 74.
    pub fn verdict(&self) -> Result<(), Failure> {
        let Some((gravest, _)) = self.missing.first() else { return Ok(()) };
        let causes: BTreeSet<Cause> = self.missing.iter().map(|(cause, _)| *cause).collect();
        let hints: Vec<_> = causes.iter().map(|cause| cause.hint()).collect();
        let things: Vec<_> = self.missing.iter().map(|(_, what)| what.as_str()).collect();
        let count = if let [_] = things[..] { "1 thing is".to_owned() } else { format!("{} things are", things.len()) };
        let message = format!("{count} missing on the server: {}", things.join("; "));
        Err(Failure::new(gravest.exit(), message, format!("{}; nothing was written", hints.join("; "))))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::room::Room;
    use crate::server::Offered;

    fn set<T: Ord, const N: usize>(items: [T; N]) -> BTreeSet<T> {
        items.into()
    }

    fn facts() -> Facts {
        Facts {
            version: 150_018,
            user: "me".into(),
            superuser: true,
            bypasses_row_security: false,
            may_create_databases: true,
            roles: set(["me".into(), "owner".into()]),
            member_of: set(["me".into()]),
            tablespaces: set(["fast".into()]),
            extensions: [("citext".into(), Offered { default_version: "1.6".into(), needs_superuser: false })].into(),
            free_bytes: Some(100 << 20),
            room: Room::default(),
        }
    }

    fn needs() -> Needs {
        Needs {
            server_version: Some(150_002),
            extensions: set([("citext".into(), Some("1.6".into()))]),
            roles: set(["owner".into()]),
            owner: Some("owner".into()),
            tablespaces: set(["fast".into()]),
            forced_row_security: false,
            superuser_objects: BTreeSet::new(),
            data_bytes: Some(80 << 20),
        }
    }

    #[test]
    fn a_server_that_has_all_is_good() {
        let report = compare(&needs(), &facts());
        assert_eq!(report, Report::default());
        assert_eq!(report.verdict(), Ok(()));
    }

    #[test]
    fn f80_everything_that_is_missing_is_told_at_once() {
        let needs = Needs {
            server_version: Some(180_000),
            extensions: set([("citext".into(), Some("1.5".into())), ("postgis".into(), Some("3.3".into()))]),
            roles: set(["a".into(), "b".into(), "owner".into()]),
            tablespaces: set(["slow".into()]),
            superuser_objects: set(["event triggers".into()]),
            data_bytes: Some(1000 << 20),
            ..needs()
        };
        let report = compare(&needs, &Facts { superuser: false, may_create_databases: false, ..facts() });
        assert_eq!(report.warnings, ["extension citext was 1.5 and will be 1.6"]);
        let failure = report.verdict().unwrap_err();
        assert_eq!(failure.exit, Exit::Config);
        assert_eq!(
            failure.message,
            "9 things are missing on the server: PostgreSQL 18, as the backup is from it and the server is 15; extension postgis 3.3; \
             CREATEDB for role me; membership of me in role owner, the owner; superuser to create event triggers; role a; role b; \
             tablespace slow; 900 MiB of disk for 1000 MiB of data"
        );
    }

    #[test]
    fn the_gravest_cause_decides_the_exit_code() {
        let exit = |causes: &[Cause]| {
            let missing = causes.iter().map(|cause| (*cause, "x".to_owned())).collect();
            Report { missing, warnings: Vec::new() }.verdict().unwrap_err().exit.code()
        };
        assert_eq!(exit(&[Cause::Role]), 66);
        assert_eq!(exit(&[Cause::Role, Cause::Right]), 77);
        assert_eq!(exit(&[Cause::Locale, Cause::Role, Cause::Right]), 78);
        assert_eq!(exit(&[Cause::Space]), 74);
    }

    #[test]
    fn little_space_is_a_warning_and_far_too_little_a_refusal() {
        let with = |needed: u64| compare(&Needs { data_bytes: Some(needed << 20), ..needs() }, &facts());
        assert!(with(95).warnings.len() == 1 && with(95).missing.is_empty());
        assert!(with(500).missing.len() == 1);
    }
}
