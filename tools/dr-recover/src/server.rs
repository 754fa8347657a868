//! The recovered server: started by pg_ctl, followed by its log until it is where it was to go.
//!
//! The log, not a session, says how far it is: it needs no role, no password and no open port, and it says why it ended.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use dr_pipe::progress::Progress;
use dr_pipe::{Exit, Failure};
use dr_postgres::clients::Client;
use dr_wal::{History, Lsn, Timeline, WalName};

use crate::heard::{Fetched, Heard, STARTS, State, hear, verdict};
use crate::isolation::Isolation;
use crate::settings::sh;
use crate::{adapt, directory};

/// The server's log while it recovers, in its data directory.
pub const LOG: &str = "dr-recover.log";

/// How long a server may take to write its postmaster.pid.
const PATIENCE: Duration = Duration::from_secs(60);
/// How often the log is looked at.
const INTERVAL: Duration = Duration::from_millis(50);

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Launch {
    /// pg_ctl of the right major.
    pub pg_ctl: PathBuf,
    /// The data directory.
    pub data: PathBuf,
    /// Its port, also a part of its socket's name.
    pub port: u16,
    /// Where its socket is.
    pub socket_dir: PathBuf,
    /// On which addresses it listens; usually none.
    pub listen: String,
    /// What keeps it from reaching anything, where it is only to prove something.
    pub isolation: Option<Isolation>,
}

/// What came of following a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Followed {
    /// It is where it was to go.
    Arrived(Arrived),
    /// It waits, or has ended, until this setting has at least this value.
    TooLow(String, u32),
    /// It has ended before it made a tablespace.
    Guarded,
    /// It has ended because it was refused WAL that is damaged; with its last words.
    Refused(Failure),
}

/// Where a server has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrived {
    /// Where it is.
    pub state: State,
    /// Where replay ended, where that can be known.
    pub lsn: Option<Lsn>,
    /// The last transaction.
    pub at: Option<DateTime<Utc>>,
    /// Its timeline, if it was promoted.
    pub timeline: Option<Timeline>,
    /// Whether it said that it stopped at its target.
    pub stopped: bool,
}

impl Launch {
    /// The programs of a major version: those in `bindir` where it is named, else wherever packages put them.
    ///
    /// # Errors
    /// 78 where there are none of that version.
    pub fn programs(bindir: Option<&Path>, major: u32) -> Result<PathBuf, Failure> {
        let client = match bindir {
            Some(bindir) => Client::at(&bindir.join("pg_ctl"))?,
            None => Client::find("pg_ctl", major)?,
        };
        if client.version.major != major {
            let message = format!("{client}: the backup is of PostgreSQL {major}");
            let hint = format!("install the package postgresql-{major}, or name its programs with --bindir; nothing was written");
            return Err(Failure::new(Exit::Config, message, hint));
        }
        Ok(client.path)
    }

    /// Starts the server, and waits until it has begun.
    ///
    /// # Errors
    /// 78 or 65 with its last words, where it ends at once.
    pub fn start(&self) -> Result<(), Failure> {
        let options = [
            ("data_directory", self.data.display().to_string()),
            ("port", self.port.to_string()),
            ("unix_socket_directories", self.socket_dir.display().to_string()),
            ("listen_addresses", self.listen.clone()),
            // Its words are read: in English, in one place.
            ("lc_messages", "C".into()),
            ("logging_collector", "off".into()),
            ("log_destination", "stderr".into()),
            ("log_min_messages", "warning".into()),
            ("log_error_verbosity", "default".into()),
            ("log_line_prefix", "%m [%p] ".into()),
            ("log_timezone", "UTC".into()),
        ];
        if self.isolation.is_some() {
            directory::make(&self.socket_dir)?;
        }
        let isolated = self.isolation.as_ref().map(|isolation| isolation.settings(&self.data)).transpose()?.unwrap_or_default();
        let options: Vec<_> =
            options.iter().chain(&isolated).map(|(name, value)| format!("-c {}", sh(&format!("{name}={value}")))).collect();
        let log = self.data.join(LOG);
        adapt::append(&log, &format!("{STARTS}\n"))?;
        let mut command = match &self.isolation {
            Some(isolation) => isolation.command(&self.pg_ctl, &self.data, &self.socket_dir)?,
            None => Command::new(&self.pg_ctl),
        };
        command.args(["start", "-W", "-s", "-D"]).arg(&self.data).arg("-l").arg(log);
        command.arg("-o").arg(options.join(" "));
        let output = dr_pipe::child::output(&mut command).map_err(|error| Failure::io(self.pg_ctl.display(), &error))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(self.ended(&said, &self.heard()));
        }
        let deadline = Instant::now() + PATIENCE;
        while self.pid()?.is_none() {
            let heard = self.heard();
            if heard.fatal.is_some() || heard.state != State::Replaying || Instant::now() > deadline {
                return if heard.fatal.is_none() && heard.state != State::Replaying { Ok(()) } else { Err(self.ended("", &heard)) };
            }
            std::thread::park_timeout(INTERVAL);
        }
        Ok(())
    }

    /// Whether it ended, or waits, for something that can be seen to: a setting is too low, a tablespace is to be made, WAL was refused.
    pub fn is_held_up(&self) -> bool {
        let heard = self.heard();
        heard.too_low.is_some() || heard.guarded || is_refused(&heard)
    }

    /// Follows the server until it has arrived, and tells `progress` what it fetched.
    ///
    /// # Errors
    /// With its last words where it ends before: 69 where WAL could not be fetched, 66 where the target was not in the WAL, 78
    /// where its configuration does not fit this machine, else 65.
    pub fn follow(&self, fetched: &mut Fetched, progress: &Progress) -> Result<Followed, Failure> {
        loop {
            // In this order: what it said before it ended is in the log.
            let alive = self.pid()?.is_some();
            let heard = self.heard();
            progress.add(fetched.add(&heard.fetched));
            if let (State::Replaying, Some((name, value))) = (heard.state, &heard.too_low) {
                return Ok(Followed::TooLow(name.clone(), *value));
            }
            match heard.state {
                State::Replaying if heard.guarded && !alive => return Ok(Followed::Guarded),
                State::Replaying if is_refused(&heard) && !alive => return Ok(Followed::Refused(self.ended("", &heard))),
                State::Replaying if alive => std::thread::park_timeout(INTERVAL),
                State::Replaying => return Err(self.ended("", &heard)),
                state => return self.arrived(state, heard).map(Followed::Arrived),
            }
        }
    }

    /// Ends a server in a mode of pg_ctl's, and waits until it has ended, or an hour.
    ///
    /// # Errors
    /// 74 where pg_ctl cannot be run.
    pub fn stop(&self, mode: &str) -> Result<(), Failure> {
        let mut command = Command::new(&self.pg_ctl);
        command.args(["stop", "-w", "-t", "3600", "-s", "-m", mode, "-D"]).arg(&self.data);
        dr_pipe::child::output(&mut command).map(drop).map_err(|error| Failure::io(self.pg_ctl.display(), &error))
    }

    /// Starts a server that has recovered again, where it reaches nothing: what the database holds runs only there. Fetching
    /// WAL takes a network. Nothing is done with one that is not isolated, or where the system allows no such thing.
    ///
    /// # Errors
    /// As starting it.
    pub fn enclose(&self) -> Result<(), Failure> {
        let Some(isolation) = self.isolation.as_ref().and_then(Isolation::enclosed) else { return Ok(()) };
        self.stop("fast")?;
        let enclosed = Launch { isolation: Some(isolation), ..self.clone() };
        enclosed.start()?;
        while !enclosed.heard().open {
            if enclosed.pid()?.is_none() {
                return Err(enclosed.last_words());
            }
            std::thread::park_timeout(INTERVAL);
        }
        Ok(())
    }

    /// Why it has ended.
    pub fn last_words(&self) -> Failure {
        self.ended("", &self.heard())
    }

    fn arrived(&self, state: State, heard: Heard) -> Result<Arrived, Failure> {
        let mut arrived = Arrived { state, lsn: None, at: heard.last_at, timeline: heard.timeline, stopped: heard.stopped };
        match (state, heard.timeline) {
            (State::Promoted, Some(timeline)) => {
                let path = self.data.join("pg_wal").join(WalName::History(timeline).to_string());
                let text = fs::read(&path).map_err(|error| Failure::io(path.display(), &error))?;
                arrived.lsn = History::parse(timeline, &text)?.parent().map(|switch| switch.at);
            }
            _ => arrived.lsn = self.asked(),
        }
        Ok(arrived)
    }

    /// Where a server that can be asked says that it is; none where it lets us not in.
    fn asked(&self) -> Option<Lsn> {
        let user = std::env::var("PGUSER").unwrap_or_else(|_| "postgres".into());
        let text = format!("host={} port={} user={user} dbname=postgres connect_timeout=5", self.socket_dir.display(), self.port);
        let conn = dr_postgres::ConnInfo::resolve(&text, &dr_postgres::Environment::of_process()).ok()?;
        let mut session = dr_postgres::Session::connect(&conn, crate::TOOL).ok()?;
        session.query("SELECT pg_catalog.pg_last_wal_replay_lsn()").ok()?.value().ok()?.parse().ok()
    }

    fn pid(&self) -> Result<Option<i32>, Failure> {
        directory::running(&self.data).map_err(|error| Failure::io(self.data.display(), &error))
    }

    fn heard(&self) -> Heard {
        let text = fs::read(self.data.join(LOG)).or_else(|error| match error.kind() {
            io::ErrorKind::NotFound => Ok(Vec::new()),
            _ => Err(error),
        });
        hear(&String::from_utf8_lossy(&text.unwrap_or_default()))
    }

    fn ended(&self, said: &str, heard: &Heard) -> Failure {
        let fatal = heard.fatal.as_deref().unwrap_or(if said.is_empty() { "it said nothing" } else { said });
        let log = self.data.join(LOG);
        let (exit, what) = match heard.guarded {
            true => (Exit::Refused, "a tablespace was made after the backup, and may be in use: see dr-recover(1), CAVEATS"),
            false => verdict(fatal),
        };
        let (not_fetched, ends_there_again) = (exit == Exit::Unavailable, exit == Exit::Missing);
        let exit = heard.fetch_exit.filter(|_| not_fetched).unwrap_or(exit);
        let message = match (&heard.fetch_failed, &heard.wrong) {
            (Some(why), _) if not_fetched => format!("the server ended: {why}"),
            (_, Some(wrong)) if fatal.contains(" contains errors") => format!("the server ended: {wrong}: {fatal}"),
            _ => format!("the server ended: {fatal}"),
        };
        let again = match ends_there_again {
            true => String::new(),
            false => format!(": `{} start -D {}` goes on from there", self.pg_ctl.display(), self.data.display()),
        };
        Failure::new(exit, message, format!("{what}; all it said is in {}; nothing is lost{again}", log.display()))
    }
}

/// Whether it was refused WAL that is there, and damaged or signed by nobody who is trusted.
fn is_refused(heard: &Heard) -> bool {
    heard.fatal.is_some() && matches!(heard.fetch_exit, Some(Exit::Damaged | Exit::Untrusted))
}
