//! A small world to be judged in tests: at noon, with whatever is added.

#![allow(clippy::unwrap_used)]

use chrono::{DateTime, TimeDelta, Utc};
use dr_pipe::Sha256;
use dr_pipe::record::{
    Backup, Base, Check, Depth, Drill, Job, Kind, Manifest, Produced, Replica, Run, Server, Settings, SignatureState, Slot, State,
    Storage, Verified, Wal, WalKept,
};

use super::{Judged, Scene, judge};
use crate::facts::Facts;
use crate::memory::Memory;
use crate::objectives::Objectives;

/// What is there.
pub struct World {
    pub facts: Facts,
    pub objectives: Objectives,
    pub memory: Memory,
    pub forgets: bool,
    pub now: DateTime<Utc>,
}

impl World {
    /// Nothing is there.
    pub fn new(objectives: &str) -> World {
        World {
            facts: Facts::default(),
            objectives: Objectives::parse(objectives).unwrap(),
            memory: Memory::default(),
            forgets: false,
            now: "2026-01-25T12:00:00Z".parse().unwrap(),
        }
    }

    /// So many seconds before now.
    pub fn ago(&self, seconds: i64) -> DateTime<Utc> {
        self.now - TimeDelta::seconds(seconds)
    }

    /// With a backup in the store `/near`, that many seconds old, encrypted to two.
    pub fn backup(mut self, kind: Kind, database: Option<&str>, age: i64, bytes: u64) -> World {
        let manifest = manifest(kind, database, self.ago(age), bytes);
        self.facts.backups.push(Backup { store: "/near".into(), signature: SignatureState::Good, manifest });
        self
    }

    pub fn dump(self, age: i64) -> World {
        self.backup(Kind::Dump, Some("shop"), age, 1000)
    }

    /// With a base of segment `segment` of timeline 1, that many seconds old.
    pub fn base(mut self, age: i64, segment: u64) -> World {
        self = self.backup(Kind::Base, None, age, 1000);
        let manifest = &mut self.facts.backups.last_mut().unwrap().manifest;
        let lsn = |offset: u64| format!("0/{:X}", (segment << 24) + offset);
        manifest.produced.base = Some(base(lsn(40), lsn(80), manifest.taken_at));
        self
    }

    /// With segments of timeline 1 in `/near`, the last of them stored that many seconds ago.
    pub fn wal(mut self, first: u64, last: u64, age: i64) -> World {
        self.facts.wal.push(Wal {
            store: "/near".into(),
            cluster: "main".into(),
            timeline: 1,
            first: format!("0000000100000000{first:08X}"),
            last: format!("0000000100000000{last:08X}"),
            segments: last - first + 1,
            until_lsn: Some(format!("0/{:X}", (last + 1) << 24)),
            resumes_lsn: None,
            wal_segment_bytes: 16 << 20,
            stored_bytes: 1000,
            stored_at: Some(self.ago(age)),
        });
        self
    }

    /// With a store that answers; a directory where it has a size.
    pub fn storage(mut self, store: &str, free: Option<(u64, u64)>) -> World {
        self.facts.storage.push(Storage {
            store: store.into(),
            cluster: "main".into(),
            stored_bytes: 1000,
            objects: 3,
            capacity_bytes: free.map(|(capacity, _)| capacity),
            free_bytes: free.map(|(_, free)| free),
            locked_until: None,
            seen_at: self.now,
        });
        self
    }

    /// With a store that does not answer.
    pub fn silent(mut self, store: &str) -> World {
        self.facts.checks.push(Check {
            check: "store".into(),
            state: State::Critical,
            cluster: Some("main".into()),
            subject: Some(store.into()),
            message: "connection refused".into(),
            hint: None,
            value: None,
            limit: None,
            unit: None,
            since_at: None,
            checked_at: self.now,
        });
        self
    }

    /// With a primary that has written up to `lsn`, after `change`.
    pub fn server(mut self, lsn: &str, change: impl FnOnce(&mut Server)) -> World {
        let mut server = Server {
            cluster: "main".into(),
            server: "/run/postgresql".into(),
            server_version: "15.15".into(),
            system_identifier: "1".into(),
            standby: false,
            archiving: true,
            archived: None,
            archived_at: None,
            archive_failed: None,
            archive_failed_at: None,
            archive_failures: 0,
            written_lsn: Some(lsn.into()),
            wal_bytes: 16 << 20,
            waiting_segments: 0,
            replayed_at: None,
            replicas: Vec::new(),
            slots: Vec::new(),
            seen_at: self.now,
        };
        change(&mut server);
        self.facts.servers.push(server);
        self
    }

    /// With a run that ended that many seconds ago.
    pub fn run(mut self, job: Job, age: i64, exit_code: i32) -> World {
        let finished_at = self.ago(age);
        self.facts.runs.push(Run {
            run: "00000000-0000-4000-8000-000000000001".into(),
            cluster: "main".into(),
            job,
            host: "db1".into(),
            started_at: finished_at,
            finished_at,
            succeeded: exit_code == 0,
            exit_code: Some(exit_code),
            signal: None,
            backup: None,
            stored_bytes: None,
            message: None,
        });
        self.facts.runs.sort_by_key(|run| run.finished_at);
        self
    }

    /// With a drill that was over that many seconds ago, after `change`.
    pub fn drill(mut self, age: i64, change: impl FnOnce(&mut Drill)) -> World {
        let at = self.ago(age);
        let mut drill = Drill {
            name: format!("main_drill_{age}"),
            drill: "pitr".into(),
            cluster: "main".into(),
            database: None,
            passed: true,
            started_at: at,
            finished_at: at,
            operator: "root".into(),
            host: "h".into(),
            environment: "throw-away".into(),
            backup: None,
            stored_bytes: None,
            restored_bytes: None,
            reached_at: None,
            target: Some("latest".into()),
            target_at: None,
            segments: None,
            files: None,
            recipients: Vec::new(),
            rto_seconds: 600.0,
            rto_objective_seconds: None,
            rpo_seconds: Some(60.0),
            rpo_objective_seconds: None,
            fetch_seconds: 0.0,
            restore_seconds: 600.0,
            replay_seconds: 0.0,
            check_seconds: 0.0,
            steps: Vec::new(),
            issues: Vec::new(),
            next_actions: Vec::new(),
        };
        change(&mut drill);
        self.facts.drills.push(drill);
        self.facts.drills.sort_by_key(|drill| drill.finished_at);
        self
    }

    /// With what dr-verify knows of every backup.
    pub fn verified(mut self, good: bool, depth: Depth, age: i64) -> World {
        let verified_at = Some(self.ago(age));
        let of = |backup: &Backup| Verified { backup: backup.clone(), good, depth, verified_at, findings: 0 };
        self.facts.verified = self.facts.backups.iter().map(of).collect();
        self
    }

    /// With every backup in another store, too.
    pub fn copied(mut self, store: &str) -> World {
        let copies: Vec<_> = self.facts.backups.iter().map(|backup| Backup { store: store.into(), ..backup.clone() }).collect();
        self.facts.backups.extend(copies);
        self
    }

    pub fn judged(&self) -> Judged {
        judge(Scene::new(&self.facts, &self.objectives, self.memory.clone(), self.forgets, self.now), "main")
    }

    /// The check of that name, and of that subject if one is given after a blank; none where it is not watched.
    pub fn check(&self, name: &str) -> Option<Check> {
        let named = |check: &Check| match &check.subject {
            Some(subject) => format!("{} {subject}", check.check) == name || check.check == name,
            None => check.check == name,
        };
        self.judged().checks.into_iter().find(named)
    }

    pub fn state(&self, name: &str) -> Option<State> {
        self.check(name).map(|check| check.state)
    }
}

pub fn replica(name: &str, state: &str, lag_bytes: u64) -> Replica {
    Replica { name: name.into(), state: state.into(), lag_bytes, synchronous: false }
}

pub fn slot(active: bool, kept_bytes: u64, lost: bool) -> Slot {
    Slot { name: "s".into(), active, kept_bytes, lost }
}

fn manifest(kind: Kind, database: Option<&str>, at: DateTime<Utc>, bytes: u64) -> Manifest {
    let name = format!("main_{kind}_{}_{}", at.format("%Y%m%dT%H%M%SZ"), database.unwrap_or_default());
    Manifest {
        format: 1,
        cluster: "main".into(),
        kind,
        object: format!("{name}.tar.zst.age"),
        name,
        bytes,
        sha256: Sha256([0; 32]),
        taken_at: at,
        stored_at: at,
        sequence: at.timestamp_millis() as u64,
        recipients: vec!["age1".into(), "age2".into()],
        tags: Vec::new(),
        stores: Vec::new(),
        produced: Produced { database: database.map(Into::into), ..Produced::new(kind, at, "tar.zst") },
        tools: Vec::new(),
    }
}

fn base(start_lsn: String, stop_lsn: String, at: DateTime<Utc>) -> Base {
    let settings = Settings {
        max_connections: 100,
        max_worker_processes: 8,
        max_wal_senders: 10,
        max_prepared_transactions: 0,
        max_locks_per_transaction: 64,
    };
    Base {
        timeline: 1,
        start_lsn,
        stop_lsn,
        started_at: at,
        stopped_at: at,
        wal_segment_bytes: 16 << 20,
        page_bytes: 8192,
        page_checksums: false,
        from_standby: false,
        tablespaces: Vec::new(),
        settings,
        wal: WalKept::Archived,
        damaged_pages: 0,
        catalog_version: 202_209_061,
        files: 1,
    }
}
