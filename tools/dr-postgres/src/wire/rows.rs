//! The rows that a query returned, as text.

use std::ops::Range;
use std::str::FromStr;

use crate::Error;

/// All rows of a result. Its values are checked to be UTF-8 when they arrive.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    columns: Vec<String>,
    data: Vec<u8>,
    cells: Vec<Option<Range<usize>>>,
    count: usize,
}

/// One row of a result.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    rows: &'a Rows,
    index: usize,
}

/// A way to name a column: its number from 0, or its name (of several the first).
pub trait Column: std::fmt::Display + Copy {
    /// The column's number, if there is such a column.
    fn locate(self, names: &[String]) -> Option<usize>;
}

impl Column for usize {
    fn locate(self, names: &[String]) -> Option<usize> {
        Some(self).filter(|at| *at < names.len())
    }
}

impl Column for &str {
    fn locate(self, names: &[String]) -> Option<usize> {
        names.iter().position(|name| name == self)
    }
}

impl Rows {
    pub(super) fn new(columns: Vec<String>) -> Self {
        Rows { columns, ..Rows::default() }
    }

    /// Takes in one row; the ranges are within `data`.
    pub(super) fn push(&mut self, data: &[u8], ranges: impl Iterator<Item = Option<Range<usize>>>) -> Result<(), Error> {
        let offset = self.data.len();
        self.data.extend_from_slice(data);
        let before = self.cells.len();
        for range in ranges {
            if range.clone().is_some_and(|range| std::str::from_utf8(&data[range]).is_err()) {
                let name = self.columns.get(self.cells.len() - before).map_or("?", String::as_str);
                return Err(Error::Config {
                    message: format!("a value of column \"{name}\" is not UTF-8"),
                    hint: "set client_encoding to UTF8 for queries; a SQL_ASCII database may hold anything",
                });
            }
            self.cells.push(range.map(|range| offset + range.start..offset + range.end));
        }
        if self.cells.len() - before != self.columns.len() {
            return Err(Error::protocol("a row of another width than announced"));
        }
        self.count += 1;
        Ok(())
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The columns' names.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// The rows, first to last.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Row<'_>> {
        (0..self.count).map(|index| Row { rows: self, index })
    }

    /// The only row.
    ///
    /// # Errors
    /// [`Error::Protocol`] if there is none, or more.
    pub fn one(&self) -> Result<Row<'_>, Error> {
        match self.count {
            1 => Ok(Row { rows: self, index: 0 }),
            count => Err(Error::protocol(format!("{count} rows where one was expected"))),
        }
    }

    /// The only value of the only row, which is not null.
    ///
    /// # Errors
    /// [`Error::Protocol`] if it is not so.
    pub fn value(&self) -> Result<&str, Error> {
        self.one()?.text(0)
    }
}

impl<'a> Row<'a> {
    /// The text of a value; none if it is null.
    ///
    /// # Panics
    /// If there is no such column: a bug of the caller.
    pub fn get(&self, column: impl Column) -> Option<&'a str> {
        let bytes = self.bytes(column)?;
        Some(std::str::from_utf8(bytes).expect("Rows::push has checked it"))
    }

    /// The bytes of a value; none if it is null.
    ///
    /// # Panics
    /// If there is no such column: a bug of the caller.
    pub fn bytes(&self, column: impl Column) -> Option<&'a [u8]> {
        let width = self.rows.columns.len();
        let at = column.locate(&self.rows.columns).unwrap_or_else(|| panic!("no column {column} in {:?}", self.rows.columns));
        self.rows.cells[self.index * width + at].clone().map(|range| &self.rows.data[range])
    }

    /// The text of a value that is never null.
    ///
    /// # Errors
    /// [`Error::Protocol`] if it is.
    pub fn text(&self, column: impl Column) -> Result<&'a str, Error> {
        self.get(column).ok_or_else(|| Error::protocol(format!("column {column} is null")))
    }

    /// A value that is never null, read as `T`: a number, say.
    ///
    /// # Errors
    /// [`Error::Protocol`] if it is null, or does not read so.
    pub fn parse<T: FromStr>(&self, column: impl Column) -> Result<T, Error> {
        let text = self.text(column)?;
        text.parse().map_err(|_| Error::protocol(format!("column {column} holds \"{text}\"")))
    }

    /// A boolean that is never null.
    ///
    /// # Errors
    /// [`Error::Protocol`] if it is null, or no boolean.
    pub fn flag(&self, column: impl Column) -> Result<bool, Error> {
        match self.text(column)? {
            "t" => Ok(true),
            "f" => Ok(false),
            other => Err(Error::protocol(format!("column {column} holds \"{other}\", no boolean"))),
        }
    }
}
