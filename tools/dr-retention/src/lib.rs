//! Which backups, and which WAL, may go? A pure function of what is known of them, of a policy, and of a moment: nothing here reads
//! a clock, a store or a file, and nothing is deleted.
//!
//! - [`Intake`] takes facts, one backup or run of WAL after the other, and becomes a [`Catalogue`]: small enough for a million.
//! - [`Policy`] says what is kept: [`Rule`]s, each within its [`Scope`], [`Pin`]s, the floor, and how far back the log goes.
//! - [`decide`] says of each backup why it stays, and which ranges of WAL no kept base needs.
//!
//! What is not verified, not understood, or of a clock that cannot be right is kept, and pushes nothing else out.

mod age;
mod bucket;
mod catalogue;
mod clock;
mod decide;
mod intake;
mod policy;
mod scope;
mod segment;
mod verdict;
mod wal;

pub use age::Age;
pub use bucket::Every;
pub use catalogue::{Catalogue, Known, Range};
pub use decide::{Decisions, decide};
pub use intake::{Backup, Base, Intake, Run};
pub use policy::{Count, MAX_RULES, Pin, Policy, Rule, Scoped, Window};
pub use scope::Scope;
pub use verdict::Verdict;
pub use wal::WalDecision;
