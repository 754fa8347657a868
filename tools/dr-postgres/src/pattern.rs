//! pg_dump's name patterns: how `--table 'crm.*'` finds its tables.
//!
//! The rules are those of psql(1), Patterns, as pg_dump(1) applies them: unquoted letters fold to lower case, `*` and `?`
//! are wild, a dot parts schema and name, all else is a regular expression except `$`; quotes make everything literal.

/// A pattern as two regular expressions of PostgreSQL, each matching a whole name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// For the schema; none where the pattern has no dot: then only what the search path shows is meant.
    pub schema: Option<String>,
    /// For the name.
    pub name: String,
}

/// Reads a pattern of `schema.name` form.
///
/// # Errors
/// Says what is wrong: an open quote, too many dots.
pub fn parse(text: &str) -> Result<Pattern, String> {
    let mut parts = split(text)?;
    match parts.len() {
        1 => Ok(Pattern { schema: None, name: anchored(&parts.remove(0)) }),
        2 => {
            let name = anchored(&parts.remove(1));
            Ok(Pattern { schema: Some(anchored(&parts.remove(0))), name })
        }
        _ => Err(format!("improper qualified name (too many dotted names): {text}")),
    }
}

/// Reads a pattern that names a schema, a server or anything else without dots.
///
/// # Errors
/// As [`parse`], and for a dot.
pub fn parse_undotted(text: &str) -> Result<String, String> {
    let mut parts = split(text)?;
    if parts.len() != 1 {
        return Err(format!("improper name (a dot outside quotes): {text}"));
    }
    Ok(anchored(&parts.remove(0)))
}

fn anchored(part: &str) -> String {
    format!("^({part})$")
}

fn split(text: &str) -> Result<Vec<String>, String> {
    let mut parts = vec![String::new()];
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        let part = parts.last_mut().expect("parts is never empty");
        match char {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                part.push('"');
            }
            '"' => quoted = !quoted,
            '.' if !quoted => parts.push(String::new()),
            '*' if !quoted => part.push_str(".*"),
            '?' if !quoted => part.push('.'),
            '$' => part.push_str("\\$"),
            '[' if quoted && chars.peek() == Some(&']') => part.push_str("\\["),
            '|' | '*' | '+' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '.' | '^' | '\\' if quoted => {
                part.push('\\');
                part.push(char);
            }
            _ if quoted => part.push(char),
            _ => part.extend(char.to_lowercase()),
        }
    }
    if quoted {
        return Err(format!("unterminated quoted name: {text}"));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_become_the_regular_expressions_of_psql() {
        let name = |text| parse(text).map(|pattern| (pattern.schema, pattern.name));
        assert_eq!(name("Users"), Ok((None, "^(users)$".into())));
        assert_eq!(name("\"Users\""), Ok((None, "^(Users)$".into())));
        assert_eq!(name("crm.*"), Ok((Some("^(crm)$".into()), "^(.*)$".into())));
        assert_eq!(name("\"a.b\".c?d"), Ok((Some("^(a\\.b)$".into()), "^(c.d)$".into())));
        assert_eq!(name("a|b"), Ok((None, "^(a|b)$".into())));
        assert_eq!(name("x$"), Ok((None, "^(x\\$)$".into())));
        assert_eq!(name("\"q\"\"q\""), Ok((None, "^(q\"q)$".into())));
        assert!(name("a.b.c").is_err());
        assert!(name("\"open").is_err());
        assert!(parse_undotted("a.b").is_err());
    }
}
