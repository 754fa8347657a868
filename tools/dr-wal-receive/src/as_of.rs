//! By when was all that had been committed in what has come? A server says with each stretch of WAL how far its own goes, and so that
//! nothing beyond was committed when it said something before that.

use chrono::{DateTime, Utc};
use dr_wal::Lsn;

/// What is known of one stream.
#[derive(Clone, Copy, Debug, Default)]
pub struct AsOf {
    /// Whether the server is where commits happen: a standby's WAL comes late.
    primary: bool,
    /// When the server said something last.
    heard: Option<DateTime<Utc>>,
    /// By then, all that was committed was in what will have come when we are there.
    ahead: Option<(Lsn, DateTime<Utc>)>,
    /// By then, it was in what has come.
    known: Option<DateTime<Utc>>,
}

impl AsOf {
    /// At the beginning of a stream.
    pub fn new(primary: bool) -> Self {
        AsOf { primary, ..AsOf::default() }
    }

    /// The server has sent a sign of life at `sent_at`. What it says in it of its WAL is what it has sent, not what there is.
    pub fn alive(&mut self, sent_at: DateTime<Utc>) {
        self.heard = Some(sent_at);
    }

    /// The server has sent WAL from `start` on at `sent_at`, and has looked after it was `heard` that its own goes up to `server_end`.
    pub fn wal(&mut self, start: Lsn, server_end: Lsn, sent_at: DateTime<Utc>) {
        self.at(start);
        let heard = self.heard.replace(sent_at);
        if let (true, None, Some(heard)) = (self.primary, self.ahead, heard) {
            self.ahead = Some((server_end, heard));
        }
    }

    /// By when all that was committed has come, where what has come ends at `reached`.
    pub fn at(&mut self, reached: Lsn) -> Option<DateTime<Utc>> {
        if let Some((_, heard)) = self.ahead.take_if(|(end, _)| *end <= reached) {
            self.known = Some(heard);
        }
        self.known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("a moment")
    }

    #[test]
    fn what_was_committed_before_the_server_looked_has_come_when_all_that_it_saw_has() {
        let mut as_of = AsOf::new(true);
        as_of.wal(Lsn(0), Lsn(10), second(1));
        assert_eq!(as_of.at(Lsn(10)), None, "when it looked, nobody knows");
        as_of.alive(second(2));
        as_of.wal(Lsn(10), Lsn(30), second(3));
        as_of.wal(Lsn(20), Lsn(40), second(4));
        assert_eq!(as_of.at(Lsn(29)), None, "it is behind");
        as_of.wal(Lsn(30), Lsn(40), second(5));
        assert_eq!(as_of.at(Lsn(39)), Some(second(2)));
        assert_eq!(as_of.at(Lsn(40)), Some(second(4)));
    }

    #[test]
    fn of_a_standby_nothing_is_known() {
        let mut as_of = AsOf::new(false);
        as_of.alive(second(1));
        as_of.wal(Lsn(0), Lsn(10), second(2));
        assert_eq!(as_of.at(Lsn(10)), None);
    }
}
