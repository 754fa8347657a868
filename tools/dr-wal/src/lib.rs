//! PostgreSQL's write-ahead log: names, headers, timelines, and how it lies in a store.
//!
//! - [`WalName`], [`SegmentName`], [`Timeline`], [`Lsn`], [`SegmentSize`]: what files of WAL are called.
//! - [`header`]: is a segment what its name says? [`history`]: which timeline came from which? [`stamps`]: which moments does
//!   a segment hold?
//! - [`Packed`]: a file of WAL, compressed, encrypted and claimed, ready for any number of stores.
//! - [`Shelf`]: the WAL of one cluster in one store: [`Shelf::put`], [`Shelf::get`], [`Shelf::inventory`], pieces, and the
//!   system that the cluster is.
//! - [`window`]: from which base, along which timelines, and how far can the cluster be recovered?
//! - [`gaps`]: which WAL is missing, and what is lost by it?

mod claim;
mod error;
pub mod gaps;
pub mod header;
pub mod history;
mod inventory;
pub mod layout;
mod lsn;
mod name;
mod opened;
mod packed;
mod pieces;
mod planned;
mod shelf;
mod spare;
pub mod stamps;
mod system;
pub mod window;

pub use claim::{Claim, Fork};
pub use error::Error;
pub use history::{History, Leg, Switch};
pub use inventory::{Inventory, Item, Object, PieceItem, Run};
pub use layout::Content;
pub use lsn::{Lsn, SegmentSize};
pub use name::{SegmentName, SegmentRange, Timeline, WalName};
pub use opened::{Got, Opening, Sink};
pub use packed::{MAX_IN_MEMORY_BYTES, Packed, Packing};
pub use pieces::Piece;
pub use planned::Planned;
pub use shelf::{Shelf, Shelved};
pub use system::{Identity, System};
