//! Any bytes as what claude prints: cut into lines, decoded, and heard by an attempt, which is then ended. Whatever was
//! said, the attempt comes to an end and a verdict, asks for no more than it has to, and nothing harmful is shown.

use std::path::Path;
use std::time::Duration;

use zen::base::lines::{Line, LineSplitter};
use zen::claude::protocol::decode;
use zen::config::Config;
use zen::engine::attempt::{Attempt, AttemptAction, Verdict};
use zen::engine::budget::Budget;
use zen::engine::exit_code::ExitCode;
use zen::engine::outcome::{ExitStatus, Failure, Status};
use zen::engine::record::InstanceRecord;
use zen::engine::run_clock::Now;
use zen::engine::usage_limit::{Policy, UsageLimit, UsageLimitPolicy};
use zen::plan::stages::Stages;
use zen::plan::{Defaults, HostFiles, Plan, plan};
use zen::report;
use zen::report::output_tail::OutputTail;
use zen::report::{Snapshot, Style};

const CONFIG: &str = r#"{
    "instances": [{"name": "a", "command": "/help", "pre_commands": ["First.", "Second."]}],
    "budget": {"overall_budget": 5000, "command_cost_budgets": {"/help": 0.5}}
}"#;

/// To most it has been answered already, so that what comes is heard in a turn.
const ANSWER: &[u8] = br#"{"type":"control_response","response":{"subtype":"success","request_id":"zen-initialize","response":{"commands":[]}}}"#;

/// 2026-11-22 10:30:00 UTC
const EPOCH_MS: u64 = 1_795_343_400_000;

const STYLE: Style = Style { unicode: true, colour: false };

/// More steps of the ladder than there are.
const MAX_STEPS: usize = 20;

struct Nowhere;

impl HostFiles for Nowhere {
    fn exists(&self, _: &Path) -> bool {
        false
    }

    fn is_directory(&self, _: &Path) -> bool {
        false
    }
    fn has_command_file(&self, _: &Path, _: &str) -> bool {
        false
    }
}

fn planned() -> Plan {
    let config = Config::read(CONFIG).expect("a good config");
    let defaults = Defaults {
        timeout: Duration::from_secs(300),
        idle_timeout: Some(Duration::from_secs(60)),
        startup_timeout: Duration::from_secs(120),
    };
    plan(config, Path::new("/workspace"), &defaults, &Nowhere).expect("a good plan")
}

/// What a message of the user's has in it, and a control request has not.
const TURN: &[u8] = br#""type":"user""#;

/// What was asked of the process.
#[derive(Default)]
struct Asked {
    messages: usize,
    input_was_closed: bool,
    signals: usize,
}

impl Asked {
    fn take(&mut self, effects: Vec<AttemptAction>, recent: &mut OutputTail) {
        for effect in effects {
            match effect {
                AttemptAction::Send(bytes) => {
                    // To interrupt one that goes on by itself is tried all the same, and comes to nothing.
                    let is_turn = bytes.windows(TURN.len()).any(|window| window == TURN);
                    assert!(!(self.input_was_closed && is_turn), "a turn is sent to one whose input was closed");
                    assert!(bytes.ends_with(b"\n") && is_one_line(&bytes), "one line of JSON");
                    self.messages += 1;
                }
                AttemptAction::CloseInput => self.input_was_closed = true,
                AttemptAction::Terminate | AttemptAction::Kill => self.signals += 1,
                AttemptAction::RecordOutput(said) => recent.push(&said),
                AttemptAction::LimitReached { .. } | AttemptAction::Notice(_) => {}
            }
        }
    }
}

/// Whether a line goes over the wire as one.
fn is_one_line(line: &[u8]) -> bool {
    line.iter().filter(|&&b| b == b'\n').count() == 1 && line.starts_with(b"{")
}

pub fn run(data: &[u8]) {
    let plan = planned();
    let instance = &plan.instances[0];
    let (mut now, mut asked, mut recent) = (Duration::ZERO, Asked::default(), OutputTail::new(3, 80));
    let (mut attempt, effects) = Attempt::start(instance, plan.prices.clone(), Duration::from_secs(5), now);
    asked.take(effects, &mut recent);
    if !data.len().is_multiple_of(7) {
        asked.take(attempt.event(decode(ANSWER), now), &mut recent);
        assert_eq!(asked.messages, 2, "the first turn follows the answer");
    }
    // How it is cut, and what is too long, is the fuzzer's to choose: by the length.
    let piece_bytes = 1 + data.len() % 251;
    let mut lines = if data.len().is_multiple_of(3) { LineSplitter::with_bound(300) } else { LineSplitter::default() };
    for piece in data.chunks(piece_bytes) {
        now += Duration::from_millis(200);
        let mut effects = Vec::new();
        lines.push(piece, |line| effects.extend(hear(&mut attempt, &line, now)));
        attempt.on_output(now);
        asked.take(effects, &mut recent);
        asked.take(attempt.on_deadline(now), &mut recent);
        let _ = attempt.used();
    }
    let mut effects = Vec::new();
    lines.finish(|line| effects.extend(hear(&mut attempt, &line, now)));
    effects.extend(attempt.on_stdout_eof(now));
    if data.len().is_multiple_of(5) {
        effects.extend(attempt.stop_after_message(Failure::timeout(Duration::from_secs(1), None), now));
    }
    asked.take(effects, &mut recent);
    end(&mut attempt, &mut asked, &mut recent, data.len().is_multiple_of(2));
    // `initialize`, three turns, and an interrupt.
    assert!(asked.messages <= 1 + instance.turns.len() + 1, "{} messages", asked.messages);
    for line in recent.take("a\u{1b}", STYLE).into_iter().chain(recent.last_words()) {
        assert!(!line.chars().any(char::is_control), "{line:?}");
    }
    report(&plan, &attempt, &recent, now);
}

/// Whatever was said can be booked and told.
fn report(plan: &Plan, attempt: &Attempt, recent: &OutputTail, now: Duration) {
    let status = match attempt.verdict() {
        Verdict::Completed => Status::Completed,
        Verdict::Failed(failure) => Status::Failed(failure),
    };
    let mut record = InstanceRecord::default();
    record.status = status;
    record.started = Some(Duration::ZERO);
    record.ended = Some(now);
    record.exit = attempt.exit();
    record.used = attempt.used();
    record.progress = attempt.progress.clone();
    record.last_output = recent.last_words();
    let mut ledger = Budget::new(&plan.budget, &plan.instances, &plan.prices);
    ledger.started(0, Duration::ZERO);
    ledger.charge(0, &record.used);
    let policy = Policy { on_limit: UsageLimitPolicy::Wait, max_wait: Duration::MAX };
    let limit = |reset| UsageLimit::reached(None, Some(reset), policy, Now { elapsed: now, epoch_ms: EPOCH_MS });
    let usage_limit = record.progress.limit_resets_at.map(limit);
    let (limits, records, stages) = (ledger.limits(), [record], Stages::new(&plan.instances));
    let view = Snapshot {
        plan,
        stages: &stages,
        records: &records,
        elapsed: now,
        limits: &limits,
        refusals: &[],
        usage_limit,
    };
    let footer = report::summary::Footer {
        stopped_by: None,
        strays: None,
        logs: None,
        incomplete_files: Vec::new(),
        exit: ExitCode::Completed,
    };
    let texts = [report::status::status(&view, STYLE, None), report::summary::summary(&view, STYLE, &footer)];
    for text in texts {
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
    }
    assert!(report::json::report(&view, &report::json::RunMetadata::default()).len() > 2, "it can be written");
}

fn hear(attempt: &mut Attempt, line: &Line, now: Duration) -> Vec<AttemptAction> {
    match line {
        Line::Complete(bytes) => attempt.event(decode(bytes), now),
        Line::Oversized { head, bytes } => attempt.long_line(head, *bytes, now),
    }
}

/// It ends by itself, or does not: by the ladder then.
fn end(attempt: &mut Attempt, asked: &mut Asked, recent: &mut OutputTail, by_itself: bool) {
    let mut steps = 0;
    while !by_itself && asked.signals < 3 {
        let at = attempt.next_deadline().expect("as long as it lives there is a deadline");
        let effects = attempt.on_deadline(at);
        asked.take(effects, recent);
        steps += 1;
        assert!(steps < MAX_STEPS, "it is never killed");
    }
    let now = Duration::from_secs(1000);
    let effects = attempt.on_exit(ExitStatus::Code(0), now);
    asked.take(effects, recent);
    attempt.on_stderr_eof();
    assert!(attempt.is_done() && attempt.next_deadline().is_none());
    if let Verdict::Failed(failure) = attempt.verdict() {
        assert!(!failure.error.is_empty());
    }
    let _ = (attempt.used(), attempt.session_mismatch());
}
