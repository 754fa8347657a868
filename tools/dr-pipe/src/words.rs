//! How are times, sizes and other people's words said to people?

use chrono::{DateTime, TimeDelta, Utc};

/// A time span in its two largest units that matter: `0.8 s`, `12 min 5 s`, `3 h 12 min`, `2 d 4 h`.
pub fn span(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    let two = |large: u64, unit: &str, small: u64, part: &str| match small {
        0 => format!("{large} {unit}"),
        _ => format!("{large} {unit} {small} {part}"),
    };
    match whole {
        0..120 => format!("{seconds:.1} s"),
        120..7200 => two(whole / 60, "min", whole % 60, "s"),
        7200..172_800 => two(whole / 3600, "h", whole % 3600 / 60, "min"),
        _ => two(whole / 86400, "d", whole % 86400 / 3600, "h"),
    }
}

/// A time span in the largest unit of which there are two at least: `119 s`, `12 min`, `3 h`, `2 d`.
pub fn age(span: TimeDelta) -> String {
    match (span.num_days(), span.num_hours(), span.num_minutes()) {
        (2.., ..) => format!("{} d", span.num_days()),
        (_, 2.., _) => format!("{} h", span.num_hours()),
        (_, _, 2..) => format!("{} min", span.num_minutes()),
        _ => format!("{} s", span.num_seconds()),
    }
}

/// A moment, to the second.
pub fn moment(at: DateTime<Utc>) -> String {
    at.format("%Y-%m-%d %H:%M:%S").to_string()
}

/// Text of a record on one line, without what would steer a terminal or turn the direction of writing.
pub fn one_line(text: &str) -> String {
    let clean = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        _ => visible(c),
    };
    text.chars().map(clean).collect::<String>().trim().to_owned()
}

/// Text of a record on its lines, made harmless as [`one_line`] does.
pub fn lines(text: &str) -> Vec<String> {
    text.lines().map(|line| line.replace('\t', "    ").chars().map(visible).collect()).collect()
}

fn visible(c: char) -> char {
    let turns = matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}');
    if c.is_control() || turns { '\u{fffd}' } else { c }
}

/// The beginning of a text, where it is longer than `limit` characters.
pub fn shortened(text: &str, limit: usize) -> String {
    match text.char_indices().nth(limit) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_is_said_in_two_units() {
        for (seconds, text) in [
            (-1.0, "-1.0 s"),
            (0.04, "0.0 s"),
            (119.4, "119.4 s"),
            (119.6, "2 min"),
            (725.0, "12 min 5 s"),
            (7200.0, "2 h"),
            (11_520.0, "3 h 12 min"),
            (187_200.0, "2 d 4 h"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn an_age_is_said_in_its_largest_whole_unit() {
        for (seconds, said) in
            [(0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h"), (86_400, "24 h"), (172_800, "2 d")]
        {
            assert_eq!(age(TimeDelta::seconds(seconds)), said);
        }
    }

    #[test]
    fn text_of_a_record_steers_nothing() {
        assert_eq!(one_line("a\u{1b}[2J\nb\u{202e}c\t"), "a\u{fffd}[2J b\u{fffd}c");
        assert_eq!(lines("a\r\nb\u{7}\tc"), ["a", "b\u{fffd}    c"]);
        assert_eq!((shortened("äöü", 2), shortened("äöü", 3)), ("äö…".into(), "äöü".into()));
    }
}
