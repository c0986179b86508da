//! A directory held by descriptor. Names in it are resolved with openat(2) and O_NOFOLLOW: a process that creates
//! symbolic links, or renames or replaces the directory, cannot redirect a write to another place.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fchmod, mkdirat, umask};
use nix::unistd::{UnlinkatFlags, symlinkat, unlinkat};

/// Maximum number of times that a foreign entry is removed before its creator wins.
const MAX_REPLACEMENTS: u32 = 8;

const FILE_MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// An open directory.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
}

impl Directory {
    /// Opens a directory named by the user; it may be a symbolic link.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
        Ok(Directory { fd: openat(AT_FDCWD, path, flags, Mode::empty())? })
    }

    /// Creates a directory in this one, with mode 0700.
    ///
    /// # Errors
    /// Returns the system's error; `AlreadyExists` if the name is taken.
    pub fn create_directory(&self, name: &str) -> io::Result<Self> {
        self.make_directory(name)?;
        self.open_directory(name)
    }

    /// Opens a directory in this one. Creates it if it is missing or not a directory.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn directory(&self, name: &str) -> io::Result<Self> {
        for _ in 0..MAX_REPLACEMENTS {
            match self.make_directory(name) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(error) => return Err(error.into()),
            }
            match self.open_directory(name) {
                // open(2): one of these for a symbolic link, depending on the system; otherwise it is a file.
                Err(error) if is_one_of(&error, &[Errno::ENOTDIR, Errno::ELOOP]) => self.remove(name)?,
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                opened => return opened,
            }
        }
        Err(Errno::EEXIST.into())
    }

    /// Returns true if `name` is a file in the directory `directory` of this one, and is this open file.
    #[must_use]
    pub fn has_in(&self, directory: &str, name: &str, file: &File) -> bool {
        self.open_directory(directory).is_ok_and(|directory| directory.has(name, file))
    }

    /// Creates a file with mode 0600. Removes an existing file of this name instead of writing to it.
    ///
    /// # Errors
    /// Returns the system's error; that of unlink(2) if the name is a directory's.
    pub fn create_file(&self, name: &str) -> io::Result<File> {
        for _ in 0..MAX_REPLACEMENTS {
            match self.open_file(name, OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_APPEND) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => self.remove(name)?,
                Err(error) => return Err(error),
                Ok(file) => {
                    // The umask may have removed permissions of the owner.
                    fchmod(file.as_fd(), FILE_MODE)?;
                    return Ok(file);
                }
            }
        }
        Err(Errno::EEXIST.into())
    }

    /// Opens a file created by [`create_file`](Self::create_file) for appending.
    ///
    /// Replaces anything else of this name with a new file.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn append_file(&self, name: &str) -> io::Result<File> {
        match self.existing_file(name, OFlag::O_APPEND) {
            Ok(file) => Ok(file),
            Err(_) => self.create_file(name),
        }
    }

    /// Opens an existing file to overwrite it in place. It must be a regular file with one link.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn file_in_place(&self, name: &str) -> io::Result<File> {
        self.existing_file(name, OFlag::empty())
    }

    /// Renames a file and replaces an existing file of the new name.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(renameat(&self.fd, from, &self.fd, to)?)
    }

    /// Removes a file or a symbolic link itself, if it exists.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn remove(&self, name: &str) -> io::Result<()> {
        match unlinkat(&self.fd, name, UnlinkatFlags::NoRemoveDir) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Creates a symbolic link, or atomically replaces an existing one.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn point(&self, name: &str, to: &str, temporary_name: &str) -> io::Result<()> {
        symlinkat(to, &self.fd, temporary_name)?;
        self.rename(temporary_name, name).inspect_err(|_| drop(self.remove(temporary_name)))
    }

    /// Waits until the directory's entries are on disk.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn sync(&self) -> io::Result<()> {
        Ok(nix::unistd::fsync(&self.fd)?)
    }

    /// Returns true if the path still refers to this directory, and is not a symbolic link.
    #[must_use]
    pub fn is_at(&self, path: &Path) -> bool {
        let (Ok(there), Ok(here)) = (path.symlink_metadata(), nix::sys::stat::fstat(&self.fd)) else { return false };
        // The field types differ between systems.
        #[allow(clippy::unnecessary_cast)]
        let here = (here.st_dev as u64, here.st_ino as u64);
        (there.dev(), there.ino()) == here
    }

    /// Returns true if this name in the directory refers to the open file.
    #[must_use]
    pub fn has(&self, name: &str, file: &File) -> bool {
        let named = nix::sys::stat::fstatat(&self.fd, name, AtFlags::AT_SYMLINK_NOFOLLOW);
        let open = nix::sys::stat::fstat(file);
        matches!((named, open), (Ok(a), Ok(b)) if (a.st_dev, a.st_ino) == (b.st_dev, b.st_ino))
    }

    /// Duplicates the descriptor.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Directory { fd: self.fd.try_clone()? })
    }

    fn make_directory(&self, name: &str) -> Result<(), Errno> {
        // With a umask like 0777, zen could not open its own directory. The umask is per process, but only this thread
        // creates directories and processes.
        let mask = umask(Mode::S_IRWXG | Mode::S_IRWXO);
        let made = mkdirat(&self.fd, name, Mode::S_IRWXU);
        umask(mask);
        made
    }

    fn open_directory(&self, name: &str) -> io::Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let fd = openat(&self.fd, name, flags, Mode::empty())?;
        fchmod(&fd, Mode::S_IRWXU)?;
        Ok(Directory { fd })
    }

    fn existing_file(&self, name: &str, flags: OFlag) -> io::Result<File> {
        let file = self.open_file(name, flags)?;
        // A second hard link may be outside of the directory.
        match file.metadata()?.nlink() {
            1 => Ok(file),
            _ => Err(Errno::EMLINK.into()),
        }
    }

    fn open_file(&self, name: &str, flags: OFlag) -> io::Result<File> {
        // O_NONBLOCK: an instance may have created a FIFO, which must not block.
        let always = OFlag::O_WRONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = File::from(openat(&self.fd, name, always | flags, FILE_MODE)?);
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        Ok(file)
    }
}

fn is_one_of(error: &io::Error, numbers: &[Errno]) -> bool {
    error.raw_os_error().is_some_and(|number| numbers.contains(&Errno::from_raw(number)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::{PermissionsExt, symlink};

    struct Place {
        base: tempfile::TempDir,
        directory: Directory,
    }

    impl Place {
        fn new() -> Self {
            let base = tempfile::tempdir().expect("a directory");
            fs::write(base.path().join("victim"), "untouched").expect("a file");
            fs::set_permissions(base.path().join("victim"), fs::Permissions::from_mode(0o644)).expect("permissions");
            fs::create_dir(base.path().join("elsewhere")).expect("a directory");
            let directory = Directory::open(base.path()).and_then(|base| base.create_directory("run"));
            Place { directory: directory.expect("it can be created"), base }
        }

        fn planted(&self, name: &str) -> std::path::PathBuf {
            self.base.path().join("run").join(name)
        }

        fn expect_untouched(&self) {
            let victim = self.base.path().join("victim");
            assert_eq!(fs::read_to_string(&victim).expect("a file"), "untouched");
            assert_eq!(fs::metadata(&victim).expect("a file").permissions().mode() & 0o777, 0o644);
            assert_eq!(fs::read_dir(self.base.path().join("elsewhere")).expect("a directory").count(), 0);
        }
    }

    #[test]
    fn planted_links_and_pipes_are_replaced_and_their_targets_untouched() {
        let place = Place::new();
        let victim = place.base.path().join("victim");
        symlink(&victim, place.planted("symbolic")).expect("a link");
        symlink(place.base.path().join("elsewhere/new"), place.planted("dangling")).expect("a link");
        fs::hard_link(&victim, place.planted("hard")).expect("a link");
        nix::unistd::mkfifo(&place.planted("pipe"), Mode::S_IRWXU).expect("a pipe");
        for name in ["symbolic", "dangling", "hard", "pipe"] {
            let mut file = place.directory.append_file(name).expect("a file");
            file.write_all(b"own").expect("it can be written");
            assert_eq!(fs::read_to_string(place.planted(name)).expect("a file"), "own", "{name}");
            place.expect_untouched();
        }
        for name in ["symbolic", "hard"] {
            fs::remove_file(place.planted(name)).expect("it was there");
        }
        symlink(&victim, place.planted("symbolic")).expect("a link");
        fs::hard_link(&victim, place.planted("hard")).expect("a link");
        for name in ["symbolic", "hard"] {
            assert!(place.directory.file_in_place(name).is_err(), "{name}");
            drop(place.directory.create_file(name).expect("a file"));
            place.expect_untouched();
        }
    }

    #[test]
    fn file_is_appended_to_by_append_and_replaced_by_create() {
        let place = Place::new();
        for text in ["a", "b"] {
            place.directory.append_file("f").and_then(|mut f| f.write_all(text.as_bytes())).expect("written");
        }
        assert_eq!(fs::read_to_string(place.planted("f")).expect("a file"), "ab");
        drop(place.directory.create_file("f").expect("a file"));
        assert_eq!(fs::read_to_string(place.planted("f")).expect("a file"), "");
    }

    #[test]
    fn directory_replaced_by_a_link_is_created_again() {
        let place = Place::new();
        drop(place.directory.directory("a").expect("a directory"));
        fs::remove_dir(place.planted("a")).expect("it was there");
        symlink(place.base.path().join("elsewhere"), place.planted("a")).expect("a link");
        drop(place.directory.directory("a").and_then(|a| a.create_file("f")).expect("a file"));
        assert!(place.planted("a/f").is_file() && !place.planted("a").is_symlink());
        place.expect_untouched();
    }

    #[test]
    fn own_directory_replaced_by_a_link_is_written_where_it_went() {
        let place = Place::new();
        let path = place.base.path().join("run");
        assert!(place.directory.is_at(&path));
        fs::rename(&path, place.base.path().join("moved")).expect("it is there");
        symlink("elsewhere", &path).expect("a link");
        drop(place.directory.create_file("f").expect("a file"));
        assert!(place.base.path().join("moved/f").is_file() && !place.directory.is_at(&path));
        place.expect_untouched();
        let base = Directory::open(place.base.path()).expect("a directory");
        let error = base.create_directory("run").expect_err("a link is in its place");
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
    }
}
