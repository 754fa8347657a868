//! What can be typed.

use std::ffi::OsString;

use clap::Parser;
use dr_pipe::args::ReceiptArgs;
use dr_pipe::record::Kind;

/// Run a command that writes a backup, and vouch for its output only if it exits 0
#[derive(Debug, Parser)]
#[command(name = "dr-run", version)]
pub struct Args {
    /// What kind of backup the command writes
    #[arg(long, value_name = "KIND", env = "DR_KIND", default_value = "dump")]
    pub kind: Kind,

    /// Name suffix of the bytes, such as sql.gz [default: guessed from the command, else bin]
    #[arg(long, value_name = "SUFFIX", env = "DR_SUFFIX", value_parser = crate::suffix::check)]
    pub suffix: Option<String>,

    /// Say in the records that this database was dumped
    #[arg(long, value_name = "NAME", env = "DR_DATABASE")]
    pub database: Option<String>,

    #[command(flatten)]
    pub receipt: ReceiptArgs,

    /// The command and its arguments
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}
