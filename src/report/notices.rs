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
        Step::Killed => "SIGKILL".to_owned(),
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
