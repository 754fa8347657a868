//! What dr-prune is told.

use chrono::{DateTime, Utc};
use dr_pipe::table::TableArgs;
use dr_pipe::{Exit, Failure};
use dr_retention::{Age, Count, Every, MAX_RULES, Pin, Policy, Rule, Scoped, Window};

/// Decide which backups and which WAL to keep: verified records in, decisions out; deletes nothing
#[derive(Debug, clap::Parser)]
#[command(name = "dr-prune", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Args {
    /// Keep the newest N
    #[arg(long, value_name = "[SCOPE:]N", env = "DR_KEEP_LAST", value_delimiter = ',')]
    keep_last: Vec<Scoped<Count>>,

    /// Keep all that are not older than AGE: 12h, 30d, 4w, 6m (months) or 1y
    #[arg(long, value_name = "[SCOPE:]AGE", env = "DR_KEEP_WITHIN", value_delimiter = ',')]
    keep_within: Vec<Scoped<Age>>,

    /// Keep the newest of each of the last N hours that have any
    #[arg(long, value_name = "[SCOPE:]N", env = "DR_KEEP_HOURLY", value_delimiter = ',')]
    keep_hourly: Vec<Scoped<Count>>,

    /// Keep the newest of each of the last N days that have any
    #[arg(long, value_name = "[SCOPE:]N", env = "DR_KEEP_DAILY", value_delimiter = ',')]
    keep_daily: Vec<Scoped<Count>>,

    /// Keep the newest of each of the last N weeks (ISO) that have any
    #[arg(long, value_name = "[SCOPE:]N", env = "DR_KEEP_WEEKLY", value_delimiter = ',')]
    keep_weekly: Vec<Scoped<Count>>,

    /// Keep the newest of each of the last N months that have any
    #[arg(long, value_name = "[SCOPE:]N", env = "DR_KEEP_MONTHLY", value_delimiter = ',')]
    keep_monthly: Vec<Scoped<Count>>,

    /// Keep the newest of each of the last N years that have any
    #[arg(long, value_name = "[SCOPE:]N", env = "DR_KEEP_YEARLY", value_delimiter = ',')]
    keep_yearly: Vec<Scoped<Count>>,

    /// Keep the WAL by which kept bases reach any moment of the last AGE [default: from every kept base on]
    #[arg(long, value_name = "[SCOPE:]AGE", env = "DR_KEEP_WAL", value_delimiter = ',')]
    keep_wal: Vec<Window>,

    /// Keep this backup: its name, 8 or more characters of its beginning, or tag=KEY=VALUE
    #[arg(long = "pin", value_name = "NAME", env = "DR_PIN", value_delimiter = ',')]
    pins: Vec<Pin>,

    /// Keep the newest N verified backups of each group, whatever else is said
    #[arg(long, value_name = "N", env = "DR_FLOOR", default_value = "2", value_parser = clap::value_parser!(u32).range(2..))]
    floor: u32,

    /// Decide as if it were TIME, as 2026-01-25T02:00:00Z [default: the clock]
    #[arg(long, value_name = "TIME", value_parser = dr_pipe::args::moment)]
    pub now: Option<DateTime<Utc>>,

    #[command(flatten)]
    pub table: TableArgs,
}

impl Args {
    /// The policy that is asked for.
    ///
    /// # Errors
    /// 64 where nothing says what to keep, or too much does.
    pub fn policy(&self) -> Result<Policy, Failure> {
        let newest = |every: Every, counts: &[Scoped<Count>]| -> Vec<Rule> {
            counts.iter().map(|count| Rule::newest(every, count.clone())).collect()
        };
        let rules = [
            newest(Every::Backup, &self.keep_last),
            self.keep_within.iter().cloned().map(Rule::within).collect(),
            newest(Every::Hour, &self.keep_hourly),
            newest(Every::Day, &self.keep_daily),
            newest(Every::Week, &self.keep_weekly),
            newest(Every::Month, &self.keep_monthly),
            newest(Every::Year, &self.keep_yearly),
        ]
        .concat();
        let usage = |message: &str, hint: &str| Err(Failure::new(Exit::Usage, message, hint));
        if rules.is_empty() && self.keep_wal.is_empty() {
            return usage(
                "no policy is given",
                "say what to keep, such as --keep-daily 30, or DR_KEEP_DAILY=30: see `man dr-prune`",
            );
        }
        if rules.len() > MAX_RULES {
            return usage(
                &format!("{} rules are given, of at most {MAX_RULES}", rules.len()),
                "prune one store or cluster at a time",
            );
        }
        Ok(Policy { rules, windows: self.keep_wal.clone(), pins: self.pins.clone(), floor: self.floor })
    }
}

const AFTER_HELP: &str = "\
Examples:
  dr-verify --from /var/backups/dr | dr-prune --keep-daily 30 --keep-weekly 12 --keep-monthly 12
  dr-verify --from /var/backups/dr | dr-prune --keep-within dump:30d --keep-daily base:8 --table

Rules add up: what any of them keeps is kept. SCOPE says what a rule is about: dump, base, files,
store=STORE, cluster=NAME, database=NAME, tag=KEY=VALUE, or several of them joined by +.

See `man dr-prune` for exit codes.";
