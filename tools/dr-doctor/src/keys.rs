//! Are the keys where they should be, only there, and nobody else's to read?

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use dr_catalogue::{PublicKeyArgs, SigningKeyArgs};
use dr_crypt::{Identities, Recipients};
use dr_pipe::Failure;
use dr_pipe::record::State;

use crate::args::{Args, Role};
use crate::examine::TOOL;
use crate::findings::{Finding, Findings, Name};

/// How a line with an age identity begins.
const SECRET: &str = "AGE-SECRET-KEY-";
/// A larger file is no key.
const MAX_KEY_BYTES: u64 = 64 << 10;

/// Looks at every key that this host has, or should have, by what it does.
pub fn check(args: &Args, role: Role, cluster: &str, found: &mut Findings) {
    if role.backs_up {
        found.note(Name::Recipients, None, recipients(args));
        signing_key(args, cluster, found);
    }
    if found.want(&[Name::Identity]) {
        identity(args, role, found);
    }
    if role.reads {
        found.note(Name::PublicKey, None, public_key(args, cluster));
    }
    if found.want(&[Name::Credentials]) {
        credentials(args, found);
    }
}

fn recipients(args: &Args) -> Finding {
    match Recipients::read(&args.archive.recipients, TOOL) {
        Err(dr_crypt::Error::NoRecipient) => {
            let hint = "name their file with -R or DR_RECIPIENTS; age-keygen -y prints the recipient of an identity";
            Finding::critical("nobody is named who can read the backups", hint)
        }
        Err(error) => Finding::failed(State::Critical, error),
        Ok(recipients) if recipients.given().len() < 2 => {
            let hint = "add a second one whose identity lies in a safe: age-keygen -o safe.txt";
            Finding::warning("only one identity can read the backups: who loses it has lost them all", hint)
        }
        Ok(recipients) => Finding::ok(format!("{} can read the backups", recipients.given().len())),
    }
}

/// The key that signs, and whether those who check signatures by the public key beside it would take them.
fn signing_key(args: &Args, cluster: &str, found: &mut Findings) {
    let given = args.archive.signing_key.as_ref().map(|path| path.display().to_string());
    let finding = match (SigningKeyArgs { signing_key: given }.load(cluster), trusted(args, cluster)) {
        (Err(error), _) => Finding::failed(State::Critical, error),
        (Ok(_), Err(failure)) => Finding::failed(State::Critical, failure),
        (Ok(key), Ok(trusted)) if trusted.is_empty() => {
            let hint = "name it with --public-key or DR_PUBLIC_KEY, and bring a copy to where backups are restored";
            Finding::warning(format!("it signs as {}, and no public key is named to check that with", key.public_key()), hint)
        }
        (Ok(key), Ok(trusted)) if !trusted.contains(&key.public_key()) => {
            let message = format!("it signs as {}, which is none of the keys that are trusted", key.public_key());
            Finding::critical(message, "take the .pub file that minisign made with it, or name both with DR_PUBLIC_KEY")
        }
        (Ok(key), Ok(_)) => Finding::ok(format!("it signs as {}, which is trusted", key.public_key())),
    };
    found.note(Name::SigningKey, None, finding);
}

fn trusted(args: &Args, cluster: &str) -> Result<Vec<dr_catalogue::PublicKey>, Failure> {
    let keyring = PublicKeyArgs { public_key: args.public_key.clone() }.keyring()?;
    Ok(keyring.of(cluster)?)
}

fn public_key(args: &Args, cluster: &str) -> Finding {
    match trusted(args, cluster) {
        Err(failure) => Finding::failed(State::Critical, failure),
        Ok(keys) if keys.is_empty() => {
            let hint = "bring CLUSTER.pub from the host that makes the backups, and name it with DR_PUBLIC_KEY";
            Finding::warning("no public key: signatures are not checked, and anybody may have made what is restored", hint)
        }
        Ok(keys) => Finding::ok(format!(
            "signatures are checked with {}",
            keys.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
        )),
    }
}

/// Where backups are restored it must work; where they are made it should not be.
fn identity(args: &Args, role: Role, found: &mut Findings) {
    for path in &args.identities.identities {
        let one = dr_crypt::IdentityArgs { identities: vec![path.clone()] };
        let finding = match Identities::read(&one, TOOL) {
            Err(error) => Finding::failed(State::Critical, error),
            Ok(_) if role.backs_up => on_this_host(),
            Ok(_) => Finding::ok("it can be read, and by nobody else"),
        };
        found.note(Name::Identity, path.clone(), finding);
    }
    if !role.backs_up {
        return;
    }
    let named = |path: &PathBuf| args.identities.identities.iter().any(|name| Path::new(name) == path);
    let lying: Vec<_> = directories(args).iter().flat_map(|directory| secrets_in(directory)).filter(|path| !named(path)).collect();
    if lying.is_empty() && args.identities.identities.is_empty() {
        found.note(Name::Identity, None, Finding::ok("none on this host: whoever breaks in cannot read what was stored"));
    }
    for path in lying {
        found.note(Name::Identity, path.display().to_string(), on_this_host());
    }
}

fn on_this_host() -> Finding {
    let message = "it decrypts, and lies on the host that makes the backups: whoever breaks in reads all of them";
    Finding::warning(message, "keep it where backups are restored, and in a safe; then remove it here: shred -u FILE")
}

/// Where the keys of a cluster lie.
fn directories(args: &Args) -> Vec<PathBuf> {
    let named = args.archive.recipients.recipients_files.iter().chain(&args.archive.env_file).chain(&args.archive.signing_key);
    let mut all: Vec<_> = named.filter_map(|file| file.parent()).map(Path::to_path_buf).collect();
    all.push("/etc/dr".into());
    all.retain(|directory| directory.is_absolute());
    all.sort();
    all.dedup();
    all
}

/// Files of a directory that hold an age identity. What may not be read, an intruder in our place may not read either.
fn secrets_in(directory: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let small = |path: &PathBuf| path.metadata().is_ok_and(|metadata| metadata.is_file() && metadata.len() <= MAX_KEY_BYTES);
    let holds = |path: &PathBuf| {
        std::fs::read_to_string(path).is_ok_and(|text| text.lines().any(|line| line.trim_start().starts_with(SECRET)))
    };
    let mut found: Vec<_> = entries.flatten().map(|entry| entry.path()).filter(small).filter(holds).collect();
    found.sort();
    found
}

/// The files of others' secrets: access keys where a store is a bucket, passwords of the server.
fn credentials(args: &Args, found: &mut Findings) {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = variable("HOME");
    let at_home = |name: &str| home.as_ref().map(|home| home.join(name));
    let s3 = args.archive.to.iter().map(String::as_str).any(|store| store.starts_with("s3://"))
        || args.from.from.iter().any(dr_store::Location::is_s3);
    let aws = s3.then(|| variable("AWS_SHARED_CREDENTIALS_FILE").or_else(|| at_home(".aws/credentials"))).flatten();
    for file in [aws, variable("PGPASSFILE").or_else(|| at_home(".pgpass"))].into_iter().flatten() {
        let Ok(metadata) = file.metadata() else { continue };
        if !metadata.is_file() {
            continue;
        }
        let mode = metadata.mode() & 0o7777;
        let finding = if mode & 0o077 != 0 {
            Finding::critical(format!("its mode {mode:04o} lets others read it"), format!("chmod 600 {}", file.display()))
        } else {
            Finding::ok("nobody else can read it")
        };
        found.note(Name::Credentials, file.display().to_string(), finding);
    }
}
