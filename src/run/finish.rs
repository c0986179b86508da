//! End of an instance, with its consequences for other instances, and end of the run.

use std::cmp::Reverse;
use std::time::Duration;

use super::Supervisor;
use crate::engine::exit_code::ExitCode;
use crate::engine::outcome::{self, Failure, FailureKind, Status};
use crate::engine::schedule::Skip;
use crate::report;
use crate::report::verbosity::OnSuccess;
use crate::system::run_dir::RunDirectory;

impl Supervisor<'_> {
    /// Records the final status of an instance, even if it never started, and skips its dependents.
    pub(super) fn finish_instance(&mut self, index: usize, status: Status, now: Duration) {
        let completed = status == Status::Completed;
        self.ledger.ended(index);
        if !matches!(status, Status::Failed(_)) {
            self.debug(index, status.word());
        }
        // A stop of the run and a usage limit are announced once for all instances, and a budget denial prints its own
        // message.
        if let Status::Failed(failure) = &status
            && !matches!(failure.reason, FailureKind::Interrupted | FailureKind::Halted)
            && !(matches!(failure.reason, FailureKind::Budget | FailureKind::Limit | FailureKind::Account)
                && self.records[index].started.is_none())
        {
            let after = match self.records[index].attempt_count() {
                0 | 1 => String::new(),
                attempts => format!(" (attempt {attempts})"),
            };
            self.notice(&format!("{} failed: {}{after}", self.name(index), failure.error));
        }
        let record = &mut self.records[index];
        record.status = status;
        record.ended = Some(now);
        record.progress.retry = None;
        record.next_attempt_at = None;
        record.blocked_on = None;
        record.skipped_due_to = None;
        if let Some(mut live) = self.live.remove(&index) {
            if !completed {
                self.recent[index].push_text(&String::from_utf8_lossy(&live.attempt.stderr_tail));
            }
            record.last_output = self.recent[index].last_words();
            if let (Some(directory), Some(files)) = (&mut self.directory, &mut live.files) {
                directory.write_result(files, live.attempt.progress.result.as_deref());
            }
        }
        self.leave_session(index);
        self.announce_stage_end(index, now);
        for Skip { instance, cause: because_of } in self.schedule.ended(index, completed) {
            let (needed, first) = (&self.plan.instances[because_of].name, &self.plan.instances[index].name);
            let why = if because_of == index {
                format!("depends on {needed}, which failed")
            } else {
                format!("depends on {needed}, which was skipped because {first} failed")
            };
            self.debug(instance, &format!("skipped: {why}"));
            let record = &mut self.records[instance];
            record.status = Status::Skipped(why);
            record.skipped_due_to = Some(because_of);
            record.ended = Some(now);
            self.announce_stage_end(instance, now);
        }
        self.json.is_stale = true;
        self.after_failure(index, now);
    }

    /// Fails the instances with a missing slash command, before any other starts.
    ///
    /// Fails dependents first, so that an instance that lacks a command itself is not reported as skipped.
    pub(super) fn fail_missing_commands(&mut self) {
        let now = self.now();
        let mut missing = std::mem::take(&mut self.settings.missing_commands);
        missing.sort_by_key(|(index, _)| (Reverse(self.stages.of(*index)), *index));
        for (index, error) in missing {
            self.finish_instance(index, Status::Failed(Failure::permanent(FailureKind::CommandNotFound, error)), now);
        }
    }

    /// Prints a notice if this instance was the last of its stage.
    fn announce_stage_end(&mut self, index: usize, now: Duration) {
        let ended = self.stages.ended(index);
        if let Some(stage) = ended
            && self.stages.has_multiple()
            && self.reports_status()
            && self.stopped_by.is_none()
        {
            let text = report::stages::ended(&self.view(&[], now), stage);
            self.notice(&text);
        }
    }

    /// Kills leftover processes, writes the final report and the summary, and returns the exit code.
    pub(super) fn end(mut self) -> ExitCode {
        let left = self.end_orphans();
        self.prune_survivors();
        let now = self.now();
        let code = match self.stopped_by {
            Some(signal) => ExitCode::Signal(signal as u8),
            None => {
                let code = outcome::exit_code(self.records.iter().map(|record| &record.status));
                if self.ledger.is_exceeded() { code.max_severity(ExitCode::Budget) } else { code }
            }
        };
        self.settings.facts.stopped_by = self.stopped_by.map(|signal| signal.as_str().to_owned());
        let (code, is_cut_short) = self.finish_report_json(code);
        let is_silent = code == ExitCode::Completed && self.settings.on_success == OnSuccess::Silent;
        if self.reports_status() && !is_silent {
            self.print_last_status(now);
        }
        let limits = self.ledger.limits();
        let footer = report::summary::Footer {
            stopped_by: self.stopped_by.map(|signal| signal.as_str().to_owned()),
            strays: left,
            logs: self.directory.as_ref().map(|d| d.path().to_owned()),
            incomplete_files: self.directory.as_ref().map_or_else(Vec::new, RunDirectory::incomplete_files),
            exit: code,
        };
        let view = self.view(&limits, now);
        let text = report::summary::summary(&view, self.settings.style, &footer);
        if !is_silent {
            self.stdout.print_always(&text);
        }
        self.print_file_errors();
        let is_stopped = self.stdout.drain(&mut self.signals, is_cut_short);
        self.report_stdout_error("no summary");
        let is_stopped = self.stderr.drain(&mut self.signals, is_stopped);
        // The CI runner reads stdout and stderr as one log: write both before workflow commands are enabled again.
        for output in [&mut self.stdout, &mut self.stderr] {
            output.close_fence();
            output.drain(&mut self.signals, is_stopped);
        }
        code
    }
}
