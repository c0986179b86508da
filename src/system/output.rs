//! zen's own stdout and stderr. Writes never block the event loop: output for a slow reader is buffered up to a bound.
//! If a reader closes its end, zen continues.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::write;

use super::job_control::stop_self;
use super::signals::{Signals, is_termination};

/// Maximum size of the buffer for a slow reader, in bytes. A report has a few thousand.
const MAX_WAITING_BYTES: usize = 1024 * 1024;

/// Number of bytes that a ready pipe accepts without blocking (PIPE_BUF: at least 512 in POSIX, 4096 on Linux).
///
/// A terminal may accept less, so zen opens its own non-blocking descriptor for it.
const CHUNK_BYTES: usize = 4096;

/// Returns the width of the terminal on stdout; `None` if stdout is not a terminal.
#[must_use]
pub fn columns() -> Option<usize> {
    const USUAL: usize = 80;
    let stdout = std::io::stdout();
    if !stdout.is_terminal() {
        return None;
    }
    // SAFETY: zeros are a valid value of this plain C structure.
    let mut size: libc::winsize = unsafe { std::mem::zeroed() };
    // SAFETY: TIOCGWINSZ writes one winsize, which lives for the call.
    let code = unsafe { libc::ioctl(stdout.as_fd().as_raw_fd(), libc::TIOCGWINSZ, &raw mut size) };
    Some(if code == 0 && size.ws_col > 0 { size.ws_col.into() } else { USUAL })
}

/// A standard output stream.
#[derive(Debug)]
pub struct Output {
    to: Target,
    terminal: Option<File>,
    waiting: VecDeque<u8>,
    is_gone: bool,
    dropped_texts: u64,
    error: Option<Errno>,
    fence: Option<Fence>,
}

/// Pair of workflow commands that makes GitHub Actions' runner ignore commands in the text between them.
///
/// Agents write part of that text, and the runner would execute a line such as `::set-env`.
#[derive(Debug)]
struct Fence {
    token: String,
    is_open: bool,
}

#[derive(Debug)]
enum Target {
    Stdout(std::io::Stdout),
    Stderr(std::io::Stderr),
}

impl Output {
    /// Creates the stream for stdout.
    #[must_use]
    pub fn stdout() -> Self {
        Output::to(Target::Stdout(std::io::stdout()))
    }

    /// Creates the stream for stderr.
    #[must_use]
    pub fn stderr() -> Self {
        Output::to(Target::Stderr(std::io::stderr()))
    }

    fn to(to: Target) -> Self {
        let mut output = Output {
            to,
            terminal: None,
            waiting: VecDeque::new(),
            is_gone: false,
            dropped_texts: 0,
            error: None,
            fence: None,
        };
        if output.is_terminal() {
            let path = format!("/proc/self/fd/{}", output.fd().as_raw_fd());
            let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
            output.terminal = OpenOptions::new().write(true).custom_flags(flags).open(path).ok();
        }
        output
    }

    /// Returns true if the stream is a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        match &self.to {
            Target::Stdout(stdout) => stdout.is_terminal(),
            Target::Stderr(stderr) => stderr.is_terminal(),
        }
    }

    /// Puts all text from now on between `::stop-commands::TOKEN` and `::TOKEN::`.
    pub fn fence(&mut self, token: &str) {
        self.fence = Some(Fence { token: token.to_owned(), is_open: false });
    }

    /// Prints the closing line of the fence, if the opening one was printed.
    pub fn close_fence(&mut self) {
        if let Some(fence) = self.fence.take()
            && fence.is_open
        {
            self.print_always(&format!("::{}::\n", fence.token));
        }
    }

    /// Prints a text, or buffers it until the reader is ready.
    ///
    /// If the buffer is full, drops the text; a note before the next printed text reports the number of dropped texts.
    pub fn print(&mut self, text: &str) {
        if !self.waiting.is_empty() && self.waiting.len() + text.len() > MAX_WAITING_BYTES {
            self.dropped_texts += 1;
            return;
        }
        self.print_always(text);
    }

    /// Prints a text that must not be lost, even if the buffer is full.
    pub fn print_always(&mut self, text: &str) {
        if self.is_gone {
            return;
        }
        if let Some(fence) = &mut self.fence
            && !fence.is_open
        {
            fence.is_open = true;
            self.waiting.extend(format!("::stop-commands::{}\n", fence.token).as_bytes());
        }
        if self.dropped_texts > 0 {
            let note = format!("zen: {} texts were dropped: the reader is too slow\n", self.dropped_texts);
            self.waiting.extend(note.as_bytes());
            self.dropped_texts = 0;
        }
        self.waiting.extend(text.as_bytes());
        self.flush();
    }

    /// Returns the descriptor to poll for writing, if output is pending.
    #[must_use]
    pub fn pending_fd(&self) -> Option<BorrowedFd<'_>> {
        (!self.waiting.is_empty()).then(|| self.fd())
    }

    /// Writes as much as possible without blocking.
    pub fn flush(&mut self) {
        while !self.waiting.is_empty() && self.is_ready(PollTimeout::ZERO) && self.write_chunk() {}
    }

    /// Writes all pending output, and waits for the reader. A stopping signal ends the wait.
    ///
    /// Returns true if a stopping signal was received, now or earlier (`is_stopped`).
    pub fn drain(&mut self, signals: &mut Signals, mut is_stopped: bool) -> bool {
        while !self.waiting.is_empty() {
            let timeout = if is_stopped { PollTimeout::ZERO } else { PollTimeout::NONE };
            let mut fds = [PollFd::new(self.fd(), PollFlags::POLLOUT), PollFd::new(signals.fd(), PollFlags::POLLIN)];
            match poll(&mut fds, timeout) {
                Ok(_) | Err(Errno::EINTR) => {}
                Err(_) => break,
            }
            let [is_ready, _] = fds.map(|fd| fd.any() == Some(true));
            let received = signals.drain();
            is_stopped |= received.iter().any(|&signal| is_termination(signal));
            if received.contains(&Signal::SIGTSTP) {
                stop_self(Signal::SIGTSTP);
            }
            if is_ready {
                self.write_chunk();
            } else if is_stopped {
                break;
            }
        }
        is_stopped
    }

    /// Returns the error that ended the output, once. A closed reader or descriptor is not reported.
    pub fn take_error(&mut self) -> Option<Errno> {
        self.error.take()
    }

    fn fd(&self) -> BorrowedFd<'_> {
        if let Some(terminal) = &self.terminal {
            return terminal.as_fd();
        }
        match &self.to {
            Target::Stdout(stdout) => stdout.as_fd(),
            Target::Stderr(stderr) => stderr.as_fd(),
        }
    }

    fn is_ready(&self, wait: PollTimeout) -> bool {
        let mut fds = [PollFd::new(self.fd(), PollFlags::POLLOUT)];
        // An error counts as ready: the following write returns it.
        poll(&mut fds, wait).is_ok_and(|ready| ready > 0)
    }

    /// Writes one chunk. Returns false if the descriptor would block.
    fn write_chunk(&mut self) -> bool {
        let (front, _) = self.waiting.as_slices();
        match write(self.fd(), &front[..front.len().min(CHUNK_BYTES)]) {
            Ok(written) => drop(self.waiting.drain(..written)),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return false,
            Err(error) => {
                self.is_gone = true;
                self.waiting = VecDeque::new();
                self.error = Some(error).filter(|&e| e != Errno::EPIPE && e != Errno::EBADF);
            }
        }
        true
    }
}
