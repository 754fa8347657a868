//! What a step's command has said last, and the records among it.

use std::collections::VecDeque;

use dr_pipe::tail::{Hear, Tail};
use dr_pipe::{record, redact};

use crate::notes::Said;

/// As many lines are kept.
const LINES: usize = 20;
/// As many bytes are kept, at most.
const BYTES: usize = 4096;
/// As many records are kept: the last ones.
const RECORDS: usize = 1000;

/// What a command has said last, on both of its outputs.
#[derive(Debug)]
pub struct Heard {
    /// The lines.
    pub tail: Tail,
    said: VecDeque<Said>,
}

impl Default for Heard {
    fn default() -> Self {
        Heard { tail: Tail::new(LINES), said: VecDeque::new() }
    }
}

impl Heard {
    /// The lines, without secrets; none where nothing was said.
    pub fn text(&self) -> Option<String> {
        self.tail.text(BYTES, &redact::environment())
    }

    /// The records, in their order.
    pub fn said(self) -> Vec<Said> {
        self.said.into()
    }
}

/// The output in which records may stand.
impl Hear for Heard {
    fn hear(&mut self, line: &mut Vec<u8>) {
        let Some(said) = line.starts_with(b"{").then(|| said(line)).flatten() else { return self.tail.hear(line) };
        if self.said.len() == RECORDS {
            self.said.pop_front();
        }
        self.said.push_back(said);
    }
}

/// What a line says of a backup, if it is a record that does.
fn said(line: &[u8]) -> Option<Said> {
    let whole = [line.trim_ascii_end(), b"\n"].concat();
    record::read(&mut &whole[..]).ok().and_then(|mut records| Said::of(records.pop()?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use dr_pipe::tail::Lines;

    use super::*;

    #[test]
    fn records_of_a_backup_are_kept_apart_and_others_are_lines() {
        let plan = "{\"type\":\"receipt\"}\n{\"type\":\"restored\",\"database\":\"drill\",\"started_at\":\"2026-01-25T03:00:00Z\",\
                    \"finished_at\":\"2026-01-25T03:00:01Z\",\"duration_seconds\":1.0,\"proved\":true}\n{\"a\":1}\n";
        let (mut heard, mut lines) = (Heard::default(), Lines::new(1 << 20));
        lines.take(plan.as_bytes(), &mut heard);
        assert_eq!(heard.text().unwrap(), "{\"type\":\"receipt\"}\n{\"a\":1}");
        assert!(matches!(&heard.said()[..], [Said::Restored(restored)] if restored.database == "drill"));
    }
}
