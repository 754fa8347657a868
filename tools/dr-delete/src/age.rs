//! How is a span of time typed, and said?

use chrono::TimeDelta;
use dr_pipe::args;

/// Reads a span of time, as [`args::span`] does; `0` is none at all.
///
/// # Errors
/// Says how to write it.
pub fn parse(text: &str) -> Result<TimeDelta, String> {
    if text == "0" { Ok(TimeDelta::zero()) } else { args::span(text) }
}

/// A span of time in words: its largest unit of which there are two at least.
pub fn words(span: TimeDelta) -> String {
    match (span.num_days(), span.num_hours(), span.num_minutes()) {
        (2.., ..) => format!("{} d", span.num_days()),
        (_, 2.., _) => format!("{} h", span.num_hours()),
        (_, _, 2..) => format!("{} min", span.num_minutes()),
        _ => format!("{} s", span.num_seconds()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_said_in_its_largest_unit() {
        for (seconds, said) in [(0, "0 s"), (119, "119 s"), (7199, "119 min"), (86_400, "24 h"), (172_800, "2 d")] {
            assert_eq!(words(TimeDelta::seconds(seconds)), said);
        }
    }
}
