//! What is found, and where: the one place in which findings are made.

use chrono::Utc;
use dr_pipe::record::{Finding, Severity};

/// How many findings of one sort are told one by one.
const TOLD: usize = 20;

/// The store and the cluster that findings are about.
#[derive(Clone, Debug)]
pub struct Scene {
    /// The store, as it was named.
    pub store: String,
    /// The cluster; none where it is about what belongs to none.
    pub cluster: Option<String>,
}

impl Scene {
    /// Something is wrong.
    pub fn error(&self, code: &str, message: impl Into<String>, hint: impl Into<String>) -> Finding {
        self.finding(Severity::Error, code, message.into(), hint.into())
    }

    /// Something is worth knowing.
    pub fn note(&self, code: &str, message: impl Into<String>, hint: impl Into<String>) -> Finding {
        self.finding(Severity::Note, code, message.into(), hint.into())
    }

    fn finding(&self, severity: Severity, code: &str, message: String, hint: String) -> Finding {
        Finding {
            severity,
            code: code.into(),
            store: self.store.clone(),
            cluster: self.cluster.clone(),
            backup: None,
            object: None,
            offset_bytes: None,
            message,
            hint,
            found_at: Utc::now(),
        }
    }
}

/// The same finding, about the object at `key`.
pub fn on(key: &str, finding: Finding) -> Finding {
    Finding { object: Some(key.into()), ..finding }
}

/// The same finding, about a backup.
pub fn about(backup: &str, finding: Finding) -> Finding {
    Finding { backup: Some(backup.into()), ..finding }
}

/// Whether any of them says that something is wrong.
pub fn is_bad(findings: &[Finding]) -> bool {
    findings.iter().any(|finding| finding.severity == Severity::Error)
}

/// Of many findings of one sort the first, and how many more there are.
pub fn first_of(mut findings: Vec<Finding>) -> Vec<Finding> {
    let more = findings.len().saturating_sub(TOLD);
    findings.truncate(TOLD);
    if let (Some(last), true) = (findings.last_mut(), more > 0) {
        last.message.push_str(&format!("; and {more} more like it"));
    }
    findings
}
