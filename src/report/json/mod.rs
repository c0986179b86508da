//! Serializes the whole record of a run as `report.json`, for programs, in a versioned schema. Dollars are written
//! digit by digit from micro-dollars, and times in UTC. Writing the file is up to the caller.

mod escape;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use serde::ser::Error;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;

use super::stages::{self, Stage};
use super::{Snapshot, budget};
use crate::base::timestamp;
use crate::claude::protocol::Denial;
use crate::claude::tokens::Tokens;
use crate::claude::usage_meter::{Certainty, Usage};
use crate::config::BudgetConfig;
use crate::engine::budget::{LimitUsage, Scope, Unit};
use crate::engine::outcome::{ExitStatus, Status};
use crate::engine::record::{FailedAttempt, InstanceRecord};
use crate::engine::run_clock::Pauses;
use crate::engine::usage_limit::UsageLimit;
use crate::plan::{Instance, Turn};

/// Version of the schema. Incremented when a field is removed or changes its meaning, not when one is added.
pub const SCHEMA_VERSION: u32 = 2;

/// Metadata of a run as a whole.
#[derive(Clone, Debug, Default)]
pub struct RunMetadata {
    /// Name of the run.
    pub run: String,
    /// Path of the config, or `-` for standard input; `None` for a command without a config.
    pub config: Option<String>,
    /// SHA-256 of the config's bytes, in hex.
    pub config_sha256: Option<String>,
    /// Path of the workspace.
    pub workspace: String,
    /// Path of the claude executable.
    pub claude: String,
    /// Start of the run, in milliseconds since 1970.
    pub started_epoch_ms: u64,
    /// Periods in which nothing of the run was running.
    pub pauses: Pauses,
    /// Exit code of zen; `None` while the run is in progress.
    pub exit_code: Option<u8>,
    /// Name of the signal that stopped the run.
    pub stopped_by: Option<String>,
    /// Directory of each instance's files, in the plan's order.
    pub directories: Vec<String>,
    /// Fields omitted from a short report, with the reason; `None` in a complete report.
    pub omitted: Option<&'static str>,
}

impl RunMetadata {
    /// Returns the date and time at an offset from the start of the run, pauses included.
    fn at(&self, since_start: Duration) -> String {
        let since_start = self.pauses.with_pauses(since_start);
        let since_start_ms = u64::try_from(since_start.as_millis()).unwrap_or(u64::MAX);
        timestamp::rfc3339_utc(self.started_epoch_ms.saturating_add(since_start_ms))
    }

    fn at_option(&self, since_start: Option<Duration>) -> Option<String> {
        Some(self.at(since_start?))
    }
}

/// Returns the content of the file, with its last newline.
#[must_use]
pub fn report(view: &Snapshot, run: &RunMetadata) -> String {
    escape::to_pretty_string(&Report::new(view, run)) + "\n"
}

#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    run: &'a str,
    zen_version: &'a str,
    config: Option<&'a str>,
    config_sha256: Option<&'a str>,
    workspace: &'a str,
    claude: &'a str,
    exit_code: Option<u8>,
    started_at: String,
    ended_at: Option<String>,
    duration_seconds: Seconds,
    paused_seconds: Seconds,
    stopped_by: Option<&'a str>,
    omitted: Option<&'a str>,
    totals: UsedReport,
    limits: Limits<'a>,
    limits_used: Vec<LimitUse<'a>>,
    refusals: Vec<Refusal<'a>>,
    usage_limit: Option<UsageLimitReport>,
    stages: Vec<StageReport>,
    instances: Vec<InstanceReport<'a>>,
}

impl<'a> Report<'a> {
    fn new(view: &Snapshot<'a>, run: &'a RunMetadata) -> Self {
        Report {
            schema_version: SCHEMA_VERSION,
            run: &run.run,
            zen_version: env!("CARGO_PKG_VERSION"),
            config: run.config.as_deref(),
            config_sha256: run.config_sha256.as_deref(),
            workspace: &run.workspace,
            claude: &run.claude,
            exit_code: run.exit_code,
            started_at: run.at(Duration::ZERO),
            ended_at: run.exit_code.map(|_| run.at(view.elapsed)),
            duration_seconds: Seconds(view.elapsed),
            paused_seconds: Seconds(run.pauses.total()),
            stopped_by: run.stopped_by.as_deref(),
            omitted: run.omitted,
            totals: UsedReport::new(&view.used(), view.counts().running > 0),
            limits: Limits::new(&view.plan.budget),
            limits_used: view.limits.iter().map(|limit| LimitUse::new(limit, view)).collect(),
            refusals: view.refusals.iter().map(|refusal| Refusal::new(refusal, view)).collect(),
            usage_limit: view.usage_limit.map(|limit| UsageLimitReport::new(&limit, run)),
            stages: stages::all(view).iter().map(|stage| StageReport::new(stage, run)).collect(),
            instances: view.instances().enumerate().map(|at| InstanceReport::new(at, view, run)).collect(),
        }
    }
}

/// Usage, as part of the totals and of each instance.
#[derive(Serialize)]
struct UsedReport {
    tokens: TokensReport,
    tokens_certainty: &'static str,
    cost_usd: Dollars,
    cost_certainty: &'static str,
}

impl UsedReport {
    /// Converts `used`. If an instance is still running, the numbers are lower bounds: it has used more by the time the
    /// file is read, and the file stays as it is if zen is killed.
    fn new(used: &Usage, is_running: bool) -> Self {
        let (tokens_certainty, cost_certainty) = if is_running {
            (Certainty::AtLeast, Certainty::AtLeast)
        } else {
            (used.tokens_certainty, used.micros_certainty)
        };
        UsedReport {
            tokens: TokensReport::new(&used.tokens),
            tokens_certainty: tokens_certainty.word(),
            cost_usd: Dollars { micros: used.micros },
            cost_certainty: cost_certainty.word(),
        }
    }
}

#[derive(Serialize)]
struct TokensReport {
    input: u64,
    output: u64,
    cache_creation: u64,
    cache_read: u64,
    total: u64,
}

impl TokensReport {
    fn new(tokens: &Tokens) -> Self {
        let Tokens { input, output, cache_creation, cache_read } = *tokens;
        TokensReport { input, output, cache_creation, cache_read, total: tokens.total() }
    }
}

/// One effective limit and its usage, in tokens or in dollars.
#[derive(Serialize)]
struct LimitUse<'a> {
    scope: &'static str,
    name: Option<&'a str>,
    unit: &'static str,
    limit: Amount,
    used: Amount,
}

impl<'a> LimitUse<'a> {
    fn new(limit: &'a LimitUsage, view: &Snapshot<'a>) -> Self {
        let (scope, name) = match &limit.scope {
            Scope::Overall => ("overall", None),
            Scope::Command(command) => ("command", Some(command.as_str())),
            Scope::Instance(index) => ("instance", Some(view.plan.instances[*index].name.as_str())),
        };
        let (unit, amount): (_, fn(u64) -> Amount) = match limit.unit {
            Unit::Tokens => ("tokens", Amount::Tokens),
            Unit::Micros => ("usd", Amount::dollars),
        };
        LimitUse { scope, name, unit, limit: amount(limit.cap), used: amount(limit.used) }
    }
}

#[derive(Serialize)]
#[serde(untagged)]
enum Amount {
    Tokens(u64),
    Dollars(Dollars),
}

impl Amount {
    fn dollars(micros: u64) -> Self {
        Amount::Dollars(Dollars { micros })
    }
}

/// An instance that a budget denied.
#[derive(Serialize)]
struct Refusal<'a> {
    instance: &'a str,
    reason: &'a str,
}

impl<'a> Refusal<'a> {
    fn new((index, reason): &'a (usize, String), view: &Snapshot<'a>) -> Self {
        Refusal { instance: &view.plan.instances[*index].name, reason }
    }
}

/// The account's usage limit, once it was reached.
#[derive(Serialize)]
struct UsageLimitReport {
    on_limit: &'static str,
    resets_at: Option<String>,
    resumes_at: Option<String>,
}

impl UsageLimitReport {
    fn new(limit: &UsageLimit, run: &RunMetadata) -> Self {
        let resets_at = limit.resets_at_epoch_s.map(|seconds| timestamp::rfc3339_utc(seconds.saturating_mul(1000)));
        UsageLimitReport { on_limit: limit.on_limit.word(), resets_at, resumes_at: run.at_option(limit.resumes_at) }
    }
}

/// A stage of a plan that has several.
#[derive(Serialize)]
struct StageReport {
    instances: usize,
    completed: usize,
    failed: usize,
    skipped: usize,
    started_at: Option<String>,
    ended_at: Option<String>,
}

impl StageReport {
    fn new(stage: &Stage, run: &RunMetadata) -> Self {
        let Stage { counts, started, ended } = stage;
        StageReport {
            instances: counts.all(),
            completed: counts.completed,
            failed: counts.failed,
            skipped: counts.skipped,
            started_at: run.at_option(*started),
            ended_at: run.at_option(*ended),
        }
    }
}

/// The `budget` section, under its own field names.
#[derive(Serialize)]
struct Limits<'a> {
    overall_budget: Option<u64>,
    overall_cost_budget: Option<Dollars>,
    command_budgets: &'a BTreeMap<String, u64>,
    #[serde(serialize_with = "dollars_by_command")]
    command_cost_budgets: &'a BTreeMap<String, u64>,
    budget_type: Option<&'static str>,
    enforcement_mode: &'static str,
    token_basis: &'static str,
}

impl<'a> Limits<'a> {
    fn new(config: &'a BudgetConfig) -> Self {
        Limits {
            overall_budget: config.overall_tokens,
            overall_cost_budget: config.overall_micros.map(|micros| Dollars { micros }),
            command_budgets: &config.command_tokens,
            command_cost_budgets: &config.command_micros,
            budget_type: budget::has_limits(config).then(|| budget::effective_type(config).word()),
            enforcement_mode: config.enforcement.unwrap_or_default().word(),
            token_basis: budget::basis_word(config.token_basis.unwrap_or_default()),
        }
    }
}

#[derive(Serialize)]
struct InstanceReport<'a> {
    name: &'a str,
    description: Option<&'a str>,
    status: &'static str,
    reason: Option<&'static str>,
    error: Option<&'a str>,
    stage: Option<usize>,
    skipped_due_to: Option<&'a str>,
    attempts: usize,
    failed_attempts: Vec<AttemptReport<'a>>,
    next_attempt_at: Option<String>,
    blocked_on: Option<&'a str>,
    pid: Option<u32>,
    session_id: Option<&'a str>,
    session_kept: Option<bool>,
    model: Option<&'a str>,
    permission_mode: Option<&'a str>,
    permission_mode_differs: bool,
    #[serde(flatten)]
    used: UsedReport,
    started_at: Option<String>,
    ended_at: Option<String>,
    duration_seconds: Option<Seconds>,
    exit_status: Option<i32>,
    exit_signal: Option<i32>,
    turns: usize,
    turns_done: usize,
    answers: Vec<AnswerReport<'a>>,
    result: Option<&'a str>,
    permission_denials: Vec<DenialReport<'a>>,
    more_permission_denials: u64,
    mcp_failed: &'a [String],
    background_stopped: &'a [String],
    retries: u64,
    last_output: &'a [String],
    invalid_lines: u64,
    oversized_lines: u64,
    surviving_pids: &'a [i32],
    directory: Option<&'a str>,
}

impl<'a> InstanceReport<'a> {
    fn new(
        (index, (instance, record)): (usize, (&'a Instance, &'a InstanceRecord)),
        view: &Snapshot<'a>,
        run: &'a RunMetadata,
    ) -> Self {
        let (reason, error) = match &record.status {
            Status::Failed(failure) => (Some(failure.reason.word()), Some(failure.error.as_str())),
            Status::Skipped(reason) => (None, Some(reason.as_str())),
            Status::Pending | Status::Running | Status::Completed => (None, None),
        };
        let (exit_status, exit_signal) = exit(record.exit);
        let (answers, result, last_output) = match run.omitted {
            Some(_) => (&[][..], None, &[][..]),
            None => (
                &record.current_progress().answers[..],
                record.current_progress().result.as_deref(),
                &record.last_output[..],
            ),
        };
        InstanceReport {
            name: &instance.name,
            description: instance.description.as_deref(),
            status: record.status.word(),
            reason,
            error,
            stage: view.stages.has_multiple().then(|| view.stages.of(index) + 1),
            skipped_due_to: record.skipped_due_to.map(|other| view.plan.instances[other].name.as_str()),
            attempts: record.attempt_count(),
            failed_attempts: record.failed_attempts.iter().map(|attempt| AttemptReport::new(attempt, run)).collect(),
            next_attempt_at: run.at_option(record.next_attempt_at),
            blocked_on: record.blocked_on.as_deref(),
            pid: record.pid,
            session_id: record.current_progress().session_id.as_deref(),
            session_kept: record.session_kept,
            model: record.current_progress().model.as_deref(),
            permission_mode: record.current_progress().permission_mode.as_deref(),
            permission_mode_differs: record.current_progress().mode_instead_of.is_some(),
            used: UsedReport::new(&record.used, record.status == Status::Running),
            started_at: run.at_option(record.started),
            ended_at: run.at_option(record.ended),
            duration_seconds: record.elapsed(view.elapsed).map(Seconds),
            exit_status,
            exit_signal,
            turns: instance.turns.len(),
            turns_done: record.current_progress().turns_done,
            answers: instance.turns.iter().zip(answers).map(AnswerReport::new).collect(),
            result,
            permission_denials: record.current_progress().denials.iter().map(DenialReport::new).collect(),
            more_permission_denials: record.current_progress().more_denials,
            mcp_failed: &record.current_progress().mcp_failed,
            background_stopped: &record.current_progress().background_stopped,
            retries: record.current_progress().retries,
            last_output,
            invalid_lines: record.current_progress().invalid_lines,
            oversized_lines: record.current_progress().oversized_lines,
            surviving_pids: &record.surviving_pids,
            directory: run.directories.get(index).map(String::as_str),
        }
    }
}

/// A failed attempt that was followed by a retry.
#[derive(Serialize)]
struct AttemptReport<'a> {
    reason: &'static str,
    error: &'a str,
    pid: Option<u32>,
    started_at: String,
    ended_at: String,
    exit_status: Option<i32>,
    exit_signal: Option<i32>,
    #[serde(flatten)]
    used: UsedReport,
}

impl<'a> AttemptReport<'a> {
    fn new(attempt: &'a FailedAttempt, run: &RunMetadata) -> Self {
        let (exit_status, exit_signal) = exit(attempt.exit);
        AttemptReport {
            reason: attempt.failure.reason.word(),
            error: &attempt.failure.error,
            pid: attempt.pid,
            started_at: run.at(attempt.started),
            ended_at: run.at(attempt.ended),
            exit_status,
            exit_signal,
            used: UsedReport::new(&attempt.used, false),
        }
    }
}

/// Returns the exit status and the signal of a process, of which at most one is set.
fn exit(exit: Option<ExitStatus>) -> (Option<i32>, Option<i32>) {
    match exit {
        Some(ExitStatus::Code(code)) => (Some(code), None),
        Some(ExitStatus::Signal(signal)) => (None, Some(signal)),
        None => (None, None),
    }
}

/// A turn that succeeded, and the beginning of its answer.
#[derive(Serialize)]
struct AnswerReport<'a> {
    turn: Cow<'a, str>,
    answer: &'a str,
}

#[derive(Serialize)]
struct DenialReport<'a> {
    tool: &'a str,
    input: &'a str,
}

impl<'a> AnswerReport<'a> {
    fn new((turn, answer): (&'a Turn, &'a String)) -> Self {
        const MAX_TURN_COLUMNS: usize = 200;
        AnswerReport { turn: crate::base::text::truncate(&turn.text, MAX_TURN_COLUMNS, "..."), answer }
    }
}

impl<'a> DenialReport<'a> {
    fn new(denial: &'a Denial) -> Self {
        DenialReport { tool: &denial.tool, input: &denial.input_summary }
    }
}

/// An amount in dollars, serialized exactly with six decimals; a double would only be an approximation.
struct Dollars {
    micros: u64,
}

impl Serialize for Dollars {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        number(format!("{}.{:06}", self.micros / 1_000_000, self.micros % 1_000_000), serializer)
    }
}

fn dollars_by_command<S: Serializer>(limits: &BTreeMap<String, u64>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(limits.iter().map(|(command, &micros)| (command, Dollars { micros })))
}

/// A duration in seconds, serialized with three decimals.
struct Seconds(Duration);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        number(format!("{}.{:03}", self.0.as_secs(), self.0.subsec_millis()), serializer)
    }
}

fn number<S: Serializer>(digits: String, serializer: S) -> Result<S::Ok, S::Error> {
    RawValue::from_string(digits).map_err(S::Error::custom)?.serialize(serializer)
}

#[cfg(test)]
mod tests;
