//! What can be typed, and what it means.

use std::io::{self, IsTerminal};
use std::path::PathBuf;
use std::sync::atomic::AtomicU64;

use chrono::{DateTime, Utc};
use clap::builder::FalseyValueParser;
use dr_catalogue::{CatalogueArgs, FromArgs, PublicKeyArgs, Scope, Selector};
use dr_crypt::IdentityArgs;
use dr_pipe::args::{JobsArgs, cluster_name, moment};
use dr_pipe::record::Kind;
use dr_pipe::{Exit, Failure};
use dr_postgres::ConnectArgs;
use dr_store::StoreArgs;

use crate::preflight::LeftOut;
use crate::program::OnRefusal;
use crate::source::Input;
use crate::target::{Existing, OnFailure};

/// Restores a dump into a new database and proves it
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "dr-restore", version, disable_help_flag = true)]
pub struct Args {
    /// A backup's name, its beginning, or `latest`; or a file, or a dump in directory format [default: standard input]
    #[arg(value_name = "NAME|FILE")]
    pub what: Option<String>,

    /// Restore into a new database DB [default: the name it had]
    #[arg(long, value_name = "DB", env = "DR_INTO")]
    pub into: Option<String>,

    /// Where backups are read.
    #[command(flatten)]
    pub from: FromArgs,

    /// How S3 is reached.
    #[command(flatten)]
    pub store: StoreArgs,

    /// Trust only manifests signed with this minisign public key, a file or RW…; may be repeated [default: /etc/dr/CLUSTER.pub if it is there]
    #[arg(long, value_name = "KEY", env = "DR_PUBLIC_KEY", value_delimiter = ',')]
    pub public_key: Vec<String>,

    /// What decrypts it.
    #[command(flatten)]
    pub identities: IdentityArgs,

    /// Take a backup of this cluster
    #[arg(long, value_name = "NAME", env = "DR_CLUSTER", value_parser = cluster_name)]
    pub cluster: Option<String>,

    /// Take a dump of the database NAME
    #[arg(long, value_name = "NAME", env = "DR_DATABASE")]
    pub database: Option<String>,

    /// Take the newest backup of this moment or before it
    #[arg(long, value_name = "TIME", value_parser = moment, conflicts_with = "what")]
    pub at: Option<DateTime<Utc>>,

    /// Connect to this database, or connection string, of the server, to create the new one from there
    #[arg(long, value_name = "DB", env = "DR_MAINTENANCE_DB", default_value = "postgres")]
    pub maintenance_db: String,

    /// Where the server is.
    #[command(flatten)]
    pub connect: ConnectArgs,

    /// How many at once.
    #[command(flatten)]
    pub jobs: JobsArgs,

    /// If DB exists, restore beside it, then rename both: the old one is kept as DB_before_TIME
    #[arg(long, env = "DR_SWAP", value_parser = FalseyValueParser::new())]
    pub swap: bool,

    /// With --swap: cut off the sessions of the database that is swapped out
    #[arg(long, env = "DR_DISCONNECT", value_parser = FalseyValueParser::new())]
    pub disconnect: bool,

    /// Only tell what is missing on the server
    #[arg(long)]
    pub preflight: bool,

    /// Create the roles of the backup that are missing on the server
    #[arg(long, env = "DR_GLOBALS", value_parser = FalseyValueParser::new())]
    pub globals: bool,

    /// Leave owners out: everything will belong to the role that restores
    #[arg(long, env = "DR_NO_OWNER", value_parser = FalseyValueParser::new())]
    pub no_owner: bool,

    /// Leave rights (GRANT, REVOKE) out
    #[arg(long, env = "DR_NO_PRIVILEGES", value_parser = FalseyValueParser::new())]
    pub no_privileges: bool,

    /// Leave tablespaces out
    #[arg(long, env = "DR_NO_TABLESPACES", value_parser = FalseyValueParser::new())]
    pub no_tablespaces: bool,

    /// Compare the fingerprints of the restored database with the backup's (this is the default)
    #[arg(long, overrides_with = "no_prove")]
    pub prove: bool,

    /// Do not compare fingerprints
    #[arg(long, env = "DR_NO_PROVE", value_parser = FalseyValueParser::new())]
    pub no_prove: bool,

    /// Do not collect statistics for the planner
    #[arg(long, env = "DR_NO_ANALYZE", value_parser = FalseyValueParser::new())]
    pub no_analyze: bool,

    /// Keep what a failed restore has made
    #[arg(long, env = "DR_KEEP_FAILED", value_parser = FalseyValueParser::new())]
    pub keep_failed: bool,

    /// Leave out definitions that the server refuses, and restore the rest
    #[arg(long, env = "DR_KEEP_GOING", value_parser = FalseyValueParser::new(), conflicts_with = "swap")]
    pub keep_going: bool,

    /// Let pg_restore or psql read an unsigned dump although they have known flaws
    #[arg(long, env = "DR_TRUST_ARCHIVE", value_parser = FalseyValueParser::new())]
    pub trust_archive: bool,

    /// Create the database for a dump of pg_dump with this encoding [default: the server's]
    #[arg(long, value_name = "NAME", env = "DR_ENCODING")]
    pub encoding: Option<String>,

    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,

    /// Keep standard input in DIR while it is proved [default: $TMPDIR, else /var/tmp]
    #[arg(long, value_name = "DIR", env = "DR_SPOOL_DIR")]
    pub spool_dir: Option<PathBuf>,
}

impl Args {
    /// Where the backup comes from: a name of a file wins over a name in a store, `-` is standard input.
    ///
    /// # Errors
    /// 64 where a name is given and no store.
    pub fn input(&self) -> Result<Input, Failure> {
        let scope = || Scope { cluster: self.cluster.clone(), kind: Some(Kind::Dump), database: self.database.clone() };
        let what = match (&self.what, self.at) {
            (_, Some(moment)) => return self.named(Input::Stores(scope(), Selector::At(moment))),
            (None, None) if self.database.is_some() && io::stdin().is_terminal() => return Err(which()),
            (None, None) => return Ok(Input::Stdin),
            (Some(what), None) => what,
        };
        if what == "-" {
            return Ok(Input::Stdin);
        }
        if what.contains('/') || self.from.from.is_empty() && std::path::Path::new(what).exists() {
            return Ok(Input::Path(what.into()));
        }
        let selector = if what == "latest" { Selector::Latest } else { Selector::Name(what.clone()) };
        self.named(Input::Stores(scope(), selector))
    }

    fn named(&self, input: Input) -> Result<Input, Failure> {
        if !self.from.from.is_empty() {
            return Ok(input);
        }
        let what = self.what.as_deref().unwrap_or("a backup");
        Err(Failure::new(
            Exit::Usage,
            format!("{what} is no file, and no store is named"),
            "name a store with --from, or a file by its path",
        ))
    }

    /// Stores and trusted keys.
    pub fn catalogue(&self) -> CatalogueArgs {
        let public_key = PublicKeyArgs { public_key: self.public_key.clone() };
        CatalogueArgs { from: self.from.clone(), store: self.store.clone(), public_key }
    }

    /// What is left out of the backup.
    pub fn left_out(&self) -> LeftOut {
        LeftOut { owners: self.no_owner, privileges: self.no_privileges, tablespaces: self.no_tablespaces }
    }

    /// What becomes of a database that has the name already.
    pub fn existing(&self) -> Existing {
        match (self.swap, self.disconnect) {
            (false, _) => Existing::Refuse,
            (true, false) => Existing::Swap,
            (true, true) => Existing::SwapAndDisconnect,
        }
    }

    /// What becomes of a database whose restore failed.
    pub fn on_failure(&self) -> OnFailure {
        if self.keep_failed { OnFailure::Keep } else { OnFailure::Drop }
    }

    /// What becomes of the restore where the server refuses a definition.
    pub fn on_refusal(&self) -> OnRefusal {
        if self.keep_going { OnRefusal::GoOn(AtomicU64::new(0)) } else { OnRefusal::Fail }
    }

    /// Where standard input is kept while it is proved.
    pub fn spool_directory(&self) -> PathBuf {
        let temporary = || std::env::var_os("TMPDIR").filter(|directory| !directory.is_empty()).map(PathBuf::from);
        self.spool_dir.clone().or_else(temporary).unwrap_or_else(|| "/var/tmp".into())
    }
}

fn which() -> Failure {
    Failure::new(
        Exit::Usage,
        "it is not said which backup",
        "say `latest`, a name that dr-list shows, or --at TIME; or pipe a dump into it",
    )
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use clap::{CommandFactory, Parser};

    fn input(words: &[&str]) -> Result<Input, u8> {
        let args = Args::try_parse_from(["dr-restore"].iter().chain(words)).map_err(|_| 64)?;
        args.input().map_err(|failure| failure.exit.code())
    }

    #[test]
    fn flags_do_not_clash() {
        Args::command().debug_assert();
    }

    #[test]
    fn names_files_and_standard_input_are_told_apart() {
        assert_eq!(input(&[]), Ok(Input::Stdin));
        assert_eq!(input(&["-", "--from", "/backups"]), Ok(Input::Stdin));
        assert_eq!(input(&["./x.tar.zst", "--from", "/backups"]), Ok(Input::Path("./x.tar.zst".into())));
        assert_eq!(input(&["Cargo.toml"]), Ok(Input::Path("Cargo.toml".into())));
        assert_eq!(input(&["latest"]), Err(64));
        let scope = Scope { cluster: Some("main".into()), kind: Some(Kind::Dump), database: None };
        assert_eq!(input(&["latest", "--from", "/b", "--cluster", "main"]), Ok(Input::Stores(scope.clone(), Selector::Latest)));
        assert_eq!(
            input(&["--at", "2026-01-25T02:00:00Z", "--from", "/b", "--cluster", "main"]),
            Ok(Input::Stores(scope, Selector::At("2026-01-25T02:00:00Z".parse().unwrap())))
        );
    }
}
