//! Signals, recorded as bits that the loop takes between two steps and never in the middle of one. A byte in a pipe only wakes
//! the loop, so that a full pipe loses no signal. ctrlc catches SIGINT, signal-hook all others.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use nix::libc;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};

/// Signals that stop a run.
const STOPPING: &[Signal] = &[Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// The signals that have come and were not taken yet: bit N is signal N. All that are caught have numbers below 32.
static PENDING: AtomicU32 = AtomicU32::new(0);

/// The signals that the run catches.
pub struct Signals {
    pipe: UnixStream,
}

/// Makes sure that signals come, and that children can be waited for. Whoever started zen may have blocked signals, and a
/// blocked one is waited for in vain; or had SIGCHLD ignored, and then the system reaps children itself, and nobody
/// learns how they ended. To be called before the first child.
pub fn reset_mask() {
    let _ = sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None);
    if is_ignored(Signal::SIGCHLD) {
        let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
        // SAFETY: the default action runs no code of zen's.
        let _ = unsafe { sigaction(Signal::SIGCHLD, &default) };
    }
}

impl Signals {
    /// Begins to catch what stops a run, what asks for a report, and the deaths of children. A stopping signal that
    /// whoever started zen had set to be ignored (nohup does) stays ignored.
    ///
    /// # Errors
    /// The system's, if there are no descriptors left or the thread that ctrlc needs cannot be started.
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
        // A file at its size limit is to be an error like a full disk, and no end of zen. Children get the default back.
        if !is_ignored(Signal::SIGXFSZ) {
            // SAFETY: the action does nothing.
            unsafe { signal_hook::low_level::register(Signal::SIGXFSZ as i32, || {}) }?;
        }
        if !is_ignored(Signal::SIGINT) {
            ctrlc::set_handler(move || record(Signal::SIGINT, writer)).map_err(io::Error::other)?;
        }
        Ok(Signals { pipe })
    }

    /// What to poll for reading.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Takes the signals that have come since the last time, each once, by number.
    pub fn drain(&mut self) -> Vec<Signal> {
        let mut bytes = [0; 64];
        // Drained first: a signal that comes after that wakes the loop once more.
        while let Ok(1..) = self.pipe.read(&mut bytes) {}
        let pending = PENDING.swap(0, Ordering::AcqRel);
        let is_pending = |signal: &Signal| pending & bit(*signal) != 0;
        Signal::iterator().filter(is_pending).collect()
    }
}

/// As long as this lives, before the run, a signal that would stop the run ends zen at once: there is nothing to stop yet.
#[derive(Debug)]
pub struct ExitOnSignal {
    actions: Vec<signal_hook::SigId>,
    asked: Arc<AtomicBool>,
}

impl ExitOnSignal {
    /// Begins to do so. A signal that whoever started zen had set to be ignored stays ignored.
    ///
    /// # Errors
    /// The system's.
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

    /// Whether SIGUSR1 has asked for a word since the last time.
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

/// Whether this one stops a run, or would.
#[must_use]
pub fn is_termination(signal: Signal) -> bool {
    !matches!(signal, Signal::SIGUSR1 | Signal::SIGCHLD | Signal::SIGTSTP)
}

/// Returns true if the signal is ignored. Changes nothing: with a disposition set for a moment, a signal in that moment would
/// end zen.
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

/// Records a signal, then wakes the loop. If the pipe is full, the loop has enough to wake up for.
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

    /// `unblock` and `catch` look at dispositions while signals may come.
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
