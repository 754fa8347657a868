//! Our lines are held against those that real servers write, over values made from a seed.

use std::io::Write;

use dr_pipe::progress::Progress;
use dr_testing::postgres::{Server, majors};

use super::*;
use crate::reading::Reader;
use crate::relations::Relation;
use crate::rows::{BINARY_HEADER, BINARY_TRAILER, NoSink};
use crate::scope::ScopeArgs;
use crate::snapshot::{Snapshot, SnapshotArgs};
use crate::{ConnInfo, Environment, Session, relations, settings};

const ROWS: usize = 20_000;

/// The columns of the table, and what is sent for each.
const COLUMNS: &[(&str, Kind)] = &[
    ("bool", Kind::Bool),
    ("int2", Kind::Int2),
    ("int4", Kind::Int4),
    ("int8", Kind::Int8),
    ("oid", Kind::Oid),
    ("float4", Kind::Float4),
    ("float4", Kind::Float4),
    ("float8", Kind::Float8),
    ("float8", Kind::Float8),
    ("numeric", Kind::Numeric),
    ("numeric", Kind::Numeric),
    ("text", Kind::Text),
    ("varchar(90)", Kind::Text),
    ("char(30)", Kind::Text),
    ("name", Kind::Name),
    ("json", Kind::Text),
    ("mood", Kind::Text),
    ("jsonb", Kind::Jsonb),
    ("bytea", Kind::Bytea),
    ("uuid", Kind::Uuid),
    ("date", Kind::Date),
    ("time", Kind::Time),
    ("time(2)", Kind::Time),
    ("timestamp", Kind::Timestamp),
    ("timestamptz", Kind::TimestampTz),
    ("priced", Kind::Numeric),
    ("noted", Kind::Text),
];

const TYPES: &str = "CREATE TYPE mood AS ENUM ('sad', E'o\\tk', 'it''s \\fine'); CREATE DOMAIN price AS numeric(12, 3);
    CREATE DOMAIN priced AS price CHECK (VALUE <> 7.77); CREATE DOMAIN noted AS text NOT NULL";

const MOODS: [&str; 3] = ["sad", "o\tk", "it's \\fine"];

/// Sebastiano Vigna's SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    fn within(&mut self, range: std::ops::Range<i64>) -> i64 {
        range.start.wrapping_add((self.next() % range.end.wrapping_sub(range.start) as u64) as i64)
    }

    /// A number of any size.
    fn number(&mut self) -> u64 {
        let shift = self.below(64);
        self.next() >> shift
    }

    fn text(&mut self, longest: u64) -> String {
        const ODD: [char; 16] =
            ['\\', '\t', '\n', '\r', '\x08', '\x0b', '\x0c', '\x01', '\x1f', '"', '\'', 'é', '表', '🐘', '.', 'N'];
        let plain = |random: &mut Random| char::from(b' ' + random.below(95) as u8);
        let length = self.below(longest);
        let is_odd = self.one_in(2);
        (0..length).map(|_| if is_odd && self.one_in(4) { ODD[self.below(16) as usize] } else { plain(self) }).collect()
    }

    fn json(&mut self) -> String {
        let (number, text) = (self.number() as i64, self.text(300));
        let text = serde_json::to_string(&text).unwrap();
        format!("{{\"n\" : {number}.{:03}e{}, \"t\":{text},\n\t\"a\": [null, true, \"\"]}}", self.below(1000), self.below(60))
    }

    /// A double: of any bits, close to a power of two or ten, whole, or with few decimals.
    fn float8(&mut self) -> f64 {
        let near = self.below(5) as i64 - 2;
        match self.below(8) {
            0 => f64::from_bits(self.below(2047) << 52).next_by(near),
            1 => format!("1e{}", self.below(630) as i64 - 325).parse::<f64>().unwrap().next_by(near),
            2 => self.number() as f64 / 10_f64.powi(self.below(20) as i32),
            3 => (self.number() & 0xFFFF_FFFF) as f64 * -0.01,
            4 => (self.number() as i64) as f64 * 10_f64.powi(self.below(25) as i32),
            // Where two decimals can be equally near.
            5 => (self.next() >> 11) as f64 / 2_f64.powi(self.below(6) as i32),
            _ => f64::from_bits(self.next()),
        }
    }

    fn float4(&mut self) -> f32 {
        match self.below(4) {
            0 => f32::from_bits((self.below(255) << 23) as u32 + self.below(3) as u32).next_down(),
            1 => self.float8() as f32,
            2 => (self.next() >> 40) as f32 / 2_f32.powi(self.below(6) as i32),
            _ => f32::from_bits(self.next() as u32),
        }
    }

    fn numeric(&mut self, is_small: bool, has_infinity: bool) -> Vec<u8> {
        let (digits, weight, decimals) = match (is_small, self.below(40)) {
            (true, _) => (self.below(4), self.within(-2..2), self.below(20)),
            (false, 0) => (self.below(3000), self.within(-4000..8000), self.below(16_384)),
            (false, 1..5) => (self.below(40), self.within(-30..30), self.below(200)),
            (false, _) => (self.below(8), self.within(-6..6), self.below(30)),
        };
        let special: &[u16] = if has_infinity && !is_small { &[0xC000, 0xD000, 0xF000] } else { &[0xC000] };
        let sign = match self.below(40) {
            0 => return [0, 0, special[self.below(special.len() as u64) as usize], 0].map(u16::to_be_bytes).concat(),
            n => {
                if n % 2 == 0 {
                    0
                } else {
                    0x4000
                }
            }
        };
        let mut words = vec![digits as u16, weight as u16, sign, decimals as u16];
        words.extend((0..digits).map(|_| match self.below(4) {
            0 => self.below(2) as u16 * 10,
            _ => self.below(10_000) as u16,
        }));
        words.into_iter().flat_map(u16::to_be_bytes).collect()
    }

    /// The binary form of a value of a column; none for NULL.
    fn value(&mut self, kind: Kind, name: &str, has_infinity: bool) -> Option<Vec<u8>> {
        if self.one_in(20) && name != "noted" {
            return None;
        }
        const DAY: i64 = 86_400_000_000;
        let is_end = self.one_in(50);
        let end = |from: i64, to: i64, random: &mut Random| if random.one_in(2) { from } else { to };
        let moment = match (is_end, self.below(3)) {
            (true, _) => end(i64::MIN, i64::MAX, self),
            (false, 0) => self.within(-211_813_488_000_000_000..9_223_371_331_200_000_000),
            (false, 1) => self.within(-40_000..40_000) * DAY + self.below(3) as i64 * 1_500,
            (false, _) => self.within(-DAY * 900_000..DAY * 900_000),
        };
        Some(match (kind, name) {
            (Kind::Bool, _) => vec![self.below(2) as u8],
            (Kind::Int2, _) => (self.number() as i16).to_be_bytes().into(),
            (Kind::Int4 | Kind::Oid, _) => (self.number() as u32).to_be_bytes().into(),
            (Kind::Int8, _) if is_end => i64::MIN.to_be_bytes().into(),
            (Kind::Int8, _) => (self.number() as i64 * (self.below(3) as i64 - 1)).to_be_bytes().into(),
            (Kind::Float4, _) => self.float4().to_be_bytes().into(),
            (Kind::Float8, _) => self.float8().to_be_bytes().into(),
            (Kind::Numeric, name) => self.numeric(name == "priced", has_infinity),
            (Kind::Text, "mood") => MOODS[self.below(3) as usize].into(),
            (Kind::Text, "json") => self.json().into(),
            (Kind::Name, _) | (Kind::Text, "char(30)") => self.text(15).into(),
            (Kind::Text, _) => self.text(90).into(),
            (Kind::Jsonb, _) => [vec![1], self.json().into()].concat(),
            (Kind::Bytea, _) => (0..self.below(70)).map(|_| self.next() as u8).collect(),
            (Kind::Uuid, _) => (0..16).map(|_| self.next() as u8).collect(),
            (Kind::Date, _) if is_end => (end(i32::MIN.into(), i32::MAX.into(), self) as i32).to_be_bytes().into(),
            (Kind::Date, _) if moment % 2 == 0 => (self.within(-2_451_545..2_145_031_949) as i32).to_be_bytes().into(),
            (Kind::Date, _) => (self.within(-900_000..900_000) as i32).to_be_bytes().into(),
            (Kind::Time, _) if is_end => DAY.to_be_bytes().into(),
            (Kind::Time, _) => moment.rem_euclid(DAY).to_be_bytes().into(),
            (Kind::Timestamp | Kind::TimestampTz, _) => moment.to_be_bytes().into(),
        })
    }
}

trait Neighbour {
    fn next_by(self, steps: i64) -> Self;
}

impl Neighbour for f64 {
    fn next_by(self, steps: i64) -> f64 {
        f64::from_bits(self.to_bits().saturating_add_signed(steps))
    }
}

fn open(server: &Server, database: &str) -> Session {
    let conn = ConnInfo::resolve(&server.conninfo(database), &Environment::default()).unwrap();
    let mut session = Session::connect(&conn, "test").unwrap();
    settings::for_reading(&mut session, false).unwrap();
    session
}

/// The relations of a database, prepared for binary where that is possible.
fn prepared(session: &mut Session) -> Vec<Relation> {
    let mut relations = relations::find(session, &ScopeArgs::default(), true).unwrap();
    relations::prefer_binary(session, &mut relations).unwrap();
    relations
}

/// The messages of a COPY.
fn messages(session: &mut Session, sql: &str) -> Vec<Vec<u8>> {
    let mut copy = session.copy_out(sql).unwrap();
    let mut messages = Vec::new();
    while copy.next_message().unwrap().is_some() {
        messages.push(copy.body().unwrap().to_vec());
    }
    messages
}

/// Rows in binary, without header and trailer.
fn rows(session: &mut Session, sql: &str) -> Vec<Vec<u8>> {
    let mut rows = messages(session, sql);
    rows[0] = rows[0].strip_prefix(&BINARY_HEADER[..]).unwrap().to_vec();
    rows.retain(|row| !row.is_empty());
    assert_eq!(rows.pop().unwrap(), BINARY_TRAILER);
    rows
}

fn line(row: &[u8], kinds: &[Kind]) -> Result<Vec<u8>, Odd> {
    let mut line = Vec::new();
    append_line(row, kinds, &mut line).map(|()| line)
}

/// The row of a line.
fn parsed(line: &[u8], kinds: &[Kind]) -> Result<Vec<u8>, Odd> {
    let mut parser = Parser::new(kinds);
    let line = [line, b"\n"].concat();
    let (row, parsed) = parser.rows(&line);
    let row = parsed.map(|()| row.to_vec())?;
    parser.end().map(|()| row)
}

/// The digest of a row's line, taken in parts of `size` bytes.
fn in_parts(row: &[u8], kinds: &[Kind], size: usize) -> Result<[u8; 32], Odd> {
    let mut digest = LineDigest::new(kinds);
    row.chunks(size).try_for_each(|part| digest.update(part))?;
    digest.finish()
}

/// Holds our lines of a table against the server's; gives their number.
fn compare(session: &mut Session, relation: &Relation) -> usize {
    let kinds = relation.kinds.as_ref().expect("it can be read in binary");
    let copy = format!("COPY {}{} TO STDOUT", relation.qualified(), relation.column_list());
    let rows = rows(session, &format!("{copy} (FORMAT binary)"));
    let lines = messages(session, &copy);
    assert_eq!(rows.len(), lines.len());
    let mut sums = (Lines::new(kinds), RowSum::default());
    for (number, (row, theirs)) in rows.iter().zip(&lines).enumerate() {
        let theirs = theirs.strip_suffix(b"\n").unwrap();
        let ours = line(row, kinds).unwrap_or_else(|odd| panic!("{odd:?} in {row:?}"));
        let shown = |line: &[u8]| String::from_utf8_lossy(line).split('\t').map(str::to_owned).collect::<Vec<_>>();
        if ours != theirs {
            let pairs: Vec<_> = shown(&ours).into_iter().zip(shown(theirs)).filter(|(ours, theirs)| ours != theirs).collect();
            panic!("row {number}, ours and theirs: {pairs:?}");
        }
        let parsed = parsed(theirs, kinds).unwrap_or_else(|odd| panic!("{odd:?} in {:?}", shown(theirs)));
        assert_eq!(line(&parsed, kinds).unwrap(), theirs);
        // Many values are not a number; and of an infinite numeric the server sends decimals, of which it takes no notice.
        let special = |field: &String| field == "NaN" || field.ends_with("Infinity");
        assert!(parsed == *row || shown(theirs).iter().any(special), "{:?}", shown(theirs));
        let digest: [u8; 32] = sha2::Sha256::digest(theirs).into();
        assert_eq!(in_parts(row, kinds, number % 40 + 1), Ok(digest), "row {number} in parts");
        sums.0.add(row).unwrap();
        sums.1.add_row(theirs);
    }
    assert_eq!(sums.0.sum, sums.1);
    lines.len()
}

#[test]
fn the_lines_put_together_here_are_those_that_copy_writes() {
    for major in majors() {
        let server = Server::start(major);
        let names: Vec<_> = (0..COLUMNS.len()).map(|number| format!("c{number:02}")).collect();
        let typed: Vec<_> = names.iter().zip(COLUMNS).map(|(name, (typed, _))| format!("{name} {typed}")).collect();
        server.psql("postgres", &format!("{TYPES}; CREATE TABLE odd ({})", typed.join(", ")));
        let mut session = open(&server, "postgres");
        let relation = prepared(&mut session).remove(0);
        let kinds: Vec<_> = COLUMNS.iter().map(|(_, kind)| *kind).collect();
        assert_eq!(relation.kinds.as_deref(), Some(&*kinds));
        let mut random = Random(u64::from(major));
        let mut copy = session.copy_in("COPY public.odd FROM STDIN (FORMAT binary)").unwrap();
        copy.write_all(&BINARY_HEADER).unwrap();
        for _ in 0..ROWS {
            copy.write_all(&(COLUMNS.len() as u16).to_be_bytes()).unwrap();
            for (name, kind) in COLUMNS {
                let value = random.value(*kind, name, major >= 14);
                let length = value.as_ref().map_or(-1, |value| value.len() as i32);
                copy.write_all(&length.to_be_bytes()).unwrap();
                copy.write_all(&value.unwrap_or_default()).unwrap();
            }
        }
        copy.write_all(&BINARY_TRAILER).unwrap();
        assert_eq!(copy.finish().unwrap(), ROWS as u64, "PostgreSQL {major}");
        assert_eq!(compare(&mut session, &relation), ROWS);
    }
}

#[test]
fn only_tables_of_known_types_are_read_in_binary() {
    let server = Server::start(majors()[0]);
    server.psql(
        "postgres",
        "CREATE DOMAIN list AS int[]; CREATE DOMAIN number AS int; CREATE DOMAIN count AS number;
         CREATE TABLE a1 (x int, y count, gone point, z int[] GENERATED ALWAYS AS (ARRAY[x]) STORED); ALTER TABLE a1 DROP gone;
         CREATE TABLE a2 (); CREATE TABLE b1 (x int, y int[]); CREATE TABLE b2 (x list); CREATE TABLE b3 (x regclass);
         CREATE TABLE b4 (x interval); CREATE TABLE b5 (x a1); CREATE TABLE b6 (x \"char\"); CREATE TABLE b7 (x timetz)",
    );
    let relations = prepared(&mut open(&server, "postgres"));
    let binary: Vec<_> = relations.iter().filter(|relation| relation.kinds.is_some()).map(|relation| &*relation.name).collect();
    assert_eq!((relations.len(), binary), (9, vec!["a1"]));
    assert_eq!(relations[0].kinds, Some(vec![Kind::Int4; 2]));
}

#[test]
fn text_passes_in_the_encoding_of_its_database() {
    let server = Server::start(majors()[0]);
    for (database, encoding) in [("latin", "LATIN1"), ("ascii", "SQL_ASCII"), ("japanese", "EUC_JP")] {
        server.psql("postgres", &format!("CREATE DATABASE {database} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'"));
        let rows = "SELECT convert_from('\\xa4a2'::bytea, getdatabaseencoding()) || E'\\t' AS x, n FROM generate_series(1, 3) n";
        server.psql(database, &format!("CREATE TABLE t AS {rows}; ALTER TABLE t ADD j jsonb; UPDATE t SET j = to_jsonb(x)"));
        let mut session = open(&server, database);
        let relation = prepared(&mut session).remove(0);
        assert_eq!(compare(&mut session, &relation), 3);
    }
}

#[test]
fn rows_that_are_not_as_said_stop_the_reading_and_others_have_the_fingerprint_of_their_text() {
    let server = Server::start(majors()[0]);
    let sizes = "unnest(ARRAY[1, 300000, 3000000, 9000000])";
    server.psql(
        "postgres",
        &format!("CREATE TABLE t AS SELECT 1 AS a, repeat(E'x\\t', n / 2) AS b, repeat('x', n) AS c FROM {sizes} n"),
    );
    let conn = ConnInfo::resolve(&server.conninfo("postgres"), &Environment::default()).unwrap();
    let args = SnapshotArgs { lock_wait_timeout: 60, serializable_deferrable: false };
    let progress = Progress::new("test", None);
    let read = |kinds: Option<&[Kind]>| {
        let mut snapshot = Snapshot::take(&conn, "test", &ScopeArgs::default(), &args).unwrap();
        snapshot.relations[0].kinds = kinds.map(<[Kind]>::to_vec);
        let reader = Reader { tool: "test", conn: &conn, workers: 1, sink: &NoSink, progress: &progress };
        reader.read(&mut snapshot, &[]).map(|reading| reading.fingerprints)
    };
    assert_eq!(read(Some(&[Kind::Int4, Kind::Text, Kind::Text])).unwrap(), read(None).unwrap());
    for (kinds, column) in [([Kind::Int8, Kind::Text, Kind::Text], "a"), ([Kind::Int4, Kind::Text, Kind::Jsonb], "c")] {
        let failure = read(Some(&kinds)).unwrap_err();
        assert_eq!(failure.exit, Exit::Protocol);
        assert!(failure.message.contains(&format!("\"public\".\"t\": column {column:?} in binary format")), "{}", failure.message);
    }
    assert_eq!(read(Some(&[Kind::Int4, Kind::Text])).unwrap_err().exit, Exit::Protocol);
}

#[test]
fn a_row_that_is_not_whole_or_not_alone_is_refused() {
    let kinds = [Kind::Int4, Kind::Text, Kind::Jsonb, Kind::Bool, Kind::Numeric];
    let values: [Option<&[u8]>; 5] = [Some(&[0, 0, 1, 0]), None, Some(b"\x01{}"), Some(&[1]), Some(&[0; 8])];
    let row = |values: &[Option<&[u8]>]| {
        let mut row = (values.len() as u16).to_be_bytes().to_vec();
        for value in values {
            row.extend(value.map_or(-1, |value| value.len() as i32).to_be_bytes());
            row.extend(value.unwrap_or_default());
        }
        row
    };
    let good = row(&values);
    assert_eq!(line(&good, &kinds).unwrap(), b"256\t\\N\t{}\tt\t0");
    let refused = |row: &[u8]| {
        assert!(line(row, &kinds).is_err(), "{row:?}");
        assert!((1..9).all(|size| in_parts(row, &kinds, size).is_err()), "{row:?}");
    };
    (0..good.len()).for_each(|end| refused(&good[..end]));
    refused(&[&good, &[0][..]].concat());
    refused(&row(&values[..4]));
    refused(&row(&[&values[..], &[None]].concat()));
    for (column, value) in [(0, &[0; 3][..]), (0, &[0; 5]), (2, b""), (2, b"\x02{}"), (3, &[2]), (3, &[]), (4, &[0; 10])] {
        let mut values = values;
        values[column] = Some(value);
        refused(&row(&values));
        assert_eq!(line(&row(&values), &kinds).unwrap_err().column, Some(column));
    }
    let mut negative = good;
    negative[2..6].copy_from_slice(&(-2_i32).to_be_bytes());
    refused(&negative);
}
