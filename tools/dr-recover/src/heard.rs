//! What a server says in its log while it recovers, and what its last words mean.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDateTime, Utc};
use dr_pipe::{Exit, told_exit};
use dr_wal::{SegmentName, Timeline};

/// The line in it with which we start a server: what stands before it is over.
pub const STARTS: &str = "dr-recover: the server is started";

/// What it says where it may not make the link to a tablespace, or its directory.
const GUARDED: (&str, &str) = (" \"pg_tblspc/", ": Permission denied");

/// What it was replaying then.
const MAKES: &str = " for Tablespace/CREATE: ";

/// How much of a segment's name is its timeline.
const TIMELINE_DIGITS: usize = 8;

/// What a log says, so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// That it stops at its target.
    pub stopped: bool,
    /// The last transaction that was replayed.
    pub last_at: Option<DateTime<Utc>>,
    /// Which timeline it goes on with.
    pub timeline: Option<Timeline>,
    /// Where it is.
    pub state: State,
    /// Positions of segments that were fetched: a segment's name without its timeline.
    pub fetched: BTreeSet<String>,
    /// What it, or dr-wal-fetch, said last before it ended.
    pub fatal: Option<String>,
    /// The first line that says which setting is wrong.
    pub wrong: Option<String>,
    /// The first line of dr-wal-fetch's last failure.
    pub fetch_failed: Option<String>,
    /// The exit code of that failure: the server is told 200 for any.
    pub fetch_exit: Option<Exit>,
    /// It was to make a tablespace, and must not before somebody has looked where.
    pub guarded: bool,
    /// It takes connections, and writes.
    pub open: bool,
    /// A setting that is lower than the server had it when it wrote the WAL, and its value then: replay does not go on.
    pub too_low: Option<(String, u32)>,
}

/// Where a server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// It replays.
    #[default]
    Replaying,
    /// It waits at the target for somebody to decide.
    Paused,
    /// It was told to stop at the target.
    ShutDown,
    /// It is a primary.
    Promoted,
}

/// How much of the WAL has been fetched, over all starts of a server. It asks for some segments twice, or once on each timeline,
/// and for histories; and for one more than it needs, where the target is at the end of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fetched {
    positions: BTreeSet<String>,
    segment_bytes: u64,
    at_most: usize,
}

impl Fetched {
    /// None yet of `at_most` segments of that size.
    pub fn new(segment_bytes: u64, at_most: usize) -> Self {
        Fetched { positions: BTreeSet::new(), segment_bytes, at_most }
    }

    /// Notes what a server has said that it fetched, and gives the bytes that this adds.
    pub fn add(&mut self, positions: &BTreeSet<String>) -> u64 {
        let before = self.positions.len().min(self.at_most);
        self.positions.extend(positions.iter().cloned());
        (self.positions.len().min(self.at_most) - before) as u64 * self.segment_bytes
    }
}

/// Reads a server's log. The words are those of PostgreSQL 13 to 18, with `lc_messages = C`.
pub fn hear(log: &str) -> Heard {
    let mut heard = Heard::default();
    for line in log.lines() {
        let after = |words: &str| line.split_once(words).map(|(_, rest)| rest);
        if line == STARTS {
            heard = Heard::default();
        } else if let Some(rest) = after("LOG:  restored log file \"") {
            let segment = rest.split_once('"').and_then(|(name, _)| name.parse::<SegmentName>().ok());
            heard.fetched.extend(segment.map(|segment| segment.to_string()[TIMELINE_DIGITS..].to_owned()));
        } else if after("LOG:  recovery stopping ").is_some() {
            heard.stopped = true;
        } else if let Some(rest) = after("LOG:  last completed transaction was at log time ") {
            heard.last_at = moment(rest);
        } else if let Some(rest) = after("LOG:  selected new timeline ID: ") {
            heard.timeline = rest.trim().parse().ok().map(Timeline);
        } else if after("LOG:  pausing at the end of recovery").is_some() {
            heard.state = State::Paused;
        } else if after("LOG:  shutdown at recovery target").is_some() {
            heard.state = State::ShutDown;
        } else if after("LOG:  database system is ready to accept connections").is_some() {
            heard.open = true;
            if heard.timeline.is_some() {
                heard.state = State::Promoted;
            }
        } else if let Some(rest) = after("dr-wal-fetch: error: ") {
            heard.fetch_failed = Some(rest.trim().to_owned());
        } else if let Some(rest) = after("dr-wal-fetch: hint: ") {
            heard.fetch_exit = told_exit(rest.trim());
        } else if let Some(rest) = after("DETAIL:  ").filter(|rest| rest.contains(" is a lower setting than on the primary server"))
        {
            heard.too_low = too_low(rest);
        } else if let Some(rest) = wrong_setting(line).filter(|_| heard.wrong.is_none()) {
            heard.wrong = Some(rest.to_owned());
        } else if let Some(rest) = after(" FATAL:  ").or_else(|| after(" PANIC:  ")) {
            // A client that comes too early is told so with the same word.
            if !rest.starts_with("the database system is ") {
                heard.fatal = Some(rest.trim().to_owned());
                heard.guarded = rest.contains(GUARDED.0) && rest.contains(GUARDED.1);
            }
        }
        // Where its directory is missing, or another user's.
        heard.guarded |= heard.fatal.is_some() && after("CONTEXT:  WAL redo at ").is_some_and(|rest| rest.contains(MAKES));
        // The time of the transaction it stops at, which is not the last where it stops before.
        if let Some(rest) =
            after("LOG:  recovery stopping after commit of transaction ").and_then(|rest| rest.split_once(", time "))
        {
            heard.last_at = moment(rest.1);
        }
    }
    heard
}

/// What a line says of a setting that is wrong, in a file: the last words only say which file it is.
fn wrong_setting(line: &str) -> Option<&str> {
    let (_, rest) = [" LOG:  ", " ERROR:  "].iter().find_map(|level| line.split_once(level))?;
    let about = ["parameter \"", "syntax error in file"].iter().any(|words| rest.contains(words));
    about.then(|| rest.trim())
}

/// `max_connections = 100 is a lower setting than on the primary server, where its value was 200.`
fn too_low(text: &str) -> Option<(String, u32)> {
    let (name, _) = text.split_once(" = ")?;
    let value = text.trim_end_matches('.').rsplit(' ').next()?.parse().ok()?;
    Some((name.to_owned(), value))
}

/// A moment as the server writes it under `log_timezone = UTC`; but those of transactions are in its own zone.
fn moment(text: &str) -> Option<DateTime<Utc>> {
    let text = text.trim().trim_end_matches('.');
    let formats = ["%Y-%m-%d %H:%M:%S%.f%#z"];
    formats.iter().find_map(|format| DateTime::parse_from_str(text, format).ok()).map(|at| at.to_utc()).or_else(|| {
        let plain = text.strip_suffix("UTC").or_else(|| text.strip_suffix("GMT"))?.trim_end();
        NaiveDateTime::parse_from_str(plain, "%Y-%m-%d %H:%M:%S%.f").ok().map(|at| at.and_utc())
    })
}

/// What a server's last words mean: an exit code, and what to do.
pub fn verdict(fatal: &str) -> (Exit, &'static str) {
    let has = |words: &str| fatal.contains(words);
    if has("could not restore file") {
        return (Exit::Unavailable, "WAL could not be fetched: see why, and start it again");
    }
    if has("recovery ended before configured recovery target") || has("before consistent recovery point") || has("WAL ends before")
    {
        return (Exit::Missing, "the target is not in the WAL that could be replayed: choose another");
    }
    if has("wal_level=minimal") {
        return (
            Exit::Missing,
            "the server wrote too little into its WAL for a while: choose a moment before, or a base taken after",
        );
    }
    let of_this_machine = [
        "could not create any",
        "could not create lock file",
        "could not map anonymous shared memory",
        "could not load",
        "could not access file",
        "configuration file",
        "incompatible with server",
        "insufficient parameter settings",
        "could not create shared memory",
        "already exists",
        "invalid value for parameter",
        "unrecognized configuration parameter",
        "could not bind",
    ];
    if of_this_machine.iter().any(|words| has(words)) {
        return (Exit::Config, "its settings do not fit this machine: change them with --set, or in postgresql.auto.conf");
    }
    (Exit::Damaged, "see its log")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMOTED: &str = r#"2026-11-21 02:30:00.000 UTC [1] LOG:  starting PostgreSQL 15.18
2026-11-21 02:30:00.100 UTC [2] LOG:  restored log file "000000010000000000000002" from archive
2026-11-21 02:30:00.200 UTC [1] LOG:  database system is ready to accept read-only connections
2026-11-21 02:30:00.200 UTC [9] FATAL:  the database system is starting up
2026-11-21 02:30:00.300 UTC [2] LOG:  recovery stopping before commit of transaction 741, time 2026-11-21 02:29:00.5+00
2026-11-21 02:30:00.300 UTC [2] LOG:  redo done at 0/3000148 system usage: CPU: user: 0.00 s
2026-11-21 02:30:00.300 UTC [2] LOG:  last completed transaction was at log time 2026-11-21 02:28:59.25+00
2026-11-21 02:30:00.400 UTC [2] LOG:  selected new timeline ID: 10
2026-11-21 02:30:00.500 UTC [1] LOG:  database system is ready to accept connections
"#;

    #[test]
    fn a_log_tells_where_the_server_is() {
        let heard = hear(PROMOTED);
        assert_eq!(
            (heard.state, heard.stopped, heard.fetched.clone()),
            (State::Promoted, true, BTreeSet::from(["0000000000000002".into()]))
        );
        assert_eq!((heard.timeline, heard.fatal), (Some(Timeline(10)), None));
        assert_eq!(heard.last_at, "2026-11-21T02:28:59.25Z".parse().ok());
        // Replay that waits for a setting; and a second start, whose words count.
        let text = "x [2] WARNING:  hot standby is not possible because of insufficient parameter settings\nx [2] DETAIL:  max_connections = 100 is a lower setting than on the primary server, where its value was 150.\n";
        assert_eq!(hear(text).too_low, Some(("max_connections".into(), 150)));
        assert_eq!(hear(&format!("{text}{STARTS}\n{PROMOTED}")), hear(PROMOTED));
        let paused = "x LOG:  recovery stopping after commit of transaction 740, time 2026-11-21 03:29:00+01\nx LOG:  pausing at the end of recovery\n";
        let heard = hear(paused);
        assert_eq!((heard.state, heard.last_at), (State::Paused, "2026-11-21T02:29:00Z".parse().ok()));
    }

    #[test]
    fn a_replay_never_gets_farther_than_all_of_it() {
        let restored = |names: &[&str]| -> String {
            names.iter().map(|name| format!("x [2] LOG:  restored log file \"{name}\" from archive\n")).collect()
        };
        let mut fetched = Fetched::new(16, 3);
        let names = ["00000002.history", "000000010000000000000002", "000000010000000000000003", "000000010000000000000002"];
        assert_eq!(fetched.add(&hear(&restored(&names)).fetched), 32);
        // Started again; then on the next timeline; and one more than was needed.
        assert_eq!(fetched.add(&hear(&restored(&names[1..2])).fetched), 0);
        assert_eq!(fetched.add(&hear(&restored(&["000000020000000000000003", "000000020000000000000004"])).fetched), 16);
        assert_eq!(fetched.add(&hear(&restored(&["000000020000000000000005"])).fetched), 0);
    }

    #[test]
    fn a_setting_that_is_wrong_is_named() {
        let text = "x [1] LOG:  1310588928 8kB is outside the valid range for parameter \"shared_buffers\" (16 8kB .. 1073741823 8kB)\n\
             x [1] LOG:  unrecognized configuration parameter \"other\" in file \"/d/postgresql.auto.conf\" line 9\n\
             x [1] FATAL:  configuration file \"/d/postgresql.auto.conf\" contains errors\n";
        assert!(hear(text).wrong.is_some_and(|wrong| wrong.contains("\"shared_buffers\" (16 8kB")));
        assert_eq!(hear(PROMOTED).wrong, None);
    }

    #[test]
    fn a_server_that_must_not_make_a_tablespace_is_understood() {
        let text = "x [7] FATAL:  could not create symbolic link \"pg_tblspc/16388\": Permission denied\nx [7] CONTEXT:  WAL redo at 0/3000378 for Tablespace/CREATE: 16388 \"/ts\"\n";
        let heard = hear(text);
        assert!(heard.guarded);
        let missing = "x [7] FATAL:  directory \"/ts\" does not exist\nx [7] CONTEXT:  WAL redo at 0/3000378 for Tablespace/CREATE: 16388 \"/ts\"\n";
        assert!(hear(missing).guarded);
        assert!(!hear(&format!("{text}{STARTS}\n{PROMOTED}")).guarded);
        assert!(!hear("x [7] FATAL:  could not create symbolic link \"pg_tblspc/16388\": No space left on device").guarded);
    }

    #[test]
    fn f49_last_words_have_their_exit_codes() {
        let text = "dr-wal-fetch: error: s3://b: no answer\ndr-wal-fetch: hint: wait; exit 69, told as 200\nx [7] FATAL:  could not restore file \"00000002.history\" from archive: child process exited with exit code 200\n";
        let heard = hear(text);
        assert_eq!((heard.fetch_failed.as_deref(), heard.fetch_exit), (Some("s3://b: no answer"), Some(Exit::Unavailable)));
        assert_eq!(verdict(heard.fatal.as_deref().unwrap_or_default()).0, Exit::Unavailable);
        assert_eq!(verdict("recovery ended before configured recovery target was reached").0, Exit::Missing);
        assert_eq!(verdict("WAL was generated with wal_level=minimal, cannot continue recovering").0, Exit::Missing);
        assert_eq!(verdict("could not create any Unix-domain sockets").0, Exit::Config);
        assert_eq!(verdict("could not locate a valid checkpoint record").0, Exit::Damaged);
    }
}
