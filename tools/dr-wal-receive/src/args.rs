//! What can be typed.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use clap::builder::FalseyValueParser;
use dr_catalogue::{ClusterArgs, SigningKeyArgs};
use dr_crypt::{RecipientArgs, Recipients};
use dr_pipe::{Exit, Failure};
use dr_postgres::conninfo::ConnectArgs;
use dr_store::{Location, StoreArgs};
use dr_wal::Lsn;

/// Stream WAL from a server into every store, encrypted, for an RPO of seconds
#[derive(Debug, Parser)]
#[command(name = "dr-wal-receive", version, disable_help_flag = true, after_help = EXAMPLES)]
pub struct Args {
    /// Connect as this connection string says; a name of a database is allowed and means nothing [env: PGDATABASE=]
    #[arg(short, long, value_name = "CONNINFO")]
    pub dbname: Option<String>,

    #[command(flatten)]
    pub connect: ConnectArgs,

    /// Write to STORE, a directory or s3://BUCKET/PREFIX; may be repeated
    #[arg(long, value_name = "STORE", env = "DR_TO", value_delimiter = ',', required = true)]
    pub to: Vec<Location>,

    /// Keep a file on the own disk until N stores hold it [default: all of them]
    #[arg(long, value_name = "N", env = "DR_REQUIRE")]
    pub require: Option<u32>,

    #[command(flatten)]
    pub cluster: ClusterArgs,

    #[command(flatten)]
    pub recipients: RecipientArgs,

    /// Store WAL without encryption
    #[arg(long, env = "DR_UNENCRYPTED", value_parser = FalseyValueParser::new(), conflicts_with_all = ["recipients", "recipients_files"])]
    pub unencrypted: bool,

    #[command(flatten)]
    pub signing_key: SigningKeyArgs,

    /// Have the server keep WAL by this replication slot [default: dr_ and the cluster's name]
    #[arg(long, value_name = "NAME", env = "DR_SLOT", value_parser = slot_name)]
    pub slot: Option<String>,

    /// Make the slot where it is missing, and anew where the server has given it up
    #[arg(long, env = "DR_CREATE_SLOT", value_parser = FalseyValueParser::new())]
    pub create_slot: bool,

    /// Keep what is not stored yet in DIR [default: wal-receive/CLUSTER in the state directory]
    #[arg(long, value_name = "DIR", env = "DR_RECEIVE_DIR")]
    pub dir: Option<PathBuf>,

    /// Store what has come of an unfinished segment every SECONDS
    #[arg(long, value_name = "SECONDS", env = "DR_EVERY", default_value = "5", value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub every: u64,

    /// Sync and report at once what comes, so that commits can wait for this program
    #[arg(long, env = "DR_SYNCHRONOUS", value_parser = FalseyValueParser::new())]
    pub synchronous: bool,

    /// The name that synchronous_standby_names is held against
    #[arg(long, value_name = "NAME", env = "DR_NAME", default_value = "dr-wal-receive")]
    pub name: String,

    /// End once everything up to LSN is stored
    #[arg(long, value_name = "LSN", env = "DR_UNTIL")]
    pub until: Option<Lsn>,

    /// End once everything is stored that the server has now, and at the first failure
    #[arg(long, env = "DR_ONCE", value_parser = FalseyValueParser::new())]
    pub once: bool,

    /// Compress with zstd level N, 1 to 19
    #[arg(long, value_name = "N", env = "DR_LEVEL", default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=19))]
    pub level: i32,

    #[command(flatten)]
    pub store: StoreArgs,

    /// Print help
    #[arg(long, action = clap::ArgAction::HelpLong)]
    pub help: Option<bool>,
}

const EXAMPLES: &str = "Examples:
  dr-wal-receive --to s3://acme-dr/pg --cluster main -R /etc/dr/main.recipients --create-slot
  dr-wal-receive -d 'host=db1,db2 target_session_attrs=primary' --to /var/backups/dr --cluster main -R main.recipients";

impl Args {
    /// For whom WAL is encrypted; none where it is not to be.
    ///
    /// # Errors
    /// 64 where nobody is named; else as [`Recipients::read`].
    pub fn readers(&self, tool: &'static str) -> Result<Option<Recipients>, Failure> {
        if self.unencrypted {
            return Ok(None);
        }
        Recipients::read(&self.recipients, tool).map(Some).map_err(|error| match error {
            dr_crypt::Error::NoRecipient => {
                let hint = "give -r RECIPIENT or -R FILE, or --unencrypted where the stores may read everything";
                usage(error.to_string(), hint)
            }
            error => error.into(),
        })
    }

    /// The slot's name.
    pub fn slot(&self) -> String {
        self.slot.clone().unwrap_or_else(|| slot_of(&self.cluster.cluster))
    }

    /// Where what is not stored yet is kept.
    ///
    /// # Errors
    /// 78 where no directory is known.
    pub fn directory(&self) -> Result<PathBuf, Failure> {
        let below = |state: PathBuf| state.join("wal-receive").join(&self.cluster.cluster);
        self.dir.clone().or_else(|| dr_pipe::state::directory().map(below)).ok_or_else(|| {
            Failure::new(Exit::Config, "no directory for WAL that is not stored yet", "name one with --dir, or set DR_STATE")
        })
    }

    /// How long a piece may wait.
    pub fn every(&self) -> Duration {
        Duration::from_secs(self.every)
    }
}

/// The slot of a cluster: `dr_` and its name, with underscores for what a slot's name cannot hold, at most 63 characters.
fn slot_of(cluster: &str) -> String {
    let legal = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    format!("dr_{}", cluster.chars().map(legal).take(60).collect::<String>())
}

fn slot_name(text: &str) -> Result<String, String> {
    let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
    if (1..=63).contains(&text.len()) && text.bytes().all(legal) {
        return Ok(text.into());
    }
    Err("a slot's name has 1 to 63 lower-case letters, digits and underscores".into())
}

fn usage(message: impl Into<String>, hint: &str) -> Failure {
    Failure::new(Exit::Usage, message, hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_named_after_its_cluster() {
        assert_eq!(slot_of("Main.db-1"), "dr_main_db_1");
        assert_eq!(slot_name(&slot_of(&"x".repeat(63))).map(|name| name.len()), Ok(63));
        for wrong in ["", "Main", "a-b", "a\"b", &"x".repeat(64)] {
            assert!(slot_name(wrong).is_err(), "{wrong}");
        }
    }
}
