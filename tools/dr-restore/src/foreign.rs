//! Dumps that pg_dump has written: custom, directory and tar format through pg_restore, SQL scripts through psql.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use dr_pipe::child;
use dr_pipe::progress::Progress;
use dr_pipe::stop::{OnStop, on_stop};
use dr_pipe::{Exit, Failure, warn};
use dr_postgres::ConnInfo;
use flate2::read::MultiGzDecoder;
use tempfile::NamedTempFile;

use crate::TOOL;
use crate::preflight::{LeftOut, Needs};
use crate::schema::{self, OPTIONS, flags};
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
    _spool: Option<Spool>,
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
        Foreign { name: path.display().to_string(), signed: false, path: path.into(), format, _spool: None }
    }

    /// A dump in a temporary file; `name` is where it came from.
    pub fn spooled(file: NamedTempFile, format: Format, name: &str) -> Self {
        let path = file.path().to_owned();
        let _on_stop = on_stop({
            let path = path.clone();
            // Nothing is left to tell if it is gone already.
            move || drop(std::fs::remove_file(path))
        });
        Foreign { name: name.into(), signed: false, path, format, _spool: Some(Spool { _file: file, _on_stop }) }
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
    pub fn survey(&self, program: &Path, left_out: LeftOut) -> Result<Needs, Failure> {
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
            return Ok(survey.needs);
        }
        schema::survey(program, &["--schema-only"], &self.path, left_out).map_err(|failure| failure.within(&self.name))
    }

    /// Restores it into an empty database.
    ///
    /// # Errors
    /// What the program said first.
    pub fn restore(
        &self,
        program: &Path,
        conn: &ConnInfo,
        jobs: usize,
        left_out: LeftOut,
        progress: &Progress,
    ) -> Result<(), Failure> {
        if self.is_script() {
            return self.run_script(program, conn, progress);
        }
        let mut command = Command::new(program);
        command.args(["--no-password", "--exit-on-error"]).args(flags(left_out));
        if jobs > 1 && self.format != Format::Tar {
            command.arg(format!("--jobs={jobs}"));
        }
        command.arg(&self.path);
        schema::run(command, conn, OPTIONS).map_err(|failure| failure.within(&self.name))
    }

    fn run_script(&self, program: &Path, conn: &ConnInfo, progress: &Progress) -> Result<(), Failure> {
        let mut command = Command::new(program);
        command.args(["--no-psqlrc", "--quiet", "--no-password", "--set=ON_ERROR_STOP=1", "--file=-"]);
        let _guard = schema::connect(&mut command, conn, &format!("{OPTIONS} -c client_min_messages=warning"))?;
        let mut script = self.script()?;
        let started = child::start(command.stdin(Stdio::piped()).stdout(Stdio::null()));
        let mut running = started.map_err(|error| Failure::io(program.display(), &error))?;
        let mut stdin = running.child.stdin.take().expect("it is piped");
        let (fed, output) = std::thread::scope(|scope| {
            let feeder = scope.spawn(move || feed(&mut script, &mut stdin, progress));
            let output = running.output();
            (feeder.join(), output)
        });
        let output = output.map_err(|error| Failure::io(program.display(), &error))?;
        let said = String::from_utf8_lossy(&output.stderr);
        if !output.status.success() {
            return Err(schema::failure(&said, &output.status.to_string()).within(&self.name));
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

/// Gives psql the script. That psql has ended early is told by its own exit status.
fn feed(script: &mut dyn Read, stdin: &mut impl Write, progress: &Progress) -> io::Result<()> {
    let mut chunk = vec![0; dr_pipe::stream::CHUNK_BYTES];
    loop {
        let n = script.read(&mut chunk)?;
        if n == 0 {
            return Ok(());
        }
        match stdin.write_all(&chunk[..n]) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
            done => done?,
        }
        progress.add(n as u64);
    }
}
