//! With which settings does the recovered server start? Those it had, without what would harm, and how it recovers.

use dr_pipe::record::Settings;

/// Settings of a recovery, or of the server's old place, that a recovered server must not inherit.
const HARMFUL: [&str; 20] = [
    "restore_command",
    "archive_cleanup_command",
    "recovery_end_command",
    "recovery_target",
    "recovery_target_action",
    "recovery_target_inclusive",
    "recovery_target_lsn",
    "recovery_target_name",
    "recovery_target_time",
    "recovery_target_timeline",
    "recovery_target_xid",
    "recovery_min_apply_delay",
    "primary_conninfo",
    "primary_slot_name",
    "promote_trigger_file",
    "trigger_file",
    "archive_mode",
    "archive_command",
    "archive_library",
    "synchronous_standby_names",
];

/// Settings of `postgresql.conf` that name places of the machine it comes from: a server that is started here would open the
/// other directory, if there is one.
const PLACES: [&str; 5] = ["data_directory", "config_file", "hba_file", "ident_file", "external_pid_file"];

/// What is no setting, but names files that have some, or folders of them.
const INCLUDES: [&str; 3] = ["include", "include_if_exists", "include_dir"];

/// The recovery targets: only one may be set, by whichever file.
const TARGETS: [&str; 5] =
    ["recovery_target", "recovery_target_lsn", "recovery_target_name", "recovery_target_time", "recovery_target_xid"];

/// How the server recovers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Which backup, and to where: a comment.
    pub about: String,
    /// The command that fetches a file of WAL.
    pub restore_command: String,
    /// The target, as name and value; none: the end.
    pub target: Option<(&'static str, String)>,
    /// Whether what stands at the target is replayed.
    pub inclusive: bool,
    /// The timeline: its number, or `latest`.
    pub timeline: String,
    /// What happens at the target; none for a standby.
    pub action: Option<&'static str>,
    /// A standby's primary.
    pub primary_conninfo: Option<String>,
    /// What the server runs when the recovery has ended; perhaps nothing.
    pub end_command: &'static str,
    /// What the server that was backed up had; less, and recovery stops.
    pub at_least: Vec<(&'static str, u32)>,
    /// What the operator sets.
    pub set: Vec<(String, String)>,
}

/// `postgresql.auto.conf` of the recovered server: the lines it had, those that would harm made comments, and the recovery's at the
/// end. In this file the last line that sets something wins, and it wins over postgresql.conf.
pub fn auto_conf(inherited: &str, recovery: &Recovery) -> String {
    let ours: Vec<&str> = recovery.set.iter().map(|(name, _)| name.as_str()).collect();
    let mut text = commented(inherited, |name| HARMFUL.contains(&name) || ours.contains(&name));
    text.push_str(&format!("# dr-recover: {}\n", recovery.about.replace('\n', " ")));
    let mut line = |name: &str, value: &str| text.push_str(&format!("{name} = {}\n", quoted(value)));
    line("restore_command", &recovery.restore_command);
    for name in TARGETS.iter().filter(|name| recovery.target.as_ref().is_none_or(|(target, _)| target != *name)) {
        line(name, "");
    }
    // Behind the empty ones: PostgreSQL takes an empty one after it for the end of it.
    if let Some((name, value)) = &recovery.target {
        line(name, value);
    }
    line("recovery_target_inclusive", if recovery.inclusive { "on" } else { "off" });
    line("recovery_target_timeline", &recovery.timeline);
    if let Some(action) = recovery.action {
        line("recovery_target_action", action);
    }
    for name in ["archive_cleanup_command", "primary_slot_name"] {
        line(name, "");
    }
    line("recovery_end_command", recovery.end_command);
    line("primary_conninfo", recovery.primary_conninfo.as_deref().unwrap_or(""));
    line("recovery_min_apply_delay", "0");
    line("synchronous_standby_names", "");
    // It must not archive into the place of the server that it was made from. Whoever gives it a place of its own turns it on.
    line("archive_mode", "off");
    line("hot_standby", "on");
    for (name, value) in &recovery.at_least {
        line(name, &value.to_string());
    }
    for (name, value) in &recovery.set {
        line(name, value);
    }
    text
}

/// `postgresql.conf` without the places of another machine.
pub fn conf(text: &str) -> String {
    commented(text, |name| PLACES.contains(&name))
}

/// Whether a `postgresql.conf` names files outside the data directory: what is in there instead was not used.
pub fn points_away(text: &str) -> bool {
    text.lines().filter_map(parse).any(|(name, _)| PLACES[1..4].contains(&name.as_str()))
}

/// What a configuration includes, files and folders alike, as it names them.
pub fn inclusions(text: &str) -> impl Iterator<Item = String> {
    let named = text.lines().filter_map(parse).filter(|(name, _)| INCLUDES.contains(&name.as_str()));
    named.map(|(_, value)| value.trim_matches('\'').to_owned())
}

/// Which settings must be raised so that they are not below what the backed up server had; `texts` are its configuration, the
/// last of which wins.
pub fn raised(settings: &Settings, texts: &[&str]) -> Vec<(&'static str, u32)> {
    // With PostgreSQL's defaults.
    let needed = [
        ("max_connections", settings.max_connections, 100),
        ("max_worker_processes", settings.max_worker_processes, 8),
        ("max_wal_senders", settings.max_wal_senders, 10),
        ("max_prepared_transactions", settings.max_prepared_transactions, 0),
        ("max_locks_per_transaction", settings.max_locks_per_transaction, 64),
    ];
    let value = |name: &str, default: u32| {
        let lines = texts.iter().flat_map(|text| text.lines()).filter_map(parse);
        lines.rev().find(|(set, _)| set == name).map_or(Some(default), |(_, value)| value.trim_matches('\'').parse().ok())
    };
    let below = needed.into_iter().filter(|(name, least, default)| value(name, *default).is_none_or(|value| value < *least));
    below.map(|(name, least, _)| (name, least)).collect()
}

/// A value between quotes, as configuration files have it. It has no line breaks.
fn quoted(value: &str) -> String {
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "''"))
}

/// Makes comments of the lines that set something `harmful` knows.
fn commented(text: &str, harmful: impl Fn(&str) -> bool) -> String {
    let mut out = String::with_capacity(text.len() + 256);
    for line in text.lines() {
        if parse(line).is_some_and(|(name, _)| harmful(&name)) {
            out.push_str("# dr-recover: ");
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// Name and value of a line that sets something: `name = value`, `name value`.
fn parse(line: &str) -> Option<(String, String)> {
    let line = line.trim_start();
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != '.')?;
    let (name, rest) = line.split_at(end);
    if name.is_empty() {
        return None;
    }
    let value = rest.trim_start().strip_prefix('=').unwrap_or(rest).trim_start();
    let value = value.split('#').next().unwrap_or_default().trim_end();
    Some((name.to_ascii_lowercase(), value.to_owned()))
}

/// One word of a command as sh reads it.
pub fn sh(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:=,@".contains(&byte);
    if !word.is_empty() && word.bytes().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', "'\\''")) }
}

/// A command for restore_command: words as sh reads them, `%` doubled for PostgreSQL, and what it puts in at the end.
pub fn command(words: &[String]) -> String {
    let words: Vec<_> = words.iter().map(|word| sh(word).replace('%', "%%")).collect();
    format!("{} %f %p", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recovery() -> Recovery {
        Recovery {
            about: "main_base_1 to 0/5".into(),
            restore_command: "fetch 'a b' %f %p".into(),
            target: Some(("recovery_target_lsn", "0/5".into())),
            inclusive: true,
            timeline: "1".into(),
            action: Some("promote"),
            set: vec![("ssl".into(), "off".into())],
            ..Recovery::default()
        }
    }

    #[test]
    fn what_would_harm_is_not_inherited() {
        let inherited = "# Do not edit\nwork_mem = '64MB'\narchive_command = 'scp %p old:'\nRECOVERY_TARGET_TIME='x'\nssl = on\n";
        let text = auto_conf(inherited, &recovery());
        assert!(text.starts_with(
            "# Do not edit\nwork_mem = '64MB'\n# dr-recover: archive_command = 'scp %p old:'\n# dr-recover: RECOVERY_TARGET_TIME"
        ));
        assert!(text.contains("\n# dr-recover: ssl = on\n"), "{text}");
        assert!(text.contains("\n# dr-recover: main_base_1 to 0/5\nrestore_command = 'fetch ''a b'' %f %p'\n"), "{text}");
        assert!(text.contains("\narchive_mode = 'off'\n") && text.ends_with("ssl = 'off'\n"), "{text}");
    }

    #[test]
    fn the_target_stands_behind_the_empty_ones() {
        let text = auto_conf("", &recovery());
        let places: Vec<_> = TARGETS.iter().filter_map(|name| text.find(&format!("\n{name} = "))).collect();
        assert_eq!(places.len(), TARGETS.len());
        assert_eq!(places.iter().max(), text.find("\nrecovery_target_lsn = ").as_ref());
    }

    #[test]
    fn a_server_never_opens_the_directory_of_another() {
        let text =
            "data_directory = '/var/lib/postgresql/15/main' # here\n  hba_file='/etc/x'\nport = 5433\n#data_directory = 'y'\n";
        let after = conf(text);
        assert_eq!(after.lines().filter(|line| line.starts_with("# dr-recover: ")).count(), 2);
        assert!(after.contains("\nport = 5433\n"));
        assert!(points_away(text) && !points_away(&after) && !points_away("data_directory = 'x'"));
    }

    #[test]
    fn settings_are_raised_only_where_they_are_too_low() {
        let settings = Settings {
            max_connections: 200,
            max_worker_processes: 8,
            max_wal_senders: 20,
            max_prepared_transactions: 5,
            max_locks_per_transaction: 64,
        };
        let texts = ["max_connections = 100\nmax_prepared_transactions = 5 # five\n", "max_connections = '300'\n"];
        assert_eq!(raised(&settings, &texts), [("max_wal_senders", 20)]);
        assert_eq!(raised(&settings, &[""]).len(), 3);
    }

    #[test]
    fn words_reach_the_command_whole() {
        let words = ["/a b/fetch".into(), "--from".into(), "it's 5%".into()];
        assert_eq!(command(&words), "'/a b/fetch' --from 'it'\\''s 5%%' %f %p");
        assert_eq!(quoted("a'b\\c"), "'a''b\\\\c'");
    }
}
