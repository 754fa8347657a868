//! Are the scripts compositions, safe to be replaced while they run?

use crate::tree;

/// A script with more lines than this needs a tool that is missing.
const LINES: usize = 80;

#[test]
fn scripts_are_short_stop_at_the_first_failure_and_are_read_whole_before_they_run() {
    let mut complaints = Vec::new();
    for path in tree::entries("scripts").into_iter().chain(tree::entries(".ci")) {
        let text = std::fs::read_to_string(&path).unwrap();
        let name = tree::name(&path);
        if text.lines().count() > LINES {
            complaints.push(format!("{name}: {} lines", text.lines().count()));
        }
        let lines: Vec<&str> = text.lines().collect();
        if lines.first() != Some(&"#!/usr/bin/env bash") || !lines.contains(&"set -euo pipefail") {
            complaints.push(format!("{name}: needs #!/usr/bin/env bash and set -euo pipefail"));
        }
        if !lines.get(1).is_some_and(|line| line.starts_with("# ")) {
            complaints.push(format!("{name}: its second line says what it does"));
        }
        // bash reads a script as it runs it: with everything in a function, a new version cannot be spliced into a run.
        if !text.trim_end().ends_with("main \"$@\"; exit") && !text.trim_end().ends_with("main \"$@\"\nexit") {
            complaints.push(format!("{name}: must end with: main \"$@\"; exit"));
        }
    }
    tree::none(&complaints);
}
