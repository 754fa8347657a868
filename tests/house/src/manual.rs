//! Do the manual pages say what the programs do?

use std::collections::BTreeSet;
use std::process::Command;

use dr_pipe::Exit;

use crate::records::{plain, rendered, variants};
use crate::{programs, tree};

/// The lines of one section of a page, such as `EXIT STATUS`; empty where there is none.
fn section<'a>(page: &'a str, title: &str) -> Vec<&'a str> {
    let heading = format!(".Sh {title}");
    page.lines().skip_while(|line| *line != heading).skip(1).take_while(|line| !line.starts_with(".Sh ")).collect()
}

/// Exit codes listed in a page.
fn codes(page: &str) -> Vec<u8> {
    let items = section(page, "EXIT STATUS").into_iter().filter_map(|line| line.strip_prefix(".It "));
    items.filter_map(|item| item.split(' ').next_back()?.parse().ok()).collect()
}

/// Long options that a page names.
fn options(page: &str) -> BTreeSet<&str> {
    let words: Vec<&str> = page.lines().filter(|line| line.starts_with('.')).flat_map(str::split_whitespace).collect();
    let named = words.windows(2).filter(|pair| pair[0] == "Fl" || pair[0] == ".Fl").filter_map(|pair| pair[1].strip_prefix('-'));
    named.filter(|name| !["help", "version", "completions"].contains(name)).collect()
}

/// Pages of programs: the name of the program, and the page.
fn pages() -> Vec<(String, String)> {
    tree::tools().into_iter().map(|tool| (tool.clone(), tree::text(format!("man/{tool}.1")))).collect()
}

#[test]
fn mandoc_finds_nothing_to_say_about_any_page() {
    let pages = tree::entries("man");
    let output = Command::new("mandoc").args(["-T", "lint", "-W", "style"]).args(&pages).output();
    let output = output.expect("mandoc runs: scripts/setup test installs it");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    // Which pages of others are installed, and indexed, is the machine's affair.
    let ours = said.lines().filter(|line| !line.contains("referenced manual not found") && !line.contains("outdated mandoc.db"));
    tree::none(&ours.map(str::to_owned).collect::<Vec<_>>());
}

#[test]
fn no_word_of_a_title_is_taken_for_a_macro() {
    // Those that are words, too: `.Ss In an emergency` is shown as `<an> emergency`.
    let words = ["An", "At", "Do", "Ex", "In", "No", "So", "St"];
    let mut complaints = Vec::new();
    for page in tree::entries("man").iter().map(|path| tree::name(path)) {
        for line in tree::text(format!("man/{page}")).lines() {
            let title = [".Sh ", ".Ss "].iter().find_map(|title| line.strip_prefix(title));
            let text = title.or_else(|| line.strip_prefix(".It ")?.split(' ').next()).unwrap_or_default();
            complaints
                .extend(text.split(' ').filter(|word| words.contains(word)).map(|word| format!("man/{page}: {line}: \\&{word}")));
        }
    }
    tree::none(&complaints);
}

#[test]
fn every_page_of_ours_that_is_referred_to_is_there() {
    let there: Vec<String> = tree::entries("man").iter().map(|path| tree::name(path)).collect();
    let mut complaints = Vec::new();
    for file in &there {
        for line in tree::text(format!("man/{file}")).lines() {
            let words: Vec<&str> = line.split(' ').collect();
            for named in words.windows(3).filter(|words| words[0].ends_with("Xr") && words[1].starts_with("dr")) {
                if !there.contains(&format!("{}.{}", named[1], named[2])) {
                    complaints.push(format!("man/{file} refers to {}({})", named[1], named[2]));
                }
            }
        }
    }
    tree::none(&complaints);
}

#[test]
fn every_page_has_the_sections_in_their_order() {
    let order = [
        "NAME",
        "SYNOPSIS",
        "DESCRIPTION",
        "ENVIRONMENT",
        "FILES",
        "EXIT STATUS",
        "EXAMPLES",
        "SEE ALSO",
        "STANDARDS",
        "HISTORY",
        "CAVEATS",
    ];
    for (tool, page) in pages() {
        let titles: Vec<&str> = page.lines().filter_map(|line| line.strip_prefix(".Sh ")).collect();
        let places: Vec<Option<usize>> = titles.iter().map(|title| order.iter().position(|known| known == title)).collect();
        assert!(places.iter().all(Option::is_some) && places.is_sorted(), "man/{tool}.1: {titles:?}");
        for needed in ["NAME", "SYNOPSIS", "DESCRIPTION", "EXIT STATUS", "EXAMPLES", "SEE ALSO"] {
            assert!(titles.contains(&needed), "man/{tool}.1 has no {needed}");
        }
        assert!(page.contains(&format!("\n.Dt {} 1\n", tool.to_uppercase())), "man/{tool}.1: .Dt");
        assert!(section(&page, "NAME").contains(&format!(".Nm {tool}").as_str()), "man/{tool}.1: NAME");
        assert!(section(&page, "SYNOPSIS").iter().any(|line| line.starts_with(".Nm")), "man/{tool}.1: SYNOPSIS");
    }
}

#[test]
fn every_page_has_exactly_the_options_of_its_program() {
    let mut complaints = Vec::new();
    for (tool, page) in pages() {
        let flags = programs::flags(&tool);
        let in_help: BTreeSet<&str> = flags.iter().map(|flag| flag.long.as_str()).collect();
        let in_page = options(&page);
        complaints.extend(in_help.difference(&in_page).map(|name| format!("man/{tool}.1 lacks --{name}")));
        complaints.extend(in_page.difference(&in_help).map(|name| format!("man/{tool}.1 has --{name}, {tool} has not")));
        for flag in &flags {
            let item =
                |line: &&str| line.starts_with(".It Fl ") && line.split(' ').any(|word| word.strip_prefix('-') == Some(&flag.long));
            let Some(item) = page.lines().find(item) else {
                complaints.push(format!("man/{tool}.1 has no item for --{}", flag.long));
                continue;
            };
            if let Some(short) = flag.short
                && !item.contains(&format!("Fl {short} "))
            {
                complaints.push(format!("man/{tool}.1: --{} is also -{short}", flag.long));
            }
        }
    }
    tree::none(&complaints);
}

#[test]
fn every_page_names_the_environment_that_help_names() {
    let mut complaints = Vec::new();
    for (tool, page) in pages() {
        for variable in programs::flags(&tool).into_iter().filter_map(|flag| flag.environment) {
            if !section(&page, "ENVIRONMENT").join("\n").contains(&variable) {
                complaints.push(format!("man/{tool}.1, ENVIRONMENT: no {variable}"));
            }
        }
    }
    tree::none(&complaints);
}

#[test]
fn every_page_lists_exit_codes_there_are_and_the_two_that_every_program_has() {
    let known: Vec<u8> = Exit::ALL.iter().map(|exit| exit.code()).collect();
    for (tool, page) in pages() {
        let codes = codes(&page);
        assert!(codes.iter().all(|code| known.contains(code)), "man/{tool}.1: {codes:?}");
        assert!(codes.is_sorted(), "man/{tool}.1: {codes:?}");
        assert!(codes.contains(&0) && codes.contains(&64), "man/{tool}.1: {codes:?}");
    }
}

#[test]
fn the_table_of_exit_codes_is_that_of_the_code() {
    let page = tree::text("man/dr.7");
    assert_eq!(codes(&page), Exit::ALL.map(Exit::code));
    let shown = rendered("dr.7");
    for about in variants(&tree::text("tools/dr-pipe/src/exit.rs"), "Exit") {
        assert!(shown.contains(&plain(&about)), "dr(7) lacks: {about}");
    }
}

#[test]
fn dr7_the_readme_and_the_changelog_name_every_tool() {
    for file in ["man/dr.7", "README.md", "CHANGELOG.md"] {
        let text = tree::text(file).replace(".Xr ", "").replace(" 1", "");
        for tool in tree::tools() {
            assert!(
                text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-').any(|word| word == tool),
                "{file} does not name {tool}"
            );
        }
    }
}
