//! What reaches the process while it works: lines of standard input, its end, and SIGINT. One thread reads, so that an
//! interrupt is heard in the middle of a turn.

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io::{Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

pub enum Input {
    Line(String),
    Eof,
    /// SIGINT, where the generation answers it with a result.
    Interrupt,
}

pub struct Inbox {
    receiver: Receiver<Input>,
    /// Anything written here makes the reader stop for good.
    stop: UnixStream,
    stopped: Receiver<()>,
}

impl Inbox {
    /// The sender is for other threads that have something to say.
    pub fn open() -> (Inbox, Sender<Input>) {
        let (sender, receiver) = channel();
        let (stop, stop_seen) = UnixStream::pair().expect("a socket pair");
        let (stopped_sender, stopped) = channel();
        let to_inbox = sender.clone();
        std::thread::spawn(move || {
            read_lines(&stop_seen, &to_inbox);
            let _ = stopped_sender.send(());
        });
        (Inbox { receiver, stop, stopped }, sender)
    }

    /// The next input, or nothing after this long.
    pub fn wait(&self, longest: Duration) -> Option<Input> {
        match self.receiver.recv_timeout(longest) {
            Ok(input) => Some(input),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => unreachable!("the signal thread keeps a sender"),
        }
    }

    pub fn take(&self) -> Option<Input> {
        self.receiver.try_recv().ok()
    }

    /// Never reads standard input again, but leaves it open: a writer's pipe fills up. What was read already is dropped
    /// as well, for a process that reads no more does not know it.
    pub fn stop_reading(&mut self) {
        if self.stop.write_all(b"x").is_ok() {
            // The reader has to have left its poll, or it would keep a closed descriptor alive.
            let _ = self.stopped.recv_timeout(Duration::from_secs(5));
        }
        while self.receiver.try_recv().is_ok() {}
    }
}

/// Reads until the end of input, or until the other side of `stop` speaks.
fn read_lines(stop: &UnixStream, sender: &Sender<Input>) {
    // SAFETY: descriptor 0 stays open: `[[close stdin]]` puts /dev/null there after this thread has stopped.
    let stdin = unsafe { BorrowedFd::borrow_raw(0) };
    let mut pending: Vec<u8> = Vec::new();
    let mut chunk = vec![0; 64 * 1024];
    loop {
        let mut waiting = [PollFd::new(stop.as_fd(), PollFlags::POLLIN), PollFd::new(stdin, PollFlags::POLLIN)];
        if poll(&mut waiting, PollTimeout::NONE).is_err() {
            continue;
        }
        if waiting[0].any().unwrap_or(false) {
            return;
        }
        if !waiting[1].any().unwrap_or(false) {
            continue;
        }
        let count = match nix::unistd::read(stdin, &mut chunk) {
            Ok(count) => count,
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => continue,
            Err(_) => 0,
        };
        if count == 0 {
            if !pending.is_empty() {
                let _ = sender.send(Input::Line(String::from_utf8_lossy(&pending).into_owned()));
            }
            let _ = sender.send(Input::Eof);
            return;
        }
        let mut rest = &chunk[..count];
        while let Some(at) = rest.iter().position(|&byte| byte == b'\n') {
            pending.extend_from_slice(&rest[..at]);
            let _ = sender.send(Input::Line(String::from_utf8_lossy(&pending).into_owned()));
            pending.clear();
            rest = &rest[at + 1..];
        }
        pending.extend_from_slice(rest);
    }
}

/// All of standard input as one text, for `--input-format text`.
pub fn read_all() -> String {
    let mut text = Vec::new();
    let _ = std::io::stdin().lock().read_to_end(&mut text);
    String::from_utf8_lossy(&text).into_owned()
}
