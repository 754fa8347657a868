//! How is a page of metrics written? The text format of Prometheus, version 0.0.4.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::collections::BTreeMap;

/// A kind of value.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// `gauge` or `counter`.
    pub sort: &'static str,
    /// What it is, in one line.
    pub help: &'static str,
}

impl Metric {
    /// A value that goes up and down.
    pub const fn gauge(name: &'static str, help: &'static str) -> Metric {
        Metric { name, sort: "gauge", help }
    }

    /// A value that only rises.
    pub const fn counter(name: &'static str, help: &'static str) -> Metric {
        Metric { name, sort: "counter", help }
    }
}

/// Names and values of labels.
pub type Labels = Vec<(&'static str, String)>;

/// All values.
#[derive(Debug, Default)]
pub struct Page(BTreeMap<&'static str, (Metric, BTreeMap<Labels, f64>)>);

impl Page {
    /// Sets a value; the last one counts.
    pub fn set(&mut self, metric: Metric, labels: &[(&'static str, &str)], value: f64) {
        *self.at(metric, labels) = value;
    }

    /// Sets a value, unless there is a larger one.
    pub fn raise(&mut self, metric: Metric, labels: &[(&'static str, &str)], value: f64) {
        let there = self.at(metric, labels);
        // What was just made is NaN, which is less than nothing.
        *there = there.max(value);
    }

    fn at(&mut self, metric: Metric, labels: &[(&'static str, &str)]) -> &mut f64 {
        let labels = labels.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let (_, samples) = self.0.entry(metric.name).or_insert_with(|| (metric, BTreeMap::new()));
        samples.entry(labels).or_insert(f64::NAN)
    }

    /// The page: each metric's help and type once, and its values below them.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for (metric, samples) in self.0.values() {
            text.push_str(&format!("# HELP {0} {1}\n# TYPE {0} {2}\n", metric.name, metric.help, metric.sort));
            for (labels, value) in samples {
                let labels: Vec<String> = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
                let labels = if labels.is_empty() { String::new() } else { format!("{{{}}}", labels.join(",")) };
                text.push_str(&format!("{}{labels} {value}\n", metric.name));
            }
        }
        text
    }
}

/// A label's value. A NUL would be the end of the page to some who read it, and with it of all that others write there.
fn escaped(value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    value.replace(|c: char| c.is_control(), "?")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Metric = Metric::gauge("size_bytes", "Its size.");

    #[test]
    fn help_and_type_stand_once_and_labels_cannot_break_out() {
        let mut page = Page::default();
        page.set(SIZE, &[("store", "a\"b\\c\nd")], 1e15);
        page.set(SIZE, &[("store", "é")], 0.25);
        page.set(SIZE, &[("store", "x\0\r\u{1b}")], 1.0);
        page.set(Metric::counter("failures_total", "How often."), &[], 3.0);
        let expected = "# HELP failures_total How often.\n# TYPE failures_total counter\nfailures_total 3\n\
             # HELP size_bytes Its size.\n# TYPE size_bytes gauge\n\
             size_bytes{store=\"a\\\"b\\\\c\\nd\"} 1000000000000000\nsize_bytes{store=\"x???\"} 1\nsize_bytes{store=\"é\"} 0.25\n";
        assert_eq!(page.text(), expected);
    }

    #[test]
    fn the_last_value_counts_or_the_largest() {
        let mut page = Page::default();
        [2.0, 1.0].into_iter().for_each(|value| page.set(SIZE, &[], value));
        assert!(page.text().ends_with("\nsize_bytes 1\n"));
        [-5.0, 2.0, 1.0].into_iter().for_each(|value| page.raise(SIZE, &[("a", "b")], value));
        assert!(page.text().contains("{a=\"b\"} 2\n"));
    }
}
