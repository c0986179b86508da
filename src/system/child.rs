//! One child process: started in a session of its own, signalled, and reaped. Its standard input and output are sockets, its
//! standard error is a pipe, and zen's ends never block. Passive: the caller polls them. Knows nothing of the protocol.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
#[cfg(target_os = "linux")]
use std::os::fd::AsRawFd;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wait_timeout::ChildExt;

#[cfg(target_os = "linux")]
use super::reaper;
use crate::engine::outcome::ExitStatus;

/// What to start.
#[derive(Clone, Debug)]
pub struct SpawnSpec {
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
    /// On Linux the reaper of the program, else the program itself.
    child: Child,
    /// The program's process id, which is also its group's.
    pid: i32,
    shared: SharedPage,
    input: Option<StdinBuffer>,
    output: Option<UnixStream>,
    errors: Option<ChildStderr>,
}

/// What is still to be written to a child's standard input.
#[derive(Debug)]
struct StdinBuffer {
    socket: UnixStream,
    unsent: Vec<u8>,
    sent: usize,
    close_when_sent: bool,
}

/// What came of reading a pipe once.
#[derive(Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// So many bytes.
    Data(usize),
    /// Nothing for now.
    WouldBlock,
    /// Its end.
    Eof,
}

/// Lets this process and its children have as many descriptors as the system allows. Answers the limit that was set before, which
/// children get back: some programs close every descriptor that they might have.
pub fn raise_descriptor_limit() -> Option<(u64, u64)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok()?;
    Some((soft, hard))
}

impl Process {
    /// Starts a program in a session of its own, so that it has no terminal. It inherits no descriptor but the standard three.
    /// On Linux a reaper stands between zen and the program, which keeps the descriptors `kept` until nothing is left of what the
    /// program has started. Nothing is started if that would leave zen with less than so many descriptors.
    ///
    /// # Errors
    /// The system's, with the program's name where that is what is missing.
    pub fn start(
        launch: &SpawnSpec,
        descriptor_limit: Option<(u64, u64)>,
        spare_descriptors: usize,
        kept: &[BorrowedFd],
    ) -> io::Result<Self> {
        let mut command = Command::new(&launch.program);
        command.args(&launch.arguments).current_dir(&launch.cwd);
        let (input, child_stdin) = one_way_pair(Shutdown::Read)?;
        let (output, child_stdout) = one_way_pair(Shutdown::Write)?;
        command.stdin(OwnedFd::from(child_stdin)).stdout(OwnedFd::from(child_stdout)).stderr(Stdio::piped());
        for (name, value) in &launch.variables {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        let shared = SharedPage::new()?;
        let mut interpose = interpose(shared.0, kept);
        // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
        unsafe {
            command.pre_exec(move || {
                if let Some((soft, hard)) = descriptor_limit {
                    let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
                }
                interpose()
            });
        }
        let spare = reserve(spare_descriptors)?;
        // It returns when exec(2) has succeeded or failed, which comes after the process id was stored.
        let mut child = command.spawn()?;
        drop(spare);
        let input = Some(StdinBuffer { socket: input, unsent: Vec::new(), sent: 0, close_when_sent: false });
        let pid = shared.0.pid.load(Ordering::Acquire);
        let process = Process { input, output: Some(output), errors: child.stderr.take(), pid, shared, child };
        for fd in [process.stdin_fd(), process.stdout_fd(), process.stderr_fd()].into_iter().flatten() {
            fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(process)
    }

    /// The program's process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    /// The process id of zen's child, which ends when nothing is left of the program.
    #[must_use]
    pub fn child(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Its standard input, as long as it is open.
    #[must_use]
    pub fn stdin_fd(&self) -> Option<BorrowedFd<'_>> {
        self.input.as_ref().map(|input| input.socket.as_fd())
    }

    /// Whether there is something to write.
    #[must_use]
    pub fn has_pending_stdin(&self) -> bool {
        self.input.as_ref().is_some_and(|input| input.sent < input.unsent.len())
    }

    /// Its standard output, as long as it is open.
    #[must_use]
    pub fn stdout_fd(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(AsFd::as_fd)
    }

    /// Its standard error, as long as it is open.
    #[must_use]
    pub fn stderr_fd(&self) -> Option<BorrowedFd<'_>> {
        self.errors.as_ref().map(AsFd::as_fd)
    }

    /// Writes this to it, now or when it is ready to read. Answers false if it reads no more.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        match &mut self.input {
            Some(input) => {
                input.unsent.extend_from_slice(bytes);
                self.flush_stdin()
            }
            None => false,
        }
    }

    /// Closes its standard input once all is written.
    pub fn close_input(&mut self) {
        if let Some(input) = &mut self.input {
            input.close_when_sent = true;
            self.flush_stdin();
        }
    }

    /// Writes what it takes. Answers false if it has closed its end with something unsent.
    pub fn flush_stdin(&mut self) -> bool {
        let Some(input) = &mut self.input else { return true };
        while input.sent < input.unsent.len() {
            match input.socket.write(&input.unsent[input.sent..]) {
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
    pub fn read_stdout(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        read_once(&mut self.output, buffer)
    }

    /// Reads its standard error once.
    pub fn read_stderr(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        read_once(&mut self.errors, buffer)
    }

    /// Returns true if processes that the program had started were alive when it had ended. Known once it is reaped.
    #[must_use]
    pub fn left_processes(&self) -> bool {
        self.shared.0.has_left_processes.load(Ordering::Acquire)
    }

    /// Asks the program's group to end. A stopped process takes no signal before it is continued.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
        self.signal(Signal::SIGCONT);
    }

    /// Kills the program, and on Linux everything that it has started.
    pub fn kill(&self) {
        #[cfg(target_os = "linux")]
        self.signal(reaper::KILL_ALL);
        #[cfg(not(target_os = "linux"))]
        self.signal(Signal::SIGKILL);
        self.signal(Signal::SIGCONT);
    }

    /// Kills the reaper itself, if it does not do its work. What it has reaped until then is not known.
    pub fn kill_reaper(&self) {
        let _ = kill(Pid::from_raw(self.child()), Signal::SIGKILL);
    }

    /// Reaps it, if it has ended.
    pub fn reap(&mut self) -> Option<ExitStatus> {
        self.reap_within(Duration::ZERO)
    }

    /// Reaps it, if it ends within that time.
    pub fn reap_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        // wait-timeout needs descriptors to wait. Asking without them does as well.
        let status = match is_wait_ready() {
            true => self.child.wait_timeout(limit).or_else(|_| self.child.try_wait()),
            false => self.child.try_wait(),
        };
        let status = status.ok()??;
        Some(match status.signal() {
            Some(signal) => ExitStatus::Signal(signal),
            None => ExitStatus::Code(status.code().unwrap_or(-1)),
        })
    }

    /// Sends a signal to the reaper, which passes it on. A process that is not reaped keeps its process id.
    #[cfg(target_os = "linux")]
    fn signal(&self, signal: Signal) {
        let _ = kill(Pid::from_raw(self.child()), signal);
    }

    /// Sends a signal to the program and its group.
    #[cfg(not(target_os = "linux"))]
    fn signal(&self, signal: Signal) {
        let _ = nix::sys::signal::killpg(Pid::from_raw(self.pid), signal);
        let _ = kill(Pid::from_raw(self.pid), signal);
    }
}

/// Returns a connected pair of sockets for one direction of data: zen's end and the child's.
///
/// A process of the same user can open a pipe as `/proc/PID/fd/N`, but not a socket (ENXIO). So a tool can neither write
/// lines in claude's name nor read or write claude's input. If claude exits before all its output is read, node drops what
/// the kernel has not taken; a socket takes more than a pipe (measured on 1.0.128, 2.0.76, 2.1.330 and 2.1.332).
fn one_way_pair(closed: Shutdown) -> io::Result<(UnixStream, UnixStream)> {
    let (own, child) = UnixStream::pair()?;
    own.shutdown(closed)?;
    Ok((own, child))
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

fn read_once(pipe: &mut Option<impl Read>, buffer: &mut [u8]) -> ReadOutcome {
    let Some(open) = pipe else { return ReadOutcome::WouldBlock };
    match open.read(buffer) {
        Ok(0) => {
            *pipe = None;
            ReadOutcome::Eof
        }
        Ok(count) => ReadOutcome::Data(count),
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => ReadOutcome::WouldBlock,
        Err(_) => {
            *pipe = None;
            ReadOutcome::Eof
        }
    }
}

/// What a forked child does last before exec(2).
#[cfg(target_os = "linux")]
fn interpose(shared: &'static Shared, kept: &[BorrowedFd]) -> impl FnMut() -> io::Result<()> + use<> {
    let mut kept: Vec<i32> = kept.iter().map(AsRawFd::as_raw_fd).collect();
    kept.sort_unstable();
    let zen = std::process::id().cast_signed();
    move || reaper::interpose(zen, &kept, shared)
}

#[cfg(not(target_os = "linux"))]
fn interpose(shared: &'static Shared, _kept: &[BorrowedFd]) -> impl FnMut() -> io::Result<()> + use<> {
    || {
        nix::unistd::setsid()?;
        shared.pid.store(std::process::id().cast_signed(), Ordering::Release);
        Ok(())
    }
}

/// What a program and its reaper report to zen, in memory that they share.
#[derive(Debug)]
pub(super) struct Shared {
    /// The program's process id, stored before exec(2).
    pub(super) pid: AtomicI32,
    /// True if something that the program had started was alive when the program had ended.
    pub(super) has_left_processes: AtomicBool,
}

/// The memory of one program's [`Shared`]. The program's reaper has a mapping of its own.
#[derive(Debug)]
struct SharedPage(&'static Shared);

impl SharedPage {
    fn new() -> io::Result<Self> {
        let writable = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping, filled with zeros.
        let place = unsafe { libc::mmap(std::ptr::null_mut(), size_of::<Shared>(), writable, flags, -1, 0) };
        if place == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a mapping is aligned to a page, zeros are a valid value, and it is there as long as the page is.
        Ok(SharedPage(unsafe { &*place.cast::<Shared>() }))
    }
}

impl Drop for SharedPage {
    fn drop(&mut self) {
        let place = std::ptr::from_ref(self.0).cast_mut().cast();
        // SAFETY: it was mapped with this length, and the command that had the reference is gone.
        unsafe { libc::munmap(place, size_of::<Shared>()) };
    }
}
