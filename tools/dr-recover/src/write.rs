//! Makes the directory: everything but what would let a server start, durably; then that.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Utc};
use dr_pipe::progress::Progress;
use dr_pipe::{Exit, Failure, warn};

use crate::adapt::{self, Configuration};
use crate::args::Args;
use crate::delta::{self, Difference};
use crate::directory::{self, MARKER, Marker, State};
use crate::layout::{ADAPTED, CONFIG, LAST, Layout, NEEDED};
use crate::plan::Planned;
use crate::recover::READ_AHEAD;
use crate::settings::{Recovery, raised};
use crate::tablespaces::{Placed, place};
use crate::{TOOL, backup_manifest, fetch, made, old_wal, unpack};

/// The directory of the links to tablespaces.
const LINKS: &str = "pg_tblspc";

/// Gives back the right to make tablespaces. PostgreSQL runs it in the data directory.
const RELEASE: &str = "chmod u+w pg_tblspc";

/// Without it no server starts.
const CONTROL: &str = "global/pg_control";

/// Largest `backup_label` and pg_control.
const MAX_SMALL_BYTES: u64 = 1 << 20;

/// What is done with a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It is empty: everything is written.
    Anew,
    /// The one that is there is renamed first.
    Aside,
    /// Files that are equal stay.
    Over,
}

/// What was done.
#[derive(Debug, Default)]
pub struct Written {
    /// Bytes that were written.
    pub written_bytes: u64,
    /// Bytes that stayed.
    pub kept_bytes: u64,
    /// Where the old directory is.
    pub moved_aside: Option<PathBuf>,
}

/// What a restore works with once it has begun.
struct Begun {
    /// Opened before anything is written: a file system tells of its failures since then.
    disks: Vec<File>,
    difference: Option<Difference>,
}

/// What is to be written, and where; made without writing anything.
pub struct Work<'a> {
    planned: &'a Planned<'a>,
    args: &'a Args,
    mode: Mode,
    layout: Layout,
    placed: Vec<Placed>,
    configuration: Configuration,
    recovery: Recovery,
    /// Whether configuration from outside goes into the directory.
    outside: bool,
    /// Directories of tablespaces that the replay makes.
    made: Vec<PathBuf>,
    /// Whether the replay is held up where it would make a tablespace: nothing is known of one.
    guarded: bool,
}

impl<'a> Work<'a> {
    /// Looks whether it may be done.
    ///
    /// # Errors
    /// 73 where something is in the way, 80 where the directory is another cluster's or a server runs there, 74 where there is too
    /// little space, 64 or 78 where tablespaces or programs do not fit.
    pub fn prepare(planned: &'a Planned<'a>, args: &'a Args) -> Result<Self, Failure> {
        let mode = mode(planned, args)?;
        let placed = place(&planned.base.tablespaces, &args.tablespaces, args.tablespaces_below.as_deref(), &args.into)?;
        let inside = Configuration::read(&planned.archive, false)?;
        let outside = args.config || inside.conf.is_none() || inside.points_away();
        let configuration = if outside { Configuration::read(&planned.archive, true)? } else { inside };
        let layout = Layout::new(&args.into, &placed, outside);
        let made = made::directories(&planned.made, &placed, None).map_err(|failure| failure.leaving("nothing was written"))?;
        // A standby follows its primary.
        let guarded = !args.standby && planned.made.is_empty();
        let recovery = Recovery {
            about: planned.about(args),
            restore_command: fetch::command(args, &planned.survey.locations(), &planned.seen(args))?,
            target: planned.chosen.setting().filter(|_| !args.standby),
            inclusive: planned.chosen.inclusive,
            timeline: timeline(planned, args),
            action: (!args.standby).then(|| args.target.target_action.as_str()),
            primary_conninfo: args.primary_conninfo.clone(),
            at_least: raised(&planned.base.settings, &[configuration.conf.as_deref().unwrap_or_default(), &configuration.auto]),
            end_command: if guarded { RELEASE } else { "" },
            set: set(planned, args, guarded),
        };
        let work = Work { planned, args, mode, layout, placed, configuration, recovery, outside, made, guarded };
        work.look_at_tablespaces()?;
        if mode != Mode::Over {
            work.look_at_space(|_| false, 0)?;
        }
        if args.preflight {
            work.try_writing()?;
        }
        Ok(work)
    }

    /// Does it.
    ///
    /// # Errors
    /// 65 for what is damaged, 69 where the store fails, 74 where a file cannot be written. What was written then does not start,
    /// and the same call goes on with it.
    pub fn write(&self, now: DateTime<Utc>, progress: &Progress) -> Result<Written, Failure> {
        let mut written = Written::default();
        if self.mode == Mode::Aside {
            written.moved_aside = Some(directory::move_aside(&self.args.into, now)?);
        }
        let begun = self.begin(now, progress).map_err(|failure| failure.leaving("no file was written or removed"))?;
        let half =
            || format!("{} is half made, and no server starts from it; the same command goes on with it", self.args.into.display());
        self.fill(&begun, now, progress, &mut written).map_err(|failure| match failure.exit {
            Exit::Io => Failure { hint: "free space there, or choose another place".into(), ..failure }.leaving(half()),
            _ => failure.leaving(half()),
        })?;
        Ok(written)
    }

    /// Makes the directories, looks what can stay, and says what is being done.
    fn begin(&self, now: DateTime<Utc>, progress: &Progress) -> Result<Begun, Failure> {
        self.layout.roots().chain(self.made.iter().map(PathBuf::as_path)).try_for_each(directory::make)?;
        let disks = self.disks()?;
        let difference = if self.mode == Mode::Over { Some(self.compare(progress)?) } else { None };
        directory::mark(&self.args.into, &self.marker(now))?;
        Ok(Begun { disks, difference })
    }

    fn fill(&self, begun: &Begun, now: DateTime<Utc>, progress: &Progress, written: &mut Written) -> Result<(), Failure> {
        let Begun { disks, difference } = begun;
        let mut left_out = self.left_out();
        if let Some(difference) = difference {
            self.guard(false)?;
            self.make_room(difference, now)?;
            written.kept_bytes = difference.kept_bytes;
            left_out.extend(difference.kept.iter().map(String::as_str));
        }
        unpack::directories(self.planned.archive.contents(), &self.layout, &NEEDED)?;
        written.written_bytes = unpack::files(&self.planned.archive, &self.layout, &left_out, self.args.jobs.workers(), progress)?;
        for (link, to) in self.layout.links() {
            symlink(to, &link).map_err(|error| Failure::io(link.display(), &error))?;
        }
        let signal = if self.args.standby { "standby.signal" } else { "recovery.signal" };
        // The links are there; for those of the map PostgreSQL needs to write where the guard forbids it.
        let mapped = if self.guarded { &[][..] } else { &self.placed };
        adapt::write(&self.args.into, &self.configuration, &self.recovery, mapped, signal)?;
        if self.guarded {
            self.guard(true)?;
        }
        self.sync(disks)?;
        for path in LAST {
            let bytes = self.planned.archive.member(path, MAX_SMALL_BYTES)?.unwrap_or_default();
            adapt::file(&self.args.into.join(path), &bytes)?;
            written.written_bytes += bytes.len() as u64;
        }
        self.sync(disks)?;
        let marker = self.args.into.join(MARKER);
        fs::remove_file(&marker).map_err(|error| Failure::io(marker.display(), &error))?;
        self.sync(&disks[..1])
    }

    /// Whether the server can make tablespaces. PostgreSQL replays the making of one into the directory where it was, be that in use
    /// by the server that it comes from: unless it cannot make the link, which it tries before it touches a file there.
    fn guard(&self, on: bool) -> Result<(), Failure> {
        let path = self.args.into.join(LINKS);
        let set = |there: fs::Metadata| {
            let mode = there.permissions().mode();
            fs::set_permissions(&path, fs::Permissions::from_mode(if on { mode & !0o200 } else { mode | 0o200 }))
        };
        match fs::metadata(&path).and_then(set) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(Failure::io(path.display(), &error)),
            _ => Ok(()),
        }
    }

    /// Lets the replay make the tablespaces at which it was held up, if nothing is in their way. All WAL is read for it.
    ///
    /// # Errors
    /// 80 where something is; as reading the WAL.
    pub fn release(&self) -> Result<(), Failure> {
        let stopped = || format!("{} is restored, and its server ended before it", self.args.into.display());
        // Its mode was changed just before the server began.
        let links = self.args.into.join(LINKS);
        let changed = fs::metadata(&links).map_err(|error| Failure::io(links.display(), &error))?;
        let held_up = SystemTime::UNIX_EPOCH + Duration::new(changed.ctime().unsigned_abs(), changed.ctime_nsec() as u32);
        let made = made::directories(&self.planned.creations()?, &self.placed, Some(held_up));
        let made = made.map_err(|failure| failure.leaving(stopped()))?;
        made.iter().map(PathBuf::as_path).try_for_each(directory::make)?;
        self.guard(false)
    }

    /// Whether directories and files can be made where they are to be.
    fn try_writing(&self) -> Result<(), Failure> {
        let aside = self.args.into.parent().filter(|_| self.mode == Mode::Aside);
        let places = self.layout.roots().chain(self.made.iter().map(PathBuf::as_path));
        aside.into_iter().chain(places).try_for_each(directory::try_writing)
    }

    /// The members that are not simply unpacked.
    fn left_out(&self) -> HashSet<&str> {
        let mut left_out: HashSet<&str> = LAST.into_iter().chain(ADAPTED).collect();
        let members = self.planned.archive.contents().members().map(|member| member.path.as_str());
        for (path, name) in members.filter_map(|path| Some((path, path.strip_prefix(CONFIG)?))) {
            if self.outside {
                // Of two files for one place that from outside is the one that the server read.
                left_out.insert(if ADAPTED.contains(&name) { path } else { name });
            }
        }
        left_out
    }

    fn compare(&self, progress: &Progress) -> Result<Difference, Failure> {
        let listed = self.planned.archive.member("backup_manifest", backup_manifest::MAX_BYTES)?;
        let listed = listed.map_or_else(|| Ok(Default::default()), |text| backup_manifest::parse(&text))?;
        let contents = self.planned.archive.contents();
        let difference = delta::compare(contents, &listed, &self.layout, self.args.jobs.workers(), progress)?;
        self.look_at_space(|member| difference.kept.contains(member), difference.removed_bytes)?;
        Ok(difference)
    }

    fn make_room(&self, difference: &Difference, now: DateTime<Utc>) -> Result<(), Failure> {
        // First of all what would let a server start.
        for path in [CONTROL, "backup_label"].map(|path| self.args.into.join(path)) {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(Failure::io(path.display(), &error)),
                _ => {}
            }
        }
        if let Some(aside) = old_wal::clear(&self.args.into, &self.planned.survey, now)? {
            warn(TOOL, format!("WAL that is in no store was in pg_wal: it is kept in {}", aside.display()));
        }
        difference.apply()
    }

    fn marker(&self, now: DateTime<Utc>) -> Marker {
        Marker {
            backup: self.planned.manifest.name.clone(),
            sha256: self.planned.manifest.sha256,
            system_identifier: self.planned.manifest.produced.system_identifier.clone(),
            tablespaces: self.placed.iter().map(|placed| placed.to.clone()).collect(),
            started_at: now,
        }
    }

    /// One open directory of each place that is written to.
    fn disks(&self) -> Result<Vec<File>, Failure> {
        let open = |path: &Path| File::open(path).map_err(|error| Failure::io(path.display(), &error));
        self.layout.roots().map(open).collect()
    }

    fn sync(&self, disks: &[File]) -> Result<(), Failure> {
        if self.args.no_sync {
            return Ok(());
        }
        for disk in disks {
            rustix::fs::syncfs(disk).map_err(|error| Failure::io("syncing files to disk", &error.into()))?;
        }
        Ok(())
    }

    /// Tablespaces go to directories that are free, or are this directory's already.
    fn look_at_tablespaces(&self) -> Result<(), Failure> {
        let over = self.mode == Mode::Over;
        let ours = directory::marker(&self.args.into).filter(|_| over).map(|marker| marker.tablespaces).unwrap_or_default();
        for Placed { oid, to } in &self.placed {
            let linked =
                over && fs::read_link(self.args.into.join("pg_tblspc").join(oid.to_string())).is_ok_and(|link| link == *to);
            if linked || ours.contains(to) {
                continue;
            }
            if let State::Taken(names) = directory::look(to)? {
                let way_out = format!("put tablespace {oid} elsewhere: --tablespace {oid}=DIR, or --tablespaces-below DIR");
                return Err(directory::taken(to, &names, &way_out));
            }
        }
        Ok(())
    }

    /// Whether there is space for all that is not `kept`, and a tenth more. The sizes are those of the signed archive.
    fn look_at_space(&self, kept: impl Fn(&str) -> bool, removed_bytes: u64) -> Result<(), Failure> {
        let mut needed: Vec<(u64, u64, u64, PathBuf)> = Vec::new();
        for root in self.layout.roots() {
            let below = |path: &Path| path.starts_with(root);
            let members = self.planned.archive.contents().members().filter(|member| !kept(&member.path));
            let bytes: u64 = members
                .filter(|member| self.layout.of(&member.path).is_some_and(|path| below(&path)))
                .map(|member| member.bytes)
                .sum();
            let (device, free) = directory::free(root)?;
            match needed.iter_mut().find(|(known, ..)| *known == device) {
                Some((_, sum, ..)) => *sum += bytes,
                None => needed.push((device, bytes, free, root.to_owned())),
            }
        }
        for (_, bytes, free, root) in needed {
            let wanted = (bytes + bytes / 10).saturating_sub(removed_bytes);
            if wanted > free {
                let message =
                    format!("{}: {free} bytes are free, and {wanted} are needed: the files and a tenth more", root.display());
                return Err(Failure::new(Exit::Io, message, "free space there, or choose another place; nothing was written"));
            }
        }
        Ok(())
    }
}

/// The timeline as PostgreSQL takes it: it refuses the number of one whose history nobody has.
fn timeline(planned: &Planned<'_>, args: &Args) -> String {
    let timeline = planned.chosen.way.timeline();
    match planned.survey.held.timelines.history(timeline) {
        _ if args.standby => "latest".into(),
        Some(_) => timeline.0.to_string(),
        None => "current".into(),
    }
}

/// What the operator sets; and that WAL is not read ahead, where that could lead into what is missing or of no use behind the target.
fn set(planned: &Planned<'_>, args: &Args, guarded: bool) -> Vec<(String, String)> {
    let mut set = args.set.clone();
    if let Some((_, command)) = set.iter_mut().find(|(name, _)| guarded && name == "recovery_end_command") {
        *command = format!("{RELEASE}; {command}");
    }
    let has_it = planned.major().is_some_and(|major| major >= 15);
    if has_it && !args.standby && !planned.may_read_ahead(!args.wait) {
        set.push((READ_AHEAD.into(), "off".into()));
    }
    set
}

/// What is to be done with the directory as it is.
fn mode(planned: &Planned<'_>, args: &Args) -> Result<Mode, Failure> {
    let ours = |marker: &Marker| marker.sha256 == planned.manifest.sha256;
    match directory::look(&args.into)? {
        State::Free => Ok(Mode::Anew),
        // What is half made is gone on with, or the same command would never end; a server may have run in what is whole.
        State::Begun(marker) if ours(&marker) && (!args.move_aside || !args.into.join(CONTROL).exists()) => {
            warn(TOOL, format!("{}: a restore of {} was begun: it goes on", args.into.display(), marker.backup));
            Ok(Mode::Over)
        }
        _ if args.move_aside => Ok(Mode::Aside),
        State::Begun(marker) if args.delta => {
            same_system(planned, args, marker.system_identifier.as_deref())?;
            Ok(Mode::Over)
        }
        State::Begun(marker) => {
            let message = format!("{}: a restore of another backup was begun there, {}", args.into.display(), marker.backup);
            let hint = "say --backup with that name to go on, --delta to restore over it, or --move-aside; nothing was written";
            Err(Failure::new(Exit::Exists, message, hint))
        }
        State::Taken(names) if args.delta => {
            let control = args.into.join(CONTROL);
            let found = fs::read(&control).ok().and_then(|bytes| Some(u64::from_ne_bytes(bytes.get(..8)?.try_into().ok()?)));
            let Some(found) = found else {
                return Err(directory::taken(
                    &args.into,
                    &names,
                    "it is no data directory, so --delta does not touch it: --move-aside",
                ));
            };
            same_system(planned, args, Some(&found.to_string()))?;
            Ok(Mode::Over)
        }
        State::Taken(_) if args.into.join("recovery.signal").exists() && args.into.join(CONTROL).exists() => {
            let message = format!("{}: a recovery is complete there up to the start of its server", args.into.display());
            let hint = format!(
                "pg_ctl start -D {} goes on with it; --delta restores over it, --move-aside beside it; nothing was written",
                args.into.display()
            );
            Err(Failure::new(Exit::Exists, message, hint))
        }
        State::Taken(names) => {
            let way_out =
                "name an empty directory, or say --move-aside to keep it under another name, or --delta to restore over it";
            Err(directory::taken(&args.into, &names, way_out))
        }
    }
}

fn same_system(planned: &Planned<'_>, args: &Args, found: Option<&str>) -> Result<(), Failure> {
    let expected = planned.manifest.produced.system_identifier.as_deref();
    if expected.is_some() && found == expected {
        return Ok(());
    }
    let (found, expected) = (found.unwrap_or("unknown"), expected.unwrap_or("unknown"));
    let message = format!("{} is a directory of system {found}, and the backup is of {expected}", args.into.display());
    Err(Failure::new(Exit::Refused, message, "name the directory of this cluster, or an empty one; nothing was written"))
}
