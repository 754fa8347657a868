//! What can be typed.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;
use dr_pipe::args::{cluster_name, seconds};
use dr_pipe::record::Phase;

/// Run a step of a drill and note how it ended; with --finish, give the verdict of all its steps
#[derive(Debug, Parser)]
#[command(name = "dr-drill", version, max_term_width = 100, after_help = AFTER_HELP)]
#[command(override_usage = "dr-drill --record <FILE> --phase <PHASE> [--timeout <TIME>] <NAME> -- <COMMAND>...\n       \
                            dr-drill --record <FILE> --finish --drill <KIND> --cluster <NAME> [OPTIONS]")]
pub struct Args {
    /// Name of the step, such as fingerprint
    #[arg(value_name = "NAME", required_unless_present = "finish", conflicts_with = "finish", value_parser = word)]
    pub name: Option<String>,

    /// Note the steps of one drill in FILE
    #[arg(long, value_name = "FILE", env = "DR_DRILL_RECORD")]
    pub record: PathBuf,

    /// What part of a recovery the step is
    #[arg(long, value_name = "PHASE", required_unless_present = "finish", conflicts_with = "finish")]
    pub phase: Option<Phase>,

    /// End a step that takes longer than TIME, as 90, 90s, 30m or 4h; it has failed then
    #[arg(long, value_name = "TIME", env = "DR_DRILL_TIMEOUT", value_parser = seconds)]
    pub timeout: Option<f64>,

    /// The drill is over: print its record, with the verdict
    #[arg(long, requires = "drill", requires = "cluster")]
    pub finish: bool,

    /// What was done, such as restore-test
    #[arg(long, value_name = "KIND", env = "DR_DRILL", value_parser = word)]
    pub drill: Option<String>,

    /// The cluster whose backups were proved
    #[arg(long, value_name = "NAME", env = "DR_CLUSTER", value_parser = cluster_name)]
    pub cluster: Option<String>,

    /// The database whose dump was to be restored, where no step has told which one it is
    #[arg(long, value_name = "NAME", env = "DR_DATABASE")]
    pub database: Option<String>,

    /// Fail unless the step NAME was run and has passed; may be repeated
    #[arg(long, value_name = "NAME", env = "DR_DRILL_REQUIRE", value_delimiter = ',', value_parser = word)]
    pub require: Vec<String>,

    /// Fail if a recovery would take longer than TIME, as 90m or 4h
    #[arg(long, value_name = "TIME", env = "DR_RTO", value_parser = seconds)]
    pub rto: Option<f64>,

    /// Fail if more than TIME would be lost, as 5m or 1d
    #[arg(long, value_name = "TIME", env = "DR_RPO", value_parser = seconds)]
    pub rpo: Option<f64>,

    /// Where the drill was run, in words
    #[arg(long, value_name = "WORDS", env = "DR_ENVIRONMENT", default_value = "throw-away")]
    pub environment: String,

    /// Who ran it [default: the user's name, before sudo]
    #[arg(long, value_name = "NAME", env = "DR_OPERATOR")]
    pub operator: Option<String>,

    /// Fail unless this is the backup that was used
    #[arg(long, value_name = "NAME", requires = "finish")]
    pub backup: Option<String>,

    /// The public key of the identity that decrypted the backup; may be repeated [default: all its recipients]
    #[arg(long, value_name = "KEY", requires = "finish")]
    pub recipient: Vec<String>,

    /// Fail, and say that TEXT went wrong; may be repeated
    #[arg(long, value_name = "TEXT", requires = "finish")]
    pub issue: Vec<String>,

    /// Say that TEXT is to be done next; may be repeated
    #[arg(long, value_name = "TEXT", requires = "finish")]
    pub next_action: Vec<String>,

    /// The command and its arguments
    #[arg(last = true, value_name = "COMMAND", required_unless_present = "finish", conflicts_with = "finish")]
    pub command: Vec<OsString>,
}

/// A name of a step or of a kind of drill: what stands in tables, and in options that are separated by commas.
fn word(text: &str) -> Result<String, String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match text.bytes().all(legal) && (1..=63).contains(&text.len()) && !text.starts_with('-') {
        true => Ok(text.into()),
        false => Err("such a name has 1 to 63 letters, digits, dots, dashes and underscores".into()),
    }
}

const AFTER_HELP: &str = "\
Examples:
  export DR_DRILL_RECORD=$(mktemp)
  dr-drill --phase fetch backup -- dr-list --latest
  dr-drill --phase restore restore -- dr-restore latest --into drill --prove
  dr-drill --phase check bookings -- psql -d drill -c 'SELECT 1 / count(*) FROM bookings'
  dr-drill --finish --drill restore-test --cluster main --require restore --rto 4h | dr-report

See `man dr-drill` for exit codes.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_fits_into_a_list_and_a_table() {
        assert_eq!(word("pg_amcheck.1"), Ok("pg_amcheck.1".into()));
        for text in ["", "-x", "a,b", "a b", "a|b", "ä", &"a".repeat(64)] {
            assert!(word(text).is_err(), "{text:?}");
        }
    }
}
