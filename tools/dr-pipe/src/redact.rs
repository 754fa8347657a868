//! Which words of a command line, or of what a command says, must not be kept?
//!
//! Both go into records, for whoever wonders later what was done. Passwords have no place there, yet they are found: in URIs,
//! in connection strings, in assignments.

use std::ffi::OsStr;

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// A key that ends in one of these has a secret as its value.
const SECRET_KEYS: [&str; 12] = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "access_key",
    "accesskey",
    "api_key",
    "apikey",
    "secret_key",
    "authorization",
];

/// A value of the environment that is shorter than this is no secret: it would be found in the middle of words.
const SHORTEST_BYTES: usize = 6;

/// The command line without the secrets that can be recognised: passwords in URIs, `password=…` and its like in connection
/// strings, URIs and assignments, and the word after `--password` and its like.
pub fn command<S: AsRef<OsStr>>(command: &[S]) -> Vec<String> {
    let mut value_follows = false;
    let mut kept = Vec::with_capacity(command.len());
    for word in command {
        let word = word.as_ref().to_string_lossy();
        let hide = value_follows && !word.starts_with('-');
        kept.push(if hide { HIDDEN.into() } else { without_values(&without_userinfo(&word)) });
        value_follows = takes_secret(&word);
    }
    kept
}

/// The values of the environment that are secrets, by the names of their variables: no line of output may have them.
pub fn environment() -> Vec<String> {
    let secret = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
        let value = value.into_string().ok().filter(|value| value.len() >= SHORTEST_BYTES)?;
        // The working directory has the name of one, and would hide every path.
        if ["PWD", "OLDPWD"].iter().any(|directory| name == *directory) {
            return None;
        }
        is_secret_key(&name.to_string_lossy()).then_some(value)
    };
    std::env::vars_os().filter_map(secret).collect()
}

/// One line of what a command has said, without the secrets that can be recognised: those of [`command`], values that are
/// `known`, and what looks like a secret key of age, minisign or AWS.
pub fn line(line: &str, known: &[String]) -> String {
    let mut text = line.to_owned();
    for secret in known {
        text = text.replace(secret, HIDDEN);
    }
    let mut value_follows = false;
    let words = text.split(' ').map(|word| {
        let hide = value_follows && !word.is_empty() && !word.starts_with('-');
        value_follows = takes_secret(word) || value_follows && word.is_empty();
        if hide { HIDDEN } else { word }
    });
    let text = words.collect::<Vec<_>>().join(" ");
    without_keys(&without_fields(&without_values(&without_userinfo(&without_literals(&text)))))
}

/// Hides the literal after the word `PASSWORD`, as `CREATE ROLE` and `OPTIONS` of SQL have it.
fn without_literals(text: &str) -> String {
    const WORD: &str = "password";
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.to_ascii_lowercase().find(WORD) {
        let (before, after) = rest.split_at(at + WORD.len());
        out.push_str(before);
        rest = after;
        let literal = after.trim_start();
        if literal.len() < after.len() && literal.starts_with('\'') {
            out.push_str(&after[..after.len() - literal.len()]);
            out.push_str(HIDDEN);
            rest = after_literal(literal);
        }
    }
    out.push_str(rest);
    out
}

/// What stands after the literal that `text` begins with; nothing where it is cut off.
fn after_literal(text: &str) -> &str {
    let mut rest = &text[1..];
    while let Some(quote) = rest.find('\'') {
        rest = &rest[quote + 1..];
        // Two quotes are one inside it.
        match rest.strip_prefix('\'') {
            Some(inside) => rest = inside,
            None => return rest,
        }
    }
    ""
}

/// Whether the word after this one is a secret.
fn takes_secret(word: &str) -> bool {
    word.starts_with("--") && !word.starts_with("--no-") && is_secret_key(word)
}

/// Hides the value of each `key: value` whose key is a secret's, as JSON, YAML and headers have them.
fn without_fields(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(':') {
        let (key, value) = (&rest[..at], &rest[at + 1..]);
        out.push_str(key);
        out.push(':');
        rest = value;
        let blank = value.len() - value.trim_start().len();
        let bare = value.trim_start();
        if is_secret_key(key.trim_end().trim_end_matches(['"', '\''])) && !bare.is_empty() {
            // A header's value has several words: the whole rest of the line, where it is not quoted.
            let end = if bare.starts_with(['"', '\'']) { value_end(bare) } else { bare.len() };
            out.push_str(&value[..blank]);
            out.push_str(HIDDEN);
            rest = &bare[end..];
        }
    }
    out.push_str(rest);
    out
}

/// Hides what looks like a key, whatever stands before it.
fn without_keys(text: &str) -> String {
    let within = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '-' | '_');
    let mut out = String::new();
    let mut rest = text;
    while let Some(from) = rest.find(within) {
        let (before, run) = rest.split_at(from);
        let (run, after) = run.split_at(run.find(|c| !within(c)).unwrap_or(run.len()));
        out.push_str(before);
        out.push_str(if is_key(run) { HIDDEN } else { run });
        rest = after;
    }
    out.push_str(rest);
    out
}

/// Secret keys by their looks.
fn is_key(run: &str) -> bool {
    let upper = run.to_ascii_uppercase();
    let age = ["AGE-SECRET-KEY-", "AGE-PLUGIN-"].iter().any(|start| upper.starts_with(start));
    let minisign = run.len() > 100 && ["RWRTY0Iy", "RWQAAEIy"].iter().any(|start| run.starts_with(start));
    let number = |byte: u8| byte.is_ascii_uppercase() || byte.is_ascii_digit();
    let aws_id = run.len() == 20 && ["AKIA", "ASIA"].iter().any(|start| run.starts_with(start)) && run.bytes().all(number);
    // 40 characters of base64; digests of 40 are in lower case, and paths begin with a slash.
    let has = |is: fn(&u8) -> bool| run.as_bytes().iter().any(is);
    let base64 = run.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+/".contains(&byte)) && !run.starts_with('/');
    let mixed = has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase) && has(u8::is_ascii_digit);
    age || minisign || aws_id || run.len() == 40 && base64 && mixed
}

fn is_secret_key(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    SECRET_KEYS.iter().any(|secret| key.ends_with(secret))
}

/// Hides the password in each `scheme://user:password@host`.
fn without_userinfo(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        out.push_str(before);
        // A password may hold what should have been percent-encoded, even an @: so everything up to the last one goes.
        let end = after.find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '\'' | '"')).unwrap_or(after.len());
        let (authority, tail) = after.split_at(end);
        match authority.rsplit_once('@') {
            Some((userinfo, host)) => {
                let user = userinfo.split(':').next().unwrap_or_default();
                let hidden = if userinfo.contains(':') { format!(":{HIDDEN}") } else { String::new() };
                out.push_str(&format!("{user}{hidden}@{host}"));
            }
            None => out.push_str(authority),
        }
        rest = tail;
    }
    out.push_str(rest);
    out
}

/// Hides the value of each `key = value` whose key is a secret's; values may be quoted as libpq quotes them.
fn without_values(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('=') {
        let (key, value) = (&rest[..at], &rest[at + 1..]);
        out.push_str(key);
        out.push('=');
        rest = value;
        if is_secret_key(key.trim_end()) {
            let value = value.trim_start();
            let end = value_end(value);
            if end > 0 {
                out.push_str(HIDDEN);
            }
            rest = &value[end..];
        }
    }
    out.push_str(rest);
    out
}

/// Where a value ends: at its closing quote, else at the next space, `&` or quote.
fn value_end(value: &str) -> usize {
    let quote = value.chars().next().filter(|c| matches!(c, '\'' | '"'));
    let mut escaped = false;
    for (at, c) in value.char_indices().skip(usize::from(quote.is_some())) {
        let ends = match quote {
            Some(quote) => c == quote,
            None => c.is_whitespace() || matches!(c, '&' | '\'' | '"' | ';'),
        };
        if ends && !escaped {
            return at + usize::from(quote.is_some());
        }
        escaped = c == '\\' && !escaped;
    }
    value.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f96_literals_of_sql_and_the_working_directory() {
        for (said, kept) in [
            (
                "LINE 1: ALTER ROLE app PASSWORD 'can ''ary' VALID UNTIL 'x';",
                "LINE 1: ALTER ROLE app PASSWORD *** VALID UNTIL 'x';",
            ),
            ("CREATE USER MAPPING OPTIONS (user 'x', password 'canary')", "CREATE USER MAPPING OPTIONS (user 'x', password ***)"),
            ("alter role app encrypted password  'cut ''off", "alter role app encrypted password  ***"),
            ("password authentication failed for user 'app'", "password authentication failed for user 'app'"),
        ] {
            assert_eq!(line(said, &[]), kept);
        }
        let directory = std::env::var("PWD").unwrap_or_default();
        assert!(directory.len() < SHORTEST_BYTES || !environment().contains(&directory));
    }

    #[test]
    fn f96_secrets_on_a_command_line_are_not_kept() {
        for (given, kept) in [
            ("postgresql://app:canary@db/shop", "postgresql://app:***@db/shop"),
            ("postgresql://app:can@ary@db/shop", "postgresql://app:***@db/shop"),
            ("postgres://app@db/shop?password=canary&sslmode=require", "postgres://app@db/shop?password=***&sslmode=require"),
            ("host=db password=canary dbname=shop", "host=db password=*** dbname=shop"),
            ("host=db password = 'can\\' ary' dbname=shop", "host=db password =*** dbname=shop"),
            ("host=db sslpassword=canary", "host=db sslpassword=***"),
            ("PGPASSWORD=canary", "PGPASSWORD=***"),
            ("PGPASSWORD=canary pg_dump shop | gzip", "PGPASSWORD=*** pg_dump shop | gzip"),
            (
                "export PGPASSWORD=\"can ary\"; pg_dump 'postgresql://a:canary@h/d'",
                "export PGPASSWORD=***; pg_dump 'postgresql://a:***@h/d'",
            ),
            ("--password=canary", "--password=***"),
            ("AWS_SECRET_ACCESS_KEY=canary", "AWS_SECRET_ACCESS_KEY=***"),
        ] {
            assert_eq!(command(&[given]), [kept]);
        }
        assert_eq!(command(&["mysqldump", "--password", "canary", "shop"]), ["mysqldump", "--password", "***", "shop"]);
    }

    #[test]
    fn f96_secrets_in_what_a_command_says_are_not_kept() {
        let known = ["canary-of-the-environment".to_owned()];
        for (given, kept) in [
            (
                "could not connect to postgresql://app:canary@db/shop: refused",
                "could not connect to postgresql://app:***@db/shop: refused",
            ),
            ("+ mysqldump --password canary shop", "+ mysqldump --password *** shop"),
            ("connecting with canary-of-the-environment", "connecting with ***"),
            ("identity AGE-SECRET-KEY-1QQQQQQQQQQ is wrong", "identity *** is wrong"),
            ("age-secret-key-1qqqqqqqqqq", "***"),
            ("key AKIAIOSFODNN7EXAMPLE, wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "key ***, ***"),
            (r#"{"SecretAccessKey": "can\"ary", "Version": 1}"#, r#"{"SecretAccessKey": ***, "Version": 1}"#),
            ("> Authorization: Basic canary", "> Authorization: ***"),
            ("password: canary", "password: ***"),
        ] {
            assert_eq!(line(given, &known), kept);
        }
        for stays in [
            "FATAL:  password authentication failed for user \"app\"",
            "Password:",
            "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b9f86d081884c7d659a2feaa0",
            "da39a3ee5e6b4b0d3255bfef95601890afd80709",
            "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kdsfc7rqsecret",
            "/var/lib/postgresql/15/Main/base/1234567",
        ] {
            assert_eq!(line(stays, &known), stays);
        }
    }

    #[test]
    fn what_is_no_secret_stays() {
        for given in
            ["pg_dump", "-Fc", "--no-password", "postgresql://db/shop", "postgresql://app@db:5432/shop", "host=db user=app", "="]
        {
            assert_eq!(command(&[given]), [given]);
        }
        for given in ["pg_dump --password -Fc shop", "pg_dump --no-password shop"] {
            assert_eq!(command(&given.split(' ').collect::<Vec<_>>()).join(" "), given);
        }
    }
}
