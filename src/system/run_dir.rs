//! Files of one run: a private directory with a directory per instance. All are opened relative to the run directory's
//! descriptor. A full or missing disk stops no instance; each kind of file reports its first error.

use std::fs::{DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use super::directory::Directory;
use super::error_text;
use super::report_file::{self, FinalReport, Outcome, ReportFile};
use super::report_writer::ReportWriter;

const REPLACED: &str = "it was moved, removed or replaced";

/// Directory of a run.
#[derive(Debug)]
pub struct RunDirectory {
    path: PathBuf,
    run: String,
    directory: Directory,
    report: ReportWriter,
    /// Device and inode of the stream and stderr files created, per instance.
    created: Vec<[Option<(u64, u64)>; 2]>,
    errors: Errors,
    is_report_incomplete: bool,
}

/// Files of one instance, created on the first write.
#[derive(Debug)]
pub struct InstanceFiles {
    index: usize,
    name: String,
    path: PathBuf,
    stream: Option<File>,
    stderr: Option<File>,
}

/// Kind of file; each reports its first error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Report,
    Stream,
    Stderr,
    Result,
}

impl Kind {
    const ALL: [Kind; 4] = [Kind::Report, Kind::Stream, Kind::Stderr, Kind::Result];

    fn file_name(self) -> &'static str {
        match self {
            Kind::Report => report_file::NAME,
            Kind::Stream => "stream.jsonl",
            Kind::Stderr => "stderr.txt",
            Kind::Result => "result.txt",
        }
    }

    fn bit(self) -> u8 {
        1 << self as u8
    }
}

#[derive(Debug, Default)]
struct Errors {
    /// Bit set of the kinds that had an error.
    kinds: u8,
    unreported: Vec<String>,
}

impl Errors {
    fn note(&mut self, kind: Kind, path: &Path, error: &io::Error) {
        if self.kinds & kind.bit() == 0 {
            self.kinds |= kind.bit();
            self.unreported.push(format!("{}: {}", path.display(), error_text(error)));
        }
    }
}

impl RunDirectory {
    /// Creates the directory of a run in `base`, and points `base/latest` to it.
    ///
    /// If the name is taken, appends a number: in containers, many processes have the same pid.
    ///
    /// # Errors
    /// Returns the system's error with the path.
    pub fn create(base: &Path, run: &str) -> io::Result<Self> {
        private().recursive(true).create(base).map_err(|e| with_path(base, e))?;
        let parent = Directory::open(base).map_err(|e| with_path(base, e))?;
        let (mut name, mut number) = (run.to_owned(), 2);
        let directory = loop {
            match parent.create_directory(&name) {
                Ok(directory) => break directory,
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => name = format!("{run}-{number}"),
                Err(e) => return Err(with_path(&base.join(&name), e)),
            }
            number += 1;
        };
        let path = base.join(&name);
        let report = directory.try_clone().map(ReportFile::new).map_err(|e| with_path(&path, e))?;
        // Another run may do the same concurrently, so the link is created under a temporary name first.
        let _ = parent.point("latest", &name, &format!(".latest.{name}"));
        Ok(RunDirectory {
            path,
            run: name,
            directory,
            report: ReportWriter::new(report),
            created: Vec::new(),
            errors: Errors::default(),
            is_report_incomplete: false,
        })
    }

    /// Creates `base` and checks that the directory of a run could be created in it.
    ///
    /// # Errors
    /// Returns the system's error with the path.
    pub fn check(base: &Path) -> io::Result<()> {
        let made = private().recursive(true).create(base);
        made.and_then(|()| Ok(access(base, AccessFlags::W_OK | AccessFlags::X_OK)?)).map_err(|e| with_path(base, e))
    }

    /// Returns the run's name, which is the name of the directory.
    #[must_use]
    pub fn run(&self) -> &str {
        &self.run
    }

    /// Returns the path of the directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns the files of instance `index` (from 0) of `count`.
    #[must_use]
    pub fn instance(&self, index: usize, count: usize, name: &str) -> InstanceFiles {
        let name = directory_name(index, count, name);
        InstanceFiles { index, path: self.path.join(&name), name, stream: None, stderr: None }
    }

    /// Starts the thread that writes `report.json`.
    pub fn start_report_thread(&mut self) {
        self.report.start_thread();
    }

    /// Waits until the newest version of `report.json` is written, at most for `limit`.
    pub fn wait_for_report(&self, limit: Duration) {
        self.report.wait_until_idle(limit);
    }

    /// Returns true if a new version of `report.json` would be written immediately.
    #[must_use]
    pub fn is_report_idle(&self) -> bool {
        self.report.is_idle()
    }

    /// Returns the time it took to write the last version of `report.json`.
    #[must_use]
    pub fn last_report_duration(&self) -> Duration {
        self.report.last_duration()
    }

    /// Replaces `report.json` atomically, without waiting for the disk.
    pub fn replace_report(&self, text: String) {
        self.report.replace(text);
    }

    /// Writes the final `report.json` and waits until it is on disk, or until `is_cut_short` returns true.
    ///
    /// Returns false if the report is incomplete.
    pub fn finish_report(&mut self, report: FinalReport, is_cut_short: impl FnMut() -> bool) -> bool {
        let (path, error) = match self.report.finish(report, is_cut_short) {
            Outcome::Whole if self.directory.is_at(&self.path) => return true,
            Outcome::Whole => (self.path.clone(), io::Error::other(REPLACED)),
            Outcome::Short(error) | Outcome::Lost(error) => (self.path.join(Kind::Report.file_name()), error),
        };
        self.is_report_incomplete = true;
        self.errors.note(Kind::Report, &path, &error);
        false
    }

    /// Appends to the copy of an instance's stdout.
    pub fn append_stdout(&mut self, files: &mut InstanceFiles, bytes: &[u8]) {
        if let Err(error) = self.append(Kind::Stream, files, bytes) {
            self.note(Kind::Stream, files, &error);
        }
    }

    /// Appends to the copy of an instance's stderr.
    pub fn append_stderr(&mut self, files: &mut InstanceFiles, bytes: &[u8]) {
        if let Err(error) = self.append(Kind::Stderr, files, bytes) {
            self.note(Kind::Stderr, files, &error);
        }
    }

    /// Writes an instance's result, completely or not at all, and closes its files. If one of them is no longer in its
    /// place, that is an error: the instance may have put another in its place.
    pub fn write_result(&mut self, files: &mut InstanceFiles, text: Option<&str>) {
        if let Some(text) = text
            && let Err(error) = self.create_result(files, text)
        {
            self.note(Kind::Result, files, &error);
        }
        for (kind, file) in [(Kind::Stream, files.stream.take()), (Kind::Stderr, files.stderr.take())] {
            if let Some(file) = file
                && !self.directory.has_in(&files.name, kind.file_name(), &file)
            {
                self.note(kind, files, &io::Error::other(REPLACED));
            }
        }
    }

    /// Returns the errors not returned yet: the first one of each kind of file.
    pub fn take_errors(&mut self) -> Vec<String> {
        if let Some(error) = self.report.take_error() {
            self.errors.note(Kind::Report, &self.path.join(Kind::Report.file_name()), &error);
        }
        std::mem::take(&mut self.errors.unreported)
    }

    /// Returns the names of the incomplete kinds of files. Errors of earlier versions of the report do not count.
    #[must_use]
    pub fn incomplete_files(&self) -> Vec<&'static str> {
        let is_incomplete = |&kind: &Kind| match kind {
            Kind::Report => self.is_report_incomplete,
            Kind::Stream | Kind::Stderr | Kind::Result => self.errors.kinds & kind.bit() != 0,
        };
        Kind::ALL.into_iter().filter(is_incomplete).map(Kind::file_name).collect()
    }

    fn append(&mut self, kind: Kind, files: &mut InstanceFiles, bytes: &[u8]) -> io::Result<()> {
        let slot = if kind == Kind::Stream { &mut files.stream } else { &mut files.stderr };
        if let Some(file) = slot {
            return file.write_all(bytes);
        }
        let directory = self.directory.directory(&files.name)?;
        if self.created.len() <= files.index {
            self.created.resize(files.index + 1, [None; 2]);
        }
        let earlier = self.created[files.index][usize::from(kind == Kind::Stderr)];
        // A later attempt appends. The first one replaces any existing file, which is not zen's.
        let mut file = match earlier {
            None => directory.create_file(kind.file_name())?,
            Some(_) => directory.append_file(kind.file_name())?,
        };
        let metadata = file.metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        self.created[files.index][usize::from(kind == Kind::Stderr)] = Some(identity);
        if earlier.is_some_and(|earlier| earlier != identity) {
            self.note(kind, files, &io::Error::other(REPLACED));
        }
        let written = file.write_all(bytes);
        let slot = if kind == Kind::Stream { &mut files.stream } else { &mut files.stderr };
        *slot = Some(file);
        written
    }

    fn create_result(&self, files: &InstanceFiles, text: &str) -> io::Result<()> {
        let (directory, name) = (self.directory.directory(&files.name)?, Kind::Result.file_name());
        let written = directory.create_file(name)?.write_all(text.as_bytes());
        // Remove a partial result: it would look like a complete one.
        written.inspect_err(|_| drop(directory.remove(name)))
    }

    fn note(&mut self, kind: Kind, files: &InstanceFiles, error: &io::Error) {
        self.errors.note(kind, &files.path.join(kind.file_name()), error);
    }
}

impl InstanceFiles {
    /// Returns the number of files that may still have to be opened.
    #[must_use]
    pub fn unopened(&self) -> usize {
        usize::from(self.stream.is_none()) + usize::from(self.stderr.is_none())
    }

    /// Returns the path of the instance's directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.path
    }
}

fn with_path(path: &Path, error: io::Error) -> io::Error {
    // mkdir(2) returns EEXIST for any type of file.
    let is_in_the_way = error.kind() == io::ErrorKind::AlreadyExists && !path.is_dir();
    let error = if is_in_the_way { Errno::ENOTDIR.into() } else { error };
    io::Error::new(error.kind(), format!("{}: {}", path.display(), error_text(&error)))
}

/// Returns the name of an instance's directory, for example "02-data-collector".
///
/// Replaces characters that a file system may reject, because the name of an instance may contain anything.
fn directory_name(index: usize, count: usize, name: &str) -> String {
    const MAX_CHARS: usize = 60;
    let digits = count.to_string().len().max(2);
    let harmless = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
    let name: String = name.chars().take(MAX_CHARS).map(harmless).collect();
    format!("{:0digits$}-{name}", index + 1)
}

pub(super) fn private() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o700);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn run_directory() -> (tempfile::TempDir, RunDirectory) {
        let base = tempfile::tempdir().expect("a directory");
        let directory = RunDirectory::create(base.path(), "run").expect("it can be created");
        (base, directory)
    }

    #[test]
    fn each_kind_of_file_reports_its_first_error() {
        let (base, mut directory) = run_directory();
        let mut files = directory.instance(0, 1, "a");
        fs::remove_dir(directory.path()).expect("it is empty");
        for _ in 0..2 {
            directory.replace_report("{}".to_owned());
            directory.append_stdout(&mut files, b"x");
            directory.append_stderr(&mut files, b"x");
            directory.write_result(&mut files, Some("x"));
        }
        let run = base.path().join("run").display().to_string();
        let names = ["01-a/stream.jsonl", "01-a/stderr.txt", "01-a/result.txt", "report.json"];
        let expected = names.map(|name| format!("{run}/{name}: No such file or directory"));
        assert_eq!(directory.take_errors(), expected);
        assert_eq!(directory.incomplete_files(), ["stream.jsonl", "stderr.txt", "result.txt"]);
        let report = FinalReport { whole: "whole".into(), short: "short".into() };
        assert!(!directory.finish_report(report, || false));
        assert_eq!(directory.incomplete_files(), ["report.json", "stream.jsonl", "stderr.txt", "result.txt"]);
        assert_eq!(directory.take_errors(), Vec::<String>::new(), "the report's error was reported");
    }

    #[test]
    fn moved_run_directory_is_an_error_of_the_final_report() {
        let (base, mut directory) = run_directory();
        fs::rename(directory.path(), base.path().join("moved")).expect("it is there");
        let report = FinalReport { whole: "whole".into(), short: "short".into() };
        assert!(!directory.finish_report(report, || false));
        let errors = directory.take_errors();
        assert!(errors.len() == 1 && errors[0].ends_with("/run: it was moved, removed or replaced"), "{errors:?}");
        assert!(base.path().join("moved/report.json").exists());
    }

    #[test]
    fn moved_or_replaced_files_of_an_instance_are_errors() {
        for replaced in ["01-a", "01-a/stream.jsonl"] {
            let (base, mut directory) = run_directory();
            let mut files = directory.instance(0, 1, "a");
            directory.append_stdout(&mut files, b"x");
            let place = directory.path().join(replaced);
            fs::rename(&place, base.path().join("moved")).expect("it is there");
            match replaced {
                "01-a" => fs::create_dir(&place).and_then(|()| fs::write(place.join("stream.jsonl"), "forged")),
                _ => fs::write(&place, "forged"),
            }
            .expect("a file");
            directory.write_result(&mut files, Some("x"));
            let errors = directory.take_errors();
            assert!(
                errors.len() == 1 && errors[0].ends_with("/01-a/stream.jsonl: it was moved, removed or replaced"),
                "{errors:?}"
            );
            assert_eq!(directory.incomplete_files(), ["stream.jsonl"]);
        }
    }

    #[test]
    fn later_attempt_appends_and_a_file_before_the_first_is_replaced() {
        let (_base, mut directory) = run_directory();
        let path = directory.path().join("01-a");
        fs::create_dir(&path).expect("a directory");
        fs::write(path.join("stream.jsonl"), "planted").expect("a file");
        for text in ["first ", "second"] {
            let mut files = directory.instance(0, 1, "a");
            directory.append_stdout(&mut files, text.as_bytes());
            directory.write_result(&mut files, Some(text));
        }
        assert_eq!(fs::read_to_string(path.join("stream.jsonl")).expect("a file"), "first second");
        assert_eq!(fs::read_to_string(path.join("result.txt")).expect("a file"), "second");
        assert_eq!(directory.take_errors(), Vec::<String>::new());
        fs::rename(path.join("stream.jsonl"), path.join("moved")).expect("it is there");
        fs::write(path.join("stream.jsonl"), "forged").expect("a file");
        directory.append_stdout(&mut directory.instance(0, 1, "a"), b"third");
        assert_eq!(directory.incomplete_files(), ["stream.jsonl"]);
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
