//! Could somebody be told when something fails? dr-notify says it, which alone knows how its channels are described.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Output};

use dr_pipe::child;
use dr_pipe::record::{self, Record};

use crate::args::Role;
use crate::findings::{Finding, Findings, Name};

/// Asks the dr-notify that lies beside this program, where backups are made, or there are channels.
pub fn check(role: Role, cluster: &str, found: &mut Findings) {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let described = set("DR_CHANNEL") || set("DR_CHANNELS") || PathBuf::from("/etc/dr/channels").exists();
    if !found.want(&[Name::Channels]) || !(role.backs_up || described) {
        return;
    }
    match ask(cluster) {
        Err(error) => {
            let hint = "install it beside this program";
            found.note(Name::Channels, None, Finding::unknown(format!("dr-notify cannot be asked: {error}"), hint));
        }
        Ok(output) => {
            let records = record::read(&mut &output.stdout[..]).unwrap_or_default().into_iter();
            let check = |record| if let Record::Check(check) = record { Some(*check) } else { None };
            let checks: Vec<_> = records.filter_map(check).collect();
            if checks.is_empty() {
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                let message = format!("dr-notify --preflight failed: {}", said.trim_end());
                found.note(Name::Channels, None, Finding::unknown(message, "run it to see it fail"));
            }
            for check in checks {
                let finding = Finding::of(check.state, check.message, check.hint);
                found.note(Name::Channels, check.subject, finding);
            }
        }
    }
}

fn ask(cluster: &str) -> io::Result<Output> {
    let program = std::env::current_exe()?.with_file_name("dr-notify");
    child::output(Command::new(program).args(["--preflight", "--cluster", cluster]))
}
