//! The server that is restored into: a session with its maintenance database, and what it has to offer.

use std::collections::{BTreeMap, BTreeSet};

use dr_pipe::Failure;
use dr_postgres::about::DatabaseProperties;
use dr_postgres::quote::{identifier, literal};
use dr_postgres::{ConnInfo, Error, Session, settings};

use crate::TOOL;
use crate::preflight::Cause;
use crate::room::Room;

/// How often a session that was told to end is looked for, 20 ms apart.
const ENDING_LOOKS: u32 = 100;

/// A server, and a session with a database of it that is neither restored nor replaced.
pub struct Server {
    /// The session.
    pub session: Session,
    /// What the server has to offer.
    pub facts: Facts,
}

/// What a server has to offer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Its version, as 150018.
    pub version: u32,
    /// The role we are.
    pub user: String,
    /// Whether that is a superuser.
    pub superuser: bool,
    /// Whether row security means nothing to it.
    pub bypasses_row_security: bool,
    /// Whether it may create databases.
    pub may_create_databases: bool,
    /// All roles.
    pub roles: BTreeSet<String>,
    /// The roles we may act as.
    pub member_of: BTreeSet<String>,
    /// All tablespaces.
    pub tablespaces: BTreeSet<String>,
    /// The extensions that can be created.
    pub extensions: BTreeMap<String, Offered>,
    /// Free bytes where its data lies; none where that cannot be seen from here.
    pub free_bytes: Option<u64>,
    /// Where it writes, as far as that can be seen from here.
    pub room: Room,
}

/// An extension that can be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offered {
    /// The version that `CREATE EXTENSION` gives.
    pub default_version: String,
    /// Whether only a superuser may create it.
    pub needs_superuser: bool,
}

impl Server {
    /// Connects and asks.
    ///
    /// # Errors
    /// 69 where there is no server, 77 where it lets us not in.
    pub fn connect(conn: &ConnInfo) -> Result<Server, Failure> {
        let mut session = settled(conn)?;
        let facts = facts(&mut session)?;
        Ok(Server { session, facts })
    }

    /// How to reach a database of this very server.
    ///
    /// # Errors
    /// 78 where the name cannot be one.
    pub fn database(&self, name: &str) -> Result<ConnInfo, Failure> {
        Ok(self.session.conninfo().with_database(name)?)
    }

    /// Asks for the roles again, after some were created.
    ///
    /// # Errors
    /// As the server says.
    pub fn look_again(&mut self) -> Result<(), Failure> {
        self.facts = facts(&mut self.session)?;
        Ok(())
    }

    /// Whether databases are made from this one; none where it is not there.
    ///
    /// # Errors
    /// As the server says.
    pub fn is_template(&mut self, name: &str) -> Result<Option<bool>, Failure> {
        let sql = format!("SELECT datistemplate FROM pg_catalog.pg_database WHERE datname = {}", literal(name));
        let rows = self.session.query(&sql)?;
        Ok(rows.iter().next().map(|row| row.flag(0)).transpose()?)
    }

    /// The names of all databases.
    ///
    /// # Errors
    /// As the server says.
    pub fn databases(&mut self) -> Result<BTreeSet<String>, Failure> {
        names(&mut self.session, "SELECT datname FROM pg_catalog.pg_database")
    }

    /// Whether the server knows the locale of a database; what is missing otherwise. Asked for by making a collation of it,
    /// which is taken back.
    ///
    /// # Errors
    /// As the server says, about anything but the locale.
    pub fn knows_locale(&mut self, properties: &DatabaseProperties) -> Result<Option<(Cause, String)>, Failure> {
        let mut wanted = vec![("libc", properties.collate.as_str()), ("libc", properties.ctype.as_str())];
        if let (true, Some(locale)) = (properties.provider == "icu", &properties.locale) {
            wanted.push(("icu", locale));
        }
        for (provider, locale) in wanted {
            let known = format!(
                "SELECT FROM pg_catalog.pg_database WHERE {0} IN (datcollate, datctype, 'C', 'POSIX') AND {1} = 'libc' \
                 UNION ALL SELECT FROM pg_catalog.pg_collation WHERE collprovider = 'c' AND {0} IN (collcollate, collctype) AND {1} = 'libc'",
                literal(locale),
                literal(provider)
            );
            if self.session.query(&known)?.is_empty()
                && let Some(why) = self.refuses_locale(provider, locale)?
            {
                return Ok(Some((Cause::Locale, format!("{provider} locale {locale} ({why})"))));
            }
        }
        Ok(None)
    }

    /// The version of the collation library that a database was made with; none where its locale has none.
    ///
    /// # Errors
    /// As the server says.
    pub fn collation_version(&mut self, database: &str) -> Result<Option<String>, Failure> {
        if self.facts.version < 150_000 {
            return Ok(None);
        }
        let sql = format!("SELECT datcollversion FROM pg_catalog.pg_database WHERE datname = {}", literal(database));
        Ok(self.session.query(&sql)?.iter().next().and_then(|row| row.get(0)).map(str::to_owned))
    }

    fn refuses_locale(&mut self, provider: &str, locale: &str) -> Result<Option<String>, Failure> {
        let probe = format!("CREATE COLLATION pg_temp.dr_probe (provider = {provider}, locale = {})", literal(locale));
        self.session.execute("BEGIN")?;
        let answer = self.session.execute(&probe);
        self.session.execute("ROLLBACK")?;
        match answer {
            Ok(_) => Ok(None),
            Err(Error::Server(error)) => Ok(Some(error.message)),
            Err(error) => Err(error.into()),
        }
    }

    /// Ends the session `pid`, and waits until it has gone: what it was doing is done then, or has been taken back.
    ///
    /// # Errors
    /// As the server says.
    pub fn end_session(session: &mut Session, pid: i32) -> Result<(), Failure> {
        let ended = format!(
            "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity WHERE pid = {pid} AND datname = pg_catalog.current_database()"
        );
        for _ in 0..ENDING_LOOKS {
            if session.query(&ended)?.is_empty() {
                break;
            }
            session.execute("SELECT pg_catalog.pg_sleep(0.02)")?;
        }
        Ok(())
    }

    /// Drops a database, with whoever is connected to it. Its subscriptions, of which no server can get rid otherwise, have
    /// never connected to anybody, and leave nothing behind there.
    ///
    /// # Errors
    /// As the server says.
    pub fn drop_database(session: &mut Session, name: &str) -> Result<(), Failure> {
        let subscriptions = session.query(&format!(
            "SELECT s.subname FROM pg_catalog.pg_subscription s JOIN pg_catalog.pg_database d ON d.oid = s.subdbid WHERE d.datname = {}",
            literal(name)
        ))?;
        if !subscriptions.is_empty() {
            let mut inside = settled(&session.conninfo().with_database(name)?)?;
            for subscription in subscriptions.iter().filter_map(|row| row.get(0)).map(identifier) {
                let statements =
                    ["DISABLE", "SET (slot_name = NONE)"].map(|what| format!("ALTER SUBSCRIPTION {subscription} {what}"));
                for statement in statements.into_iter().chain([format!("DROP SUBSCRIPTION {subscription}")]) {
                    inside.execute(&statement)?;
                }
            }
        }
        session.execute(&format!("DROP DATABASE IF EXISTS {} WITH (FORCE)", identifier(name)))?;
        Ok(())
    }
}

/// A session in which no setting of the role or the database keeps us from making, renaming and dropping databases.
///
/// # Errors
/// 69 where there is no server, 77 where it lets us not in.
pub fn settled(conn: &ConnInfo) -> Result<Session, Failure> {
    let mut session = Session::connect(conn, TOOL)?;
    settings::for_restoring(&mut session)?;
    // Names are read and written as UTF-8, and what is done here is durable when it is done.
    session.execute("SET client_encoding = 'UTF8'; SET synchronous_commit = on")?;
    Ok(session)
}

fn facts(session: &mut Session) -> Result<Facts, Failure> {
    let version = session.server_version();
    let rows =
        session.query("SELECT rolname, rolsuper, rolcreatedb OR rolsuper, rolbypassrls OR rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user")?;
    let role = rows.one()?;
    let (user, superuser, may_create_databases) = (role.text(0)?.to_owned(), role.flag(1)?, role.flag(2)?);
    let bypasses_row_security = role.flag(3)?;
    let room = Room::of(session)?;
    Ok(Facts {
        version,
        user,
        superuser,
        bypasses_row_security,
        may_create_databases,
        roles: names(session, "SELECT rolname FROM pg_catalog.pg_roles")?,
        member_of: names(session, "SELECT rolname FROM pg_catalog.pg_roles WHERE pg_catalog.pg_has_role(oid, 'MEMBER')")?,
        tablespaces: names(session, "SELECT spcname FROM pg_catalog.pg_tablespace")?,
        extensions: extensions(session)?,
        free_bytes: room.free_bytes(),
        room,
    })
}

fn names(session: &mut Session, sql: &str) -> Result<BTreeSet<String>, Failure> {
    Ok(session.query(sql)?.iter().map(|row| Ok(row.text(0)?.to_owned())).collect::<Result<_, Error>>()?)
}

fn extensions(session: &mut Session) -> Result<BTreeMap<String, Offered>, Failure> {
    let trusted = if session.server_version() >= 130_000 { "v.trusted" } else { "false" };
    let rows = session.query(&format!(
        "SELECT e.name, e.default_version, v.superuser AND NOT {trusted} FROM pg_catalog.pg_available_extensions e \
         JOIN pg_catalog.pg_available_extension_versions v ON v.name = e.name AND v.version = e.default_version"
    ))?;
    let offered = rows.iter().map(|row| {
        Ok((row.text(0)?.to_owned(), Offered { default_version: row.text(1)?.to_owned(), needs_superuser: row.flag(2)? }))
    });
    Ok(offered.collect::<Result<_, Error>>()?)
}
