//! Text of the notices of a run, printed to standard error.

use std::fmt::Display;

use super::{Snapshot, Style, stages};
use crate::base::text;
use crate::config::halt::HaltMode;
use crate::engine::notice::{Notice, Step};
use crate::plan::InstanceId;
use crate::report::verbosity::LogLevel;

/// Maximum width of a message; `report.json` has the full text.
const MAX_MESSAGE_COLUMNS: usize = 1000;

const MAX_NAME_COLUMNS: usize = 60;

/// Returns the lowest log level at which a notice is printed.
#[must_use]
pub fn level(notice: &Notice) -> LogLevel {
    match notice {
        Notice::Step(..) => LogLevel::Detailed,
        Notice::StageEnded(_) => LogLevel::Concise,
        _ => LogLevel::Silent,
    }
}

/// Returns the line of a notice, with its newline.
#[must_use]
pub fn line(notice: &Notice, view: &Snapshot, style: Style) -> String {
    let (prefix, message) = match notice {
        // In the format of netra-zen, with its emoji if the terminal supports Unicode.
        Notice::BudgetDenied { instance, reason } => {
            let name = &view.plan.instances[*instance].name;
            ("🚫 ", format!("BLOCK MODE: Budget exceeded for instance {name}: {reason}. Skipping."))
        }
        Notice::BudgetReached(message) => {
            ("🚫 ", format!("BLOCK MODE: {message}. Instances that share it stop after their current message."))
        }
        Notice::BudgetExceeded(message) => ("⚠️  ", format!("WARN MODE: {message}")),
        _ => return format!("zen: {}\n", style.sanitize(&message(notice, view, style), MAX_MESSAGE_COLUMNS)),
    };
    let message = style.sanitize(&message, MAX_MESSAGE_COLUMNS);
    if style.unicode { format!("{prefix}{message}\n") } else { format!("{message}\n") }
}

fn message(notice: &Notice, view: &Snapshot, style: Style) -> String {
    let name = |id: InstanceId| style.sanitize(&view.plan.instances[id].name, MAX_NAME_COLUMNS);
    match notice {
        Notice::WaitsForSession(id) => {
            format!("{} waits: {}", name(*id), view.records[id.0].blocked_on.as_deref().unwrap_or_default())
        }
        Notice::EmptyResult { instance, source } => {
            format!("{}: the result of {} is empty and is inserted as an empty text", name(*instance), name(*source))
        }
        Notice::Retry { instance, error, number, delay } => {
            let delay = text::format_duration(*delay);
            let when = match number {
                Some((number, max)) => format!("retry {number} of {max} in {delay}"),
                None => format!("again in {delay}"),
            };
            format!("{} failed: {error}; {when}", name(*instance))
        }
        Notice::Failed { instance, error, attempts: 0 | 1 } => format!("{} failed: {error}", name(*instance)),
        Notice::Failed { instance, error, attempts } => {
            format!("{} failed: {error} (attempt {attempts})", name(*instance))
        }
        Notice::StageEnded(stage) => stages::ended(view, *stage),
        Notice::UsageLimit(limit) => limit.announcement(),
        Notice::AccountRefused(id) => {
            format!("the API refused the account of {}: no further instances of this account start", name(*id))
        }
        Notice::Halted { reason, mode: HaltMode::Soon } => format!("{reason}: no further instances start"),
        Notice::Halted { reason, mode: HaltMode::Now } => format!("{reason}: stopping all instances"),
        Notice::Stopping(signal) => format!("received {signal}: stopping all instances (send it again to kill them)"),
        Notice::Suspending => "received SIGTSTP: stopping all instances until zen is continued".to_owned(),
        Notice::Continued(pause) => {
            format!("continued after {}: all deadlines are moved by this time", text::format_duration(*pause))
        }
        Notice::Paused(pause) => {
            format!("the run was suspended for {}: all deadlines are moved by this time", text::format_duration(*pause))
        }
        Notice::SessionNotSaved(id) => {
            let session = view.plan.instances[*id].invocation.session.as_ref();
            let session = session.map_or("", |session| session.name.as_str());
            format!(
                "{}: claude has not saved the conversation of session {session}: the next run starts without it",
                name(*id)
            )
        }
        Notice::Instance(id, message) => format!("{}: {message}", name(*id)),
        Notice::NoSessionLocks(error) => no_session_locks(error),
        Notice::FilesIncomplete(error) => format!("incomplete files: {error}"),
        Notice::OutputFailed { missing, error } => format!("{missing}: standard output: {error}"),
        Notice::Step(id, step) => {
            format!("{} {}: {}", text::format_duration(view.elapsed), name(*id), step_text(*id, step, view))
        }
        Notice::BudgetDenied { .. } | Notice::BudgetReached(_) | Notice::BudgetExceeded(_) => String::new(),
    }
}

fn step_text(id: InstanceId, step: &Step, view: &Snapshot) -> String {
    match step {
        Step::Cleared => "conversation cleared: starting a new one".to_owned(),
        Step::Spawned { pid } => format!("started, pid {pid}"),
        Step::Answered { turn, answer } => {
            let turns = &view.plan.instances[id].turns;
            let text = turns.get(*turn).map_or("", |turn| turn.text.as_str());
            format!("turn {} of {}: {text} -> {answer}", turn + 1, turns.len())
        }
        Step::Terminated => "still running: sent SIGTERM".to_owned(),
        Step::Killed => "sent SIGKILL".to_owned(),
        Step::Exited(exit) => format!("process exited: {exit}"),
        Step::Skipped(reason) => format!("skipped: {reason}"),
        Step::Ended(status) => (*status).to_owned(),
    }
}

/// Returns the message for a run that cannot lock its sessions.
#[must_use]
pub fn no_session_locks(reason: &impl Display) -> String {
    format!("no locks for sessions: {reason}: concurrent runs in one session are not detected")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::samples::{Cases, Run, planned};
    use super::*;
    use crate::engine::outcome::ExitStatus;
    use crate::engine::record::InstanceRecord;
    use crate::engine::run_clock::Now;
    use crate::engine::usage_limit::{Policy, UsageLimit, UsageLimitPolicy};

    const ASCII: Style = Style { unicode: false, colour: false };

    fn run() -> Run {
        let plan = planned(
            r#"{"instances": [{"name": "lint", "prompt": "Lint.", "session_id": "diary"},
                {"name": "test\u001b[31m", "command": "/test", "depends_on": ["lint"]}]}"#,
        );
        let mut records = vec![InstanceRecord::default(); 2];
        records[0].blocked_on = Some("session diary is in use by another run".to_owned());
        Run::new((plan, records), 61_000)
    }

    fn notices() -> Vec<Notice> {
        let (lint, test) = (InstanceId(0), InstanceId(1));
        let delay = Duration::from_secs(90);
        let text = |text: &str| text.to_owned();
        let limit = |on_limit| {
            let policy = Policy { on_limit, max_wait: Duration::from_secs(3600) };
            let now = Now { elapsed: delay, epoch_ms: 1_700_000_000_000 };
            Notice::UsageLimit(UsageLimit::reached(None, Some(1_700_001_800), policy, now))
        };
        vec![
            Notice::WaitsForSession(lint),
            Notice::EmptyResult { instance: test, source: lint },
            Notice::Retry { instance: lint, error: text("API Error: 500"), number: Some((1, 3)), delay },
            Notice::Retry { instance: lint, error: text("You've hit your limit"), number: None, delay },
            Notice::Failed { instance: lint, error: text("Timeout after 10s"), attempts: 1 },
            Notice::Failed { instance: test, error: text("Timeout after 10s"), attempts: 3 },
            Notice::BudgetDenied { instance: test, reason: text("Overall budget exceeded") },
            Notice::BudgetReached(text("Overall budget reached: 10,120 / 10,000 tokens")),
            Notice::BudgetExceeded(text("Overall budget exceeded: 10,120 / 10,000 tokens")),
            Notice::StageEnded(0),
            limit(UsageLimitPolicy::Wait),
            limit(UsageLimitPolicy::Stop),
            limit(UsageLimitPolicy::Fail),
            Notice::AccountRefused(lint),
            Notice::Halted { reason: text("1 instance failed (--halt soon,fail=1)"), mode: HaltMode::Soon },
            Notice::Halted { reason: text("2 instances failed (--halt now,fail=2)"), mode: HaltMode::Now },
            Notice::Stopping("SIGINT"),
            Notice::Suspending,
            Notice::Continued(delay),
            Notice::Paused(delay),
            Notice::SessionNotSaved(lint),
            Notice::Instance(lint, text("MCP server failed: github")),
            Notice::NoSessionLocks(text("Permission denied")),
            Notice::FilesIncomplete(text("/logs/report.json: No space left on device")),
            Notice::OutputFailed { missing: "no summary", error: text("Input/output error") },
            Notice::Step(lint, Step::Cleared),
            Notice::Step(lint, Step::Spawned { pid: 42 }),
            Notice::Step(lint, Step::Answered { turn: 0, answer: text("Done.") }),
            Notice::Step(lint, Step::Terminated),
            Notice::Step(lint, Step::Killed),
            Notice::Step(lint, Step::Exited(ExitStatus::Code(1))),
            Notice::Step(test, Step::Skipped(text("depends on lint, which failed"))),
            Notice::Step(lint, Step::Ended("completed")),
        ]
    }

    #[test]
    fn every_notice_has_one_line_without_control_characters() {
        let run = run();
        let (mut silent, mut detailed) = (String::new(), String::new());
        for notice in notices() {
            let line = line(&notice, &run.snapshot(), ASCII);
            assert!(line.ends_with('\n') && !line.trim_end().contains(char::is_control), "{line:?}");
            if level(&notice) == LogLevel::Detailed { &mut detailed } else { &mut silent }.push_str(&line);
        }
        let mut cases = Cases::default();
        cases.add("notices", &silent);
        cases.add("steps, with --log-level detailed", &detailed);
        cases.assert("notices.txt");
    }
}
