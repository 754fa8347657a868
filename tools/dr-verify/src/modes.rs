//! Can others read, or change, what lies in a directory store?

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use dr_pipe::Failure;
use dr_pipe::record::Finding;

use crate::finding::{Scene, first_of, on};

/// The bits of all but the owner.
const OTHERS: u32 = 0o077;

/// Findings about files and directories below `root`, only those of the folder `below` if it is not empty, that are not for
/// their owner alone. The root itself may be another's: a disk that was mounted.
///
/// # Errors
/// 74 or 77 where a directory cannot be read.
pub fn check(root: &Path, below: &str, scene: &Scene) -> Result<Vec<Finding>, Failure> {
    let mut findings = Vec::new();
    let start = root.join(below);
    if !below.is_empty() {
        look(root, &start, scene, &mut findings)?;
    }
    walk(root, &start, scene, &mut findings)?;
    findings.sort_by(|a: &Finding, b| a.object.cmp(&b.object));
    Ok(first_of(findings))
}

fn walk(root: &Path, directory: &Path, scene: &Scene, findings: &mut Vec<Finding>) -> Result<(), Failure> {
    let entries = match fs::read_dir(directory) {
        Err(error) if gone(&error) => return Ok(()),
        entries => entries.map_err(|error| Failure::io(directory.display(), &error))?,
    };
    for entry in entries {
        let path = entry.map_err(|error| Failure::io(directory.display(), &error))?.path();
        if look(root, &path, scene, findings)? && path.file_name().is_some_and(|name| name != "lost+found") {
            walk(root, &path, scene, findings)?;
        }
    }
    Ok(())
}

/// Looks at one path; tells whether it is a directory.
fn look(root: &Path, path: &Path, scene: &Scene, findings: &mut Vec<Finding>) -> Result<bool, Failure> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if gone(&error) => return Ok(false),
        metadata => metadata.map_err(|error| Failure::io(path.display(), &error))?,
    };
    if metadata.is_symlink() {
        return Ok(false);
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & OTHERS != 0 {
        let key = path.strip_prefix(root).unwrap_or(path).display().to_string();
        let (what, right) = if metadata.is_dir() { ("directory", "0700") } else { ("file", "0600") };
        let message = format!("the {what} {key} has mode {mode:04o}: others than its owner may use it");
        findings.push(on(&key, scene.error("mode", message, format!("chmod {right} {}", path.display()))));
    }
    Ok(metadata.is_dir())
}

/// Whether it went while we looked.
fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}
