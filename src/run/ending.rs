//! Ends: of an instance, with all that follows for others, and of the run.

use std::cmp::Reverse;
use std::time::Duration;

use super::Run;
use crate::edge::files::RunDirectory;
use crate::exit::ExitCode;
use crate::flags::OnSuccess;
use crate::outcome::{self, Failure, Reason, Status};
use crate::report;
use crate::schedule::Skip;

impl Run<'_> {
    /// An instance has come to its end, or never started. Those that needed it are skipped.
    pub(super) fn ended(&mut self, index: usize, status: Status, now: Duration) {
        let completed = status == Status::Completed;
        self.ledger.ended(index);
        if !matches!(status, Status::Failed(_)) {
            self.detail(index, status.word());
        }
        // That everything is stopped, or held back by a usage limit, was said once for all, and that a budget refuses it in
        // words of its own.
        if let Status::Failed(failure) = &status
            && !matches!(failure.reason, Reason::Interrupted | Reason::Halted)
            && !(matches!(failure.reason, Reason::Budget | Reason::Limit | Reason::Account)
                && self.records[index].started.is_none())
        {
            let after = match self.records[index].attempts_made() {
                0 | 1 => String::new(),
                attempts => format!(" (attempt {attempts})"),
            };
            self.message(&format!("{} failed: {}{after}", self.name(index), failure.error));
        }
        let record = &mut self.records[index];
        record.status = status;
        record.ended = Some(now);
        record.told.retry = None;
        record.again_at = None;
        record.waits_for = None;
        record.skipped_because_of = None;
        if let Some(mut live) = self.live.remove(&index) {
            if !completed {
                self.recent[index].push_text(&String::from_utf8_lossy(&live.attempt.stderr_tail));
            }
            record.last_words = self.recent[index].last_words();
            if let (Some(directory), Some(files)) = (&mut self.directory, &mut live.files) {
                directory.keep_result(files, live.attempt.told.result.as_deref());
            }
        }
        self.leave_session(index);
        self.tell_if_stage_ended(index, now);
        for Skip { instance, because_of } in self.schedule.ended(index, completed) {
            let (needed, first) = (&self.plan.instances[because_of].name, &self.plan.instances[index].name);
            let why = match because_of == index {
                true => format!("depends on {needed}, which failed"),
                false => format!("depends on {needed}, which was skipped because {first} failed"),
            };
            self.detail(instance, &format!("skipped: {why}"));
            let record = &mut self.records[instance];
            record.status = Status::Skipped(why);
            record.skipped_because_of = Some(because_of);
            record.ended = Some(now);
            self.tell_if_stage_ended(instance, now);
        }
        self.json.is_stale = true;
        self.after_failure(index, now);
    }

    /// Fails the instances whose slash command is missing, before any other starts. Dependents come first: an instance
    /// that lacks a command itself is not reported as skipped.
    pub(super) fn fail_missing_commands(&mut self) {
        let now = self.now();
        let mut missing = std::mem::take(&mut self.settings.missing_commands);
        missing.sort_by_key(|(index, _)| (Reverse(self.stages.of(*index)), *index));
        for (index, error) in missing {
            self.ended(index, Status::Failed(Failure::hopeless(Reason::CommandNotFound, error)), now);
        }
    }

    /// Says that the stage of an instance has ended, if that was the last of it.
    fn tell_if_stage_ended(&mut self, index: usize, now: Duration) {
        let ended = self.stages.ended(index);
        if let Some(stage) = ended
            && self.stages.are_told()
            && self.reports_status()
            && self.stopped_by.is_none()
        {
            let text = report::stages::ended(&self.view(&[], now), stage);
            self.message(&text);
        }
    }

    /// Everything has ended: nothing may be left, and the summary says so.
    pub(super) fn end(mut self) -> ExitCode {
        let left = self.end_orphans();
        self.forget_ended();
        let now = self.now();
        let code = match self.stopped_by {
            Some(signal) => ExitCode::Signal(signal as u8),
            None => {
                let code = outcome::exit_code(self.records.iter().map(|record| &record.status));
                if self.ledger.is_exceeded() { code.or_worse(ExitCode::Budget) } else { code }
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
            self.stdout.print_in_any_case(&text);
        }
        self.print_file_errors();
        let is_stopped = self.stdout.finish(&mut self.signals, is_cut_short);
        self.tell_lost_output("no summary");
        let is_stopped = self.stderr.finish(&mut self.signals, is_stopped);
        // The runner reads both as one log: neither may be open to commands before both have been written.
        for output in [&mut self.stdout, &mut self.stderr] {
            output.close_fence();
            output.finish(&mut self.signals, is_stopped);
        }
        code
    }
}
