//! Large objects: their content as rows, and the statements that make them anew.

use dr_pipe::Failure;

use crate::quote::{identifier, literal};
use crate::wire::Session;

/// The name of their fingerprint.
pub const NAME: &str = "large objects";

/// How many are read by one session at a time, and made by one file of statements.
pub const BATCH: usize = 1000;

/// The rows that their content is cut into have at most so many bytes of it.
pub const ROW_BYTES: u32 = 256 << 10;

/// Their OIDs, rising.
///
/// # Errors
/// As the server says.
pub fn list(session: &mut Session) -> Result<Vec<u32>, Failure> {
    let rows = session.query("SELECT oid FROM pg_catalog.pg_largeobject_metadata ORDER BY oid")?;
    Ok(rows.iter().filter_map(|row| row.get(0)?.parse().ok()).collect())
}

/// The COPY statement that gives the content of some of them: rows of oid, offset, data.
///
/// Sizes are asked for by seeking to the end, as that needs no more than the right to read; the descriptors that takes
/// are closed by rolling back to a savepoint.
///
/// # Errors
/// 77 where one may not be read; else as the server says.
pub(crate) fn copy_out(session: &mut Session, oids: &[u32]) -> Result<String, Failure> {
    let list = oids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    session.execute("SAVEPOINT dr")?;
    let rows = session.query(&format!(
        "SELECT oid, pg_catalog.lo_lseek64(pg_catalog.lo_open(oid, x'40000'::int), 0, 2) FROM pg_catalog.unnest('{{{list}}}'::oid[]) AS o(oid)"
    ))?;
    session.execute("ROLLBACK TO SAVEPOINT dr; RELEASE SAVEPOINT dr")?;
    let sizes =
        rows.iter().filter_map(|row| Some(format!("({}::oid,{}::int8)", row.get(0)?, row.get(1)?))).collect::<Vec<_>>().join(",");
    Ok(format!(
        "COPY (SELECT o.oid, p.start, pg_catalog.lo_get(o.oid, p.start, {ROW_BYTES}) FROM (VALUES {sizes}) AS o(oid, size), \
         pg_catalog.generate_series(0, pg_catalog.int8larger(o.size - 1, 0), {ROW_BYTES}) AS p(start)) TO STDOUT"
    ))
}

/// The statements that make some of them anew: existence, owner, rights, comment, security labels.
///
/// # Errors
/// As the server says.
pub fn metadata(session: &mut Session, oids: &[u32]) -> Result<String, Failure> {
    let list = oids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
    let rows = session.query(&format!(
        "SELECT m.oid, r.rolname, m.lomacl IS NOT NULL, pg_catalog.obj_description(m.oid, 'pg_largeobject') \
         FROM pg_catalog.pg_largeobject_metadata m JOIN pg_catalog.pg_roles r ON r.oid = m.lomowner WHERE m.oid = ANY ('{{{list}}}'::oid[]) ORDER BY m.oid"
    ))?;
    let mut sql = String::new();
    let mut with_rights = Vec::new();
    for row in rows.iter() {
        let oid = row.get(0).unwrap_or_default();
        let owner = identifier(row.get(1).unwrap_or_default());
        sql.push_str(&format!("SELECT pg_catalog.lo_create('{oid}');\nALTER LARGE OBJECT {oid} OWNER TO {owner};\n"));
        if row.get(2) == Some("t") {
            with_rights.push(oid.to_owned());
            sql.push_str(&format!("REVOKE ALL ON LARGE OBJECT {oid} FROM {owner};\n"));
        }
        if let Some(comment) = row.get(3) {
            sql.push_str(&format!("COMMENT ON LARGE OBJECT {oid} IS {};\n", literal(comment).trim_start()));
        }
    }
    if !with_rights.is_empty() {
        grants(session, &with_rights.join(","), &mut sql)?;
    }
    labels(session, &list, &mut sql)?;
    Ok(sql)
}

fn grants(session: &mut Session, list: &str, sql: &mut String) -> Result<(), Failure> {
    let rows = session.query(&format!(
        "SELECT m.oid, a.privilege_type, r.rolname, a.is_grantable FROM pg_catalog.pg_largeobject_metadata m, pg_catalog.aclexplode(m.lomacl) a \
         LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.grantee WHERE m.oid = ANY ('{{{list}}}'::oid[]) ORDER BY 1, 3, 2"
    ))?;
    for row in rows.iter() {
        let (oid, privilege) = (row.get(0).unwrap_or_default(), row.get(1).unwrap_or_default());
        let grantee = row.get(2).map_or("PUBLIC".into(), identifier);
        let option = if row.get(3) == Some("t") { " WITH GRANT OPTION" } else { "" };
        sql.push_str(&format!("GRANT {privilege} ON LARGE OBJECT {oid} TO {grantee}{option};\n"));
    }
    Ok(())
}

fn labels(session: &mut Session, list: &str, sql: &mut String) -> Result<(), Failure> {
    let rows = session.query(&format!(
        "SELECT objoid, provider, label FROM pg_catalog.pg_seclabel WHERE classoid = 'pg_catalog.pg_largeobject'::regclass \
         AND objoid = ANY ('{{{list}}}'::oid[]) ORDER BY 1, 2"
    ))?;
    for row in rows.iter() {
        let text = |column| row.get(column).unwrap_or_default();
        sql.push_str(&format!(
            "SECURITY LABEL FOR {} ON LARGE OBJECT {} IS {};\n",
            identifier(text(1)),
            text(0),
            literal(text(2)).trim_start()
        ));
    }
    Ok(())
}
