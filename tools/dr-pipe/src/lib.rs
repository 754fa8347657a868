//! What a tool of `dr` shares with the shell around it: the records it speaks, the receipts it leaves, its exit codes,
//! the two lines it says when it fails, how it stops when told to, and what it shows of its progress.
//!
//! This crate opens no socket, but for the one that tells systemd how a service is, and knows neither PostgreSQL nor any store.

mod ahead;
pub mod args;
mod at_start;
mod backoff;
mod behind;
mod chain;
pub mod child;
pub mod command;
mod digest;
pub mod drilled;
mod exit;
mod failure;
pub mod host;
pub mod lock;
pub mod notify;
pub mod output;
pub mod owner;
pub mod progress;
mod receipts;
pub mod record;
pub mod redact;
mod run;
pub mod runs;
pub mod scratch;
pub mod secret;
pub mod state;
pub mod stop;
pub mod stream;
pub mod table;
pub mod tail;
pub mod words;
pub mod workers;

pub use ahead::ReadAhead;
pub use backoff::Backoff;
pub use behind::WriteBehind;
pub use digest::{Sha256, Tally, TallyWriter};
pub use exit::{Codes, Ended, Exit};
pub use failure::{Failure, Outcome, warn};
pub use output::Output;
pub use receipts::Receipts;
pub use run::{run, run_as, told_exit};
