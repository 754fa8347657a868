//! What kind of server and database is this? The facts that a dump carries along in `about.json`.

use dr_pipe::Failure;

use crate::about::{DatabaseProperties, DatabaseSetting, ExtensionFacts, Grant, ServerFacts};
use crate::wire::Session;

/// The server's facts.
///
/// # Errors
/// As the server says.
pub fn facts(session: &mut Session) -> Result<ServerFacts, Failure> {
    let rows = session.query(
        "SELECT pg_catalog.current_setting('server_version'), pg_catalog.pg_is_in_recovery(), \
         pg_catalog.has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')",
    )?;
    let row = rows.iter().next();
    let text = |column| row.as_ref().and_then(|row| row.get(column)).unwrap_or_default().to_owned();
    let may_ask = text(2) == "t";
    let identifier =
        if may_ask { column(session, "SELECT system_identifier FROM pg_catalog.pg_control_system()")?.pop() } else { None };
    Ok(ServerFacts {
        version: session.server_version(),
        version_text: text(0),
        system_identifier: identifier,
        standby: text(1) == "t",
    })
}

/// What `CREATE DATABASE` and `ALTER DATABASE` must say to make this database anew.
///
/// # Errors
/// As the server says.
pub fn properties(session: &mut Session) -> Result<DatabaseProperties, Failure> {
    let version = session.server_version();
    let provider = if version >= 150_000 { "d.datlocprovider" } else { "'c'" };
    let locale = if version >= 170_000 {
        "d.datlocale"
    } else if version >= 150_000 {
        "d.daticulocale"
    } else {
        "NULL"
    };
    let rules = if version >= 160_000 { "d.daticurules" } else { "NULL" };
    let collation = if version >= 150_000 { "d.datcollversion" } else { "NULL" };
    let rows = session.query(&format!(
        "SELECT r.rolname, pg_catalog.pg_encoding_to_char(d.encoding), d.datcollate, d.datctype, {provider}, {locale}, {rules}, {collation}, \
         CASE WHEN t.spcname <> 'pg_default' THEN t.spcname END, d.datconnlimit, pg_catalog.shobj_description(d.oid, 'pg_database'), d.datacl IS NOT NULL \
         FROM pg_catalog.pg_database d JOIN pg_catalog.pg_roles r ON r.oid = d.datdba JOIN pg_catalog.pg_tablespace t ON t.oid = d.dattablespace \
         WHERE d.datname = pg_catalog.current_database()"
    ))?;
    let row = rows.iter().next();
    let option = |column| row.as_ref().and_then(|row| row.get(column)).map(str::to_owned);
    let text = |column| option(column).unwrap_or_default();
    let provider = match text(4).as_str() {
        "i" => "icu",
        "b" => "builtin",
        _ => "libc",
    };
    let grants = if text(11) == "t" { Some(grants(session)?) } else { None };
    Ok(DatabaseProperties {
        owner: text(0),
        encoding: text(1),
        collate: text(2),
        ctype: text(3),
        provider: provider.into(),
        locale: option(5),
        icu_rules: option(6),
        collation_version: option(7),
        tablespace: option(8),
        connection_limit: text(9).parse().unwrap_or(-1),
        comment: option(10),
        settings: settings(session)?,
        grants,
    })
}

fn grants(session: &mut Session) -> Result<Vec<Grant>, Failure> {
    let rows = session.query(
        "SELECT r.rolname, a.privilege_type, a.is_grantable FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a \
         LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee WHERE d.datname = pg_catalog.current_database() ORDER BY 1, 2",
    )?;
    let grant = rows.iter().map(|row| Grant {
        grantee: row.get(0).map(str::to_owned),
        privilege: row.get(1).unwrap_or_default().to_owned(),
        grantable: row.get(2) == Some("t"),
    });
    Ok(grant.collect())
}

fn settings(session: &mut Session) -> Result<Vec<DatabaseSetting>, Failure> {
    let rows = session.query(
        "SELECT r.rolname, pg_catalog.split_part(c.config, '=', 1), pg_catalog.substr(c.config, pg_catalog.strpos(c.config, '=') + 1) \
         FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase AND d.datname = pg_catalog.current_database() \
         LEFT JOIN pg_catalog.pg_roles r ON r.oid = s.setrole CROSS JOIN pg_catalog.unnest(s.setconfig) AS c(config) ORDER BY 1 NULLS FIRST, 2",
    )?;
    let setting = rows.iter().map(|row| DatabaseSetting {
        role: row.get(0).map(str::to_owned),
        name: row.get(1).unwrap_or_default().to_owned(),
        value: row.get(2).unwrap_or_default().to_owned(),
    });
    Ok(setting.collect())
}

/// The extensions of the database.
///
/// # Errors
/// As the server says.
pub fn extensions(session: &mut Session) -> Result<Vec<ExtensionFacts>, Failure> {
    let rows = session.query("SELECT extname, extversion FROM pg_catalog.pg_extension ORDER BY 1")?;
    let text = |text: Option<&str>| text.unwrap_or_default().to_owned();
    Ok(rows.iter().map(|row| ExtensionFacts { name: text(row.get(0)), version: text(row.get(1)) }).collect())
}

/// Roles that own objects, hold rights or have settings in the database. The bootstrap superuser has no dependencies on
/// record; it is named where it owns anything that an administrator made.
///
/// # Errors
/// As the server says.
pub fn roles(session: &mut Session) -> Result<Vec<String>, Failure> {
    column(
        session,
        "SELECT r.rolname FROM pg_catalog.pg_roles r WHERE r.oid IN (SELECT refobjid FROM pg_catalog.pg_shdepend s \
         WHERE s.refclassid = 'pg_catalog.pg_authid'::regclass AND s.dbid = (SELECT oid FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())) \
         OR r.oid IN (SELECT datdba FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database()) \
         OR r.oid IN (SELECT a.grantee FROM pg_catalog.pg_database d, pg_catalog.aclexplode(d.datacl) a WHERE d.datname = pg_catalog.current_database()) \
         OR r.oid IN (SELECT s.setrole FROM pg_catalog.pg_db_role_setting s JOIN pg_catalog.pg_database d ON d.oid = s.setdatabase \
           WHERE d.datname = pg_catalog.current_database()) \
         OR r.oid IN (SELECT relowner FROM pg_catalog.pg_class WHERE oid >= 16384 UNION SELECT proowner FROM pg_catalog.pg_proc WHERE oid >= 16384 \
           UNION SELECT nspowner FROM pg_catalog.pg_namespace WHERE oid >= 16384 UNION SELECT typowner FROM pg_catalog.pg_type WHERE oid >= 16384 \
           UNION SELECT lomowner FROM pg_catalog.pg_largeobject_metadata) ORDER BY 1",
    )
}

/// Tablespaces that objects of the database lie in, `pg_default` left out.
///
/// # Errors
/// As the server says.
pub fn tablespaces(session: &mut Session) -> Result<Vec<String>, Failure> {
    column(
        session,
        "SELECT spcname FROM pg_catalog.pg_tablespace WHERE spcname NOT IN ('pg_default', 'pg_global') AND (oid IN (SELECT reltablespace FROM pg_catalog.pg_class) \
         OR oid IN (SELECT dattablespace FROM pg_catalog.pg_database WHERE datname = pg_catalog.current_database())) ORDER BY 1",
    )
}

fn column(session: &mut Session, sql: &str) -> Result<Vec<String>, Failure> {
    let rows = session.query(sql)?;
    Ok(rows.iter().filter_map(|row| row.get(0).map(str::to_owned)).collect())
}
