//! Is a directory a store, in one, or around one? Then a recovery there would take the place of the backups it is made from.

use std::fs;
use std::path::{Component, Path, PathBuf};

use dr_pipe::{Exit, Failure};
use dr_store::{Location, MARKER};

/// Refuses a directory that is a store, lies in one, or has one in it: one that is read from, or another.
///
/// # Errors
/// 80 where it does.
pub fn keep_away(into: &Path, from: &[Location]) -> Result<(), Failure> {
    let (name, into) = (into.display(), resolved(into));
    let named: Vec<_> = from.iter().filter(|from| !from.is_s3()).map(|from| PathBuf::from(from.to_string())).collect();
    let stores = named.iter().filter_map(|path| Some((path.clone(), fs::canonicalize(path).ok()?)));
    for (named, store) in stores.chain(marked(&into).into_iter().map(|path| (path.clone(), path))) {
        let how = match () {
            () if into == store => "it is a store of backups".into(),
            () if into.starts_with(&store) => format!("it lies in the store {}", named.display()),
            () if store.starts_with(&into) || leads_through(&named, &into) => format!("the store {} lies in it", named.display()),
            () => continue,
        };
        let hint = "name a place outside every store with --into: backups and WAL stay where they are; nothing was written";
        return Err(Failure::new(Exit::Refused, format!("{name}: {how}"), hint));
    }
    Ok(())
}

/// Stores around a directory, itself, and those that lie just below it, by their markers.
fn marked(into: &Path) -> Vec<PathBuf> {
    let below = fs::read_dir(into).into_iter().flatten().flatten().filter_map(|entry| fs::canonicalize(entry.path()).ok());
    let own = below.filter(|path| path.starts_with(into));
    into.ancestors().map(Path::to_owned).chain(own).filter(|path| path.join(MARKER).exists()).collect()
}

/// Whether a path is gone once `directory` is, wherever it leads to in the end.
fn leads_through(path: &Path, directory: &Path) -> bool {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.ancestors().any(|above| fs::canonicalize(above).is_ok_and(|above| above == directory))
}

/// An absolute path without links, whether or not its end is there.
fn resolved(path: &Path) -> PathBuf {
    for there in path.ancestors() {
        if let (Ok(mut resolved), Ok(rest)) = (fs::canonicalize(there), path.strip_prefix(there)) {
            for part in rest.components() {
                // What is not there is no link: it is left as it was entered.
                match part {
                    Component::ParentDir => _ = resolved.pop(),
                    part => resolved.push(part),
                }
            }
            return resolved;
        }
    }
    path.to_owned()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn f79_a_store_is_known_by_whatever_way_one_comes_to_it() {
        let scratch = tempfile::tempdir().unwrap();
        let at = |name: &str| scratch.path().join(name);
        for store in ["named", "around/named", "marked", "below/marked"] {
            fs::create_dir_all(at(store)).unwrap();
        }
        fs::create_dir(at("empty")).unwrap();
        for marker in ["marked", "below/marked"] {
            fs::write(at(marker).join(MARKER), "{}").unwrap();
        }
        symlink(at("named"), at("link")).unwrap();
        fs::create_dir_all(at("through/links")).unwrap();
        symlink(at("named"), at("through/links/store")).unwrap();
        let from: Vec<Location> = ["named", "around/named", "through/links/store", "nowhere"]
            .iter()
            .map(|name| at(name).display().to_string().parse().unwrap())
            .collect();
        let refused = |name: &str| keep_away(&at(name), &from).err().map(|failure| (failure.exit, failure.message));
        for (into, why) in [
            ("named", "it is a store"),
            ("link", "it is a store"),
            ("new/../named", "it is a store"),
            ("link/new/x", "it lies in"),
            ("around", "lies in it"),
            ("through", "lies in it"),
            ("", "lies in it"),
            ("marked", "it is a store"),
            ("marked/new", "it lies in"),
            ("below", "lies in it"),
        ] {
            let (exit, message) = refused(into).unwrap_or_else(|| panic!("{into} is not refused"));
            assert!(exit == Exit::Refused && message.contains(why), "{into}: {message}");
        }
        for into in ["empty", "new", "new/x", "named_2", "marked.old"] {
            assert_eq!(refused(into), None, "{into}");
        }
    }
}
