//! Copies one file of WAL: its claims, then its object, held against them; what a target has already is left as it is.

use dr_pipe::record::Extent;
use dr_pipe::{Exit, Failure, Sha256};
use dr_store::{Error, Put, Store, Stored, UploadOptions};
use dr_wal::{Claim, Item, Object, WalName, layout};

use crate::report::warn;
use crate::tiers::Tier;
use crate::transfer::{self, Cargo};
use crate::wal::{Held, Route, Thing, Written};

/// The largest object that is carried in memory, in bytes.
const MAX_IN_MEMORY_BYTES: u64 = 16 << 20;

/// What a target lacks of a file.
pub struct Missing<'i> {
    /// The object that has the name.
    first: Option<&'i Object>,
    /// Objects of other contents that lie beside it.
    beside: Vec<&'i Object>,
    /// Keys of claims.
    claims: Vec<&'i str>,
}

/// Which end a failure is of.
enum Trouble {
    /// Another source may do better.
    Source(Failure),
    Target(Failure),
}

/// A claim that was read and checked, as it is stored.
struct Claimed<'i> {
    key: &'i str,
    claim: Claim,
    text: Vec<u8>,
}

impl Missing<'_> {
    /// Whether the target has all of it.
    pub fn is_nothing(&self) -> bool {
        self.first.is_none() && self.beside.is_empty() && self.claims.is_empty()
    }
}

impl Route<'_> {
    /// What of `item` is not `there`.
    pub fn missing<'i>(&self, item: &'i Item, there: &Item) -> Missing<'i> {
        let firsts = |item: &'i Item| item.objects.iter().find(|object| object.beside.is_none());
        let has_first = there.objects.iter().any(|object| object.beside.is_none());
        let beside = item.objects.iter().filter(|object| object.beside.is_some());
        let claims = item.claims.iter().map(|(key, _)| key.as_str());
        Missing {
            first: firsts(item).filter(|_| !has_first),
            beside: beside.filter(|object| !there.objects.iter().any(|known| known.key == object.key)).collect(),
            claims: claims.filter(|key| !there.claims.iter().any(|(known, _)| known == key)).collect(),
        }
    }

    /// Carries one thing, from the nearest source that gives it as it must be.
    ///
    /// # Errors
    /// What the target says; else what the first source says.
    pub fn carry(&self, thing: &Thing) -> Result<Written, Failure> {
        match thing {
            Thing::File(name, sources) => {
                let alive = sources.iter().filter(|(held, _)| !held.tier.is_lost());
                nearest(self.to.tier, alive.map(|(held, item)| self.file(held, item, name).map_err(|trouble| (held.tier, trouble))))
            }
            Thing::Bare(key, bytes, sources) => {
                let alive = sources.iter().filter(|held| !held.tier.is_lost());
                nearest(self.to.tier, alive.map(|held| self.bare(held, key, *bytes).map_err(|trouble| (held.tier, trouble))))
            }
        }
    }

    /// Carries what a target lacks of a file.
    fn file<'i>(&self, held: &Held, item: &'i Item, name: &WalName) -> Result<Written, Trouble> {
        let there = self.there(name);
        let missing = self.missing(item, &there);
        let claims = self.claims(held, item, name).map_err(Trouble::Source)?;
        if missing.first.is_none() {
            self.must_agree(&there, &claims, name)?;
        }
        // Read and proved before anything is written: nothing is left of what is damaged.
        let claimed = |object: &&Object| claims.iter().any(|it| Some(it.claim.content()) == object.beside);
        let read = |object: &'i Object| self.read(held, &object.key, object.bytes).map(|(extent, bytes)| (object, extent, bytes));
        let beside = missing.beside.into_iter().filter(claimed).map(read).collect::<Result<Vec<_>, _>>()?;
        let first = match missing.first.map(|object| self.proved(held, object, &claims)).transpose() {
            Err(Trouble::Source(failure)) if failure.exit == Exit::Damaged && is_mended(&there, &beside, &claims) => {
                warn(format!("{}; what lies beside it, and is read in its place, is copied alone", failure.message));
                None
            }
            first => first?,
        };
        let mut written = Written::default();
        for claimed in &claims {
            let is_firsts = first.as_ref().is_some_and(|(_, claim, _)| std::ptr::eq(*claim, &claimed.claim));
            if is_firsts || missing.claims.contains(&claimed.key) {
                self.claim(claimed, is_firsts, name, &mut written).map_err(Trouble::Target)?;
            }
        }
        let options = if matches!(name, WalName::Segment(_) | WalName::Partial(_)) { self.options } else { &self.plain };
        if let Some((object, claim, bytes)) = first {
            let extent = Extent { bytes: claim.object_bytes, sha256: claim.object_sha256 };
            self.store(held, &Cargo { key: &object.key, extent, options }, bytes, &mut written)?;
        }
        for (object, extent, bytes) in beside {
            self.store(held, &Cargo { key: &object.key, extent, options }, bytes, &mut written)?;
        }
        Ok(written)
    }

    /// All claims of a file, checked as far as keys are known.
    fn claims<'i>(&self, held: &Held, item: &'i Item, name: &WalName) -> Result<Vec<Claimed<'i>>, Failure> {
        if item.claims.is_empty() {
            let message = format!("{}: {name}: there is no claim that says what it holds", held.tier.store.location());
            return Err(Failure::new(Exit::Damaged, message, "it was not copied; push it again, or use another copy"));
        }
        let read = |claimed: &'i (String, layout::Content)| {
            let (claim, text) = held.shelf.claim_of(claimed, name, self.trusted)?;
            Ok(Claimed { key: &claimed.0, claim, text })
        };
        item.claims.iter().map(read).collect::<Result<_, dr_wal::Error>>().map_err(Failure::from)
    }

    /// Passes a target whose own object of a name is of a content that the source has claims of, too.
    fn must_agree(&self, there: &Item, claims: &[Claimed], name: &WalName) -> Result<(), Trouble> {
        let contents = there.contents();
        let mut ours = claims.iter().map(|claimed| claimed.claim.content());
        let agrees = if contents.is_empty() {
            // Its claims are lost, or were never copied: the object itself tells.
            let first = there.objects.iter().find(|object| object.beside.is_none());
            let Some(first) = first else { return Ok(()) };
            let reader = self.to.tier.store.reader(&first.key);
            let digest = reader.and_then(|reader| transfer::digest(reader, &first.key)).map_err(target)?;
            claims.iter().any(|claimed| claimed.claim.object_sha256 == digest.sha256)
        } else {
            ours.any(|content| contents.contains(&content))
        };
        if agrees {
            return Ok(());
        }
        let message = format!("{}: {name} is there with another content", self.to.tier.store.location());
        let hint = "it was left as it is; find out which one is right: usually two primaries archive to these places";
        Err(Trouble::Target(Failure::new(Exit::Damaged, message, hint)))
    }

    /// An object that one of the claims fits, byte for byte; and its bytes, where they are few.
    fn proved<'o, 'c>(
        &self,
        held: &Held,
        object: &'o Object,
        claims: &'c [Claimed],
    ) -> Result<(&'o Object, &'c Claim, Option<Vec<u8>>), Trouble> {
        let (extent, bytes) = self.read(held, &object.key, object.bytes)?;
        let fits = |claim: &&Claim| claim.object_sha256 == extent.sha256 && claim.object_bytes == extent.bytes;
        match claims.iter().map(|claimed| &claimed.claim).find(fits) {
            Some(claim) => Ok((object, claim, bytes)),
            None => {
                let message = format!("{}/{}: it is not what was claimed for it", held.tier.store.location(), object.key);
                let hint = "it was not copied; push it again, or use another copy; dr-verify with the key tells whether it is good";
                Err(Trouble::Source(Failure::new(Exit::Damaged, message, hint)))
            }
        }
    }

    /// Size and digest of an object of a source; and its bytes, where they are few.
    fn read(&self, held: &Held, key: &str, bytes: u64) -> Result<(Extent, Option<Vec<u8>>), Trouble> {
        let store = &held.tier.store;
        let read = if bytes <= MAX_IN_MEMORY_BYTES {
            let whole = store.read(key, MAX_IN_MEMORY_BYTES);
            whole.map(|bytes| (Extent { bytes: bytes.len() as u64, sha256: Sha256::of(&bytes) }, Some(bytes)))
        } else {
            store.reader(key).and_then(|reader| transfer::digest(reader, key)).map(|extent| (extent, None))
        };
        let (extent, whole) = read.map_err(|error| Trouble::Source(error.into()))?;
        self.progress.add(extent.bytes);
        Ok((extent, whole))
    }

    /// Creates a claim; for the object that goes after it, a second one where another packing of the same content is claimed.
    fn claim(&self, claimed: &Claimed, is_firsts: bool, name: &WalName, written: &mut Written) -> Result<(), Failure> {
        let Claimed { key, claim, text } = claimed;
        let store = &self.to.tier.store;
        match created(store.put_ahead(key, text), text.len(), written) {
            Err(Error::Exists { .. }) if is_firsts => {
                let again = layout::claim_again(self.cluster, name, claim.content(), &claim.object_sha256);
                match created(store.put_ahead(&again, text), text.len(), written) {
                    Err(Error::Exists { .. }) => Ok(()),
                    done => Ok(done?),
                }
            }
            Err(Error::Exists { .. }) => Ok(()),
            done => Ok(done?),
        }
    }

    /// Creates an object in the target: of bytes in memory, else straight from the source.
    fn store(&self, held: &Held, cargo: &Cargo, bytes: Option<Vec<u8>>, written: &mut Written) -> Result<(), Trouble> {
        let target = self.to.tier;
        let stored = match bytes {
            Some(bytes) => upload(&target.store, cargo, &bytes).map_err(Trouble::Target)?,
            None => {
                let carried = transfer::carry(cargo, &[held.tier], &[target], self.progress).map_err(Trouble::Source)?;
                carried.stored.into_iter().next().expect("one target, one outcome").map_err(Trouble::Target)?
            }
        };
        stored.warnings.iter().for_each(|warning| warn(format!("{}: {warning}", target.store.location())));
        written.add(Written { objects: 1, bytes: cargo.extent.bytes, stored: Some(stored) });
        Ok(())
    }

    /// Carries an object that nobody claims as it is.
    fn bare(&self, held: &Held, key: &str, bytes: u64) -> Result<Written, Trouble> {
        let mut written = Written::default();
        let (extent, whole) = self.read(held, key, bytes)?;
        let options = if key.ends_with(".json") { &self.plain } else { self.options };
        self.store(held, &Cargo { key, extent, options }, whole, &mut written)?;
        Ok(written)
    }
}

/// What the nearest source gives; what the target says ends it.
fn nearest<'t>(target: &Tier, tries: impl Iterator<Item = Result<Written, (&'t Tier, Trouble)>>) -> Result<Written, Failure> {
    let mut first: Option<Failure> = None;
    for tried in tries {
        match tried {
            Ok(written) => {
                if let Some(Failure { message, .. }) = first {
                    warn(format!("{message}; it was copied from another store"));
                }
                return Ok(written);
            }
            Err((_, Trouble::Target(failure))) => {
                target.failed_to_write(&failure);
                return Err(failure);
            }
            Err((tier, Trouble::Source(failure))) => {
                tier.failed_to_read(&failure);
                first.get_or_insert(failure);
            }
        }
    }
    Err(first.unwrap_or_else(|| Failure::new(Exit::Unavailable, "no store is left to read", "run it again")))
}

/// Whether the object of a name can be done without: what lies beside it, here or in the target, is of the only content that is
/// claimed, and is what readers get. It is most often another packing than the one that was claimed, so that only they can prove it.
fn is_mended(there: &Item, beside: &[(&Object, Extent, Option<Vec<u8>>)], claims: &[Claimed]) -> bool {
    let mut contents: Vec<_> = claims.iter().map(|claimed| claimed.claim.content()).collect();
    contents.dedup();
    contents.len() == 1 && !(there.objects.is_empty() && beside.is_empty())
}

fn upload(target: &Store, cargo: &Cargo, bytes: &[u8]) -> Result<Stored, Failure> {
    let options = UploadOptions { expected_bytes: Some(cargo.extent.bytes), ..cargo.options.clone() };
    let mut upload = target.upload(cargo.key, &options)?;
    upload.write(bytes)?;
    upload.finish().or_else(|error| transfer::settle(cargo, target, error))
}

fn created(put: Result<Put, Error>, bytes: usize, written: &mut Written) -> Result<(), Error> {
    written.put(put?, bytes);
    Ok(())
}

fn target(error: Error) -> Trouble {
    Trouble::Target(error.into())
}
