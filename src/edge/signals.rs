//! Signals, turned into bytes in a pipe that the loop polls, so that they are handled between two steps of it and never
//! in the middle of one. Ctrl-C comes by way of ctrlc, all others by signal-hook.

use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};

/// Signals that stop a run.
const STOPPING: &[Signal] = &[Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT];

/// The signals that have come and were not looked at yet.
pub struct Signals {
    pipe: UnixStream,
}

/// Makes sure that signals come, and that children can be waited for. Whoever started zen may have blocked signals, and a
/// blocked one is waited for in vain; or had SIGCHLD ignored, and then the system reaps children itself, and nobody
/// learns how they ended. To be called before the first child.
pub fn unblock() {
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
    pub fn catch() -> io::Result<Self> {
        let (pipe, writer) = UnixStream::pair()?;
        pipe.set_nonblocking(true)?;
        writer.set_nonblocking(true)?;
        let writer = writer.into_raw_fd(); // stays open as long as a signal may come
        for &signal in STOPPING.iter().filter(|&&signal| !is_ignored(signal)).chain(&[Signal::SIGUSR1, Signal::SIGCHLD])
        {
            let note = move || write_byte(writer, signal as u8);
            // SAFETY: the action makes one write(2), which is async-signal-safe, and touches no memory of anybody else.
            unsafe { signal_hook::low_level::register(signal as i32, note) }?;
        }
        if !is_ignored(Signal::SIGTSTP) {
            let note = move || write_byte(writer, Signal::SIGTSTP as u8);
            // SAFETY: as above.
            unsafe { signal_hook::low_level::register(Signal::SIGTSTP as i32, note) }?;
        }
        // A file at its size limit is to be an error like a full disk, and no end of zen. Children get the default back.
        if !is_ignored(Signal::SIGXFSZ) {
            // SAFETY: the action does nothing.
            unsafe { signal_hook::low_level::register(Signal::SIGXFSZ as i32, || {}) }?;
        }
        if !is_ignored(Signal::SIGINT) {
            ctrlc::set_handler(move || write_byte(writer, Signal::SIGINT as u8)).map_err(io::Error::other)?;
        }
        Ok(Signals { pipe })
    }

    /// What to poll for reading.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// The signals that have come since the last time, in order.
    pub fn take(&mut self) -> Vec<Signal> {
        let mut signals = Vec::new();
        let mut bytes = [0; 64];
        while let Ok(count @ 1..) = self.pipe.read(&mut bytes) {
            signals.extend(bytes[..count].iter().filter_map(|&b| Signal::try_from(i32::from(b)).ok()));
        }
        signals
    }
}

/// As long as this lives, before the run, a signal that would stop the run ends zen at once: there is nothing to stop yet.
#[derive(Debug)]
pub struct EndAtOnce {
    actions: Vec<signal_hook::SigId>,
    asked: Arc<AtomicBool>,
}

impl EndAtOnce {
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
        Ok(EndAtOnce { actions, asked })
    }

    /// Whether SIGUSR1 has asked for a word since the last time.
    pub fn is_asked(&self) -> bool {
        self.asked.swap(false, Ordering::Relaxed)
    }
}

impl Drop for EndAtOnce {
    fn drop(&mut self) {
        for action in self.actions.drain(..) {
            signal_hook::low_level::unregister(action);
        }
    }
}

/// Whether this one stops a run, or would.
#[must_use]
pub fn stops_a_run(signal: Signal) -> bool {
    !matches!(signal, Signal::SIGUSR1 | Signal::SIGCHLD | Signal::SIGTSTP)
}

fn is_ignored(signal: Signal) -> bool {
    let query = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: no handler is installed: the disposition is set to its default, and what was there is put back.
    unsafe {
        match sigaction(signal, &query) {
            Ok(before) => {
                let _ = sigaction(signal, &before);
                matches!(before.handler(), SigHandler::SigIgn)
            }
            Err(_) => false,
        }
    }
}

/// A full pipe loses the byte, and then the loop has plenty to wake up for.
fn write_byte(fd: RawFd, byte: u8) {
    // SAFETY: the descriptor is never closed, and the buffer is one byte that lives for the call.
    unsafe {
        let fd = BorrowedFd::borrow_raw(fd);
        let _ = nix::unistd::write(fd, &[byte]);
    }
}
