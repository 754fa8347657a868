//! The roles of the source cluster, out of `globals.sql`: those that are missing here are created, all others left alone.

use std::collections::BTreeSet;

use dr_pipe::{Exit, Failure};

use crate::statements::{statements, words};

/// The roles that `globals.sql` creates.
///
/// # Errors
/// 65 where it is no such script.
pub fn roles(globals: &str) -> Result<BTreeSet<String>, Failure> {
    Ok(split(globals)?.iter().filter_map(|(_, words)| created(words)).collect())
}

/// The statements that create the roles that are missing beside those of `present`, with their attributes, settings,
/// comments and memberships.
///
/// # Errors
/// 65 where it is no such script.
pub fn creation(globals: &str, present: &BTreeSet<String>) -> Result<Vec<String>, Failure> {
    let missing: BTreeSet<String> = roles(globals)?.difference(present).cloned().collect();
    let all = split(globals)?;
    Ok(all.into_iter().filter(|(_, words)| concerns(words, &missing)).map(|(statement, _)| statement).collect())
}

fn split(globals: &str) -> Result<Vec<(String, Vec<String>)>, Failure> {
    let all = statements(globals)
        .map_err(|error| Failure::new(Exit::Damaged, format!("globals.sql: {error}"), "take another copy of this backup"))?;
    let with_words = |statement: String| {
        let words = words(&statement);
        (statement, words)
    };
    Ok(all.into_iter().map(with_words).collect())
}

fn created(words: &[String]) -> Option<String> {
    match words {
        [create, role, name, ..] if create == "create" && role == "role" => Some(name.clone()),
        _ => None,
    }
}

/// Whether a statement is about one of these roles: what pg_dumpall writes of roles, and nothing else.
fn concerns(words: &[String], missing: &BTreeSet<String>) -> bool {
    let at = |place: usize| words.get(place).map(String::as_str);
    let is = |place: usize| words.get(place).is_some_and(|name| missing.contains(name));
    let after_to = || words.iter().position(|word| word == "to").is_some_and(|to| is(to + 1));
    match (at(0), at(1)) {
        (Some("create" | "alter"), Some("role")) => is(2),
        (Some("comment"), Some("on")) if at(2) == Some("role") => is(3),
        (Some("security"), Some("label")) => words.iter().position(|word| word == "role").is_some_and(|role| is(role + 1)),
        (Some("grant"), _) if at(2) == Some("to") => is(1) || is(3),
        (Some("grant"), _) if words.iter().any(|word| word == "parameter") => after_to(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const GLOBALS: &str = "--\n-- PostgreSQL database cluster dump\n--\n\\restrict abc\nSET client_encoding = 'UTF8';\n\
        CREATE ROLE app;\nALTER ROLE app WITH NOSUPERUSER LOGIN PASSWORD 'SCRAM-SHA-256$4096:a;b';\n\
        CREATE ROLE \"Big One\";\nALTER ROLE \"Big One\" WITH SUPERUSER;\nCOMMENT ON ROLE \"Big One\" IS 'to; be';\n\
        CREATE ROLE postgres;\nALTER ROLE postgres WITH SUPERUSER;\n\
        ALTER ROLE app SET work_mem TO '8MB';\n\
        CREATE TABLESPACE fast OWNER app LOCATION '/x';\n\
        GRANT app TO postgres WITH ADMIN OPTION GRANTED BY postgres;\nGRANT \"Big One\" TO app GRANTED BY postgres;\n\
        GRANT SET ON PARAMETER log_statement TO app;\n\\unrestrict abc\n";

    #[test]
    fn only_missing_roles_are_created() {
        let names: Vec<_> = roles(GLOBALS).unwrap().into_iter().collect();
        assert_eq!(names, ["Big One", "app", "postgres"]);
        let present: BTreeSet<String> = ["postgres".to_owned(), "app".to_owned()].into();
        assert_eq!(
            creation(GLOBALS, &present).unwrap(),
            [
                "CREATE ROLE \"Big One\"",
                "ALTER ROLE \"Big One\" WITH SUPERUSER",
                "COMMENT ON ROLE \"Big One\" IS 'to; be'",
                "GRANT \"Big One\" TO app GRANTED BY postgres",
            ]
        );
        let present: BTreeSet<String> = ["postgres".to_owned(), "Big One".to_owned()].into();
        assert_eq!(creation(GLOBALS, &present).unwrap().len(), 6);
        assert!(creation(GLOBALS, &roles(GLOBALS).unwrap()).unwrap().is_empty());
        assert!(roles("CREATE ROLE 'open").is_err());
    }
}
