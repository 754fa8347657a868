//! Does dr-records(5) say what the records are? The doc comment of each field is its text.

use std::process::Command;

use crate::tree;

/// Letters and digits only, in lower case: what is left where typesetting is taken away.
pub fn plain(text: &str) -> String {
    text.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect()
}

/// The plain text of a manual page, as mandoc(1) shows it.
pub fn rendered(page: &str) -> String {
    let output = Command::new("mandoc").args(["-T", "ascii"]).arg(tree::root().join("man").join(page)).output();
    let output = output.expect("mandoc runs: scripts/setup test installs it");
    assert!(output.status.success(), "mandoc {page}: {}", output.status);
    // Bold and underlined letters are typed over: the letter before a backspace goes.
    let mut shown = Vec::new();
    for byte in output.stdout {
        match byte {
            8 => shown.truncate(shown.len().saturating_sub(1)),
            _ => shown.push(byte),
        }
    }
    plain(&String::from_utf8_lossy(&shown))
}

/// A field of a record: its name in JSON, and its doc comment.
#[derive(Debug, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub about: String,
}

/// The public fields of every struct in a source file.
pub fn fields(source: &str) -> Vec<Field> {
    let mut found = Vec::new();
    let (mut about, mut renamed) = (Vec::new(), None);
    for line in source.lines().take_while(|line| *line != "#[cfg(test)]").map(str::trim) {
        if let Some(text) = line.strip_prefix("/// ") {
            about.push(text);
        } else if line.starts_with("#[serde(") {
            renamed = line.split_once("rename = \"").and_then(|(_, rest)| rest.split('"').next()).or(renamed);
            if line.contains("flatten") {
                about.clear();
            }
        } else {
            let name = line.strip_prefix("pub ").and_then(|rest| rest.split_once(": ")).map(|(name, _)| name);
            if let Some(name) = name.filter(|name| !about.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c == '_')) {
                found.push(Field { name: renamed.unwrap_or(name).to_owned(), about: about.join(" ") });
            }
            (about, renamed) = (Vec::new(), None);
        }
    }
    found
}

/// The doc comments of an enum's variants.
pub fn variants(source: &str, name: &str) -> Vec<String> {
    let body = source.split_once(&format!("pub enum {name} {{\n")).expect("the enum is there").1;
    let body = body.lines().take_while(|line| *line != "}");
    body.filter_map(|line| line.trim().strip_prefix("/// ")).map(|text| text.trim_end_matches('.').to_owned()).collect()
}

#[test]
fn dr_records_describes_every_field_in_the_words_of_its_doc_comment() {
    let page = tree::text("man/dr-records.5");
    let shown = rendered("dr-records.5");
    let mut complaints = Vec::new();
    for file in tree::entries("tools/dr-pipe/src/record") {
        for Field { name, about } in fields(&std::fs::read_to_string(&file).unwrap()) {
            let is_item = |line: &str| line.starts_with(".It ") && line.split(' ').any(|word| word == name);
            if !page.lines().any(is_item) {
                complaints.push(format!("man/dr-records.5 has no item {name} ({})", tree::name(&file)));
            } else if !shown.contains(&plain(&about)) {
                complaints.push(format!("man/dr-records.5, {name} ({}): {about}", tree::name(&file)));
            }
        }
    }
    tree::none(&complaints);
}

#[test]
fn fields_are_read_with_their_names_in_json_and_all_of_their_words() {
    let source = "/// A.\npub struct A {\n    /// What it\n    /// read.\n    #[serde(rename = \"in\", default)]\n    pub input: u8,\n    bare: u8,\n}\n";
    assert_eq!(fields(source), [Field { name: "in".into(), about: "What it read.".into() }]);
}
