//! What dr-notify is told.

use std::path::PathBuf;
use std::time::Duration;

use chrono::TimeDelta;
use dr_pipe::args::{cluster_name, seconds};
use dr_post::PostArgs;

/// Tell people what has failed, and what is well again: records in, notices out
#[derive(Debug, clap::Parser)]
#[command(name = "dr-notify", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Args {
    /// Tell the channel that FILE describes, a path or cred:NAME; may be repeated
    #[arg(long, value_name = "FILE", env = "DR_CHANNEL", value_delimiter = ',')]
    pub channel: Vec<String>,

    /// Tell all channels that DIR/*.toml describe, where no single one is named
    #[arg(long, value_name = "DIR", env = "DR_CHANNELS", default_value = "/etc/dr/channels")]
    pub channels: PathBuf,

    /// The cluster of what names none itself
    #[arg(long, value_name = "NAME", env = "DR_CLUSTER", value_parser = cluster_name)]
    pub cluster: Option<String>,

    /// Tell good news, too, not failures and their end alone
    #[arg(long, env = "DR_NOTIFY_ALL", value_parser = clap::builder::FalseyValueParser::new())]
    pub all: bool,

    /// Tell what is still bad again after TIME, as 90, 30m or 24h
    #[arg(long, value_name = "TIME", env = "DR_NOTIFY_REPEAT", default_value = "24h", value_parser = seconds)]
    repeat: f64,

    /// Give up on a channel that has not taken a notice within TIME
    #[arg(long, value_name = "TIME", env = "DR_NOTIFY_PATIENCE", default_value = "30s", value_parser = seconds)]
    patience: f64,

    /// Send a test through every channel, and read nothing
    #[arg(long, conflicts_with = "unit")]
    pub test: bool,

    /// Only look whether every channel could be told: print a check of each, read nothing and send nothing
    #[arg(long, conflicts_with_all = ["test", "unit"])]
    pub preflight: bool,

    /// Tell that this unit of systemd has failed, and read nothing
    #[arg(long, value_name = "UNIT", value_parser = unit)]
    pub unit: Option<String>,

    /// How the unit has ended, as systemd calls it; with success tell that it is good again, where it was told that it failed
    #[arg(long, value_name = "RESULT", requires = "unit")]
    pub service_result: Option<String>,

    /// How channels on the network are reached.
    #[command(flatten)]
    pub post: PostArgs,
}

impl Args {
    /// After which time what is still bad is told again.
    pub fn repeat(&self) -> TimeDelta {
        // Whole seconds, far below what either can hold.
        TimeDelta::seconds(self.repeat as i64)
    }

    /// How long a channel may take.
    pub fn patience(&self) -> Duration {
        Duration::from_secs_f64(self.patience)
    }
}

/// The name of a unit: what systemd takes for one, and systemctl(1) for no option.
fn unit(text: &str) -> Result<String, String> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    match text.bytes().all(legal) && (1..256).contains(&text.len()) && !text.starts_with('-') {
        true => Ok(text.into()),
        false => Err("a unit is named as dr-backup@main.service".into()),
    }
}

const AFTER_HELP: &str = "\
Examples:
  dr-check --from /var/backups/dr --cluster main | dr-notify
  dr-notify --channel /etc/dr/channels/ops.toml --test
  dr-notify --unit dr-backup@main.service

A channel is a file of mode 0600, such as:
  kind = \"slack\"
  url = \"https://hooks.slack.com/services/...\"

See `man dr-notify` for exit codes.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_is_no_option_and_no_path() {
        assert!(unit("dr-backup@main.service").is_ok() && unit("dr-wal\\x2dreceive@a.service").is_ok());
        for text in ["", "-H", "--host=x", "a b", "a/b", "a\nb", "ä.service", &"a".repeat(256)] {
            assert!(unit(text).is_err(), "{text:?}");
        }
    }
}
