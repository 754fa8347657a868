//! Do stock age, zstd and minisign read what dr-wal-push has stored?
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;

use support::{World, name, segment, stderr_of};

#[test]
fn stock_tools_open_a_segment_and_check_its_claim() {
    let world = World::new();
    world.ready(&name(1), &segment(1, 1));
    fs::write(world.path("main.key"), include_str!("../../dr-seal/tests/main.key")).unwrap();
    fs::set_permissions(world.path("main.key"), fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(world.path("main.pub"), include_str!("../../dr-seal/tests/main.pub")).unwrap();
    assert!(world.shell("age-keygen -o $HOME/id 2> $HOME/said && age-keygen -y $HOME/id > $HOME/to").status().unwrap().success());
    let mut push = world.push_here(&name(1));
    push.env_remove("DR_UNENCRYPTED").arg("-R").arg(world.path("to")).arg("-s").arg(world.path("main.key"));
    stderr_of(&push.output().unwrap(), 0);
    let line = format!(
        "set -e; cd $STORE/main/wal/00000001; age -d -i $HOME/id {0}.zst.age | zstd -dq | cmp - $HOME/data/pg_wal/{0}; \
         head -n 1 {0}.*.claim > $HOME/CLAIM; tail -n 4 {0}.*.claim > $HOME/CLAIM.minisig; \
         minisign -Vm $HOME/CLAIM -p $HOME/main.pub; sha256sum {0}.zst.age | cut -c 1-64 | grep -f - $HOME/CLAIM > $HOME/said",
        name(1)
    );
    let output = world.shell(&line).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains(&format!("Trusted comment: dr claim main {}", name(1))));
}
