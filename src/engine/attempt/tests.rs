//! Tests of the state machine alone: with recorded output of the real claude, with tables, and with random input.

use super::*;
use crate::claude::invocation::Invocation;
use crate::claude::protocol::decode;
use crate::claude::protocol::{Denial, Event, Leaves, Message, Retry, Task, ToolResult, ToolUse, TurnResult};
use crate::claude::slash_commands;
use crate::claude::tokens::Tokens;
use crate::claude::tool_denials::UnavailableTool;
use crate::claude::usage_meter::{Certainty, ReportedUsage};
use crate::engine::timing::{DRAIN, KILL_GIVE_UP};
use crate::plan::Turn;
use proptest::prelude::*;
use std::path::PathBuf;

const GENERATIONS: [&str; 3] = ["2.1.330", "2.0.76", "1.0.128"];
const GRACE: Duration = Duration::from_secs(5);

fn at(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn instance(turns: &[&str]) -> Instance {
    let turn = |text: &&str| Turn {
        text: (*text).to_owned(),
        command: slash_commands::parse_invocation(text).map(str::to_owned),
        may_be_path: false,
        is_clear: slash_commands::parse_invocation(text) == Some("clear"),
        position: None,
        placeholders: Vec::new(),
    };
    Instance {
        name: "a".into(),
        description: None,
        budget_command: None,
        turns: turns.iter().map(turn).collect(),
        max_tokens: None,
        timeout: at(100),
        idle_timeout: None,
        startup_timeout: at(120),
        retries: crate::plan::RetryPolicy::default(),
        depends_on: Vec::new(),
        fail_on_denied: false,
        background: Background::Wait,
        background_wait: at(60),
        fails_on_mcp: false,
        invocation: Invocation { permission_mode: "default".into(), cwd: PathBuf::from("/"), ..Invocation::default() },
    }
}

fn started(turns: &[&str]) -> Attempt {
    let (attempt, actions) = Attempt::start(&instance(turns), Prices::default(), GRACE, at(0));
    assert_eq!(actions, [AttemptAction::Send(request::initialize())]);
    attempt
}

/// Returns an attempt that waits for the result of its first turn.
fn in_turn(turns: &[&str]) -> Attempt {
    let mut attempt = started(turns);
    let actions = attempt.event(answer(&[]), at(1));
    assert_eq!(actions, [AttemptAction::Send(request::user(turns[0]))]);
    attempt
}

fn answer(commands: &[&str]) -> Event {
    let commands =
        Ok(crate::claude::slash_commands::Commands::new(commands.iter().map(|&name| name.to_owned()).collect()));
    Event::InitializeResponse {
        request_id: request::INITIALIZE_ID.into(),
        commands,
        prices: Vec::new(),
        reports_usage: true,
    }
}

fn result(change: impl FnOnce(&mut TurnResult)) -> Event {
    let mut result = TurnResult {
        subtype: "success".into(),
        is_error: false,
        text: "done".into(),
        errors: Vec::new(),
        is_unsolicited: false,
        session_id: None,
        terminal_reason: None,
        stop_reason: None,
        safety_stops: 0,
        stopped_by_permission_check: false,
        interrupted_by_shutdown: false,
        used_model: true,
        api_error_status: None,
        api_error: None,
        settlement: ReportedUsage::Absent,
        permission_denials: Vec::new(),
        denied_ids: Vec::new(),
    };
    change(&mut result);
    Event::Result(Box::new(result))
}

fn good() -> Event {
    result(|_| {})
}

fn begun() -> Event {
    Event::Init { session_id: None, model: None, permission_mode: None, mcp_failed: Vec::new() }
}

fn end(attempt: &mut Attempt, exit: ExitStatus, now: Duration) -> Verdict {
    attempt.on_stdout_eof(now);
    attempt.on_stderr_eof();
    assert!(!attempt.is_done(), "it is over when it is reaped");
    assert_eq!(attempt.on_exit(exit, now), [AttemptAction::Kill], "whatever it left behind is ended");
    assert!(attempt.is_done());
    attempt.verdict()
}

fn reason(verdict: &Verdict) -> Option<FailureKind> {
    match verdict {
        Verdict::Completed => None,
        Verdict::Failed(failure) => Some(failure.reason),
    }
}

fn error(verdict: &Verdict) -> &str {
    match verdict {
        Verdict::Completed => "",
        Verdict::Failed(failure) => &failure.error,
    }
}

/// Replays a recording to an instance with these turns. Returns the attempt and all its actions.
fn replay(generation: &str, name: &str, turns: &[&str]) -> (Attempt, Vec<AttemptAction>) {
    replay_until(generation, name, turns, |_| false)
}

/// Replays a recording like [`replay`], up to and including the line that `is_last` accepts.
fn replay_until(
    generation: &str,
    name: &str,
    turns: &[&str],
    is_last: fn(&str) -> bool,
) -> (Attempt, Vec<AttemptAction>) {
    let root = env!("CARGO_MANIFEST_DIR");
    let path = format!("{root}/fixtures/recorded/{generation}/{name}.jsonl");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"));
    let mut attempt = started(turns);
    let mut actions = Vec::new();
    // Not every recording begins with an `initialize` response, and none with a response to zen's request.
    let is_answer = |line: &str| line.contains("\"commands\":[");
    let initialized =
        text.lines().find(|line| is_answer(line)).map_or(answer(&["compact"]), |line| match decode(line.as_bytes()) {
            Event::InitializeResponse { commands, prices, reports_usage, .. } => {
                Event::InitializeResponse { request_id: request::INITIALIZE_ID.into(), commands, prices, reports_usage }
            }
            other => panic!("no answer: {other:?}"),
        });
    actions.extend(attempt.event(initialized, at(1)));
    for line in text.lines().filter(|line| !is_answer(line)) {
        let event = decode(line.as_bytes());
        assert_ne!(event, Event::Invalid, "{line}");
        actions.extend(attempt.event(event, at(2)));
        if is_last(line) {
            break;
        }
    }
    (attempt, actions)
}

/// Returns the certainty of a usage without cut-off messages. Older generations do not report all their own calls.
fn certainty_of_all(generation: &str) -> Certainty {
    if generation.starts_with("2.1.") { Certainty::Exact } else { Certainty::AtLeast }
}

#[test]
fn text_turn_completes_on_every_generation() {
    for generation in GENERATIONS {
        let (mut attempt, actions) = replay(generation, "text", &["hi"]);
        assert!(actions.contains(&AttemptAction::CloseInput), "{generation}");
        assert_eq!(end(&mut attempt, ExitStatus::Code(0), at(3)), Verdict::Completed, "{generation}");
        let used = attempt.used();
        let certainty = certainty_of_all(generation);
        assert_eq!((used.tokens_certainty, used.micros_certainty), (certainty, certainty), "{generation}");
        assert!(used.tokens.output >= 30 && used.micros > 0, "{generation}: {used:?}");
        assert!(attempt.progress.model.is_some() && attempt.progress.session_id.is_some());
        assert!(attempt.progress.result.as_ref().is_some_and(|text| !text.is_empty()));
    }
}

#[test]
fn second_turn_is_sent_after_the_first_result() {
    for generation in GENERATIONS {
        let (mut attempt, actions) = replay(generation, "two_turns", &["one", "two"]);
        let sent: Vec<&AttemptAction> =
            actions.iter().filter(|e| !matches!(e, AttemptAction::RecordOutput(_))).collect();
        assert_eq!(
            sent,
            [
                &AttemptAction::Send(request::user("one")),
                &AttemptAction::Send(request::user("two")),
                &AttemptAction::CloseInput
            ],
            "{generation}"
        );
        assert_eq!(end(&mut attempt, ExitStatus::Code(0), at(3)), Verdict::Completed);
    }
}

#[test]
fn interrupted_turn_keeps_its_cost_and_reason() {
    for generation in GENERATIONS {
        for name in ["interrupt", "interrupt_text"] {
            let mut attempt = in_turn(&["x"]);
            let stop = attempt.stop(Failure::timeout(at(10), None), at(2));
            assert_eq!(stop, [AttemptAction::Send(request::interrupt()), AttemptAction::CloseInput]);
            let path = format!("{}/fixtures/recorded/{generation}/{name}.jsonl", env!("CARGO_MANIFEST_DIR"));
            for line in std::fs::read_to_string(path).expect("a recording").lines() {
                attempt.event(decode(line.as_bytes()), at(3));
            }
            let verdict = end(&mut attempt, ExitStatus::Code(0), at(4));
            assert_eq!(error(&verdict), "Timeout after 10s", "{generation} {name}");
            assert!(attempt.used().tokens.total() > 0, "{generation} {name}: what was served is on the books");
            let expected = if name == "interrupt" { certainty_of_all(generation) } else { Certainty::AtLeast };
            assert_eq!(attempt.used().tokens_certainty, expected, "{generation} {name}");
        }
    }
}

/// The expected usage is that of the recordings' scripts. The result of 2.0 adds its two warm-up calls.
#[test]
fn usage_after_a_retry_is_charged() {
    for (generation, tokens) in [("2.1.330", (100, 20)), ("2.0.76", (300, 60)), ("1.0.128", (100, 20))] {
        let (mut attempt, _) = replay(generation, "retry", &["x"]);
        assert_eq!(end(&mut attempt, ExitStatus::Code(0), at(3)), Verdict::Completed, "{generation}");
        let Tokens { input, output, .. } = attempt.used().tokens;
        assert_eq!((input, output), tokens, "{generation}");
    }
}

#[test]
fn compaction_between_turns_is_counted_once() {
    for (generation, input) in [("2.1.330", 300), ("2.0.76", 500), ("1.0.128", 300)] {
        let (mut attempt, _) = replay(generation, "compact", &["x", "/compact", "y"]);
        assert_eq!(end(&mut attempt, ExitStatus::Code(0), at(3)), Verdict::Completed, "{generation}");
        assert_eq!(attempt.used().tokens.input, input, "{generation}");
    }
}

#[test]
fn interrupted_compaction_makes_usage_a_lower_bound() {
    for generation in ["2.1.330", "2.0.76"] {
        let (mut attempt, _) =
            replay_until(generation, "compact", &["x", "/compact"], |line| line.contains("\"compacting\""));
        assert_eq!(attempt.clone().stop_after_message(over_budget(), at(2)), [], "{generation}: it is paid for");
        assert_eq!(reason(&end(&mut attempt, ExitStatus::Signal(9), at(3))), Some(FailureKind::Error), "{generation}");
        assert_eq!(attempt.used().tokens_certainty, Certainty::AtLeast, "{generation}");
    }
}

#[test]
fn missing_session_does_not_make_later_usage_uncertain() {
    let (mut attempt, _) = replay("2.1.330", "missing_session", &["x"]);
    end(&mut attempt, ExitStatus::Code(1), at(3));
    assert_eq!(attempt.used().tokens_certainty, Certainty::Exact);
    attempt.restart(at(4));
    assert_eq!(attempt.used().tokens_certainty, Certainty::Exact);
}

#[test]
fn interrupt_not_sent_by_zen_is_a_failure() {
    for generation in GENERATIONS {
        let (mut attempt, _) = replay(generation, "interrupt", &["x"]);
        assert_eq!(reason(&end(&mut attempt, ExitStatus::Code(0), at(3))), Some(FailureKind::Error), "{generation}");
    }
}

#[test]
fn fourth_refused_login_in_a_row_stops_the_attempt() {
    let refused = |attempt| Event::Retry(Retry { attempt, max_retries: 10, status: Some(401), ..Retry::default() });
    let overloaded = Event::Retry(Retry { status: Some(529), ..Retry::default() });
    let mut attempt = in_turn(&["x"]);
    for event in [refused(1), refused(2), refused(3), overloaded, refused(5), refused(6), refused(7)] {
        assert_eq!(attempt.event(event, at(2)), []);
    }
    assert!(attempt.event(refused(8), at(2)).contains(&AttemptAction::Send(request::interrupt())));
    let verdict = end(&mut attempt, ExitStatus::Code(1), at(3));
    assert_eq!(reason(&verdict), Some(FailureKind::Account));
    assert!(error(&verdict).starts_with("Authentication failed"), "{verdict:?}");
    assert!(error(&verdict).contains("/login"), "{verdict:?}");
}

#[test]
fn exhausted_plan_is_a_usage_limit_and_a_throttle_is_not() {
    let (mut attempt, _) = replay("2.1.330", "limit", &["x"]);
    assert_eq!(reason(&end(&mut attempt, ExitStatus::Code(1), at(3))), Some(FailureKind::Limit));
    assert!(attempt.progress.limit_resets_at.is_some());
    for generation in GENERATIONS {
        let (mut attempt, _) = replay(generation, "throttled", &["x"]);
        assert_ne!(reason(&end(&mut attempt, ExitStatus::Code(1), at(3))), Some(FailureKind::Limit), "{generation}");
    }
}

/// A usage limit stops other instances too, and a tool may have written the line that announces it.
#[test]
fn announced_usage_limit_has_no_effect_before_a_result_reports_it() {
    let announced = || Event::RateLimit { rejected: true, resets_at: Some(1_795_348_835) };
    let reached = |resets_at_epoch_s| AttemptAction::LimitReached { resets_at_epoch_s };
    let failed = |status| {
        result(|result| {
            result.is_error = true;
            result.api_error_status = Some(status);
        })
    };
    let mut attempt = in_turn(&["x"]);
    assert_eq!(attempt.event(announced(), at(2)), []);
    let actions = attempt.event(failed(429), at(3));
    assert_eq!(actions, [reached(Some(1_795_348_835)), AttemptAction::CloseInput]);
    assert_eq!(reason(&end(&mut attempt, ExitStatus::Code(1), at(4))), Some(FailureKind::Limit));

    let mut attempt = in_turn(&["x"]);
    assert_eq!(attempt.event(announced(), at(2)), []);
    let actions = attempt.event(failed(500), at(3));
    assert_eq!(actions, [AttemptAction::CloseInput]);
    assert_eq!(reason(&end(&mut attempt, ExitStatus::Code(1), at(4))), Some(FailureKind::Error));

    // If the attempt is being stopped for another reason, the limit still applies to other instances.
    let mut attempt = in_turn(&["x"]);
    attempt.event(announced(), at(2));
    attempt.on_deadline(at(100));
    assert_eq!(attempt.event(failed(429), at(101)), [reached(Some(1_795_348_835))]);
}

#[test]
fn result_of_an_unsolicited_turn_does_not_answer_the_next_turn() {
    for name in ["subagent", "subagent_slow", "subagent_slow_closed"] {
        let (mut attempt, actions) = replay("2.1.330", name, &["x"]);
        assert_eq!(attempt.progress.turns_done, 1, "{name}");
        assert!(actions.contains(&AttemptAction::CloseInput), "{name}");
        assert_eq!(end(&mut attempt, ExitStatus::Code(0), at(3)), Verdict::Completed, "{name}");
        let used = attempt.used();
        assert_eq!(used.tokens, Tokens { input: used.tokens.input, output: used.tokens.output, ..Tokens::default() });
        assert_eq!(used.tokens.total() % 60, 0, "{name}: answers of 120 tokens and an agent's of 60: {used:?}");
    }
}

#[test]
fn missing_command_costs_nothing() {
    let mut attempt = started(&["Set context", "/analyse-code src"]);
    let actions = attempt.event(answer(&["analyze-code", "compact"]), at(1));
    assert_eq!(actions, [AttemptAction::CloseInput], "nothing is sent");
    let verdict = end(&mut attempt, ExitStatus::Code(0), at(2));
    assert_eq!(reason(&verdict), Some(FailureKind::CommandNotFound));
    assert_eq!(error(&verdict), "Command not found: /analyse-code (did you mean /analyze-code?)");
    assert_eq!(attempt.used().tokens.total(), 0);
}

#[test]
fn success_result_with_an_error_fails_with_any_exit_status() {
    for (event, expected) in [
        (result(|r| r.is_error = true), "done"),
        (result(|r| r.subtype = "error_max_turns".into()), "error_max_turns: done"),
        (result(|r| (r.subtype, r.errors) = ("error_x".into(), vec!["a".into(), "b".into()])), "error_x: a; b"),
        (result(|r| (r.is_error, r.text) = (true, String::new())), "claude reported an error and no reason"),
    ] {
        let mut attempt = in_turn(&["x", "y"]);
        assert_eq!(attempt.event(event, at(2)), [AttemptAction::CloseInput], "no second turn after a failed one");
        assert_eq!(error(&end(&mut attempt, ExitStatus::Code(0), at(3))), expected);
    }
}

#[test]
fn success_result_counts_after_any_exit() {
    for exit in [ExitStatus::Code(1), ExitStatus::Signal(9)] {
        let mut attempt = in_turn(&["x"]);
        attempt.event(good(), at(2));
        attempt.event(result(|r| r.is_error = true), at(2));
        assert_eq!(end(&mut attempt, exit, at(3)), Verdict::Completed);
    }
}

#[test]
fn result_after_a_stop_completes_if_the_work_was_done() {
    let mut attempt = in_turn(&["x"]);
    attempt.stop(Failure::timeout(at(10), None), at(10));
    attempt.event(good(), at(10));
    assert_eq!(end(&mut attempt, ExitStatus::Code(0), at(11)), Verdict::Completed);
    // The attempt fails if another turn has not been sent yet.
    let mut attempt = in_turn(&["x", "y"]);
    attempt.stop(Failure::timeout(at(10), None), at(10));
    assert_eq!(attempt.event(good(), at(10)), [], "nothing more is sent");
    assert_eq!(reason(&end(&mut attempt, ExitStatus::Code(0), at(11))), Some(FailureKind::Timeout));
}

#[test]
fn exit_without_a_result_reports_the_status_and_the_end_of_stderr() {
    let mut attempt = started(&["x"]);
    attempt.on_stderr(b"warming up\nError: no \x1b[31mcredits\x1b[0m\n\n", at(1));
    let verdict = end(&mut attempt, ExitStatus::Code(3), at(1));
    assert_eq!(error(&verdict), "claude ended with exit status 3 before it answered initialize: Error: no credits");
    let mut attempt = in_turn(&["x"]);
    let verdict = end(&mut attempt, ExitStatus::Signal(11), at(2));
    assert_eq!(error(&verdict), "claude ended with signal 11 without a result");
    let mut attempt = in_turn(&["x"]);
    assert_eq!(error(&end(&mut attempt, ExitStatus::Code(0), at(2))), "claude ended without a result");
}

/// On a busy machine, 2.0 begins a turn of another session while it looks for its own (seen with 2.0.76).
#[test]
fn missing_session_is_reported_only_before_any_model_output() {
    const MISSING: &str = "No conversation found with session ID: 47bf9a27-8fad-8e41-8e37-d8049bb89972";
    let no_such_session = || result(|result| (result.is_error, result.text) = (true, MISSING.into()));
    let quoted = || result(|result| result.text = MISSING.into());
    for (events, stderr, expected) in [
        (vec![], MISSING, Some(false)),
        (vec![begun()], MISSING, Some(false)),
        (vec![no_such_session()], "", Some(false)),
        (vec![], "Session ID x is already in use.", Some(true)),
        (vec![begun(), message_begins()], MISSING, None),
        (vec![begun(), good()], MISSING, None),
        (vec![begun(), quoted()], "", None),
        (vec![begun()], "no such file", None),
    ] {
        let mut attempt = in_turn(&["x"]);
        let shown = format!("{events:?} {stderr}");
        for event in events {
            attempt.event(event, at(2));
        }
        attempt.on_stderr(stderr.as_bytes(), at(1));
        end(&mut attempt, ExitStatus::Code(1), at(3));
        assert_eq!(attempt.session_mismatch(), expected, "{shown}");
    }
}

#[test]
fn shutdown_sends_interrupt_then_sigterm_then_sigkill() {
    let mut attempt = in_turn(&["x"]);
    assert_eq!(attempt.next_deadline(), Some(at(100)));
    assert_eq!(attempt.on_deadline(at(99)), []);
    assert_eq!(attempt.on_deadline(at(100)), [AttemptAction::Send(request::interrupt()), AttemptAction::CloseInput]);
    assert_eq!(attempt.next_deadline(), Some(at(105)));
    assert_eq!(attempt.on_deadline(at(105)), [AttemptAction::Terminate]);
    assert_eq!(attempt.next_deadline(), Some(at(107)));
    assert_eq!(attempt.on_deadline(at(107)), [AttemptAction::Kill]);
    assert_eq!(attempt.on_deadline(at(107)), [], "once");
    let mut unkillable = attempt.clone();
    let kills = (108..117).filter(|&s| unkillable.on_deadline(at(s)) == [AttemptAction::Kill]).count();
    assert_eq!((kills, unkillable.is_done()), (9, false));
    assert_eq!(unkillable.on_deadline(at(107) + KILL_GIVE_UP), []);
    assert!(unkillable.is_done() && unkillable.exit().is_none(), "nobody waits for ever");
    assert_eq!(error(&unkillable.verdict()), "Timeout after 100s");
    assert_eq!(error(&end(&mut attempt, ExitStatus::Signal(9), at(108))), "Timeout after 100s");
}

#[test]
fn idle_timeout_ends_silent_attempts_only() {
    let quiet = Instance { idle_timeout: Some(at(10)), ..instance(&["x"]) };
    let (mut attempt, _) = Attempt::start(&quiet, Prices::default(), GRACE, at(0));
    for second in 1..50 {
        attempt.on_output(at(second));
        assert_eq!(attempt.on_deadline(at(second)), []);
    }
    assert_eq!(attempt.next_deadline(), Some(at(59)));
    assert_eq!(attempt.on_deadline(at(59)).len(), 2);
    assert_eq!(error(&end(&mut attempt, ExitStatus::Code(0), at(60))), "Timeout: no output for 10s");
}

#[test]
fn process_that_lingers_after_its_result_completes() {
    let mut attempt = in_turn(&["x"]);
    attempt.event(good(), at(2));
    assert_eq!(attempt.on_deadline(at(7)), [AttemptAction::Terminate]);
    assert_eq!(attempt.on_deadline(at(9)), [AttemptAction::Kill]);
    assert_eq!(end(&mut attempt, ExitStatus::Signal(9), at(9)), Verdict::Completed);
}

#[test]
fn closed_pipe_fails_only_if_the_process_keeps_running() {
    let mut attempt = in_turn(&["x"]);
    assert_eq!(attempt.on_stdout_eof(at(2)), [AttemptAction::CloseInput]);
    assert_eq!(attempt.on_deadline(at(7)), [AttemptAction::Terminate]);
    attempt.on_stderr_eof();
    attempt.on_exit(ExitStatus::Code(143), at(8));
    assert_eq!(error(&attempt.verdict()), "claude closed stdout and kept running");
}

#[test]
fn wait_for_open_pipes_after_the_exit_is_bounded() {
    let mut attempt = in_turn(&["x"]);
    attempt.on_exit(ExitStatus::Code(0), at(2));
    assert!(!attempt.is_done());
    // Output that claude wrote before it exited is read after the exit.
    attempt.event(good(), at(2));
    assert_eq!(attempt.next_deadline(), Some(at(2) + DRAIN));
    attempt.on_deadline(at(2) + DRAIN);
    assert!(attempt.is_done());
    assert_eq!(attempt.verdict(), Verdict::Completed);
}

#[test]
fn background_agents_are_awaited() {
    let agents = |agents| Event::BackgroundTasks { agents, commands: Vec::new() };
    let unasked = || result(|r| r.is_unsolicited = true);
    let mut attempt = in_turn(&["x"]);
    attempt.event(begun(), at(2));
    attempt.event(agents(2), at(2));
    assert_eq!(attempt.event(good(), at(3)), [], "two are at work");
    assert_eq!(attempt.next_deadline(), Some(at(100)), "and have the instance's time");
    attempt.event(agents(1), at(50));
    attempt.event(begun(), at(50));
    assert_eq!(attempt.event(agents(0), at(60)), [], "the turn that the first one's end began is under way");
    assert_eq!(attempt.event(unasked(), at(70)), [AttemptAction::CloseInput]);
    // The end of the second agent begins another turn during the grace period.
    attempt.event(begun(), at(71));
    assert_eq!(attempt.next_deadline(), Some(at(100)));
    attempt.event(unasked(), at(90));
    assert_eq!(end(&mut attempt, ExitStatus::Code(0), at(91)), Verdict::Completed);
}

#[test]
fn stopped_background_agents_fail_the_instance() {
    let mut attempt = in_turn(&["x"]);
    attempt.event(Event::BackgroundTasks { agents: 1, commands: Vec::new() }, at(2));
    attempt.event(good(), at(3));
    attempt.on_deadline(at(100));
    assert_eq!(reason(&end(&mut attempt, ExitStatus::Code(0), at(101))), Some(FailureKind::Timeout));
    assert_eq!(attempt.used().tokens_certainty, Certainty::AtLeast, "what they were asking for may have been served");
    let mut attempt = in_turn(&["x"]);
    attempt.event(Event::BackgroundTasks { agents: 1, commands: Vec::new() }, at(2));
    attempt.event(good(), at(3));
    let verdict = end(&mut attempt, ExitStatus::Code(0), at(4));
    assert_eq!(error(&verdict), "claude ended while its agents were running");
    assert_eq!(attempt.used().tokens_certainty, Certainty::AtLeast);
}

fn message_begins() -> Event {
    let tokens = Tokens { input: 100, output: 1, ..Tokens::default() };
    let id = Some("m".to_owned());
    let (model, said) = ("claude-sonnet-4".to_owned(), Vec::new());
    Event::Message(Box::new(Message {
        id,
        model,
        tokens,
        from_subagent: false,
        is_start: true,
        content: said,
        tools: Vec::new(),
        error: None,
    }))
}

fn message_says(uses_tools: bool) -> Event {
    Event::MessageDelta { tokens: Tokens { output: 50, ..Tokens::default() }, uses_tools, ended: true, paused: false }
}

fn over_budget() -> Failure {
    Failure::new(FailureKind::Budget, "Overall budget exceeded")
}

#[test]
fn budget_stops_after_the_current_message() {
    let stopped = [AttemptAction::Send(request::interrupt()), AttemptAction::CloseInput];
    // During the last message: the work is done.
    let mut attempt = in_turn(&["x"]);
    attempt.event(message_begins(), at(2));
    assert_eq!(attempt.stop_after_message(over_budget(), at(2)), []);
    attempt.event(message_says(false), at(3));
    assert_eq!(attempt.event(Event::MessageStop, at(3)), []);
    assert_eq!(attempt.stop_after_message(over_budget(), at(3)), [], "its result is on the way");
    assert_eq!(attempt.event(good(), at(3)), [AttemptAction::CloseInput]);
    assert_eq!(end(&mut attempt, ExitStatus::Code(0), at(4)), Verdict::Completed);
    // During a message with tool calls: stop without running the tools.
    let mut attempt = in_turn(&["x"]);
    attempt.event(message_begins(), at(2));
    attempt.event(message_says(true), at(2));
    assert_eq!(attempt.stop_after_message(over_budget(), at(2)), []);
    assert_eq!(attempt.event(Event::MessageStop, at(3)), stopped);
    assert_eq!(reason(&end(&mut attempt, ExitStatus::Code(0), at(4))), Some(FailureKind::Budget));
    // While a tool is running: stop at once.
    let mut attempt = in_turn(&["x"]);
    for event in [message_begins(), message_says(true), Event::MessageStop] {
        attempt.event(event, at(2));
    }
    assert_eq!(attempt.stop_after_message(over_budget(), at(3)), stopped);
    // During the last message of a turn that is not the last: the next turn is not sent.
    let mut attempt = in_turn(&["x", "y"]);
    attempt.event(message_begins(), at(2));
    attempt.stop_after_message(over_budget(), at(2));
    attempt.event(message_says(false), at(3));
    attempt.event(Event::MessageStop, at(3));
    assert_eq!(attempt.event(good(), at(3)), stopped);
    assert_eq!(reason(&end(&mut attempt, ExitStatus::Code(0), at(4))), Some(FailureKind::Budget));
}

fn message_uses(tools: &[&str]) -> Event {
    let used = |id: &&str| ToolUse { id: (*id).to_owned(), tool: "Bash".into(), input_summary: "ls".into() };
    let tools = tools.iter().map(used).collect();
    let (id, model, tokens) = (Some("m".to_owned()), String::new(), Tokens::default());
    Event::Message(Box::new(Message {
        id,
        model,
        tokens,
        from_subagent: false,
        is_start: false,
        content: Vec::new(),
        tools,
        error: None,
    }))
}

fn tool_ended(id: &str, missing: Option<UnavailableTool>, of_subagent: bool) -> Event {
    Event::ToolResults { tools: vec![ToolResult { id: id.to_owned(), missing, leaves: Leaves::Nothing }], of_subagent }
}

/// A message is charged from the moment when the model is asked for it.
#[test]
fn budget_stop_waits_for_a_requested_message() {
    let stopped = [AttemptAction::Send(request::interrupt()), AttemptAction::CloseInput];
    let ended = |id: &str| tool_ended(id, None, false);
    let mut attempt = in_turn(&["x"]);
    assert_eq!(attempt.clone().stop_after_message(over_budget(), at(1)), stopped, "the turn has not begun");
    attempt.event(begun(), at(2));
    assert_eq!(attempt.clone().stop_after_message(over_budget(), at(2)), []);
    for event in [message_begins(), message_uses(&["a", "b"]), message_says(true), Event::MessageStop] {
        attempt.event(event, at(2));
    }
    attempt.event(ended("a"), at(3));
    assert_eq!(attempt.clone().stop_after_message(over_budget(), at(3)), stopped, "one tool is at work");
    attempt.event(ended("b"), at(3));
    assert_eq!(attempt.stop_after_message(over_budget(), at(3)), []);
    assert_eq!(attempt.clone().event(Event::Retry(Retry::default()), at(4)), stopped, "it is not served");
    for event in [message_begins(), message_says(false), Event::MessageStop] {
        assert_eq!(attempt.event(event, at(4)), []);
    }
    assert_eq!(attempt.event(good(), at(5)), [AttemptAction::CloseInput]);
    assert_eq!(end(&mut attempt, ExitStatus::Code(0), at(6)), Verdict::Completed);
}

#[test]
fn message_counts_as_requested_if_tools_ended_before_its_end() {
    let mut attempt = in_turn(&["x"]);
    for event in [begun(), message_begins(), message_uses(&["a"]), message_says(true), tool_ended("a", None, false)] {
        attempt.event(event, at(2));
    }
    let mut with_the_message = attempt.clone();
    assert_eq!(with_the_message.stop_after_message(over_budget(), at(3)), []);
    let stopped = [AttemptAction::Send(request::interrupt()), AttemptAction::CloseInput];
    assert_eq!(with_the_message.event(Event::MessageStop, at(3)), stopped);
    let mut with_another_tool = attempt.clone();
    attempt.event(Event::MessageStop, at(3));
    assert_eq!(attempt.stop_after_message(over_budget(), at(3)), [], "the next one is paid for");
    with_another_tool.event(message_uses(&["b"]), at(3));
    with_another_tool.event(Event::MessageStop, at(3));
    assert_eq!(with_another_tool.stop_after_message(over_budget(), at(3)), stopped, "the second tool is at work");
}

/// Returns a message of the model with this text.
fn says(text: &str) -> Event {
    match message_uses(&[]) {
        Event::Message(message) => {
            Event::Message(Box::new(Message { content: vec![ContentBlock::Text(text.into())], ..*message }))
        }
        other => other,
    }
}

/// claude reports an error if its answer has exceeded claude's own budget.
#[test]
fn answer_that_exceeds_the_dollar_limit_completes() {
    let fence = || result(|r| (r.subtype, r.text) = ("error_max_budget_usd".into(), String::new()));
    for (uses_tools, reason_of_it) in [(false, None), (true, Some(FailureKind::Budget))] {
        let mut attempt = in_turn(&["x"]);
        for event in [begun(), message_begins(), says("Done."), message_says(uses_tools), fence()] {
            attempt.event(event, at(2));
        }
        assert_eq!(reason(&end(&mut attempt, ExitStatus::Code(1), at(3))), reason_of_it);
        assert_eq!(attempt.progress.result.as_deref(), Some(if uses_tools { "" } else { "Done." }));
    }
}

#[test]
fn oversized_result_fails_the_turn() {
    let mut attempt = in_turn(&["x"]);
    assert_eq!(attempt.long_line(b"{\"type\":\"assistant\"", 1 << 30, at(2)), []);
    assert_eq!(attempt.long_line(b"{\"type\":\"result\",", 1 << 30, at(2)), [AttemptAction::CloseInput]);
    assert_eq!(reason(&end(&mut attempt, ExitStatus::Code(0), at(3))), Some(FailureKind::Error));
    assert_eq!(attempt.progress.oversized_lines, 2);
    let mut attempt = in_turn(&["x"]);
    assert_eq!(attempt.event(Event::MalformedResult, at(2)), [AttemptAction::CloseInput]);
    attempt.on_exit(ExitStatus::Code(0), at(3));
    let failure = Failure::new(FailureKind::Error, "claude's result is JSON that zen cannot decode");
    assert_eq!(attempt.verdict(), Verdict::Failed(failure));
    // The result of a turn that claude began itself.
    let mut attempt = in_turn(&["x"]);
    for event in [begun(), Event::BackgroundTasks { agents: 1, commands: Vec::new() }, good()] {
        assert_eq!(attempt.event(event, at(2)), []);
    }
    assert_eq!(attempt.clone().event(Event::MalformedResult, at(3)), [], "no turn is under way");
    attempt.event(begun(), at(3));
    assert_eq!(attempt.event(Event::MalformedResult, at(3)), [AttemptAction::CloseInput]);
    assert_eq!(reason(&end(&mut attempt, ExitStatus::Code(0), at(4))), Some(FailureKind::Error));
}

#[derive(Clone, Debug)]
enum Input {
    Event(u8),
    OutputEnded,
    StderrEnded,
    Refused,
    Exited,
    Stop,
    Kill,
    Deadline,
}

proptest! {
    /// For any events in any order, an attempt has a deadline or is done.
    ///
    /// A stop leads to a kill in time, and a completed attempt has an answer to each of its turns.
    #[test]
    fn attempt_ends_after_any_sequence_of_events(inputs in proptest::collection::vec(prop_oneof![
        (0_u8..10).prop_map(Input::Event), Just(Input::OutputEnded), Just(Input::StderrEnded), Just(Input::Refused),
        Just(Input::Exited), Just(Input::Stop), Just(Input::Kill), Just(Input::Deadline),
    ], 0..40)) {
        let mut attempt = started(&["x", "y"]);
        let mut now = at(0);
        for input in inputs {
            now += Duration::from_millis(700);
            let reaped = attempt.exit().is_some();
            let actions = match input {
                Input::Event(kind) => attempt.event(match kind {
                    0 => answer(&[]),
                    1 => good(),
                    2 => result(|r| r.is_error = true),
                    3 => result(|r| r.is_unsolicited = true),
                    4 => begun(),
                    5 => Event::BackgroundTasks { agents: 1, commands: Vec::new() },
                    6 => Event::BackgroundTasks { agents: 0, commands: Vec::new() },
                    7 => Event::Invalid,
                    8 => Event::MalformedResult,
                    _ => result(|r| r.terminal_reason = Some("aborted_tools".into())),
                }, now),
                Input::OutputEnded => attempt.on_stdout_eof(now),
                Input::StderrEnded => { attempt.on_stderr_eof(); Vec::new() }
                Input::Refused => attempt.on_stdin_closed(now),
                Input::Exited if !reaped => attempt.on_exit(ExitStatus::Code(0), now),
                Input::Exited => Vec::new(),
                Input::Stop => attempt.stop(Failure::timeout(at(1), None), now),
                Input::Kill => attempt.kill(Failure::timeout(at(1), None), now),
                Input::Deadline => {
                    now = attempt.next_deadline().map_or(now, |at| at.max(now));
                    attempt.on_deadline(now)
                }
            };
            prop_assert!(actions.len() <= 2);
            prop_assert!(attempt.is_done() || attempt.next_deadline().is_some(), "it would be waited for for ever");
        }
        // A copy of the attempt with a process that cannot be killed.
        let mut unkillable = attempt.clone();
        for _ in 0..20 {
            now = unkillable.next_deadline().map_or(now, |at| at.max(now));
            unkillable.on_deadline(now);
        }
        prop_assert!(unkillable.is_done(), "it is waited for for ever");
        let mut kills = 0;
        for _ in 0..12 {
            if attempt.exit().is_some() || attempt.is_done() {
                break;
            }
            now = attempt.next_deadline().expect("a deadline").max(now);
            kills += attempt.on_deadline(now).iter().filter(|e| **e == AttemptAction::Kill).count();
        }
        prop_assert!(attempt.exit().is_some() || attempt.is_done() || kills > 0, "the ladder comes to its end");
        if attempt.exit().is_none() {
            attempt.on_exit(ExitStatus::Signal(9), now);
        }
        attempt.on_deadline(now + DRAIN);
        prop_assert!(attempt.is_done());
        if attempt.verdict() == Verdict::Completed {
            prop_assert_eq!(attempt.progress.turns_done, 2);
        }
    }
}

#[test]
fn fail_on_denied_fails_the_instance_and_sends_no_further_turn() {
    let refused = |tools: &[&str]| {
        let denials = tools.iter().map(|tool| Denial { tool: (*tool).to_owned(), input_summary: "x".into() }).collect();
        result(|r| r.permission_denials = denials)
    };
    let mut tolerant = in_turn(&["one", "two"]);
    assert_eq!(tolerant.event(refused(&["Write"]), at(2)), [AttemptAction::Send(request::user("two"))]);
    let strict = Instance { fail_on_denied: true, ..instance(&["one", "two"]) };
    let (mut attempt, _) = Attempt::start(&strict, Prices::default(), GRACE, at(0));
    attempt.event(answer(&[]), at(1));
    let actions = attempt.event(refused(&["Write", "Bash", "Write"]), at(2));
    assert_eq!(actions, [AttemptAction::CloseInput], "the next turn is not sent");
    let verdict = end(&mut attempt, ExitStatus::Code(0), at(3));
    assert_eq!((reason(&verdict), error(&verdict)), (Some(FailureKind::Error), "Permission denied: Write, Bash"));
    assert_eq!(attempt.progress.result.as_deref(), Some("done"), "what it said is kept");
}

/// claude reports a tool_denials tool as unknown or disabled, in the main conversation and in subagents.
#[test]
fn use_of_an_unavailable_tool_is_a_denial() {
    let mut config = Instance { fail_on_denied: true, ..instance(&["x"]) };
    config.invocation.allowed_tools = Some(vec!["Read".into()]);
    for (tool, missing, expected) in [
        ("Write", Some(UnavailableTool::Unknown), "Permission denied: Write"),
        ("Write", Some(UnavailableTool::Disabled), "Permission denied: Write"),
        ("Write", None, ""),
        ("Read", Some(UnavailableTool::Unknown), ""),
        ("Frobnicate", Some(UnavailableTool::Unknown), ""),
    ] {
        for of_subagent in [false, true] {
            let (mut attempt, _) = Attempt::start(&config, Prices::default(), GRACE, at(0));
            attempt.event(answer(&[]), at(1));
            let Event::Message(mut message) = message_uses(&["id"]) else { unreachable!() };
            message.from_subagent = of_subagent;
            message.tools[0].tool = tool.into();
            attempt.event(Event::Message(message), at(1));
            attempt.event(tool_ended("id", missing, of_subagent), at(1));
            attempt.event(tool_ended("id", missing, of_subagent), at(1));
            assert_eq!(attempt.event(good(), at(2)), [AttemptAction::CloseInput]);
            let verdict = end(&mut attempt, ExitStatus::Code(0), at(3));
            assert_eq!(error(&verdict), expected, "{tool} {missing:?}");
            let is_hopeless = matches!(&verdict, Verdict::Failed(failure) if failure.is_permanent);
            assert_eq!(
                (attempt.progress.denials.len(), is_hopeless),
                if expected.is_empty() { (0, false) } else { (1, true) }
            );
        }
    }
}

#[test]
fn differing_permission_mode_is_reported_once() {
    let in_mode = |mode: &str| Event::Init {
        session_id: None,
        model: None,
        permission_mode: Some(mode.to_owned()),
        mcp_failed: Vec::new(),
    };
    for (requested, reported, expected) in [
        ("bypassPermissions", "default", true),
        ("bypassPermissions", "bypassPermissions", false),
        ("manual", "default", false),
    ] {
        let mut attempt = in_turn(&["one", "two"]);
        attempt.expect_permission_mode(requested);
        let actions = attempt.event(in_mode(reported), at(1));
        let notice = "claude runs in permission mode default instead of bypassPermissions: check 'permissions' in its \
                      settings files";
        let expected_effects = if expected { vec![AttemptAction::Notice(notice.to_owned())] } else { Vec::new() };
        assert_eq!(actions, expected_effects, "{requested} {reported}");
        attempt.event(good(), at(2));
        assert_eq!(attempt.event(in_mode(reported), at(3)), [], "{requested} {reported}");
        let progress = &attempt.progress;
        assert_eq!(progress.permission_mode.as_deref(), Some(reported));
        assert_eq!(progress.mode_instead_of.as_deref(), expected.then_some(requested));
    }
}

#[test]
fn file_denied_by_settings_is_a_denial() {
    for tool in ["Read", "Write"] {
        let strict = Instance { fail_on_denied: true, ..instance(&["x"]) };
        let (mut attempt, _) = Attempt::start(&strict, Prices::default(), GRACE, at(0));
        attempt.event(answer(&[]), at(1));
        let Event::Message(mut message) = message_uses(&["id"]) else { unreachable!() };
        message.tools[0].tool = tool.into();
        attempt.event(Event::Message(message), at(1));
        attempt.event(tool_ended("id", Some(UnavailableTool::DeniedFile), false), at(1));
        attempt.event(good(), at(2));
        let verdict = end(&mut attempt, ExitStatus::Code(0), at(3));
        assert_eq!(error(&verdict), format!("Permission denied: {tool}"));
    }
}

/// 2.1 reports a denied file in the tool result and again in the turn's result.
#[test]
fn denied_file_also_listed_by_the_result_counts_once() {
    for (listed, expected) in [("id", 1), ("other", 2)] {
        let mut attempt = in_turn(&["x"]);
        let Event::Message(mut message) = message_uses(&["id"]) else { unreachable!() };
        message.tools[0].tool = "Read".into();
        attempt.event(Event::Message(message), at(1));
        attempt.event(tool_ended("id", Some(UnavailableTool::DeniedFile), false), at(1));
        attempt.event(
            result(|r| {
                r.permission_denials = vec![Denial { tool: "Read".into(), input_summary: "x".into() }];
                r.denied_ids = vec![listed.into()];
            }),
            at(2),
        );
        assert_eq!(attempt.progress.denials.len(), expected, "{listed}");
    }
}

#[test]
fn turns_after_a_clear_run_in_another_process() {
    let (mut attempt, _) =
        Attempt::start(&instance(&["one", "/clear", "two", "three"]), Prices::default(), GRACE, at(0));
    assert_eq!(
        attempt.event(answer(&[]), at(1)),
        [AttemptAction::Send(request::user("one"))],
        "no /clear is asked for"
    );
    assert_eq!(attempt.event(good(), at(2)), [AttemptAction::CloseInput]);
    end(&mut attempt, ExitStatus::Code(0), at(3));
    assert!(attempt.needs_next_segment());
    assert_eq!(attempt.start_next_segment(at(4)), [AttemptAction::Send(request::initialize())]);
    assert_eq!((attempt.progress.turns_done, attempt.next_deadline()), (2, Some(at(100))), "its time has begun before");
    assert_eq!(attempt.event(answer(&[]), at(5)), [AttemptAction::Send(request::user("two"))]);
    assert_eq!(attempt.event(good(), at(6)), [AttemptAction::Send(request::user("three"))]);
    assert_eq!(attempt.event(good(), at(7)), [AttemptAction::CloseInput]);
    assert_eq!(end(&mut attempt, ExitStatus::Code(0), at(8)), Verdict::Completed);
    assert!(!attempt.needs_next_segment());
    assert_eq!(attempt.progress.answers, ["done", "", "done", "done"]);
}

#[test]
fn commands_of_later_segments_are_checked_before_the_first_turn() {
    let mut attempt = started(&["one", "/clear", "/gone"]);
    assert_eq!(attempt.event(answer(&["clear"]), at(1)), [AttemptAction::CloseInput]);
    let verdict = end(&mut attempt, ExitStatus::Code(0), at(2));
    assert_eq!(reason(&verdict), Some(FailureKind::CommandNotFound));
}

#[test]
fn stop_during_the_exit_prevents_the_next_process() {
    let stops: [fn(&mut Attempt, Failure) -> Vec<AttemptAction>; 3] = [
        |attempt, why| attempt.stop(why, at(3)),
        |attempt, why| attempt.stop_after_message(why, at(3)),
        |attempt, why| attempt.kill(why, at(3)),
    ];
    for stop in stops {
        let mut attempt = in_turn(&["one", "/clear", "two"]);
        attempt.event(good(), at(2));
        stop(&mut attempt, Failure::new(FailureKind::Budget, "b"));
        let verdict = end(&mut attempt, ExitStatus::Code(0), at(4));
        assert_eq!(reason(&verdict), Some(FailureKind::Budget));
        assert!(!attempt.needs_next_segment());
    }
    let mut attempt = in_turn(&["one", "/clear", "two"]);
    attempt.event(begun(), at(2));
    attempt.event(
        Event::Message(Box::new(Message {
            error: None,
            id: Some("m".into()),
            model: "x".into(),
            tokens: Tokens::default(),
            from_subagent: false,
            is_start: true,
            content: Vec::new(),
            tools: Vec::new(),
        })),
        at(2),
    );
    attempt.stop_after_message(Failure::new(FailureKind::Budget, "b"), at(2));
    attempt.event(good(), at(3));
    let verdict = end(&mut attempt, ExitStatus::Code(0), at(4));
    assert_eq!(reason(&verdict), Some(FailureKind::Budget), "the message has ended, and the work is not done");
}

#[test]
fn text_with_a_leading_slash_is_sent_as_text() {
    let begun = |change: fn(&mut crate::plan::Turn)| {
        let mut instance = instance(&["/tmp is full"]);
        change(&mut instance.turns[0]);
        Attempt::start(&instance, Prices::default(), GRACE, at(0)).0
    };
    let text = [AttemptAction::Send(request::user(" /tmp is full"))];
    let mut prompt = begun(|turn| turn.command = None);
    assert_eq!(prompt.event(answer(&["tmp"]), at(1)), text);
    let mut command = begun(|turn| turn.may_be_path = true);
    assert_eq!(command.event(answer(&["tmp"]), at(1)), [AttemptAction::Send(request::user("/tmp is full"))]);
    // A missing command is never sent as text, which would cost tokens, even if its name is a path.
    for change in [(|turn| turn.may_be_path = true) as fn(&mut crate::plan::Turn), |_| {}] {
        let mut missing = begun(change);
        assert_eq!(missing.event(answer(&["other"]), at(1)), [AttemptAction::CloseInput]);
    }
}

#[test]
fn result_of_an_interrupted_turn_is_the_last_text() {
    let diagnostic = "[ede_diagnostic] result_type=user last_content_type=n/a stop_reason=null";
    for (said, errors, expected) in [
        (Some("half of it"), &[diagnostic][..], Some("half of it")),
        (None, &[diagnostic], None),
        (Some("half of it"), &["it broke", diagnostic], Some("it broke")),
    ] {
        let mut attempt = in_turn(&["one"]);
        said.into_iter().for_each(|said| drop(attempt.event(says(said), at(1))));
        attempt.stop(Failure::timeout(at(1), None), at(1));
        let interrupted = result(|result| {
            result.subtype = "error_during_execution".into();
            result.terminal_reason = Some("aborted_streaming".into());
            (result.is_error, result.text) = (true, String::new());
            result.errors = errors.iter().map(ToString::to_string).collect();
        });
        attempt.event(interrupted, at(2));
        assert_eq!(attempt.progress.result.as_deref(), expected);
    }
}

/// claude may send results for turns that were not sent, and begin turns after its last answer.
#[test]
fn result_without_a_sent_turn_is_ignored() {
    // `initialize` was never answered: a result after the interrupt does not answer the instance's turn.
    let mut attempt = started(&["x"]);
    attempt.stop(Failure::timeout(at(1), None), at(1));
    for event in [begun(), good()] {
        attempt.event(event, at(2));
    }
    assert_eq!(reason(&end(&mut attempt, ExitStatus::Code(0), at(3))), Some(FailureKind::Timeout));
    // A second result for the first turn does not answer the second, which was never sent.
    let mut attempt = in_turn(&["one", "two"]);
    attempt.stop(Failure::timeout(at(1), None), at(1));
    for event in [begun(), good(), begun(), good()] {
        attempt.event(event, at(2));
    }
    assert_eq!(attempt.progress.turns_done, 1);
    assert_eq!(reason(&end(&mut attempt, ExitStatus::Code(0), at(3))), Some(FailureKind::Timeout));
    // An attempt with two results for its last turn is completed.
    let mut attempt = in_turn(&["one"]);
    for event in [begun(), good(), begun(), good()] {
        attempt.event(event, at(2));
    }
    assert_eq!((attempt.progress.turns_done, end(&mut attempt, ExitStatus::Code(0), at(3))), (1, Verdict::Completed));
}

#[test]
fn endless_unsolicited_turns_end_at_the_timeout() {
    let unasked = || result(|result| result.is_unsolicited = true);
    let goes_on = |attempt: &mut Attempt, seconds| {
        attempt.event(begun(), at(seconds));
        attempt.event(unasked(), at(seconds));
        attempt.on_deadline(at(seconds))
    };
    // The timeout is at 100 s, and the grace period follows it.
    let mut attempt = in_turn(&["x"]);
    attempt.event(begun(), at(1));
    attempt.event(good(), at(1));
    let terminated = (2..200).find(|&seconds| goes_on(&mut attempt, seconds) == [AttemptAction::Terminate]);
    assert!(terminated.is_some_and(|seconds| (100..=106).contains(&seconds)), "{terminated:?}");
    let mut attempt = in_turn(&["x"]);
    attempt.event(begun(), at(1));
    attempt.event(good(), at(1));
    attempt.stop(Failure::interrupted("SIGTERM"), at(2));
    let terminated = (2..50).find(|&seconds| goes_on(&mut attempt, seconds) == [AttemptAction::Terminate]);
    assert!(terminated.is_some_and(|seconds| seconds <= 7), "{terminated:?}");
}

/// A message comes whole without `--include-partial-messages`, or from a claude that does not stream.
#[test]
fn budget_stops_after_an_unstreamed_message() {
    let mut attempt = in_turn(&["x"]);
    attempt.event(begun(), at(1));
    assert_eq!(attempt.stop_after_message(Failure::new(FailureKind::Budget, "over"), at(1)), []);
    let whole = match message_uses(&["id"]) {
        Event::Message(message) => Event::Message(Box::new(Message { is_start: false, ..*message })),
        other => other,
    };
    let actions = attempt.event(whole, at(2));
    assert_eq!(actions, [AttemptAction::Send(request::interrupt()), AttemptAction::CloseInput]);
}

fn commands(ids: &[&str]) -> Event {
    let task = |id: &&str| Task { id: (*id).to_owned(), description: format!("the {id}") };
    Event::BackgroundTasks { agents: 0, commands: ids.iter().map(task).collect() }
}

/// Answers the only turn of an instance while `./serve.sh` (task `s`) runs in the background.
fn answered_with_command(background: Background) -> (Attempt, Vec<AttemptAction>) {
    let of = Instance { background, ..instance(&["x"]) };
    let (mut attempt, _) = Attempt::start(&of, Prices::default(), GRACE, at(0));
    attempt.event(answer(&[]), at(1));
    attempt.event(begun(), at(1));
    let tools = vec![ToolUse { id: "t".into(), tool: "Bash".into(), input_summary: "./serve.sh".into() }];
    let Event::Message(message) = message_uses(&[]) else { panic!("a message") };
    attempt.event(Event::Message(Box::new(Message { tools, ..*message })), at(2));
    attempt.event(commands(&["s"]), at(2));
    attempt.event(Event::CommandInBackground { task_id: "s".into(), tool_use_id: "t".into() }, at(2));
    let ended = ToolResult { id: "t".into(), missing: None, leaves: Leaves::Command };
    attempt.event(Event::ToolResults { tools: vec![ended], of_subagent: false }, at(2));
    let actions = attempt.event(good(), at(10));
    (attempt, actions)
}

#[test]
fn background_command_is_awaited_and_its_turn_counts() {
    let (mut attempt, actions) = answered_with_command(Background::Wait);
    assert_eq!(actions, []);
    assert_eq!(attempt.progress.awaited, ["./serve.sh"]);
    assert_eq!(attempt.next_deadline(), Some(at(70)), "background_wait after the result");
    attempt.event(Event::TaskEnded, at(20));
    assert_eq!(attempt.event(commands(&[]), at(20)), [], "a turn follows");
    assert_eq!(attempt.next_deadline(), Some(at(25)));
    attempt.event(begun(), at(21));
    assert_eq!(attempt.progress.awaited, [""; 0]);
    assert_eq!(attempt.next_deadline(), Some(at(100)), "only the timeout ends a turn");
    let actions = attempt.event(
        result(|r| {
            r.is_unsolicited = true;
            r.text = "It is served.".into();
        }),
        at(22),
    );
    assert_eq!(actions, [AttemptAction::CloseInput]);
    assert_eq!(attempt.progress.result.as_deref(), Some("It is served."));
    assert_eq!(end(&mut attempt, ExitStatus::Code(0), at(23)), Verdict::Completed);
    assert_eq!(attempt.progress.background_stopped, [""; 0]);
}

#[test]
fn wait_for_a_follow_up_turn_is_bounded() {
    let (mut attempt, _) = answered_with_command(Background::Wait);
    attempt.event(Event::TaskEnded, at(20));
    attempt.event(commands(&[]), at(20));
    assert_eq!(attempt.on_deadline(at(25)), [AttemptAction::CloseInput]);
    // A turn that begins late still counts.
    attempt.event(begun(), at(26));
    attempt.event(result(|r| r.is_error = true), at(27));
    assert_eq!(reason(&end(&mut attempt, ExitStatus::Code(1), at(28))), Some(FailureKind::Error));
}

#[test]
fn background_wait_ends_and_lists_the_command() {
    let (mut attempt, _) = answered_with_command(Background::Wait);
    assert_eq!(attempt.on_deadline(at(70)), [AttemptAction::Send(request::stop_task("s")), AttemptAction::CloseInput]);
    // claude lists the command once more while it ends.
    attempt.event(commands(&["s"]), at(70));
    assert_eq!(end(&mut attempt, ExitStatus::Code(0), at(71)), Verdict::Completed);
    assert_eq!(attempt.progress.background_stopped, ["./serve.sh"]);
}

#[test]
fn background_policies_decide_at_the_result() {
    let stopped = [AttemptAction::Send(request::stop_task("s")), AttemptAction::CloseInput];
    let (mut attempt, actions) = answered_with_command(Background::Stop);
    assert_eq!(actions, stopped);
    assert_eq!(end(&mut attempt, ExitStatus::Code(0), at(11)), Verdict::Completed);
    assert_eq!(attempt.progress.background_stopped, ["./serve.sh"]);
    let (mut attempt, actions) = answered_with_command(Background::Fail);
    assert_eq!(actions, stopped);
    let verdict = end(&mut attempt, ExitStatus::Code(0), at(11));
    assert_eq!(reason(&verdict), Some(FailureKind::Unfinished));
    assert_eq!(error(&verdict), "Unfinished: still running in the background: ./serve.sh");
    assert_eq!(attempt.progress.background_stopped, ["./serve.sh"]);
}

/// The report must list everything that was cut off.
#[test]
fn stop_while_background_commands_run_fails_the_instance_and_lists_them() {
    let (mut attempt, _) = answered_with_command(Background::Wait);
    attempt.stop(Failure::timeout(at(100), None), at(30));
    // The interrupt ends the command, after the last turn was answered.
    attempt.event(commands(&[]), at(30));
    assert_eq!(reason(&end(&mut attempt, ExitStatus::Code(0), at(31))), Some(FailureKind::Timeout));
    assert_eq!(attempt.progress.background_stopped, ["./serve.sh"]);
    let (mut attempt, _) = answered_with_command(Background::Wait);
    let verdict = end(&mut attempt, ExitStatus::Code(0), at(31));
    assert_eq!(error(&verdict), "claude ended while its background commands were running");
    assert_eq!(attempt.progress.background_stopped, ["./serve.sh"]);
    // During the last turn: its result arrives after the interrupt, and the command was still cut off.
    let mut attempt = in_turn(&["x"]);
    attempt.event(commands(&["s"]), at(2));
    attempt.stop(Failure::interrupted("SIGINT"), at(3));
    attempt.event(good(), at(3));
    assert_eq!(reason(&end(&mut attempt, ExitStatus::Code(0), at(4))), Some(FailureKind::Interrupted));
    assert_eq!(attempt.progress.background_stopped, ["the s"]);
}

#[test]
fn pending_wakeup_is_background_work() {
    let scheduled = |leaves| {
        let tools = vec![ToolResult { id: "w".into(), missing: None, leaves }];
        Event::ToolResults { tools, of_subagent: false }
    };
    let wakeup = || {
        let mut attempt = in_turn(&["x"]);
        attempt.event(begun(), at(1));
        let tools = vec![ToolUse { id: "w".into(), tool: "ScheduleWakeup".into(), input_summary: "Look again".into() }];
        let Event::Message(message) = message_uses(&[]) else { panic!("a message") };
        attempt.event(Event::Message(Box::new(Message { tools, ..*message })), at(2));
        attempt
    };
    let mut attempt = wakeup();
    attempt.event(scheduled(Leaves::WakeUp), at(2));
    assert_eq!(attempt.event(good(), at(3)), []);
    assert_eq!(attempt.progress.awaited, ["wake-up: Look again"]);
    attempt.event(Event::WokeUp, at(40));
    attempt.event(begun(), at(40));
    assert_eq!(attempt.event(good(), at(41)), [AttemptAction::CloseInput]);
    assert_eq!((attempt.progress.turns_done, end(&mut attempt, ExitStatus::Code(0), at(42))), (1, Verdict::Completed));
    let mut attempt = wakeup();
    attempt.event(scheduled(Leaves::WakeUp), at(2));
    attempt.event(scheduled(Leaves::NoWakeUp), at(3));
    assert_eq!(attempt.event(good(), at(3)), [AttemptAction::CloseInput], "it was cancelled");
}

/// 2.0 and 1.0 report that a command continues, but not when it ends: zen lists only commands alive at the end.
#[test]
fn commands_of_older_generations_are_listed_if_they_outlive_claude() {
    for (background, expected) in [(Background::Wait, None), (Background::Fail, Some(FailureKind::Unfinished))] {
        let of = Instance { background, ..instance(&["x"]) };
        let (mut attempt, _) = Attempt::start(&of, Prices::default(), GRACE, at(0));
        attempt.event(answer(&[]), at(1));
        attempt.event(message_uses(&["t"]), at(2));
        let ended = ToolResult { id: "t".into(), missing: None, leaves: Leaves::Command };
        attempt.event(Event::ToolResults { tools: vec![ended], of_subagent: false }, at(2));
        assert_eq!(attempt.event(good(), at(3)), [AttemptAction::CloseInput]);
        assert_eq!(end(&mut attempt, ExitStatus::Code(0), at(4)), Verdict::Completed);
        attempt.left_processes();
        assert_eq!(reason(&attempt.verdict()), expected);
        assert_eq!(attempt.progress.background_stopped, ["ls"]);
    }
}
