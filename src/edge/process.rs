//! One child process: started in a group of its own, spoken to over pipes that never block, signalled, and reaped. Passive:
//! it is told when its pipes are ready. Knows nothing of what is said.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use wait_timeout::ChildExt;

use crate::outcome::Exit;

/// What to start.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program's file.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<OsString>,
    /// Where it runs.
    pub cwd: PathBuf,
    /// Variables added to zen's own, or, `None`, taken away.
    pub variables: Vec<(OsString, Option<OsString>)>,
}

/// How long after SIGKILL an end is waited for.
const END_LIMIT: Duration = Duration::from_millis(200);

/// A running child.
#[derive(Debug)]
pub struct Process {
    child: Child,
    input: Option<Input>,
    output: Option<ChildStdout>,
    errors: Option<ChildStderr>,
}

/// What is still to be written to a child's standard input.
#[derive(Debug)]
struct Input {
    pipe: ChildStdin,
    unsent: Vec<u8>,
    sent: usize,
    close_when_sent: bool,
}

/// What came of reading a pipe once.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// So many bytes.
    Bytes(usize),
    /// Nothing for now.
    Nothing,
    /// Its end.
    End,
}

/// Lets this process and its children have as many descriptors as the system allows. Answers the limit that was set before, which
/// children get back: some programs close every descriptor that they might have.
pub fn raise_descriptor_limit() -> Option<(u64, u64)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok()?;
    Some((soft, hard))
}

impl Process {
    /// Starts a child in a process group of its own. On Linux it is sent SIGTERM when zen ends in whatever way. It is not
    /// started if that would leave zen with less than so many descriptors.
    ///
    /// # Errors
    /// The system's, with the program's name where that is what is missing.
    pub fn start(launch: &Launch, descriptor_limit: Option<(u64, u64)>, spare_descriptors: usize) -> io::Result<Self> {
        let mut command = Command::new(&launch.program);
        command.args(&launch.arguments).current_dir(&launch.cwd).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        for (name, value) in &launch.variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let parent = nix::unistd::getpid();
        // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
        unsafe {
            command.pre_exec(move || {
                if let Some((soft, hard)) = descriptor_limit {
                    let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
                }
                die_with(parent)
            });
        }
        let spare = reserve(spare_descriptors)?;
        let mut child = command.spawn()?;
        drop(spare);
        let input = child.stdin.take().map(|pipe| Input { pipe, unsent: Vec::new(), sent: 0, close_when_sent: false });
        let process = Process { input, output: child.stdout.take(), errors: child.stderr.take(), child };
        for fd in [process.input_fd(), process.output_fd(), process.errors_fd()].into_iter().flatten() {
            fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(process)
    }

    /// Its process id, which is also its group's.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input, as long as it is open.
    #[must_use]
    pub fn input_fd(&self) -> Option<BorrowedFd<'_>> {
        self.input.as_ref().map(|input| input.pipe.as_fd())
    }

    /// Whether there is something to write.
    #[must_use]
    pub fn has_unsent(&self) -> bool {
        self.input.as_ref().is_some_and(|input| input.sent < input.unsent.len())
    }

    /// Its standard output, as long as it is open.
    #[must_use]
    pub fn output_fd(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(AsFd::as_fd)
    }

    /// Its standard error, as long as it is open.
    #[must_use]
    pub fn errors_fd(&self) -> Option<BorrowedFd<'_>> {
        self.errors.as_ref().map(AsFd::as_fd)
    }

    /// Writes this to it, now or when it is ready to read. Answers false if it reads no more.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        match &mut self.input {
            Some(input) => {
                input.unsent.extend_from_slice(bytes);
                self.write_on()
            }
            None => false,
        }
    }

    /// Closes its standard input once all is written.
    pub fn close_input(&mut self) {
        if let Some(input) = &mut self.input {
            input.close_when_sent = true;
            self.write_on();
        }
    }

    /// Writes what it takes. Answers false if it has closed its end with something unsent.
    pub fn write_on(&mut self) -> bool {
        let Some(input) = &mut self.input else { return true };
        while input.sent < input.unsent.len() {
            match input.pipe.write(&input.unsent[input.sent..]) {
                Ok(count) => input.sent += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => {
                    self.input = None;
                    return false;
                }
            }
        }
        input.unsent = Vec::new();
        input.sent = 0;
        if input.close_when_sent {
            self.input = None;
        }
        true
    }

    /// Reads its standard output once.
    pub fn read_output(&mut self, buffer: &mut [u8]) -> Heard {
        read_once(&mut self.output, buffer)
    }

    /// Reads its standard error once.
    pub fn read_errors(&mut self, buffer: &mut [u8]) -> Heard {
        read_once(&mut self.errors, buffer)
    }

    /// Asks its group to end. A stopped process takes no signal before it is continued.
    pub fn terminate(&self) {
        self.signal_group(Signal::SIGTERM);
        self.signal_group(Signal::SIGCONT);
    }

    /// Ends its group. While the process is not reaped, nobody else can have its group's number.
    pub fn kill(&self) {
        self.signal_group(Signal::SIGKILL);
    }

    /// Reaps it, if it has ended; its group ends with it.
    pub fn reap(&mut self) -> Option<Exit> {
        self.reap_within(Duration::ZERO)
    }

    /// Reaps it, if it ends within that time.
    pub fn reap_within(&mut self, limit: Duration) -> Option<Exit> {
        // wait-timeout needs descriptors to wait. Asking without them does as well.
        let status = match is_wait_ready() {
            true => self.child.wait_timeout(limit).or_else(|_| self.child.try_wait()),
            false => self.child.try_wait(),
        };
        let status = status.ok()??;
        Some(match status.signal() {
            Some(signal) => Exit::Signal(signal),
            None => Exit::Code(status.code().unwrap_or(-1)),
        })
    }

    /// And itself, which may have left its group.
    fn signal_group(&self, signal: Signal) {
        let pid = Pid::from_raw(self.pid().cast_signed());
        let _ = killpg(pid, signal);
        let _ = kill(pid, signal);
    }
}

/// Takes so many descriptors, for as long as the answer is kept.
fn reserve(count: usize) -> io::Result<Vec<OwnedFd>> {
    let null = OwnedFd::from(File::open("/dev/null")?);
    (0..count).map(|_| null.try_clone()).collect()
}

/// Whether wait-timeout may be used: at its first use it makes a pair of sockets, and panics where it cannot.
fn is_wait_ready() -> bool {
    static IS_READY: AtomicBool = AtomicBool::new(false);
    IS_READY.load(Ordering::Relaxed) || {
        let is_ready = UnixStream::pair().is_ok();
        IS_READY.store(is_ready, Ordering::Relaxed);
        is_ready
    }
}

/// Whatever way the loop is left, a panic included, no child is left behind.
impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
            // Not for ever: one of another user, or one that the kernel holds, cannot be ended.
            self.reap_within(END_LIMIT);
        }
    }
}

fn read_once(pipe: &mut Option<impl Read>, buffer: &mut [u8]) -> Heard {
    let Some(open) = pipe else { return Heard::Nothing };
    match open.read(buffer) {
        Ok(0) => {
            *pipe = None;
            Heard::End
        }
        Ok(count) => Heard::Bytes(count),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => Heard::Nothing,
        Err(_) => {
            *pipe = None;
            Heard::End
        }
    }
}

#[cfg(target_os = "linux")]
fn die_with(parent: Pid) -> io::Result<()> {
    nix::sys::prctl::set_pdeathsig(Signal::SIGTERM)?;
    // If zen ended before that took hold, the signal will never come.
    if nix::unistd::getppid() == parent { Ok(()) } else { Err(io::ErrorKind::Interrupted.into()) }
}

#[cfg(not(target_os = "linux"))]
fn die_with(_parent: Pid) -> io::Result<()> {
    Ok(())
}
