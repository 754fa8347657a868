//! Which runs of scheduled jobs have there been? The history that dr-heartbeat writes, one file per cluster in the state directory.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::record::{self, Job, Record, Run};
use crate::{Exit, Failure, lock, state};

/// As many runs are kept: the newest ones; and the last success of each job, however old.
pub const KEPT: usize = 10_000;

/// How many more may be there before the oldest are cut off, so that this is not done at every run.
const SLACK: usize = 500;

/// How long another one that writes the history is waited for: it needs no second.
const PATIENCE: Duration = Duration::from_secs(10);

/// The file of a cluster.
///
/// # Errors
/// 78 where there is no state directory.
pub fn path(cluster: &str) -> Result<PathBuf, Failure> {
    let directory = state::directory().ok_or_else(|| {
        Failure::new(Exit::Config, "no state directory", "set DR_STATE to the directory that dr-heartbeat keeps the run history in")
    })?;
    Ok(directory.join(format!("runs-{cluster}.jsonl")))
}

/// The runs of a cluster, in the order in which they ended; none where none has been noted.
///
/// # Errors
/// 65 for a line that is no `run` record, 74 or 77 if it cannot be read, 78 where there is no state directory.
pub fn read(cluster: &str) -> Result<Vec<Run>, Failure> {
    read_from(&path(cluster)?)
}

/// Notes a run, durably. What a power cut has left of a line goes.
///
/// # Errors
/// 74 or 77 if it cannot be written, 75 where others never let it, 78 where there is no state directory.
pub fn append(run: &Run) -> Result<(), Failure> {
    append_to(&path(&run.cluster)?, run, KEPT)
}

/// The last run of a job that succeeded.
pub fn last_success(runs: &[Run], job: Job) -> Option<&Run> {
    runs.iter().rev().find(|run| run.job == job && run.succeeded)
}

fn read_from(path: &Path) -> Result<Vec<Run>, Failure> {
    let mut text = Vec::new();
    match state::open(OpenOptions::new().read(true), path).and_then(|mut file| file.read_to_end(&mut text)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        read => read.map_err(|error| Failure::file(path, &error))?,
    };
    let within = |failure: Failure| failure.within(path.display()).leaving("mend or remove that line");
    // The last line may just be written, or be what a power cut has left of one.
    let records = record::read(&mut &text[..whole(&text)]).map_err(within)?;
    let runs = records.into_iter().map(|record| match record {
        Record::Run(run) => Ok(*run),
        _ => Err(within(Failure::new(Exit::Damaged, "a record in it is no run", "only dr-heartbeat writes it"))),
    });
    runs.collect()
}

fn append_to(path: &Path, run: &Run, keep: usize) -> Result<(), Failure> {
    // A file of its own, as the history's is replaced when it is cut.
    let lock = path.with_extension("lock");
    let made = path.parent().map_or(Ok(()), state::make);
    let noted = made.and_then(|()| lock::wait(&lock, PATIENCE)).and_then(|locked| {
        let busy = || {
            let message = format!("another process has held {} for {} s", lock.display(), PATIENCE.as_secs());
            Failure::new(Exit::Busy, message, "see who it is: fuser(1)")
        };
        let _held = locked.ok_or_else(busy)?;
        write(path, run, keep).map_err(|error| Failure::file(path, &error))
    });
    noted.map_err(|failure| failure.within("noting the run"))
}

fn write(path: &Path, run: &Run, keep: usize) -> io::Result<()> {
    let mut file = state::create(OpenOptions::new().append(true).read(true), path)?;
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    if whole(&text) < text.len() {
        text.truncate(whole(&text));
        file.set_len(text.len() as u64)?;
        file.seek(SeekFrom::End(0))?;
    }
    record::write(&mut file, &Record::Run(Box::new(run.clone())))?;
    file.sync_all()?;
    let lines = text.iter().filter(|byte| **byte == b'\n').count() + 1;
    if lines > keep + SLACK.min(keep) {
        cut(path, lines - keep)?;
    }
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Leaves the oldest lines away. Whoever reads meanwhile sees the one file or the other.
fn cut(path: &Path, lines: usize) -> io::Result<()> {
    let text = fs::read(path)?;
    let all: Vec<_> = text.split_inclusive(|byte| *byte == b'\n').collect();
    let mut successes = BTreeSet::new();
    let mut kept = Vec::new();
    for (number, line) in all.iter().enumerate().rev() {
        // A job of every five minutes must not push out that of every month.
        let first = match serde_json::from_slice(line) {
            Ok(Record::Run(run)) => run.succeeded && successes.insert(run.job),
            _ => false,
        };
        if number >= lines || first {
            kept.push(*line);
        }
    }
    kept.reverse();
    let mut file = state::replacement(path)?;
    file.write_all(&kept.concat())?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

/// How many bytes have whole lines.
fn whole(text: &[u8]) -> usize {
    text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::MetadataExt;

    use super::*;

    fn run(number: usize, job: Job, succeeded: bool) -> Run {
        Run {
            run: format!("00000000-0000-4000-8000-{number:012}"),
            cluster: "main".into(),
            job,
            host: "db1".into(),
            started_at: "2026-01-25T02:00:00Z".parse().unwrap(),
            finished_at: "2026-01-25T02:03:00Z".parse().unwrap(),
            succeeded,
            exit_code: Some(i32::from(!succeeded)),
            signal: None,
            backup: None,
            stored_bytes: None,
            message: None,
        }
    }

    #[test]
    fn runs_come_back_in_their_order_for_their_owner_alone() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("new/runs-main.jsonl");
        assert_eq!(read_from(&path).unwrap(), []);
        let runs = [run(1, Job::Dump, true), run(2, Job::Base, true), run(3, Job::Dump, false)];
        runs.iter().for_each(|run| append_to(&path, run, KEPT).unwrap());
        assert_eq!(read_from(&path).unwrap(), runs);
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        assert_eq!(last_success(&runs, Job::Dump), Some(&runs[0]));
        assert_eq!(last_success(&runs, Job::Drill), None);
    }

    #[test]
    fn what_a_power_cut_has_left_of_a_line_is_passed_over_and_goes() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("runs-main.jsonl");
        append_to(&path, &run(1, Job::Dump, true), KEPT).unwrap();
        for torn in [&b"{\"type\":\"ru"[..], &[0; 300]] {
            OpenOptions::new().append(true).open(&path).unwrap().write_all(torn).unwrap();
            let before = read_from(&path).unwrap();
            append_to(&path, &run(2, Job::Dump, true), KEPT).unwrap();
            assert_eq!(read_from(&path).unwrap().len(), before.len() + 1);
        }
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"type\":\"ru\n").unwrap();
        assert_eq!(read_from(&path).unwrap_err().exit, Exit::Damaged);
    }

    #[test]
    fn what_is_no_file_is_a_failure_and_no_endless_wait() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("runs-main.jsonl");
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR).unwrap();
        assert_eq!(read_from(&path).unwrap_err().exit, Exit::Io);
        assert_eq!(append_to(&path, &run(1, Job::Dump, true), KEPT).unwrap_err().exit, Exit::Io);
        fs::remove_file(&path).unwrap();
        let victim = scratch.path().join("victim");
        fs::write(&victim, "kept").unwrap();
        std::os::unix::fs::symlink(&victim, &path).unwrap();
        assert!(read_from(&path).is_err() && append_to(&path, &run(1, Job::Dump, true), KEPT).is_err());
        assert_eq!(fs::read(&victim).unwrap(), b"kept");
    }

    #[test]
    fn the_newest_are_kept() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("runs-main.jsonl");
        (1..=21).for_each(|number| append_to(&path, &run(number, Job::Wal, true), 10).unwrap());
        let runs = read_from(&path).unwrap();
        assert_eq!((runs.len(), &runs[9]), (10, &run(21, Job::Wal, true)));
    }

    #[test]
    fn the_last_success_of_a_rare_job_is_kept() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("runs-main.jsonl");
        let drills = [run(1, Job::Drill, true), run(2, Job::Drill, true), run(3, Job::Drill, false)];
        drills.iter().for_each(|run| append_to(&path, run, 10).unwrap());
        (4..=100).for_each(|number| append_to(&path, &run(number, Job::Check, true), 10).unwrap());
        let runs = read_from(&path).unwrap();
        assert_eq!((last_success(&runs, Job::Drill), &runs[0]), (Some(&drills[1]), &drills[1]));
        assert!(runs.len() <= 22 && runs.iter().filter(|run| run.job == Job::Drill).count() == 1);
    }

    #[test]
    fn several_that_end_at_once_are_all_noted() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("runs-main.jsonl");
        std::thread::scope(|scope| {
            for worker in 0..4 {
                let path = &path;
                scope.spawn(move || (0..25).for_each(|n| append_to(path, &run(worker * 25 + n, Job::Wal, true), 40).unwrap()));
            }
        });
        assert!((40..=80).contains(&read_from(&path).unwrap().len()));
    }
}
