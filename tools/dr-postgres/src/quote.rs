//! Writing SQL identifiers and literals, and file names for them.

use dr_pipe::Sha256;

/// `name` as a quoted SQL identifier. Always quoted: quoting is never wrong, and no list of keywords has to be kept.
pub fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// `schema.name` with both parts quoted.
pub fn qualified(schema: &str, name: &str) -> String {
    format!("{}.{}", identifier(schema), identifier(name))
}

/// `text` as a SQL string literal that reads the same whatever `standard_conforming_strings` says.
pub fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if text.contains('\\') { format!(" E'{}'", quoted.replace('\\', "\\\\")) } else { format!("'{quoted}'") }
}

/// A database's name as a connection string, for programs that take a bare name with `=` in it, or the beginning of a URI, for one
/// itself: that could lead to another server.
pub fn connection_string(database: &str) -> String {
    format!("dbname='{}'", database.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// The value of a setting as `ALTER DATABASE … SET` wants it. Parameters that are lists of quoted names are stored with
/// their quotes (PostgreSQL's variable_is_guc_list_quote) and become lists of literals, as an identifier cannot be empty;
/// all others are one literal.
pub fn setting(name: &str, value: &str) -> String {
    const LISTS: [&str; 6] = [
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    ];
    let names = LISTS.iter().any(|list| list.eq_ignore_ascii_case(name)).then(|| listed(value)).flatten();
    let names = names.unwrap_or_else(|| vec![value.to_owned()]);
    let literals: Vec<_> = names.iter().map(|name| literal(name).trim_start().to_owned()).collect();
    literals.join(", ")
}

/// The names in a list such as `"$user", public` (PostgreSQL's SplitGUCList); none where it is no such list.
fn listed(text: &str) -> Option<Vec<String>> {
    let mut names = Vec::new();
    let mut rest = text.trim_start();
    loop {
        if let Some(mut quoted) = rest.strip_prefix('"') {
            let mut name = String::new();
            loop {
                let (part, behind) = quoted.split_once('"')?;
                name.push_str(part);
                let Some(more) = behind.strip_prefix('"') else { break rest = behind };
                name.push('"');
                quoted = more;
            }
            names.push(name);
        } else {
            let end = rest.find(|c: char| c == ',' || c.is_ascii_whitespace()).unwrap_or(rest.len());
            let (name, behind) = rest.split_at(end);
            names.push((!name.is_empty()).then(|| name.to_owned())?);
            rest = behind;
        }
        rest = rest.trim_start();
        if rest.is_empty() {
            return Some(names);
        }
        rest = rest.strip_prefix(',')?.trim_start();
    }
}

/// Longest folder name that [`folder`] gives, in bytes: file systems allow 255, tools add suffixes.
const FOLDER_BYTES: usize = 180;

/// A folder name for a table, readable where the name is: letters, digits, `_` and `-` as they are, all else as `%XX`;
/// cut to 180 bytes and told apart by eight digits of a digest where longer.
pub fn folder(schema: &str, name: &str) -> String {
    let text = format!("{}.{}", percent(schema), percent(name));
    if text.len() <= FOLDER_BYTES {
        return text;
    }
    let digest = Sha256::of(text.as_bytes()).to_string();
    format!("{}~{}", &text[..FOLDER_BYTES], &digest[..8])
}

fn percent(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-".contains(&byte);
    text.bytes().map(|byte| if plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// As [`literal`], in ASCII: it reads the same whatever `client_encoding` is.
pub fn ascii_literal(text: &str) -> String {
    if text.is_ascii() { literal(text) } else { format!("U&'{}'", escaped(&text.replace('\'', "''"))) }
}

/// A statement with every quoted name in ASCII (`U&"\00e9"`), so that it reads the same whatever `client_encoding` is: that
/// one is the rows'.
pub fn ascii(statement: &str) -> String {
    if statement.is_ascii() {
        return statement.to_owned();
    }
    unicode_names(statement)
}

fn unicode_names(statement: &str) -> String {
    let mut out = String::with_capacity(statement.len() + 16);
    let mut chars = statement.chars().peekable();
    while let Some(char) = chars.next() {
        if char != '"' {
            out.push(char);
            continue;
        }
        let mut name = String::new();
        while let Some(char) = chars.next() {
            match char {
                '"' if chars.next_if_eq(&'"').is_some() => name.push_str("\"\""),
                '"' => break,
                _ => name.push(char),
            }
        }
        out.push_str(&quoted(&name));
    }
    out
}

/// `name`, its quotes doubled already.
fn quoted(name: &str) -> String {
    if name.is_ascii() {
        return format!("\"{name}\"");
    }
    format!("U&\"{}\"", escaped(name))
}

/// As it stands between the quotes that `U&` comes before.
fn escaped(text: &str) -> String {
    let escape = |char: char| match char {
        '\\' => "\\\\".to_owned(),
        _ if char.is_ascii() => char.to_string(),
        _ => format!("\\+{:06X}", char as u32),
    };
    text.chars().map(escape).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_are_lists_of_names_become_lists_of_literals() {
        assert_eq!(setting("search_path", r#""$user", a,"B, ""c""", """#), r#"'$user', 'a', 'B, "c"', ''"#);
        assert_eq!(setting("Search_Path", "\"it's\\\""), "E'it''s\\\\'");
        assert_eq!(setting("temp_tablespaces", ""), "''");
        assert_eq!(setting("search_path", "\"a"), "'\"a'");
        assert_eq!(setting("my.list", "a, b"), "'a, b'");
    }

    #[test]
    fn no_name_of_a_database_leads_elsewhere() {
        assert_eq!(connection_string("host=x dbname=it's\\"), "dbname='host=x dbname=it\\'s\\\\'");
    }

    #[test]
    fn names_beyond_ascii_are_escaped_and_others_left_alone() {
        assert_eq!(ascii("COPY \"a\\b\".\"c\"\"d\" FROM STDIN"), "COPY \"a\\b\".\"c\"\"d\" FROM STDIN");
        assert_eq!(ascii("COPY \"a\".\"é\"\"\\\" (\"x\") FROM"), "COPY \"a\".U&\"\\+0000E9\"\"\\\\\" (\"x\") FROM");
    }

    #[test]
    fn names_of_any_kind_are_quoted_and_filed() {
        assert_eq!(qualified("Üb\"er", "a b"), "\"Üb\"\"er\".\"a b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b'c"), " E'a\\\\b''c'");
        assert_eq!((ascii_literal("it's"), ascii_literal("é's\\")), ("'it''s'".into(), "U&'\\+0000E9''s\\\\'".into()));
        assert_eq!(folder("public", "a/b.."), "public.a%2Fb%2E%2E");
        let long = folder(&"é".repeat(31), &"é".repeat(31));
        assert_eq!(long.len(), 189);
        assert_ne!(long, folder(&"é".repeat(31), &format!("{}x", "é".repeat(30))));
    }
}
