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

/// The value of a setting as `ALTER DATABASE … SET` wants it. Parameters that are lists of quoted names are stored with
/// their quotes (PostgreSQL's variable_is_guc_list_quote) and go as they are; all others are literals.
pub fn setting(name: &str, value: &str) -> String {
    const LISTS: [&str; 6] = [
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    ];
    let list = LISTS.iter().any(|list| list.eq_ignore_ascii_case(name));
    if list && !value.is_empty() { value.to_owned() } else { literal(value).trim_start().to_owned() }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_kind_are_quoted_and_filed() {
        assert_eq!(qualified("Üb\"er", "a b"), "\"Üb\"\"er\".\"a b\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(literal("a\\b'c"), " E'a\\\\b''c'");
        assert_eq!(folder("public", "a/b.."), "public.a%2Fb%2E%2E");
        let long = folder(&"é".repeat(31), &"é".repeat(31));
        assert_eq!(long.len(), 189);
        assert_ne!(long, folder(&"é".repeat(31), &format!("{}x", "é".repeat(30))));
    }
}
