//! What WAL do the stores hold? Asked once, of all of them, before anything is decided.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use dr_catalogue::PublicKey;
use dr_crypt::Identities;
use dr_pipe::{Exit, Failure, warn, workers};
use dr_store::{Location, Store, StoreArgs};
use dr_wal::{Content, History, Inventory, Item, Opening, SegmentName, SegmentSize, Shelf, System, Timeline, WalName};

use crate::TOOL;
use dr_wal::window::Held;

/// How many claims are read at once: each is a request that waits for a server.
const READERS: usize = 16;

/// How WAL is opened and proved.
pub struct Proof<'a> {
    /// Decrypts it; without, only what is not encrypted can be read.
    pub identities: Option<&'a Identities>,
    /// Whose claims are trusted; empty: all are.
    pub trusted: Vec<PublicKey>,
    /// Which of two contents is taken.
    pub prefer_content: Option<String>,
}

/// The WAL of one cluster in all stores that answered.
pub struct Survey<'a> {
    cluster: &'a str,
    stores: Vec<(Store, Inventory)>,
    proof: Proof<'a>,
    /// What they hold.
    pub held: Held,
    /// Which system they say the cluster is.
    pub system: Option<System>,
    /// Histories that are in the stores and cannot be read out of any.
    pub damaged: BTreeMap<Timeline, Failure>,
    /// Stores that did not answer.
    pub unreachable: Vec<(Location, Failure)>,
}

impl<'a> Survey<'a> {
    /// Lists the WAL of `cluster` in all stores, and reads the histories. `partly`: pieces of segments count, too.
    ///
    /// # Errors
    /// What the first store says if none can be read; 65 where two of them hold different systems.
    pub fn take(from: &[Location], args: &StoreArgs, cluster: &'a str, proof: Proof<'a>, partly: bool) -> Result<Self, Failure> {
        let mut survey = Survey {
            cluster,
            stores: Vec::new(),
            proof,
            held: Held::default(),
            system: None,
            damaged: BTreeMap::new(),
            unreachable: Vec::new(),
        };
        for location in from {
            match list(location, args, cluster) {
                Ok((store, inventory, system)) => {
                    survey.know(location, system)?;
                    survey.stores.push((store, inventory));
                }
                Err(failure) => survey.unreachable.push((location.clone(), failure)),
            }
        }
        if let (true, Some((_, failure))) = (survey.stores.is_empty(), survey.unreachable.first()) {
            return Err(failure.clone());
        }
        survey.held.size = survey.system.as_ref().map_or(SegmentSize::DEFAULT, |system| system.wal_segment_bytes);
        survey.count(partly);
        survey.read_histories();
        Ok(survey)
    }

    /// The stores that answered, as they were named.
    pub fn locations(&self) -> Vec<&Location> {
        self.stores.iter().map(|(store, _)| store.location()).collect()
    }

    /// Whether it was said which of two contents is taken.
    pub fn prefers_content(&self) -> Option<&str> {
        self.proof.prefer_content.as_deref()
    }

    /// Reads a file of WAL from the nearest store that has it; none where no store has. A damaged one is looked for elsewhere; but
    /// where a store has the whole of a segment, what was streamed of it is never taken for that.
    ///
    /// # Errors
    /// 65 where no store has it undamaged, 81 where its claim is not signed as it must be; as the stores say.
    pub fn read(&self, name: &WalName) -> Result<Option<Vec<u8>>, Failure> {
        let opening = Opening {
            identities: self.proof.identities,
            trusted: &self.proof.trusted,
            prefer_content: self.proof.prefer_content.as_deref(),
        };
        let mut failed = None;
        let is_whole = self.stores.iter().any(|(_, inventory)| inventory.has(name));
        for (store, inventory) in self.stores.iter().filter(|(_, inventory)| !is_whole || inventory.has(name)) {
            match Shelf::new(store, self.cluster).read_listed(inventory, name, &opening) {
                Ok(Some(got)) => {
                    return Ok(Some(got.partial.map_or(got.bytes.clone(), |bytes| got.bytes[..bytes as usize].to_vec())));
                }
                Ok(None) => {}
                Err(error) => failed = failed.or(Some(Failure::from(error))),
            }
        }
        failed.map_or(Ok(None), Err)
    }

    /// Holds what is listed of these whole segments against what is claimed for them: of one that was cut off, or that nobody who is
    /// trusted has signed, the server would hear hours later.
    ///
    /// # Errors
    /// The first that is no good, and why.
    pub fn hold(&self, segments: &[SegmentName]) -> Result<(), (SegmentName, Failure)> {
        let answers = workers::map(READERS, segments, |segment| self.hold_one(segment).map_err(|why| (*segment, why)));
        answers.into_iter().collect()
    }

    fn hold_one(&self, segment: &SegmentName) -> Result<(), Failure> {
        let name = WalName::Segment(*segment);
        let is_as_claimed = |(store, inventory): &(Store, Inventory)| {
            let item = inventory.files.get(&name).filter(|item| is_good(item));
            let claims = item.and_then(|item| Shelf::new(store, self.cluster).claims_of(item, &name, &self.proof.trusted).ok());
            item.zip(claims).is_some_and(|(item, claims)| {
                item.objects.iter().any(|object| claims.iter().any(|claim| claim.object_bytes == object.bytes))
            })
        };
        if self.stores.iter().any(is_as_claimed) {
            return Ok(());
        }
        // Another encryption of the same content is as good: what is in it tells.
        self.read(&name).map(drop)
    }

    /// By when all that was committed is in a segment or before it, as its claims say; none where none of them says so.
    ///
    /// # Errors
    /// As reading them, where no other store knows.
    pub fn as_of(&self, segment: &SegmentName) -> Result<Option<DateTime<Utc>>, Failure> {
        let (name, mut latest, mut failed) = (WalName::Segment(*segment), None, None);
        for (store, inventory) in &self.stores {
            let Some(item) = inventory.files.get(&name).filter(|item| is_good(item) && item.contents().len() == 1) else {
                continue;
            };
            match Shelf::new(store, self.cluster).claims_of(item, &name, &self.proof.trusted) {
                Ok(claims) => latest = latest.max(claims.iter().filter_map(|claim| claim.as_of).max()),
                Err(error) => failed = failed.or(Some(Failure::from(error))),
            }
        }
        failed.filter(|_| latest.is_none()).map_or(Ok(latest), Err)
    }

    /// Whether a file of that name is there.
    pub fn has(&self, name: &WalName) -> bool {
        self.stores.iter().any(|(_, inventory)| inventory.files.get(name).is_some_and(is_good))
    }

    /// Segments that were claimed, and that no store has.
    pub fn only_claimed(&self) -> BTreeSet<SegmentName> {
        let claimed = self.stores.iter().flat_map(|(_, inventory)| &inventory.files).filter(|(_, item)| !item.claims.is_empty());
        let segments = claimed.filter_map(|(name, _)| if let WalName::Segment(segment) = name { Some(*segment) } else { None });
        segments.filter(|segment| !self.held.whole.contains(segment)).collect()
    }

    /// Of these segments, the first of which two contents lie in a store.
    pub fn conflict(&self, segments: &[SegmentName]) -> Option<SegmentName> {
        let in_conflict = |inventory: &Inventory, name| inventory.files.get(&WalName::Segment(name)).is_some_and(Item::is_conflict);
        segments.iter().copied().find(|name| self.stores.iter().any(|(_, inventory)| in_conflict(inventory, *name)))
    }

    /// The first of these segments that is one in a store and another in the next: which is which, no option can say.
    ///
    /// # Errors
    /// 65 where there is one.
    pub fn must_agree(&self, segments: &[SegmentName]) -> Result<(), Failure> {
        segments.iter().try_for_each(|segment| self.must_be_one(&WalName::Segment(*segment)))
    }

    fn must_be_one(&self, name: &WalName) -> Result<(), Failure> {
        let known = self.stores.iter().filter_map(|(store, inventory)| {
            let item = inventory.files.get(name).filter(|item| is_good(item))?;
            // Of one that is in conflict in itself, its claims do not tell what it holds.
            let [content] = item.contents()[..] else { return None };
            Some((content, store.location()))
        });
        let known: Vec<_> = known.collect();
        let other = |(content, _): &&(Content, &Location)| known.first().is_some_and(|(first, _)| first != content);
        match (known.first(), known.iter().find(other)) {
            (Some((_, one)), Some((_, other))) => Err(Failure::new(
                Exit::Damaged,
                format!("{name} is one in {one} and another in {other}: two servers archived under one name"),
                "name the stores of only one of them with --from; nothing was written",
            )),
            _ => Ok(()),
        }
    }

    /// The newest timeline whose history was claimed, and that is in no store.
    pub fn only_claimed_history(&self) -> Option<Timeline> {
        let of_history = |(name, item): (&WalName, &Item)| match name {
            WalName::History(timeline) if !item.claims.is_empty() => Some(*timeline),
            _ => None,
        };
        let claimed = self.stores.iter().flat_map(|(_, inventory)| inventory.files.iter().filter_map(of_history));
        claimed.filter(|timeline| !self.has(&WalName::History(*timeline))).max()
    }

    fn know(&mut self, location: &Location, system: Option<System>) -> Result<(), Failure> {
        match (&self.system, system) {
            (Some(known), Some(other)) if *known != other => Err(Failure::new(
                Exit::Damaged,
                format!("{location}: the cluster {} is system {other} there, and {known} in another store", self.cluster),
                "they are two clusters of one name: name the store of only one with --from; nothing was written",
            )),
            (None, other) => {
                self.system = other;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn count(&mut self, partly: bool) {
        for (_, inventory) in &self.stores {
            for (name, item) in &inventory.files {
                // One without a claim is there, and will be found to be of no use.
                if let (WalName::Segment(segment), false) = (name, item.objects.is_empty()) {
                    self.held.whole.insert(*segment);
                }
            }
        }
        let size = self.held.size.bytes();
        let streamed = self.stores.iter().filter(|_| partly).flat_map(|(_, inventory)| {
            let of = move |segment: &SegmentName| {
                let reached = u64::from(inventory.streamed(segment)).min(size);
                (*segment, reached, inventory.torn(segment).map_or(0, u64::from))
            };
            inventory.pieces.keys().map(of)
        });
        self.held.add_streamed(streamed);
    }

    fn read_histories(&mut self) {
        let mut names: BTreeMap<_, _> = BTreeMap::new();
        for (_, inventory) in &self.stores {
            names.extend(inventory.histories().map(|timeline| (timeline, WalName::History(timeline))));
        }
        let mut histories = Vec::new();
        for (timeline, name) in names {
            let read = self
                .must_be_one(&name)
                .and_then(|()| self.read(&name))
                .and_then(|text| Ok(text.map(|text| History::parse(timeline, &text)).transpose()?));
            match read {
                Ok(history) => histories.extend(history),
                Err(failure) => drop(self.damaged.insert(timeline, failure.within(name))),
            }
        }
        self.held.timelines = histories.into_iter().collect();
        for (one, other) in self.held.timelines.contradictions() {
            warn(TOOL, format!("the histories of timelines {} and {} contradict each other", one.0, other.0));
        }
    }
}

fn list(location: &Location, args: &StoreArgs, cluster: &str) -> Result<(Store, Inventory, Option<System>), Failure> {
    let store = Store::open_for_read(location, args)?;
    let shelf = Shelf::new(&store, cluster);
    let (inventory, system) = (shelf.inventory()?, shelf.system()?);
    Ok((store, inventory, system))
}

/// Whether a name has an object, and a claim that says what it holds: one without the other is never served.
fn is_good(item: &Item) -> bool {
    !item.objects.is_empty() && !item.claims.is_empty()
}
