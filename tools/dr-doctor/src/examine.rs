//! Makes the checks of a host, one group after the other, and prints what they found.

use chrono::Utc;
use dr_pipe::{Exit, Outcome};

use crate::args::Args;
use crate::findings::Findings;
use crate::{channels, clients, keys, server, settings, space, stores};

/// The tool's name.
pub const TOOL: &str = "dr-doctor";

/// Makes every check, or those that are asked for. 0: none is critical, and none could not be made.
pub fn examine(args: &Args) -> Outcome {
    let (cluster, role) = args.subject()?;
    let to = args.to()?;
    let mut found = Findings::new(cluster, &args.check, Utc::now());
    settings::check(args, cluster, &mut found);
    keys::check(args, role, cluster, &mut found);
    channels::check(role, cluster, &mut found);
    space::check(args, role, &mut found);
    let version = server::check(args, role, &mut found);
    clients::check(version, role, &mut found);
    stores::check(args, &to, cluster, &mut found);
    let bad = found.are_bad();
    found.print(args.table.wanted())?;
    Ok(if bad { Exit::Bad } else { Exit::Good })
}
