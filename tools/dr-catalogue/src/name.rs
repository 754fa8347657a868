//! How are a backup's files named below a store? `<cluster>/<kind>/<name>` and a suffix (dr-store(5)).

use dr_pipe::record::{Kind, Manifest};

use crate::Error;

/// What the name of a signed file is followed by in that of its signature.
macro_rules! signature_of {
    ($suffix:literal) => {
        concat!($suffix, ".minisig")
    };
}

/// What the name of a signed file is followed by in that of its signature.
pub const MINISIG: &str = signature_of!("");
/// Suffix of a manifest.
pub const MANIFEST: &str = ".json";
/// Suffix of a manifest's signature.
pub const SIGNATURE: &str = signature_of!(".json");
/// Suffix of a tombstone.
pub const TOMBSTONE: &str = ".tombstone";
/// Suffix of a tombstone's signature.
pub const TOMBSTONE_SIGNATURE: &str = signature_of!(".tombstone");
/// The kinds of backup that lie in a catalogue, each in a folder of its own.
pub const KINDS: [Kind; 3] = [Kind::Dump, Kind::Base, Kind::Files];

/// The folder of a cluster's backups of one kind, with a slash at its end.
pub fn folder(cluster: &str, kind: Kind) -> String {
    format!("{cluster}/{kind}/")
}

/// The key of the manifest of backup `name`.
pub fn manifest_key(cluster: &str, kind: Kind, name: &str) -> String {
    format!("{}{name}{MANIFEST}", folder(cluster, kind))
}

/// The key of the signature of backup `name`.
pub fn signature_key(cluster: &str, kind: Kind, name: &str) -> String {
    format!("{}{name}{SIGNATURE}", folder(cluster, kind))
}

/// The key of the object of the backup that has this manifest.
pub fn object_key(manifest: &Manifest) -> String {
    format!("{}{}", folder(&manifest.cluster, manifest.kind), manifest.object)
}

/// The key of the tombstone of backup `name`.
pub fn tombstone_key(cluster: &str, kind: Kind, name: &str) -> String {
    format!("{}{name}{TOMBSTONE}", folder(cluster, kind))
}

/// The key of the signature of that tombstone.
pub fn tombstone_signature_key(cluster: &str, kind: Kind, name: &str) -> String {
    format!("{}{name}{TOMBSTONE_SIGNATURE}", folder(cluster, kind))
}

/// The key of the instructions that lie beside the backups of a cluster.
pub fn recovery_key(cluster: &str) -> String {
    format!("{cluster}/RECOVERY.txt")
}

/// Cluster, kind and name of a manifest's key; none for any other key.
pub fn of_manifest(key: &str) -> Option<(&str, Kind, &str)> {
    of_file(key, MANIFEST)
}

/// Cluster, kind and name of a tombstone's key; none for any other key.
pub fn of_tombstone(key: &str) -> Option<(&str, Kind, &str)> {
    of_file(key, TOMBSTONE)
}

/// Cluster, kind and name of the key of a backup's file with this suffix.
fn of_file<'k>(key: &'k str, suffix: &str) -> Option<(&'k str, Kind, &'k str)> {
    let mut parts = key.split('/');
    let (cluster, kind, file) = (parts.next()?, parts.next()?, parts.next()?);
    let kind = KINDS.into_iter().find(|known| known.to_string() == kind)?;
    match parts.next() {
        None => Some((cluster, kind, file.strip_suffix(suffix)?)),
        Some(_) => None,
    }
}

/// Checks that `file` is a file name as dr tools make them: 1 to 200 of `a-z A-Z 0-9 . _ -`, starting with a letter or
/// digit. So it can never leave its folder, in no store and under no shell.
///
/// # Errors
/// [`Error::Malformed`] for any other text.
pub fn is_safe(file: &str) -> Result<(), Error> {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    match file.bytes().next() {
        Some(first) if first.is_ascii_alphanumeric() && file.len() <= 200 && file.bytes().all(legal) => Ok(()),
        _ => Err(Error::Malformed(format!("{file:?} is not a file name that dr makes"))),
    }
}

/// Checks that `object` can be the object of backup `name`: a safe name that starts with it, and is none of the files of
/// its manifest or tombstone.
///
/// # Errors
/// [`Error::Malformed`] if not.
pub fn is_object_of(object: &str, name: &str) -> Result<(), Error> {
    is_safe(name)?;
    is_safe(object)?;
    let of_ours = |suffix| [MANIFEST, SIGNATURE, TOMBSTONE, TOMBSTONE_SIGNATURE].contains(&suffix);
    match object.strip_prefix(name) {
        Some(suffix) if suffix.is_empty() || suffix.starts_with('.') && !of_ours(suffix) => Ok(()),
        _ => Err(Error::Malformed(format!("{object:?} is not an object of backup {name}"))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_manifest_key_says_what_it_is_of() {
        assert_eq!(of_manifest(&manifest_key("main", Kind::Dump, "n")), Some(("main", Kind::Dump, "n")));
        for key in
            ["main/dump/n.json.minisig", "main/dump/n", "main/wal/n.json", "dump/n.json", "a/main/dump/n.json", "main/RECOVERY.txt"]
        {
            assert_eq!(of_manifest(key), None, "{key}");
        }
        let (tombstone, signature) = (tombstone_key("main", Kind::Dump, "n"), tombstone_signature_key("main", Kind::Dump, "n"));
        assert_eq!(of_tombstone(&tombstone), Some(("main", Kind::Dump, "n")));
        assert_eq!((of_manifest(&tombstone), of_manifest(&signature), of_tombstone(&signature)), (None, None, None));
    }

    #[test]
    fn a_name_can_never_leave_its_folder() {
        assert!(is_safe("main_dump_20260125T020000Z_7f3a.tar.zst.age").is_ok());
        for name in ["", "..", ".hidden", "-rf", "a/b", "a\\b", "a b", "a\n", "ä", "a\0", &"a".repeat(201)] {
            assert!(is_safe(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn an_object_belongs_to_one_backup() {
        assert!(is_object_of("n.tar.zst.age", "n").is_ok());
        for object in ["m.tar.zst", "na.tar", "n.json", "n.json.minisig", "n.tombstone", "n.tombstone.minisig", "../n.tar", "n./x"]
        {
            assert!(is_object_of(object, "n").is_err(), "{object}");
        }
    }
}
