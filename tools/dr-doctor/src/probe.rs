//! What does a store really enforce? It is tried with tiny objects, which are removed again as far as that is allowed.
//!
//! A server may take a condition, a digest or a lock, answer 200, and not care.

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};
use dr_pipe::record::State;
use dr_store::{Answer, Attempt, Error, Put, Store, Stored, UploadOptions};

use crate::args::Args;
use crate::findings::{Finding, Findings, Name};

/// What a probe finds out.
pub const NAMES: [Name; 9] = [
    Name::ReadBack,
    Name::CreateOnly,
    Name::Digests,
    Name::Listing,
    Name::Versions,
    Name::Lock,
    Name::Overwrite,
    Name::Delete,
    Name::Leftovers,
];

/// How long a lock of the probe holds: long enough to be tried, short enough that nothing is left for long.
const LOCKED: TimeDelta = TimeDelta::minutes(2);
/// Of probes that began longer ago than this, what was locked may be removed by now, and none is at work any more.
const LONG_AGO: TimeDelta = TimeDelta::hours(1);
/// How a probe's folder begins: when that was.
const BEGUN: &str = "%Y%m%dT%H%M%S";
/// How many objects are listed.
const LISTED: usize = 3;

/// One probe of one store.
struct Probe<'a> {
    store: &'a Store,
    /// `CLUSTER/probe/`.
    all: String,
    /// `CLUSTER/probe/RUN/`.
    folder: String,
    found: &'a mut Findings,
}

/// Tries out a store; whatever cannot be tried is said, too.
pub fn try_out(store: &Store, args: &Args, cluster: &str, found: &mut Findings) {
    let all = format!("{cluster}/probe/");
    let folder = format!("{all}{}Z-{}/", found.now().format(BEGUN), std::process::id());
    let mut probe = Probe { store, all, folder, found };
    if let Some(version) = probe.create() {
        probe.read_back();
        probe.create_only();
        probe.listing();
        if store.location().is_s3() {
            probe.digests();
            if args.lock_until.is_some() {
                probe.lock(args);
            }
            probe.overwrite(version.is_some());
            probe.delete();
        }
    }
    probe.leftovers();
}

impl Probe<'_> {
    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.folder)
    }

    fn note(&mut self, name: Name, finding: Finding) {
        self.found.note(name, self.store.location().to_string(), finding);
    }

    /// Makes an object as tools do; its version, where there are versions. None where even that fails.
    fn create(&mut self) -> Option<Option<String>> {
        match self.upload("first", &UploadOptions::default()) {
            Ok(stored) => Some(stored.version_id),
            Err(error) => {
                self.found.blocked(Name::Store, self.store.location().to_string(), Finding::failed(State::Critical, error));
                None
            }
        }
    }

    fn upload(&self, name: &str, options: &UploadOptions) -> Result<Stored, Error> {
        let mut upload = self.store.upload(&self.key(name), options)?;
        upload.write(&bytes(name))?;
        upload.finish()
    }

    fn read_back(&mut self) {
        let read = self.store.read(&self.key("first"), 1 << 20);
        let finding = match read {
            Ok(there) if there == bytes("first") => Finding::ok("what was stored comes back as it was"),
            Ok(there) => {
                let message =
                    format!("{} bytes were stored, and others come back, {} in number", bytes("first").len(), there.len());
                Finding::critical(message, "do not use this server: it alters what it stores")
            }
            Err(Error::Denied { .. }) => Finding::ok("this credential may not read: right for a host that only stores"),
            Err(error) => Finding::failed(State::Critical, error),
        };
        self.note(Name::ReadBack, finding);
    }

    fn create_only(&mut self) {
        let hint = "this server ignores If-None-Match: use it only with versions kept, or use another one";
        let broken = |how: &str| Finding::critical(format!("{how} under a name that was taken: backups can be overwritten"), hint);
        let mut findings = vec![match self.store.put(&self.key("first"), b"second bytes of a probe\n") {
            Ok(Put::Created | Put::Identical) => broken("a second object was taken"),
            Err(Error::Exists { .. }) => Finding::ok("a name that is taken is refused"),
            Err(error) => Finding::failed(State::Unknown, error),
        }];
        if self.store.location().is_s3() {
            findings.push(match self.store.attempt(&self.key("first"), &Attempt::CreateInParts) {
                Ok(Answer::Done) => broken("an upload in parts was taken"),
                Ok(Answer::Refused(_)) => Finding::ok("also by an upload in parts"),
                Ok(Answer::Denied(why) | Answer::Unsupported(why)) => {
                    let message = format!("uploads in parts are not possible, and no backup of more than 16 MiB with them: {why}");
                    Finding::critical(
                        message,
                        "give the credential s3:PutObject and s3:AbortMultipartUpload, or use another server",
                    )
                }
                Err(error) => Finding::failed(State::Unknown, error),
            });
        }
        for finding in findings {
            self.note(Name::CreateOnly, finding);
        }
    }

    fn listing(&mut self) {
        let names: Vec<_> = (0..LISTED).map(|number| format!("listed-{number}")).collect();
        for name in &names {
            if let Err(error) = self.store.put(&self.key(name), &bytes(name)) {
                return self.note(Name::Listing, Finding::failed(State::Critical, error));
            }
        }
        let wanted: Vec<_> = names.iter().map(|name| self.key(name)).collect();
        let keys = |listed: Vec<dr_store::Listed>| listed.into_iter().map(|object| object.key).collect::<Vec<_>>();
        let all = self.store.list(&self.key("listed-")).map(keys);
        let after = self.store.list_after(&self.key("listed-"), &wanted[0]).map(keys);
        let finding = match (all, after) {
            (Ok(all), Ok(after)) if all == wanted && after == wanted[1..] => {
                Finding::ok("a listing shows at once all that is there")
            }
            (Ok(all), Ok(after)) => {
                let message =
                    format!("of {LISTED} objects just stored a listing shows {}, and {} after the first", all.len(), after.len());
                Finding::critical(message, "do not use this server: backups would seem to be missing")
            }
            (Err(Error::Denied { .. }), _) => Finding::ok("this credential may not list: right for a host that only stores"),
            (Err(error), _) | (_, Err(error)) => Finding::failed(State::Critical, error),
        };
        self.note(Name::Listing, finding);
    }

    fn digests(&mut self) {
        let finding = match self.store.attempt(&self.key("digest"), &Attempt::WrongDigest) {
            Ok(Answer::Refused(_)) => Finding::ok("bytes that are not those of their digest are refused"),
            Ok(Answer::Done) => Finding::warning(
                "bytes with the digest of others were taken: what is altered on its way is not noticed",
                "use https only, and dr-verify soon after each backup",
            ),
            Ok(Answer::Denied(why) | Answer::Unsupported(why)) => {
                Finding::unknown(format!("it could not be tried: {why}"), "try it with a credential that may store")
            }
            Err(error) => Finding::failed(State::Unknown, error),
        };
        self.note(Name::Digests, finding);
    }

    /// Locks an object, and tries to delete it all the same.
    fn lock(&mut self, args: &Args) {
        let until = Utc::now() + LOCKED;
        let options = UploadOptions { lock_until: Some(until), lock_mode: args.lock_mode, ..UploadOptions::default() };
        let stored = match self.upload("locked", &options) {
            Ok(stored) => stored,
            Err(error) => return self.note(Name::Lock, Finding::failed(State::Critical, error)),
        };
        let attempt = stored.version_id.clone().map_or(Attempt::Delete, Attempt::DeleteVersion);
        let none = "use a bucket that was made with object lock, on a server that has it";
        let finding = match (self.store.attempt(&self.key("locked"), &attempt), stored.locked_until) {
            (Ok(Answer::Done), _) => Finding::critical("a locked object was deleted: the lock is taken, and not enforced", none),
            (Ok(_), Some(_)) => Finding::ok("a locked object cannot be deleted, and says until when it is locked"),
            (Ok(_), None) => {
                let why = stored.warnings.join("; ");
                Finding::warning(
                    format!("a lock is taken, and cannot be proved from here: {why}"),
                    "try it once with a credential that may read and delete, from another host",
                )
            }
            (Err(error), _) => Finding::failed(State::Unknown, error),
        };
        self.note(Name::Lock, finding);
    }

    /// Tries to write over an object, and looks whether it is there still. `named` says whether the store names versions, which is
    /// not to keep them.
    fn overwrite(&mut self, named: bool) {
        let policy = "have the bucket's policy ask for s3:if-none-match on every s3:PutObject";
        let tried = self.store.attempt(&self.key("first"), &Attempt::Overwrite);
        let kept = match tried {
            Ok(Answer::Done) => self.store.hidden(&self.folder).ok().map(|hidden| !hidden.is_empty()),
            _ => None,
        };
        let finding = match tried {
            Ok(Answer::Done) if kept.unwrap_or(named) => {
                Finding::warning("this credential can write over a backup, which only its older version survives", policy)
            }
            Ok(Answer::Done) => Finding::warning("this credential can write over a backup, and destroy it so", policy),
            Ok(_) => Finding::ok("this credential cannot write over what is stored"),
            Err(error) => Finding::failed(State::Unknown, error),
        };
        self.note(Name::Overwrite, finding);
        self.note(Name::Versions, versions(named, kept));
    }

    /// Tries to delete an object, and where that only hides it, to destroy it.
    fn delete(&mut self) {
        let rights = "take s3:DeleteObject and s3:DeleteObjectVersion from this host: dr-delete runs elsewhere";
        let victim = self.upload("victim", &UploadOptions::default());
        let version = match victim {
            Ok(stored) => stored.version_id,
            Err(error) => return self.note(Name::Delete, Finding::failed(State::Unknown, error)),
        };
        let key = self.key("victim");
        let destroyed = |versioned: bool| {
            let how = if versioned { ", with all versions" } else { "" };
            Finding::warning(format!("this credential can delete backups for good{how}: so can whoever breaks in here"), rights)
        };
        let finding = match version {
            Some(version) => match self.store.attempt(&key, &Attempt::DeleteVersion(version)) {
                Ok(Answer::Done) => destroyed(true),
                Ok(_) => self.hide(&key, rights),
                Err(error) => Finding::failed(State::Unknown, error),
            },
            None => match self.store.attempt(&key, &Attempt::Delete) {
                Ok(Answer::Done) => destroyed(false),
                Ok(_) => Finding::ok("this credential cannot delete what is stored"),
                Err(error) => Finding::failed(State::Unknown, error),
            },
        };
        self.note(Name::Delete, finding);
    }

    fn hide(&self, key: &str, rights: &str) -> Finding {
        match self.store.attempt(key, &Attempt::Delete) {
            Ok(Answer::Done) => {
                Finding::warning("this credential can hide backups by delete markers, which --as-of reads past", rights)
            }
            Ok(_) => Finding::ok("this credential can neither delete nor hide what is stored"),
            Err(error) => Finding::failed(State::Unknown, error),
        }
    }

    fn leftovers(&mut self) {
        for folder in self.earlier() {
            // What stays of those, each of them has said.
            if let Err(error) = self.store.clear_probe(&folder) {
                self.note(Name::Leftovers, Finding::failed(State::Warning, error));
            }
        }
        let finding = match self.store.clear_probe(&self.folder) {
            Ok(left) if left.is_empty() => Finding::ok("nothing is left of the probe"),
            Ok(left) => {
                let message =
                    format!("{} of the probe stay, as they are locked or may not be deleted: {}", left.len(), left.join(", "));
                Finding::bad(State::Ok, message, "whoever may delete can remove them, or a lifecycle rule for this prefix")
            }
            Err(error) => Finding::failed(State::Warning, error),
        };
        self.note(Name::Leftovers, finding);
    }

    /// The folders of probes that are over for long, as far as they can be listed.
    fn earlier(&self) -> Vec<String> {
        let Ok(listed) = self.store.list(&self.all) else { return Vec::new() };
        let runs = listed.iter().filter_map(|object| object.key.strip_prefix(&self.all)?.split_once('/'));
        let mut over: Vec<_> =
            runs.map(|(run, _)| run).filter(|run| began(run).is_some_and(|at| at + LONG_AGO < self.found.now())).collect();
        over.dedup();
        over.into_iter().map(|run| format!("{}{run}/", self.all)).collect()
    }
}

/// Judges whether a store keeps versions, by what it names and by what was there (if that could be seen).
fn versions(named: bool, kept: Option<bool>) -> Finding {
    let hint = "have the bucket keep versions (put-bucket-versioning), if the server can, before an intruder comes";
    match (named, kept) {
        (_, Some(true)) => Finding::ok("versions are kept: what is overwritten or deleted can be had back with --as-of"),
        (true, Some(false)) => Finding::warning("it names versions and keeps none: what is overwritten or deleted is gone", hint),
        (true, None) => Finding::ok("it names versions; whether it keeps them could not be tried from here"),
        (false, _) => Finding::warning("no versions are kept: what is overwritten or deleted is gone", hint),
    }
}

/// When the probe of this folder began.
fn began(run: &str) -> Option<DateTime<Utc>> {
    let (time, _) = run.split_once('Z')?;
    NaiveDateTime::parse_from_str(time, BEGUN).ok().map(|time| time.and_utc())
}

/// The bytes of an object of the probe.
fn bytes(name: &str) -> Vec<u8> {
    format!("dr-doctor tries what this store enforces: {name}\n").into_bytes()
}
