//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::FalseyValueParser;
use dr_pipe::args::{cluster_name, seconds};
use dr_pipe::record::Job;
use dr_pipe::{Exit, Failure, state};
use dr_post::PostArgs;
use dr_postgres::conninfo::ConnectArgs;

use crate::ended::Ended;
use crate::pinger::Style;

/// Note how scheduled jobs end, and tell those who wait for a sign of life
#[derive(Debug, Parser)]
#[command(name = "dr-heartbeat", version, disable_help_flag = true, max_term_width = 100, after_help = EXAMPLES)]
pub struct Args {
    /// What to do
    #[arg(value_name = "VERB")]
    pub verb: Verb,

    /// What the job does
    #[arg(long, value_name = "JOB", env = "DR_JOB")]
    job: Option<Job>,

    /// The cluster that the job is for
    #[arg(long, value_name = "NAME", env = "DR_CLUSTER", value_parser = cluster_name)]
    pub cluster: Option<String>,

    /// Keep the heartbeat files in DIR [default: the state directory]
    #[arg(long, value_name = "DIR", env = "DR_BEATS")]
    beats: Option<PathBuf>,

    /// Wait so long for another run of the job to end [default: not at all]
    #[arg(long, value_name = "TIME", env = "DR_LOCK_WAIT", value_parser = seconds)]
    lock_wait: Option<f64>,

    /// Report a failure where another run has been at work for longer
    #[arg(long, value_name = "TIME", env = "DR_MAX_RUN", default_value = "1d", value_parser = seconds)]
    pub max_run: f64,

    /// Ping the URLs in FILE, one in each line; cred:NAME is a credential of the unit
    #[arg(long, value_name = "FILE", env = "DR_PING_FILE")]
    pub ping_file: Option<String>,

    /// Which protocol the URLs speak
    #[arg(long, value_name = "STYLE", env = "DR_PING_STYLE", default_value = "auto")]
    pub ping_style: Style,

    /// Try to ping for so long
    #[arg(long, value_name = "SECONDS", env = "DR_PING_PATIENCE", default_value = "30", value_parser = clap::value_parser!(u64).range(1..=30))]
    ping_patience: u64,

    #[command(flatten)]
    pub post: PostArgs,

    /// Ping that the job has begun
    #[arg(long)]
    pub start: bool,

    /// Ping that the job has failed
    #[arg(long, conflicts_with = "start")]
    pub fail: bool,

    /// Ping neither success nor failure, but what standard input says
    #[arg(long, conflicts_with_all = ["start", "fail"])]
    pub log: bool,

    /// How the job ended: a number, or the name of a signal, as systemd's $EXIT_STATUS
    #[arg(long, value_name = "STATUS", conflicts_with_all = ["start", "fail", "log"])]
    pub exit_status: Option<String>,

    /// What the service manager says of the end: systemd's $SERVICE_RESULT
    #[arg(long, value_name = "RESULT", requires = "exit_status")]
    pub service_result: Option<String>,

    /// How old the last success of each job may be, such as dump=26h,base=8d,wal=10m
    #[arg(long, value_name = "LIST", env = "DR_MAX_AGE", value_delimiter = ',', value_parser = limit)]
    pub max_age: Vec<Limit>,

    /// Commit so often
    #[arg(long, value_name = "TIME", env = "DR_COMMIT_EVERY", default_value = "10s", value_parser = seconds)]
    every: f64,

    /// Commit once, and end
    #[arg(long, env = "DR_ONCE", value_parser = FalseyValueParser::new())]
    pub once: bool,

    /// Commit in this database, or as this connection string says [env: PGDATABASE=]
    #[arg(short, long, value_name = "CONNINFO")]
    pub dbname: Option<String>,

    #[command(flatten)]
    pub connect: ConnectArgs,

    /// Print help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    help: Option<bool>,

    /// The command of the job, and its arguments
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

/// What can be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Verb {
    /// Run the command of a job, note how it ends, and ping.
    Run,
    /// Note how a job has ended that something else has run.
    Beat,
    /// Ping alone.
    Ping,
    /// Answer one HTTP request about the last successes, on standard input and output.
    Health,
    /// Commit to a database again and again, so that every moment can be recovered to.
    Commit,
}

/// How old the last success of a job may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit {
    /// The job.
    pub job: Job,
    /// In seconds.
    pub seconds: f64,
}

const EXAMPLES: &str = "Examples:
  dr-heartbeat run --job dump --cluster main --ping-file /etc/dr/main.ping -- /usr/local/lib/dr/backup main
  dr-heartbeat ping --fail --ping-file /etc/dr/main.ping </dev/null
  dr-heartbeat health --cluster main --max-age dump=26h,base=8d,wal=10m

See `man dr-heartbeat` for the files it writes.";

impl Args {
    /// The job.
    ///
    /// # Errors
    /// 64 where none was named.
    pub fn job(&self) -> Result<Job, Failure> {
        self.job.ok_or_else(|| usage("which job is not said", "give --job, such as --job dump"))
    }

    /// The cluster.
    ///
    /// # Errors
    /// 64 where none was named.
    pub fn cluster(&self) -> Result<&str, Failure> {
        self.cluster.as_deref().ok_or_else(|| usage("which cluster is not said", "give --cluster, or set DR_CLUSTER"))
    }

    /// The directory of the heartbeat files.
    ///
    /// # Errors
    /// 78 where none is known.
    pub fn beats(&self) -> Result<PathBuf, Failure> {
        self.beats
            .clone()
            .or_else(state::directory)
            .ok_or_else(|| Failure::new(Exit::Config, "no directory for heartbeat files", "name one with --beats, or set DR_STATE"))
    }

    /// How long another run is waited for.
    pub fn lock_wait(&self) -> Duration {
        Duration::from_secs_f64(self.lock_wait.unwrap_or_default())
    }

    /// How long pinging is tried.
    pub fn ping_patience(&self) -> Duration {
        Duration::from_secs(self.ping_patience)
    }

    /// How often it commits.
    pub fn every(&self) -> Duration {
        Duration::from_secs_f64(self.every)
    }

    /// How the job ended, where that was said.
    ///
    /// # Errors
    /// 64 where it is neither a number nor a name.
    pub fn ended(&self) -> Result<Option<Ended>, Failure> {
        self.exit_status.as_deref().map(|status| Ended::said(status, self.service_result.as_deref())).transpose()
    }
}

/// A call that says too little, or too much.
pub fn usage(message: &str, hint: &str) -> Failure {
    Failure::new(Exit::Usage, message, hint)
}

fn limit(text: &str) -> Result<Limit, String> {
    let (job, age) = text.split_once('=').ok_or("write JOB=TIME, such as dump=26h")?;
    let job = <Job as clap::ValueEnum>::from_str(job.trim(), false).map_err(|_| format!("there is no job {job}"))?;
    Ok(Limit { job, seconds: seconds(age.trim())? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_names_a_job_and_a_time() {
        assert_eq!(limit("dump=26h"), Ok(Limit { job: Job::Dump, seconds: 93_600.0 }));
        assert_eq!(limit(" wal=10m"), Ok(Limit { job: Job::Wal, seconds: 600.0 }));
        for wrong in ["dump", "dump=", "dump=0", "lunch=1h", "=1h", "dump=1h=2h", ""] {
            assert!(limit(wrong).is_err(), "{wrong}");
        }
    }
}
