//! How are values said to people?

use chrono::{DateTime, SecondsFormat, Utc};

/// A while in its largest unit that shows it well: `93 s`, `26 h`, `8 d`.
pub fn span(seconds: f64) -> String {
    let (number, unit) = match seconds {
        ..120.0 => (seconds, "s"),
        ..7200.0 => (seconds / 60.0, "min"),
        ..172_800.0 => (seconds / 3600.0, "h"),
        _ => (seconds / 86400.0, "d"),
    };
    // Down, so that a limit that is missed is never said to be just met.
    format!("{} {unit}", (number * 10.0).floor() / 10.0)
}

/// A moment, to the second.
pub fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

/// So many of a thing, whose name takes an s where there are others than one.
pub fn count(number: usize, thing: &str) -> String {
    if number == 1 { format!("1 {thing}") } else { format!("{number} {thing}s") }
}

/// Up to three of `names`, and how many more there are.
pub fn some(names: &[String]) -> String {
    match names.len() {
        ..4 => names.join(", "),
        count => format!("{} and {} more", names[..3].join(", "), count - 3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_while_is_said_in_its_largest_unit() {
        let said =
            [(0.0, "0 s"), (93.25, "93.2 s"), (600.0, "10 min"), (93_600.0, "26 h"), (93_960.0, "26.1 h"), (691_200.0, "8 d")];
        for (seconds, text) in said {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn one_thing_is_not_several() {
        assert_eq!([0, 1, 2].map(|number| count(number, "backup")), ["0 backups", "1 backup", "2 backups"]);
    }

    #[test]
    fn of_many_names_some_are_said() {
        let names: Vec<String> = ["a", "b", "c", "d", "e"].map(Into::into).into();
        assert_eq!((some(&names[..3]), some(&names)), ("a, b, c".into(), "a, b, c and 2 more".into()));
    }
}
