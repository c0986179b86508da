//! Reporting: copies the progress of attempts to the records, and renders the status reports, messages, files and
//! summary from those.

use std::time::Duration;

use super::{ReportThrottle, Supervisor};
use crate::engine::budget::LimitUsage;
use crate::engine::exit_code::ExitCode;
use crate::report::json::RunMetadata;
use crate::report::verbosity::LogLevel;
use crate::report::{self, Snapshot};
use crate::system::output::columns;
use crate::system::report_file::FinalReport;
use crate::system::run_dir::RunDirectory;
use crate::system::signals::is_termination;

/// Maximum width of a message; `report.json` has the full text.
pub(super) const MAX_MESSAGE_COLUMNS: usize = 1000;
const MAX_NAME_COLUMNS: usize = 60;

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

/// Returns the time of the last interval report if the final report would repeat it.
///
/// Returns `None` if the interval is below a second, because the user asked for reports at that rate.
fn recent_report(last: Option<Duration>, now: Duration, interval: Duration) -> Option<Duration> {
    last.filter(|last| interval >= RECENT_REPORT && now.saturating_sub(*last) < RECENT_REPORT)
}

impl Supervisor<'_> {
    /// Copies the progress of an attempt to the record that the reports read.
    pub(super) fn copy_to_record(&mut self, index: usize) {
        let (Some(used), Some(live)) = (self.used(index), self.live.get(&index)) else { return };
        let record = &mut self.records[index];
        record.used = used;
        record.exit = live.attempt.exit();
        record.progress = live.attempt.progress.for_record();
    }

    /// Logs the answers to the turns of an instance from turn `before` on.
    pub(super) fn log_turn_answers(&mut self, index: usize, before: usize) {
        let Some(live) = self.live.get(&index) else { return };
        if live.attempt.progress.turns_done == before || self.settings.log_level < LogLevel::Detailed {
            return;
        }
        let turns = &self.plan.instances[index].turns;
        let answers = live.attempt.progress.answers.iter().zip(turns).enumerate().skip(before);
        let of = turns.len();
        let lines: Vec<String> =
            answers.map(|(i, (answer, turn))| format!("turn {} of {of}: {} -> {answer}", i + 1, turn.text)).collect();
        for line in lines {
            self.debug(index, &line);
        }
    }

    /// Prints the number of instances and the directory of their files.
    pub(super) fn print_start(&mut self) {
        if !self.reports_status() {
            return;
        }
        let count = report::counted(self.plan.instances.len(), "instance", "instances");
        let files = self
            .directory
            .as_ref()
            .map_or("no files are kept".to_owned(), |directory| format!("files in {}", directory.path().display()));
        self.stdout.print(&format!(
            "{}\n",
            self.settings.style.sanitize(&format!("Running {count}: {files}"), MAX_MESSAGE_COLUMNS)
        ));
    }

    pub(super) fn reports_status(&self) -> bool {
        self.settings.log_level >= LogLevel::Concise
    }

    pub(super) fn report_if_due(&mut self, now: Duration) {
        self.print_file_errors();
        if self.reports_status() && now >= self.next_report && !self.schedule.is_finished() {
            self.print_status(now);
            self.last_report = Some(now);
            // Print one report after a suspension, not one for each that was missed.
            let missed = (now - self.next_report).as_nanos() / self.settings.report_interval.as_nanos().max(1);
            let steps = u32::try_from(missed + 1).unwrap_or(u32::MAX);
            self.next_report += self.settings.report_interval.saturating_mul(steps);
        }
    }

    /// Prints the first error of each kind of file, once.
    pub(super) fn print_file_errors(&mut self) {
        let errors = self.directory.as_mut().map_or_else(Vec::new, RunDirectory::take_errors);
        for error in errors {
            self.notice(&format!("the run's files are incomplete: {error}"));
        }
    }

    pub(super) fn print_status(&mut self, now: Duration) {
        for index in self.running() {
            self.copy_to_record(index);
        }
        let mut text = report::status::status(&self.view(&self.ledger.limits(), now), self.settings.style, columns());
        text += &self.recent_lines();
        self.print_report(text);
    }

    /// Prints the final status report; soon after an interval report, only the changes since.
    pub(super) fn print_last_status(&mut self, now: Duration) {
        let Some(since) = recent_report(self.last_report, now, self.settings.report_interval) else {
            return self.print_status(now);
        };
        let limits = self.ledger.limits();
        let view = self.view(&limits, now);
        let mut text = report::status::completion(&view, self.settings.style, columns(), since);
        text += &self.recent_lines();
        self.print_report(text);
    }

    /// Returns the new output lines of all instances.
    fn recent_lines(&mut self) -> String {
        let mut text = String::new();
        for (instance, recent) in self.plan.instances.iter().zip(&mut self.recent) {
            for line in recent.take(&instance.name, self.settings.style) {
                text += &line;
                text.push('\n');
            }
        }
        text
    }

    fn print_report(&mut self, mut text: String) {
        text.push('\n');
        self.stdout.print(&text);
        self.report_stdout_error("no more reports");
    }

    pub(super) fn report_stdout_error(&mut self, what: &str) {
        if let Some(error) = self.stdout.take_error() {
            self.notice(&format!("{what}: standard output: {}", error.desc()));
        }
    }

    /// Queues a new version of `report.json` if something has changed. Never waits for the disk: if the writer is busy,
    /// retries later.
    pub(super) fn update_report_json(&mut self) {
        let began = self.now();
        let Some(directory) = self.directory.as_ref().filter(|_| self.json.is_stale && began >= self.json.not_before)
        else {
            return;
        };
        if !directory.is_report_idle() {
            self.json.not_before = began + BUSY_PAUSE;
            return;
        }
        let disk_pause = (directory.last_report_duration() * JSON_PAUSE).min(MAX_DISK_PAUSE);
        for index in self.running() {
            self.copy_to_record(index);
        }
        self.write_report_json();
        let ended = self.now();
        let pause = disk_pause.max((ended - began) * JSON_PAUSE);
        self.json = ReportThrottle { is_stale: false, not_before: ended + pause };
    }

    pub(super) fn write_report_json(&mut self) {
        let Some(directory) = &self.directory else { return };
        let text = report::json::report(&self.view(&self.ledger.limits(), self.now()), &self.settings.facts);
        directory.replace_report(text);
    }

    /// Writes the final `report.json` and waits for it.
    ///
    /// If it cannot be written completely, the exit code is at least that of a failure. Returns the exit code, and true
    /// if a signal interrupted the wait.
    pub(super) fn finish_report_json(&mut self, code: ExitCode) -> (ExitCode, bool) {
        if self.directory.is_none() {
            return (code, false);
        }
        let code_if_incomplete = code.max_severity(ExitCode::Failed);
        let [whole, short] = [(code, None), (code_if_incomplete, Some(OMITTED))].map(|(code, omitted)| {
            let facts = RunMetadata { exit_code: Some(code.number()), omitted, ..self.settings.facts.clone() };
            report::json::report(&self.view(&self.ledger.limits(), self.now()), &facts)
        });
        let mut is_stopped = false;
        let Supervisor { directory: Some(directory), signals, .. } = self else { return (code, false) };
        let is_whole = directory.finish_report(FinalReport { whole, short }, || {
            is_stopped |= signals.drain().into_iter().any(is_termination);
            is_stopped
        });
        (if is_whole { code } else { code_if_incomplete }, is_stopped)
    }

    pub(super) fn view<'r>(&'r self, limits: &'r [LimitUsage], now: Duration) -> Snapshot<'r> {
        Snapshot {
            plan: self.plan,
            stages: &self.stages,
            records: &self.records,
            elapsed: now,
            limits,
            refusals: self.ledger.refusals(),
            usage_limit: self.usage_limit,
        }
    }

    /// Prints a message for the user to stderr.
    pub(super) fn notice(&mut self, text: &str) {
        let text = self.settings.style.sanitize(text, MAX_MESSAGE_COLUMNS);
        self.print_message(&format!("zen: {text}\n"));
    }

    /// Prints a message about an instance, once.
    pub(super) fn instance_notice(&mut self, index: usize, text: &str) {
        if self.notices.insert((index, text.to_owned())) {
            self.notice(&format!("{}: {text}", self.name(index)));
        }
    }

    /// Returns the name of an instance, sanitized for messages.
    pub(super) fn name(&self, index: usize) -> String {
        self.settings.style.sanitize(&self.plan.instances[index].name, MAX_NAME_COLUMNS)
    }

    /// Prints a line to stderr, converted to ASCII if the terminal requires it.
    pub(super) fn print_message(&mut self, line: &str) {
        let unicode = self.settings.style.unicode;
        self.stderr.print(&if unicode { line.into() } else { crate::base::text::ascii(line) });
    }

    /// Prints a message about a step of an instance if the log level is detailed.
    pub(super) fn debug(&mut self, index: usize, text: &str) {
        if self.settings.log_level >= LogLevel::Detailed {
            let at = crate::base::text::format_duration(self.now());
            self.notice(&format!("{at} {}: {text}", self.name(index)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_report_and_the_last_one_are_not_printed_within_a_second() {
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
