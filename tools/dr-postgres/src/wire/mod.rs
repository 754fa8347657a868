//! The conversation with a server: a small client of the frontend/backend protocol 3.0, synchronous, one thread a session.
//!
//! It speaks the simple query protocol and COPY, which is all that a dump and a restore need, and it keeps what a dump and a
//! restore need: the `COPY n` tag, rows of any size in bounded memory, and the replication protocol that streams WAL.

mod auth;
mod cancel;
mod connect;
mod copy_in;
mod copy_out;
mod dial;
mod lend;
mod messages;
mod plug;
mod replication;
mod rows;
mod session;
mod tls;
mod verify;
mod wal_stream;

pub use cancel::Canceller;
pub use copy_in::CopyIn;
pub use copy_out::{CopyOut, WHOLE_BODY_MAX};
pub use replication::{HistoryFile, Identity, Slot};
pub use rows::{Column, Row, Rows};
pub use session::{Session, TransactionStatus};
pub use wal_stream::{NextTimeline, Streamed, Streaming, WalStream};

pub(crate) use dial::keepalives;
pub(crate) use tls::system_bundle;
