//! From records of what is there to decisions about it.

use chrono::Utc;
use dr_pipe::{Exit, Failure, Outcome, warn};

use crate::args::Args;
use crate::{blocks, print};

/// Reads all records, decides, and prints every decision.
///
/// # Errors
/// 64 without a policy, 65 for a record that is none, 66 where no backup came, 74 where reading or writing fails.
pub fn prune(args: &Args) -> Outcome {
    let policy = args.policy()?;
    drop(dr_pipe::stream::input()?);
    let catalogue = blocks::read(std::io::stdin())?;
    if catalogue.is_empty() {
        let hint = "an empty catalogue is no reason to delete: see whether dr-verify or dr-list reads the right store";
        return Err(Failure::new(Exit::Missing, "no backup came", hint));
    }
    let now = args.now.unwrap_or_else(Utc::now);
    let decisions = dr_retention::decide(&catalogue, &policy, now);
    for pin in &decisions.unused_pins {
        warn("dr-prune", format!("no backup is named {pin}, or begins so, or has such a tag: --pin {pin} keeps nothing"));
    }
    for rule in &decisions.unused_rules {
        warn(
            "dr-prune",
            format!("--{rule} is about no backup that there is: are kind, store, tag or database written as dr-list shows them?"),
        );
    }
    if !decisions.backups.iter().any(|verdict| verdict.counts()) {
        warn("dr-prune", format!("none of {} backups is verified: all stay; dr-verify verifies them", catalogue.backups().count()));
    }
    let shown = print::Shown { catalogue: &catalogue, decisions: &decisions, policy: &policy, now };
    print::decisions(&shown, args.table.wanted())?;
    Ok(Exit::Good)
}
