//! What does a bucket with versions hold besides what a listing shows? And what did it show at some moment?

use std::collections::{BTreeMap, HashSet};

use aws_smithy_types::DateTime as SdkTime;
use chrono::{DateTime, Utc};

use super::Bucket;
use super::attempts::{Ended, PATIENCE, send};
use super::list::{Pages, Whole, broken, timed};
use crate::{Error, Hidden, HiddenKind, Listed};

/// One version of an object, or a marker that says it was deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) key: String,
    /// `null` for what was written while the bucket kept no versions.
    pub(super) id: String,
    written_at: Option<DateTime<Utc>>,
    latest: bool,
    marker: bool,
    bytes: u64,
}

/// The objects that a listing would have shown at `moment`, of the keys that come after `after`, by key.
pub(super) async fn list_at(bucket: &Bucket, prefix: &str, after: &str, moment: DateTime<Utc>) -> Result<Vec<Listed>, Error> {
    let mut all = every(bucket, prefix, None).await.map_err(|ended| ended.unexpected(&bucket.request(prefix, RIGHT)))?;
    all.retain(|version| version.key.as_str() > after);
    let current = current_at(all, moment).map_err(|why| broken(&bucket.request(prefix, RIGHT), &why))?;
    let listed =
        current.into_values().map(|version| Listed { key: version.key, bytes: version.bytes, modified_at: version.written_at });
    Ok(listed.collect())
}

/// The version of `key` that was current at `moment`; none where there was no such object.
pub(super) async fn version_at(bucket: &Bucket, key: &str, moment: DateTime<Utc>) -> Result<Option<Version>, Error> {
    let request = bucket.request(key, RIGHT);
    let all = every(bucket, key, Some(key)).await.map_err(|ended| ended.unexpected(&request))?;
    Ok(current_at(all, moment).map_err(|why| broken(&request, &why))?.remove(key))
}

/// Delete markers, and versions that are hidden, by key.
pub(super) async fn hidden(bucket: &Bucket, prefix: &str) -> Result<Vec<Hidden>, Error> {
    let all = match every(bucket, prefix, None).await {
        Ok(all) => all,
        Err(Ended::Unsupported(_)) => return Ok(Vec::new()),
        Err(ended) => return Err(ended.unexpected(&bucket.request(prefix, RIGHT))),
    };
    let mut hidden: Vec<_> = all.into_iter().filter_map(Version::hidden).collect();
    hidden.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(hidden)
}

/// The right that lists versions.
const RIGHT: &str = "s3:ListBucketVersions";

/// Every version of every key that starts with `prefix`, in the server's order; of the key `only` alone, where it is given.
pub(super) async fn every(bucket: &Bucket, prefix: &str, only: Option<&str>) -> Result<Vec<Version>, Ended> {
    let request = bucket.request(prefix, RIGHT);
    let wrong = |why: &str| Ended::Failed(broken(&request, why));
    let (mut all, mut seen, mut pages) = (Vec::new(), HashSet::new(), Pages::new(&request));
    let mut from: (Option<String>, Option<String>) = (None, None);
    loop {
        let page = send(&request, PATIENCE, || {
            let list = bucket.client().list_object_versions().bucket(&bucket.name).prefix(bucket.full(prefix));
            let list = list.set_key_marker(from.0.clone()).set_version_id_marker(from.1.clone());
            list.customize().interceptor(Whole("</ListVersionsResult>")).send()
        });
        let page = page.await?;
        let before = all.len();
        let versions = page.versions().iter().map(|it| {
            let bytes = it.size().and_then(|size| u64::try_from(size).ok());
            bytes.map(|bytes| version(it.key(), it.version_id(), it.last_modified(), it.is_latest(), Some(bytes)))
        });
        let markers = page.delete_markers().iter();
        let markers = markers.map(|it| Some(version(it.key(), it.version_id(), it.last_modified(), it.is_latest(), None)));
        for version in versions.chain(markers) {
            let mut version = version.ok_or_else(|| wrong("the listing has an object without size"))?;
            let key = version.key.strip_prefix(&bucket.prefix).filter(|key| key.starts_with(prefix)).map(str::to_owned);
            version.key = key.ok_or_else(|| wrong("the listing has keys that were not asked for"))?;
            if !seen.insert((version.key.clone(), version.id.clone())) {
                return Err(wrong("the listing repeats what it has listed before"));
            }
            all.push(version);
        }
        let next = page.next_key_marker().map(|key| (Some(key.to_owned()), page.next_version_id_marker().map(str::to_owned)));
        let beyond = |key: &Option<String>| only.is_some_and(|only| *key > Some(bucket.full(only)));
        match pages.next(page.is_truncated(), next, all.len() - before).map_err(Ended::Failed)? {
            Some(next) if !beyond(&next.0) => from = next,
            _ => break,
        }
    }
    all.retain(|version| only.is_none_or(|only| version.key == only));
    Ok(all)
}

/// A version as the server tells it; a marker where it has no bytes.
fn version(key: Option<&str>, id: Option<&str>, at: Option<&SdkTime>, latest: Option<bool>, bytes: Option<u64>) -> Version {
    Version {
        key: key.unwrap_or_default().to_owned(),
        id: id.unwrap_or("null").to_owned(),
        written_at: at.and_then(timed),
        latest: latest == Some(true),
        marker: bytes.is_none(),
        bytes: bytes.unwrap_or_default(),
    }
}

impl Version {
    fn hidden(self) -> Option<Hidden> {
        let kind = match (self.marker, self.latest) {
            (true, _) => HiddenKind::Marker,
            (false, false) => HiddenKind::Overwritten,
            (false, true) => return None,
        };
        Some(Hidden { key: self.key, version_id: self.id, written_at: self.written_at, kind })
    }
}

/// The version of each key that was current at `moment`, but for those that were deleted then. Times are told to the second: of two in
/// one second the one that is the latest of all counts, else an object more than a marker, and what the server lists first.
fn current_at(all: Vec<Version>, moment: DateTime<Utc>) -> Result<BTreeMap<String, Version>, String> {
    let mut current: BTreeMap<String, Version> = BTreeMap::new();
    for version in all {
        let Some(at) = version.written_at else { return Err(format!("it does not say when it took {}", version.key)) };
        let rank = |version: &Version| (version.written_at, version.latest, !version.marker);
        if at <= moment && current.get(&version.key).is_none_or(|known| rank(known) < rank(&version)) {
            current.insert(version.key.clone(), version);
        }
    }
    current.retain(|_, version| !version.marker);
    Ok(current)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_769_300_000 + second, 0).unwrap()
    }

    fn one(id: &str, second: i64, latest: bool, bytes: Option<u64>) -> Version {
        let time = SdkTime::from_secs(at(second).timestamp());
        version(Some("k"), Some(id), Some(&time), Some(latest), bytes)
    }

    fn shown(all: &[Version], second: i64) -> Option<String> {
        current_at(all.to_vec(), at(second)).unwrap().remove("k").map(|version| version.id)
    }

    #[test]
    fn f41_each_moment_shows_the_version_that_was_current_then() {
        let all = [
            one("again", 40, true, Some(3)),
            one("deleted", 30, false, None),
            one("evil", 20, false, Some(2)),
            one("good", 10, false, Some(1)),
        ];
        for (second, id) in [(9, None), (10, Some("good")), (19, Some("good")), (20, Some("evil")), (35, None), (99, Some("again"))]
        {
            assert_eq!(shown(&all, second).as_deref(), id, "at {second}");
        }
    }

    #[test]
    fn f41_in_one_second_the_latest_counts_and_an_object_more_than_a_marker() {
        let deleted = [one("good", 10, false, Some(1)), one("marker", 10, true, None)];
        assert_eq!(shown(&deleted, 10), None);
        let between = [one("evil", 20, true, Some(2)), one("good", 10, false, Some(1)), one("marker", 10, false, None)];
        assert_eq!(shown(&between, 15).as_deref(), Some("good"));
        let twice = [one("newer", 10, false, Some(1)), one("older", 10, false, Some(1))];
        assert_eq!(shown(&twice, 10).as_deref(), Some("newer"));
    }

    #[test]
    fn a_version_without_a_time_is_not_guessed_at() {
        assert!(current_at(vec![version(Some("k"), None, None, None, Some(1))], at(0)).is_err());
    }
}
