//! A lock on a file that one run at a time holds. The system lets go of it when the last process that has it open has
//! ended, however that ends; claude never has it, and the guard of a run keeps it until nothing of the run is left.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

use super::files::private;
use super::reason;

/// With this begins what a run writes into its lock.
const FIRST_WORD: &str = "pid ";

/// A holder's line is short.
const MAX_HOLDER_BYTES: u64 = 4096;

/// A lock that is held until this is dropped.
#[derive(Debug)]
pub struct Lock {
    file: Flock<File>,
}

/// Why a lock could not be had.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Another run holds it: what that one wrote of itself, which is nothing if it has come no further yet.
    Held(String),
    /// It cannot be used.
    Unusable(String),
}

impl Lock {
    /// Takes the lock at once or not at all, and writes into it who holds it.
    ///
    /// # Errors
    /// Who else holds it, or why nobody can.
    pub fn take(path: &Path, pid: u32, run: &str, since: &str) -> Result<Self, Refusal> {
        Lock::take_opened(open(path)?, pid, run, since)
    }

    /// Whether it could be taken if nobody held it.
    ///
    /// # Errors
    /// Why nobody can.
    pub fn check(path: &Path) -> Result<(), Refusal> {
        holder(&mut open(path)?).map(drop)
    }

    fn take_opened(mut file: File, pid: u32, run: &str, since: &str) -> Result<Self, Refusal> {
        let held = holder(&mut file)?;
        let mut file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => file,
            Err((_, Errno::EWOULDBLOCK)) => return Err(Refusal::Held(held.trim().to_owned())),
            Err((_, error)) => return Err(unusable(&error.into())),
        };
        let line = format!("{FIRST_WORD}{pid}, run {run}, since {since}\n");
        write(&mut file, &line).map_err(|error| unusable(&error))?;
        Ok(Lock { file })
    }

    /// Takes a lock in a directory that is made if it is not there, for its owner only.
    ///
    /// # Errors
    /// Those of [`take`](Self::take).
    pub fn take_in(directory: &Path, name: &str, pid: u32, run: &str, since: &str) -> Result<Self, Refusal> {
        Lock::take_opened(open_in(directory, name)?, pid, run, since)
    }

    /// What has to stay open for the lock to be held.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Opens a file that is nothing but a lock.
fn open(path: &Path) -> Result<File, Refusal> {
    // A pipe or a device is not waited for.
    let not_waiting = nix::libc::O_NONBLOCK;
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(not_waiting)
        .open(path)
        .map_err(|error| unusable(&error))?;
    match file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        true => Ok(file),
        false => Err(Refusal::Unusable("it is no regular file".to_owned())),
    }
}

/// The same, in a directory that is made if it is not there, for its owner only.
pub(super) fn open_in(directory: &Path, name: &str) -> Result<File, Refusal> {
    private().recursive(true).create(directory).map_err(|error| unusable(&error))?;
    open(&directory.join(name))
}

/// What the last one who took it wrote of itself.
fn holder(file: &mut File) -> Result<String, Refusal> {
    let held = read(file).map_err(|error| unusable(&error))?;
    if !held.is_empty() && !held.starts_with(FIRST_WORD) {
        return Err(Refusal::Unusable("it is no lock of zen, and would be overwritten".to_owned()));
    }
    Ok(held)
}

fn unusable(error: &io::Error) -> Refusal {
    Refusal::Unusable(reason(error))
}

fn read(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(MAX_HOLDER_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn write(file: &mut File, line: &str) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    file.write_all(line.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(path: &Path, pid: u32) -> Result<Lock, Refusal> {
        Lock::take(path, pid, "r", "noon")
    }

    #[test]
    fn one_holds_it_and_the_other_learns_who() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lock");
        let first = take(&path, 1).expect("it is free");
        assert_eq!(take(&path, 2).unwrap_err(), Refusal::Held("pid 1, run r, since noon".to_owned()));
        drop(first);
        let second = Lock::take(&path, 22, "long-name", "noon").expect("it is free again");
        assert_eq!(take(&path, 3).unwrap_err(), Refusal::Held("pid 22, run long-name, since noon".to_owned()));
        drop(second);
        drop(take(&path, 4).expect("it is free again"));
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "pid 4, run r, since noon\n", "the longer is gone");
    }

    #[test]
    fn a_file_of_somebody_else_is_left_as_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.json");
        std::fs::write(&path, "{}").expect("a file");
        assert!(matches!(take(&path, 1), Err(Refusal::Unusable(_))));
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "{}");
        for path in [directory.path(), &directory.path().join("gone/lock"), Path::new("/dev/null")] {
            assert!(matches!(take(path, 1), Err(Refusal::Unusable(_))), "{}", path.display());
        }
    }
}
