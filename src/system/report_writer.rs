//! Thread that writes `report.json`, because a rename may wait for the disk: 50 to 110 ms on ext4 with discard, seconds
//! on a busy or remote disk. The event loop queues a version if the writer is idle, and waits only at the end.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{SigSet, SigmaskHow};

use super::report_file::{FinalReport, Outcome, ReportFile};

/// Stack size of the thread, which needs a few kilobytes.
const STACK_BYTES: usize = 128 * 1024;

/// Maximum time that the end of a run waits for the disk.
const FINISH_LIMIT: Duration = Duration::from_secs(30);

/// Time that the final report still has after a signal. A disk that responds needs milliseconds: without it, a complete
/// report would count as lost.
const CUT_SHORT_LIMIT: Duration = Duration::from_millis(500);

/// Interval at which that wait checks for an interruption.
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Writer of a run's report.
#[derive(Debug)]
pub struct ReportWriter {
    shared: Arc<Shared>,
    has_thread: bool,
}

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    /// Locked while a job is being written.
    file: Mutex<ReportFile>,
}

#[derive(Debug, Default)]
struct State {
    job: Option<Job>,
    is_writing: bool,
    last_duration: Duration,
    error: Option<io::Error>,
    outcome: Option<Outcome>,
}

#[derive(Debug)]
enum Job {
    Replace(String),
    Finish(FinalReport),
}

impl ReportWriter {
    /// Creates a writer without a thread, which writes synchronously.
    #[must_use]
    pub fn new(file: ReportFile) -> Self {
        let shared = Shared { state: Mutex::default(), changed: Condvar::new(), file: Mutex::new(file) };
        ReportWriter { shared: Arc::new(shared), has_thread: false }
    }

    /// Starts the thread. If that fails, the writer continues to write synchronously.
    pub fn start_thread(&mut self) {
        let shared = Arc::clone(&self.shared);
        // Signals must be handled by the main thread. The new thread inherits the mask.
        let Ok(mask) = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK) else { return };
        let thread = thread::Builder::new().name("report-writer".to_owned()).stack_size(STACK_BYTES);
        self.has_thread = thread.spawn(move || while shared.work() {}).is_ok();
        let _ = mask.thread_set_mask();
    }

    /// Returns true if a new version would be written immediately.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let state = self.shared.state();
        !state.is_writing && state.job.is_none()
    }

    /// Waits until the writer is idle, at most for `limit`.
    pub fn wait_until_idle(&self, limit: Duration) {
        let is_busy = |state: &mut State| state.is_writing || state.job.is_some();
        drop(self.shared.changed.wait_timeout_while(self.shared.state(), limit, is_busy));
    }

    /// Returns the time it took to write the last version.
    #[must_use]
    pub fn last_duration(&self) -> Duration {
        self.shared.state().last_duration
    }

    /// Queues a new version of the report. It replaces a version that is still queued.
    pub fn replace(&self, text: String) {
        self.hand_over(Job::Replace(text));
    }

    /// Returns the first error since the last call.
    pub fn take_error(&self) -> Option<io::Error> {
        self.shared.state().error.take()
    }

    /// Writes the final report and waits for it: at most 30 seconds, or half a second after `is_cut_short` returns true.
    pub fn finish(&self, report: FinalReport, mut is_cut_short: impl FnMut() -> bool) -> Outcome {
        let mut give_up = Instant::now() + FINISH_LIMIT;
        self.hand_over(Job::Finish(report));
        let mut state = self.shared.state();
        loop {
            if let Some(outcome) = state.outcome.take() {
                return outcome;
            }
            drop(state);
            if is_cut_short() {
                give_up = give_up.min(Instant::now() + CUT_SHORT_LIMIT);
            }
            if Instant::now() >= give_up {
                return Outcome::Lost(io::Error::other("the disk did not respond in time"));
            }
            let wait = self.shared.changed.wait_timeout(self.shared.state(), POLL_INTERVAL);
            state = wait.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn hand_over(&self, job: Job) {
        self.shared.state().job = Some(job);
        if self.has_thread {
            self.shared.changed.notify_all();
        } else {
            self.shared.work();
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a job and executes it. Returns false after the last one.
    fn work(&self) -> bool {
        let idle = self.changed.wait_while(self.state(), |state| state.job.is_none());
        let mut state = idle.unwrap_or_else(PoisonError::into_inner);
        let Some(job) = state.job.take() else { return true };
        state.is_writing = true;
        drop(state);
        let began = Instant::now();
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let (error, outcome) = match &job {
            Job::Replace(text) => (file.replace(text).err(), None),
            Job::Finish(report) => (None, Some(file.finish(report))),
        };
        drop((file, job));
        let mut state = self.state();
        let is_last = outcome.is_some();
        state.is_writing = false;
        state.last_duration = began.elapsed();
        state.error = state.error.take().or(error);
        state.outcome = outcome;
        self.changed.notify_all();
        !is_last
    }
}

#[cfg(test)]
mod tests {
    use super::super::directory::Directory;
    use super::super::report_file::NAME;
    use super::*;
    use std::fs;

    const LONG: Duration = Duration::from_secs(60);

    fn writer() -> (tempfile::TempDir, ReportWriter) {
        let base = tempfile::tempdir().expect("a directory");
        let directory = Directory::open(base.path()).expect("a directory");
        (base, ReportWriter::new(ReportFile::new(directory)))
    }

    fn final_report() -> FinalReport {
        FinalReport { whole: "whole".to_owned(), short: "short".to_owned() }
    }

    fn wait_until(condition: impl Fn() -> bool) {
        let give_up = Instant::now() + LONG;
        while !condition() {
            assert!(Instant::now() < give_up);
            thread::yield_now();
        }
    }

    #[test]
    fn reports_are_written_with_and_without_a_thread() {
        for with_thread in [false, true] {
            let (base, mut writer) = writer();
            if with_thread {
                writer.start_thread();
                assert!(writer.has_thread);
            }
            writer.replace("first".to_owned());
            writer.wait_until_idle(LONG);
            assert!(writer.is_idle());
            assert_eq!(fs::read_to_string(base.path().join(NAME)).expect("a report"), "first");
            assert!(matches!(writer.finish(final_report(), || false), Outcome::Whole));
            assert_eq!(fs::read_to_string(base.path().join(NAME)).expect("a report"), "whole");
            assert!(writer.take_error().is_none());
        }
    }

    /// Holds the lock of the file, like a disk that does not respond.
    #[test]
    fn busy_writer_does_not_block_and_writes_the_newest() {
        let (base, mut writer) = writer();
        writer.start_thread();
        let shared = Arc::clone(&writer.shared);
        let disk = shared.file.lock().expect("no panic");
        writer.replace("first".to_owned());
        wait_until(|| writer.shared.state().is_writing);
        for text in ["second", "third"] {
            writer.replace(text.to_owned());
            assert!(!writer.is_idle());
        }
        writer.wait_until_idle(Duration::from_millis(1));
        let mut looks = 0;
        let outcome = writer.finish(final_report(), || {
            looks += 1;
            looks > 1
        });
        assert!(matches!(outcome, Outcome::Lost(_)));
        assert!(!base.path().join(NAME).exists());
        drop(disk);
        wait_until(|| writer.shared.state().outcome.is_some());
        assert_eq!(fs::read_to_string(base.path().join(NAME)).expect("a report"), "whole");
    }

    #[test]
    fn first_error_is_returned_once() {
        let (base, writer) = writer();
        fs::create_dir(base.path().join(NAME)).expect("a directory");
        for _ in 0..2 {
            writer.replace("first".to_owned());
        }
        assert!(writer.take_error().is_some());
        assert!(writer.take_error().is_none());
        assert!(matches!(writer.finish(final_report(), || false), Outcome::Lost(_)));
    }
}
