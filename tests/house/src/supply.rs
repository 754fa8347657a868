//! Is what others wrote built as it was locked, and only from where it may come?

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use crate::tree;

/// Makes a package that needs others: the lines of its dependencies, and those of its lock file.
fn package(directory: &Path, dependencies: &str, locked: &str) {
    fs::create_dir_all(directory.join("src")).unwrap();
    fs::write(directory.join("src/main.rs"), "fn main() {}\n").unwrap();
    let package = "name = \"probe\"\nversion = \"0.1.0\"\nedition = \"2024\"\nlicense = \"MIT\"\npublish = false\n";
    fs::write(directory.join("Cargo.toml"), format!("[package]\n{package}\n[dependencies]\n{dependencies}\n[workspace]\n"))
        .unwrap();
    fs::write(directory.join("Cargo.lock"), format!("version = 4\n\n{locked}")).unwrap();
}

fn run(program: &str, args: &[&str], directory: &Path, envs: &[(&str, &Path)]) -> Output {
    let output = Command::new(program).args(args).current_dir(directory).envs(envs.iter().copied()).output();
    output.unwrap_or_else(|error| panic!("{program}: {error}; scripts/setup test installs it"))
}

/// What a program says that has to end so.
fn said(output: &Output, good: bool) -> String {
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.success(), good, "{said}");
    said
}

/// Our own lock file's entry of a package.
fn entry(name: &str) -> String {
    let lock = tree::text("Cargo.lock");
    let entry = lock.split("\n\n").find(|entry| entry.contains(&format!("name = \"{name}\"\n")) && !entry.contains("dependencies"));
    entry.expect("it is locked, and needs nothing").to_owned()
}

#[test]
fn f98_a_dependency_that_is_not_what_was_locked_is_not_built() {
    let directory = tempfile::tempdir().unwrap();
    let ours = entry("hex");
    let ourselves = "[[package]]\nname = \"probe\"\nversion = \"0.1.0\"\ndependencies = [\"hex\"]\n";
    package(directory.path(), "hex = \"0.4\"", &format!("{ours}\n\n{ourselves}"));
    said(&run(env!("CARGO"), &["fetch", "--locked", "--offline"], directory.path(), &[]), true);
    let checksum = ours.split("checksum = \"").nth(1).unwrap();
    let other = if checksum.starts_with('0') { "1" } else { "0" };
    let changed = ours.replace(checksum, &format!("{other}{}", &checksum[1..]));
    package(directory.path(), "hex = \"0.4\"", &format!("{changed}\n\n{ourselves}"));
    let refused = said(&run(env!("CARGO"), &["fetch", "--locked", "--offline"], directory.path(), &[]), false);
    assert!(refused.contains("checksum for `hex"), "{refused}");
}

#[test]
fn f98_a_dependency_from_elsewhere_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let evil = directory.path().join("evil");
    fs::create_dir_all(evil.join("src")).unwrap();
    fs::write(evil.join("Cargo.toml"), "[package]\nname = \"evil\"\nversion = \"0.1.0\"\nlicense = \"MIT\"\n").unwrap();
    fs::write(evil.join("src/lib.rs"), "").unwrap();
    for words in [&["init", "-q"][..], &["add", "."], &["-c", "user.name=x", "-c", "user.email=x@y", "commit", "-qm", "x"]] {
        said(&run("git", words, &evil, &[]), true);
    }
    // What cargo fetches is kept apart from what it has fetched for us.
    let (probe, home) = (directory.path().join("probe"), directory.path().join("home"));
    let apart = [("CARGO_HOME", home.as_path())];
    let deny = tree::root().join("deny.toml");
    let check = ["--config", deny.to_str().unwrap(), "check", "sources", "bans", "licenses"];
    package(&probe, "", "[[package]]\nname = \"probe\"\nversion = \"0.1.0\"\n");
    said(&run("cargo-deny", &check, &probe, &apart), true);
    package(&probe, &format!("evil = {{ git = \"file://{}\" }}", evil.display()), "");
    let refused = said(&run("cargo-deny", &check, &probe, &apart), false);
    assert!(refused.contains("source-not-allowed"), "{refused}");
}

#[test]
fn f98_every_build_takes_what_is_locked() {
    let scripts = tree::entries("scripts").into_iter().chain([tree::root().join(".ci/run")]);
    let mut builds = 0;
    for script in scripts.filter(|path| path.is_file()) {
        let text = fs::read_to_string(&script).unwrap();
        let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
        for line in lines
            .filter(|line| ["cargo build", "cargo nextest", "cargo test", "cargo clippy"].iter().any(|verb| line.contains(verb)))
        {
            assert!(line.contains("--locked"), "{}: {line}", script.display());
            builds += 1;
        }
    }
    assert!(builds >= 5, "builds are found where they are");
}
