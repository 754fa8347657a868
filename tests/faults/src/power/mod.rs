//! Takes the power from a file system that tools write to, at a system call out of the seed, and looks what is there when it is
//! back: all that was acknowledged, byte for byte, and nothing that is half there under its own name.

mod disk;
mod ground;
mod site;
mod trial;
mod wal;
mod work;

use std::path::Path;
use std::process::ExitCode;

use crate::Seeds;
use crate::seeds::try_all;
use disk::{Disk, Loss};
use ground::Ground;
use trial::{ACKNOWLEDGED, Calls, NOT_ACKNOWLEDGED, Trial};

/// Tries all seeds: each makes a piece of work, a moment, and what is lost.
#[expect(clippy::print_stdout, reason = "a campaign for people")]
pub fn run(seeds: &Seeds) -> ExitCode {
    if let Err(why) = possible() {
        let full = std::env::var_os("DR_TEST_FULL").is_some();
        println!("power: {}needs root and loop devices: {why}", if full { "" } else { "left out: " });
        return if full { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    }
    let ground = Ground::new();
    let calls = Calls::rehearse(&ground);
    println!("power: {calls}");
    try_all("power", seeds, &[ACKNOWLEDGED, NOT_ACKNOWLEDGED], |seed| Trial::of(seed, &calls).run(&ground))
}

/// Whether a file system can be made here, and lose its power.
fn possible() -> Result<(), String> {
    if !rustix::process::geteuid().is_root() {
        return Err("this user is not root".into());
    }
    if !Path::new("/dev/loop-control").exists() {
        return Err("there is no /dev/loop-control".into());
    }
    let scratch = tempfile::tempdir().map_err(|error| error.to_string())?;
    let disk = Disk::new(scratch.path().join("image"), scratch.path().join("disk"), "ordered")?;
    disk.lose(Loss::All)
}
