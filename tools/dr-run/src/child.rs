//! The command that is vouched for, from its start to its end.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use dr_pipe::stop::{OnStop, gate, on_stop};
use dr_pipe::{Exit, Failure};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, kill_process_group, waitid};

/// How long the command may take to end after SIGTERM, before SIGKILL.
const GRACE: Duration = Duration::from_secs(3);

/// The command while it runs. It is ended when a signal asks this process to stop.
pub struct Running {
    child: Child,
    target: Target,
    name: String,
    end_on_stop: OnStop,
}

/// What signals go to.
#[derive(Clone, Copy)]
struct Target {
    pid: Pid,
    /// Whether the command has a process group of its own, so that a shell's children get the signal too.
    group: bool,
}

impl Running {
    /// Starts `command` with our standard input and error; its standard output is taken by [`Running::output`].
    ///
    /// # Errors
    /// 66 if there is no such program, 77 if it may not be run.
    pub fn start(command: &[OsString]) -> Result<Self, Failure> {
        let (program, arguments) = command.split_first().expect("clap asks for a command");
        let name = program.to_string_lossy().into_owned();
        let mut command = Command::new(program);
        command.args(arguments).stdout(Stdio::piped());
        // With a terminal, the keyboard's signals must reach the command, and it may ask there for a password: a group of
        // its own would be stopped for that. Without one, nobody signals it but us.
        let group = File::open("/dev/tty").is_err();
        if group {
            command.process_group(0);
        }
        let _open = gate();
        let child = command.spawn().map_err(|error| cannot_start(&name, &error))?;
        let target = Target { pid: Pid::from_child(&child), group };
        Ok(Running { child, target, name, end_on_stop: on_stop(move || target.end()) })
    }

    /// The command's standard output. Once.
    pub fn output(&mut self) -> ChildStdout {
        self.child.stdout.take().expect("it is piped, and taken once")
    }

    /// Waits for the command to end by itself.
    ///
    /// # Errors
    /// 66 if it does not exit with 0: what it wrote is not a backup.
    pub fn finish(self) -> Result<(), Failure> {
        let name = self.name.clone();
        let status = self.reap().map_err(|error| Failure::io(format!("waiting for {name}"), &error))?;
        if status.success() {
            return Ok(());
        }
        let hint = match status.signal() {
            Some(9) => "the kernel kills what takes too much memory: see dmesg(1); nothing was published",
            _ => "its own message says why; nothing was published",
        };
        Err(Failure::new(Exit::Missing, format!("{name} {}", describe(status)), hint))
    }

    /// Ends the command, because nobody can take what it writes any more.
    pub fn end(self) {
        self.target.end();
        // How it ended does not matter: the reason for ending it is what gets reported.
        drop(self.reap());
    }

    fn reap(mut self) -> io::Result<ExitStatus> {
        // Until the clean-up is taken back, the command must stay a zombie: its number could go to another process.
        self.target.wait()?;
        drop(self.end_on_stop);
        self.child.wait()
    }
}

impl Target {
    /// Asks the command to end, and after a while does not ask any more.
    fn end(self) {
        self.signal(Signal::TERM);
        let (gone, wait) = mpsc::channel();
        std::thread::spawn(move || gone.send(self.wait().is_ok()));
        if wait.recv_timeout(GRACE).is_err() {
            self.signal(Signal::KILL);
        }
    }

    fn signal(self, signal: Signal) {
        let sent = if self.group { kill_process_group(self.pid, signal) } else { kill_process(self.pid, signal) };
        // Where that fails it has ended meanwhile, which is all that is wanted, or it runs as somebody whom we may not
        // signal (sudo): then it ends when it next writes, as nobody reads.
        sent.unwrap_or_default();
    }

    /// Waits until the command has ended, and leaves it to be reaped.
    fn wait(self) -> io::Result<()> {
        loop {
            match waitid(WaitId::Pid(self.pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn cannot_start(name: &str, error: &io::Error) -> Failure {
    if error.kind() == io::ErrorKind::NotFound {
        return Failure::new(Exit::Missing, format!("{name}: no such program"), "install it, or give its whole path");
    }
    Failure::io(name, error)
}

fn describe(status: ExitStatus) -> String {
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
