//! Dumps that pg_dump has written: custom, directory and tar format through pg_restore, SQL scripts through psql.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dr_pipe::child;
use dr_pipe::progress::Progress;
use dr_pipe::stop::{OnStop, on_stop};
use dr_pipe::{Exit, Failure, warn};
use dr_postgres::ConnInfo;
use dr_postgres::clients::Client;
use flate2::read::MultiGzDecoder;
use tempfile::NamedTempFile;

use crate::TOOL;
use crate::preflight::{LeftOut, Needs};
use crate::program::{self, OPTIONS, OnRefusal};
use crate::schema::{self, flags};
use crate::script::Survey;

/// The format of a dump.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// `pg_dump -Fc`.
    Custom,
    /// `pg_dump -Fd`.
    Directory,
    /// `pg_dump -Ft`.
    Tar,
    /// `pg_dump`, or any other SQL script.
    Sql,
    /// The same, compressed.
    GzippedSql,
}

/// A dump of pg_dump.
pub struct Foreign {
    /// How messages call it.
    pub name: String,
    /// Whether it came from a store, and its signature was checked, and is good.
    pub signed: bool,
    path: PathBuf,
    format: Format,
    /// Lines of a script that psql is not to see: it has been told the same with another key.
    restrictions: Vec<u64>,
    _spool: Option<Spool>,
}

/// With what a dump is restored.
pub struct Means<'a> {
    /// The program.
    pub program: &'a Client,
    /// How many sessions at once.
    pub jobs: usize,
    /// Whether a definition that is refused ends it. It always ends a script.
    pub on_refusal: &'a OnRefusal,
    /// Told of every byte.
    pub progress: &'a Progress,
}

/// A file that is gone when this is dropped, or a signal ends the process.
struct Spool {
    _file: NamedTempFile,
    _on_stop: OnStop,
}

impl Foreign {
    /// A dump in directory format.
    ///
    /// # Errors
    /// 65 where the directory holds none.
    pub fn directory(path: &Path) -> Result<Self, Failure> {
        if path.join("toc.dat").is_file() {
            return Ok(Foreign::file(path, Format::Directory));
        }
        Err(Failure::new(
            Exit::Damaged,
            format!("{} is a directory without toc.dat: no dump in directory format", path.display()),
            "name the directory that pg_dump -Fd wrote, or a store with --from",
        ))
    }

    /// A dump in a file.
    pub fn file(path: &Path, format: Format) -> Self {
        Foreign {
            name: path.display().to_string(),
            signed: false,
            path: path.into(),
            format,
            restrictions: Vec::new(),
            _spool: None,
        }
    }

    /// A dump in a temporary file; `name` is where it came from.
    pub fn spooled(file: NamedTempFile, format: Format, name: &str) -> Self {
        let path = file.path().to_owned();
        let _on_stop = on_stop({
            let path = path.clone();
            // Nothing is left to tell if it is gone already.
            move || drop(std::fs::remove_file(path))
        });
        let restrictions = Vec::new();
        Foreign { name: name.into(), signed: false, path, format, restrictions, _spool: Some(Spool { _file: file, _on_stop }) }
    }

    /// The program that restores it.
    pub fn program(&self) -> &'static str {
        if self.is_script() { "psql" } else { "pg_restore" }
    }

    fn is_script(&self) -> bool {
        matches!(self.format, Format::Sql | Format::GzippedSql)
    }

    /// Reads the dump's definitions, a script from first to last, and tells what the server must have. Nothing is run.
    ///
    /// # Errors
    /// 64 where something is to be left out of a script, 65 for a damaged dump, 66 for one that was cut short, 80 for a script
    /// that would do more than fill its own database.
    pub fn survey(&mut self, program: &Path, left_out: LeftOut) -> Result<Needs, Failure> {
        if self.is_script() {
            if left_out != LeftOut::default() {
                let message = "owners, rights and tablespaces are written into an SQL script: they cannot be left out";
                return Err(Failure::new(
                    Exit::Usage,
                    message,
                    "create the roles that the script names, or dump again with pg_dump --no-owner",
                ));
            }
            let mut survey = Survey::default();
            survey.read(self.script()?).map_err(|failure| failure.within(&self.name))?;
            survey.must_be_whole().map_err(|failure| failure.within(&self.name))?;
            self.restrictions = survey.restrictions;
            return Ok(survey.needs);
        }
        let survey = schema::survey(program, &["--schema-only"], &self.path, left_out);
        survey.map(|survey| survey.needs).map_err(|failure| failure.within(&self.name))
    }

    /// Restores it into an empty database.
    ///
    /// # Errors
    /// What the program said first.
    pub fn restore(&self, with: &Means<'_>, conn: &ConnInfo, left_out: LeftOut) -> Result<(), Failure> {
        let &Means { program, jobs, on_refusal, progress } = with;
        let jobs = on_refusal.jobs(jobs);
        if self.is_script() {
            return self.run_script(program, conn, progress);
        }
        let mut command = Command::new(&program.path);
        command.arg("--no-password").args(flags(left_out));
        if jobs > 1 && self.format != Format::Tar {
            command.arg(format!("--jobs={jobs}"));
        }
        command.arg(&self.path);
        on_refusal.pg_restore(command, conn, OPTIONS).map_err(|failure| failure.within(&self.name))
    }

    fn run_script(&self, program: &Client, conn: &ConnInfo, progress: &Progress) -> Result<(), Failure> {
        let mut command = Command::new(&program.path);
        command.args(["--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1"]);
        if program.restricts() {
            command.arg(format!("--command=\\restrict {}", key()?));
        }
        command.arg("--file=-");
        let _guard = program::connect(&mut command, conn, &format!("{OPTIONS} -c client_min_messages=warning"))?;
        let mut script = self.script()?;
        let started = child::start(command.stdin(Stdio::piped()).stdout(Stdio::null()));
        let mut running = started.map_err(|error| Failure::io(program.path.display(), &error))?;
        let mut stdin = running.child.stdin.take().expect("it is piped");
        let (fed, output) = std::thread::scope(|scope| {
            let feeder = scope.spawn(move || feed(&mut script, &self.restrictions, &mut stdin, progress));
            let output = running.output();
            (feeder.join(), output)
        });
        let output = output.map_err(|error| Failure::io(program.path.display(), &error))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            let mut failure = program::failure(&said, &output.status.to_string()).within(&self.name);
            if said.contains("backslash commands are restricted") {
                failure.exit = Exit::Refused;
                failure.hint = "the script hides a command for psql: do not trust whoever made it".into();
            }
            return Err(failure);
        }
        said.lines().filter(|line| !line.trim().is_empty()).for_each(|line| warn(TOOL, line));
        match fed {
            Ok(fed) => fed.map_err(|error| Failure::io(&self.name, &error)),
            Err(_) => Err(Failure::new(Exit::Bug, "the thread that feeds psql panicked", "please report this line")),
        }
    }

    /// The script's text.
    fn script(&self) -> Result<Box<dyn BufRead + Send>, Failure> {
        let failed = |error: io::Error| Failure::io(&self.name, &error);
        let file = File::open(&self.path).map_err(failed)?;
        if self.format == Format::Sql {
            return Ok(Box::new(BufReader::with_capacity(1 << 20, file)));
        }
        let mut text = BufReader::with_capacity(1 << 20, MultiGzDecoder::new(BufReader::with_capacity(1 << 18, file)));
        let head = text.fill_buf().map_err(|error| {
            Failure::new(Exit::Damaged, format!("{}: {error}", self.name), "take another copy of this dump; nothing was restored")
        })?;
        if head.starts_with(b"PGDMP") {
            let message = format!("{}: a custom-format dump, compressed once more", self.name);
            return Err(Failure::new(Exit::Damaged, message, "decompress it first: gunzip, then dr-restore the result"));
        }
        Ok(Box::new(text))
    }
}

/// The key without which psql takes no commands again: nobody who wrote a dump knows it.
fn key() -> Result<String, Failure> {
    let mut random = [0; 16];
    getrandom::fill(&mut random)
        .map_err(|error| Failure::new(Exit::Bug, format!("no random numbers: {error}"), "please report this line"))?;
    Ok(hex::encode(random))
}

/// Gives psql the script, with nothing in the lines `left_out`. That psql has ended early is told by its own exit status.
fn feed(script: &mut dyn BufRead, left_out: &[u64], to: &mut impl Write, progress: &Progress) -> io::Result<()> {
    match feed_lines(script, left_out, &mut BufWriter::with_capacity(dr_pipe::stream::CHUNK_BYTES, to), progress) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        done => done,
    }
}

fn feed_lines(script: &mut dyn BufRead, left_out: &[u64], to: &mut impl Write, progress: &Progress) -> io::Result<()> {
    let mut left_out = left_out.iter().copied().peekable();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let n = script.read_until(b'\n', &mut line)?;
        if n == 0 {
            break;
        }
        to.write_all(if left_out.next_if_eq(&number).is_some() { b"\n" } else { &line })?;
        progress.add(n as u64);
    }
    to.flush()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn lines_that_are_left_out_are_empty() {
        let mut fed = Vec::new();
        feed(&mut &b"one\n\\restrict a\nthree\n\\unrestrict a"[..], &[2, 4], &mut fed, &Progress::new(TOOL, None)).unwrap();
        assert_eq!(fed, b"one\n\nthree\n\n");
    }
}
