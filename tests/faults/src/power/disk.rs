//! A file system that can lose its power: ext4 in a file, on a loop device.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::ioctl::{Setter, ioctl};

/// How large the file system is; only what is written takes room.
const BYTES: u64 = 64 << 20;

/// `EXT4_IOC_SHUTDOWN`: the file system ends at once, as by a power cut.
const SHUTDOWN: rustix::ioctl::Opcode = 0x8004_587D;

/// How long what was killed may take to let the file system go.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is lost.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// All names have reached the disk, and bytes that nobody synced have not (`EXT4_GOING_FLAGS_LOGFLUSH`).
    Bytes = 1,
    /// Whatever nobody synced (`EXT4_GOING_FLAGS_NOLOGFLUSH`).
    All = 2,
}

/// A file system in a file, and where it is mounted.
pub struct Disk {
    image: PathBuf,
    place: PathBuf,
    /// How the journal treats bytes, as `data=` says it.
    data: &'static str,
}

impl Disk {
    /// Makes one in `image`, and mounts it at `place`.
    ///
    /// # Errors
    /// What a program says that fails.
    pub fn new(image: PathBuf, place: PathBuf, data: &'static str) -> Result<Disk, String> {
        let wrong = |error: std::io::Error| format!("{}: {error}", image.display());
        File::create(&image).and_then(|file| file.set_len(BYTES)).map_err(wrong)?;
        std::fs::create_dir(&place).map_err(wrong)?;
        let options = "nodiscard,lazy_itable_init=1,lazy_journal_init=1";
        run(Command::new("mkfs.ext4").args(["-q", "-F", "-N", "1024", "-J", "size=4", "-E", options]).arg(&image))?;
        let disk = Disk { image, place, data };
        disk.mount()?;
        Ok(disk)
    }

    /// Nothing becomes durable by itself: the journal is not committed every few seconds, and no rename brings bytes to the disk.
    fn mount(&self) -> Result<(), String> {
        let options = format!("loop,commit=300,noauto_da_alloc,data={}", self.data);
        run(Command::new("mount").args(["-o", &options]).arg(&self.image).arg(&self.place))
    }

    /// The power goes, and comes back.
    ///
    /// # Errors
    /// If the file system cannot be had back.
    pub fn lose(&self, loss: Loss) -> Result<(), String> {
        shut_down(&self.place, loss)?;
        let begun = Instant::now();
        while let Err(why) = run(Command::new("umount").arg(&self.place)) {
            if begun.elapsed() > PATIENCE {
                return Err(why);
            }
            std::thread::park_timeout(Duration::from_millis(5));
        }
        self.mount()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(run(Command::new("umount").arg("-l").arg(&self.place)));
    }
}

fn shut_down(place: &Path, loss: Loss) -> Result<(), String> {
    let wrong = |error: std::io::Error| format!("ending {}: {error}", place.display());
    let root = File::open(place).map_err(wrong)?;
    #[expect(unsafe_code, reason = "the call takes one number, and is made of a file system that we have made")]
    let ended = unsafe { ioctl(&root, Setter::<SHUTDOWN, u32>::new(loss as u32)) };
    ended.map_err(|error| wrong(error.into()))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
