//! The heartbeat file of a job: when it last succeeded, for whoever can read a file.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use chrono::{DateTime, SecondsFormat, Utc};
use dr_pipe::args::moment;
use dr_pipe::record::{Job, Run};
use dr_pipe::{Exit, Failure, state};

/// As much of a heartbeat file is read: somebody else may have written it.
const FILE_BYTES: u64 = 64 << 10;

/// What a heartbeat file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// When the job succeeded.
    pub at: DateTime<Utc>,
    /// The cluster; none where somebody else has written the file.
    pub cluster: Option<String>,
    /// The newest backup that was published.
    pub backup: Option<String>,
    /// Size of what was stored.
    pub bytes: Option<u64>,
}

/// The file of a job.
pub fn path(directory: &Path, job: Job) -> PathBuf {
    match job {
        Job::Dump => directory.join("LAST_SUCCESS.txt"),
        Job::Base => directory.join("LAST_BASEBACKUP.txt"),
        Job::Wal => directory.join("wal_sync_last_ok.txt"),
        other => directory.join(format!("LAST_{}.txt", other.name().to_uppercase())),
    }
}

/// What the file of a job says; none where there is none.
///
/// # Errors
/// 65 if its first line is no moment, 74 or 77 if it cannot be read.
pub fn read(directory: &Path, job: Job) -> Result<Option<Mark>, Failure> {
    let path = path(directory, job);
    let mut text = Vec::new();
    let opened = state::open(OpenOptions::new().read(true), &path);
    match opened.and_then(|file| file.take(FILE_BYTES).read_to_end(&mut text)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        read => read.map_err(|error| Failure::file(&path, &error))?,
    };
    let text = String::from_utf8_lossy(&text);
    let at = moment(text.lines().next().unwrap_or_default().trim()).map_err(|_| {
        Failure::new(
            Exit::Damaged,
            format!("{}: its first line is no moment", path.display()),
            "the next success of the job mends it",
        )
    })?;
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned);
    Ok(Some(Mark {
        at,
        cluster: value("cluster"),
        backup: value("backup"),
        bytes: value("bytes").and_then(|text| text.parse().ok()),
    }))
}

/// Writes the file of a run that succeeded: whole or not at all, durably, and for everybody's eyes.
///
/// # Errors
/// 73 where the file is of another cluster: it would hide how that one is. 74 or 77 as the file system says.
pub fn write(directory: &Path, run: &Run) -> Result<(), Failure> {
    let path = path(directory, run.job);
    let before = read(directory, run.job).ok().flatten().and_then(|mark| mark.cluster);
    if let Some(other) = before.filter(|other| *other != run.cluster) {
        let message = format!("{} is of cluster {other}", path.display());
        return Err(Failure::new(Exit::Exists, message, "give each cluster a --beats directory of its own; the file is as it was"));
    }
    let replace = || -> io::Result<()> {
        fs::create_dir_all(directory)?;
        let mut file = state::replacement(&path)?;
        file.write_all(text(run).as_bytes())?;
        // Said outright: it is made for its owner alone.
        file.as_file().set_permissions(Permissions::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(&path)?;
        File::open(directory)?.sync_all()
    };
    replace().map_err(|error| Failure::file(&path, &error))
}

fn text(run: &Run) -> String {
    let mut text = format!("{}\n", run.finished_at.to_rfc3339_opts(SecondsFormat::Secs, true));
    let mut add = |key: &str, value: &str| text.push_str(&format!("{key}={value}\n"));
    add("cluster", &run.cluster);
    add("job", run.job.name());
    add("host", &run.host);
    add("run", &run.run);
    run.backup.iter().for_each(|backup| add("backup", backup));
    run.stored_bytes.iter().for_each(|bytes| add("bytes", &bytes.to_string()));
    text
}
