//! What the manual pages promise, read as they are now.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

/// The exit codes that a tool's manual page lists.
///
/// # Panics
/// If there is no such page, or it lists none.
pub fn codes(program: &str) -> BTreeSet<i32> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../man").join(format!("{program}.1"));
    let text = fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
    let section = text.split(".Sh EXIT STATUS").nth(1).and_then(|rest| rest.split(".Sh ").next()).unwrap_or_default();
    let listed = section.lines().filter_map(|line| line.strip_prefix(".It ")?.parse().ok()).collect::<BTreeSet<i32>>();
    assert!(listed.len() > 3 && listed.contains(&0), "{}: no list of codes", page.display());
    // dr-wal-fetch says most of them as one number, which PostgreSQL understands.
    match section.split_once("So all but the first two are ") {
        Some((_, rest)) => {
            let number = rest.split(|letter: char| !letter.is_ascii_digit()).next().and_then(|number| number.parse().ok());
            listed.into_iter().take(2).chain([number.expect("the number that stands for them")]).collect()
        }
        None => listed,
    }
}
