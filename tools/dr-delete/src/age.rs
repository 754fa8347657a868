//! How is a span of time typed?

use chrono::TimeDelta;
use dr_pipe::args;

/// Reads a span of time, as [`args::span`] does; `0` is none at all.
///
/// # Errors
/// Says how to write it.
pub fn parse(text: &str) -> Result<TimeDelta, String> {
    if text == "0" { Ok(TimeDelta::zero()) } else { args::span(text) }
}
