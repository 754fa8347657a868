//! What dr-seal is told.

use dr_catalogue::{ClusterArgs, SigningKeyArgs};
use dr_store::StoreArgs;

/// Check the receipts of a pipe on standard input, and publish the backup: sign its manifest and write it into every store
/// that holds the bytes
#[derive(Debug, clap::Parser)]
#[command(name = "dr-seal", version, max_term_width = 100, after_help = AFTER_HELP)]
pub struct Args {
    /// Which cluster the backup belongs to.
    #[command(flatten)]
    pub cluster: ClusterArgs,

    /// Which key signs.
    #[command(flatten)]
    pub signing_key: SigningKeyArgs,

    /// How S3 is reached.
    #[command(flatten)]
    pub store: StoreArgs,
}

const AFTER_HELP: &str = "\
Examples:
  dr-seal --cluster main < \"$DR_RECEIPT\"
  dr-seal --cluster main --signing-key cred:main.key < \"$DR_RECEIPT\"

Nothing is published unless every tool of the pipe has left its receipt and the bytes agree from end to end.
See `man dr-seal` for exit codes.";
