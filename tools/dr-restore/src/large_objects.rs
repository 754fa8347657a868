//! Large objects: made by the archive's statements, filled through a temporary table.

use dr_archive::Member;
use dr_pipe::{Exit, Failure};
use dr_postgres::Session;

use crate::archive_source::Archive;
use crate::copy::Copier;
use crate::plan::Plan;
use crate::preflight::LeftOut;
use crate::statements::{statements, words};

/// Statements in one transaction: each large object that is made or given away is a lock.
const BATCH: usize = 200;

const CREATE: &str = "CREATE TEMP TABLE IF NOT EXISTS dr_large_objects (oid oid, \"offset\" bigint, data bytea)";
const COPY: &str = "COPY pg_temp.dr_large_objects (oid, \"offset\", data) FROM STDIN";
const LOAD: &str = "SELECT pg_catalog.count(pg_catalog.lo_put(oid, \"offset\", data)) FROM pg_temp.dr_large_objects; TRUNCATE pg_temp.dr_large_objects";

/// Makes all large objects, empty, with owners, rights and comments.
///
/// # Errors
/// 65 where the archive's statements are damaged, or others than those.
pub fn create(session: &mut Session, archive: &Archive, plan: &Plan<'_>, left_out: LeftOut) -> Result<(), Failure> {
    for member in &plan.large_object_metadata {
        let script = archive.script(&member.path)?.unwrap_or_default();
        let within =
            |why: String| Failure::new(Exit::Damaged, format!("{}: {why}", member.path), "do not trust whoever made this archive");
        let all = statements(&script).map_err(|error| within(error.to_string()))?;
        let mut wanted = Vec::with_capacity(all.len());
        for statement in all {
            match purpose(&words(&statement)) {
                Some(Purpose::Owner) if left_out.owners => {}
                Some(Purpose::Right) if left_out.privileges => {}
                Some(_) => wanted.push(statement),
                None => return Err(within(format!("{statement:?} is not about large objects"))),
            }
        }
        for batch in wanted.chunks(BATCH) {
            session.execute(&batch.join(";\n")).map_err(|error| Failure::from(error).within(&member.path))?;
        }
    }
    Ok(())
}

/// Fills large objects with the rows of one piece.
///
/// # Errors
/// As [`Copier::copy`].
pub fn load(session: &mut Session, copier: &mut Copier<'_>, member: &Member) -> Result<(), Failure> {
    session.execute(CREATE)?;
    copier.copy(session, COPY, &[member], member.rows)?;
    session.execute(LOAD).map_err(|error| Failure::from(error).within(&member.path))?;
    Ok(())
}

/// What a statement about large objects does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    Create,
    Owner,
    Right,
    Comment,
}

fn purpose(words: &[String]) -> Option<Purpose> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let about = words.windows(2).any(|pair| pair == ["large", "object"]);
    match words[..] {
        ["select", "pg_catalog", ".", "lo_create", ..] => Some(Purpose::Create),
        ["alter", "large", "object", _, "owner", "to", _] => Some(Purpose::Owner),
        ["grant" | "revoke", ..] if about => Some(Purpose::Right),
        ["comment", "on", "large", "object", ..] => Some(Purpose::Comment),
        ["security", "label", ..] if about => Some(Purpose::Comment),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_statements_about_large_objects_are_known() {
        let of = |sql: &str| purpose(&words(sql));
        assert_eq!(of("SELECT pg_catalog.lo_create('16')"), Some(Purpose::Create));
        assert_eq!(of("ALTER LARGE OBJECT 16 OWNER TO \"a b\""), Some(Purpose::Owner));
        assert_eq!(of("GRANT SELECT ON LARGE OBJECT 16 TO PUBLIC"), Some(Purpose::Right));
        assert_eq!(of("REVOKE ALL ON LARGE OBJECT 16 FROM \"a\""), Some(Purpose::Right));
        assert_eq!(of("COMMENT ON LARGE OBJECT 16 IS 'x'"), Some(Purpose::Comment));
        assert_eq!(of("DROP TABLE x"), None);
        assert_eq!(of("GRANT ALL ON TABLE x TO y"), None);
    }
}
