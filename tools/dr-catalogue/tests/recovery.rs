//! Can RECOVERY.txt be followed? (What its script does is tested with a real server among the drills.)
#![allow(clippy::unwrap_used)]

use std::process::Command;

use dr_catalogue::RECOVERY;

const SCRIPTS: [&str; 2] = ["restore-dump.sh", "restore-base.sh"];

/// The script between its two marks.
fn script(name: &str) -> String {
    let (_, after) = RECOVERY.split_once(&format!("--8<-- {name}\n")).unwrap();
    after.split_once("-->8--").unwrap().0.to_owned()
}

#[test]
fn the_text_is_plain_and_narrow_enough_for_any_terminal() {
    for (number, line) in RECOVERY.lines().enumerate() {
        assert!(line.chars().count() <= 78, "line {} is longer than 78 columns", number + 1);
        assert!(!line.contains('\t') && line.trim_end() == line, "line {} has tabs or trailing spaces", number + 1);
    }
}

#[test]
fn the_page_says_the_same_of_the_name_that_the_cluster_has_afterwards() {
    let page = include_str!("../../../man/dr-recovery.7");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    for sentence in [
        "The cluster keeps its name, as it is on a timeline of its own from now on.",
        "Where the old server may still be alive somewhere, or the host was broken into, give the cluster a new name and new keys.",
        "make a new base at once: what was not archived of that timeline cannot be reached.",
    ] {
        assert!(words(page).contains(sentence), "the page: {sentence}");
        assert!(words(RECOVERY).to_lowercase().contains(&sentence.to_lowercase()), "the text: {sentence}");
    }
}

#[test]
fn every_shell_reads_the_scripts() {
    let directory = tempfile::tempdir().unwrap();
    for name in SCRIPTS {
        let path = directory.path().join(name);
        std::fs::write(&path, script(name)).unwrap();
        for shell in ["sh", "dash", "bash"] {
            let checked = Command::new(shell).arg("-n").arg(&path).output().unwrap();
            assert!(checked.status.success() && checked.stderr.is_empty(), "{shell}: {checked:?}");
        }
        let checked = Command::new("shellcheck").args(["-s", "sh", "-S", "style"]).arg(&path).output().unwrap();
        assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stdout));
    }
}

#[test]
fn the_commands_in_the_text_take_the_scripts_out_of_the_text() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("RECOVERY.txt"), RECOVERY).unwrap();
    for name in SCRIPTS {
        let start = RECOVERY.find(&format!("sed -n '/^--8<-- {name}$/")).unwrap();
        let command = RECOVERY[start..].split_once("\n\n").unwrap().0;
        let ran = Command::new("sh").args(["-eu", "-c", command]).current_dir(directory.path()).output().unwrap();
        assert!(ran.status.success(), "{ran:?}");
        assert_eq!(std::fs::read_to_string(directory.path().join(name)).unwrap(), script(name));
    }
}
