//! `report.json` on disk. Each version replaces the last one atomically. Space for the final version is reserved from
//! the start: if the disk fills up during the run, the report does not stay at `running`.

use std::fs::File;
use std::io::{self, Seek, Write};

use super::directory::Directory;

/// Name of the file.
pub const NAME: &str = "report.json";
const NEW: &str = ".report.json.new";
const SPARE: &str = ".report.json.spare";

/// Minimum number of bytes reserved beyond the newest version, for results and last output that are still to come.
const MIN_HEADROOM_BYTES: u64 = 64 * 1024;

/// Final report in a complete and a short version.
#[derive(Debug)]
pub struct FinalReport {
    /// Complete text.
    pub whole: String,
    /// Text without results and last output, written if the complete one cannot be.
    pub short: String,
}

/// Outcome of writing the final report.
#[derive(Debug)]
pub enum Outcome {
    /// The complete report is on disk.
    Whole,
    /// Only the short report is on disk.
    Short(io::Error),
    /// Neither could be written. The last version was removed if possible.
    Lost(io::Error),
}

/// Report file of a run.
#[derive(Debug)]
pub struct ReportFile {
    directory: Directory,
    spare: Option<File>,
    reserved_bytes: u64,
}

#[derive(Clone, Copy, PartialEq)]
enum Durability {
    /// Written to the page cache.
    Cached,
    /// On disk before the rename.
    Synced,
}

impl ReportFile {
    /// Creates the handle of the report file in this directory. Writes nothing.
    #[must_use]
    pub fn new(directory: Directory) -> Self {
        ReportFile { directory, spare: None, reserved_bytes: 0 }
    }

    /// Replaces the report with a newer version, and reserves space for the final one.
    ///
    /// # Errors
    /// Returns the system's error.
    pub fn replace(&mut self, text: &str) -> io::Result<()> {
        self.reserve(text.len() as u64);
        self.write_new(text, Durability::Cached)
    }

    /// Writes the final report to disk and releases the reserved space.
    pub fn finish(&mut self, report: &FinalReport) -> Outcome {
        let outcome = self.write_final(report);
        self.spare = None;
        for temporary in [NEW, SPARE] {
            let _ = self.directory.remove(temporary);
        }
        // Not every file system can sync a directory.
        let _ = self.directory.sync();
        outcome
    }

    fn write_final(&mut self, report: &FinalReport) -> Outcome {
        let Err(error) = self.write_new(&report.whole, Durability::Synced) else { return Outcome::Whole };
        if self.write_to_spare(&report.whole).is_ok() {
            return Outcome::Whole;
        }
        let is_written = self.write_to_spare(&report.short).is_ok() || {
            self.spare = None;
            let _ = self.directory.remove(SPARE);
            self.write_new(&report.short, Durability::Synced).is_ok() || self.write_in_place(&report.short).is_ok()
        };
        if is_written {
            return Outcome::Short(error);
        }
        // A missing report is better than one with the status `running`.
        let _ = self.directory.remove(NAME);
        Outcome::Lost(error)
    }

    fn write_new(&self, text: &str, durability: Durability) -> io::Result<()> {
        let written = self.directory.create_file(NEW).and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            if durability == Durability::Synced { file.sync_data() } else { Ok(()) }
        });
        let renamed = written.and_then(|()| self.directory.rename(NEW, NAME));
        if renamed.is_err() {
            let _ = self.directory.remove(NEW);
        }
        renamed
    }

    /// Writes into the reserved blocks. This works on a full disk, except on copy-on-write file systems.
    fn write_to_spare(&mut self, text: &str) -> io::Result<()> {
        let file = self.spare.as_mut().ok_or(io::ErrorKind::NotFound)?;
        overwrite(file, text)?;
        // An instance may have removed or replaced the file.
        if !self.directory.has(SPARE, file) {
            return Err(io::ErrorKind::NotFound.into());
        }
        self.directory.rename(SPARE, NAME)
    }

    /// Overwrites the last version in place. Last resort: a reader may see a torn file.
    fn write_in_place(&self, text: &str) -> io::Result<()> {
        overwrite(&mut self.directory.file_in_place(NAME)?, text)
    }

    /// Reserves blocks for a final report that is a quarter longer than the newest version.
    fn reserve(&mut self, length: u64) {
        if length + MIN_HEADROOM_BYTES / 2 <= self.reserved_bytes {
            return;
        }
        if self.spare.is_none() {
            // Not opened with O_APPEND, because it is overwritten from the beginning.
            self.spare = self.directory.create_file(SPARE).and_then(|_| self.directory.file_in_place(SPARE)).ok();
        }
        let wanted = length + MIN_HEADROOM_BYTES.max(length / 4);
        if let Some(file) = &self.spare
            && allocate(file, wanted).is_ok()
        {
            self.reserved_bytes = wanted;
        }
    }
}

fn overwrite(file: &mut File, text: &str) -> io::Result<()> {
    file.rewind()?;
    file.write_all(text.as_bytes())?;
    file.set_len(text.len() as u64)?;
    file.sync_data()
}

#[cfg(target_os = "linux")]
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let bytes = i64::try_from(bytes).map_err(io::Error::other)?;
    Ok(nix::fcntl::posix_fallocate(file, 0, bytes)?)
}

#[cfg(not(target_os = "linux"))]
fn allocate(_file: &File, _bytes: u64) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::MetadataExt;
    use std::path::{Path, PathBuf};

    struct Place {
        base: tempfile::TempDir,
        file: ReportFile,
    }

    impl Place {
        fn new() -> Self {
            let base = tempfile::tempdir().expect("a directory");
            let run = Directory::open(base.path()).and_then(|base| base.create_directory("run"));
            Place { file: ReportFile::new(run.expect("it can be created")), base }
        }

        fn path(&self, name: &str) -> PathBuf {
            self.base.path().join("run").join(name)
        }

        fn text(&self) -> String {
            fs::read_to_string(self.path(NAME)).expect("a report")
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.path("")).expect("a directory").flatten();
            entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
        }
    }

    fn final_report() -> FinalReport {
        FinalReport { whole: "whole".repeat(1000), short: "short".to_owned() }
    }

    /// Creates a directory in place of the new file, so that it cannot be written.
    fn block_new_files(path: &Path) {
        fs::create_dir(path).expect("a directory");
    }

    #[test]
    fn final_report_replaces_the_last_one_and_leaves_nothing_else() {
        let mut place = Place::new();
        for text in ["first", "second"] {
            place.file.replace(text).expect("written");
            assert_eq!(place.text(), text);
        }
        let spare = fs::metadata(place.path(SPARE)).expect("the reserve");
        assert!(spare.blocks() * 512 >= MIN_HEADROOM_BYTES, "{} blocks", spare.blocks());
        assert!(matches!(place.file.finish(&final_report()), Outcome::Whole));
        assert_eq!(place.text(), final_report().whole);
        assert_eq!(place.names(), [NAME]);
    }

    #[test]
    fn reserve_grows_with_the_report() {
        let mut place = Place::new();
        for length in [10, 100_000, 1_000_000, 10] {
            place.file.replace(&"x".repeat(length)).expect("written");
            assert!(place.file.reserved_bytes > length as u64 + MIN_HEADROOM_BYTES / 2);
        }
        assert_eq!(fs::metadata(place.path(SPARE)).expect("the reserve").len(), 1_250_000);
    }

    #[test]
    fn reserve_is_used_if_no_new_file_can_be_written() {
        let mut place = Place::new();
        place.file.replace("first").expect("written");
        block_new_files(&place.path(NEW));
        assert!(place.file.replace("second").is_err());
        assert_eq!(place.text(), "first");
        assert!(matches!(place.file.finish(&final_report()), Outcome::Whole));
        assert_eq!(place.text(), final_report().whole);
    }

    #[test]
    fn reserve_that_was_replaced_by_a_link_is_not_used() {
        let mut place = Place::new();
        place.file.replace("first").expect("written");
        block_new_files(&place.path(NEW));
        fs::remove_file(place.path(SPARE)).expect("it was there");
        std::os::unix::fs::symlink("/dev/null", place.path(SPARE)).expect("a link");
        assert!(matches!(place.file.finish(&final_report()), Outcome::Short(_)));
        assert_eq!(place.text(), "short");
        assert!(!place.path(NAME).is_symlink());
    }

    #[test]
    fn without_a_reserve_the_short_report_is_written_in_place() {
        let mut place = Place::new();
        place.file.replace("a longer text than the short one").expect("written");
        block_new_files(&place.path(NEW));
        place.file.spare = None;
        assert!(matches!(place.file.finish(&final_report()), Outcome::Short(_)));
        assert_eq!(place.text(), "short");
    }

    #[test]
    fn if_nothing_can_be_written_no_report_is_left() {
        let mut place = Place::new();
        place.file.replace("first").expect("written");
        block_new_files(&place.path(NEW));
        place.file.spare = None;
        fs::hard_link(place.path(NAME), place.path("second name")).expect("a link");
        assert!(matches!(place.file.finish(&final_report()), Outcome::Lost(_)));
        assert!(!place.path(NAME).exists());
        assert_eq!(fs::read_to_string(place.path("second name")).expect("a file"), "first", "it was not written to");
    }
}
