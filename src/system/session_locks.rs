//! Session locks: each session is a byte of one file, locked by one run at a time. All sessions share the file and one
//! descriptor. The kernel releases the locks when the last process that has the file open exits. The reapers of a run
//! inherit it and so keep all its locks, including later ones; claude does not inherit it.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::rc::Rc;

use nix::libc;

use super::error_text;
use crate::base::sha256;
use crate::system::file_lock::{LockProblem, open_in};

/// Name of the lock file, which stays empty.
const NAME: &str = "sessions.lock";

/// Session locks of a user.
#[derive(Clone, Debug)]
pub struct SessionLocks {
    file: Rc<File>,
}

/// A locked session, unlocked on drop.
#[derive(Debug)]
pub struct SessionLock {
    file: Rc<File>,
    byte: libc::off_t,
}

impl SessionLocks {
    /// Opens the lock file in this directory, which is created if it is missing. Locks nothing.
    ///
    /// # Errors
    /// Returns the reason why locks are not available.
    pub fn open(directory: &Path) -> Result<Self, LockProblem> {
        if !cfg!(target_os = "linux") {
            return Err(LockProblem::Unsupported);
        }
        Ok(SessionLocks { file: Rc::new(open_in(directory, NAME)?) })
    }

    /// Locks a session. Returns `None` if another run has locked it.
    ///
    /// A second lock by the same run succeeds, but dropping either of them releases the session.
    ///
    /// # Errors
    /// Returns the system's error if the file system does not support these locks.
    pub fn try_lock(&self, uuid: &str) -> Result<Option<SessionLock>, LockProblem> {
        let byte = byte_of(uuid);
        match set(&self.file, byte, libc::F_WRLCK) {
            Ok(()) => Ok(Some(SessionLock { file: Rc::clone(&self.file), byte })),
            Err(error) if [Some(libc::EAGAIN), Some(libc::EACCES)].contains(&error.raw_os_error()) => Ok(None),
            Err(error) => Err(LockProblem::System(error_text(&error))),
        }
    }

    /// Returns the descriptor that must stay open to hold the locks.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for SessionLock {
    fn drop(&mut self) {
        let _ = set(&self.file, self.byte, libc::F_UNLCK);
    }
}

/// Returns the offset of a session's byte, derived from a hash, so that collisions are not expected.
fn byte_of(uuid: &str) -> libc::off_t {
    let mut bytes = [0; size_of::<libc::off_t>()];
    let count = bytes.len();
    bytes.copy_from_slice(&sha256::sha256(uuid.as_bytes())[..count]);
    libc::off_t::from_be_bytes(bytes) & (libc::off_t::MAX >> 1)
}

/// Sets or releases an open file description lock. A lock of the process would not survive it in its reapers.
#[cfg(target_os = "linux")]
fn set(file: &File, byte: libc::off_t, kind: libc::c_int) -> std::io::Result<()> {
    use nix::fcntl::{FcntlArg, fcntl};
    // SAFETY: zeros are a valid value of this plain C structure.
    let mut range: libc::flock = unsafe { std::mem::zeroed() };
    range.l_type = kind.try_into().unwrap_or_default();
    range.l_whence = libc::SEEK_SET.try_into().unwrap_or_default();
    range.l_start = byte;
    range.l_len = 1;
    fcntl(file, FcntlArg::F_OFD_SETLK(&range))?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn set(_file: &File, _byte: libc::off_t, _kind: libc::c_int) -> std::io::Result<()> {
    Err(std::io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    fn try_lock(locks: &SessionLocks, uuid: &str) -> Option<SessionLock> {
        locks.try_lock(uuid).expect("there are locks")
    }

    #[test]
    fn session_is_locked_by_one_run_at_a_time() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = || SessionLocks::open(&directory.path().join("made")).expect("a file");
        let (ours, theirs) = (open(), open());
        let first = try_lock(&ours, "a").expect("it is free");
        assert!(try_lock(&theirs, "a").is_none());
        let other = try_lock(&theirs, "b").expect("it is free");
        assert!(try_lock(&ours, "b").is_none());
        drop(first);
        let second = try_lock(&theirs, "a").expect("it is free again");
        drop(theirs);
        assert!(try_lock(&ours, "b").is_none(), "held as long as the lock is there");
        drop((other, second));
        assert!(try_lock(&ours, "a").is_some() && try_lock(&ours, "b").is_some());
    }

    /// Covers the state after SIGKILL, when no lock was dropped.
    #[test]
    fn open_file_keeps_the_locks() {
        let directory = tempfile::tempdir().expect("a directory");
        let open = || SessionLocks::open(directory.path()).expect("a file");
        let (ours, theirs) = (open(), open());
        let reaper = ours.fd().try_clone_to_owned().expect("a descriptor");
        assert_eq!(set(&ours.file, byte_of("a"), libc::F_WRLCK).ok(), Some(()));
        drop(ours);
        assert!(try_lock(&theirs, "a").is_none());
        drop(reaper);
        // A child that another test starts has it open as well, until its exec.
        let give_up = Instant::now() + Duration::from_secs(60);
        while try_lock(&theirs, "a").is_none() {
            assert!(Instant::now() < give_up, "no process has it open");
        }
    }

    #[test]
    fn directory_that_cannot_be_written_is_an_error() {
        for path in ["/dev/null", "/proc/none"] {
            assert!(SessionLocks::open(Path::new(path)).is_err(), "{path}");
        }
    }
}
