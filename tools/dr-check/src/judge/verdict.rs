//! What one rule has come to.

use chrono::{DateTime, Utc};
use dr_pipe::record::{Check, State};

/// The outcome of one check.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// The check.
    pub check: &'static str,
    /// What it has come to.
    pub state: State,
    /// What it is about, where the cluster has several of these.
    pub subject: Option<String>,
    /// What was found.
    pub message: String,
    /// What to do where it is not as it should be.
    hint: Option<&'static str>,
    /// What was measured: value, limit, unit.
    pub measured: Option<(f64, f64, &'static str)>,
}

impl Verdict {
    /// A verdict about the cluster.
    pub fn new(check: &'static str, state: State, message: impl Into<String>) -> Self {
        Verdict { check, state, subject: None, message: message.into(), hint: None, measured: None }
    }

    /// About this part of the cluster.
    pub fn about(self, subject: impl Into<String>) -> Self {
        Verdict { subject: Some(subject.into()), ..self }
    }

    /// With what was measured.
    pub fn measured(self, value: f64, limit: f64, unit: &'static str) -> Self {
        Verdict { measured: Some((value, limit, unit)), ..self }
    }

    /// With what to do, where something is to be done.
    pub fn hint(self, hint: &'static str) -> Self {
        Verdict { hint: Some(hint), ..self }
    }

    /// The record.
    pub fn into_check(self, cluster: &str, now: DateTime<Utc>) -> Check {
        Check {
            check: self.check.into(),
            state: self.state,
            cluster: Some(cluster.into()),
            subject: self.subject,
            message: self.message,
            hint: self.hint.filter(|_| self.state != State::Ok).map(Into::into),
            value: self.measured.map(|(value, ..)| value),
            limit: self.measured.map(|(_, limit, _)| limit),
            unit: self.measured.map(|(.., unit)| unit.into()),
            since_at: None,
            checked_at: now,
        }
    }
}

/// `bad` where a value is above its limit.
pub fn above(value: f64, limit: f64, bad: State) -> State {
    if value > limit { bad } else { State::Ok }
}

/// `bad` where a value is below its limit.
pub fn below(value: f64, limit: f64, bad: State) -> State {
    if value < limit { bad } else { State::Ok }
}
