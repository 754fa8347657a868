//! The file that the steps of one drill are noted in. Lines are only ever appended, each whole and durable.

use std::fs::{File, OpenOptions};
use std::io::{BufReader, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use dr_pipe::record::{self, Backup, Drill, Plan, Record, Recovered, Restored, Step};
use dr_pipe::{Exit, Failure};

/// What a step has said of the backup that it used.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// A backup that dr-list has shown.
    Backup(Box<Backup>),
    /// A restore that is complete.
    Restored(Restored),
    /// A recovery that is proved to be possible.
    Plan(Box<Plan>),
    /// A recovery that is complete.
    Recovered(Box<Recovered>),
}

impl Said {
    /// What `record` says of a backup, if it does.
    pub fn of(record: Record) -> Option<Said> {
        match record {
            Record::Backup(backup) => Some(Said::Backup(backup)),
            Record::Restored(restored) => Some(Said::Restored(restored)),
            Record::Plan(plan) => Some(Said::Plan(plan)),
            Record::Recovered(recovered) => Some(Said::Recovered(recovered)),
            _ => None,
        }
    }

    fn record(&self) -> Record {
        match self.clone() {
            Said::Backup(backup) => Record::Backup(backup),
            Said::Restored(restored) => Record::Restored(restored),
            Said::Plan(plan) => Record::Plan(plan),
            Said::Recovered(recovered) => Record::Recovered(recovered),
        }
    }
}

/// A step as it is noted, with what its command has said.
#[derive(Clone, Debug, PartialEq)]
pub struct Noted {
    /// The step.
    pub step: Step,
    /// What it said.
    pub said: Vec<Said>,
}

/// All that is noted of a drill.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notes {
    /// Its steps, in the order in which they began.
    pub steps: Vec<Noted>,
    /// Its verdict, where it is over.
    pub drill: Option<Drill>,
}

/// The file of a drill.
#[derive(Debug)]
pub struct NoteFile {
    path: PathBuf,
    file: File,
}

impl NoteFile {
    /// Opens (or creates, 0600) the file.
    ///
    /// # Errors
    /// 66, 74 or 77 as the file system says.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new().append(true).read(true).create(true).mode(0o600).open(path);
        let file = file.map_err(|error| failed(path, &error))?;
        Ok(NoteFile { path: path.into(), file })
    }

    /// Notes that a step begins: as failed, so that one whose end nobody could note has not passed.
    ///
    /// # Errors
    /// 74 if it cannot be written; 73 where the drill is over; else as [`NoteFile::read`].
    pub fn begin(&mut self, step: &Step) -> Result<(), Failure> {
        if self.read()?.drill.is_some() {
            let message = format!("{}: the drill that is noted there is over", self.path.display());
            return Err(Failure::new(Exit::Exists, message, "begin each drill with a file of its own: mktemp makes one"));
        }
        self.append(&[Record::Step(Box::new(step.clone()))])
    }

    /// Notes how a step has ended, and what its command has said before that.
    ///
    /// # Errors
    /// 74 if it cannot be written: then the step has not passed.
    pub fn end(&mut self, noted: &Noted) -> Result<(), Failure> {
        let mut records: Vec<_> = noted.said.iter().map(Said::record).collect();
        records.push(Record::Step(Box::new(noted.step.clone())));
        self.append(&records)
    }

    /// Notes the verdict, after which no step is taken any more.
    ///
    /// # Errors
    /// 74 if it cannot be written.
    pub fn close(&mut self, drill: &Drill) -> Result<(), Failure> {
        self.append(&[Record::Drill(Box::new(drill.clone()))])
    }

    /// All that is noted.
    ///
    /// # Errors
    /// 65 where the file is cut short, or holds anything but the notes of one drill; 74 if reading fails.
    pub fn read(&self) -> Result<Notes, Failure> {
        let file = File::open(&self.path).map_err(|error| failed(&self.path, &error))?;
        let within = |failure: Failure| failure.within(format!("notes of the drill {}", self.path.display()));
        notes(record::read(&mut BufReader::new(file)).map_err(within)?).map_err(within)
    }

    /// Appends all of `records` in one write, so that they stand together or not at all.
    fn append(&mut self, records: &[Record]) -> Result<(), Failure> {
        let mut lines = Vec::new();
        let written = records.iter().try_for_each(|record| record::write(&mut lines, record));
        let written = written.and_then(|()| self.file.write_all(&lines)).and_then(|()| self.file.sync_all());
        written.map_err(|error| failed(&self.path, &error))
    }
}

/// Sorts records into steps. The note of a step's end takes the place of that of its beginning.
fn notes(records: Vec<Record>) -> Result<Notes, Failure> {
    let mut notes = Notes::default();
    let mut said = Vec::new();
    for record in records {
        let stray = |what: &str| Failure::new(Exit::Damaged, what, "only dr-drill may write to it, and each drill needs its own");
        match record {
            _ if notes.drill.is_some() => return Err(stray("records after the verdict")),
            Record::Step(step) => {
                let begun = |noted: &Noted| noted.step.name == step.name && noted.step.started_at == step.started_at;
                let noted = Noted { said: std::mem::take(&mut said), step: (*step).clone() };
                match notes.steps.iter_mut().find(|noted| begun(noted)) {
                    Some(place) => *place = noted,
                    None => notes.steps.push(noted),
                }
            }
            Record::Drill(drill) => notes.drill = Some(*drill),
            other => said.push(Said::of(other).ok_or_else(|| stray("a record that no step leaves"))?),
        }
    }
    if said.is_empty() {
        Ok(notes)
    } else {
        Err(Failure::new(Exit::Damaged, "the note of the last step is cut short", "run the drill again, with a file of its own"))
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::io(format!("notes of the drill {}", path.display()), error)
}
