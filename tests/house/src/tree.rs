//! What is there to hold rules against?

use std::fs;
use std::path::{Path, PathBuf};

/// The top of the project.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// The text of a file, named from the top of the project.
pub fn text(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Names of the folders below `tools/`: libraries and programs.
pub fn crates() -> Vec<String> {
    let mut names: Vec<String> = entries("tools").into_iter().filter(|path| path.is_dir()).map(|path| name(&path)).collect();
    names.sort();
    names
}

/// Names of those crates that are programs.
pub fn tools() -> Vec<String> {
    crates().into_iter().filter(|name| root().join("tools").join(name).join("src/main.rs").is_file()).collect()
}

/// Every Rust file of the project, as path from its top and text.
pub fn rust_files() -> Vec<(String, String)> {
    let mut paths = Vec::new();
    descend(&root().join("tools"), &mut paths);
    descend(&root().join("tests"), &mut paths);
    paths.sort();
    paths.into_iter().map(|path| (from_root(&path), fs::read_to_string(&path).unwrap())).collect()
}

/// What lies in a folder, named from the top of the project.
pub fn entries(folder: &str) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> = fs::read_dir(root().join(folder)).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The last part of a path.
pub fn name(path: &Path) -> String {
    path.file_name().unwrap().to_str().unwrap().to_owned()
}

/// Fails with every complaint, one per line.
pub fn none(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

fn descend(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            descend(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn from_root(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned()
}
