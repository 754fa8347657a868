//! Makes reports of drills, and stores them beside the backups: see dr-report(1).

mod args;
mod chart;
mod html;
mod markdown;
mod report;
mod source;

use dr_pipe::words;

/// The name in warnings.
const TOOL: &str = "dr-report";

fn main() -> std::process::ExitCode {
    dr_pipe::run(report::report)
}
