//! What does a connection string say? (PostgreSQL, "Connection Strings".) Nothing outside of the string is looked at.

use std::collections::BTreeMap;

use super::keywords::keyword;
use crate::Error;

/// What a connection string, a service or the environment sets: keyword to value.
pub(super) type Settings = BTreeMap<&'static str, String>;

/// Whether libpq takes `text`, given as a database name, for a connection string.
pub fn is_connection_string(text: &str) -> bool {
    after_scheme(text).is_some() || text.contains('=')
}

/// Reads a connection string of either form: `host=… port=…` or `postgresql://…`.
///
/// # Errors
/// [`Error::Config`] in libpq's words.
pub(super) fn parse(text: &str) -> Result<Settings, Error> {
    match after_scheme(text) {
        Some(rest) => parse_uri(rest, text),
        None => parse_pairs(text),
    }
}

fn after_scheme(text: &str) -> Option<&str> {
    text.strip_prefix("postgresql://").or_else(|| text.strip_prefix("postgres://"))
}

/// What C's isspace() says in the C locale.
fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\n' | '\x0b' | '\x0c' | '\r')
}

fn parse_pairs(text: &str) -> Result<Settings, Error> {
    let mut settings = Settings::new();
    let mut rest = text.trim_start_matches(is_space);
    while !rest.is_empty() {
        let end = rest.find(|c| c == '=' || is_space(c)).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        let after = after.trim_start_matches(is_space).strip_prefix('=');
        let Some(after) = after else {
            return Err(Error::config(format!("missing \"=\" after \"{name}\" in connection info string")));
        };
        let (value, after) = value(after.trim_start_matches(is_space))?;
        store(&mut settings, name, value)?;
        rest = after.trim_start_matches(is_space);
    }
    Ok(settings)
}

/// A value at the start of `text`, quoted or not, and what follows it.
fn value(text: &str) -> Result<(String, &str), Error> {
    let (quoted, body) = match text.strip_prefix('\'') {
        Some(body) => (true, body),
        None => (false, text),
    };
    let mut value = String::new();
    let mut characters = body.char_indices();
    while let Some((at, character)) = characters.next() {
        match character {
            '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
            '\'' if quoted => return Ok((value, &body[at + 1..])),
            space if !quoted && is_space(space) => return Ok((value, &body[at + 1..])),
            other => value.push(other),
        }
    }
    if quoted { Err(Error::config("unterminated quoted string in connection info string")) } else { Ok((value, "")) }
}

fn store(settings: &mut Settings, name: &str, value: String) -> Result<(), Error> {
    let (name, value) = match name {
        "requiressl" => ("sslmode", if value.starts_with('1') { "require".into() } else { "prefer".into() }),
        _ => (name, value),
    };
    let known = keyword(name).ok_or_else(|| Error::config(format!("invalid connection option \"{name}\"")))?;
    settings.insert(known, value);
    Ok(())
}

fn parse_uri(rest: &str, uri: &str) -> Result<Settings, Error> {
    let mut settings = Settings::new();
    let mut rest = rest;
    let credentials_end = rest.find(['@', '/']).filter(|at| rest[*at..].starts_with('@'));
    if let Some(at) = credentials_end {
        let (user, password) = rest[..at].split_once(':').unwrap_or((&rest[..at], ""));
        store_decoded(&mut settings, "user", user)?;
        store_decoded(&mut settings, "password", password)?;
        rest = &rest[at + 1..];
    }
    let (mut hosts, mut ports) = (String::new(), String::new());
    loop {
        let (host, after) = uri_host(rest, uri)?;
        hosts.push_str(host);
        rest = after;
        if let Some(after) = rest.strip_prefix(':') {
            let end = after.find(['/', '?', ',']).unwrap_or(after.len());
            ports.push_str(&after[..end]);
            rest = &after[end..];
        }
        let Some(after) = rest.strip_prefix(',') else { break };
        hosts.push(',');
        ports.push(',');
        rest = after;
    }
    store_decoded(&mut settings, "host", &hosts)?;
    store_decoded(&mut settings, "port", &ports)?;
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    store_decoded(&mut settings, "dbname", path.strip_prefix('/').unwrap_or(path))?;
    parse_query(query, &mut settings)?;
    Ok(settings)
}

/// A host at the start of `text`, and what follows it.
fn uri_host<'a>(text: &'a str, uri: &str) -> Result<(&'a str, &'a str), Error> {
    let uri = without_password(uri);
    let Some(address) = text.strip_prefix('[') else {
        let end = text.find([':', '/', '?', ',']).unwrap_or(text.len());
        return Ok(text.split_at(end));
    };
    let Some(end) = address.find(']') else {
        let message = "end of string reached when looking for matching \"]\" in IPv6 host address in URI";
        return Err(Error::config(format!("{message}: \"{uri}\"")));
    };
    if end == 0 {
        return Err(Error::config(format!("IPv6 host address may not be empty in URI: \"{uri}\"")));
    }
    let after = &address[end + 1..];
    match after.chars().next() {
        None | Some(':' | '/' | '?' | ',') => Ok((&address[..end], after)),
        Some(other) => Err(Error::config(format!("unexpected character \"{other}\" in URI (expected \":\" or \"/\"): \"{uri}\""))),
    }
}

fn parse_query(query: &str, settings: &mut Settings) -> Result<(), Error> {
    let mut rest = query;
    while !rest.is_empty() {
        let (pair, after) = rest.split_once('&').unwrap_or((rest, ""));
        rest = after;
        let Some((name, value)) = pair.split_once('=') else {
            return Err(Error::config(format!("missing key/value separator \"=\" in URI query parameter: \"{pair}\"")));
        };
        if value.contains('=') {
            return Err(Error::config(format!("extra key/value separator \"=\" in URI query parameter: \"{name}\"")));
        }
        let (name, value) = (decode(name)?, decode(value)?);
        // As JDBC writes it.
        let (name, value) = if name == "ssl" && value == "true" { ("sslmode".into(), "require".into()) } else { (name, value) };
        if keyword(&name).is_none() && name != "requiressl" {
            return Err(Error::config(format!("invalid URI query parameter: \"{name}\"")));
        }
        store(settings, &name, value)?;
    }
    Ok(())
}

/// Stores what a URI says between its delimiters; nothing there leaves it to the environment.
fn store_decoded(settings: &mut Settings, name: &str, text: &str) -> Result<(), Error> {
    if text.is_empty() { Ok(()) } else { store(settings, name, decode(text)?) }
}

/// Percent-decodes; spaces around are dropped and others refused, as libpq 18 does.
fn decode(text: &str) -> Result<String, Error> {
    let trimmed = text.trim_start_matches(' ').trim_end_matches(is_space);
    if trimmed.contains(is_space) {
        return Err(Error::config(format!("unexpected spaces found in \"{text}\", use percent-encoded spaces (%20) instead")));
    }
    let mut bytes = Vec::with_capacity(trimmed.len());
    let mut rest = trimmed.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|digit| char::from(digit).to_digit(16));
        let (Some(high), Some(low)) = (digit(), digit()) else {
            return Err(Error::config(format!("invalid percent-encoded token: \"{text}\"")));
        };
        match u8::try_from(high << 4 | low).expect("two hexadecimal digits are a byte") {
            0 => return Err(Error::config(format!("forbidden value %00 in percent-encoded value: \"{text}\""))),
            byte => bytes.push(byte),
        }
    }
    String::from_utf8(bytes).map_err(|_| Error::config(format!("not UTF-8 when decoded: \"{text}\"")))
}

/// The URI as an error message may show it.
fn without_password(uri: &str) -> String {
    let Some((head, tail)) = uri.split_once('@') else { return uri.into() };
    let scheme_end = head.find("://").map_or(0, |at| at + 3);
    match head[scheme_end..].find(':') {
        Some(colon) => format!("{}:***@{tail}", &head[..scheme_end + colon]),
        None => uri.into(),
    }
}
