//! Collects the names of all settings that manual pages and scripts know, to tell a slip of the pen from a setting.

use std::collections::BTreeSet;
use std::path::Path;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let mut names = BTreeSet::new();
    for folder in ["../../man", "../../scripts"] {
        println!("cargo:rerun-if-changed={folder}");
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_file() {
                collect(&fs::read_to_string(path)?, &mut names);
            }
        }
    }
    let list: Vec<&str> = names.iter().map(String::as_str).collect();
    fs::write(Path::new(&env::var_os("OUT_DIR").unwrap_or_default()).join("settings.txt"), list.join("\n"))
}

/// Every whole word of a text that begins with `DR_`; those of our own tests are no settings.
fn collect(text: &str, names: &mut BTreeSet<String>) {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    let ours = words.filter(|word| word.starts_with("DR_") && word.len() > 3 && !word.starts_with("DR_TEST_"));
    names.extend(ours.map(str::to_owned));
}
