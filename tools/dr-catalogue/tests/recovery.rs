//! Can RECOVERY.txt be followed? (What its script does is tested with a real server among the drills.)
#![allow(clippy::unwrap_used)]

use std::process::Command;

use dr_catalogue::RECOVERY;

/// The script between its two marks.
fn script() -> String {
    let (_, after) = RECOVERY.split_once("--8<-- restore-dump.sh\n").unwrap();
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
fn every_shell_reads_the_script() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("restore-dump.sh");
    std::fs::write(&path, script()).unwrap();
    for shell in ["sh", "dash", "bash"] {
        let checked = Command::new(shell).arg("-n").arg(&path).output().unwrap();
        assert!(checked.status.success() && checked.stderr.is_empty(), "{shell}: {checked:?}");
    }
}

#[test]
fn the_command_in_the_text_takes_the_script_out_of_the_text() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("RECOVERY.txt"), RECOVERY).unwrap();
    let (_, after) = RECOVERY.split_once("or:\n\n").unwrap();
    let command = after.split_once("\n\n").unwrap().0;
    let ran = Command::new("sh").args(["-eu", "-c", command]).current_dir(directory.path()).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    assert_eq!(std::fs::read_to_string(directory.path().join("restore-dump.sh")).unwrap(), script());
}
