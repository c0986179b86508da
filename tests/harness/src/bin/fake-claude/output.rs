//! Standard output: whole lines, unbuffered at line ends unless a fault prints in bulk.

use serde_json::Value;
use std::os::fd::BorrowedFd;

const BUFFER_BYTES: usize = 64 * 1024;

#[derive(Default)]
pub struct Output {
    buffer: Vec<u8>,
    /// Within `[[print]]` and the like: lines are written when the buffer is full.
    pub bulk: bool,
    /// When nobody reads any more, the process goes on without a word; otherwise it dies of it.
    survives_closing: bool,
    is_closed: bool,
}

impl Output {
    pub fn new(survives_closing: bool) -> Output {
        Output { survives_closing, ..Output::default() }
    }

    pub fn line(&mut self, line: &Value) {
        serde_json::to_writer(&mut self.buffer, line).expect("a vector takes everything");
        self.buffer.push(b'\n');
        if !self.bulk || self.buffer.len() >= BUFFER_BYTES {
            self.flush();
        }
    }

    pub fn bytes(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
        if !self.bulk || self.buffer.len() >= BUFFER_BYTES {
            self.flush();
        }
    }

    pub fn flush(&mut self) {
        // SAFETY: descriptor 1 is open for the whole life of the process: `[[close stdout]]` puts /dev/null there.
        let stdout = unsafe { BorrowedFd::borrow_raw(1) };
        let mut rest = self.buffer.as_slice();
        while !rest.is_empty() && !self.is_closed {
            match nix::unistd::write(stdout, rest) {
                Ok(written) => rest = &rest[written..],
                Err(nix::errno::Errno::EINTR) => {}
                // A test may hand over a non-blocking pipe; waiting a moment is good enough for a fake claude.
                Err(nix::errno::Errno::EAGAIN) => std::thread::sleep(std::time::Duration::from_millis(1)),
                Err(_) if self.survives_closing => self.is_closed = true,
                Err(_) => crate::fail("Error: write EPIPE"),
            }
        }
        self.buffer.clear();
    }
}
