//! Where does one SQL statement end and the next begin? And is there anything between them that only psql understands?
//!
//! The scanner follows psql's lexer as far as dumps need it: strings, quoted names, dollar quotes, comments, parentheses,
//! and the rows below a `COPY … FROM stdin;`. A `BEGIN ATOMIC` body is cut at its semicolons: callers look for statements
//! that no function body holds alone.

use std::io::{self, BufRead};

/// What a script is made of, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// A statement without its semicolon and without the comments before it.
    Statement(String),
    /// A psql meta-command: the rest of its line, from the backslash on.
    Meta(String),
    /// A comment line, without its dashes.
    Comment(String),
}

/// Longest statement that is kept whole; the rest of a longer one is passed over, as no definition is that long.
const MAX_STATEMENT_BYTES: usize = 1 << 20;

/// What the scanner is inside of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Inside {
    Nothing,
    /// A string; whether backslashes escape in it.
    Text(bool),
    Name,
    /// A dollar-quoted string with its tag, `$` included.
    Dollar(String),
    /// A block comment, nested so deep.
    Block(u32),
    Copy,
}

/// Reads a script to its end and hands over its parts with the number of the line each ends on.
///
/// # Errors
/// What `visit` or reading gives; [`io::ErrorKind::UnexpectedEof`] where the script ends inside something.
pub fn scan(mut input: impl BufRead, mut visit: impl FnMut(u64, Part) -> io::Result<()>) -> io::Result<()> {
    let mut scanner = Scanner { inside: Inside::Nothing, statement: Vec::new(), parts: Vec::new() };
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        if input.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        scanner.line(&line);
        for part in scanner.parts.drain(..) {
            visit(number, part)?;
        }
    }
    if scanner.inside != Inside::Nothing || !scanner.statement.trim_ascii().is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it ends in the middle of a statement"));
    }
    Ok(())
}

/// The statements of a short script. Meta-commands and comments are left out.
///
/// # Errors
/// Where it ends inside a statement.
pub fn statements(script: &str) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    scan(script.as_bytes(), |_, part| {
        if let Part::Statement(statement) = part {
            found.push(statement);
        }
        Ok(())
    })?;
    Ok(found)
}

struct Scanner {
    inside: Inside,
    statement: Vec<u8>,
    parts: Vec<Part>,
}

impl Scanner {
    fn line(&mut self, line: &[u8]) {
        if self.inside == Inside::Copy {
            if line.trim_ascii_end() == b"\\." {
                self.inside = Inside::Nothing;
            }
            return;
        }
        let mut at = 0;
        while at < line.len() {
            at += self.step(&line[at..]);
        }
    }

    fn step(&mut self, rest: &[u8]) -> usize {
        let next = rest.get(1).copied();
        match (&mut self.inside, rest[0]) {
            (Inside::Copy, _) => rest.len(),
            (Inside::Text(true), b'\\') => self.keep(rest, 2),
            (Inside::Text(_), b'\'') | (Inside::Name, b'"') => {
                // A doubled quote closes and opens again, which comes to the same.
                self.inside = Inside::Nothing;
                self.keep(rest, 1)
            }
            (Inside::Dollar(tag), b'$') if rest.starts_with(tag.as_bytes()) => {
                let length = tag.len();
                self.inside = Inside::Nothing;
                self.keep(rest, length)
            }
            (Inside::Text(_) | Inside::Name | Inside::Dollar(_), _) => self.keep(rest, 1),
            (Inside::Block(depth), b'*') if next == Some(b'/') => {
                *depth -= 1;
                if *depth == 0 {
                    self.inside = Inside::Nothing;
                }
                2
            }
            (Inside::Block(depth), b'/') if next == Some(b'*') => {
                *depth += 1;
                2
            }
            (Inside::Block(_), _) => 1,
            (Inside::Nothing, byte) => self.outside(byte, next, rest),
        }
    }

    fn outside(&mut self, byte: u8, next: Option<u8>, rest: &[u8]) -> usize {
        match (byte, next) {
            (b'-', Some(b'-')) => {
                self.parts.push(Part::Comment(text(rest[2..].trim_ascii())));
                self.keep(b"\n", 1);
                rest.len()
            }
            (b'/', Some(b'*')) => {
                self.inside = Inside::Block(1);
                2
            }
            (b'\\', _) => {
                self.parts.push(Part::Meta(text(rest.trim_ascii())));
                rest.len()
            }
            (b';', _) => {
                self.end_statement();
                1
            }
            (b'\'', _) => {
                self.inside = Inside::Text(self.escapes());
                self.keep(rest, 1)
            }
            (b'"', _) => {
                self.inside = Inside::Name;
                self.keep(rest, 1)
            }
            (b'$', _) => match dollar_tag(rest).filter(|_| !self.statement.last().is_some_and(|last| is_word(*last))) {
                Some(tag) => {
                    let length = tag.len();
                    self.inside = Inside::Dollar(tag);
                    self.keep(rest, length)
                }
                None => self.keep(rest, 1),
            },
            _ => self.keep(rest, 1),
        }
    }

    /// Whether a string that opens here is an `E'…'` one.
    fn escapes(&self) -> bool {
        match *self.statement.as_slice() {
            [b'E' | b'e'] => true,
            [.., before, b'E' | b'e'] => !is_word(before),
            _ => false,
        }
    }

    fn keep(&mut self, rest: &[u8], length: usize) -> usize {
        let length = length.min(rest.len());
        let leading = self.statement.is_empty() && rest[0].is_ascii_whitespace();
        if !leading && self.statement.len() < MAX_STATEMENT_BYTES {
            self.statement.extend_from_slice(&rest[..length]);
        }
        length
    }

    fn end_statement(&mut self) {
        let statement = text(self.statement.trim_ascii());
        self.statement.clear();
        let lower = statement.to_ascii_lowercase();
        if lower.starts_with("copy ") && lower.ends_with("from stdin") {
            self.inside = Inside::Copy;
        }
        if !statement.is_empty() {
            self.parts.push(Part::Statement(statement));
        }
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || byte >= 0x80
}

/// The opening tag of a dollar-quoted string, if one starts here.
fn dollar_tag(rest: &[u8]) -> Option<String> {
    let length = rest[1..].iter().position(|byte| *byte == b'$')?;
    let tag = &rest[1..=length];
    let legal = tag.iter().all(|byte| is_word(*byte) && *byte != b'$') && !tag.first().is_some_and(u8::is_ascii_digit);
    legal.then(|| text(&rest[..length + 2]))
}

/// The words of a statement: names without their quotes, bare words in lower case, strings and signs as they are.
pub fn words(statement: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut chars = statement.chars().peekable();
    while let Some(first) = chars.next() {
        match first {
            _ if first.is_whitespace() => {}
            '"' | '\'' => {
                let mut word = if first == '\'' { "'".to_owned() } else { String::new() };
                while let Some(char) = chars.next() {
                    if char == first && chars.next_if_eq(&first).is_none() {
                        break;
                    }
                    word.push(char);
                }
                words.push(word);
            }
            _ if first.is_alphanumeric() || first == '_' => {
                let mut word: String = first.to_lowercase().collect();
                while let Some(char) = chars.next_if(|char| char.is_alphanumeric() || "_$".contains(*char)) {
                    word.extend(char.to_lowercase());
                }
                words.push(word);
            }
            _ => words.push(first.into()),
        }
    }
    words
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn parts(script: &str) -> Vec<Part> {
        let mut parts = Vec::new();
        scan(script.as_bytes(), |_, part| {
            parts.push(part);
            Ok(())
        })
        .unwrap();
        parts
    }

    #[test]
    fn statements_end_at_semicolons_outside_of_everything() {
        let script =
            "-- a comment; not a statement\nSELECT ';', \";\", E'\\';', $x$;$x$, a$b$c /* ; /* ; */ ; */ ;\n\nSELECT 'it''s;';";
        assert_eq!(statements(script).unwrap(), ["SELECT ';', \";\", E'\\';', $x$;$x$, a$b$c", "SELECT 'it''s;'"]);
        assert!(statements("SELECT 'open").is_err());
        assert!(statements("SELECT 1").is_err());
        assert!(statements(" \n -- only this\n").unwrap().is_empty());
    }

    #[test]
    fn rows_of_copy_are_passed_over() {
        let script = "COPY public.t (a) FROM stdin;\n\\! rm -rf /\nit's;\n\\.\nSELECT 1;\n";
        assert_eq!(parts(script), [Part::Statement("COPY public.t (a) FROM stdin".into()), Part::Statement("SELECT 1".into())]);
        assert!(scan(&b"COPY t FROM stdin;\n1\n"[..], |_, _| Ok(())).is_err());
    }

    #[test]
    fn f77_a_meta_command_behind_a_newline_in_a_name_is_seen() {
        let hostile = "-- Name: x\n\\! touch /tmp/owned\n; Type: TABLE\nSELECT 1 \\gexec\n;\n";
        let metas: Vec<_> = parts(hostile).into_iter().filter(|part| matches!(part, Part::Meta(_))).collect();
        assert_eq!(metas, [Part::Meta("\\! touch /tmp/owned".into()), Part::Meta("\\gexec".into())]);
        assert!(parts("SELECT '\n\\! no';\n").iter().all(|part| !matches!(part, Part::Meta(_))));
    }

    #[test]
    fn words_are_names_strings_and_signs() {
        assert_eq!(words("GRANT \"Big \"\"One\" TO a_1 WITH x 'It''s'"), ["grant", "Big \"One", "to", "a_1", "with", "x", "'It's"]);
    }
}
