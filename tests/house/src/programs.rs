//! What does a program say of itself?

use std::process::Command;

use crate::tree;

/// Options that say what one call is about, not how a host is set up: the environment cannot say them. This list may only shrink.
const OF_ONE_CALL: [&str; 42] = [
    "archive-settings",
    "at",
    "backup",
    "confirm",
    "deleted",
    "exclude-schema",
    "exclude-table",
    "exclude-table-data",
    "exit-status",
    "facts",
    "fail",
    "finish",
    "html",
    "include-foreign-data",
    "init",
    "issue",
    "json",
    "latest",
    "log",
    "markdown",
    "nagios",
    "next-action",
    "no-password",
    "now",
    "object",
    "output",
    "phase",
    "preflight",
    "prove",
    "publish",
    "range",
    "recipient",
    "schema",
    "service-result",
    "start",
    "table",
    "test",
    "undelete",
    "unit",
    "unsealed",
    "wal",
    "wal-only",
];

/// One option of a program, as `--help` shows it.
#[derive(Debug)]
pub struct Flag {
    pub long: String,
    pub short: Option<char>,
    pub environment: Option<String>,
    pub about: String,
}

/// What `TOOL ARGUMENT` prints. The program is the one built beside this test.
pub fn says(tool: &str, argument: &str) -> String {
    let path = std::env::current_exe().unwrap().ancestors().nth(2).unwrap().join(tool);
    let output = Command::new(&path).arg(argument).env("COLUMNS", "1000").env_clear().output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}; is it built? (cargo build --bins)", path.display()));
    assert!(output.status.success(), "{tool} {argument}: {}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The options that `TOOL --help` lists, without those that every program has.
pub fn flags(tool: &str) -> Vec<Flag> {
    let mut flags = options(&says(tool, "--help"));
    flags.retain(|flag| !["help", "version"].contains(&flag.long.as_str()));
    flags
}

/// Reads the options out of a help text, whether what they do stands beside or below them.
fn options(help: &str) -> Vec<Flag> {
    let mut found: Vec<String> = Vec::new();
    for line in help.lines().map(str::trim_start).skip_while(|line| *line != "Options:").skip(1) {
        match line {
            _ if line.starts_with('-') && !line.starts_with("- ") => found.push(line.to_owned()),
            _ if line.starts_with("Examples:") => break,
            _ => found.iter_mut().last().into_iter().for_each(|option| option.push_str(&format!("  {line}"))),
        }
    }
    found.iter().map(|text| flag(text)).collect()
}

/// Reads `-s, --signing-key <FILE>  Sign with FILE [env: DR_SIGNING_KEY=]`.
fn flag(text: &str) -> Flag {
    let (before, rest) = text.split_once("--").unwrap_or_else(|| panic!("an option without a long name: {text}"));
    let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
    let about = rest.split_once("  ").map_or("", |(_, about)| about.trim());
    let notes = [" [default", " [env", " [possible", "  Possible values", "[default", "[env", "[possible"];
    let own = notes.iter().filter_map(|note| about.find(note)).min().unwrap_or(about.len());
    Flag {
        long: rest[..end].to_owned(),
        short: before.strip_prefix('-').and_then(|text| text.chars().next()),
        environment: about
            .split_once("[env: ")
            .and_then(|(_, rest)| rest.split(['=', ']']).next())
            .map(|name| name.trim().to_owned()),
        about: about[..own].trim().to_owned(),
    }
}

#[test]
fn options_are_read_from_either_form_of_help() {
    let beside = "Usage: a\n\nOptions:\n  -j, --jobs <N>  Work on\n                  N things [env: DR_JOBS=]\n      --json\n";
    let below = "Options:\n      --style <S>\n          Put it so\n\n          Possible values:\n          - auto: Yes.\n\n          [env: DR_STYLE=]\n\nExamples:\n  -x\n";
    let read =
        |help| options(help).into_iter().map(|flag| (flag.short, flag.long, flag.about, flag.environment)).collect::<Vec<_>>();
    assert_eq!(
        read(beside),
        [
            (Some('j'), "jobs".into(), "Work on  N things".into(), Some("DR_JOBS".into())),
            (None, "json".into(), String::new(), None)
        ]
    );
    assert_eq!(read(below), [(None, "style".into(), "Put it so".into(), Some("DR_STYLE".into()))]);
}

#[test]
fn every_program_has_help_a_version_and_completions() {
    for tool in tree::tools() {
        assert!(says(&tool, "--help").contains("Usage: "), "{tool} --help");
        assert!(says(&tool, "--version").starts_with(&format!("{tool} ")), "{tool} --version");
    }
}

#[test]
fn every_option_says_in_one_line_without_a_final_stop_what_it_does() {
    let mut complaints = Vec::new();
    for tool in tree::tools() {
        for flag in flags(&tool) {
            let about = &flag.about;
            if about.is_empty() || about.ends_with('.') || about.starts_with(char::is_lowercase) {
                complaints.push(format!("{tool} --{}: {about:?}", flag.long));
            }
        }
    }
    tree::none(&complaints);
}

#[test]
fn what_an_option_can_say_the_environment_can_say() {
    let mut complaints = Vec::new();
    let mut unneeded = OF_ONE_CALL.to_vec();
    for tool in tree::tools() {
        for flag in flags(&tool).into_iter().filter(|flag| flag.environment.is_none()) {
            unneeded.retain(|name| *name != flag.long);
            if !OF_ONE_CALL.contains(&flag.long.as_str()) {
                complaints.push(format!("{tool} --{} has no [env: …]", flag.long));
            }
        }
    }
    complaints.extend(unneeded.into_iter().map(|name| format!("--{name} need not be on the list any more")));
    tree::none(&complaints);
}
