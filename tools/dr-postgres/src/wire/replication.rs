//! The commands of a physical replication connection (PostgreSQL, "Streaming Replication Protocol"). Positions in the WAL are
//! plain numbers here; their type is that of whoever knows WAL.

use postgres_protocol::message::backend::Message;

use super::session::Session;
use crate::{ConnInfo, Error};

/// Who a server is, and how far its WAL goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The system identifier: two clusters with the same one have a common ancestor.
    pub system_identifier: u64,
    /// The timeline it writes or, on a standby, replays.
    pub timeline: u32,
    /// How far its WAL is flushed.
    pub flushed: u64,
}

/// A replication slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slot {
    /// Whether it is a physical one.
    pub physical: bool,
    /// The oldest WAL that it keeps, and its timeline; none where it keeps nothing: not used yet, or invalidated.
    pub restart: Option<(u64, u32)>,
}

/// A timeline's history file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryFile {
    /// Its name, as `00000002.history`.
    pub name: String,
    /// Its content, byte by byte as on the server.
    pub content: Vec<u8>,
}

impl Session {
    /// Opens a physical replication connection, as the role's right `REPLICATION` and a line for the database `replication` in
    /// pg_hba.conf allow; `~/.pgpass` is asked for that database, too. `application_name` is what `synchronous_standby_names`
    /// is held against, unless the connection string says otherwise.
    ///
    /// # Errors
    /// As [`Session::connect`].
    pub fn connect_replication(conn: &ConnInfo, application_name: &str) -> Result<Session, Error> {
        Session::connect_with(&conn.with_database("replication")?, application_name, &[("replication", "true")])
    }

    /// Asks who the server is, and where it stands (`IDENTIFY_SYSTEM`).
    ///
    /// # Errors
    /// As [`Session::query`].
    pub fn identify_system(&mut self) -> Result<Identity, Error> {
        let rows = self.query("IDENTIFY_SYSTEM")?;
        let row = rows.one()?;
        Ok(Identity { system_identifier: row.parse(0)?, timeline: row.parse(1)?, flushed: position(row.text(2)?)? })
    }

    /// The size of the server's WAL segments, in bytes (`SHOW wal_segment_size`).
    ///
    /// # Errors
    /// As [`Session::query`].
    pub fn wal_segment_bytes(&mut self) -> Result<u64, Error> {
        let rows = self.query("SHOW wal_segment_size")?;
        let text = rows.value()?;
        let unit = [("MB", 1 << 20), ("GB", 1 << 30), ("kB", 1 << 10), ("B", 1)];
        let read = unit.iter().find_map(|(name, bytes)| text.strip_suffix(name)?.parse::<u64>().ok()?.checked_mul(*bytes));
        read.ok_or_else(|| Error::protocol(format!("wal_segment_size is \"{text}\"")))
    }

    /// What a slot keeps (`READ_REPLICATION_SLOT`); none if there is no such slot. A logical slot is an error of the server's.
    ///
    /// # Errors
    /// As [`Session::query`].
    pub fn read_slot(&mut self, name: &str) -> Result<Option<Slot>, Error> {
        let rows = self.query(&format!("READ_REPLICATION_SLOT {}", quoted(name)))?;
        let row = rows.one()?;
        let Some(kind) = row.get(0) else { return Ok(None) };
        let restart = match (row.get(1), row.get(2)) {
            (Some(at), Some(_)) => Some((position(at)?, row.parse(2)?)),
            _ => None,
        };
        Ok(Some(Slot { physical: kind == "physical", restart }))
    }

    /// Makes a physical slot that keeps WAL from the server's last checkpoint on (`RESERVE_WAL`).
    ///
    /// # Errors
    /// As [`Session::query`]; SQLSTATE 42710 where there is one of that name.
    pub fn create_slot(&mut self, name: &str) -> Result<(), Error> {
        self.query(&format!("CREATE_REPLICATION_SLOT {} PHYSICAL (RESERVE_WAL)", quoted(name))).map(drop)
    }

    /// Removes a slot that nobody uses.
    ///
    /// # Errors
    /// As [`Session::query`].
    pub fn drop_slot(&mut self, name: &str) -> Result<(), Error> {
        self.query(&format!("DROP_REPLICATION_SLOT {}", quoted(name))).map(drop)
    }

    /// The history file of a timeline after the first (`TIMELINE_HISTORY`).
    ///
    /// # Errors
    /// As [`Session::query`]; SQLSTATE 58P01 where the server has none.
    pub fn timeline_history(&mut self, timeline: u32) -> Result<HistoryFile, Error> {
        self.start(&format!("TIMELINE_HISTORY {timeline}"))?;
        let mut found = None;
        loop {
            match self.answer()? {
                Message::DataRow(body) => {
                    let ranges: Vec<_> = self.sound(fallible_iterator::FallibleIterator::collect(body.ranges()))?;
                    if let [Some(name), Some(content)] = &ranges[..] {
                        let name = String::from_utf8_lossy(&body.buffer()[name.clone()]).into_owned();
                        // Its text may hold a restore point's name in any encoding: so it is bytes.
                        found = Some(HistoryFile { name, content: body.buffer()[content.clone()].to_vec() });
                    }
                }
                Message::ReadyForQuery(body) => {
                    self.ready(body.status());
                    return found.ok_or_else(|| Error::protocol("TIMELINE_HISTORY gave no file"));
                }
                Message::RowDescription(_) | Message::CommandComplete(_) => {}
                other => return Err(self.refuse(other, "TIMELINE_HISTORY")),
            }
        }
    }
}

/// A slot's name as the replication grammar takes it. It can hold no quote: names are lower-case letters, digits, underscores.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// Reads a position such as `16/B374D848`.
pub(super) fn position(text: &str) -> Result<u64, Error> {
    let wrong = || Error::protocol(format!("\"{text}\" is no position in the WAL"));
    let (high, low) = text.split_once('/').ok_or_else(wrong)?;
    let [high, low] = [high, low].map(|half| u32::from_str_radix(half, 16));
    Ok(u64::from(high.map_err(|_| wrong())?) << 32 | u64::from(low.map_err(|_| wrong())?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_position_is_two_halves_in_hex() {
        assert_eq!(position("16/B374D848").unwrap(), 0x16_B374_D848);
        assert_eq!(position("0/0").unwrap(), 0);
        for wrong in ["", "/", "1", "1/", "g/0", "100000000/0"] {
            assert!(position(wrong).is_err(), "{wrong}");
        }
    }
}
