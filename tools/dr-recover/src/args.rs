//! What can be typed, and what it means.

use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::builder::FalseyValueParser;
use dr_catalogue::{FromArgs, PublicKeyArgs};
use dr_crypt::IdentityArgs;
use dr_pipe::args::{JobsArgs, cluster_name};
use dr_store::StoreArgs;
use dr_wal::Lsn;
use dr_wal::window::TimelineChoice;

use crate::tablespaces::Mapping;
use crate::target::{Aim, Target};

/// Restores a whole cluster to any moment
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "dr-recover", version)]
pub struct Args {
    /// Where backups and WAL are read.
    #[command(flatten)]
    pub from: FromArgs,

    /// Which cluster is recovered
    #[arg(long, value_name = "NAME", env = "DR_CLUSTER", value_parser = cluster_name)]
    pub cluster: String,

    /// What decrypts it.
    #[command(flatten)]
    pub identities: IdentityArgs,

    /// Which signatures are trusted.
    #[command(flatten)]
    pub public_key: PublicKeyArgs,

    /// Make the data directory DIR: absent or empty, unless another option says otherwise
    #[arg(long, value_name = "DIR", env = "DR_RECOVER_INTO")]
    pub into: PathBuf,

    /// Begin with this backup, named or by the beginning of its name [default: the last one before the target]
    #[arg(long, value_name = "NAME", env = "DR_BACKUP")]
    pub backup: Option<String>,

    /// Up to which moment.
    #[command(flatten)]
    pub target: TargetArgs,

    /// How S3 is reached.
    #[command(flatten)]
    pub store: StoreArgs,

    /// How many at once.
    #[command(flatten)]
    pub jobs: JobsArgs,

    /// Only prove that it is possible, and print the plan
    #[arg(long)]
    pub preflight: bool,

    /// Rename a directory that is in the way to DIR_before_TIME; it is never deleted
    #[arg(long, env = "DR_MOVE_ASIDE", value_parser = FalseyValueParser::new(), conflicts_with = "delta")]
    pub move_aside: bool,

    /// DIR holds an older state of the cluster: write only what differs from the backup, remove what is not in it
    #[arg(long, env = "DR_DELTA", value_parser = FalseyValueParser::new())]
    pub delta: bool,

    /// Put the tablespace that was at FROM, or has that OID, into DIR; may be repeated
    #[arg(long = "tablespace", value_name = "FROM=DIR", env = "DR_TABLESPACE", value_delimiter = ',')]
    pub tablespaces: Vec<Mapping>,

    /// Put every other tablespace into a directory of its own below DIR
    #[arg(long, value_name = "DIR", env = "DR_TABLESPACES_BELOW")]
    pub tablespaces_below: Option<PathBuf>,

    /// Write the configuration that lay outside the data directory into DIR
    #[arg(long, env = "DR_CONFIG", value_parser = FalseyValueParser::new())]
    pub config: bool,

    /// Set a parameter of the recovered server, as NAME=VALUE; may be repeated
    #[arg(long, value_name = "NAME=VALUE", env = "DR_SET", value_parser = setting)]
    pub set: Vec<(String, String)>,

    /// Make a standby, which follows the archive
    #[arg(long, env = "DR_STANDBY", value_parser = FalseyValueParser::new(), conflicts_with_all = ["wait", "exclusive"])]
    pub standby: bool,

    /// With --standby: stream from the primary at CONNINFO
    #[arg(long, value_name = "CONNINFO", env = "DR_PRIMARY_CONNINFO", requires = "standby")]
    pub primary_conninfo: Option<String>,

    /// Use whole segments only, not the pieces that dr-wal-receive streams
    #[arg(long, env = "DR_NO_PARTIAL", value_parser = FalseyValueParser::new())]
    pub no_partial: bool,

    /// Where two contents lie under a name of WAL, take the one whose SHA-256 begins with HEX
    #[arg(long, value_name = "HEX", env = "DR_PREFER_CONTENT")]
    pub prefer_content: Option<String>,

    /// Do not sync files to disk: for drills
    #[arg(long, env = "DR_NO_SYNC", value_parser = FalseyValueParser::new())]
    pub no_sync: bool,

    /// Start the server
    #[arg(long, env = "DR_START", value_parser = FalseyValueParser::new())]
    pub start: bool,

    /// With --start: follow the replay until the target is reached
    #[arg(long, env = "DR_WAIT", value_parser = FalseyValueParser::new(), requires = "start")]
    pub wait: bool,

    /// Start and follow a server that reaches nothing and that nobody reaches, whatever the backup's settings say: for drills
    #[arg(long, env = "DR_ISOLATED", value_parser = FalseyValueParser::new(), conflicts_with_all = ["standby", "listen"])]
    pub isolated: bool,

    /// The programs of the server; their version is checked at once [default: found by its version, with --start]
    #[arg(long, value_name = "DIR", env = "DR_BINDIR")]
    pub bindir: Option<PathBuf>,

    /// With --start: the server's port
    #[arg(long, value_name = "PORT", env = "DR_PORT", default_value = "5432", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,

    /// With --start: the directory of the server's socket [default: DIR]
    #[arg(long, value_name = "DIR", env = "DR_SOCKET_DIR")]
    pub socket_dir: Option<PathBuf>,

    /// With --start: listen on ADDRESSES, as in listen_addresses [default: on none]
    #[arg(long, value_name = "ADDRESSES", env = "DR_LISTEN", default_value = "", hide_default_value = true)]
    pub listen: String,
}

/// Up to which moment, and what happens then.
#[derive(Clone, Debug, clap::Args)]
pub struct TargetArgs {
    /// Up to the end of the WAL (latest), or to where the backup is consistent (immediate) [default: latest]
    #[arg(long, value_name = "WHERE", env = "DR_TARGET", group = "aim")]
    pub target: Option<Ends>,

    /// Up to the last commit of this moment; without a zone it is UTC
    #[arg(long, value_name = "TIME", env = "DR_TARGET_TIME", value_parser = dr_pipe::args::moment, group = "aim")]
    pub target_time: Option<DateTime<Utc>>,

    /// Up to this position in the WAL
    #[arg(long, value_name = "LSN", env = "DR_TARGET_LSN", group = "aim")]
    pub target_lsn: Option<Lsn>,

    /// Up to the end of this transaction
    #[arg(long, value_name = "XID", env = "DR_TARGET_XID", group = "aim")]
    pub target_xid: Option<u32>,

    /// Up to the restore point of this name
    #[arg(long, value_name = "NAME", env = "DR_TARGET_NAME", group = "aim")]
    pub target_name: Option<String>,

    /// Stop just before the target, not just after it
    #[arg(long, env = "DR_EXCLUSIVE", value_parser = FalseyValueParser::new())]
    pub exclusive: bool,

    /// Follow timeline N, the backup's own (current), or the newest that descends from it (latest)
    #[arg(long, value_name = "N|WHICH", env = "DR_TIMELINE", default_value = "latest")]
    pub timeline: TimelineChoice,

    /// What the server does when it has reached the target
    #[arg(long, value_name = "WHAT", env = "DR_TARGET_ACTION", default_value = "promote")]
    pub target_action: Action,
}

/// The two targets that are no point of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Ends {
    /// The end of the WAL.
    Latest,
    /// Where the backup is consistent.
    Immediate,
}

/// What the server does at the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Action {
    /// Become a primary, on a timeline of its own.
    Promote,
    /// Stay, readable, until somebody decides.
    Pause,
    /// Stop.
    Shutdown,
}

impl Action {
    /// As PostgreSQL calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            Action::Promote => "promote",
            Action::Pause => "pause",
            Action::Shutdown => "shutdown",
        }
    }
}

impl TargetArgs {
    /// What was asked for.
    pub fn target(&self) -> Target {
        let aim = match self {
            TargetArgs { target_time: Some(at), .. } => Aim::Time(*at),
            TargetArgs { target_lsn: Some(lsn), .. } => Aim::Lsn(*lsn),
            TargetArgs { target_xid: Some(xid), .. } => Aim::Xid(*xid),
            TargetArgs { target_name: Some(name), .. } => Aim::Name(name.clone()),
            TargetArgs { target: Some(Ends::Immediate), .. } => Aim::Immediate,
            _ => Aim::Latest,
        };
        Target { aim, inclusive: !self.exclusive, timeline: self.timeline, follows: false }
    }
}

/// `NAME=VALUE`; the name as PostgreSQL has them, so that nothing else gets into its file.
fn setting(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'.';
    if name.is_empty() || !name.bytes().all(legal) || value.contains(['\n', '\r', '\0']) {
        return Err("NAME is the name of a parameter, VALUE is one line".into());
    }
    Ok((name.to_ascii_lowercase(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use clap::{CommandFactory, Parser};
    use dr_wal::Timeline;

    use super::*;

    fn parse(words: &[&str]) -> Result<Args, clap::Error> {
        Args::try_parse_from(["dr-recover", "--cluster", "main", "--into", "/d"].iter().chain(words))
    }

    #[test]
    fn flags_do_not_clash() {
        Args::command().debug_assert();
    }

    #[test]
    fn there_is_exactly_one_target() {
        assert_eq!(parse(&[]).unwrap().target.target().aim, Aim::Latest);
        assert_eq!(parse(&["--target", "immediate"]).unwrap().target.target().aim, Aim::Immediate);
        assert_eq!(parse(&["--target-lsn", "0/A"]).unwrap().target.target().aim, Aim::Lsn(Lsn(10)));
        assert!(parse(&["--target-lsn", "0/A", "--target-xid", "7"]).is_err());
        assert!(parse(&["--target", "latest", "--target-name", "a"]).is_err());
        assert!(parse(&["--timeline", "0"]).is_err());
        assert_eq!(parse(&["--timeline", "10"]).unwrap().target.timeline, TimelineChoice::Exactly(Timeline(10)));
    }

    #[test]
    fn a_setting_is_a_name_and_a_value_of_one_line() {
        assert_eq!(setting("Shared_Buffers=1GB"), Ok(("shared_buffers".into(), "1GB".into())));
        for wrong in ["a", "=b", "a b=c", "a=b\nc=d", "a'=b"] {
            assert!(setting(wrong).is_err(), "{wrong}");
        }
    }
}
