//! Reporting: what the attempts know is copied to the records, and from these come the status reports, the messages, the
//! files and the summary.

use std::time::Duration;

use super::{Json, Run};
use crate::edge::files::RunDirectory;
use crate::exit::ExitCode;
use crate::flags::LogLevel;
use crate::ledger::LimitState;
use crate::outcome::{self, Reason, Status};
use crate::report::{self, View};
use crate::schedule::Skip;

/// What is longer stands whole in `report.json`.
pub(super) const MAX_MESSAGE_COLUMNS: usize = 1000;
const MAX_NAME_COLUMNS: usize = 60;

/// How many times as long as `report.json` took to write it is left as it is.
const JSON_PAUSE: u32 = 20;

impl Run<'_> {
    /// Copies what the attempt knows to the record that the reports read.
    pub(super) fn copy_to_record(&mut self, index: usize) {
        let (Some(used), Some(live)) = (self.used(index), self.live.get(&index)) else { return };
        let record = &mut self.records[index];
        record.used = used;
        record.exit = live.attempt.exit();
        record.told.clone_from(&live.attempt.told);
    }

    /// Tells what was answered to the turns of an instance that have ended since there were `before`.
    pub(super) fn tell_answers(&mut self, index: usize, before: usize) {
        let Some(live) = self.live.get(&index) else { return };
        if live.attempt.told.turns_done == before || self.settings.log_level < LogLevel::Detailed {
            return;
        }
        let turns = &self.plan.instances[index].turns;
        let answers = live.attempt.told.answers.iter().zip(turns).enumerate().skip(before);
        let of = turns.len();
        let lines: Vec<String> =
            answers.map(|(i, (answer, turn))| format!("turn {} of {of}: {} -> {answer}", i + 1, turn.text)).collect();
        for line in lines {
            self.detail(index, &line);
        }
    }

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
            && failure.reason != Reason::Interrupted
            && !(matches!(failure.reason, Reason::Budget | Reason::Limit) && self.records[index].started.is_none())
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
                directory.keep_result(files, record.told.result.as_deref());
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

    pub(super) fn reports_status(&self) -> bool {
        self.settings.log_level >= LogLevel::Concise
    }

    pub(super) fn report_if_due(&mut self, now: Duration) {
        if let Some(error) = self.directory.as_mut().and_then(RunDirectory::take_error) {
            self.message(&format!("the run's files are not complete: {error}"));
        }
        if self.reports_status() && now >= self.next_report && !self.schedule.is_over() {
            self.print_status(now);
            // After a suspension one report is enough, not one for each that was missed.
            let missed = (now - self.next_report).as_nanos() / self.settings.report_interval.as_nanos().max(1);
            let steps = u32::try_from(missed + 1).unwrap_or(u32::MAX);
            self.next_report += self.settings.report_interval.saturating_mul(steps);
        }
    }

    pub(super) fn print_status(&mut self, now: Duration) {
        for index in self.running() {
            self.copy_to_record(index);
        }
        let mut text = report::status::status(&self.view(&self.ledger.limits(), now), self.settings.style);
        for (instance, recent) in self.plan.instances.iter().zip(&mut self.recent) {
            for line in recent.take(&instance.name, self.settings.style) {
                text += &line;
                text.push('\n');
            }
        }
        text.push('\n');
        self.stdout.print(&text);
        self.tell_lost_output("no more reports");
    }

    fn tell_lost_output(&mut self, what: &str) {
        if let Some(error) = self.stdout.take_error() {
            self.message(&format!("{what}: standard output: {}", error.desc()));
        }
    }

    /// Everything has ended: nothing may be left, and the summary says so.
    pub(super) fn end(mut self) -> ExitCode {
        let left = self.end_strays();
        self.forget_ended();
        let now = self.clock.now();
        let code = match self.stopped_by {
            Some(signal) => ExitCode::Signal(signal as u8),
            None => outcome::exit_code(self.records.iter().map(|record| &record.status)),
        };
        self.settings.facts.exit_code = Some(code.number());
        self.settings.facts.stopped_by = self.stopped_by.map(|signal| signal.as_str().to_owned());
        self.write_report_json();
        if self.reports_status() {
            self.print_status(now);
        }
        let limits = self.ledger.limits();
        let footer = report::summary::Footer {
            stopped_by: self.stopped_by.map(|signal| signal.as_str().to_owned()),
            strays: left,
            logs: self.directory.as_ref().map(|d| d.path().to_owned()),
            exit: code,
        };
        let view = self.view(&limits, now);
        let text = report::summary::summary(&view, self.settings.style, &footer);
        self.stdout.print_in_any_case(&text);
        if let Some(error) = self.directory.as_mut().and_then(RunDirectory::take_error) {
            self.message(&format!("the run's files are not complete: {error}"));
        }
        if let Some(guard) = self.guard.take() {
            guard.dismiss();
        }
        let is_stopped = self.stdout.finish(&mut self.signals, false);
        self.tell_lost_output("no summary");
        self.stderr.finish(&mut self.signals, is_stopped);
        code
    }

    /// Writes `report.json` again if something has changed. With thousands of instances that takes its time, so that most
    /// of the time is left to the run.
    pub(super) fn update_report_json(&mut self) {
        let began = self.clock.now();
        if !self.json.is_stale || began < self.json.not_before {
            return;
        }
        for index in self.running() {
            self.copy_to_record(index);
        }
        self.write_report_json();
        let ended = self.clock.now();
        self.json = Json { is_stale: false, not_before: ended + (ended - began) * JSON_PAUSE };
    }

    pub(super) fn write_report_json(&mut self) {
        if self.directory.is_none() {
            return;
        }
        let text = report::json::report(&self.view(&self.ledger.limits(), self.clock.now()), &self.settings.facts);
        if let Some(directory) = &mut self.directory {
            directory.replace("report.json", &text);
        }
    }

    fn view<'r>(&'r self, limits: &'r [LimitState], now: Duration) -> View<'r> {
        View {
            plan: self.plan,
            stages: &self.stages,
            records: &self.records,
            elapsed: now,
            limits,
            refusals: self.ledger.refusals(),
            usage_limit: self.usage_limit,
        }
    }

    /// A message for whoever looks after the run.
    pub(super) fn message(&mut self, text: &str) {
        let text = self.settings.style.shown(text, MAX_MESSAGE_COLUMNS);
        self.print_message(&format!("zen: {text}\n"));
    }

    /// An instance's name, as a message shows it.
    pub(super) fn name(&self, index: usize) -> String {
        self.settings.style.shown(&self.plan.instances[index].name, MAX_NAME_COLUMNS)
    }

    /// A line for standard error, as the screen can show it.
    pub(super) fn print_message(&mut self, line: &str) {
        let unicode = self.settings.style.unicode;
        self.stderr.print(&if unicode { line.into() } else { crate::text::ascii(line) });
    }

    /// The same, for whoever wants to know every step.
    pub(super) fn detail(&mut self, index: usize, text: &str) {
        if self.settings.log_level >= LogLevel::Detailed {
            let at = crate::text::seconds(self.clock.now());
            self.message(&format!("{at} {}: {text}", self.name(index)));
        }
    }
}
