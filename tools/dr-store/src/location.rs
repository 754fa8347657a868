//! How is a store named? As a directory, or as `s3://bucket/prefix`.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use dr_pipe::{Exit, Failure};

/// A store as it was named; displays exactly so.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Location {
    named: String,
    place: Place,
}

/// What a name means.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Directory(PathBuf),
    /// `prefix` has no slash at either end, and may be empty.
    S3 {
        bucket: String,
        prefix: String,
    },
}

impl Location {
    /// Whether it is in S3, where uploads can have a storage class, tags and a lock.
    pub fn is_s3(&self) -> bool {
        matches!(self.place, Place::S3 { .. })
    }

    pub(crate) fn place(&self) -> &Place {
        &self.place
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.named)
    }
}

impl FromStr for Location {
    type Err = String;

    fn from_str(named: &str) -> Result<Self, String> {
        // As in a list with blanks after its commas: nobody means a directory called ` s3:`.
        if named.trim() != named {
            return Err(format!("{named:?} begins or ends with a blank"));
        }
        let place = match named.strip_prefix("s3://") {
            Some(rest) => s3_place(named, rest)?,
            None => directory_place(named)?,
        };
        Ok(Location { named: named.into(), place })
    }
}

fn s3_place(named: &str, rest: &str) -> Result<Place, String> {
    let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || b".-_".contains(&byte);
    if bucket.is_empty() || !bucket.bytes().all(legal) {
        return Err(format!("{named} does not name a bucket: write s3://BUCKET or s3://BUCKET/PREFIX"));
    }
    let prefix = prefix.trim_end_matches('/');
    if prefix.split('/').any(|part| part.is_empty() || part == "." || part == "..") && !prefix.is_empty() {
        return Err(format!("{named}: the prefix has an empty, . or .. part"));
    }
    Ok(Place::S3 { bucket: bucket.into(), prefix: prefix.into() })
}

fn directory_place(named: &str) -> Result<Place, String> {
    match named {
        "" => Err("the name of a store is empty".into()),
        _ if named.contains("://") => Err(format!("{named}: a store is a directory or s3://BUCKET/PREFIX")),
        _ => Ok(Place::Directory(named.into())),
    }
}

/// In how many of the stores `to` bytes must be durable: in `require` of them (`--require`), else in all.
///
/// # Errors
/// 64 for a number that cannot be met, or one store named twice: what it holds would be counted twice.
pub fn required(to: &[Location], require: Option<u32>) -> Result<u32, Failure> {
    let stores = u32::try_from(to.len()).unwrap_or(u32::MAX);
    for (n, store) in to.iter().enumerate() {
        if to[..n].iter().any(|earlier| earlier.to_string() == store.to_string()) {
            return Err(Failure::new(Exit::Usage, format!("--to {store} is given twice"), "name every store once"));
        }
    }
    match require {
        Some(n) if n == 0 || n > stores => {
            let message = format!("--require {n} with {stores} stores");
            Err(Failure::new(Exit::Usage, message, "give a number from 1 to the number of stores"))
        }
        given => Ok(given.unwrap_or(stores)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_location_displays_as_it_was_named_and_means_what_it_says() {
        for (named, bucket, prefix) in [("s3://b", "b", ""), ("s3://b/", "b", ""), ("s3://b/p/q/", "b", "p/q")] {
            let location: Location = named.parse().unwrap();
            assert_eq!(location.to_string(), named);
            assert_eq!(location.place(), &Place::S3 { bucket: bucket.into(), prefix: prefix.into() });
        }
        let location: Location = "var/backups".parse().unwrap();
        assert_eq!(location.place(), &Place::Directory("var/backups".into()));
    }

    #[test]
    fn a_name_that_is_no_store_is_refused() {
        for named in ["", "s3://", "s3:///p", "s3://b//p", "s3://b/../p", "https://b/p", "s3://b b", " s3://b", "b\n"] {
            assert!(named.parse::<Location>().is_err(), "{named}");
        }
    }
}
