//! The database that is restored into: made under a name of its own, and given the name that was asked for only at the end.

use std::collections::BTreeSet;
use std::time::Duration;

use chrono::{DateTime, Utc};
use dr_pipe::stop::{OnStop, on_stop};
use dr_pipe::{Exit, Failure, warn};
use dr_postgres::quote::{identifier, literal};
use dr_postgres::{ConnInfo, Error, Session};

use crate::TOOL;
use crate::server::{Server, settled};

/// PostgreSQL's limit for a name, in bytes.
const MAX_NAME_BYTES: usize = 63;

/// How long it takes between two looks at who has connected since.
const PAUSE: Duration = Duration::from_millis(50);

/// What becomes of a database that has the name already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// It is in the way.
    Refuse,
    /// It is renamed once the new one is proved, if nobody is connected to it then.
    Swap,
    /// It is renamed once the new one is proved, and whoever is connected to it is cut off.
    SwapAndDisconnect,
}

/// What becomes of a database whose restore failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnFailure {
    /// It is dropped.
    Drop,
    /// It is kept, to be looked at.
    Keep,
}

/// The name under which a database is made: `NAME_restoring_7f3a`.
pub fn working_name(name: &str, random: [u8; 2]) -> String {
    suffixed(name, &format!("_restoring_{}", hex::encode(random)))
}

/// The name under which an old database is kept: `NAME_before_20260125T020000Z`, and `…Z_2` where another restore of the same
/// second has `taken` that.
pub fn kept_name(name: &str, now: DateTime<Utc>, taken: &BTreeSet<String>) -> String {
    let moment = format!("_before_{}", now.format("%Y%m%dT%H%M%SZ"));
    let first = suffixed(name, &moment);
    let later = || (2..).map(|number| suffixed(name, &format!("{moment}_{number}"))).find(|kept| !taken.contains(kept));
    if taken.contains(&first) { later().unwrap_or(first) } else { first }
}

fn suffixed(name: &str, suffix: &str) -> String {
    let mut end = name.len().min(MAX_NAME_BYTES - suffix.len());
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &name[..end])
}

/// Refuses a name that is taken, and tells of what earlier restores left behind.
///
/// # Errors
/// 64 for a name that cannot be one, 73 where it is taken and not to be swapped, 80 where it is a template.
pub fn is_free(server: &mut Server, name: &str, existing: Existing) -> Result<(), Failure> {
    if name.is_empty() || name.len() > MAX_NAME_BYTES {
        let message = format!("a database name has 1 to {MAX_NAME_BYTES} bytes, {name:?} has {}", name.len());
        return Err(Failure::new(Exit::Usage, message, "choose another name for --into"));
    }
    let databases = server.databases()?;
    for leftover in databases.iter().filter(|database| is_working_name(database)) {
        warn(
            TOOL,
            format!(
                "database {leftover} is left by another restore: it runs still, was killed, or could not give it its name; look before you drop it"
            ),
        );
    }
    if !databases.contains(name) {
        return Ok(());
    }
    if existing == Existing::Refuse {
        return Err(taken(name));
    }
    if server.is_template(name)? == Some(true) {
        return Err(Failure::new(
            Exit::Refused,
            format!("database {name} is a template: the server makes new databases from it"),
            "choose another name with --into; or ALTER DATABASE ... IS_TEMPLATE false, where it is your own; it was left as it is",
        ));
    }
    if server.session.conninfo().database() == name {
        return Err(Failure::new(
            Exit::Usage,
            format!("we are connected to database {name} ourselves, so that it cannot be swapped"),
            "name another database with --maintenance-db; it was left as it is",
        ));
    }
    let sessions = connected(&mut server.session, name)?;
    if existing == Existing::Swap && sessions > 0 {
        warn(TOOL, format!("sessions connected to {name}: {sessions}; it cannot be swapped unless they have gone by then"));
    }
    Ok(())
}

fn taken(name: &str) -> Failure {
    Failure::new(
        Exit::Exists,
        format!("database {name} exists already"),
        "choose another name with --into, or --swap to restore beside it and then rename both; it was left as it is",
    )
}

fn is_working_name(name: &str) -> bool {
    name.rsplit_once("_restoring_")
        .is_some_and(|(_, hex)| hex.len() == 4 && hex.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)))
}

fn connected(session: &mut Session, name: &str) -> Result<u64, Failure> {
    let sql = format!(
        "SELECT count(*) FROM pg_catalog.pg_stat_activity WHERE datname = {} AND backend_type = 'client backend'",
        literal(name)
    );
    Ok(session.query(&sql)?.one()?.parse(0)?)
}

fn disconnect(session: &mut Session, name: &str) -> Result<(), Error> {
    session.execute(&format!(
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE datname = {}",
        literal(name)
    ))?;
    Ok(())
}

/// A database that is being made. Until [`HalfMade::complete`] it is dropped again when anything fails or a signal comes.
pub struct HalfMade {
    /// Its name for now.
    pub name: String,
    /// How to reach it.
    pub conn: ConnInfo,
    maintenance: ConnInfo,
    on_failure: OnFailure,
    _on_stop: Option<OnStop>,
}

impl HalfMade {
    /// Creates it, with the statement that `creation` gives for its name.
    ///
    /// # Errors
    /// As the server says; nothing is left then.
    pub fn create(server: &mut Server, name: String, on_failure: OnFailure, creation: &str) -> Result<Self, Failure> {
        let conn = server.database(&name)?;
        let maintenance = server.session.conninfo().clone();
        let creator = server.session.backend_pid();
        let _on_stop = (on_failure == OnFailure::Drop).then(|| {
            let (name, maintenance) = (name.clone(), maintenance.clone());
            on_stop(move || {
                let dropped = settled(&maintenance).and_then(|mut session| {
                    // The server may still be creating it, and would go on with that after we have gone.
                    Server::end_session(&mut session, creator)?;
                    Server::drop_database(&mut session, &name)
                });
                if let Err(failure) = dropped {
                    warn(TOOL, format!("the half-made database {name} could not be dropped: {}", failure.message));
                }
            })
        });
        server
            .session
            .execute(creation)
            .map_err(|error| Failure::from(error.within(format!("creating database {name}"))).leaving("nothing was restored"))?;
        Ok(HalfMade { name, conn, maintenance, on_failure, _on_stop })
    }

    /// Does `work` and gives what it gave, with a database that is whole.
    ///
    /// # Errors
    /// What `work` failed with, and what state was left.
    pub fn complete<T>(self, work: impl FnOnce(&Self) -> Result<T, Failure>) -> Result<(Whole, T), Failure> {
        match work(&self) {
            Ok(done) => Ok((Whole { name: self.name, conn: self.conn, _on_stop: self._on_stop }, done)),
            Err(failure) => Err(self.abandon(failure)),
        }
    }

    /// Cuts off every session of this database, so that whoever waits for one of them goes on.
    ///
    /// # Errors
    /// As the server says.
    pub fn disconnect_all(&self) -> Result<(), Failure> {
        self.disconnect_by(&mut self.executioner()?)
    }

    /// A session that can cut off those of this database at once.
    ///
    /// # Errors
    /// As the server says.
    pub fn executioner(&self) -> Result<Session, Failure> {
        settled(&self.maintenance)
    }

    /// As [`HalfMade::disconnect_all`], by a session that is there.
    ///
    /// # Errors
    /// As the server says.
    pub fn disconnect_by(&self, executioner: &mut Session) -> Result<(), Failure> {
        Ok(disconnect(executioner, &self.name)?)
    }

    fn abandon(self, failure: Failure) -> Failure {
        let name = &self.name;
        if self.on_failure == OnFailure::Keep {
            return failure.leaving(format!("the half-made database {name} was kept"));
        }
        let dropped = settled(&self.maintenance).and_then(|mut session| Server::drop_database(&mut session, name));
        match dropped {
            Ok(()) => failure.leaving("the half-made database was dropped"),
            Err(why) => failure.leaving(format!("the half-made database {name} may be left ({})", why.message)),
        }
    }
}

/// A database that holds all it should; it still has its working name. A signal drops it still.
pub struct Whole {
    /// Its name for now.
    pub name: String,
    /// How to reach it.
    pub conn: ConnInfo,
    _on_stop: Option<OnStop>,
}

impl Whole {
    /// Gives it the name `name`. Where that is taken and to be swapped, the old database gets the name `kept`, in the same
    /// transaction; then that name is returned.
    ///
    /// # Errors
    /// 73 where the name is taken, 75 where somebody is connected. Both databases are left as they are then, and the hint
    /// says how to finish by hand.
    pub fn rename(self, server: &mut Server, name: &str, existing: Existing, kept: &str) -> Result<Option<String>, Failure> {
        let working = self.name.clone();
        let in_the_way = server.databases()?.contains(name);
        let renamed = match (in_the_way, existing) {
            (true, Existing::Refuse) => Err(taken(name)),
            (false, _) => rename(&mut server.session, &working, name).map_err(Failure::from).map(|()| None),
            (true, _) => swap(server, &working, name, existing, kept).map(|()| Some(kept.to_owned())),
        };
        renamed.map_err(|failure| failure.leaving(format!("the restored database is complete, and is kept as {working}")))
    }
}

fn rename(session: &mut Session, from: &str, to: &str) -> Result<(), Error> {
    session.execute(&format!("ALTER DATABASE {} RENAME TO {}", identifier(from), identifier(to)))?;
    Ok(())
}

/// Both renames in one transaction: whoever connects meanwhile waits for its end, and a failure leaves both names alone.
fn swap(server: &mut Server, working: &str, name: &str, existing: Existing, kept: &str) -> Result<(), Failure> {
    let renames = |session: &mut Session| -> Result<(), Error> {
        session.execute("BEGIN")?;
        let done = rename(session, name, kept).and_then(|()| rename(session, working, name));
        session.execute(if done.is_ok() { "COMMIT" } else { "ROLLBACK" })?;
        done
    };
    let done = if existing == Existing::SwapAndDisconnect {
        let mut executioner = settled(server.session.conninfo())?;
        while_disconnecting(&mut executioner, name, || renames(&mut server.session))
    } else {
        renames(&mut server.session)
    };
    done.map_err(|error| match error.sqlstate() {
        Some("55006") => Failure::new(
            Exit::Busy,
            format!("others are connected to {name}, so that it cannot be renamed"),
            format!(
                "end their sessions, then: BEGIN; ALTER DATABASE {0} RENAME TO {1}; ALTER DATABASE {2} RENAME TO {0}; COMMIT (or use --disconnect next time)",
                identifier(name),
                identifier(kept),
                identifier(working)
            ),
        ),
        _ => Failure::from(error),
    })
}

/// Does `work` while every session of the database `name` is cut off again and again: the rename waits up to five seconds
/// for sessions to go, and lets no new ones in meanwhile.
fn while_disconnecting<T>(executioner: &mut Session, name: &str, work: impl FnOnce() -> T) -> T {
    let (done, wait) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Should this fail, the rename will say that others are connected.
            while disconnect(executioner, name).is_ok()
                && wait.recv_timeout(PAUSE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
            {}
        });
        let worked = work();
        drop(done);
        worked
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use dr_postgres::Environment;

    use super::*;

    #[test]
    fn names_fit_and_are_cut_at_letters() {
        assert_eq!(working_name("shop", [0x7f, 0x3a]), "shop_restoring_7f3a");
        assert!(is_working_name("shop_restoring_7f3a") && !is_working_name("shop_restoring_now") && !is_working_name("shop"));
        let long = working_name(&"é".repeat(31), [0, 0]);
        assert_eq!(long, format!("{}_restoring_0000", "é".repeat(24)));
        let now = DateTime::from_timestamp(1_769_306_400, 0).unwrap_or_default();
        let mut taken = BTreeSet::from(["shop".to_owned()]);
        for kept in ["shop_before_20260125T020000Z", "shop_before_20260125T020000Z_2", "shop_before_20260125T020000Z_3"] {
            assert_eq!(kept_name("shop", now, &taken), kept);
            taken.insert(kept.to_owned());
        }
        assert_eq!(kept_name(&"x".repeat(63), now, &taken).len(), 63);
    }

    #[test]
    fn a_swap_whose_second_rename_fails_leaves_both_names_as_they_were() {
        for major in dr_testing::postgres::usual_majors() {
            let postgres = dr_testing::postgres::Server::start(major);
            postgres.psql("postgres", "CREATE DATABASE shop; CREATE DATABASE shop_restoring_0000");
            let conn = ConnInfo::resolve(&postgres.conninfo("postgres"), &Environment::default()).unwrap();
            let mut server = Server::connect(&conn).unwrap();
            let in_use = Session::connect(&server.database("shop_restoring_0000").unwrap(), TOOL).unwrap();
            let names = |server: &mut Server| {
                server.databases().unwrap().into_iter().filter(|name| name.starts_with("shop")).collect::<Vec<_>>()
            };
            let whole = |server: &Server| Whole {
                name: "shop_restoring_0000".into(),
                conn: server.database("shop_restoring_0000").unwrap(),
                _on_stop: None,
            };
            let failure = whole(&server).rename(&mut server, "shop", Existing::SwapAndDisconnect, "shop_before").unwrap_err();
            assert_eq!(failure.exit, Exit::Busy, "{}", failure.message);
            assert_eq!(names(&mut server), ["shop", "shop_restoring_0000"]);
            drop(in_use);
            let kept = whole(&server).rename(&mut server, "shop", Existing::Swap, "shop_before").unwrap();
            assert_eq!(
                (kept.as_deref(), names(&mut server)),
                (Some("shop_before"), vec!["shop".to_owned(), "shop_before".to_owned()])
            );
        }
    }
}
