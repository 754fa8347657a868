//! Which words of a command line must not be kept?
//!
//! The command goes into the manifest, for whoever wonders later where the bytes came from. Passwords have no place on a
//! command line, yet they are found there: in URIs, in connection strings, in assignments.

use std::ffi::OsStr;

/// What stands in the place of a secret.
const HIDDEN: &str = "***";

/// A key that ends in one of these has a secret as its value.
const SECRET_KEYS: [&str; 8] = ["password", "passwd", "passphrase", "pwd", "secret", "token", "access_key", "api_key"];

/// The command line without the secrets that can be recognised: passwords in URIs, `password=…` and its like in connection
/// strings, URIs and assignments, and the word after `--password` and its like.
pub fn redact<S: AsRef<OsStr>>(command: &[S]) -> Vec<String> {
    let mut value_follows = false;
    let mut kept = Vec::with_capacity(command.len());
    for word in command {
        let word = word.as_ref().to_string_lossy();
        let hide = value_follows && !word.starts_with('-');
        kept.push(if hide { HIDDEN.into() } else { without_values(&without_userinfo(&word)) });
        value_follows = word.starts_with("--") && !word.starts_with("--no-") && is_secret_key(&word);
    }
    kept
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
            assert_eq!(redact(&[given]), [kept]);
        }
        assert_eq!(redact(&["mysqldump", "--password", "canary", "shop"]), ["mysqldump", "--password", "***", "shop"]);
    }

    #[test]
    fn what_is_no_secret_stays() {
        for given in
            ["pg_dump", "-Fc", "--no-password", "postgresql://db/shop", "postgresql://app@db:5432/shop", "host=db user=app", "="]
        {
            assert_eq!(redact(&[given]), [given]);
        }
        for given in ["pg_dump --password -Fc shop", "pg_dump --no-password shop"] {
            assert_eq!(redact(&given.split(' ').collect::<Vec<_>>()).join(" "), given);
        }
    }
}
