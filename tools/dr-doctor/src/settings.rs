//! Is the file of settings one that tools can read, that nobody else can write, and without a slip of the pen?

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::args::Args;
use crate::findings::{Finding, Findings, Name};

/// Every name there is, as manual pages and scripts have them.
const KNOWN: &str = include_str!(concat!(env!("OUT_DIR"), "/settings.txt"));

/// What the environment should not hold, as every child inherits it, and ps(1) shows it to its user.
const SECRETS: [&str; 4] = ["PGPASSWORD", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "MINISIGN_PASSWORD"];

/// Looks at the file that `--env-file` names, else at `/etc/dr/CLUSTER.env` if it is there.
pub fn check(args: &Args, cluster: &str, found: &mut Findings) {
    if !found.want(&[Name::Settings]) {
        return;
    }
    let usual = PathBuf::from(format!("/etc/dr/{cluster}.env"));
    let Some(file) = args.archive.env_file.clone().or_else(|| usual.exists().then_some(usual)) else { return };
    let subject = file.display().to_string();
    let findings = look(&file);
    if findings.is_empty() {
        found.note(Name::Settings, subject.clone(), Finding::ok("readable, ours alone to change, no unknown name"));
    }
    for finding in findings {
        found.note(Name::Settings, subject.clone(), finding);
    }
}

fn look(file: &Path) -> Vec<Finding> {
    let cannot =
        |error: std::io::Error| vec![Finding::failed(dr_pipe::record::State::Critical, dr_pipe::Failure::io("settings", &error))];
    let metadata = match file.metadata() {
        Ok(metadata) => metadata,
        Err(error) => return cannot(error),
    };
    let text = match std::fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) => return cannot(error),
    };
    let ours = [0, rustix::process::geteuid().as_raw()].contains(&metadata.uid());
    let writable = (metadata.mode() & 0o022 != 0 || !ours).then(|| {
        let message =
            format!("mode {:04o}, owner {}: others can write it, and shells run it", metadata.mode() & 0o7777, metadata.uid());
        Finding::critical(message, format!("chmod go-w {0}; chown root {0}", file.display()))
    });
    writable.into_iter().chain(lines(&text)).collect()
}

/// What is wrong with single lines.
fn lines(text: &str) -> Vec<Finding> {
    let known: Vec<&str> = KNOWN.lines().collect();
    let names = (1..).zip(text.lines()).filter_map(|(number, line)| Some((number, name_of(line)?)));
    let one = |(number, name): (u32, &str)| {
        if SECRETS.contains(&name) {
            let hint = "put it into a file of its own: ~/.pgpass, ~/.aws/credentials, or a credential of systemd";
            return Some(Finding::warning(format!("line {number}: {name} is a secret, and the environment shows it"), hint));
        }
        if !name.starts_with("DR_") || known.contains(&name) {
            return None;
        }
        let hint = match nearest(name, &known) {
            Some(near) => format!("is {near} meant?"),
            None => "dr(7) and the pages of the tools have the names there are".into(),
        };
        Some(Finding::warning(format!("line {number}: no tool knows {name}, so it has no effect"), hint))
    };
    let spaced = (1..).zip(text.lines()).filter_map(|(number, line)| {
        let name = name_of(&line.replacen(" =", "=", 1)).filter(|_| name_of(line).is_none())?.to_owned();
        let hint = format!("leave out the space behind {name}");
        Some(Finding::warning(format!("line {number}: a shell takes {name} for a program that it is to run"), hint))
    });
    names.filter_map(one).chain(spaced).collect()
}

/// What of a file of settings leads to another server than the environment, where the file is only for the command that is printed.
pub fn leads_elsewhere(text: &str, environment: impl Fn(&str) -> Option<String>) -> Option<String> {
    let value = |line: &str| line.split_once('=').map(|(_, value)| value.trim().trim_matches(['"', '\'']).to_owned());
    let named = text.lines().filter_map(|line| Some((name_of(line)?, value(line)?)));
    let mut other = named.filter(|(name, value)| ["PGHOST", "PGPORT"].contains(name) && environment(name).as_ref() != Some(value));
    other.next().map(|(name, value)| format!("{name}={value}"))
}

/// The name that a line of a shell gives a value; none where it gives none.
fn name_of(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let (name, _) = line.strip_prefix("export ").unwrap_or(line).split_once('=')?;
    (!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')).then_some(name)
}

/// The known name that differs in the fewest letters, if those are few.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let measured = known.iter().map(|other| (distance(name, other), *other));
    measured.filter(|(distance, _)| *distance <= 3).min().map(|(_, other)| other)
}

/// How many letters must be changed, added or left out (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, a) in left.bytes().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in right.bytes().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_leads_to_another_server_is_noticed() {
        let text = "DR_TO=/store\nexport PGHOST=\"/run/a\"\nPGPORT=5433\n";
        let environment =
            |host: &str, port: &str| leads_elsewhere(text, |name| Some(if name == "PGHOST" { host } else { port }.into()));
        assert_eq!(environment("/run/a", "5433"), None);
        assert_eq!(environment("/run/a", "5432"), Some("PGPORT=5433".into()));
        assert_eq!(leads_elsewhere(text, |_| None), Some("PGHOST=/run/a".into()));
        assert_eq!(leads_elsewhere("DR_TO=/store\n", |_| None), None);
    }

    #[test]
    fn names_are_those_of_the_manual_and_a_slip_is_told() {
        assert!(KNOWN.lines().any(|name| name == "DR_RECIPIENTS") && KNOWN.lines().any(|name| name == "DR_COPY_TO"));
        assert_eq!(nearest("DR_RECIPENTS", &["DR_TO", "DR_RECIPIENTS"]), Some("DR_RECIPIENTS"));
        assert_eq!(nearest("DR_SOMETHING_ELSE", &["DR_TO"]), None);
        assert_eq!(distance("kitten", "sitting"), 3);
        let text = "# DR_NOTHING=1\nexport DR_TO=/store\nDATABASES=\"a b\"\n DR_FORM=/store\nPGPASSWORD=x\nset -a\n";
        let said: Vec<_> = lines(text).into_iter().map(|finding| format!("{finding:?}")).collect();
        assert_eq!(said.len(), 2, "{said:?}");
        assert!(said[0].contains("line 4: no tool knows DR_FORM") && said[0].contains("is DR_FROM meant?"), "{}", said[0]);
        assert!(said[1].contains("line 5: PGPASSWORD is a secret"), "{}", said[1]);
        let said = format!("{:?}", lines("# DR_TO = /store\nDR_TO=a = b\nDR_FROM = /store\n"));
        assert_eq!(said.matches("a program that it is to run").count(), 1, "{said}");
        assert!(said.contains("line 3: a shell takes DR_FROM"), "{said}");
    }
}
