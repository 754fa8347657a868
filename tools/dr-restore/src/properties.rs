//! The database itself: how it is created, and what it is given at the end: owner, settings, rights, comment.

use dr_pipe::{Exit, Failure};
use dr_postgres::about::{DatabaseProperties, DatabaseSetting, Grant};
use dr_postgres::quote::{self, identifier, literal};

use crate::preflight::LeftOut;

/// Refuses what would go into a statement as it is, and is not what it must be.
///
/// # Errors
/// 65 with what it is.
pub fn check(properties: &DatabaseProperties) -> Result<(), Failure> {
    let wrong = |what: String| {
        let message = format!("about.json: {what}");
        Err(Failure::new(Exit::Damaged, message, "do not trust whoever made this archive; nothing was restored"))
    };
    if !["libc", "icu", "builtin"].contains(&&*properties.provider) {
        return wrong(format!("there is no locale provider {:?}", properties.provider));
    }
    let mut privileges = properties.grants.iter().flatten().map(|grant| &*grant.privilege);
    if let Some(privilege) = privileges.find(|privilege| !["CREATE", "CONNECT", "TEMPORARY"].contains(privilege)) {
        return wrong(format!("a database has no right {privilege:?}"));
    }
    let mut statements = settings("", properties, LeftOut::default());
    statements.extend(endowment("", properties, LeftOut::default()));
    statements.push(creation("", properties, 0, LeftOut::default()));
    if statements.iter().any(|statement| statement.contains('\0')) {
        return wrong("a zero byte among the database's properties".to_owned());
    }
    Ok(())
}

/// `CREATE DATABASE` for a database that holds what `properties` held, on a server of version `server_version`.
pub fn creation(name: &str, properties: &DatabaseProperties, server_version: u32, left_out: LeftOut) -> String {
    let mut sql = format!("CREATE DATABASE {} TEMPLATE template0 ENCODING {}", identifier(name), literal(&properties.encoding));
    sql.push_str(&format!(" LC_COLLATE {} LC_CTYPE {}", literal(&properties.collate), literal(&properties.ctype)));
    if server_version >= 150_000 {
        sql.push_str(&format!(" LOCALE_PROVIDER {}", properties.provider));
    }
    match (properties.provider.as_str(), &properties.locale) {
        ("icu", Some(locale)) => sql.push_str(&format!(" ICU_LOCALE {}", literal(locale))),
        ("builtin", Some(locale)) => sql.push_str(&format!(" BUILTIN_LOCALE {}", literal(locale))),
        _ => {}
    }
    if let Some(rules) = &properties.icu_rules {
        sql.push_str(&format!(" ICU_RULES {}", literal(rules)));
    }
    if let Some(tablespace) = properties.tablespace.as_ref().filter(|_| !left_out.tablespaces) {
        sql.push_str(&format!(" TABLESPACE {}", identifier(tablespace)));
    }
    sql
}

/// The statements that give the database `name` the settings it had.
pub fn settings(name: &str, properties: &DatabaseProperties, left_out: LeftOut) -> Vec<String> {
    let database = identifier(name);
    let settings = properties.settings.iter().filter(|setting| setting.role.is_none() || !left_out.privileges);
    settings.map(|setting| set(&database, setting)).collect()
}

/// The one of these that definitions are read under: pg_dump writes amounts of money in the database's own locale.
pub fn money(name: &str, properties: &DatabaseProperties) -> Option<String> {
    let setting = properties.settings.iter().find(|setting| setting.role.is_none() && setting.name == "lc_monetary");
    setting.map(|setting| set(&identifier(name), setting))
}

/// The statements that give the database `name` what else it had, in order.
pub fn endowment(name: &str, properties: &DatabaseProperties, left_out: LeftOut) -> Vec<String> {
    let database = identifier(name);
    let mut all = Vec::new();
    if let Some(comment) = &properties.comment {
        all.push(format!("COMMENT ON DATABASE {database} IS {}", literal(comment)));
    }
    if properties.connection_limit != -1 {
        all.push(format!("ALTER DATABASE {database} CONNECTION LIMIT {}", properties.connection_limit));
    }
    if !left_out.owners {
        all.push(format!("ALTER DATABASE {database} OWNER TO {}", identifier(&properties.owner)));
    }
    if let Some(grants) = properties.grants.as_ref().filter(|_| !left_out.privileges) {
        all.push(format!("REVOKE ALL ON DATABASE {database} FROM PUBLIC"));
        if !left_out.owners {
            all.push(format!("REVOKE ALL ON DATABASE {database} FROM {}", identifier(&properties.owner)));
        }
        all.extend(grants.iter().map(|grant| grant_on(&database, grant)));
    }
    all
}

fn set(database: &str, setting: &DatabaseSetting) -> String {
    let whom = setting
        .role
        .as_ref()
        .map_or_else(|| format!("DATABASE {database}"), |role| format!("ROLE {} IN DATABASE {database}", identifier(role)));
    // Extensions' parameters have a dot in their names.
    let name: Vec<_> = setting.name.split('.').map(identifier).collect();
    format!("ALTER {whom} SET {} TO {}", name.join("."), quote::setting(&setting.name, &setting.value))
}

fn grant_on(database: &str, grant: &Grant) -> String {
    let grantee = grant.grantee.as_ref().map_or_else(|| "PUBLIC".to_owned(), |role| identifier(role));
    let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
    format!("GRANT {} ON DATABASE {database} TO {grantee}{option}", grant.privilege)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn properties() -> DatabaseProperties {
        DatabaseProperties {
            owner: "an owner".into(),
            encoding: "UTF8".into(),
            collate: "C.UTF-8".into(),
            ctype: "C.UTF-8".into(),
            provider: "icu".into(),
            locale: Some("de-AT".into()),
            icu_rules: Some("&a < 'b'".into()),
            collation_version: None,
            tablespace: Some("fast".into()),
            connection_limit: 7,
            comment: Some("it's".into()),
            settings: vec![
                DatabaseSetting { role: None, name: "search_path".into(), value: "\"$user\", a, \"B, c\"".into() },
                DatabaseSetting { role: Some("r".into()), name: "my.thing".into(), value: "a\\b".into() },
            ],
            grants: Some(vec![
                Grant { grantee: None, privilege: "CONNECT".into(), grantable: false },
                Grant { grantee: Some("r".into()), privilege: "CREATE".into(), grantable: true },
            ]),
        }
    }

    #[test]
    fn a_database_is_created_as_it_was() {
        assert_eq!(
            creation("a\"b", &properties(), 160_000, LeftOut::default()),
            "CREATE DATABASE \"a\"\"b\" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8' LOCALE_PROVIDER icu \
             ICU_LOCALE 'de-AT' ICU_RULES '&a < ''b''' TABLESPACE \"fast\""
        );
        let libc = DatabaseProperties { provider: "libc".into(), locale: None, icu_rules: None, ..properties() };
        let left_out = LeftOut { tablespaces: true, ..LeftOut::default() };
        assert_eq!(
            creation("x", &libc, 140_000, left_out),
            "CREATE DATABASE \"x\" TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C.UTF-8' LC_CTYPE 'C.UTF-8'"
        );
    }

    #[test]
    fn properties_that_would_change_a_statement_are_refused() {
        assert_eq!(check(&properties()), Ok(()));
        let right =
            Grant { grantee: None, privilege: "CONNECT ON DATABASE a TO b; DROP DATABASE c; GRANT".into(), grantable: false };
        for wrong in [
            DatabaseProperties { provider: "libc IS_TEMPLATE true".into(), ..properties() },
            DatabaseProperties { grants: Some(vec![right]), ..properties() },
            DatabaseProperties { owner: "a\0b".into(), ..properties() },
            DatabaseProperties { comment: Some("\0".into()), ..properties() },
        ] {
            assert_eq!(check(&wrong).map_err(|failure| failure.exit), Err(Exit::Damaged), "{wrong:?}");
        }
    }

    #[test]
    fn what_a_database_had_is_given_back() {
        assert_eq!(
            [settings("x", &properties(), LeftOut::default()), endowment("x", &properties(), LeftOut::default())].concat(),
            [
                "ALTER DATABASE \"x\" SET \"search_path\" TO '$user', 'a', 'B, c'",
                "ALTER ROLE \"r\" IN DATABASE \"x\" SET \"my\".\"thing\" TO E'a\\\\b'",
                "COMMENT ON DATABASE \"x\" IS 'it''s'",
                "ALTER DATABASE \"x\" CONNECTION LIMIT 7",
                "ALTER DATABASE \"x\" OWNER TO \"an owner\"",
                "REVOKE ALL ON DATABASE \"x\" FROM PUBLIC",
                "REVOKE ALL ON DATABASE \"x\" FROM \"an owner\"",
                "GRANT CONNECT ON DATABASE \"x\" TO PUBLIC",
                "GRANT CREATE ON DATABASE \"x\" TO \"r\" WITH GRANT OPTION",
            ]
        );
        assert_eq!(money("x", &properties()), None);
        let setting = |role: Option<&str>, value: &str| DatabaseSetting {
            role: role.map(str::to_owned),
            name: "lc_monetary".into(),
            value: value.into(),
        };
        let german = DatabaseProperties { settings: vec![setting(Some("r"), "C"), setting(None, "de_DE.UTF-8")], ..properties() };
        assert_eq!(money("x", &german).as_deref(), Some("ALTER DATABASE \"x\" SET \"lc_monetary\" TO 'de_DE.UTF-8'"));
        let left_out = LeftOut { owners: true, privileges: true, tablespaces: false };
        assert_eq!((settings("x", &properties(), left_out).len(), endowment("x", &properties(), left_out).len()), (1, 2));
    }
}
