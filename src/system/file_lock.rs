//! Lock file for one run at a time, by flock(2); `app/setup` takes it, one for each config and workspace. The kernel
//! releases it when the last process that has it open exits.
//! Instances do not inherit it; their reapers do, and hold it until the last process of the run is gone.

use std::fmt::{self, Display, Formatter};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::kill;
use nix::unistd::Pid;

use super::error_text;
use crate::system::run_dir::private;

/// First word of the line that a run writes into its lock file.
const FIRST_WORD: &str = "pid ";

/// Maximum size of the holder's line.
const MAX_HOLDER_BYTES: u64 = 4096;

/// Time limit for a lock whose recorded holder is dead. After SIGKILL of zen, its reapers need about 0.4 s.
const DEAD_HOLDER_PATIENCE: Duration = Duration::from_secs(2);

/// Interval between two attempts.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// A lock that is released on drop.
#[derive(Debug)]
pub struct Lock {
    file: Flock<File>,
}

/// The run that holds a lock, as recorded in the file.
#[derive(Clone, Copy, Debug)]
pub struct Holder<'a> {
    /// Process id of zen.
    pub pid: u32,
    /// Name of the run.
    pub run: &'a str,
    /// Start time in UTC.
    pub since: &'a str,
}

/// Reason why a lock was not acquired.
#[derive(Debug, PartialEq, Eq)]
pub enum LockError {
    /// Another run holds it.
    Held(RecordedHolder),
    /// The file cannot be used as a lock.
    Unusable(LockProblem),
}

/// The other run that holds a lock, as recorded in the file.
#[derive(Debug, PartialEq, Eq)]
pub struct RecordedHolder {
    /// Line in the file; empty if it has not been written yet.
    pub line: String,
    /// True if zen is dead, but processes of its run are not.
    pub is_dead: bool,
}

impl Display for RecordedHolder {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.line.as_str() {
            "" => write!(f, "one that has just begun"),
            line if self.is_dead => write!(f, "{line} (that process is dead, its cleanup is not finished)"),
            line => write!(f, "{line}"),
        }
    }
}

/// Reason why a file cannot be used as a lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LockProblem {
    /// A symbolic link.
    SymbolicLink,
    /// A directory, a pipe or a device.
    NotRegular,
    /// A file with any other content.
    ForeignContent,
    /// The system has no locks of this kind.
    Unsupported,
    /// The system's error.
    System(String),
}

impl From<io::Error> for LockProblem {
    fn from(error: io::Error) -> Self {
        LockProblem::System(error_text(&error))
    }
}

impl Display for LockProblem {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            LockProblem::SymbolicLink => write!(f, "must not be a symbolic link"),
            LockProblem::NotRegular => write!(f, "must be a regular file"),
            LockProblem::ForeignContent => write!(f, "not a lock file of zen, and would be overwritten"),
            LockProblem::Unsupported => write!(f, "this system has no locks of this kind"),
            LockProblem::System(error) => f.write_str(error),
        }
    }
}

impl Lock {
    /// Acquires the lock and records the holder in it.
    ///
    /// Waits only if the recorded holder is dead, at most two seconds.
    ///
    /// # Errors
    /// Returns the other holder, or the reason why the file cannot be used.
    pub fn take(path: &Path, holder: Holder) -> Result<Self, LockError> {
        let file = open(path).map_err(LockError::Unusable)?;
        Lock::take_opened(file, holder, DEAD_HOLDER_PATIENCE)
    }

    /// Checks that the file could be used as a lock, without acquiring it.
    ///
    /// # Errors
    /// Returns the reason why it cannot be used.
    pub fn check(path: &Path) -> Result<(), LockProblem> {
        recorded_holder(&mut open(path)?).map(drop)
    }

    fn take_opened(mut file: File, holder: Holder, patience: Duration) -> Result<Self, LockError> {
        let give_up = Instant::now() + patience;
        let mut file = loop {
            let recorded = recorded_holder(&mut file).map_err(LockError::Unusable)?;
            file = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(locked) => break locked,
                Err((file, Errno::EWOULDBLOCK)) => file,
                Err((_, error)) => return Err(LockError::Unusable(io::Error::from(error).into())),
            };
            let line = recorded.trim().to_owned();
            let is_dead = recorded_pid(&line).is_some_and(is_dead);
            if !is_dead || Instant::now() >= give_up {
                return Err(LockError::Held(RecordedHolder { line, is_dead }));
            }
            std::thread::sleep(POLL_INTERVAL);
        };
        // The line is informational: on a full disk, the lock is held without it.
        let _ = write(&mut file, &format!("{FIRST_WORD}{}, run {}, since {}\n", holder.pid, holder.run, holder.since));
        Ok(Lock { file })
    }

    /// Acquires a lock in a directory, which is created with mode 0700 if it is missing.
    ///
    /// # Errors
    /// Returns the errors of [`take`](Self::take).
    pub fn take_in(directory: &Path, name: &str, holder: Holder) -> Result<Self, LockError> {
        let file = open_in(directory, name).map_err(LockError::Unusable)?;
        Lock::take_opened(file, holder, DEAD_HOLDER_PATIENCE)
    }

    /// Returns the descriptor that must stay open to hold the lock.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Opens a lock file. It must not be a symbolic link: zen would create or overwrite the link's target.
fn open(path: &Path) -> Result<File, LockProblem> {
    // Opening a pipe or a device must not block.
    let flags = nix::libc::O_NONBLOCK | nix::libc::O_NOFOLLOW;
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
    let file = options.open(path).map_err(|error| match error.raw_os_error() {
        Some(nix::libc::ELOOP) if path.is_symlink() => LockProblem::SymbolicLink,
        _ => error.into(),
    })?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(LockProblem::NotRegular);
    }
    Ok(file)
}

/// Opens a lock file in a directory, which is created with mode 0700 if it is missing.
pub(super) fn open_in(directory: &Path, name: &str) -> Result<File, LockProblem> {
    private().recursive(true).create(directory)?;
    open(&directory.join(name))
}

/// Reads the line of the last holder. A file with any other content is rejected.
fn recorded_holder(file: &mut File) -> Result<String, LockProblem> {
    let line = read(file)?;
    if !line.is_empty() && !line.starts_with(FIRST_WORD) {
        return Err(LockProblem::ForeignContent);
    }
    Ok(line)
}

fn recorded_pid(line: &str) -> Option<i32> {
    let digits = line.strip_prefix(FIRST_WORD)?.split(',').next()?;
    digits.parse().ok().filter(|&pid| pid > 0)
}

/// Returns true if no process has this pid, or only a zombie.
fn is_dead(pid: i32) -> bool {
    if kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
        return true;
    }
    // proc_pid_stat(5): the state follows the name, which may contain anything.
    let mut stat = Vec::new();
    let file = File::open(format!("/proc/{pid}/stat"));
    let is_read = file.is_ok_and(|file| file.take(MAX_HOLDER_BYTES).read_to_end(&mut stat).is_ok());
    let state = stat.iter().rposition(|&b| b == b')').and_then(|end| stat.get(end + 2));
    is_read && matches!(state, Some(b'Z' | b'X'))
}

fn read(file: &mut File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
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
    use std::os::unix::fs::symlink;
    use std::process::{Command, Stdio};

    fn holder(pid: u32) -> Holder<'static> {
        Holder { pid, run: "r", since: "noon" }
    }

    /// Acquires the lock as the current process, which is alive.
    fn take(path: &Path) -> Result<Lock, LockError> {
        Lock::take(path, holder(std::process::id()))
    }

    fn dead_pid() -> u32 {
        let mut child = Command::new("true").spawn().expect("a child");
        child.wait().expect("its end");
        child.id()
    }

    #[test]
    fn second_run_is_refused_with_the_holder() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lock");
        let pid = std::process::id();
        let first = Lock::take(&path, Holder { run: "long-name", ..holder(pid) }).expect("it is free");
        let line = format!("pid {pid}, run long-name, since noon");
        assert_eq!(take(&path).unwrap_err(), LockError::Held(RecordedHolder { line, is_dead: false }));
        drop(first);
        // A child that another test forks has it open as well, until its exec.
        let give_up = Instant::now() + Duration::from_secs(60);
        while take(&path).is_err() {
            assert!(Instant::now() < give_up, "it is free again");
        }
        let expected = format!("pid {pid}, run r, since noon\n");
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), expected, "the longer line is gone");
    }

    #[test]
    fn lock_of_a_dead_holder_is_waited_for() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lock");
        let held = Lock::take(&path, holder(dead_pid())).expect("it is free");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| {
                Lock::take_opened(open(&path).expect("a file"), holder(std::process::id()), Duration::from_secs(60))
            });
            drop(held);
            assert!(waiting.join().expect("no panic").is_ok());
        });
    }

    #[test]
    fn wait_for_a_dead_holder_has_a_bound() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("lock");
        let _held = Lock::take(&path, holder(dead_pid())).expect("it is free");
        let began = Instant::now();
        let Err(LockError::Held(holder)) = take(&path) else { panic!("it is held") };
        assert!(began.elapsed() >= DEAD_HOLDER_PATIENCE);
        assert!(holder.is_dead && holder.line.ends_with(", since noon"), "{holder}");
    }

    #[test]
    fn zombie_is_dead_and_a_running_process_is_not() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("a child");
        let pid = child.id().cast_signed();
        assert!(!is_dead(pid) && !is_dead(1));
        drop(child.stdin.take());
        let give_up = Instant::now() + Duration::from_secs(60);
        while !is_dead(pid) {
            assert!(Instant::now() < give_up, "cat ends at EOF");
        }
        child.wait().expect("its end");
        assert!(is_dead(pid));
    }

    #[test]
    fn file_that_is_no_lock_is_left_as_it_is() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config.json");
        std::fs::write(&path, "{}").expect("a file");
        assert!(matches!(take(&path), Err(LockError::Unusable(_))));
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), "{}");
        for path in [directory.path(), &directory.path().join("gone/lock"), Path::new("/dev/null")] {
            assert!(matches!(take(path), Err(LockError::Unusable(_))), "{}", path.display());
        }
    }

    #[test]
    fn symbolic_link_is_refused_and_its_target_untouched() {
        let directory = tempfile::tempdir().expect("a directory");
        let (target, link) = (directory.path().join("target"), directory.path().join("link"));
        for exists in [false, true] {
            if exists {
                std::fs::write(&target, "").expect("a file");
            } else {
                symlink(&target, &link).expect("a link");
            }
            assert_eq!(take(&link).unwrap_err(), LockError::Unusable(LockProblem::SymbolicLink));
            assert_eq!(Lock::check(&link).unwrap_err(), LockProblem::SymbolicLink);
            assert_eq!(std::fs::read_to_string(&target).ok(), exists.then(String::new));
            assert!(open_in(directory.path(), "link").is_err());
        }
    }
}
