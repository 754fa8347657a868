//! Does a dump hold what it says it holds: every table, and all of its rows?

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use dr_archive::{Contents, Error, ReadAt, Reader};
use dr_pipe::record::{self, Record, Subject};
use dr_postgres::about::About;

/// Largest `about.json` and `fingerprint.jsonl` that are read, in bytes: more than a hundred thousand tables have.
const MAX_BYTES: u64 = 64 << 20;

/// What is wrong with the dump in an archive of which every byte is proved; none where nothing is.
///
/// # Errors
/// Whatever reading gives.
pub fn check(contents: &Arc<Contents>, source: &mut impl ReadAt) -> Result<Option<String>, Error> {
    let mut reader = Reader::new(Arc::clone(contents), source);
    let too_large = |path| contents.member(path).is_some_and(|member| member.bytes > MAX_BYTES);
    if too_large("about.json") || too_large("fingerprint.jsonl") {
        return Ok(None);
    }
    let about: About = match serde_json::from_slice(&reader.whole("about.json", MAX_BYTES)?) {
        Ok(about) => about,
        Err(error) => return Ok(Some(format!("about.json: {error}"))),
    };
    let fingerprints = reader.whole("fingerprint.jsonl", MAX_BYTES)?;
    let records = match record::read(&mut fingerprints.as_slice()) {
        Ok(records) => records,
        Err(failure) => return Ok(Some(format!("fingerprint.jsonl: {}", failure.message))),
    };
    let mut rows = HashMap::new();
    for record in records {
        if let Record::Fingerprint(fingerprint) = record
            && fingerprint.subject == Subject::Table
        {
            rows.insert(fingerprint.name, fingerprint.rows);
        }
    }
    // Rows of a partition are counted under the root of its tree.
    let mut held: BTreeMap<&str, u64> = BTreeMap::new();
    for table in about.tables.iter().filter(|table| table.skipped.is_none()) {
        let folder = format!("{}/", table.dir);
        let rows = contents.members_below(&folder).filter_map(|member| member.rows);
        *held.entry(&table.into).or_default() += rows.sum::<u64>();
    }
    Ok(held.into_iter().find_map(|(table, held)| match rows.get(table) {
        None => Some(format!("the table {table} has no fingerprint")),
        Some(rows) if *rows != held => Some(format!("of the table {table} it holds {held} rows, and {rows} were read")),
        Some(_) => None,
    }))
}
