//! Where the sequences stand.

use dr_pipe::record::{Fingerprint, Subject};
use dr_pipe::{Exit, Failure};

use crate::Error;
use crate::fingerprint::RowSum;
use crate::quote::literal;
use crate::relations::{Relation, RelationKind};
use crate::wire::Session;

/// Where one sequence stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SequenceState {
    /// Its name, quoted and with its schema.
    pub name: String,
    /// Its `last_value`.
    pub last_value: i64,
    /// Whether that value has been given out.
    pub is_called: bool,
}

/// How many sequences are asked for in one query.
const BATCH: usize = 200;

/// Reads every sequence among `relations`. Sequences are not transactional: what is read is their state now, which no row
/// of an older snapshot can be ahead of.
///
/// # Errors
/// As the server says; 75 where one was dropped meanwhile.
pub fn read(session: &mut Session, relations: &[Relation]) -> Result<Vec<SequenceState>, Failure> {
    let wanted = |relation: &&Relation| relation.kind == RelationKind::Sequence && relation.skipped.is_none();
    let names: Vec<String> = relations.iter().filter(wanted).map(Relation::qualified).collect();
    let mut states = Vec::with_capacity(names.len());
    for batch in names.chunks(BATCH) {
        let selects = batch.iter().enumerate().map(|(number, name)| format!("SELECT {number}, last_value, is_called FROM {name}"));
        let rows = session.query(&selects.collect::<Vec<_>>().join(" UNION ALL ")).map_err(gone)?;
        for row in rows.iter() {
            let number = row.get(0).and_then(|text| text.parse::<usize>().ok());
            let value = row.get(1).and_then(|text| text.parse().ok());
            if let (Some(number), Some(last_value)) = (number, value) {
                states.push(SequenceState { name: batch[number].clone(), last_value, is_called: row.get(2) == Some("t") });
            }
        }
    }
    Ok(states)
}

/// A sequence cannot be locked: it may have got another name, or none.
fn gone(error: Error) -> Failure {
    match &error {
        Error::Server(server) if ["42P01", "3F000"].contains(&server.code.as_str()) => Failure::new(
            Exit::Busy,
            format!("a sequence changed while the database was read: {}", server.message),
            "run it again; nothing was published",
        ),
        _ => error.into(),
    }
}

impl SequenceState {
    /// The statement that puts a sequence here.
    pub fn setval(&self) -> String {
        format!("SELECT pg_catalog.setval({}, {}, {});\n", literal(&self.name).trim_start(), self.last_value, self.is_called)
    }

    /// Its fingerprint: one row, `last_value TAB is_called`.
    pub fn fingerprint(&self) -> Fingerprint {
        let mut sum = RowSum::default();
        sum.add_row(format!("{}\t{}", self.last_value, if self.is_called { 't' } else { 'f' }).as_bytes());
        sum.record(Subject::Sequence, &self.name)
    }
}
