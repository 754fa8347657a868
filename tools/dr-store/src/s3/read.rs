//! Reading an object by ranges: ahead of a sequential reader, just what is asked for elsewhere.

use std::io;
use std::sync::Arc;

use aws_sdk_s3::types::{ChecksumMode, ObjectLockLegalHoldStatus};
use bytes::Bytes;

use super::attempts::{Ended, PATIENCE, send};
use super::refusal::Request;
use super::runtime::{Task, block_on, spawn};
use super::{Bucket, put, thaw, versions};
use crate::Error;

/// First read after a seek, in bytes; each following one is twice as long.
const SHORTEST: u64 = 256 << 10;
/// Longest read ahead, in bytes.
const LONGEST: u64 = 8 << 20;
/// How often the body of a range is asked for again after it broke off.
const BODIES: u32 = 5;

/// What a server says of an object.
#[derive(Clone, Debug, Default)]
pub(super) struct Head {
    pub(super) bytes: u64,
    pub(super) etag: Option<String>,
    /// Base64, with `-N` at its end for an object of N parts.
    pub(super) sha256: Option<String>,
    /// The token of the upload that made it.
    pub(super) token: Option<String>,
    pub(super) version_id: Option<String>,
    pub(super) storage_class: Option<String>,
    pub(super) locked_until: Option<chrono::DateTime<chrono::Utc>>,
    /// Whether a legal hold keeps it.
    pub(super) legal_hold: bool,
    /// What became of asking for it in cold storage: the header `x-amz-restore`.
    pub(super) restore: Option<String>,
    /// The archive tier that INTELLIGENT_TIERING has put it into.
    pub(super) archive_status: Option<String>,
}

/// An object that is to be read.
pub(super) struct Found {
    pub(super) head: Head,
    /// Which version of it, where it is not what is current now.
    pub(super) version: Option<String>,
}

/// Finds the object that is read under this key: that of now, or of the moment that the store is read at. None if it is proven absent.
pub(super) async fn find(bucket: &Bucket, key: &str) -> Result<Option<Found>, Error> {
    let version = match bucket.as_of {
        None => None,
        Some(moment) => match versions::version_at(bucket, key, moment).await? {
            None => return Ok(None),
            Some(version) => Some(version.id),
        },
    };
    let head = head(bucket, key, version.as_deref()).await?;
    Ok(head.map(|head| Found { head, version }))
}

/// Asks for the properties of an object, or of a version of it. None if it is proven absent.
pub(super) async fn head(bucket: &Bucket, key: &str, version: Option<&str>) -> Result<Option<Head>, Error> {
    let request = bucket.request(key, right(version));
    let version = version.map(str::to_owned);
    let tried = send(&request, PATIENCE, || {
        let head = bucket.client().head_object().bucket(&bucket.name).key(bucket.full(key));
        head.checksum_mode(ChecksumMode::Enabled).set_version_id(version.clone()).send()
    });
    let head = match tried.await {
        Ok(head) => head,
        // An answer to HEAD has no body: whether the bucket or the object is missing, only GET tells.
        Err(Ended::Absent) => return why_absent(bucket, key, version).await.map(|()| None),
        Err(ended) => return Err(ended.unexpected(&request)),
    };
    let Some(bytes) = head.content_length().and_then(|length| u64::try_from(length).ok()) else {
        return Err(Error::Protocol { object: request.object, why: "the server does not say how long it is".into() });
    };
    let until = head.object_lock_retain_until_date();
    Ok(Some(Head {
        bytes,
        etag: head.e_tag().map(str::to_owned),
        sha256: head.checksum_sha256().map(str::to_owned),
        token: head.metadata().and_then(|metadata| metadata.get(put::TOKEN)).cloned(),
        version_id: head.version_id().map(str::to_owned),
        storage_class: head.storage_class().map(|class| class.as_str().to_owned()),
        legal_hold: head.object_lock_legal_hold_status() == Some(&ObjectLockLegalHoldStatus::On),
        restore: head.restore().map(str::to_owned),
        archive_status: head.archive_status().map(|status| status.as_str().to_owned()),
        locked_until: until.and_then(|at| chrono::DateTime::from_timestamp(at.secs(), 0)),
    }))
}

/// The right that reads an object, or a version of it.
fn right(version: Option<&str>) -> &'static str {
    if version.is_some() { "s3:GetObjectVersion" } else { "s3:GetObject" }
}

/// Passes if the object is absent from a bucket that is there.
async fn why_absent(bucket: &Bucket, key: &str, version: Option<String>) -> Result<(), Error> {
    let request = bucket.request(key, right(version.as_deref()));
    let tried = send(&request, PATIENCE, || {
        let get = bucket.client().get_object().bucket(&bucket.name).key(bucket.full(key)).range("bytes=0-0");
        get.set_version_id(version.clone()).send()
    });
    match tried.await {
        Err(Ended::Absent) => Ok(()),
        Ok(_) => Err(Error::Busy { object: request.object, why: "it has only just appeared".into() }),
        Err(ended) => Err(ended.unexpected(&request)),
    }
}

/// All bytes of an object; none if there is no object, or it has another size than `bytes`.
pub(super) async fn whole(bucket: &Arc<Bucket>, key: &str, bytes: u64) -> Result<Option<Bytes>, Error> {
    match head(bucket, key, None).await? {
        Some(head) if head.bytes == bytes => {
            let source = Source { bucket: Arc::clone(bucket), key: key.into(), version: None, bytes, etag: head.etag };
            source.fetch(0, bytes).await.map(Some)
        }
        _ => Ok(None),
    }
}

/// One object, as it was when it was opened.
struct Source {
    bucket: Arc<Bucket>,
    key: String,
    /// Which version of it, where it is not what is current now.
    version: Option<String>,
    bytes: u64,
    etag: Option<String>,
}

impl Source {
    fn request(&self) -> Request {
        self.bucket.request(&self.key, right(self.version.as_deref()))
    }

    /// The bytes from `start` to before `end`. A body that breaks off is asked for again from where it did.
    async fn fetch(&self, start: u64, end: u64) -> Result<Bytes, Error> {
        let mut got = Vec::with_capacity(usize::try_from(end - start).expect("a window fits into memory"));
        let mut broken = String::new();
        for _ in 0..BODIES {
            let from = start + got.len() as u64;
            if from == end {
                return Ok(got.into());
            }
            broken = match self.body(from, end, &mut got).await? {
                None => continue,
                Some(why) => why,
            };
        }
        if got.len() as u64 == end - start {
            return Ok(got.into());
        }
        Err(Error::Unavailable { object: self.request().object, why: format!("the answer breaks off: {broken}") })
    }

    /// Appends what comes of the bytes from `from` to before `end`; says why it broke off, if it did.
    async fn body(&self, from: u64, end: u64, got: &mut Vec<u8>) -> Result<Option<String>, Error> {
        let request = self.request();
        let changed = || Error::Damaged { object: request.object.clone(), why: "it was replaced while it was being read".into() };
        let tried = send(&request, PATIENCE, || {
            let get = self.bucket.client().get_object().bucket(&self.bucket.name).key(self.bucket.full(&self.key));
            let get = get.range(format!("bytes={from}-{}", end - 1)).set_if_match(self.etag.clone());
            get.set_version_id(self.version.clone()).send()
        });
        let mut answer = match tried.await {
            Ok(answer) => answer,
            Err(Ended::Precondition | Ended::Absent) => return Err(changed()),
            Err(ended) => return Err(ended.unexpected(&request)),
        };
        if self.etag.is_some() && answer.e_tag() != self.etag.as_deref() {
            return Err(changed());
        }
        match range_of(answer.content_range()) {
            Some((first, size)) if first == from && size.is_none_or(|size| size == self.bytes) => {}
            Some((_, Some(size))) if size != self.bytes => return Err(changed()),
            // A server without ranges answers with the whole object, which is no use from the middle.
            None if from == 0 && end == self.bytes => {}
            _ => {
                let why = "the server does not answer with the range asked for".into();
                return Err(Error::Protocol { object: request.object, why });
            }
        }
        let mut left = end - from;
        loop {
            match tokio::time::timeout(PATIENCE.min(request.patience), answer.body.next()).await {
                Ok(None) => return Ok(None),
                Ok(Some(Ok(bytes))) => {
                    let longer = || Error::Protocol {
                        object: request.object.clone(),
                        why: "the answer is longer than was asked for".into(),
                    };
                    left = left.checked_sub(bytes.len() as u64).ok_or_else(longer)?;
                    got.extend_from_slice(&bytes);
                }
                Ok(Some(Err(error))) => return Ok(Some(error.to_string())),
                Err(_) => return Ok(Some(format!("nothing came for {} seconds", PATIENCE.min(request.patience).as_secs()))),
            }
        }
    }
}

/// Where a `Content-Range` begins, and the size of the whole where it is told (RFC 9110, section 14.4).
fn range_of(header: Option<&str>) -> Option<(u64, Option<u64>)> {
    let (range, size) = header?.strip_prefix("bytes ")?.split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.parse().ok()?, size.parse().ok()))
}

/// An object read through ranges, with a position of one's own.
pub(crate) struct RangeReader {
    source: Arc<Source>,
    position: u64,
    /// What was fetched last, and where it begins.
    window: (u64, Bytes),
    /// How much to fetch next.
    step: u64,
    /// What is being fetched ahead, and where it begins.
    ahead: Option<(u64, Task<Result<Bytes, Error>>)>,
}

impl Clone for RangeReader {
    fn clone(&self) -> Self {
        RangeReader {
            source: Arc::clone(&self.source),
            position: self.position,
            window: (0, Bytes::new()),
            step: SHORTEST,
            ahead: None,
        }
    }
}

impl RangeReader {
    pub(super) fn open(bucket: Arc<Bucket>, key: &str) -> Result<Self, Error> {
        let object = bucket.request(key, "").object;
        let found = block_on(find(&bucket, key))?.ok_or(Error::Absent { object })?;
        block_on(thaw::readable(&bucket, key, &found))?;
        let Found { head, version } = found;
        let source = Arc::new(Source { bucket, key: key.into(), version, bytes: head.bytes, etag: head.etag });
        Ok(RangeReader { source, position: 0, window: (0, Bytes::new()), step: SHORTEST, ahead: None })
    }

    pub(crate) fn size(&self) -> u64 {
        self.source.bytes
    }

    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    pub(crate) fn move_to(&mut self, target: u64) {
        self.position = target;
    }

    pub(crate) fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        if buf.is_empty() || self.position >= self.source.bytes {
            return Ok(0);
        }
        if self.in_window().is_empty() {
            self.fill(buf.len() as u64)?;
        }
        let there = self.in_window();
        let n = there.len().min(buf.len());
        buf[..n].copy_from_slice(&there[..n]);
        self.position += n as u64;
        Ok(n)
    }

    /// What the window holds from the position on.
    fn in_window(&self) -> &[u8] {
        let (start, bytes) = &self.window;
        let skipped = self.position.checked_sub(*start).and_then(|skipped| usize::try_from(skipped).ok());
        skipped.and_then(|skipped| bytes.get(skipped..)).unwrap_or_default()
    }

    /// Gets the window that begins at the position, of `wanted` bytes at least, and starts to fetch the one behind it if
    /// the reader goes straight on.
    fn fill(&mut self, wanted: u64) -> Result<(), Error> {
        let straight_on = self.position == self.window.0 + self.window.1.len() as u64;
        self.step = if straight_on { (self.step * 2).min(LONGEST) } else { SHORTEST };
        let fetched = self.ahead.take().filter(|(start, _)| *start == self.position).and_then(|(_, task)| task.wait());
        let bytes = match fetched {
            Some(fetched) => fetched?,
            None => block_on(self.source.fetch(self.position, self.end(self.position, wanted.min(LONGEST))))?,
        };
        let next = self.position + bytes.len() as u64;
        self.window = (self.position, bytes);
        if straight_on && next < self.source.bytes {
            let (source, end) = (Arc::clone(&self.source), self.end(next, 0));
            self.ahead = Some((next, spawn(async move { source.fetch(next, end).await })));
        }
        Ok(())
    }

    /// Where a fetch from `start` ends.
    fn end(&self, start: u64, wanted: u64) -> u64 {
        start.saturating_add(self.step.max(wanted)).min(self.source.bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::range_of;

    #[test]
    fn a_content_range_tells_where_it_begins_and_how_large_the_whole_is() {
        assert_eq!(range_of(Some("bytes 5-9/100")), Some((5, Some(100))));
        assert_eq!(range_of(Some("bytes 5-9/*")), Some((5, None)));
        for header in [None, Some("bytes */100"), Some("5-9/100"), Some("bytes 5-9")] {
            assert_eq!(range_of(header), None);
        }
    }
}
