//! Child process: spawns it in a session of its own, transfers its data, signals it and reaps it.
//!
//! Its standard input and output are AF_UNIX socket pairs, its standard error is a pipe. zen's ends never block, and
//! the caller polls them. This module does not parse the data.

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
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use wait_timeout::ChildExt;

#[cfg(target_os = "linux")]
use super::allocator;
#[cfg(target_os = "linux")]
use super::exec_image::ExecImage;
#[cfg(target_os = "linux")]
use super::reaper;
use crate::engine::outcome::ExitStatus;

/// Program to spawn, with its arguments and environment.
#[derive(Clone, Debug)]
pub struct SpawnSpec {
    /// Path of the program.
    pub program: PathBuf,
    /// Arguments of the program, without its name.
    pub arguments: Vec<OsString>,
    /// Working directory.
    pub cwd: PathBuf,
    /// Changes to zen's own environment: variables to set, or to remove if the value is `None`.
    pub variables: Vec<(OsString, Option<OsString>)>,
}

/// Time limit of the wait for the exit after SIGKILL.
const END_LIMIT: Duration = Duration::from_millis(200);

/// A running child.
#[derive(Debug)]
pub struct Process {
    /// On Linux the reaper of the program, on other systems the program itself.
    child: Child,
    /// Process id of the program and of its process group.
    pid: i32,
    shared: SharedSlot,
    input: Option<StdinBuffer>,
    output: Option<UnixStream>,
    errors: Option<ChildStderr>,
}

/// Pending data for a child's standard input.
#[derive(Debug)]
struct StdinBuffer {
    socket: UnixStream,
    unsent: Vec<u8>,
    sent: usize,
    close_when_sent: bool,
}

/// Result of one read(2).
#[derive(Debug, PartialEq, Eq)]
pub enum ReadOutcome {
    /// Number of bytes that were read.
    Data(usize),
    /// No data for now.
    WouldBlock,
    /// End of the stream, or an error.
    Eof,
}

/// Raises the soft limit of open descriptors to the hard limit.
///
/// Returns the limits that were set before, which children get back: some programs close every possible descriptor.
pub fn raise_descriptor_limit() -> Option<(u64, u64)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).ok()?;
    Some((soft, hard))
}

impl Process {
    /// Spawns a program in a session of its own, so that it has no terminal.
    ///
    /// The program inherits only the three standard descriptors. On Linux, the reaper between zen and the program keeps
    /// the descriptors `kept` until no descendant of the program is left. If zen cannot open `spare_descriptors` more
    /// descriptors, nothing is spawned.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn start(
        launch: &SpawnSpec,
        descriptor_limit: Option<(u64, u64)>,
        spare_descriptors: usize,
        kept: &[BorrowedFd],
    ) -> io::Result<Self> {
        let mut command = Command::new(&launch.program);
        command.current_dir(&launch.cwd);
        let (input, child_stdin) = one_way_pair(Shutdown::Read)?;
        let (output, child_stdout) = one_way_pair(Shutdown::Write)?;
        command.stdin(OwnedFd::from(child_stdin)).stdout(OwnedFd::from(child_stdout)).stderr(Stdio::piped());
        let spare = reserve(spare_descriptors)?;
        let shared = SharedSlot::new()?;
        let mut become_program = last_step(&mut command, launch, shared.0, kept)?;
        // SAFETY: between fork and exec only system calls are made, and nothing is allocated.
        unsafe {
            command.pre_exec(move || {
                if let Some((soft, hard)) = descriptor_limit {
                    let _ = setrlimit(Resource::RLIMIT_NOFILE, soft, hard);
                }
                become_program()
            });
        }
        // spawn returns after exec(2) has succeeded or failed; the process id was stored before.
        let mut child = command.spawn().inspect_err(|_| shared.release())?;
        drop(spare);
        let input = Some(StdinBuffer { socket: input, unsent: Vec::new(), sent: 0, close_when_sent: false });
        let pid = shared.0.pid.load(Ordering::Acquire);
        let process = Process { input, output: Some(output), errors: child.stderr.take(), pid, shared, child };
        for fd in [process.stdin_fd(), process.stdout_fd(), process.stderr_fd()].into_iter().flatten() {
            fcntl(fd, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        }
        Ok(process)
    }

    /// Returns the process id of the program.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid.cast_unsigned()
    }

    /// Returns the process id of zen's child: on Linux the reaper, which exits after the last descendant.
    #[must_use]
    pub fn child(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Returns zen's end of the standard input while it is open.
    #[must_use]
    pub fn stdin_fd(&self) -> Option<BorrowedFd<'_>> {
        self.input.as_ref().map(|input| input.socket.as_fd())
    }

    /// Returns true if data for the standard input is pending.
    #[must_use]
    pub fn has_pending_stdin(&self) -> bool {
        self.input.as_ref().is_some_and(|input| input.sent < input.unsent.len())
    }

    /// Returns zen's end of the standard output while it is open.
    #[must_use]
    pub fn stdout_fd(&self) -> Option<BorrowedFd<'_>> {
        self.output.as_ref().map(AsFd::as_fd)
    }

    /// Returns zen's end of the standard error while it is open.
    #[must_use]
    pub fn stderr_fd(&self) -> Option<BorrowedFd<'_>> {
        self.errors.as_ref().map(AsFd::as_fd)
    }

    /// Queues bytes for the standard input and flushes it. Returns false if the child's end is closed.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        match &mut self.input {
            Some(input) => {
                input.unsent.extend_from_slice(bytes);
                self.flush_stdin()
            }
            None => false,
        }
    }

    /// Closes the standard input after all pending data has been written.
    pub fn close_input(&mut self) {
        if let Some(input) = &mut self.input {
            input.close_when_sent = true;
            self.flush_stdin();
        }
    }

    /// Writes pending data until the socket is full. Returns false if the child's end is closed and data is unsent.
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

    /// Reads once from the standard output.
    pub fn read_stdout(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        read_once(&mut self.output, buffer)
    }

    /// Reads once from the standard error.
    pub fn read_stderr(&mut self, buffer: &mut [u8]) -> ReadOutcome {
        read_once(&mut self.errors, buffer)
    }

    /// Returns true if descendants of the program were alive when it exited. Valid after the child was reaped.
    #[must_use]
    pub fn left_processes(&self) -> bool {
        self.shared.0.has_left_processes.load(Ordering::Acquire)
    }

    /// Sends SIGTERM to the program's group, then SIGCONT: a stopped process handles no signal until it is continued.
    pub fn terminate(&self) {
        self.signal(Signal::SIGTERM);
        self.signal(Signal::SIGCONT);
    }

    /// Kills the program: on Linux with all its descendants, on other systems with its process group.
    pub fn kill(&self) {
        #[cfg(target_os = "linux")]
        self.signal(reaper::KILL_ALL);
        #[cfg(not(target_os = "linux"))]
        self.signal(Signal::SIGKILL);
        self.signal(Signal::SIGCONT);
    }

    /// Kills an unresponsive reaper. The exit status of the program is lost, even if the reaper has reaped it.
    pub fn kill_reaper(&self) {
        let _ = kill(Pid::from_raw(self.child()), Signal::SIGKILL);
    }

    /// Reaps the child if it has exited.
    pub fn reap(&mut self) -> Option<ExitStatus> {
        self.reap_within(Duration::ZERO)
    }

    /// Reaps the child if it exits within `limit`.
    pub fn reap_within(&mut self, limit: Duration) -> Option<ExitStatus> {
        // wait-timeout needs descriptors. Without them, check once and do not wait.
        let status = if is_wait_ready() {
            self.child.wait_timeout(limit).or_else(|_| self.child.try_wait())
        } else {
            self.child.try_wait()
        };
        let status = status.ok()??;
        Some(match status.signal() {
            Some(signal) => ExitStatus::Signal(signal),
            None => ExitStatus::Code(status.code().unwrap_or(-1)),
        })
    }

    /// Sends a signal to the reaper, which forwards it. An unreaped process keeps its process id.
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

/// Reserves `count` descriptors until the returned ones are dropped.
fn reserve(count: usize) -> io::Result<Vec<OwnedFd>> {
    let null = OwnedFd::from(File::open("/dev/null")?);
    (0..count).map(|_| null.try_clone()).collect()
}

/// Returns true if wait-timeout can be used: its first use creates a socket pair, and panics if that fails.
fn is_wait_ready() -> bool {
    static IS_READY: AtomicBool = AtomicBool::new(false);
    IS_READY.load(Ordering::Relaxed) || {
        let is_ready = UnixStream::pair().is_ok();
        IS_READY.store(is_ready, Ordering::Relaxed);
        is_ready
    }
}

/// Kills a child that still runs, so that none is left behind, even after a panic.
impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.kill();
            // Bounded: a process of another user, or one that hangs in the kernel, cannot be killed.
            self.reap_within(END_LIMIT);
        }
        if matches!(self.child.try_wait(), Ok(Some(_))) {
            self.shared.release();
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

/// Returns the last step of a forked child before exec(2). On Linux it does not return: the child becomes the reaper,
/// which starts the program.
#[cfg(target_os = "linux")]
fn last_step(
    _command: &mut Command,
    launch: &SpawnSpec,
    shared: &'static Shared,
    kept: &[BorrowedFd],
) -> io::Result<impl FnMut() -> io::Result<()> + use<>> {
    let mut kept: Vec<i32> = kept.iter().map(AsRawFd::as_raw_fd).collect();
    kept.sort_unstable();
    allocator::record_layout();
    let zen = std::process::id().cast_signed();
    let instance = reaper::Instance { zen, image: ExecImage::new(launch)?, kept, shared };
    Ok(move || reaper::run(&instance).map(|never| match never {}))
}

#[cfg(not(target_os = "linux"))]
fn last_step(
    command: &mut Command,
    launch: &SpawnSpec,
    shared: &'static Shared,
    _kept: &[BorrowedFd],
) -> io::Result<impl FnMut() -> io::Result<()> + use<>> {
    command.args(&launch.arguments);
    for (name, value) in &launch.variables {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    Ok(|| {
        nix::unistd::setsid()?;
        shared.pid.store(std::process::id().cast_signed(), Ordering::Release);
        Ok(())
    })
}

/// Report of a program and its reaper to zen, in shared memory.
#[derive(Debug)]
pub(super) struct Shared {
    /// The program's process id, stored before exec(2).
    pub(super) pid: AtomicI32,
    /// True if descendants of the program were alive when it exited.
    pub(super) has_left_processes: AtomicBool,
}

/// Place of one program's [`Shared`], in memory that the program's reaper shares with zen.
///
/// Many programs share a mapping: fork(2) takes about a microsecond for each mapping, and there may be thousands of
/// programs.
#[derive(Debug)]
struct SharedSlot(&'static Shared);

static FREE_SLOTS: Mutex<Vec<&'static Shared>> = Mutex::new(Vec::new());

impl SharedSlot {
    fn new() -> io::Result<Self> {
        let mut free = FREE_SLOTS.lock().unwrap_or_else(PoisonError::into_inner);
        if free.is_empty() {
            free.extend(map_slots()?);
        }
        let slot = free.pop().ok_or(ErrorKind::OutOfMemory)?;
        slot.pid.store(0, Ordering::Relaxed);
        slot.has_left_processes.store(false, Ordering::Relaxed);
        Ok(SharedSlot(slot))
    }

    /// Makes the place available again. The program and its reaper must have exited.
    fn release(&self) {
        FREE_SLOTS.lock().unwrap_or_else(PoisonError::into_inner).push(self.0);
    }
}

/// Maps a page of slots, which is never unmapped.
fn map_slots() -> io::Result<&'static [Shared]> {
    const BYTES: usize = 4096;
    let writable = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
    // SAFETY: a new mapping, filled with zeros.
    let place = unsafe { libc::mmap(std::ptr::null_mut(), BYTES, writable, flags, -1, 0) };
    if place == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a mapping is page-aligned and zeros are a valid value; the slots do not exceed it.
    Ok(unsafe { std::slice::from_raw_parts(place.cast::<Shared>(), BYTES / size_of::<Shared>()) })
}
