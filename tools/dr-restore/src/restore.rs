//! The verb: from a backup to a database that is proved, in one order that both kinds of backup share.

use std::collections::HashSet;
use std::io::{self, IsTerminal};

use chrono::{DateTime, Utc};
use dr_pipe::progress::Progress;
use dr_pipe::record::{self, Fingerprint, Record, Restored, Subject};
use dr_pipe::{Exit, Failure, Outcome, warn};
use dr_postgres::clients::Client;
use dr_postgres::quote::{identifier, literal};
use dr_postgres::{Error, Session, settings};

use crate::archive_source::Archive;
use crate::args::Args;
use crate::foreign::{Foreign, Means};
use crate::load::Loader;
use crate::plan::Plan;
use crate::preflight::{self, Needs, Report};
use crate::program::OnRefusal;
use crate::prove::prove;
use crate::schema::Definitions;
use crate::server::{Server, settled};
use crate::source::{Request, Source};
use crate::target::{self, HalfMade, Whole};
use crate::{NAMES_AS_UTF8, TOOL, absent, analyze, globals, large_objects, properties};

/// The SQLSTATE for a parameter that the server does not know.
const UNKNOWN_PARAMETER: &str = "42704";

/// What a restore needs beside its source.
struct Restore<'a> {
    args: &'a Args,
    started_at: DateTime<Utc>,
    random: [u8; 2],
    on_refusal: &'a OnRefusal,
    server: Server,
}

/// Restores what the arguments name. `now` is the clock, `random` makes the working name unlike others.
///
/// # Errors
/// As dr-restore(1) lists them under EXIT STATUS.
pub fn restore(args: &Args, now: impl Fn() -> DateTime<Utc>, random: [u8; 2]) -> Outcome {
    let started_at = now();
    let catalogue = args.catalogue();
    let spool_dir = args.spool_directory();
    let request = Request { input: args.input()?, catalogue: &catalogue, identities: &args.identities, spool_dir: &spool_dir };
    let conn = args.connect.resolve(TOOL, Some(&args.maintenance_db))?;
    let mut source = request.open()?;
    let on_refusal = args.on_refusal();
    let mut run = Restore { args, started_at, random, on_refusal: &on_refusal, server: Server::connect(&conn)? };
    let restored = match &mut source {
        Source::Archive(archive) => run.archive(archive)?,
        Source::Foreign(foreign) => run.foreign(foreign)?,
    };
    let Some(mut restored) = restored else { return Ok(Exit::Good) };
    restored.finished_at = now();
    let duration = restored.finished_at - started_at;
    restored.duration_seconds = duration.num_milliseconds() as f64 / 1000.0;
    report(&restored)?;
    Ok(if restored.refused.unwrap_or(0) == 0 { Exit::Good } else { Exit::Bad })
}

impl Restore<'_> {
    /// Restores a dump of ours; none where only the preflight was asked for.
    fn archive(&mut self, archive: &Archive) -> Result<Option<Restored>, Failure> {
        let (args, about) = (self.args, &archive.about);
        let workers = args.jobs.workers();
        let name = args.into.as_ref().unwrap_or(&about.database).clone();
        let left_out = args.left_out();
        if !args.preflight {
            target::is_free(&mut self.server, &name, args.existing())?;
        }
        let mut plan = Plan::of(about, archive.contents(), workers)?;
        if about.server.version / 10_000 > self.server.facts.version / 10_000 {
            // Its definitions could not even be read by a program of the server's version.
            let needs = Needs::of(about, &Needs::default(), left_out, plan.bytes);
            verdict(preflight::compare(&needs, &self.server.facts))?;
        }
        let client = self.client("pg_restore", archive.signed)?;
        let definitions = Definitions::open(archive, &client.path, left_out, self.on_refusal)?;
        self.check(archive, &plan, &definitions)?;
        self.server.facts.room.suffices()?;
        if args.preflight {
            return target::is_free(&mut self.server, &name, args.existing()).map(|()| None);
        }
        let working = target::working_name(&name, self.random);
        let creation = properties::creation(&working, &about.properties, self.server.facts.version, left_out);
        let progress = Progress::new(TOOL, Some(plan.bytes * if self.proves(archive) { 2 } else { 1 }));
        let made = HalfMade::create(&mut self.server, working, args.on_failure(), &creation)?;
        let room = self.server.facts.room.clone();
        let filling = Filling { archive, definitions: &definitions, on_refusal: self.on_refusal, args, progress: &progress };
        let (whole, absent) = made.complete(|database| room.kept(database, || filling.fill(&mut plan, database)))?;
        self.finish(archive, &whole, &progress)?;
        progress.finish();
        let kept = target::kept_name(&name, self.started_at, &self.server.databases()?);
        let kept = whole.rename(&mut self.server, &name, args.existing(), &kept)?;
        Ok(Some(Restored {
            source_database: Some(about.database.clone()),
            backup: archive.backup.clone(),
            taken_at: Some(about.taken_at),
            tables: Some(
                about.tables.iter().filter(|table| table.skipped.is_none() && !absent.contains(&table.into)).count() as u64
            ),
            rows: Some(plan.rows),
            proved: self.proves(archive),
            kept,
            ..self.restored(name)
        }))
    }

    /// Restores a dump of pg_dump; none where only the preflight was asked for.
    fn foreign(&mut self, foreign: &mut Foreign) -> Result<Option<Restored>, Failure> {
        let args = self.args;
        let Some(name) = args.into.clone() else {
            let message = format!("{} does not say which database it is to become", foreign.name);
            return Err(Failure::new(Exit::Usage, message, "name the new database with --into"));
        };
        if args.globals {
            let message = "a dump of pg_dump has no roles to create";
            return Err(Failure::new(
                Exit::Usage,
                message,
                "leave out --globals; restore the output of pg_dumpall --globals-only with psql",
            ));
        }
        if !args.preflight {
            target::is_free(&mut self.server, &name, args.existing())?;
        }
        let client = self.client(foreign.program(), foreign.signed)?;
        let needs = Needs { forced_row_security: false, ..foreign.survey(&client.path, args.left_out())? };
        let mut report = preflight::compare(&needs, &self.server.facts);
        if args.keep_going {
            report.without_extensions();
        }
        verdict(report)?;
        self.server.facts.room.suffices()?;
        if args.preflight {
            return target::is_free(&mut self.server, &name, args.existing()).map(|()| None);
        }
        let working = target::working_name(&name, self.random);
        let encoding = args.encoding.as_ref().map(|encoding| format!(" ENCODING {}", literal(encoding))).unwrap_or_default();
        let creation = format!("CREATE DATABASE {} TEMPLATE template0{encoding}", identifier(&working));
        let progress = Progress::new(TOOL, None);
        let made = HalfMade::create(&mut self.server, working, args.on_failure(), &creation)?;
        let means = Means { program: &client, jobs: args.jobs.workers(), on_refusal: self.on_refusal, progress: &progress };
        let room = self.server.facts.room.clone();
        let (whole, ()) = made.complete(|database| {
            room.kept(database, || {
                foreign.restore(&means, &database.conn, args.left_out())?;
                if args.no_analyze { Ok(()) } else { analyze::analyze(&database.conn, args.jobs.workers()) }
            })
        })?;
        progress.finish();
        let kept = target::kept_name(&name, self.started_at, &self.server.databases()?);
        let kept = whole.rename(&mut self.server, &name, args.existing(), &kept)?;
        Ok(Some(Restored { kept, ..self.restored(name) }))
    }

    /// What every record says.
    fn restored(&self, database: String) -> Restored {
        Restored {
            database,
            source_database: None,
            backup: None,
            taken_at: None,
            started_at: self.started_at,
            finished_at: self.started_at,
            duration_seconds: 0.0,
            tables: None,
            rows: None,
            proved: false,
            refused: self.on_refusal.refused(),
            kept: None,
        }
    }

    fn proves(&self, archive: &Archive) -> bool {
        !self.args.no_prove && !archive.about.scope.schema_only
    }

    /// The program of the server's major version that reads the dump; one with known flaws only where the dump is trusted.
    fn client(&self, program: &str, signed: bool) -> Result<Client, Failure> {
        let major = self.server.facts.version / 10_000;
        let client = Client::find(program, major)?;
        if client.version.major != major {
            warn(TOOL, format!("the server is PostgreSQL {major}, and only {client} is installed here"));
        }
        let flaws = client.known_flaws();
        if flaws.is_empty() || signed || self.args.trust_archive {
            return Ok(client);
        }
        let flaws: Vec<_> = flaws.iter().map(ToString::to_string).collect();
        Err(Failure::new(
            Exit::Refused,
            format!("{client} must not read a dump whose signature was not checked: {}", flaws.join("; ")),
            "install its newest minor version; or --trust-archive, if the dump is your own and nobody else could have changed it; nothing was restored",
        ))
    }

    /// Finds what is missing on the server, and creates missing roles where that is asked for.
    fn check(&mut self, archive: &Archive, plan: &Plan<'_>, definitions: &Definitions<'_>) -> Result<(), Failure> {
        let mut needs = Needs::of(&archive.about, &definitions.needs, self.args.left_out(), plan.bytes);
        let script = if self.args.globals { archive.script("globals.sql")?.unwrap_or_default() } else { String::new() };
        let offered = globals::roles(&script)?;
        needs.roles.retain(|role| !offered.contains(role));
        needs.forced_row_security &= self.proves(archive);
        let mut report = preflight::compare(&needs, &self.server.facts);
        report.missing.extend(self.server.knows_locale(&archive.about.properties)?);
        if self.args.keep_going {
            report.without_extensions();
        }
        verdict(report)?;
        if self.args.globals && !self.args.preflight {
            self.create_roles(&script)?;
        }
        Ok(())
    }

    /// All of them or none.
    fn create_roles(&mut self, script: &str) -> Result<(), Failure> {
        let statements = globals::creation(script, &self.server.facts.roles)?;
        let session = &mut self.server.session;
        session.execute("BEGIN")?;
        for statement in &statements {
            if let Err(error) = session.execute(statement) {
                session.execute("ROLLBACK")?;
                return Err(Failure::from(error)
                    .within("creating the backup's roles")
                    .leaving("no role was created, nothing was restored"));
            }
        }
        session.execute("COMMIT")?;
        self.server.look_again()
    }

    /// Proves the database, and gives it what belongs to it as a whole.
    fn finish(&mut self, archive: &Archive, whole: &Whole, progress: &Progress) -> Result<(), Failure> {
        let kept = |failure: Failure| failure.leaving(format!("the restored database is kept as {}", whole.name));
        if self.proves(archive) {
            let expected = archive.fingerprints().map_err(kept)?;
            let absent = self.absent(&expected, whole).map_err(kept)?;
            prove(&whole.conn, &archive.about, &expected, &absent, self.args.jobs.workers(), progress).map_err(kept)?;
        }
        for statement in properties::settings(&whole.name, &archive.about.properties, self.args.left_out()) {
            match self.server.session.execute(&statement) {
                // Major versions drop parameters, which must not keep a database from getting its name.
                Err(Error::Server(error)) if error.code == UNKNOWN_PARAMETER => {
                    warn(TOOL, format!("left out, as this server does not know it: {statement}: {}", error.message));
                }
                done => {
                    done.map_err(Failure::from).map_err(kept)?;
                }
            }
        }
        for statement in properties::endowment(&whole.name, &archive.about.properties, self.args.left_out()) {
            self.server.session.execute(&statement).map_err(Failure::from).map_err(kept)?;
        }
        self.tell_of_collation_drift(archive, whole)
    }

    /// What of these is not there, where definitions were refused.
    fn absent(&self, expected: &[Fingerprint], whole: &Whole) -> Result<HashSet<String>, Failure> {
        if !self.on_refusal.has_refused() {
            return Ok(HashSet::new());
        }
        let named = |print: &&Fingerprint| matches!(print.subject, Subject::Table | Subject::Sequence);
        absent::among(&mut settled(&whole.conn)?, expected.iter().filter(named).map(|print| &*print.name))
    }

    /// Indexes were built anew, so another version of the collation library harms nothing here; but text may sort otherwise.
    fn tell_of_collation_drift(&mut self, archive: &Archive, whole: &Whole) -> Result<(), Failure> {
        let now = self.server.collation_version(&whole.name)?;
        if let (Some(before), Some(now)) = (&archive.about.properties.collation_version, now)
            && now != *before
        {
            warn(
                TOOL,
                format!(
                    "the collation library was version {before} and is {now}: text may sort in another order than on the source"
                ),
            );
        }
        Ok(())
    }
}

/// With what a new database is filled.
struct Filling<'a> {
    archive: &'a Archive,
    definitions: &'a Definitions<'a>,
    on_refusal: &'a OnRefusal,
    args: &'a Args,
    progress: &'a Progress,
}

impl Filling<'_> {
    /// Puts everything into the new database. Gives the tables whose definitions were refused, and takes their rows out of the plan.
    fn fill(&self, plan: &mut Plan<'_>, database: &HalfMade) -> Result<HashSet<String>, Failure> {
        let Filling { archive, definitions, args, progress, .. } = *self;
        let (workers, tables) = (args.jobs.workers(), &archive.about.tables);
        let mut session = Session::connect(&database.conn, TOOL)?;
        settings::for_restoring(&mut session)?;
        session.execute(NAMES_AS_UTF8)?;
        if let Some(statement) = properties::money(&database.name, &archive.about.properties) {
            session.execute(&statement)?;
        }
        if archive.about.scope.partial {
            definitions.schemas(&mut session, &archive.about)?;
        }
        definitions.pre_data(&database.conn)?;
        let mut absent = HashSet::new();
        if self.on_refusal.has_refused() {
            absent = absent::among(&mut session, tables.iter().map(|table| &*table.into))?;
            absent::leave_out(plan, tables, &absent);
        }
        large_objects::create(&mut session, archive, plan, args.left_out())?;
        let done = Loader { archive, plan, definitions, database, workers, progress }.load()?;
        match archive.script("sequences.sql")? {
            Some(script) if self.on_refusal.has_refused() => absent::sequences(&mut session, &script)?,
            Some(script) => drop(session.execute(&script).map_err(|error| Failure::from(error).within("sequences.sql"))?),
            None => {}
        }
        drop(session);
        definitions.rest(&database.conn, &done, workers)?;
        if !args.no_analyze {
            analyze::analyze(&database.conn, workers)?;
        }
        Ok(absent)
    }
}

fn verdict(report: Report) -> Result<(), Failure> {
    report.warnings.iter().for_each(|warning| warn(TOOL, warning));
    report.verdict()
}

/// One record on standard output; on a terminal a sentence.
fn report(restored: &Restored) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    let written = if out.is_terminal() {
        use io::Write;
        writeln!(out, "{}", sentence(restored))
    } else {
        record::write(&mut out, &Record::Restored(restored.clone()))
    };
    written.map_err(|error| {
        let mut failure = Failure::io("standard output", &error);
        failure.hint = format!("the restore itself is complete: database {}", restored.database);
        failure
    })
}

fn sentence(restored: &Restored) -> String {
    let rows = restored.rows.map(|rows| format!(", {rows} rows")).unwrap_or_default();
    let proved = if restored.proved { ", every row proved" } else { "" };
    let refused = restored.refused.filter(|refused| *refused > 0);
    let refused = refused.map(|refused| format!("; without {refused} definitions that the server refused")).unwrap_or_default();
    let kept = restored.kept.as_ref().map(|kept| format!("; the old one is {kept}")).unwrap_or_default();
    format!("restored into {}{rows} in {:.1} s{proved}{refused}{kept}", restored.database, restored.duration_seconds)
}
