//! The members of a dump other than rows and DDL: what dr-archive(5) calls the dump layout.

use std::io::Write;

use dr_archive::Writer;
use dr_pipe::record::{self, Record};
use dr_pipe::{Exit, Failure};
use dr_postgres::about::{About, TableFacts};
use dr_postgres::large_objects;
use dr_postgres::quote::{self, ascii, identifier, literal};
use dr_postgres::reading::Reading;
use dr_postgres::relations::{Relation, RelationKind};
use dr_postgres::rows::Format;
use dr_postgres::wire::Session;

/// The folder of large objects.
pub const LARGE_OBJECTS: &str = "largeobjects";

/// The folder of a table's rows.
pub fn folder(relation: &Relation) -> String {
    format!("data/{}", quote::folder(&relation.schema, &relation.name))
}

/// The command that takes the pieces of a table with these columns in again.
pub fn copy_in(into: &str, columns: &[String], format: Format) -> String {
    let names = columns.iter().map(|column| identifier(column)).collect::<Vec<_>>().join(", ");
    let list = if names.is_empty() { names } else { format!(" ({names})") };
    let options = match format {
        Format::Text => "",
        Format::Binary => " (FORMAT binary)",
    };
    let statement = format!("COPY {into}{list} FROM STDIN{options};\n");
    // Text in binary rows is in client_encoding, and so is the statement: its names read the same in any.
    if format == Format::Binary { ascii(&statement) } else { statement }
}

/// Tables as `about.json` lists them, largest first.
pub fn tables(relations: &[Relation], schema_only: bool) -> Vec<TableFacts> {
    let mut tables: Vec<_> = relations
        .iter()
        .filter(|relation| relation.kind != RelationKind::Sequence)
        .map(|relation| TableFacts {
            oid: relation.oid,
            schema: relation.schema.clone(),
            name: relation.name.clone(),
            dir: folder(relation),
            into: relation.into.clone(),
            columns: relation.columns.clone(),
            estimated_bytes: relation.bytes,
            indexes: relation.indexes.clone(),
            constraints: relation.constraints.clone(),
            extension: relation.extension.clone(),
            skipped: match &relation.skipped {
                Some(reason) => Some(reason.clone()),
                None if schema_only => Some("definitions only".into()),
                None if relation.kind == RelationKind::Partitioned => Some("partitioned: its partitions hold the rows".into()),
                None => None,
            },
        })
        .collect();
    tables.sort_by_key(|table| std::cmp::Reverse(table.estimated_bytes));
    tables
}

/// The same relations with nothing to be read of them.
pub fn without_data(relations: &[Relation]) -> Vec<Relation> {
    let skipped = |relation: &Relation| Relation { skipped: Some("definitions only".into()), ..relation.clone() };
    relations.iter().map(skipped).collect()
}

/// Writes what is known before any row is read.
pub fn head<W: Write + Send>(archive: &Writer<W>, about: &About, session: &mut Session, objects: &[u32]) -> Result<(), Failure> {
    let mut json =
        serde_json::to_vec_pretty(about).map_err(|error| Failure::new(Exit::Bug, error.to_string(), "please report this"))?;
    json.push(b'\n');
    archive.small("about.json", None, &json)?;
    archive.small("database.sql", None, database_sql(about).as_bytes())?;
    for table in about.tables.iter().filter(|table| table.skipped.is_none()) {
        let sql = copy_in(&table.into, &table.columns, Format::Text);
        archive.small(&format!("{}/copy.sql", table.dir), None, sql.as_bytes())?;
    }
    if objects.is_empty() {
        return Ok(());
    }
    archive.small(&format!("{LARGE_OBJECTS}/create.sql"), None, LARGE_OBJECTS_CREATE.as_bytes())?;
    archive.small(&format!("{LARGE_OBJECTS}/copy.sql"), None, LARGE_OBJECTS_COPY.as_bytes())?;
    archive.small(&format!("{LARGE_OBJECTS}/load.sql"), None, LARGE_OBJECTS_LOAD.as_bytes())?;
    for (number, batch) in objects.chunks(large_objects::BATCH).enumerate() {
        let sql = large_objects::metadata(session, batch)?;
        archive.small(&format!("{LARGE_OBJECTS}/metadata/{:06}.sql", number + 1), None, sql.as_bytes())?;
    }
    Ok(())
}

const LARGE_OBJECTS_CREATE: &str = "CREATE TEMPORARY TABLE dr_large_objects (oid oid, \"offset\" bigint, data bytea);\n";
const LARGE_OBJECTS_COPY: &str = "COPY pg_temp.dr_large_objects (oid, \"offset\", data) FROM STDIN;\n";
const LARGE_OBJECTS_LOAD: &str = "SELECT pg_catalog.count(pg_catalog.lo_put(oid, \"offset\", data)) FROM pg_temp.dr_large_objects;\nTRUNCATE pg_temp.dr_large_objects;\n";

/// Writes what is known only after all rows were read.
pub fn tail<W: Write + Send>(archive: &Writer<W>, reading: &Reading) -> Result<(), Failure> {
    let sequences: String = reading.sequences.iter().map(dr_postgres::sequences::SequenceState::setval).collect();
    archive.small("sequences.sql", None, sequences.as_bytes())?;
    let mut fingerprints = Vec::new();
    for fingerprint in &reading.fingerprints {
        let written = record::write(&mut fingerprints, &Record::Fingerprint(fingerprint.clone()));
        written.map_err(|error| Failure::io("fingerprint.jsonl", &error))?;
    }
    archive.small("fingerprint.jsonl", None, &fingerprints)?;
    Ok(())
}

/// For people: how the database was made. dr-restore reads about.json instead.
fn database_sql(about: &About) -> String {
    let name = identifier(&about.database);
    let properties = &about.properties;
    let locale = match (properties.provider.as_str(), &properties.locale) {
        ("icu", Some(locale)) => format!(" LOCALE_PROVIDER icu ICU_LOCALE {}", literal(locale).trim_start()),
        ("builtin", Some(locale)) => format!(" LOCALE_PROVIDER builtin BUILTIN_LOCALE {}", literal(locale).trim_start()),
        _ => String::new(),
    };
    let mut sql = format!(
        "CREATE DATABASE {name} TEMPLATE template0 ENCODING {} LC_COLLATE {} LC_CTYPE {}{locale};\nALTER DATABASE {name} OWNER TO {};\n",
        literal(&properties.encoding),
        literal(&properties.collate),
        literal(&properties.ctype),
        identifier(&properties.owner),
    );
    if properties.grants.is_some() {
        sql.push_str(&format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC;\n"));
    }
    if properties.connection_limit >= 0 {
        sql.push_str(&format!("ALTER DATABASE {name} CONNECTION LIMIT {};\n", properties.connection_limit));
    }
    if let Some(comment) = &properties.comment {
        sql.push_str(&format!("COMMENT ON DATABASE {name} IS {};\n", literal(comment).trim_start()));
    }
    for grant in properties.grants.iter().flatten() {
        let grantee = grant.grantee.as_deref().map_or("PUBLIC".into(), identifier);
        let option = if grant.grantable { " WITH GRANT OPTION" } else { "" };
        sql.push_str(&format!("GRANT {} ON DATABASE {name} TO {grantee}{option};\n", grant.privilege));
    }
    for setting in &properties.settings {
        let whose = setting
            .role
            .as_ref()
            .map_or(format!("DATABASE {name}"), |role| format!("ROLE {} IN DATABASE {name}", identifier(role)));
        sql.push_str(&format!(
            "ALTER {whose} SET {} TO {};\n",
            identifier(&setting.name),
            quote::setting(&setting.name, &setting.value)
        ));
    }
    sql
}

/// Tables that belong to extensions, hold rows, and are not registered for dumps: rows that no dump tool takes along.
pub fn unregistered(session: &mut Session) -> Result<Vec<String>, Failure> {
    let rows = session.query(
        "SELECT pg_catalog.format('%I.%I', n.nspname, c.relname) FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace \
         JOIN pg_catalog.pg_depend d ON d.classid = 'pg_catalog.pg_class'::regclass AND d.objid = c.oid AND d.objsubid = 0 AND d.deptype = 'e' \
         JOIN pg_catalog.pg_extension e ON e.oid = d.refobjid AND d.refclassid = 'pg_catalog.pg_extension'::regclass \
         WHERE c.relkind = 'r' AND c.reltuples > 0 AND NOT coalesce(c.oid = ANY (e.extconfig), false) ORDER BY 1",
    )?;
    Ok(rows.iter().filter_map(|row| row.get(0).map(str::to_owned)).collect())
}

/// Whether the server's statistics say that the tables of the dump hold rows.
pub fn rows_expected(session: &mut Session, about: &About) -> Result<bool, Failure> {
    let oids = about
        .tables
        .iter()
        .filter(|table| table.skipped.is_none())
        .map(|table| table.oid.to_string())
        .collect::<Vec<_>>()
        .join(",");
    let rows = session
        .query(&format!("SELECT coalesce(max(reltuples), 0) > 0 FROM pg_catalog.pg_class WHERE oid = ANY ('{{{oids}}}'::oid[])"))?;
    Ok(rows.iter().any(|row| row.get(0) == Some("t")))
}
