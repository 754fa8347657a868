//! What can be typed, and which exit codes PostgreSQL wants to see.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::{FalseyValueParser, TypedValueParser};
use clap::{CommandFactory, Parser};
use dr_catalogue::{CatalogueArgs, ClusterArgs};
use dr_crypt::IdentityArgs;
use dr_pipe::args::JobsArgs;
use dr_pipe::{Codes, Ended, Exit};
use dr_wal::{Planned, SegmentName, WalName};

/// Bring a file of WAL back, from the nearest store that has it: PostgreSQL's restore_command
#[derive(Debug, Parser)]
#[command(name = "dr-wal-fetch", version)]
pub struct Args {
    /// The file's name: %f
    #[arg(value_name = "NAME")]
    pub name: WalName,

    /// Where it is to be written: %p
    #[arg(value_name = "PATH")]
    pub path: PathBuf,

    #[command(flatten)]
    pub cluster: ClusterArgs,

    #[command(flatten)]
    pub catalogue: CatalogueArgs,

    #[command(flatten)]
    pub identities: IdentityArgs,

    /// End with codes that a standby survives, and tries again after
    #[arg(long, env = "DR_STANDBY", value_parser = FalseyValueParser::new())]
    pub standby: bool,

    /// Keep the N segments that will be asked for next at hand; 0: none
    #[arg(long, value_name = "N", env = "DR_AHEAD", default_value = "16", value_parser = clap::value_parser!(u16).range(0..=1024))]
    pub ahead: u16,

    /// Keep them below DIR [default: wal-fetch in the state directory]
    #[arg(long, value_name = "DIR", env = "DR_SPOOL")]
    pub spool: Option<PathBuf>,

    #[command(flatten)]
    pub jobs: JobsArgs,

    /// Leave out segments of which only the beginning was streamed
    #[arg(long, env = "DR_NO_PARTIAL", value_parser = FalseyValueParser::new())]
    pub no_partial: bool,

    /// Of two contents of one name take that whose SHA-256 begins with HEX; may be repeated
    #[arg(long, value_name = "HEX", env = "DR_PREFER_CONTENT", value_delimiter = ',', value_parser = digest)]
    pub prefer_content: Vec<String>,

    /// Segments, or the beginning of one, that were seen in the stores: that one is not there is an error; may be repeated
    #[arg(long, value_name = "FIRST..LAST|NAME:BYTES", env = "DR_PLANNED", value_delimiter = ',')]
    pub planned: Vec<Planned>,

    /// Give up after SECONDS in all
    #[arg(long, value_name = "SECONDS", env = "DR_TIMEOUT", default_value = "300", value_parser = clap::value_parser!(u32).range(1..))]
    pub timeout: u32,

    /// Fill the spool after NAME was answered: what this program starts in the background.
    #[arg(long, hide = true)]
    pub keep_ahead: bool,
}

impl Args {
    /// Whether who made the plan of this recovery saw this segment whole.
    pub fn planned_whole(&self, segment: &SegmentName) -> bool {
        self.planned.iter().any(|planned| matches!(planned, Planned::Whole(range) if range.contains(segment)))
    }

    /// How many of its bytes they saw, where that is enough for the target.
    pub fn planned_beginning(&self, segment: &SegmentName) -> Option<u32> {
        self.planned.iter().find_map(|planned| match planned {
            Planned::Beginning(name, bytes) if name == segment => Some(*bytes),
            _ => None,
        })
    }
}

fn digest(text: &str) -> Result<String, String> {
    let text = text.to_ascii_lowercase();
    let legal = (8..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    legal.then_some(text).ok_or_else(|| "the beginning of a SHA-256 has 8 to 64 hexadecimal digits".into())
}

/// How this call's end is told to who made it. Decided by looking at the words alone, as the rest of them may be wrong.
pub fn codes() -> Codes {
    let typed = |flag: &str| std::env::args_os().skip(1).any(|word| word == flag);
    let said = |value: &OsStr| FalseyValueParser::new().parse_ref(&Args::command(), None, value).unwrap_or(false);
    if typed("--keep-ahead") {
        return in_the_background;
    }
    if typed("--standby") || std::env::var_os("DR_STANDBY").is_some_and(|value| said(&value)) {
        return Ended::code;
    }
    in_recovery
}

/// Whatever is at most 125 means to a server in recovery that there is no such file: the log ends here, and it takes
/// connections. From 126 on it gives up, and 143 is how a shell says that SIGTERM ended the command
/// (`RestoreArchivedFile`, `wait_result_is_any_signal`).
fn in_recovery(ended: Ended) -> u8 {
    match ended {
        Ended::With(Exit::Good) => 0,
        Ended::With(Exit::Bad) => 1,
        Ended::BySignal(signal) if signal == rustix::process::Signal::TERM.as_raw() => 143,
        Ended::With(_) | Ended::BySignal(_) => 200,
    }
}

/// Nobody waits for it, unless the server is process 1 of a container: then it inherits our processes, and takes any other
/// code for a crash of its own (`CleanupBackend`).
fn in_the_background(_: Ended) -> u8 {
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn f49_in_recovery_only_absence_looks_like_absence() {
        for exit in Exit::ALL {
            let expected = match exit {
                Exit::Good => 0,
                Exit::Bad => 1,
                _ => 200,
            };
            assert_eq!(in_recovery(Ended::With(exit)), expected, "{exit:?}");
            assert!(Ended::With(exit).code() <= 125, "more would end a standby");
        }
        assert_eq!([15, 2, 1].map(|signal| in_recovery(Ended::BySignal(signal))), [143, 200, 200]);
        assert_eq!(Ended::BySignal(15).code(), 75);
    }
}
