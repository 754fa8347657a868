//! What is asked for: a point in the history of a cluster.

use chrono::{DateTime, Utc};
use dr_wal::Lsn;
use dr_wal::window::{Limit, TimelineChoice};

use crate::moment;

/// A point, whether what stands at it is replayed too, and on which timeline it lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The point.
    pub aim: Aim,
    /// Whether what stands at the point itself is replayed.
    pub inclusive: bool,
    /// The timeline.
    pub timeline: TimelineChoice,
    /// Whether the server follows the archive, as a standby does. Else it is told a point to stop at, be it the end: PostgreSQL alone
    /// takes the first record that it cannot read for the end, and opens the database there.
    pub follows: bool,
}

/// A point in the history of a cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Aim {
    /// The last commit of this moment.
    Time(DateTime<Utc>),
    /// A position.
    Lsn(Lsn),
    /// The end of a transaction.
    Xid(u32),
    /// A restore point.
    Name(String),
    /// Where the base is consistent.
    Immediate,
    /// The end of the WAL.
    Latest,
}

impl Aim {
    /// What recovery must not have passed where it begins, as far as that is known without looking into WAL.
    pub fn limit(&self) -> Limit {
        match self {
            Aim::Time(at) => Limit::At(*at),
            Aim::Lsn(lsn) => Limit::Lsn(*lsn),
            _ => Limit::None,
        }
    }

    /// The word for it in records.
    pub fn word(&self) -> &'static str {
        match self {
            Aim::Time(_) => "time",
            Aim::Lsn(_) => "lsn",
            Aim::Xid(_) => "xid",
            Aim::Name(_) => "name",
            Aim::Immediate => "immediate",
            Aim::Latest => "latest",
        }
    }
}

impl std::fmt::Display for Aim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Aim::Time(at) => f.write_str(&moment::both(*at)),
            Aim::Lsn(lsn) => write!(f, "LSN {lsn}"),
            Aim::Xid(xid) => write!(f, "transaction {xid}"),
            Aim::Name(name) => write!(f, "restore point {name:?}"),
            Aim::Immediate => f.write_str("the end of the backup"),
            Aim::Latest => f.write_str("the end of the WAL"),
        }
    }
}
