//! The drills of a cluster: `<cluster>/drill/<name>.json`, its signature, and the report for people. Signed as manifests are.

use dr_pipe::args::cluster_name;
use dr_pipe::record::{Drill, Record};
use dr_pipe::{Failure, workers};
use dr_store::{Listed, Store};

use crate::signature::{self, Subject};
use crate::{Error, Keyring, PublicKey, SigningKey, name};

/// Largest record of a drill that is read, in bytes.
const MAX_BYTES: u64 = 2 << 20;
/// Suffix of the report for people.
const REPORT: &str = ".md";
/// How many records are read at once: enough to hide the latency of S3.
const READERS: usize = 16;

/// The folder of a cluster's drills, with a slash at its end.
pub fn folder(cluster: &str) -> String {
    format!("{cluster}/drill/")
}

/// The bytes that are signed and published: the record as pretty-printed JSON, and a newline at its end.
pub fn to_bytes(drill: &Drill) -> Vec<u8> {
    let record = Record::Drill(Box::new(drill.clone()));
    let mut bytes = serde_json::to_vec_pretty(&record).expect("a drill has no map keys that are not strings");
    bytes.push(b'\n');
    bytes
}

/// Stores a drill: the report, the signature, and last the record, which makes it exist. All create-only; what is there
/// already with the same content counts as written, so that a second run completes the first. Gives warnings.
///
/// # Errors
/// 65 where the record's name or cluster is none; 73 where another drill has its name; else as the store says.
pub fn publish_drill(store: &Store, drill: &Drill, report: &str, key: &SigningKey) -> Result<Vec<String>, Failure> {
    name::is_safe(&drill.name)?;
    cluster_name(&drill.cluster).map_err(|why| Error::Malformed(format!("{:?}: {why}", drill.cluster)))?;
    let bytes = to_bytes(drill);
    let prefix = format!("{}{}", folder(&drill.cluster), drill.name);
    let signature = signature::sign_text(key, &bytes, &format!("{}{}", drill.name, name::MANIFEST), &comment(&drill.name));
    let mut warnings = store.warnings().to_vec();
    for (suffix, content) in [(REPORT, report.as_bytes()), (name::SIGNATURE, &signature)] {
        match store.put_ahead(&format!("{prefix}{suffix}"), content) {
            Ok(_) => {}
            // A credential that may only create cannot tell. If the record is not there either, this is our own earlier run.
            Err(error @ dr_store::Error::Exists { comparable: false, .. }) => warnings.push(error.to_string()),
            Err(error) => return Err(error.into()),
        }
    }
    store.put(&format!("{prefix}{}", name::MANIFEST), &bytes)?;
    Ok(warnings)
}

/// The drills of one cluster in a store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Drills {
    /// Those whose signatures are good, oldest first.
    pub drills: Vec<Drill>,
    /// What is wrong with others, which do not count.
    pub warnings: Vec<String>,
}

/// Reads the drills of `cluster`, or the `newest` so many of them. Only those count that one of the trusted keys has signed; where
/// no key is known, none does.
///
/// # Errors
/// Where the store fails, or the cluster's public key cannot be read. What is wrong with a single drill is a warning.
pub fn read_drills(store: &Store, cluster: &str, keyring: &Keyring, newest: usize) -> Result<Drills, Error> {
    let folder = folder(cluster);
    let listed = store.list(&folder).map_err(Failure::from)?;
    let of_record = |Listed { key, .. }: &Listed| {
        let name = key.strip_prefix(&folder)?.strip_suffix(name::MANIFEST)?;
        name::is_safe(name).is_ok().then(|| name.to_owned())
    };
    // Names begin with the cluster and the time: their order is that of the drills.
    let names: Vec<_> = listed.iter().filter_map(of_record).collect();
    let names = &names[names.len().saturating_sub(newest)..];
    let trusted = keyring.of(cluster)?;
    if trusted.is_empty() {
        let warning = format!("{} drills are passed over: no public key of cluster {cluster} is known", names.len());
        return Ok(Drills { drills: Vec::new(), warnings: if names.is_empty() { Vec::new() } else { vec![warning] } });
    }
    let shelf = Shelf { store, cluster, folder: &folder, trusted: &trusted };
    let mut drills = Drills::default();
    for read in workers::map(READERS, names, |name| shelf.read(name)) {
        match read {
            Ok(drill) => drills.drills.push(drill),
            Err(Error::Failed(failure)) => return Err(failure.into()),
            Err(error) => drills.warnings.push(format!("{}: {error}: this drill does not count", store.location())),
        }
    }
    drills.drills.sort_by(|a, b| (a.finished_at, &a.name).cmp(&(b.finished_at, &b.name)));
    Ok(drills)
}

/// Where drills are read, and by whom they must be signed.
struct Shelf<'a> {
    store: &'a Store,
    cluster: &'a str,
    folder: &'a str,
    trusted: &'a [PublicKey],
}

impl Shelf<'_> {
    /// Reads one, and looks at its signature before any parser sees it.
    fn read(&self, name: &str) -> Result<Drill, Error> {
        let (key, signature_key) =
            (format!("{}{name}{}", self.folder, name::MANIFEST), format!("{}{name}{}", self.folder, name::SIGNATURE));
        let bad = |why: String| Error::BadManifest { manifest: key.clone(), why };
        let read = |key: &str, limit| match self.store.read(key, limit) {
            Err(error @ (dr_store::Error::Damaged { .. } | dr_store::Error::Absent { .. })) => Err(bad(error.to_string())),
            read => read.map_err(|error| Failure::from(error).into()),
        };
        let signature = read(&signature_key, signature::MAX_BYTES)?;
        let bytes = read(&key, MAX_BYTES)?;
        let subject = Subject { what: "drill", key: &key, comment: &comment(name) };
        signature::verify_text(self.trusted, subject, &bytes, &signature)?;
        let record = serde_json::from_slice(&bytes).map_err(|error| bad(format!("no record of a drill: {error}")))?;
        match record {
            Record::Drill(drill) if drill.cluster == self.cluster && drill.name == *name => Ok(*drill),
            _ => Err(bad("it is not the record of that drill".into())),
        }
    }
}

/// What the signature of a drill says it is for.
fn comment(name: &str) -> String {
    format!("dr drill {name}")
}
