//! A command that a tool runs for whoever called it, from its start to its end.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

use crate::failure::stderr_is_journal;
use crate::stop::{OnStop, gate, on_stop};
use crate::{Exit, Failure};

/// How long the command may take to end after SIGTERM, before SIGKILL.
const GRACE: Duration = Duration::from_secs(3);

/// The command while it runs. It is ended when a signal asks this process to stop.
pub struct Running {
    child: Child,
    error: Option<io::PipeReader>,
    target: Target,
    end_on_stop: OnStop,
}

/// How a command is run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Manner {
    /// Whether its standard error is taken by [`Running::error`]; else it has ours.
    pub take_error: bool,
    /// Whether it gets a process group of its own even where there is a terminal, so that all of it can be ended.
    pub always_grouped: bool,
    /// Whether it has our standard output; else that is taken by [`Running::output`].
    pub keep_output: bool,
}

/// What signals go to.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    pid: Pid,
    /// Whether the command has a process group of its own, so that a shell's children get the signal too.
    group: bool,
}

impl Running {
    /// Starts `command`, a program and its arguments, with our standard input.
    ///
    /// # Errors
    /// 66 if there is no such program, 77 if it may not be run.
    ///
    /// # Panics
    /// If `command` is empty.
    pub fn start(command: &[OsString], manner: Manner) -> Result<Self, Failure> {
        Running::start_with(command, manner, &[])
    }

    /// As [`Running::start`], with more in its environment.
    ///
    /// # Errors
    /// As [`Running::start`].
    ///
    /// # Panics
    /// If `command` is empty.
    pub fn start_with(command: &[OsString], manner: Manner, environment: &[(&str, &OsStr)]) -> Result<Self, Failure> {
        let (program, arguments) = command.split_first().expect("clap asks for a command");
        let name = program.to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command.args(arguments).envs(environment.iter().copied());
        if !manner.keep_output {
            command.stdout(Stdio::piped());
        }
        let error =
            if manner.take_error { Some(take_error(&mut command).map_err(|error| Failure::io("a pipe", &error))?) } else { None };
        // With a terminal, the keyboard's signals must reach the command, and it may ask there for a password: a group of
        // its own would be stopped for that. Without one, nobody signals it but us.
        let group = manner.always_grouped || File::open("/dev/tty").is_err();
        if group {
            command.process_group(0);
        }
        let _open = gate();
        let child = command.spawn().map_err(|error| cannot_start(&name, &error))?;
        let target = Target { pid: Pid::from_child(&child), group };
        Ok(Running { child, error, target, end_on_stop: on_stop(move || target.end()) })
    }

    /// The command's standard output. Once.
    ///
    /// # Panics
    /// The second time.
    pub fn output(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("it is piped, and taken once")
    }

    /// The command's standard error, where it is taken. Once.
    pub fn error(&mut self) -> Option<io::PipeReader> {
        self.error.take()
    }

    /// What to end where the command must not go on.
    pub fn target(&self) -> Target {
        self.target
    }

    /// Waits for the command to end by itself.
    ///
    /// # Errors
    /// Where it cannot be waited for.
    pub fn wait(mut self) -> io::Result<ExitStatus> {
        // Until the clean-up is taken back, the command must stay a zombie: its number could go to another process.
        self.target.wait()?;
        drop(self.end_on_stop);
        self.child.wait()
    }

    /// Ends the command, because nobody can take what it writes any more.
    pub fn end(self) {
        self.target.end();
        // How it ended does not matter: the reason for ending it is what gets reported.
        drop(self.wait());
    }
}

impl Target {
    /// Whether the command has a process group of its own; else it has ours, and a terminal's signals reach it without us.
    pub fn is_grouped(self) -> bool {
        self.group
    }

    /// Asks the command to end, and after a while does not ask any more. Only before [`Running::wait`] has given its end.
    pub fn end(self) {
        self.signal(Signal::TERM);
        let (gone, wait) = mpsc::channel();
        std::thread::spawn(move || gone.send(self.wait().is_ok()));
        if wait.recv_timeout(GRACE).is_err() {
            self.signal(Signal::KILL);
        }
    }

    /// Ends what is left of the command, such as children that a shell has left behind, at once. As [`Target::end`].
    pub fn kill(self) {
        self.signal(Signal::KILL);
    }

    /// Sends it a signal. As [`Target::end`].
    pub fn signal(self, signal: Signal) {
        let sent = if self.group { kill_process_group(self.pid, signal) } else { kill_process(self.pid, signal) };
        // Where that fails it has ended meanwhile, which is all that is wanted, or it runs as somebody whom we may not
        // signal (sudo): then it ends when it next writes, as nobody reads.
        sent.unwrap_or_default();
    }

    /// Waits until the command has ended, and leaves it to be reaped.
    ///
    /// # Errors
    /// Where there is no such command any more.
    pub fn wait(self) -> io::Result<()> {
        loop {
            match waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// Gives the command a pipe as its standard error. Where ours is the journal, what comes through the pipe goes there, and the command
/// may say so by its priorities.
fn take_error(command: &mut Command) -> io::Result<io::PipeReader> {
    let (reader, writer) = io::pipe()?;
    if stderr_is_journal() {
        let stat = rustix::fs::fstat(&writer)?;
        command.env("JOURNAL_STREAM", format!("{}:{}", stat.st_dev, stat.st_ino));
    }
    command.stderr(writer);
    Ok(reader)
}

fn cannot_start(name: &str, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::NotFound {
        return Failure::new(Exit::Missing, format!("{name}: no such program"), "install it, or give its whole path");
    }
    Failure::io(name, error)
}

/// How a command ended, in words that follow its name: `exited with 2`, `was killed by SIGKILL`.
pub fn describe(status: ExitStatus) -> String {
    let Some(signal) = status.signal() else {
        return format!("exited with {}", status.code().unwrap_or_default());
    };
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        6 => "SIGABRT",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        15 => "SIGTERM",
        _ => return format!("was killed by signal {signal}"),
    };
    format!("was killed by {name}")
}
