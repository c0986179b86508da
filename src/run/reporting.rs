//! Reporting: what the attempts know is copied to the records, and from these come the status reports, the messages, the
//! files and the summary.

use std::time::Duration;

use super::{Json, Run};
use crate::edge::files::RunDirectory;
use crate::flags::LogLevel;
use crate::ledger::LimitState;
use crate::report::{self, View};

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

    pub(super) fn tell_lost_output(&mut self, what: &str) {
        if let Some(error) = self.stdout.take_error() {
            self.message(&format!("{what}: standard output: {}", error.desc()));
        }
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

    pub(super) fn view<'r>(&'r self, limits: &'r [LimitState], now: Duration) -> View<'r> {
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

    /// Prints a message about an instance, once.
    pub(super) fn notice(&mut self, index: usize, text: &str) {
        if self.notices.insert((index, text.to_owned())) {
            self.message(&format!("{}: {text}", self.name(index)));
        }
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
