//! WAL that nobody can have any more, on record: `gap-<from>-<to>.json` beside the segments of its timeline.

use chrono::{DateTime, Utc};
use dr_wal::{Lsn, Timeline};
use serde::{Deserialize, Serialize};

/// A stretch of WAL that the server had removed before it was received. Nothing can be recovered across it: bases from before
/// it reach up to its beginning, and a new one is needed after it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    /// `gap`.
    pub r#type: Tag,
    /// Version of this format: 1.
    pub format: u32,
    /// The cluster.
    pub cluster: String,
    /// The timeline of the last WAL before it.
    pub timeline: Timeline,
    /// Its first byte.
    pub from: Lsn,
    /// The first byte after it.
    pub to: Lsn,
    /// When it was found.
    pub found_at: DateTime<Utc>,
    /// What the server said.
    pub reason: String,
}

/// The word that says what the object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Tag {
    /// A gap.
    Gap,
}

impl Gap {
    /// Its file name.
    pub fn name(&self) -> String {
        format!("gap-{:016X}-{:016X}.json", self.from.0, self.to.0)
    }

    /// Its key in a store.
    pub fn key(&self) -> String {
        format!("{}/wal/{}/{}", self.cluster, self.timeline, self.name())
    }

    /// The object: one line.
    pub fn encode(&self) -> Vec<u8> {
        let mut text = serde_json::to_vec(self).expect("texts and numbers make JSON");
        text.push(b'\n');
        text
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_gap_is_one_line_under_a_name_that_says_it_all() {
        let gap = Gap {
            r#type: Tag::Gap,
            format: 1,
            cluster: "main".into(),
            timeline: Timeline(10),
            from: Lsn(0x16_B374_D848),
            to: Lsn(0x17_0000_0000),
            found_at: "2026-01-25T02:00:00Z".parse().unwrap(),
            reason: "removed".into(),
        };
        assert_eq!(gap.key(), "main/wal/0000000A/gap-00000016B374D848-0000001700000000.json");
        let text = String::from_utf8(gap.encode()).unwrap();
        assert!(text.starts_with(r#"{"type":"gap","format":1,"cluster":"main","timeline":10,"from":"16/B374D848","to":"17/0","#));
        assert_eq!(serde_json::from_str::<Gap>(&text).unwrap(), gap);
    }
}
