//! Do the sources stay small, finished, and in our words?

use crate::tree;

/// A file of this many lines is a wall.
const FILE_LINES: usize = 600;
/// A function of this many lines is a wall.
const FUNCTION_LINES: usize = 70;
/// `main.rs` wires standard input and output to one function, no more.
const MAIN_LINES: usize = 60;

/// The code of a file without its unit tests.
fn code(text: &str) -> impl Iterator<Item = &str> {
    text.lines().take_while(|line| *line != "#[cfg(test)]")
}

/// Functions longer than the wall, by name. Reads what rustfmt writes: a body ends with a brace as far in as it began.
fn long_functions(text: &str) -> Vec<String> {
    let mut long = Vec::new();
    let mut open: Option<(String, usize, usize)> = None;
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        match &open {
            None if line.contains("fn ") && line.ends_with('{') && !line.trim_start().starts_with("//") => {
                open = Some((line.trim().to_owned(), indent, number));
            }
            Some((name, start_indent, start)) if line.trim() == "}" && indent == *start_indent => {
                if number - start + 1 > FUNCTION_LINES {
                    long.push(format!("{name} {} lines", number - start + 1));
                }
                open = None;
            }
            _ => {}
        }
    }
    long
}

#[test]
fn files_and_functions_stay_small() {
    let mut complaints = Vec::new();
    for (path, text) in tree::rust_files() {
        let lines = text.lines().count();
        let limit = if path.ends_with("src/main.rs") { MAIN_LINES } else { FILE_LINES };
        if lines > limit {
            complaints.push(format!("{path}: {lines} lines, of {limit}: which second thing does it do?"));
        }
        complaints.extend(long_functions(&text).into_iter().map(|function| format!("{path}: {function}")));
    }
    tree::none(&complaints);
}

#[test]
fn what_lies_at_the_top_is_a_room_of_the_map_or_what_a_tool_looks_for_there() {
    let looked_for = [".ci", ".git", ".gitignore", ".shellcheckrc", "ARCHITECTURE.md", "CHANGELOG.md", "Cargo.lock", "Cargo.toml"]
        .into_iter()
        .chain(["LICENSE-APACHE", "LICENSE-MIT", "README.md", "clippy.toml", "deny.toml", "rustfmt.toml", "target"]);
    let looked_for: Vec<&str> = looked_for.collect();
    let map = tree::text("ARCHITECTURE.md");
    let unknown =
        |name: &String| !name.ends_with(".deb") && !looked_for.contains(&name.as_str()) && !map.contains(&format!("`{name}/"));
    tree::none(&tree::entries("").iter().map(|path| tree::name(path)).filter(unknown).collect::<Vec<_>>());
}

#[test]
fn every_source_file_begins_with_what_it_is_for() {
    let files = tree::rust_files().into_iter().filter(|(path, _)| path.contains("/src/"));
    tree::none(&files.filter(|(_, text)| !text.starts_with("//! ")).map(|(path, _)| path).collect::<Vec<_>>());
}

#[test]
fn modules_have_names_that_can_refuse() {
    let vague = ["core", "common", "util", "utils", "helper", "helpers", "types", "misc", "lib2"];
    let stem = |path: &str| path.trim_end_matches(".rs").trim_end_matches("/mod").rsplit('/').next().unwrap_or_default().to_owned();
    let paths = tree::rust_files().into_iter().map(|(path, _)| path);
    tree::none(&paths.filter(|path| vague.contains(&stem(path).as_str())).collect::<Vec<_>>());
}

#[test]
fn functions_are_verbs_and_structs_are_nouns() {
    let mut complaints = Vec::new();
    for (path, text) in tree::rust_files() {
        for line in code(&text).map(str::trim_start).filter(|line| !line.starts_with("//")) {
            let word = |keyword: &str| line.split_once(keyword).map_or("", |(_, rest)| rest);
            let function = ["get_", "do_", "handle_", "process_"].iter().any(|prefix| word("fn ").starts_with(prefix));
            let name = word("struct ").split(|c: char| !c.is_alphanumeric()).next().unwrap_or_default();
            if function || ["Manager", "Helper", "Service", "Util"].iter().any(|suffix| name.ends_with(suffix)) {
                complaints.push(format!("{path}: {line}"));
            }
        }
    }
    tree::none(&complaints);
}

#[test]
fn nothing_is_unfinished_skipped_or_asleep() {
    // Written so that this file does not find itself.
    let words = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("XX", "X"),
        concat!("todo", "!("),
        concat!("unimplemented", "!("),
        concat!("#[ig", "nore"),
    ];
    let mut complaints = Vec::new();
    for (path, text) in tree::rust_files() {
        for (number, line) in text.lines().enumerate() {
            // Waiting for a server is polling, which has its one home.
            let asleep = line.contains(concat!("thread::", "sleep(")) && !path.starts_with("tests/testing/");
            if asleep || words.iter().any(|word| line.contains(word)) {
                complaints.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    tree::none(&complaints);
}

#[test]
fn what_is_installed_names_no_script_of_this_checkout() {
    let mut complaints = Vec::new();
    let programs = tree::rust_files().into_iter().filter(|(path, _)| path.starts_with("tools/") && path.contains("/src/"));
    let others = ["man", "systemd", "cron", "sql"].into_iter().flat_map(tree::entries).filter(|path| path.is_file());
    let others = others.map(|path| (tree::name(&path), std::fs::read_to_string(&path).unwrap()));
    for (path, text) in programs.chain(others) {
        let said = code(&text).filter(|line| !line.trim_start().starts_with("//") && !line.contains("include_str!("));
        complaints.extend(said.filter(|line| line.contains("scripts/")).map(|line| format!("{path}: {}", line.trim())));
    }
    tree::none(&complaints);
}

#[test]
fn only_args_knows_the_command_line() {
    let knows = |(path, text): &(String, String)| {
        path.starts_with("tools/")
            && !path.contains("/dr-pipe/")
            && !path.ends_with("args.rs")
            && code(text).any(|line| line.contains("clap::Parser"))
    };
    tree::none(&tree::rust_files().into_iter().filter(knows).map(|(path, _)| path).collect::<Vec<_>>());
}

#[test]
fn every_tool_has_tests_of_its_own() {
    let without = tree::tools().into_iter().filter(|tool| !tree::root().join("tools").join(tool).join("tests").is_dir());
    tree::none(&without.collect::<Vec<_>>());
}

#[test]
fn a_long_function_is_found() {
    let body = "        let a = 1;\n".repeat(FUNCTION_LINES);
    let text = format!("impl A {{\n    fn long() {{\n{body}    }}\n\n    fn short() {{\n    }}\n}}\n");
    assert_eq!(long_functions(&text), ["fn long() { 72 lines"]);
}
