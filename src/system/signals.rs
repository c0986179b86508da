//! Signal handlers. They record signals in a bit set that the event loop drains once per pass. A byte in a pipe only
//! wakes the loop, so a full pipe loses no signal. ctrlc handles SIGINT, signal-hook all others.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};

/// Signals that stop a run, besides SIGINT.
const STOPPING: &[Signal] = &[Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// Number of the standard signals; no other is handled.
const STANDARD_SIGNALS: libc::c_int = 31;

/// Bit set of pending signals: bit N is signal N. All handled signals have numbers below 32.
static PENDING: AtomicU32 = AtomicU32::new(0);

/// Signal handlers of a run.
pub struct Signals {
    pipe: UnixStream,
}

/// Unblocks all signals and resets an ignored SIGCHLD. Must be called before the first child is spawned.
///
/// zen's parent may have blocked signals, which would then never arrive. If it ignored SIGCHLD, the kernel would reap
/// children itself and discard their status.
pub fn reset_mask() {
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    if is_ignored(Signal::SIGCHLD) {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action runs no code of zen's.
        let _ = unsafe { sigaction(Signal::SIGCHLD, &default) };
    }
}

/// Resets every signal with a handler to its default action, as exec(2) does. Makes only system calls.
#[cfg(target_os = "linux")]
pub(super) fn reset_handlers() {
    for signal in 1..=STANDARD_SIGNALS {
        // SAFETY: zeros are a valid value of this plain C structure, and stand for the default action; both values live for
        // the calls.
        unsafe {
            let (mut current, default): (libc::sigaction, libc::sigaction) = std::mem::zeroed();
            let is_known = libc::sigaction(signal, std::ptr::null(), &raw mut current) == 0;
            if is_known && current.sa_sigaction != libc::SIG_IGN && current.sa_sigaction != libc::SIG_DFL {
                libc::sigaction(signal, &raw const default, std::ptr::null_mut());
            }
        }
    }
}

impl Signals {
    /// Installs handlers for the signals that stop a run or request a report, SIGTSTP and SIGCHLD.
    ///
    /// A stopping signal that zen's parent set to be ignored stays ignored (nohup ignores SIGHUP).
    ///
    /// # Errors
    /// Returns the system's error if no descriptors are left, or if ctrlc cannot start its thread.
    pub fn install() -> io::Result<Self> {
        let (pipe, writer) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        let writer = writer.into_raw_fd(); // stays open as long as a signal may come
        for &signal in STOPPING.iter().filter(|&&signal| !is_ignored(signal)).chain(&[Signal::SIGUSR1, Signal::SIGCHLD])
        {
            let record = move || record(signal, writer);
            // SAFETY: the action sets a bit and makes one write(2), which are async-signal-safe.
            unsafe { signal_hook::low_level::register(signal as i32, record) }?;
        }
        if !is_ignored(Signal::SIGTSTP) {
            let record = move || record(Signal::SIGTSTP, writer);
            // SAFETY: as above.
            unsafe { signal_hook::low_level::register(Signal::SIGTSTP as i32, record) }?;
        }
        // A file that reaches its size limit must be an error like a full disk, not kill zen. Children get the default.
        if !is_ignored(Signal::SIGXFSZ) {
            // SAFETY: the action does nothing.
            unsafe { signal_hook::low_level::register(Signal::SIGXFSZ as i32, || {}) }?;
        }
        if !is_ignored(Signal::SIGINT) {
            ctrlc::set_handler(move || record(Signal::SIGINT, writer)).map_err(io::Error::other)?;
        }
        Ok(Signals { pipe })
    }

    /// Returns the descriptor to poll for reading.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Returns the signals received since the last call, each once, in numeric order.
    pub fn drain(&mut self) -> Vec<Signal> {
        let mut bytes = [0; 64];
        // Read before the swap: a signal that arrives afterwards wakes the loop again.
        while let Ok(1..) = self.pipe.read(&mut bytes) {}
        let pending = PENDING.swap(0, Ordering::AcqRel);
        let is_pending = |signal: &Signal| pending & bit(*signal) != 0;
        Signal::iterator().filter(is_pending).collect()
    }
}

/// Handlers for the time before the run: a stopping signal exits zen immediately, because nothing has been started.
#[derive(Debug)]
pub struct ExitOnSignal {
    actions: Vec<signal_hook::SigId>,
    asked: Arc<AtomicBool>,
}

impl ExitOnSignal {
    /// Installs the handlers. A signal that zen's parent set to be ignored stays ignored.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn begin() -> io::Result<Self> {
        const LAST_WORDS: &[u8] = b"zen: stopped before the start: nothing was launched\n";
        let asked = Arc::new(AtomicBool::new(false));
        let mut actions = vec![signal_hook::flag::register(Signal::SIGUSR1 as i32, Arc::clone(&asked))?];
        for &signal in STOPPING.iter().chain(&[Signal::SIGINT]).filter(|&&signal| !is_ignored(signal)) {
            let end = move || {
                let _ = nix::unistd::write(io::stderr(), LAST_WORDS);
                signal_hook::low_level::exit(128 + signal as i32);
            };
            // SAFETY: the action makes one write(2) and one _exit(2), which are async-signal-safe.
            actions.push(unsafe { signal_hook::low_level::register(signal as i32, end) }?);
        }
        Ok(ExitOnSignal { actions, asked })
    }

    /// Returns true if SIGUSR1 has arrived since the last call.
    pub fn is_asked(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }
}

impl Drop for ExitOnSignal {
    fn drop(&mut self) {
        for action in self.actions.drain(..) {
            signal_hook::low_level::unregister(action);
        }
    }
}

/// Returns true for a signal that stops a run.
#[must_use]
pub fn is_termination(signal: Signal) -> bool {
    !matches!(signal, Signal::SIGUSR1 | Signal::SIGCHLD | Signal::SIGTSTP)
}

/// Returns true if the signal is ignored, without changing its disposition.
///
/// If the disposition were changed for a moment, a signal in that moment would kill zen.
fn is_ignored(signal: Signal) -> bool {
    // SAFETY: zeros are a valid value of this plain C structure.
    let mut current: libc::sigaction = unsafe { std::mem::zeroed() };
    // SAFETY: without a new action the call only writes `current`, which lives for the call.
    let code = unsafe { libc::sigaction(signal as i32, std::ptr::null(), &raw mut current) };
    code == 0 && current.sa_sigaction == libc::SIG_IGN
}

fn bit(signal: Signal) -> u32 {
    1_u32.checked_shl(signal as u32).unwrap_or(0)
}

/// Records a signal, then wakes the event loop. If the pipe is full, the loop wakes up anyway.
fn record(signal: Signal, pipe: RawFd) {
    PENDING.fetch_or(bit(signal), Ordering::AcqRel);
    // SAFETY: the descriptor is never closed.
    let pipe = unsafe { BorrowedFd::borrow_raw(pipe) };
    let _ = nix::unistd::write(pipe, &[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_signal_has_a_bit_of_its_own() {
        let caught =
            [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1, Signal::SIGCHLD];
        let bits = caught.iter().fold(0, |bits, &signal| bits | bit(signal));
        assert_eq!(bits.count_ones() as usize, caught.len());
    }

    /// `reset_mask` and `install` query dispositions while signals may arrive.
    #[test]
    fn asking_whether_a_signal_is_ignored_leaves_it_as_it_is() {
        let ignore = SigAction::new(SigHandler::SigIgn, SaFlags::empty(), SigSet::empty());
        // SAFETY: ignoring a signal runs no code.
        let before = unsafe { sigaction(Signal::SIGWINCH, &ignore) }.expect("it can be ignored");
        assert!(is_ignored(Signal::SIGWINCH) && is_ignored(Signal::SIGWINCH));
        // SAFETY: the disposition that was there is restored.
        unsafe { sigaction(Signal::SIGWINCH, &before) }.expect("it can be restored");
        assert!(!is_ignored(Signal::SIGWINCH));
    }
}
