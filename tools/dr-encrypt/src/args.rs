//! What can be typed.

use chrono::TimeDelta;
use clap::Parser;
use clap::builder::FalseyValueParser;
use dr_crypt::RecipientArgs;
use dr_pipe::args::{ReceiptArgs, span};

/// Encrypt standard input to age recipients, onto standard output
#[derive(Debug, Parser)]
#[command(name = "dr-encrypt", version)]
pub struct Args {
    #[command(flatten)]
    pub recipients: RecipientArgs,

    /// Write text instead of bytes
    #[arg(short, long, env = "DR_ARMOR", value_parser = FalseyValueParser::new())]
    pub armor: bool,

    /// Do not warn when there is only one recipient
    #[arg(long, env = "DR_SINGLE_RECIPIENT", value_parser = FalseyValueParser::new())]
    pub single_recipient: bool,

    /// Warn of each recipient whose key no drill has proved within AGE, as 30d (or h, w)
    #[arg(long, value_name = "AGE", env = "DR_DRILLED_WITHIN", value_parser = span)]
    pub drilled_within: Option<TimeDelta>,

    #[command(flatten)]
    pub receipt: ReceiptArgs,
}
