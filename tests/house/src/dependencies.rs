//! Does a program that opens no socket link nothing that could?

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

use serde_json::Value;

use crate::tree;

/// These open no socket.
const OFFLINE: [&str; 10] = [
    "dr-archive",
    "dr-crypt",
    "dr-decrypt",
    "dr-drill",
    "dr-encrypt",
    "dr-metrics",
    "dr-pipe",
    "dr-prune",
    "dr-retention",
    "dr-run",
];

/// Packages that open sockets for others.
fn opens_sockets(package: &str) -> bool {
    ["hyper", "rustls", "reqwest", "socket2", "mio"].contains(&package)
        || package.starts_with("aws-")
        || package.starts_with("hyper-")
}

/// For each package by id, its name and the ids of what it is built from, build scripts' and tests' own needs left out.
fn packages() -> BTreeMap<String, (String, Vec<String>)> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--filter-platform", "x86_64-unknown-linux-gnu"])
        .current_dir(tree::root())
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let list = |value: &Value| value.as_array().unwrap().clone().into_iter();
    let names: BTreeMap<String, String> =
        list(&metadata["packages"]).map(|package| (text(&package["id"]), text(&package["name"]))).collect();
    let needed = |dependency: &Value| list(&dependency["dep_kinds"]).any(|kind| kind["kind"].is_null());
    list(&metadata["resolve"]["nodes"])
        .map(|node| {
            let needs = list(&node["deps"]).filter(|dependency| needed(dependency)).map(|dependency| text(&dependency["pkg"]));
            let id = text(&node["id"]);
            (id.clone(), (names[&id].clone(), needs.collect()))
        })
        .collect()
}

#[test]
fn a_program_that_opens_no_socket_links_no_http_client() {
    let packages = packages();
    for name in OFFLINE {
        let first = packages.iter().find(|(_, (package, _))| package == name).map(|(id, _)| id.as_str()).expect("it is a member");
        let mut seen = BTreeSet::new();
        let mut next = vec![first];
        while let Some(id) = next.pop() {
            if seen.insert(id) {
                next.extend(packages[id].1.iter().map(String::as_str));
            }
        }
        let found: Vec<&str> = seen.iter().map(|id| packages[*id].0.as_str()).filter(|package| opens_sockets(package)).collect();
        assert!(found.is_empty(), "{name} links {found:?}");
    }
}
