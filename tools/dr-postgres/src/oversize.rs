//! The fingerprint of rows that have no text form: a bytea beyond 512 MiB, a text that doubles when escaped.
//!
//! Such rows are stored in binary; their digest must still be that of the line COPY would have written, were it not for
//! the server's limit of 1 GB. So the server is asked for the text form column by column, bytea columns as bytes, and the
//! line is put together here, in bounded memory.

use dr_pipe::{Exit, Failure};
use sha2::Digest;

use crate::binary::{Kind, text};
use crate::fingerprint::RowSum;
use crate::quote;
use crate::relations::{self, Relation};
use crate::rows::{BINARY_HEADER, Interruption, read_exact, take_header};
use crate::wire::{CopyOut, Session};

/// The select list that [`sum`] reads: bytea columns as they are, all else by its output function, as COPY would.
/// A NULL is told by `num_nulls`, as `IS NULL` also holds for a row of NULLs.
///
/// # Errors
/// As the server says.
pub(crate) fn select_list(session: &mut Session, relation: &Relation) -> Result<Select, Failure> {
    let kinds = relations::kinds(session, [relation.oid])?;
    let is_bytea: Vec<bool> =
        relation.columns.iter().map(|column| kinds.get(&(relation.oid, column.clone())) == Some(&Kind::Bytea)).collect();
    let terms = relation.columns.iter().zip(&is_bytea).map(|(column, bytea)| {
        let name = quote::identifier(column);
        if *bytea { name } else { format!("CASE WHEN pg_catalog.num_nulls({name}) = 0 THEN pg_catalog.format('%s', {name}) END") }
    });
    Ok(Select { list: terms.collect::<Vec<_>>().join(", "), is_bytea })
}

/// What to select, and which of it is bytea.
pub(crate) struct Select {
    pub list: String,
    is_bytea: Vec<bool>,
}

/// Adds the digests of all rows of a binary COPY of [`select_list`] to `sum`.
pub(crate) fn sum(copy: &mut CopyOut<'_>, select: &Select, sum: &mut RowSum) -> Result<(), Interruption> {
    let mut header = true;
    let mut buf = vec![0; dr_pipe::stream::CHUNK_BYTES];
    while let Some(mut bytes) = copy.next_message()? {
        if std::mem::take(&mut header) {
            take_header(copy, bytes)?;
            bytes -= BINARY_HEADER.len();
        }
        if bytes == 0 {
            continue;
        }
        let mut count = [0; 2];
        read_exact(copy, &mut count)?;
        if i16::from_be_bytes(count) == -1 {
            continue;
        }
        if usize::from(u16::from_be_bytes(count)) != select.is_bytea.len() {
            return Err(
                Failure::new(Exit::Protocol, "a row has another number of columns than its table", "please report this").into()
            );
        }
        sum.add_digest(line_digest(copy, select, &mut buf)?);
    }
    Ok(())
}

fn line_digest(copy: &mut CopyOut<'_>, select: &Select, buf: &mut [u8]) -> Result<[u8; 32], Interruption> {
    let (mut hash, mut line) = (sha2::Sha256::new(), Vec::new());
    for (column, is_bytea) in select.is_bytea.iter().enumerate() {
        if column > 0 {
            hash.update(b"\t");
        }
        let mut length = [0; 4];
        read_exact(copy, &mut length)?;
        let Ok(mut left) = usize::try_from(i32::from_be_bytes(length)) else {
            hash.update(text::NULL);
            continue;
        };
        if *is_bytea {
            hash.update(text::HEX);
        }
        while left > 0 {
            let want = left.min(buf.len());
            read_exact(copy, &mut buf[..want])?;
            line.clear();
            if *is_bytea {
                text::hex(&buf[..want], &mut line)
            } else {
                text::escape(&buf[..want], &mut line)
            }
            hash.update(&line);
            left -= want;
        }
    }
    Ok(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scope::ScopeArgs;
    use crate::{ConnInfo, Environment, settings};

    #[test]
    fn the_lines_put_together_here_are_those_that_copy_writes() {
        let server = dr_testing::postgres::Server::start(dr_testing::postgres::majors()[0]);
        server.psql("postgres", include_str!("../../../tests/sample/every-object.sql"));
        let conn = ConnInfo::resolve(&server.conninfo("postgres"), &Environment::default()).unwrap();
        let mut session = Session::connect(&conn, "test").unwrap();
        settings::for_reading(&mut session, false).unwrap();
        for relation in
            relations::find(&mut session, &ScopeArgs::default(), true).unwrap().iter().filter(|relation| relation.has_rows())
        {
            let (mut here, mut there) = (RowSum::default(), RowSum::default());
            let mut copy = session.copy_out(&format!("COPY {}{} TO STDOUT", relation.qualified(), relation.column_list())).unwrap();
            while copy.next_message().unwrap().is_some() {
                let line = copy.body().unwrap();
                there.add_row(line.strip_suffix(b"\n").unwrap());
            }
            drop(copy);
            let select = select_list(&mut session, relation).unwrap();
            let sql = format!("COPY (SELECT {} FROM ONLY {}) TO STDOUT (FORMAT binary)", select.list, relation.qualified());
            assert!(sum(&mut session.copy_out(&sql).unwrap(), &select, &mut here).is_ok());
            assert_eq!(here, there, "{}", relation.qualified());
        }
    }
}
