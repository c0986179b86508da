//! Reaper of one instance: a small process between zen and claude.
//!
//! It is a subreaper: orphaned descendants of claude are reparented to it, in any session and with any environment.
//! When claude exits, zen dies or zen requests it, the reaper kills all remaining descendants and exits with claude's
//! status. It is a fork of zen without exec(2), and unmaps its copy of zen's memory. Because zen may have threads, this
//! code makes only system calls and does not allocate.

use std::convert::Infallible;
use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc::{self, c_int, c_void, pid_t};
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::unistd::{Pid, getpid, getppid, setsid};

use super::child::Shared;
use super::descriptors::{close_all_but, close_on_exec};
use super::exec_image::ExecImage;
use super::{allocator, signals};

/// Signal that makes a reaper kill everything. SIGTERM, SIGTSTP and SIGCONT are forwarded to claude's process group.
pub const KILL_ALL: Signal = Signal::SIGUSR2;

/// Grace period for claude after zen has died. On SIGTERM, the newest generation of claude terminates its own tools.
const GRACE: Duration = Duration::from_millis(300);

/// Time after which the reaper abandons unkillable processes: of another user, or hanging in the kernel.
///
/// It is shorter while zen lives, so that zen can report the remaining processes.
const GIVE_UP: Duration = Duration::from_secs(4);
const GIVE_UP_WITHOUT_ZEN: Duration = Duration::from_secs(10);

// Pauses between two rounds of killing while no child exits.
const FIRST_PAUSE: Duration = Duration::from_micros(200);
const LAST_PAUSE: Duration = Duration::from_millis(10);

/// Name in ps(1) and pkill(1); neither `pkill zen` nor `pkill claude` must match it.
const NAME: &std::ffi::CStr = c"instance-reaper";

const LIST_BYTES: usize = 4096;

/// Program of an instance, and what its reaper needs of zen.
pub struct Instance {
    /// zen's process id.
    pub zen: pid_t,
    /// Program that the reaper starts.
    pub image: ExecImage,
    /// Descriptors that the reaper keeps, sorted.
    pub kept: Vec<c_int>,
    /// Report to zen.
    pub shared: &'static Shared,
}

/// Turns a forked child into the reaper of an instance, and starts the program.
///
/// Returns only on an error, with no process left but this one.
///
/// # Errors
/// Returns the system's error, or EINTR if zen has died in the meantime.
pub fn run(instance: &Instance) -> io::Result<Infallible> {
    // SIGCONT only wakes the reaper, even if it was stopped.
    nix::sys::prctl::set_pdeathsig(Signal::SIGCONT)?;
    nix::sys::prctl::set_child_subreaper(true)?;
    setsid()?;
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::all()), None)?;
    if getppid().as_raw() != instance.zen {
        return Err(io::ErrorKind::Interrupted.into());
    }
    let claude = start(instance)?;
    // Not dumpable: a process of the same user can neither trace it nor read its copy of zen's memory.
    // SAFETY: the name lives for the call.
    unsafe {
        libc::prctl(libc::PR_SET_NAME, NAME.as_ptr());
        libc::prctl(libc::PR_SET_DUMPABLE, 0);
        libc::chdir(c"/".as_ptr());
    }
    close_all_but(&instance.kept);
    let (zen, shared) = (instance.zen, instance.shared);
    allocator::drop_heap(shared);
    Reaper { zen, claude, status: None, phase: Phase::Watching, shared }.run()
}

/// Starts the program as a child that shares this process's memory until its exec(2): another copy of zen's page tables
/// would cost as much as the first fork. Returns its process id after exec(2) has succeeded.
fn start(instance: &Instance) -> io::Result<pid_t> {
    const STACK_BYTES: usize = 32 * 1024;
    // Not an array in this frame: its stack probe would touch each page, and the reaper would keep them.
    // SAFETY: a new mapping.
    let stack = unsafe {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
        libc::mmap(std::ptr::null_mut(), STACK_BYTES, access, flags, -1, 0)
    };
    if stack == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    let mut child = Child { reaper: getpid(), instance, error: Errno::UnknownErrno };
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the child runs on a stack of its own, and with CLONE_VFORK this process continues only after the child has
    // left that stack and `child` by exec(2) or _exit(2). The child does not allocate, and all signals are blocked, so no
    // handler runs in it.
    let pid = unsafe {
        let pid = libc::clone(run_child, stack.byte_add(STACK_BYTES), flags, (&raw mut child).cast());
        let error = Errno::last();
        libc::munmap(stack, STACK_BYTES);
        error.set();
        pid
    };
    if pid < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: as above, the child no longer writes.
    let error = unsafe { (&raw const child.error).read_volatile() };
    if error == Errno::UnknownErrno {
        return Ok(pid);
    }
    // SAFETY: no status is written.
    unsafe { libc::waitpid(pid, std::ptr::null_mut(), libc::__WALL) };
    Err(error.into())
}

/// Argument of [`run_child`].
struct Child<'a> {
    reaper: Pid,
    instance: &'a Instance,
    /// Error of the child, if it could not start the program.
    error: Errno,
}

/// Becomes the program of an instance; the reaper waits meanwhile.
extern "C" fn run_child(child: *mut c_void) -> c_int {
    // SAFETY: the reaper passes this pointer, and does not use the value until this process has ended or replaced itself.
    let child = unsafe { &mut *child.cast::<Child>() };
    child.error = match prepare(child) {
        Ok(()) => child.instance.image.exec(),
        Err(error) => error,
    };
    // SAFETY: ends this process without running anything of zen's.
    unsafe { libc::_exit(1) }
}

/// Gives this process a session, the signals and the descriptors of an instance.
fn prepare(child: &Child) -> Result<(), Errno> {
    setsid()?;
    close_on_exec();
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?;
    if getppid() != child.reaper {
        return Err(Errno::EINTR);
    }
    child.instance.shared.pid.store(getpid().as_raw(), Ordering::Release);
    // zen's handlers must not run here, even if a signal arrives before exec(2).
    signals::reset_handlers();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

struct Reaper {
    zen: pid_t,
    claude: pid_t,
    /// Wait status of claude after it was reaped; its pid may then be reused.
    status: Option<c_int>,
    phase: Phase,
    shared: &'static Shared,
}

enum Phase {
    Watching,
    /// zen has died; the time is the end of claude's grace period.
    Grace(Instant),
    /// All children are being killed; the time is when the reaper gives up.
    Killing(Instant),
}

/// Outcome of a round of reaping.
enum Reaped {
    Some,
    None,
    /// No children are left.
    All,
}

impl Reaper {
    fn run(mut self) -> ! {
        let mut pause = FIRST_PAUSE;
        loop {
            let had_claude = self.status.is_none();
            let reaped = self.reap();
            if had_claude && self.status.is_some() && !matches!(reaped, Reaped::All) {
                self.shared.has_left_processes.store(true, Ordering::Release);
            }
            match reaped {
                Reaped::All => self.end(),
                Reaped::Some => pause = FIRST_PAUSE,
                Reaped::None => pause = LAST_PAUSE.min(pause * 2),
            }
            self.notice_ends();
            let timeout = match self.phase {
                Phase::Watching => None,
                Phase::Grace(until) => Some(until.saturating_duration_since(Instant::now())),
                Phase::Killing(give_up_at) if Instant::now() >= give_up_at => self.end(),
                Phase::Killing(_) => {
                    self.kill_children();
                    Some(pause)
                }
            };
            match wait_for_signal(timeout) {
                libc::SIGTERM => {
                    self.pass_on(libc::SIGTERM);
                    self.pass_on(libc::SIGCONT); // a stopped process takes no signal
                }
                libc::SIGTSTP => self.pass_on(libc::SIGSTOP),
                libc::SIGCONT => self.pass_on(libc::SIGCONT),
                signal if signal == KILL_ALL as c_int => self.begin_killing(GIVE_UP),
                _ => {}
            }
        }
    }

    /// Reaps all exited children.
    fn reap(&mut self) -> Reaped {
        let mut reaped = Reaped::None;
        loop {
            let mut status = 0;
            // SAFETY: the status lives for the call.
            match unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG | libc::__WALL) } {
                0 => return reaped,
                -1 => return Reaped::All, // ECHILD: with WNOHANG there is no other error
                pid if pid == self.claude => {
                    self.status = Some(status);
                    self.claude = 0;
                    reaped = Reaped::Some;
                }
                _ => reaped = Reaped::Some,
            }
        }
    }

    fn notice_ends(&mut self) {
        let is_killing = matches!(self.phase, Phase::Killing(_));
        if self.zen != 0 && getppid().as_raw() != self.zen {
            self.zen = 0;
            if is_killing {
                self.phase = Phase::Killing(Instant::now() + GIVE_UP_WITHOUT_ZEN);
            } else {
                self.pass_on(libc::SIGTERM);
                self.pass_on(libc::SIGCONT);
                self.phase = Phase::Grace(Instant::now() + GRACE);
            }
        }
        let is_over = matches!(self.phase, Phase::Grace(until) if Instant::now() >= until);
        if is_over || self.status.is_some() {
            self.begin_killing(if self.zen == 0 { GIVE_UP_WITHOUT_ZEN } else { GIVE_UP });
        }
    }

    fn begin_killing(&mut self, limit: Duration) {
        if !matches!(self.phase, Phase::Killing(_)) {
            self.phase = Phase::Killing(Instant::now() + limit);
            self.pass_on(libc::SIGKILL);
        }
    }

    /// Sends a signal to claude and its process group, unless claude was reaped.
    fn pass_on(&self, signal: c_int) {
        if self.claude > 0 {
            // SAFETY: no memory is passed.
            unsafe {
                libc::kill(-self.claude, signal);
                libc::kill(self.claude, signal);
            }
        }
    }

    /// Kills all children. Their children are reparented to this process and killed in the next round.
    fn kill_children(&self) {
        // SAFETY: the path is a C string that lives for the call.
        let list = unsafe { libc::open(c"/proc/thread-self/children".as_ptr(), libc::O_RDONLY) };
        if list < 0 {
            return self.pass_on(libc::SIGKILL);
        }
        let (mut bytes, mut pid) = ([0_u8; LIST_BYTES], 0_i32);
        loop {
            // SAFETY: the buffer lives for the call, which writes no more than its length.
            let count = unsafe { libc::read(list, bytes.as_mut_ptr().cast(), bytes.len()) };
            let Ok(count @ 1..) = usize::try_from(count) else { break };
            for byte in &bytes[..count.min(LIST_BYTES)] {
                match byte {
                    b'0'..=b'9' => pid = pid.wrapping_mul(10).wrapping_add(i32::from(byte - b'0')),
                    _ => kill_child(&mut pid),
                }
            }
        }
        kill_child(&mut pid);
        // SAFETY: it was opened above.
        unsafe { libc::close(list) };
    }

    /// Exits with claude's status, or by the same signal.
    fn end(&self) -> ! {
        let status = self.status.unwrap_or(libc::SIGKILL);
        if libc::WIFSIGNALED(status) {
            let signal = libc::WTERMSIG(status);
            // SAFETY: the default action runs no code, and the set lives for the calls.
            unsafe {
                let mut set = std::mem::zeroed();
                libc::signal(signal, libc::SIG_DFL);
                libc::sigemptyset(&raw mut set);
                libc::sigaddset(&raw mut set, signal);
                libc::sigprocmask(libc::SIG_UNBLOCK, &raw const set, std::ptr::null_mut());
                libc::kill(libc::getpid(), signal);
            }
        }
        // SAFETY: ends this process without running anything of zen's.
        unsafe { libc::_exit(libc::WEXITSTATUS(status)) }
    }
}

/// Kills a child. Its pid cannot have been reused, because it has not been reaped.
fn kill_child(pid: &mut i32) {
    if *pid > 1 {
        // SAFETY: no memory is passed.
        unsafe { libc::kill(*pid, libc::SIGKILL) };
    }
    *pid = 0;
}

/// Waits for a signal; all of them are blocked. Returns its number, or -1 on timeout.
fn wait_for_signal(timeout: Option<Duration>) -> c_int {
    // SAFETY: zeros are a valid value of this plain C structure, and all arguments live for the calls.
    unsafe {
        let mut all = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        let Some(timeout) = timeout else { return libc::sigwaitinfo(&raw const all, std::ptr::null_mut()) };
        let mut limit: libc::timespec = std::mem::zeroed();
        limit.tv_sec = timeout.as_secs().try_into().unwrap_or(1);
        limit.tv_nsec = timeout.subsec_nanos().into();
        libc::sigtimedwait(&raw const all, std::ptr::null_mut(), &raw const limit)
    }
}
