//! The files of one run: a directory of its own, for its owner only, with a directory for each instance. A disk that is
//! full or gone is told once, and is no reason to stop anything.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use super::reason;

/// The directory of a run.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    run: String,
    first_error: Option<String>,
}

/// The files of one instance; each is made when there is something to write to it.
#[derive(Debug)]
pub struct InstanceFiles {
    directory: PathBuf,
    stream: Option<File>,
    stderr: Option<File>,
}

impl RunDirectory {
    /// Makes the directory of a run below `base`, and points `base/latest` to it. A run that would have the name of
    /// another (in containers, many processes have one id) gets a number behind it.
    ///
    /// # Errors
    /// The system's, with the path.
    pub fn create(base: &Path, run: &str) -> io::Result<Self> {
        private().recursive(true).create(base).map_err(|e| with_path(base, e))?;
        let mut name = run.to_owned();
        for number in 2.. {
            match private().create(base.join(&name)) {
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => name = format!("{run}-{number}"),
                Err(e) => return Err(with_path(&base.join(&name), e)),
                Ok(()) => break,
            }
        }
        let path = base.join(&name);
        keep_private(&path, 0o700).map_err(|e| with_path(&path, e))?;
        point_latest(base, &name);
        Ok(RunDirectory { path, run: name, first_error: None })
    }

    /// Makes `base`, and looks whether the directory of a run could be made in it.
    ///
    /// # Errors
    /// The system's, with the path.
    pub fn check(base: &Path) -> io::Result<()> {
        let made = private().recursive(true).create(base);
        made.and_then(|()| Ok(access(base, AccessFlags::W_OK | AccessFlags::X_OK)?)).map_err(|e| with_path(base, e))
    }

    /// The run's name, by which the directory is called.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files of instance number `index` (from 0) of `count`.
    #[must_use]
    pub fn instance(&self, index: usize, count: usize, name: &str) -> InstanceFiles {
        InstanceFiles { directory: self.path.join(directory_name(index, count, name)), stream: None, stderr: None }
    }

    /// Writes a file whole or not at all.
    pub fn replace(&mut self, name: &str, text: &str) {
        let (new, path) = (self.path.join(format!(".{name}.new")), self.path.join(name));
        let written =
            create(&new).and_then(|mut file| file.write_all(text.as_bytes())).and_then(|()| fs::rename(&new, &path));
        self.note(&path, written);
    }

    /// Keeps a piece of what an instance wrote to standard output, as it came.
    pub fn keep_stream(&mut self, files: &mut InstanceFiles, bytes: &[u8]) {
        let written = append(&files.directory, "stream.jsonl", &mut files.stream, bytes);
        self.note(&files.directory.join("stream.jsonl"), written);
    }

    /// Keeps a piece of what an instance wrote to standard error.
    pub fn keep_stderr(&mut self, files: &mut InstanceFiles, bytes: &[u8]) {
        let written = append(&files.directory, "stderr.txt", &mut files.stderr, bytes);
        self.note(&files.directory.join("stderr.txt"), written);
    }

    /// Keeps an instance's result. Nothing more comes of it, so its files are closed.
    pub fn keep_result(&mut self, files: &mut InstanceFiles, text: Option<&str>) {
        if let Some(text) = text {
            let written = append(&files.directory, "result.txt", &mut None, text.as_bytes());
            self.note(&files.directory.join("result.txt"), written);
        }
        files.stream = None;
        files.stderr = None;
    }

    /// The first thing that could not be written, once.
    pub fn take_error(&mut self) -> Option<String> {
        self.first_error.as_mut().filter(|text| !text.is_empty()).map(std::mem::take)
    }

    fn note(&mut self, path: &Path, written: io::Result<()>) {
        if let (Err(error), None) = (written, &self.first_error) {
            self.first_error = Some(format!("{}: {}", path.display(), reason(&error)));
        }
    }
}

impl InstanceFiles {
    /// How many of them may still have to be opened.
    #[must_use]
    pub fn unopened(&self) -> usize {
        usize::from(self.stream.is_none()) + usize::from(self.stderr.is_none())
    }

    /// Where they are.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

fn with_path(path: &Path, error: io::Error) -> io::Error {
    // mkdir(2) calls it that something is there, whatever that is.
    let is_in_the_way = error.kind() == io::ErrorKind::AlreadyExists && !path.is_dir();
    let error = if is_in_the_way { Errno::ENOTDIR.into() } else { error };
    io::Error::new(error.kind(), format!("{}: {}", path.display(), reason(&error)))
}

/// "02-data-collector": a name of an instance may hold anything, the name of a directory holds what no system objects to.
fn directory_name(index: usize, count: usize, name: &str) -> String {
    const MAX_CHARS: usize = 60;
    let digits = count.to_string().len().max(2);
    let harmless = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = name.chars().take(MAX_CHARS).map(harmless).collect();
    format!("{:0digits$}-{name}", index + 1)
}

fn append(directory: &Path, name: &str, file: &mut Option<File>, bytes: &[u8]) -> io::Result<()> {
    if file.is_none() {
        private().recursive(true).create(directory)?;
        keep_private(directory, 0o700)?;
        *file = Some(create(&directory.join(name))?);
    }
    file.as_mut().map_or(Ok(()), |file| file.write_all(bytes))
}

/// A second process of an instance adds to what the first one wrote.
fn create(path: &Path) -> io::Result<File> {
    let adds = path.extension().is_some_and(|e| e == "jsonl" || e == "txt") && !path.ends_with("result.txt");
    let mut options = OpenOptions::new();
    options.create(true).write(true).append(adds).truncate(!adds).mode(0o600);
    // An instance may have put a pipe there: that is not waited for.
    let file = options.custom_flags(nix::libc::O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    keep_private(path, 0o600)?;
    Ok(file)
}

/// What the umask has taken from the owner is given back: zen itself could not go on.
fn keep_private(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, Permissions::from_mode(mode))
}

pub(super) fn private() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

/// Two runs may do this at once, so the link is made aside and then put in its place.
fn point_latest(base: &Path, run: &str) {
    let aside = base.join(format!(".latest.{run}"));
    if symlink(run, &aside).is_ok() && fs::rename(&aside, base.join("latest")).is_err() {
        let _ = fs::remove_file(&aside);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_in_the_place_of_a_file_is_not_waited_for() {
        let base = tempfile::tempdir().expect("a directory");
        let mut directory = RunDirectory::create(base.path(), "run").expect("it can be made");
        let made = nix::unistd::mkfifo(&directory.path().join(".report.json.new"), nix::sys::stat::Mode::S_IRWXU);
        made.expect("a pipe");
        directory.replace("report.json", "{}");
        assert!(directory.take_error().is_some_and(|why| why.contains("report.json")));
    }

    #[test]
    fn no_name_leaves_the_run_s_directory() {
        for (name, expected) in [
            ("data-collector", "02-data-collector"),
            ("../../etc/passwd", "02-.._.._etc_passwd"),
            ("a/b", "02-a_b"),
            ("..", "02-.."),
            ("naïve\u{1b}[2J", "02-na_ve__2J"),
        ] {
            assert_eq!(directory_name(1, 3, name), expected);
        }
        assert_eq!(directory_name(99, 1000, "x"), "0100-x");
        assert!(directory_name(0, 1, &"x".repeat(10_000)).len() < 100);
    }
}
