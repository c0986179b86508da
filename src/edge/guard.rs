//! A small process that outlives zen for as long as it takes to end what zen has left behind, when zen itself is killed
//! with SIGKILL. It waits for the end of a pipe that only zen holds, and does nothing if zen says goodbye.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigHandler, Signal, signal};
use nix::unistd::{ForkResult, Pid, fork, setsid};

use super::descendants::{self, Mark, Roots};

/// How long what zen left has to end by itself: the system sends each instance SIGTERM when zen dies, and on that the
/// newest generation of claude ends its own tools.
const GRACE: Duration = Duration::from_millis(300);

/// How long the guard looks for what is left before it looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How many times in a row nothing must be found: somebody may be between fork and exec, and carry no mark yet.
const EMPTY_LOOKS: u32 = 3;

/// When the guard gives up on what it cannot end.
const GIVE_UP: Duration = Duration::from_secs(10);

/// The guard of one run.
#[derive(Debug)]
pub struct Guard {
    pid: Pid,
    /// Closed by the system when zen dies.
    goodbye: File,
}

impl Guard {
    /// Starts the guard of this run. Must be called while zen has one thread. Without a guard all works but the end
    /// after SIGKILL, so having none is no reason to stop. The run's locks are `kept` until nothing of the run is left.
    #[must_use]
    pub fn start(run: &str, kept: &[BorrowedFd]) -> Option<Self> {
        if !cfg!(target_os = "linux") {
            return None;
        }
        let (reader, writer) = std::io::pipe().ok()?;
        // SAFETY: zen has one thread here, so its copy finds every lock free.
        match unsafe { fork() }.ok()? {
            ForkResult::Parent { child } => {
                Some(Guard { pid: child, goodbye: File::from(std::os::fd::OwnedFd::from(writer)) })
            }
            ForkResult::Child => {
                drop(writer);
                watch(reader, run, kept);
                // SAFETY: nothing of zen's may run in its copy on the way out, neither destructors nor exit handlers.
                unsafe { nix::libc::_exit(0) }
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// The run has ended, and nothing is left of it.
    pub fn dismiss(mut self) {
        let _ = self.goodbye.write_all(b".");
        drop(self.goodbye);
        let _ = nix::sys::wait::waitpid(self.pid, None);
    }
}

/// Waits for zen's end, in the copy of it that is the guard.
fn watch(mut zen: std::io::PipeReader, run: &str, kept: &[BorrowedFd]) {
    let _ = setsid(); // away from the terminal's Ctrl-C
    for ignored in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1] {
        // SAFETY: ignoring a signal runs no code.
        let _ = unsafe { signal(ignored, SigHandler::SigIgn) };
    }
    close_all_but(&kept.iter().map(AsRawFd::as_raw_fd).chain([zen.as_raw_fd()]).collect::<Vec<_>>());
    let said_goodbye = matches!(zen.read(&mut [0]), Ok(1));
    if !said_goodbye {
        sweep(&Mark::of_run(run));
    }
}

/// Whoever reads zen's output waits for the last that holds its descriptors.
fn close_all_but(kept: &[RawFd]) {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else { return };
    let open: Vec<i32> = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse().ok()).collect();
    for fd in open.into_iter().filter(|&fd| !kept.contains(&fd)) {
        let _ = nix::unistd::close(fd);
    }
}

fn sweep(mark: &Mark) {
    // Those that cleared their environment are known by descent, as long as their ancestors live.
    let mut known = descendants::find(mark, &Roots::default());
    sleep(GRACE);
    let give_up = Instant::now() + GIVE_UP;
    let mut empty_looks = 0;
    while empty_looks < EMPTY_LOOKS && Instant::now() < give_up {
        known.extend(descendants::find(mark, &Roots::default()));
        empty_looks = if known.is_empty() { empty_looks + 1 } else { 0 };
        descendants::end(&known);
        known.clear();
        sleep(LOOK_AGAIN);
    }
}
