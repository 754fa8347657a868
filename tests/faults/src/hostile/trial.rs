//! One behaviour that one tool meets.

use std::collections::BTreeSet;

use super::behaviours::{Act, BEHAVIOURS};
use super::front::{Fault, Front};
use super::request::Kind;
use super::tool::{Ended, Run, TOOLS, Tool};
use super::well::Well;
use crate::manual::codes;
use crate::seeds::Random;

/// How long a hostile server is given, in seconds: the least there is.
const HOSTILE_PATIENCE: &str = "1";
/// How long one is given that is well, on a machine that has much to do.
const PATIENCE: &str = "120";

pub const SUCCEEDED: &str = "succeeded in spite of it";
pub const FAILED: &str = "failed as documented";
const FOUND_OUT: &str = "lied to unseen, and found out by dr-verify";

/// What each tool asks where all is well, and the pairs of tools and behaviours that can meet.
pub struct Plan {
    asked: Vec<(Tool, Vec<Kind>, BTreeSet<i32>)>,
    /// Places in `asked` and in the table.
    pairs: Vec<(usize, usize)>,
}

impl Plan {
    /// Runs each tool once before an honest server.
    ///
    /// # Panics
    /// If one fails.
    pub fn new(well: &Well) -> Plan {
        let asked: Vec<_> = TOOLS
            .into_iter()
            .map(|tool| {
                let front = Front::start(well.s3.address(), well.bucket(), None).expect("a front");
                let run = Run::new(well, tool, "honest");
                let ended = run.run(&front.url(false), PATIENCE, &[]);
                assert_eq!(ended.code, Some(tool.good()), "{tool:?} without a fault: {}", ended.stderr);
                run.is_true(&ended).unwrap_or_else(|why| panic!("{tool:?} without a fault: {why}: {}", ended.stderr));
                assert!(!run.has_left(), "{tool:?} without a fault: it has deleted nothing");
                run.is_safe(false).unwrap_or_else(|why| panic!("{tool:?} without a fault: {why}"));
                (tool, front.seen(), codes(tool.program()))
            })
            .collect();
        let mut pairs = Vec::new();
        for (place, (tool, kinds, _)) in asked.iter().enumerate() {
            for (row, behaviour) in BEHAVIOURS.iter().enumerate() {
                let meets = kinds.iter().any(|kind| behaviour.meets.contains(kind));
                let pushes = behaviour.asked.is_empty() || tool.program() == "dr-push";
                if meets && pushes {
                    pairs.push((place, row));
                }
            }
        }
        Plan { asked, pairs }
    }

    pub fn pairs(&self) -> usize {
        self.pairs.len()
    }

    /// What a seed makes: so many seeds in a row as there are pairs meet each of them once.
    fn of(&self, seed: u64) -> (Tool, &BTreeSet<i32>, Fault) {
        let pairs = self.pairs.len() as u64;
        // A prime that no number of pairs is a multiple of spreads them.
        let (place, row) = self.pairs[(seed.wrapping_mul(7919) % pairs) as usize];
        let (tool, kinds, codes) = &self.asked[place];
        let behaviour = &BEHAVIOURS[row];
        let mut random = Random(seed);
        let from = random.below(kinds.iter().filter(|kind| behaviour.meets.contains(kind)).count());
        let length = [1, 3, usize::MAX / 2][random.below(3)];
        (*tool, codes, Fault { behaviour, from, to: from + length })
    }

    /// Tries what a seed makes.
    ///
    /// # Errors
    /// Says what does not hold.
    pub fn try_one(&self, well: &Well, seed: u64) -> Result<&'static str, String> {
        let (tool, codes, fault) = self.of(seed);
        let front = Front::start(well.s3.address(), well.bucket(), Some(fault)).map_err(|error| error.to_string())?;
        let run = Run::new(well, tool, &format!("seed-{seed}"));
        let secure = matches!(fault.behaviour.act, Act::Tls(_));
        let ended = run.run(&front.url(secure), HOSTILE_PATIENCE, fault.behaviour.asked);
        let wrong = |why: String| {
            let times = if fault.to - fault.from > 3 { "for good".into() } else { format!("{} times", fault.to - fault.from) };
            let said = format!("code {:?}: {}", ended.code, ended.stderr.trim_end());
            format!("{tool:?}, {}, from request {} of its kind, {times}: {why}; {said}", fault.behaviour.name, fault.from)
        };
        if front.misled() > 0 {
            return Err(wrong("it followed a redirection".into()));
        }
        let good = must_be_documented(tool, codes, &ended).map_err(&wrong)?;
        if good && !fault.behaviour.asked.is_empty() {
            return Err(wrong("what was asked for is not kept".into()));
        }
        run.is_safe(fault.behaviour.spoils).map_err(&wrong)?;
        if !good {
            run.is_clean().map_err(&wrong)?;
        }
        match run.is_true(&ended) {
            Err(_) if good && fault.behaviour.unseen => return run.is_found_out().map(|()| FOUND_OUT).map_err(&wrong),
            // What was in the way is found, and the segment lies beside it.
            Err(_) if good && fault.behaviour.lasting && tool == Tool::WalPush && run.is_fetched() => return Ok(SUCCEEDED),
            // There, too, another's object was in the way, which who cannot decrypt it cannot see.
            Err(_) if good && fault.behaviour.lasting && run.is_beside() && run.verify().is_some() => return Ok(FOUND_OUT),
            Err(why) if good => return Err(wrong(format!("it says that it succeeded, and {why}"))),
            _ => {}
        }
        if fault.behaviour.lasting {
            return Ok(if good { SUCCEEDED } else { FAILED });
        }
        front.heal();
        let later = run.run(&front.url(false), PATIENCE, &[]);
        if later.code != Some(tool.good()) {
            return Err(wrong(format!("later it does not succeed: code {:?}: {}; first", later.code, later.stderr.trim_end())));
        }
        run.is_true(&later).map_err(|why| wrong(format!("later it says that it succeeded, and {why}; first")))?;
        if matches!(tool, Tool::Seal | Tool::CopyTo | Tool::WalPush)
            && let Some(said) = run.verify()
        {
            return Err(wrong(format!("later dr-verify says {said}; first")));
        }
        Ok(if good { SUCCEEDED } else { FAILED })
    }
}

/// Whether a tool says that it has done what it was asked.
///
/// # Errors
/// Where it ended as no manual page has it.
fn must_be_documented(tool: Tool, codes: &BTreeSet<i32>, ended: &Ended) -> Result<bool, String> {
    let Some(code) = ended.code else {
        return Err(if ended.endless { "it does not end" } else { "a signal ended it" }.into());
    };
    if code == 70 || ended.stderr.contains("panicked") {
        return Err("it panicked".into());
    }
    if !codes.contains(&code) {
        return Err("its manual page has no such code".into());
    }
    if tool == Tool::WalFetch && code == 1 {
        return Err("it says that a segment is absent that is there".into());
    }
    if tool == Tool::WalFetchAbsent && code == 0 {
        return Err("it says that a segment is there that is not".into());
    }
    let told = ended.stderr.contains(": error: ") && ended.stderr.contains(": hint: ");
    if code > 1 && !told {
        return Err("it does not say what, and what to do".into());
    }
    Ok(code == tool.good())
}
