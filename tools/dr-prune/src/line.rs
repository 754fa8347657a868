//! One record: no more of it than a decision needs, and nothing copied that need not be. A million of them are read at once.

use std::borrow::Cow;
use std::fmt;

use chrono::{DateTime, NaiveDate, Utc};
use dr_pipe::Sha256;
use dr_pipe::record::{Depth, Kind, SignatureState, WalKept};
use dr_retention::{Backup, Base, Intake, Run};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer};

/// Format of manifests that is understood.
const FORMAT: u32 = 1;

/// Which records are taken. The others are refused.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Type {
    Backup,
    Verified,
    Wal,
    /// It says what dr-verify has found; whether the backup is good, the record of that one says.
    Finding,
}

/// The fields of `backup`, `verified` and `wal` that matter here: dr-records(5).
#[derive(Debug, Deserialize)]
pub struct Line<'a> {
    #[serde(rename = "type")]
    of: Type,
    #[serde(borrow)]
    store: Option<Text<'a>>,
    #[serde(borrow)]
    cluster: Option<Text<'a>>,
    kind: Option<Kind>,
    #[serde(borrow)]
    name: Option<Text<'a>>,
    format: Option<u32>,
    signature: Option<SignatureState>,
    sha256: Option<Digest>,
    bytes: Option<u64>,
    taken_at: Option<Moment>,
    stored_at: Option<Moment>,
    sequence: Option<u64>,
    #[serde(borrow, default)]
    tags: Vec<Text<'a>>,
    #[serde(borrow)]
    produced: Option<Produced<'a>>,
    good: Option<bool>,
    depth: Option<Depth>,
    timeline: Option<u32>,
    #[serde(borrow)]
    first: Option<Text<'a>>,
    #[serde(borrow)]
    last: Option<Text<'a>>,
    segments: Option<u64>,
    wal_segment_bytes: Option<u64>,
    stored_bytes: Option<u64>,
}

#[derive(Debug, Deserialize)]
struct Produced<'a> {
    #[serde(borrow)]
    database: Option<Text<'a>>,
    #[serde(borrow)]
    only: Option<Text<'a>>,
    #[serde(borrow)]
    command: Option<Vec<Text<'a>>>,
    #[serde(borrow)]
    base: Option<OfBase<'a>>,
}

#[derive(Debug, Deserialize)]
struct OfBase<'a> {
    timeline: u32,
    #[serde(borrow)]
    start_lsn: Text<'a>,
    #[serde(borrow)]
    stop_lsn: Text<'a>,
    stopped_at: Moment,
    wal: WalKept,
}

impl Line<'_> {
    /// Reads one line.
    ///
    /// # Errors
    /// Says why it is no record.
    pub fn parse(line: &[u8]) -> Result<Line<'_>, String> {
        serde_json::from_slice(line).map_err(|error| error.to_string())
    }

    /// Hands on what the record says.
    ///
    /// # Errors
    /// Says what is missing, or makes no sense.
    pub fn add_to(&self, intake: &mut Intake) -> Result<(), String> {
        match self.of {
            Type::Backup => intake.add(&self.backup(None)?),
            Type::Verified => {
                // Good is only what was read.
                let (good, depth) = (there(self.good, "good")?, there(self.depth, "depth")?);
                intake.add(&self.backup(Some(good && depth > Depth::Manifest))?)
            }
            Type::Wal => intake.add_wal(&self.wal()?),
            Type::Finding => Ok(()),
        }
    }

    fn backup(&self, good: Option<bool>) -> Result<Backup<'_, Text<'_>>, String> {
        let produced = there(self.produced.as_ref(), "produced")?;
        let text = Text::get;
        Ok(Backup {
            store: there(text(&self.store), "store")?,
            cluster: there(text(&self.cluster), "cluster")?,
            kind: there(self.kind, "kind")?,
            name: there(text(&self.name), "name")?,
            sha256: there(self.sha256, "sha256")?.0,
            bytes: there(self.bytes, "bytes")?,
            taken_at: there(self.taken_at, "taken_at")?.0,
            stored_at: there(self.stored_at, "stored_at")?.0,
            sequence: there(self.sequence, "sequence")?,
            tags: &self.tags,
            database: text(&produced.database),
            only: text(&produced.only),
            command: produced.command.as_ref().and_then(|words| words.first()).map(AsRef::as_ref),
            understood: there(self.format, "format")? == FORMAT,
            signed: there(self.signature, "signature")? == SignatureState::Good,
            good,
            base: produced.base.as_ref().map(|base| Base {
                timeline: base.timeline,
                start_lsn: base.start_lsn.as_ref(),
                stop_lsn: base.stop_lsn.as_ref(),
                stopped_at: base.stopped_at.0,
                wal_inside: base.wal == WalKept::Inside,
            }),
        })
    }

    fn wal(&self) -> Result<Run<'_>, String> {
        let text = Text::get;
        Ok(Run {
            store: there(text(&self.store), "store")?,
            cluster: there(text(&self.cluster), "cluster")?,
            timeline: there(self.timeline, "timeline")?,
            first: there(text(&self.first), "first")?,
            last: there(text(&self.last), "last")?,
            segments: there(self.segments, "segments")?,
            wal_segment_bytes: there(self.wal_segment_bytes, "wal_segment_bytes")?,
            stored_bytes: there(self.stored_bytes, "stored_bytes")?,
            stored_at: self.stored_at.map(|moment| moment.0),
        })
    }
}

fn there<T>(field: Option<T>, name: &str) -> Result<T, String> {
    field.ok_or_else(|| format!("missing field `{name}`"))
}

/// A text, borrowed from the line unless something in it is escaped.
#[derive(Debug)]
struct Text<'a>(Cow<'a, str>);

impl Text<'_> {
    fn get<'b>(text: &'b Option<Text<'_>>) -> Option<&'b str> {
        text.as_ref().map(AsRef::as_ref)
    }
}

impl AsRef<str> for Text<'_> {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Text<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Borrowed;
        impl<'de> Visitor<'de> for Borrowed {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text")
            }

            fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(Borrowed)
    }
}

/// A moment. As our tools write it, it is read much faster than all the ways in which it may be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Moment(DateTime<Utc>);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        let parsed = plain(text.0.as_bytes()).map(Ok);
        parsed.unwrap_or_else(|| text.0.parse()).map(Moment).map_err(D::Error::custom)
    }
}

/// `2026-01-25T02:00:00Z`, with up to nine digits of a second's fraction; none for all else.
fn plain(text: &[u8]) -> Option<DateTime<Utc>> {
    let number = |digits: &[u8]| {
        let digit = |sum: Option<u32>, byte: &u8| Some(sum? * 10 + u32::from(byte.is_ascii_digit().then(|| byte - b'0')?));
        digits.iter().fold(Some(0), digit)
    };
    let (whole, fraction) = text.strip_suffix(b"Z")?.split_at_checked(19)?;
    let [b'-', b'-', b'T', b':', b':'] = [whole[4], whole[7], whole[10], whole[13], whole[16]] else { return None };
    let nanos = match fraction {
        [] => 0,
        [b'.', digits @ ..] if (1..=9).contains(&digits.len()) => number(digits)? * 10_u32.pow(9 - digits.len() as u32),
        _ => return None,
    };
    let date = NaiveDate::from_ymd_opt(number(&whole[..4])? as i32, number(&whole[5..7])?, number(&whole[8..10])?)?;
    let (hour, minute, second) = (number(&whole[11..13])?, number(&whole[14..16])?, number(&whole[17..])?);
    Some(date.and_hms_nano_opt(hour, minute, second, nanos)?.and_utc())
}

#[derive(Clone, Copy, Debug)]
struct Digest(Sha256);

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Text::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        // As in every record: lower case only.
        if text.0.bytes().any(|byte| byte.is_ascii_uppercase()) || hex::decode_to_slice(text.0.as_bytes(), &mut bytes).is_err() {
            return Err(D::Error::custom(format!("{:?} is no SHA-256 digest", text.0)));
        }
        Ok(Digest(Sha256(bytes)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_moment_is_read_as_chrono_does() {
        for text in [
            "2026-01-25T02:00:00Z",
            "2024-02-29T23:59:59.999999999Z",
            "1970-01-01T00:00:00.5Z",
            "2026-01-25T02:00:00.123456Z",
            "0000-01-01T00:00:00Z",
            "2026-01-25T02:00:00+01:00",
            "2026-01-25 02:00:00Z",
            "2026-12-31T23:59:60Z",
            "2026-02-29T00:00:00Z",
            "2026-01-25T24:00:00Z",
            "2026-01-25T02:00:00.Z",
            "2026-01-25T02:00:00",
            "2026-01-25T02:00:0xZ",
            "tomorrow",
            "",
        ] {
            let chrono = text.parse::<DateTime<Utc>>().ok();
            let ours = serde_json::from_value::<Moment>(text.into()).ok().map(|moment| moment.0);
            assert_eq!(ours, chrono, "{text}");
        }
        assert!(plain(b"2026-01-25T02:00:00.123456Z").is_some());
    }
}
