//! Output of a run: status reports, notices, the files of the instances, `report.json` and the summary.

use std::collections::{BTreeMap, HashSet};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use super::Sinks;
use crate::base::text;
use crate::claude::protocol::ContentBlock;
use crate::engine::Engine;
use crate::engine::exit_code::ExitCode;
use crate::engine::notice::Notice;
use crate::engine::run_clock::RunClock;
use crate::plan::{InstanceId, Plan};
use crate::report::json::RunMetadata;
use crate::report::output_tail::OutputTail;
use crate::report::verbosity::{LogLevel, OnSuccess};
use crate::report::{self, Style, notices};
use crate::system::clock;
use crate::system::output::{Output, columns};
use crate::system::report_file::FinalReport;
use crate::system::run_dir::{InstanceFiles, RunDirectory};
use crate::system::signals::{Signals, is_termination};

/// Maximum width of the first line.
const MAX_START_COLUMNS: usize = 1000;

/// Maximum time that the first launch waits for the first version of `report.json`.
///
/// The run should be on disk before it costs anything, but a slow disk must not block it longer.
const FIRST_REPORT_LIMIT: Duration = Duration::from_secs(1);

/// Pause between two versions of `report.json`, as a multiple of the time that the last one took.
const JSON_PAUSE: u32 = 20;

/// Maximum pause due to a slow disk, which does not block the event loop.
const MAX_DISK_PAUSE: Duration = Duration::from_secs(2);

/// Interval at which a busy report writer is polled.
const BUSY_PAUSE: Duration = Duration::from_millis(50);

/// Contents that the short version of the final report omits, with the reason.
const OMITTED: &str = "results, answers and last output: the whole report could not be written to disk";

/// Maximum age of an interval report that makes the final one a repetition.
const RECENT_REPORT: Duration = Duration::from_secs(1);

/// Settings of the output of a run.
#[derive(Clone, Debug)]
pub struct ReportSettings {
    /// Time between two status reports.
    pub interval: Duration,
    /// Maximum number of output lines per instance between two reports.
    pub max_console_lines: usize,
    /// Maximum width of such a line, in columns.
    pub max_line_columns: usize,
    /// Amount of output.
    pub log_level: LogLevel,
    /// Output at the end if every instance has completed.
    pub on_success: OnSuccess,
    /// Style of the output.
    pub style: Style,
    /// Metadata of the run, for `report.json`.
    pub metadata: RunMetadata,
}

/// Output streams and files of a run.
pub(super) struct Reporter<'a> {
    plan: &'a Plan,
    settings: ReportSettings,
    stdout: Output,
    stderr: Output,
    directory: Option<RunDirectory>,
    /// Open files of the running instances.
    files: BTreeMap<InstanceId, InstanceFiles>,
    tails: Vec<OutputTail>,
    /// Notices already printed per instance, so that another attempt does not repeat them.
    printed: HashSet<(InstanceId, String)>,
    next_report: Duration,
    last_report: Option<Duration>,
    json: JsonThrottle,
}

/// Rate limit for rewriting `report.json`.
#[derive(Default)]
struct JsonThrottle {
    /// Number of the engine's changes that the last version contains.
    changes: u64,
    not_before: Duration,
}

impl<'a> Reporter<'a> {
    pub(super) fn new(plan: &'a Plan, mut settings: ReportSettings, sinks: Sinks) -> Self {
        let Sinks { mut directory, stdout, stderr } = sinks;
        let count = plan.instances.len();
        if let Some(directory) = &mut directory {
            directory.start_report_thread();
            for (i, instance) in plan.instances.iter().enumerate() {
                let path = directory.instance(i, count, &instance.name).directory().display().to_string();
                settings.metadata.directories.push(path);
            }
        }
        let mut tails = Vec::new();
        tails.resize_with(count, || OutputTail::new(settings.max_console_lines, settings.max_line_columns));
        Reporter {
            plan,
            stdout,
            stderr,
            directory,
            files: BTreeMap::new(),
            tails,
            printed: HashSet::new(),
            next_report: settings.interval,
            last_report: None,
            json: JsonThrottle::default(),
            settings,
        }
    }

    /// Writes the first `report.json`, and prints the number of instances and the directory of their files.
    pub(super) fn start(&mut self, engine: &Engine, now: Duration) {
        self.write_json(engine, now);
        if let Some(directory) = &self.directory {
            directory.wait_for_report(FIRST_REPORT_LIMIT);
        }
        if !self.prints_status() {
            return;
        }
        let count = report::counted(self.plan.instances.len(), "instance", "instances");
        let files = match &self.directory {
            Some(directory) => format!("files in {}", directory.path().display()),
            None => "no files are kept".to_owned(),
        };
        let line = self.settings.style.sanitize(&format!("Running {count}: {files}"), MAX_START_COLUMNS);
        self.stdout.print(&format!("{line}\n"));
    }

    fn prints_status(&self) -> bool {
        self.settings.log_level >= LogLevel::Concise
    }

    /// Returns the time of the next status report or version of `report.json`.
    pub(super) fn next_deadline(&self, engine: &Engine) -> Option<Duration> {
        let report = if self.prints_status() { Some(self.next_report) } else { None };
        // Without a run directory, the report stays stale and is never due.
        let is_json_due = self.directory.is_some() && self.json.changes != engine.changes();
        let json = if is_json_due { Some(self.json.not_before) } else { None };
        report.into_iter().chain(json).min()
    }

    /// Returns the descriptors of the streams with pending output.
    pub(super) fn pending_fds(&self) -> [Option<BorrowedFd<'_>>; 2] {
        [self.stdout.pending_fd(), self.stderr.pending_fd()]
    }

    /// Writes pending output, as much as the streams accept.
    pub(super) fn flush(&mut self) {
        self.stdout.flush();
        self.stderr.flush();
    }

    /// Prints a notice to stderr, if the log level includes it.
    pub(super) fn notice(&mut self, notice: &Notice, engine: &Engine, now: Duration) {
        if self.settings.log_level < notices::level(notice) {
            return;
        }
        if let Notice::Instance(id, message) = notice
            && !self.printed.insert((*id, message.clone()))
        {
            return;
        }
        let line = notices::line(notice, &engine.snapshot(&[], now), self.settings.style);
        self.stderr.print(&if self.settings.style.unicode { line.into() } else { text::ascii(&line) });
    }

    /// Opens the files of an instance, unless they are open.
    pub(super) fn open_files(&mut self, id: InstanceId) {
        if let Some(directory) = &self.directory {
            let instances = &self.plan.instances;
            let files = || directory.instance(id.0, instances.len(), &instances[id].name);
            self.files.entry(id).or_insert_with(files);
        }
    }

    /// Returns the number of files that may still have to be opened.
    pub(super) fn unopened_files(&self) -> usize {
        self.files.values().map(InstanceFiles::unopened).sum()
    }

    /// Appends to the copy of an instance's stdout.
    pub(super) fn append_stdout(&mut self, id: InstanceId, bytes: &[u8]) {
        if let (Some(directory), Some(files)) = (&mut self.directory, self.files.get_mut(&id)) {
            directory.append_stdout(files, bytes);
        }
    }

    /// Appends to the copy of an instance's stderr.
    pub(super) fn append_stderr(&mut self, id: InstanceId, bytes: &[u8]) {
        if let (Some(directory), Some(files)) = (&mut self.directory, self.files.get_mut(&id)) {
            directory.append_stderr(files, bytes);
        }
    }

    /// Records the output of an instance for the next status report.
    pub(super) fn record_output(&mut self, id: InstanceId, block: &ContentBlock) {
        self.tails[id].push(block);
    }

    /// Writes the result of an attempt and closes its files. Returns the last lines of output.
    pub(super) fn end_attempt(&mut self, id: InstanceId, stderr: Option<&str>, result: Option<&str>) -> Vec<String> {
        if let Some(stderr) = stderr {
            self.tails[id].push_text(stderr);
        }
        if let (Some(directory), Some(mut files)) = (&mut self.directory, self.files.remove(&id)) {
            directory.write_result(&mut files, result);
        }
        self.tails[id].last_words()
    }

    /// Records a pause of the run.
    pub(super) fn add_pause(&mut self, now: Duration, pause: Duration) {
        self.settings.metadata.pauses.add(now, pause);
    }

    /// Prints a status report if one is due, and the errors of files.
    pub(super) fn report_if_due(&mut self, engine: &Engine, now: Duration) {
        self.print_file_errors(engine, now);
        if !self.prints_status() || now < self.next_report || engine.is_finished() {
            return;
        }
        self.print_status(engine, now);
        self.last_report = Some(now);
        // Print one report after a suspension, not one for each that was missed.
        let missed = (now - self.next_report).as_nanos() / self.settings.interval.as_nanos().max(1);
        let steps = u32::try_from(missed + 1).unwrap_or(u32::MAX);
        self.next_report += self.settings.interval.saturating_mul(steps);
    }

    /// Prints the first error of each kind of file, once.
    fn print_file_errors(&mut self, engine: &Engine, now: Duration) {
        let errors = self.directory.as_mut().map_or_else(Vec::new, RunDirectory::take_errors);
        for error in errors {
            self.notice(&Notice::FilesIncomplete(error), engine, now);
        }
    }

    /// Prints a status report.
    pub(super) fn print_status(&mut self, engine: &Engine, now: Duration) {
        let limits = engine.limits();
        let text = report::status::status(&engine.snapshot(&limits, now), self.settings.style, columns());
        self.print_report(text, engine, now);
    }

    /// Prints the final status report; soon after an interval report, only the changes since.
    fn print_last_status(&mut self, engine: &Engine, now: Duration) {
        let Some(since) = recent_report(self.last_report, now, self.settings.interval) else {
            return self.print_status(engine, now);
        };
        let limits = engine.limits();
        let text = report::status::completion(&engine.snapshot(&limits, now), self.settings.style, columns(), since);
        self.print_report(text, engine, now);
    }

    /// Prints a report, followed by the new output lines of all instances.
    fn print_report(&mut self, mut text: String, engine: &Engine, now: Duration) {
        for (instance, tail) in self.plan.instances.iter().zip(&mut self.tails) {
            for line in tail.take(&instance.name, self.settings.style) {
                text += &line;
                text.push('\n');
            }
        }
        text.push('\n');
        self.stdout.print(&text);
        self.print_stdout_error("no more reports", engine, now);
    }

    fn print_stdout_error(&mut self, missing: &'static str, engine: &Engine, now: Duration) {
        if let Some(error) = self.stdout.take_error() {
            self.notice(&Notice::OutputFailed { missing, error: error.desc().to_owned() }, engine, now);
        }
    }

    /// Queues a new version of `report.json` if something has changed. Never waits for the disk: if the writer is busy,
    /// retries later.
    pub(super) fn update_json(&mut self, engine: &Engine, run_clock: &RunClock) {
        let began = run_clock.elapsed(clock::read());
        let Some(directory) = &self.directory else { return };
        if self.json.changes == engine.changes() || began < self.json.not_before {
            return;
        }
        if !directory.is_report_idle() {
            self.json.not_before = began + BUSY_PAUSE;
            return;
        }
        let disk_pause = (directory.last_report_duration() * JSON_PAUSE).min(MAX_DISK_PAUSE);
        self.write_json(engine, began);
        let ended = run_clock.elapsed(clock::read());
        self.json.not_before = ended + disk_pause.max((ended - began) * JSON_PAUSE);
    }

    fn write_json(&mut self, engine: &Engine, now: Duration) {
        self.json.changes = engine.changes();
        if let Some(directory) = &self.directory {
            let limits = engine.limits();
            directory.replace_report(report::json::report(&engine.snapshot(&limits, now), &self.settings.metadata));
        }
    }

    /// Writes the final `report.json` and waits for it.
    ///
    /// If it cannot be written completely, the exit code is at least that of a failure. Returns the exit code, and true
    /// if a signal interrupted the wait.
    fn finish_json(&mut self, engine: &Engine, now: Duration, signals: &mut Signals) -> (ExitCode, bool) {
        let code = engine.exit_code();
        let Some(directory) = &mut self.directory else { return (code, false) };
        let code_if_incomplete = code.max_severity(ExitCode::Failed);
        let limits = engine.limits();
        let view = engine.snapshot(&limits, now);
        let [whole, short] = [(code, None), (code_if_incomplete, Some(OMITTED))].map(|(code, omitted)| {
            let metadata = RunMetadata { exit_code: Some(code.number()), omitted, ..self.settings.metadata.clone() };
            report::json::report(&view, &metadata)
        });
        let mut is_stopped = false;
        let is_whole = directory.finish_report(FinalReport { whole, short }, || {
            is_stopped |= signals.drain().into_iter().any(is_termination);
            is_stopped
        });
        (if is_whole { code } else { code_if_incomplete }, is_stopped)
    }

    /// Writes the final report and the summary, and returns the exit code.
    ///
    /// `survivors` are the processes that could not be killed; `None` if they are unknown.
    pub(super) fn finish(
        &mut self,
        engine: &Engine,
        survivors: Option<Vec<i32>>,
        now: Duration,
        signals: &mut Signals,
    ) -> ExitCode {
        let stopped_by = engine.stopped_by().map(str::to_owned);
        self.settings.metadata.stopped_by.clone_from(&stopped_by);
        let (code, is_stopped) = self.finish_json(engine, now, signals);
        let is_silent = code == ExitCode::Completed && self.settings.on_success == OnSuccess::Silent;
        if self.prints_status() && !is_silent {
            self.print_last_status(engine, now);
        }
        let footer = report::summary::Footer {
            stopped_by,
            strays: survivors,
            logs: self.directory.as_ref().map(|directory| directory.path().to_owned()),
            incomplete_files: self.directory.as_ref().map_or_else(Vec::new, RunDirectory::incomplete_files),
            exit: code,
        };
        if !is_silent {
            let limits = engine.limits();
            let view = engine.snapshot(&limits, now);
            self.stdout.print_always(&report::summary::summary(&view, self.settings.style, &footer));
        }
        self.print_file_errors(engine, now);
        let is_stopped = self.stdout.drain(signals, is_stopped);
        self.print_stdout_error("no summary", engine, now);
        let is_stopped = self.stderr.drain(signals, is_stopped);
        // The CI runner reads stdout and stderr as one log: write both before workflow commands are enabled again.
        for output in [&mut self.stdout, &mut self.stderr] {
            output.close_fence();
            output.drain(signals, is_stopped);
        }
        code
    }
}

/// Returns the time of the last interval report if the final report would repeat it.
///
/// Returns `None` if the interval is below a second, because the user asked for reports at that rate.
fn recent_report(last: Option<Duration>, now: Duration, interval: Duration) -> Option<Duration> {
    last.filter(|last| interval >= RECENT_REPORT && now.saturating_sub(*last) < RECENT_REPORT)
}
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn final_report_within_a_second_of_an_interval_report_is_short() {
        for (last, now, interval, is_whole) in [
            (None, 300, 5_000, true),
            (Some(5_000), 5_000, 5_000, false),
            (Some(5_000), 5_999, 5_000, false),
            (Some(5_000), 6_000, 5_000, true),
            (Some(1_000), 1_300, 1_000, false),
            (Some(1_000), 1_100, 200, true),
        ] {
            let last = last.map(Duration::from_millis);
            let [now, interval] = [now, interval].map(Duration::from_millis);
            assert_eq!(recent_report(last, now, interval).is_none(), is_whole, "{last:?} {now:?} {interval:?}");
        }
    }
}
