//! What is known of a cluster: records, by their type.

use std::collections::HashSet;

use dr_pipe::record::{Backup, Check, Drill, Finding, Kind, Record, Run, Server, Severity, Storage, Verified, Wal};

/// What is known of one cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Its backups, once for each store that holds one.
    pub backups: Vec<Backup>,
    /// What was verified of them.
    pub verified: Vec<Verified>,
    /// What is wrong in a store.
    pub findings: Vec<Finding>,
    /// Its WAL.
    pub wal: Vec<Wal>,
    /// Its drills, oldest first.
    pub drills: Vec<Drill>,
    /// The runs of its jobs, in the order in which they ended.
    pub runs: Vec<Run>,
    /// Its servers.
    pub servers: Vec<Server>,
    /// The stores that answered.
    pub storage: Vec<Storage>,
    /// What others have checked.
    pub checks: Vec<Check>,
}

impl Facts {
    /// What `records` say of `cluster`. Records that are no facts are passed over.
    pub fn of(records: Vec<Record>, cluster: &str) -> Facts {
        let mut facts = Facts::default();
        // dr-verify and a catalogue may both tell of one copy.
        let mut copies: HashSet<(String, Kind, String)> = HashSet::new();
        let mut is_new =
            |Backup { store, manifest, .. }: &Backup| copies.insert((store.clone(), manifest.kind, manifest.name.clone()));
        for record in records {
            match record {
                Record::Backup(backup) if backup.manifest.cluster == cluster => {
                    facts.backups.extend(is_new(&backup).then_some(*backup))
                }
                Record::Verified(verified) if verified.backup.manifest.cluster == cluster => {
                    facts.backups.extend(is_new(&verified.backup).then(|| verified.backup.clone()));
                    facts.verified.push(*verified);
                }
                Record::Finding(finding) if finding.cluster.as_deref().is_none_or(|of| of == cluster) => {
                    facts.findings.extend((finding.severity == Severity::Error).then_some(*finding));
                }
                Record::Wal(wal) if wal.cluster == cluster => facts.wal.push(wal),
                // Stores hold copies of one drill.
                Record::Drill(drill) if drill.cluster == cluster && !facts.drills.contains(&drill) => facts.drills.push(*drill),
                Record::Run(run) if run.cluster == cluster => facts.runs.push(*run),
                Record::Server(server) if server.cluster == cluster => facts.servers.push(*server),
                Record::Storage(storage) if storage.cluster == cluster => facts.storage.push(*storage),
                Record::Check(check) if check.cluster.as_deref().is_none_or(|of| of == cluster) => facts.checks.push(*check),
                _ => {}
            }
        }
        facts.drills.sort_by(|a, b| (a.finished_at, &a.name).cmp(&(b.finished_at, &b.name)));
        facts.runs.sort_by_key(|run| run.finished_at);
        facts
    }

    /// Whether nothing is known at all.
    pub fn is_empty(&self) -> bool {
        *self == Facts::default()
    }
}
