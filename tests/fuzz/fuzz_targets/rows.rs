//! Rows of COPY in binary format: their text is the same whether they come whole or in parts, or both refuse them. And lines of text:
//! a row that is made of one has that very line.
#![no_main]

use dr_postgres::binary::{Kind, LineDigest, Lines, Parser};
use dr_postgres::fingerprint::RowSum;
use libfuzzer_sys::fuzz_target;

const OIDS: [u32; 16] = [16, 17, 20, 21, 23, 26, 25, 700, 701, 1082, 1083, 1114, 1184, 1700, 2950, 3802];

fuzz_target!(|data: (Vec<u8>, u8, Vec<u8>)| {
    let (columns, step, row) = data;
    let kinds: Vec<Kind> = columns.iter().take(8).filter_map(|column| Kind::of(OIDS[usize::from(column % 16)], false)).collect();
    let mut whole = Lines::new(&kinds);
    let taken = whole.add(&row);
    let mut parts = LineDigest::new(&kinds);
    let streamed = row.chunks(usize::from(step) + 1).try_for_each(|part| parts.update(part)).and_then(|()| parts.finish());
    assert_eq!(taken.is_ok(), streamed.is_ok(), "both take it, or none: {kinds:?}");
    if let Ok(digest) = streamed {
        let mut sum = RowSum::default();
        sum.add_digest(digest);
        assert_eq!(sum, whole.sum, "{kinds:?}");
    }
    // Many decimals are one floating point number.
    let kinds: Vec<Kind> = kinds.into_iter().filter(|kind| !matches!(kind, Kind::Float4 | Kind::Float8)).collect();
    let line: Vec<u8> = row.into_iter().filter(|byte| *byte != b'\n').collect();
    let mut parser = Parser::new(&kinds);
    if let (row, Ok(())) = parser.rows(&[&line[..], b"\n"].concat()) {
        let (mut lines, mut sum) = (Lines::new(&kinds), RowSum::default());
        lines.add(row).unwrap();
        sum.add_row(&line);
        assert_eq!(lines.sum, sum, "{kinds:?}: {line:?}");
    }
});
