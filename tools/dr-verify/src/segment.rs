//! One file of WAL: its claims, its objects, and, with the key, what is in it.

use std::io::{self, Read, Write};

use dr_catalogue::signature;
use dr_pipe::record::{Depth, Finding, Severity};
use dr_pipe::{Failure, Sha256, Tally};
use dr_wal::header::{self, Header};
use dr_wal::{Claim, Error, History, Inventory, Item, Lsn, Object, Opening, SegmentName, SegmentSize, Shelf, Sink, WalName};

use crate::finding::{self, Scene, on};
use crate::object::Eyes;
use crate::place::{Cluster, Place};
use crate::wal::Log;

/// What a signature of a claim is told to be of.
const CLAIM: &str = "CLAIM";
/// Bytes that are read and digested at a time.
const CHUNK_BYTES: usize = 256 << 10;
/// Bytes at the beginning of a page of WAL that say where it belongs.
const PAGE_HEADER_BYTES: usize = 16;

const HINT: &str =
    "nothing reads it: look at another store, or at the server's pg_wal; see what is lost in the findings about gaps";
/// Where a recovery reads the beginning of it, and goes no further.
const HOLE_HINT: &str =
    "a recovery ends there: look for another copy of it in another store, or in a pg_wal; if there is none, take a base now";

/// A file of WAL.
pub struct File<'a> {
    /// The store.
    pub place: &'a Place,
    /// The cluster.
    pub cluster: &'a Cluster,
    /// Its log.
    pub log: &'a Log,
    /// The file's name.
    pub name: WalName,
}

impl File<'_> {
    /// Reads all that there is of it. Gives what is wrong, and how deep it was looked.
    ///
    /// # Errors
    /// As the store says.
    pub fn examine(&self, eyes: &Eyes) -> Result<(Depth, Vec<Finding>), Failure> {
        let item = &self.log.inventory.files[&self.name];
        let shelf = Shelf::new(&self.place.store, &self.cluster.name);
        let mut findings = Vec::new();
        let claims = self.claims(&shelf, item, &mut findings)?;
        let mut digests = Vec::new();
        for object in &item.objects {
            match self.digest(object, eyes) {
                Ok(digest) => digests.push((object, digest)),
                Err(dr_store::Error::Absent { .. }) => {}
                Err(dr_store::Error::Damaged { why, .. }) => findings.push(self.wrong("digest", &object.key, why)),
                Err(dr_store::Error::Io { source, .. }) => findings.push(self.wrong("unreadable", &object.key, source.to_string())),
                Err(error) => return Err(error.into()),
            }
        }
        let plain = item.objects.iter().all(|object| !object.encrypted);
        let opens = eyes.depth == Depth::Content && (plain || eyes.identities.is_some());
        let told = findings.len();
        let unclaimed = |object: &Object, digest: &Sha256| {
            object.beside.is_none() && !claims.iter().any(|claim| claim.object_sha256 == *digest)
        };
        let changed: Vec<&Object> =
            digests.iter().filter(|(object, digest)| unclaimed(object, digest)).map(|(object, _)| *object).collect();
        if opens && told == 0 && !item.claims.is_empty() && !item.objects.is_empty() && !item.is_conflict() {
            findings.extend(self.open(&shelf, item, &claims, eyes)?);
            // The same content in another encryption is what was claimed; only who decrypts it can tell.
            let is_same = !finding::is_bad(&findings) && item.objects.len() == 1;
            if !is_same {
                findings.extend(
                    changed
                        .into_iter()
                        .filter(|object| object.beside.is_none())
                        .map(|object| self.changed(object, &findings))
                        .collect::<Vec<_>>(),
                );
            }
            findings.dedup_by(|a, b| a.object == b.object && a.code == b.code);
            return Ok((Depth::Content, findings));
        }
        if !claims.is_empty() {
            findings.extend(changed.into_iter().map(|object| self.changed(object, &[])).collect::<Vec<_>>());
        }
        Ok((Depth::Bytes, findings))
    }

    /// The claims that are good.
    fn claims(&self, shelf: &Shelf, item: &Item, findings: &mut Vec<Finding>) -> Result<Vec<Claim>, Failure> {
        let mut claims = Vec::new();
        for claimed in &item.claims {
            let key = &claimed.0;
            match shelf.claim_of(claimed, &self.name, &self.cluster.trusted) {
                Ok((claim, text)) => {
                    claims.push(claim);
                    if !self.is_intact(&text) {
                        findings.push(self.wrong("signature", key, format!("{key} was changed where no signature covers it")));
                    }
                }
                Err(Error::Store(dr_store::Error::Absent { .. })) => {}
                Err(Error::Store(dr_store::Error::Damaged { why, .. }) | Error::Damaged { why, .. }) => {
                    findings.push(self.wrong("claim", key, format!("{key}: {why}")));
                }
                Err(Error::Untrusted { why, .. }) => findings.push(self.wrong("signature", key, format!("{key}: {why}"))),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(claims)
    }

    /// Whether a good claim is as it was written, to its last byte.
    fn is_intact(&self, text: &[u8]) -> bool {
        let end = text.iter().position(|byte| *byte == b'\n').map_or(text.len(), |newline| newline + 1);
        self.cluster.trusted.is_empty() || signature::is_intact(&self.cluster.trusted, &text[end..], CLAIM)
    }

    fn digest(&self, object: &Object, eyes: &Eyes) -> Result<Sha256, dr_store::Error> {
        let mut reader = self.place.store.reader(&object.key)?;
        let (mut tally, mut chunk) = (Tally::default(), vec![0; CHUNK_BYTES]);
        loop {
            match reader.read(&mut chunk) {
                Ok(0) => return Ok(tally.extent().sha256),
                Ok(n) => {
                    tally.update(&chunk[..n]);
                    eyes.progress.add(n as u64);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(dr_store::Error::from_read(&object.key, error)),
            }
        }
    }

    /// Decrypts and decompresses it, and looks at what it is.
    fn open(&self, shelf: &Shelf, item: &Item, claims: &[Claim], eyes: &Eyes) -> Result<Vec<Finding>, Failure> {
        let key = &item.objects[0].key;
        let opening = Opening { identities: eyes.identities, trusted: &self.cluster.trusted, prefer_content: None };
        let only = Inventory { files: [(self.name, item.clone())].into(), ..Inventory::default() };
        let mut plain = Pages::new(&self.name);
        match shelf.copy_whole(&only, &self.name, &opening, &mut plain) {
            Ok(Some(bytes)) => Ok(self.judge(plain, bytes, claims, key).into_iter().collect()),
            Ok(None) => Ok(Vec::new()),
            Err(Error::Damaged { why, .. }) => Ok(vec![self.wrong("digest", key, why)]),
            Err(Error::Store(error)) => Err(error.into()),
            Err(Error::Crypt(error)) => Ok(vec![self.wrong("content", key, error.to_string())]),
            // What is wrong with claims was told.
            Err(_) => Ok(Vec::new()),
        }
    }

    /// What is wrong with the plain file, or worth knowing of it.
    fn judge(&self, plain: Pages, bytes: u64, claims: &[Claim], key: &str) -> Option<Finding> {
        let why = match self.name {
            WalName::Segment(segment) => {
                let header = match header::check_segment(&plain.first, bytes, &segment) {
                    Ok(header) => header,
                    Err(error) => return Some(self.wrong("wal", key, error.to_string())),
                };
                let found = header.system_identifier.to_string();
                match &self.log.system {
                    Some(system) if system.system_identifier != found => {
                        Some(format!("{segment}: it is of system {found}, and the log is of system {}", system.system_identifier))
                    }
                    _ => return self.judge_pages(segment, &header, &plain, key),
                }
            }
            WalName::Partial(segment) => header::check_beginning(&plain.first, &segment).err().map(|error| error.to_string()),
            WalName::History(timeline) => match History::parse(timeline, &plain.text) {
                Err(error) => Some(error.to_string()),
                Ok(history) => {
                    let told = history.parent().map(|switch| (switch.timeline, switch.at));
                    let claimed = claims.first().and_then(|claim| claim.fork).map(|fork| (fork.parent_timeline, fork.forked_at));
                    (told != claimed).then(|| "its claim says that it came from elsewhere".to_owned())
                }
            },
            WalName::Backup { .. } => None,
        };
        why.map(|why| self.wrong("wal", key, why))
    }

    /// What pages of another place in the log mean: the end of what a server wrote before it crashed, or a hole.
    fn judge_pages(&self, segment: SegmentName, header: &Header, plain: &Pages, key: &str) -> Option<Finding> {
        let at = plain.misplaced?;
        let scene = &self.cluster.scene;
        if plain.is_recycled && self.may_end(segment, header.segment_size, Lsn(header.page_address.0 + at)) {
            let message = format!("{segment}: the log ends before byte {at}, and behind it are pages of an older segment");
            let hint = "that is how a server leaves its last segment that crashed: a recovery reads it up to its end";
            return Some(on(key, scene.note("wal", message, hint)));
        }
        let message = format!("{segment}: the page at byte {at} is of another place in the log");
        Some(on(key, scene.error("wal", message, HOLE_HINT)))
    }

    /// Whether the log of this timeline may have ended before `at` in this segment: nothing that is here goes on behind it, neither
    /// WAL nor another timeline, and no base ends there.
    fn may_end(&self, segment: SegmentName, size: SegmentSize, at: Lsn) -> bool {
        let Log { inventory, forks, .. } = self.log;
        let is_later = |other: SegmentName| other.timeline == segment.timeline && other > segment;
        let later = inventory.files.keys().filter_map(WalName::segment).chain(inventory.pieces.keys().copied()).any(is_later);
        let left_later =
            forks.values().flatten().any(|fork| fork.parent_timeline == segment.timeline && fork.forked_at >= segment.end(size));
        let mut bases = self.cluster.backups.iter().filter_map(|kept| kept.backup.manifest.produced.base.as_ref());
        let needed =
            bases.any(|base| base.timeline == segment.timeline.0 && base.stop_lsn.parse::<Lsn>().is_ok_and(|stop| stop > at));
        !later && !left_later && !needed
    }

    fn changed(&self, object: &Object, others: &[Finding]) -> Finding {
        let why = others
            .iter()
            .find(|finding| finding.severity == Severity::Error && finding.object.as_deref() == Some(&object.key))
            .map(|finding| format!(": {}", finding.message));
        let message = format!("{} is not what was claimed for it{}", object.key, why.unwrap_or_default());
        self.wrong("digest", &object.key, message)
    }

    fn wrong(&self, code: &str, key: &str, message: String) -> Finding {
        on(key, self.cluster.scene.error(code, message, HINT))
    }
}

/// The pieces of a segment that is not there whole: put together, and looked at.
///
/// # Errors
/// As the store says.
pub fn examine_pieces(
    place: &Place,
    cluster: &Cluster,
    log: &Log,
    segment: SegmentName,
    eyes: &Eyes,
) -> Result<Vec<Finding>, Failure> {
    let shelf = Shelf::new(&place.store, &cluster.name);
    let opening = Opening { identities: eyes.identities, trusted: &cluster.trusted, prefer_content: None };
    let scene: &Scene = &cluster.scene;
    let key = log.inventory.pieces[&segment].first().map(|item| item.key.clone()).unwrap_or_default();
    let bytes: u64 = log.inventory.pieces[&segment].iter().map(|item| item.bytes).sum();
    let wrong = |code, object: &str, message: String| {
        let which = object.strip_prefix(&format!("{}/", place.store.location())).unwrap_or(&key);
        Ok(vec![on(which, scene.error(code, message, HINT))])
    };
    let read = shelf.read_listed(&log.inventory, &WalName::Segment(segment), &opening);
    eyes.progress.add(bytes);
    match read {
        Ok(_) => Ok(Vec::new()),
        Err(Error::Damaged { object, why }) => wrong("digest", &object, format!("{object}: {why}")),
        Err(Error::Untrusted { claim, why }) => wrong("signature", &claim, format!("{claim}: {why}")),
        Err(Error::Crypt(error)) => wrong("content", "", format!("pieces of {segment}: {error}")),
        // A receiver puts the segment in their place and removes them.
        Err(Error::Store(dr_store::Error::Absent { .. })) => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

/// Takes a file of WAL, and keeps no more of it than is needed to judge it.
struct Pages {
    /// Texts are kept; segments are not.
    is_text: bool,
    text: Vec<u8>,
    first: Vec<u8>,
    /// Where the next byte lies in the file.
    at: u64,
    /// The beginning of the page that goes by.
    begun: Vec<u8>,
    /// Where the first page lies that belongs elsewhere.
    misplaced: Option<u64>,
    /// Whether that and all that follow are what a segment of before left there, whose file was used again for this one.
    is_recycled: bool,
}

impl Pages {
    fn new(name: &WalName) -> Self {
        let is_text = matches!(name, WalName::History(_) | WalName::Backup { .. });
        Self::empty(is_text)
    }

    fn empty(is_text: bool) -> Self {
        Pages { is_text, text: Vec::new(), first: Vec::new(), at: 0, begun: Vec::new(), misplaced: None, is_recycled: true }
    }

    /// Whether the page that lies at `at` of the file belongs there. One that was never written is all zeroes.
    fn judge(&mut self, at: u64) {
        let Ok(header) = header::read(&self.first) else { return };
        let (address, _) = self.begun[8..].as_chunks();
        let address = u64::from_ne_bytes(address[0]);
        if self.begun.iter().all(|byte| *byte == 0) {
            return;
        }
        let belongs = header.page_address.0 + at;
        if address != belongs {
            self.misplaced.get_or_insert(at);
            // The file is renamed, so that a page keeps its place in it.
            self.is_recycled &= address < belongs && (belongs - address).is_multiple_of(header.segment_size.bytes());
        } else if self.misplaced.is_some() {
            self.is_recycled = false;
        }
    }
}

impl Write for Pages {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.is_text {
            self.text.extend_from_slice(bytes);
            return Ok(bytes.len());
        }
        let lacking = header::LONG_HEADER_BYTES.saturating_sub(self.first.len()).min(bytes.len());
        self.first.extend_from_slice(&bytes[..lacking]);
        let page_bytes = header::read(&self.first).map_or(8192, |header| u64::from(header.page_bytes));
        let mut rest = bytes;
        while !rest.is_empty() {
            let within = self.at % page_bytes;
            let n = if within < PAGE_HEADER_BYTES as u64 {
                let n = (PAGE_HEADER_BYTES - within as usize).min(rest.len());
                self.begun.extend_from_slice(&rest[..n]);
                n
            } else {
                usize::try_from(page_bytes - within).unwrap_or(usize::MAX).min(rest.len())
            };
            self.at += n as u64;
            rest = &rest[n..];
            if self.begun.len() == PAGE_HEADER_BYTES {
                self.judge(self.at - self.at % page_bytes);
                self.begun.clear();
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Sink for Pages {
    fn restart(&mut self) -> io::Result<()> {
        *self = Self::empty(self.is_text);
        Ok(())
    }
}
