//! What was done, or can be, is told: as a record, and on a terminal as a sentence.

use std::io::{IsTerminal, Write};

use dr_pipe::record::{self, Plan, Record, Recovered};
use dr_pipe::{Exit, Failure, Outcome, stream};

use crate::heard::State;
use crate::moment::{both, utc};
use crate::server::{Arrived, Launch};
use crate::settings::sh;

/// Writes a record on standard output; on a terminal a sentence.
///
/// # Errors
/// 74 where it cannot be written.
pub fn print(record: &Record) -> Outcome {
    let mut out = stream::records()?;
    let text = match record {
        Record::Plan(plan) => Some(possible(plan)),
        Record::Recovered(recovered) => Some(done(recovered)),
        _ => None,
    };
    let written = match text.filter(|_| out.is_terminal()) {
        Some(text) => writeln!(out, "{text}"),
        None => record::write(&mut out, record),
    };
    written.map_err(|error| Failure::io("standard output", &error))?;
    Ok(Exit::Good)
}

/// Notes where a server is to be found.
pub fn started(recovered: &mut Recovered, launch: &Launch) {
    recovered.state = "started".into();
    recovered.socket_dir = Some(launch.socket_dir.display().to_string());
    recovered.port = Some(launch.port);
}

/// Notes where a server has come to.
pub fn arrived(recovered: &mut Recovered, arrived: &Arrived) {
    recovered.state = match arrived.state {
        State::Replaying => "started",
        State::Paused => "paused",
        State::ShutDown => "shutdown",
        State::Promoted => "promoted",
    }
    .into();
    recovered.reached_lsn = arrived.lsn.map(|lsn| lsn.to_string());
    recovered.reached_at = arrived.at;
    recovered.timeline = arrived.timeline.map(|timeline| timeline.0);
}

fn possible(plan: &Plan) -> String {
    let latest = plan.latest_at.map(|at| format!("; latest_at, the last commit in that WAL, is {}", utc(at))).unwrap_or_default();
    let Plan { summary, segments, files, latest_lsn, directory, .. } = plan;
    format!(
        "possible: {summary}: {files} files and {segments} segments of WAL, which goes on to {latest_lsn}{latest}; nothing was \
         written to {directory}"
    )
}

fn done(recovered: &Recovered) -> String {
    let Plan { summary, directory, .. } = &recovered.plan;
    let state = match (recovered.state.as_str(), recovered.timeline) {
        ("started", _) => "its server replays".into(),
        ("paused", _) => "its server waits at the target, readable".into(),
        ("shutdown", _) => "its server has shut down at the target".into(),
        ("promoted", Some(timeline)) => format!("its server is a primary on timeline {timeline}"),
        (state, _) => state.to_owned(),
    };
    let lsn = recovered.reached_lsn.as_ref().map(|lsn| format!(", reached {lsn}")).unwrap_or_default();
    let at = recovered.reached_at.map(|at| format!(", the last commit is of {}", both(at))).unwrap_or_default();
    let kept = recovered.moved_aside.as_ref().map(|path| format!("; the old directory is {path}")).unwrap_or_default();
    let seconds = (recovered.finished_at - recovered.started_at).num_milliseconds() as f64 / 1000.0;
    let next = match (&recovered.socket_dir, recovered.port) {
        (Some(host), Some(port)) if recovered.state != "shutdown" => {
            format!("look at it: psql -h {} -p {port} -d postgres", sh(host))
        }
        _ => format!("start it: pg_ctl start -D {}", sh(directory)),
    };
    format!("recovered into {directory} in {seconds:.1} s: {summary}; {state}{lsn}{at}{kept}; {next}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn recovered(more: &str) -> Recovered {
        let text = r#""summary":"main_base_1 to 0/5","backup":"main_base_1","cluster":"main","directory":"/d e","target":"lsn",
            "target_timeline":1,"start_lsn":"0/2","earliest_lsn":"0/3","earliest_at":"2026-01-25T02:00:00Z","latest_lsn":"0/9",
            "latest_at":"2026-01-25T03:00:00.5Z","segments":3,"stored_bytes":1,"restored_bytes":2,"files":900,"written_bytes":2,
            "kept_bytes":0,"started_at":"2026-01-25T04:00:00Z","finished_at":"2026-01-25T04:00:02.5Z","plan_seconds":1,
            "restore_seconds":1"#;
        serde_json::from_str(&format!("{{{text},{more}}}")).unwrap()
    }

    #[test]
    fn a_sentence_tells_how_to_look_at_what_was_started() {
        let told = |more: &str| done(&recovered(more));
        let promoted = told(r#""state":"promoted","timeline":2,"reached_lsn":"0/5","socket_dir":"/d e","port":5499"#);
        assert_eq!(
            promoted,
            "recovered into /d e in 2.5 s: main_base_1 to 0/5; its server is a primary on timeline 2, reached 0/5; look at it: \
             psql -h '/d e' -p 5499 -d postgres"
        );
        assert!(
            told(r#""state":"started","socket_dir":"/s","port":5432"#)
                .ends_with("replays; look at it: psql -h /s -p 5432 -d postgres")
        );
        for (none, ending) in [
            (r#""state":"restored","moved_aside":"/o""#, "; the old directory is /o; start it: pg_ctl start -D '/d e'"),
            (r#""state":"shutdown","socket_dir":"/s","port":5432"#, "at the target; start it: pg_ctl start -D '/d e'"),
        ] {
            assert!(told(none).ends_with(ending), "{}", told(none));
        }
    }

    #[test]
    fn a_preflight_tells_the_last_commit_that_would_come_back() {
        let told = possible(&recovered(r#""state":"restored""#).plan);
        assert!(
            told.contains("latest_at, the last commit in that WAL, is 2026-01-25T03:00:00.500Z; nothing was written"),
            "{told}"
        );
    }
}
