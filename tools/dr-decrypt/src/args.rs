//! What can be typed.

use clap::Parser;
use dr_crypt::IdentityArgs;
use dr_pipe::args::ReceiptArgs;

/// Decrypt an age stream on standard input, onto standard output
#[derive(Debug, Parser)]
#[command(name = "dr-decrypt", version)]
pub struct Args {
    #[command(flatten)]
    pub identities: IdentityArgs,

    #[command(flatten)]
    pub receipt: ReceiptArgs,
}
