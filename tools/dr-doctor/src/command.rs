//! What is the archive_command of this host?

use std::path::{Path, PathBuf, absolute};

use dr_crypt::RecipientArgs;
use dr_pipe::{Exit, Failure};

use crate::args::ArchiveArgs;

/// The program that archives.
const PUSH: &str = "dr-wal-push";

/// The command as PostgreSQL is to have it: words quoted for the shell, `%` doubled, all paths absolute, because the server runs it
/// in its data directory.
///
/// # Errors
/// 64 if the cluster, or where to store, was not said.
pub fn archive_command(args: &ArchiveArgs, push: &Path) -> Result<String, Failure> {
    let usage = |message| Failure::new(Exit::Usage, message, "see `dr-doctor --help` or `man dr-doctor`; nothing was checked");
    let cluster = args.cluster.as_deref().ok_or_else(|| usage("--archive-settings needs --cluster"))?;
    if let Some(file) = &args.env_file {
        let (file, push) = (word(&full(file)?), word(&push.display().to_string()));
        return Ok(format!("set -a; . {file}; exec {push} --cluster {} %p", word(cluster)));
    }
    if args.to.is_empty() {
        return Err(usage("--archive-settings needs --to, or --env-file"));
    }
    let RecipientArgs { recipients, recipients_files } = &args.recipients;
    if recipients.is_empty() && recipients_files.is_empty() {
        return Err(usage("--archive-settings needs --recipients-file, or --env-file"));
    }
    let mut words = vec![push.display().to_string(), "--cluster".into(), cluster.into()];
    for store in &args.to {
        words.extend(["--to".into(), if store.contains("://") { store.clone() } else { full(Path::new(store))? }]);
    }
    for recipient in recipients {
        words.extend(["--recipient".into(), recipient.clone()]);
    }
    for file in recipients_files {
        words.extend(["--recipients-file".into(), full(file)?]);
    }
    if let Some(file) = &args.signing_key {
        words.extend(["--signing-key".into(), full(file)?]);
    }
    Ok(words.iter().map(|text| word(text)).chain(["%p".into()]).collect::<Vec<_>>().join(" "))
}

/// The files of the command that are not there, or may not be looked at, in words.
pub fn missing(args: &ArchiveArgs) -> Vec<String> {
    let files = args.env_file.iter().chain(&args.recipients.recipients_files).chain(&args.signing_key);
    let gone = files.filter(|file| !file.is_file()).filter_map(|file| full(file).ok());
    gone.map(|file| format!("there is no file {file}, which archive_command names")).collect()
}

/// Where dr-wal-push is: beside this program.
///
/// # Errors
/// 74 if the system does not say where this program is.
pub fn push() -> Result<PathBuf, Failure> {
    let own = std::env::current_exe().map_err(|error| Failure::io("this program", &error))?;
    Ok(own.with_file_name(PUSH))
}

fn full(path: &Path) -> Result<String, Failure> {
    let path = absolute(path).map_err(|error| Failure::io(path.display(), &error))?;
    Ok(path.display().to_string())
}

/// A word of a shell's command line, with `%` doubled for PostgreSQL.
fn word(text: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_@%+=:,./-".contains(&byte);
    let quoted =
        if !text.is_empty() && text.bytes().all(plain) { text.into() } else { format!("'{}'", text.replace('\'', r"'\''")) };
    quoted.replace('%', "%%")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> RecipientArgs {
        RecipientArgs { recipients: Vec::new(), recipients_files: vec![name.into()] }
    }

    fn args() -> ArchiveArgs {
        ArchiveArgs {
            to: vec!["/var/backups/it's 5 %".into(), "s3://acme-dr/pg".into()],
            cluster: Some("main".into()),
            recipients: file("/etc/dr/main.recipients"),
            signing_key: Some("/etc/dr/main.key".into()),
            env_file: None,
        }
    }

    #[test]
    fn words_are_quoted_for_the_shell_and_percent_signs_for_postgresql() {
        assert_eq!(
            archive_command(&args(), Path::new("/usr/local/bin/dr-wal-push")).unwrap(),
            r"/usr/local/bin/dr-wal-push --cluster main --to '/var/backups/it'\''s 5 %%' --to s3://acme-dr/pg --recipients-file /etc/dr/main.recipients --signing-key /etc/dr/main.key %p"
        );
    }

    #[test]
    fn an_environment_file_says_all_but_the_cluster() {
        let args = ArchiveArgs { env_file: Some("/etc/dr/main.env".into()), ..args() };
        assert_eq!(
            archive_command(&args, Path::new("/opt/d r/dr-wal-push")).unwrap(),
            "set -a; . /etc/dr/main.env; exec '/opt/d r/dr-wal-push' --cluster main %p"
        );
    }

    #[test]
    fn paths_are_absolute_as_the_server_runs_elsewhere() {
        let args = ArchiveArgs { to: vec!["store".into()], recipients: file("r"), signing_key: None, ..args() };
        let here = std::env::current_dir().unwrap();
        let (command, here) = (archive_command(&args, Path::new("/p")).unwrap(), here.display());
        assert_eq!(command, format!("/p --cluster main --to {here}/store --recipients-file {here}/r %p"));
    }

    #[test]
    fn without_a_cluster_a_store_or_recipients_there_is_no_command() {
        let without = [
            ArchiveArgs { cluster: None, ..args() },
            ArchiveArgs { to: vec![], ..args() },
            ArchiveArgs { recipients: RecipientArgs::default(), ..args() },
        ];
        for args in without {
            assert_eq!(archive_command(&args, Path::new("/p")).unwrap_err().exit, Exit::Usage);
        }
    }
}
