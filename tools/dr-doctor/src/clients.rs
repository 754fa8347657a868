//! Do the client programs of PostgreSQL fit the server, and have they no flaw that a dump can use?

use dr_pipe::Failure;
use dr_pipe::record::State;
use dr_postgres::clients::{Client, Clients};

use crate::args::Role;
use crate::findings::{Finding, Findings, Name};

/// What backups, drills and recoveries run besides the programs of a dump, and for what.
const OTHERS: [(&str, &str); 3] = [
    ("pg_basebackup", "RECOVERY.txt"),
    ("pg_verifybackup", "checking a base with PostgreSQL's own means"),
    ("pg_amcheck", "looking through the indexes of a drill"),
];

/// Looks for the programs of the server's version (as 150018); without a server, for the newest that reads dumps.
pub fn check(version: Option<u32>, role: Role, found: &mut Findings) {
    if !found.want(&[Name::Clients, Name::ClientFlaws]) || !(role.backs_up || role.restores) {
        return;
    }
    let programs = match version {
        Some(version) => of_server(version, found),
        None => ["pg_restore", "psql"].map(Client::newest).into_iter().collect(),
    };
    match programs {
        Err(failure) => found.note(Name::Clients, None, Finding::failed(State::Critical, failure)),
        Ok(programs) => {
            if version.is_none() {
                let newest: Vec<_> = programs.iter().map(ToString::to_string).collect();
                found.note(Name::Clients, None, Finding::ok(newest.join(", ")));
            }
            found.note(Name::ClientFlaws, None, flaws(&programs));
        }
    }
}

/// The programs of a dump, all of one installation; what else is missing is noted.
fn of_server(version: u32, found: &mut Findings) -> Result<Vec<Client>, Failure> {
    let Clients { pg_dump, pg_dumpall, pg_restore, psql } = Clients::find_for_dump(version, None)?;
    let (major, theirs) = (version / 10_000, pg_dump.version.major);
    if theirs == major {
        found.note(Name::Clients, None, Finding::ok(pg_dump.to_string()));
    } else {
        let message = format!("{pg_dump} is newer than the server, a PostgreSQL {major}: its dumps may not load into one like it");
        found.note(Name::Clients, None, Finding::warning(message, format!("apt-get install postgresql-client-{major}")));
    }
    for (name, purpose) in OTHERS {
        if !Client::find(name, major).is_ok_and(|client| client.version.major == major) {
            let message = format!("there is no {name} of version {major}, for {purpose}");
            found.note(Name::Clients, name.to_owned(), Finding::warning(message, format!("apt-get install postgresql-{major}")));
        }
    }
    Ok(vec![pg_dump, pg_dumpall, pg_restore, psql])
}

fn flaws(programs: &[Client]) -> Finding {
    let mut said: Vec<String> = Vec::new();
    for client in programs {
        let named: Vec<_> = client.known_flaws().iter().map(|flaw| flaw.name).collect();
        if !named.is_empty() {
            said.push(format!("{client} has {}", named.join(", ")));
        }
    }
    if said.is_empty() {
        return Finding::ok("no known flaw lets a dump run code");
    }
    let hint = "install the newest minor version of postgresql-client; until then restore only what is signed, by dr-restore";
    Finding::warning(format!("{}: a hostile dump can run code", said.join("; ")), hint)
}
