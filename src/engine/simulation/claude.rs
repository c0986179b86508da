//! A fake claude: random answers to the messages of zen, as decoded events with delays.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Random;
use crate::claude::protocol::{
    Denial, Event, InitializeError, Leaves, Message, Task, ToolResult, ToolUse, TurnResult, request,
};
use crate::claude::slash_commands::Commands;
use crate::claude::tokens::Tokens;
use crate::claude::usage_meter::{ModelUsage, ReportedUsage};
use crate::engine::outcome::ExitStatus;

/// Wall-clock time at the start of each run.
pub(super) const EPOCH_MS: u64 = 1_700_000_000_000;

/// Something that a fake process does.
#[derive(Debug)]
pub(super) enum Deed {
    /// Prints a line. The tokens are the usage that it adds.
    Print(Event, u64),
    /// Prints a line over the size limit.
    PrintOversized,
    /// Prints an error to stderr.
    Complain(&'static str),
    /// Closes stdout and lives on.
    CloseStdout,
    /// Closes stdin and lives on.
    CloseStdin,
    Exit(ExitStatus),
}

/// Deeds, each with a delay after the message that causes it.
pub(super) type Deeds = Vec<(Duration, Deed)>;

fn ms(random: &mut Random, bound: usize) -> Duration {
    Duration::from_millis(1 + random.below(bound) as u64)
}

/// Returns a delay, mostly short, and rarely beyond any timeout.
fn delay(random: &mut Random) -> Duration {
    match random.below(30) {
        0 => ms(random, 400_000),
        1..=4 => ms(random, 60_000),
        _ => ms(random, 2_000),
    }
}

/// Behavior of an instance in a run without faults.
#[derive(Clone, Copy)]
pub(super) struct Script {
    /// Number of attempts that fail before one completes.
    pub(super) failures: u32,
    /// True if a failure is permanent.
    pub(super) is_permanent: bool,
    /// Duration of an attempt.
    pub(super) duration: Duration,
    /// Delay of the first message; `None` if there is none.
    pub(super) first_message: Option<Duration>,
}

/// Tokens that a scripted attempt uses.
pub(super) const SCRIPTED_TOKENS: u64 = 1_000;

/// Returns the turn of a script in attempt number `attempt`, counted from 1.
pub(super) fn scripted_turn(script: &Script, attempt: u32, serial: &mut u64) -> Deeds {
    *serial += 1;
    let tokens = Tokens { input: SCRIPTED_TOKENS, ..Tokens::default() };
    let mut deeds = vec![(Duration::ZERO, Deed::Print(init(), 0))];
    if let Some(after) = script.first_message {
        let start = message_start(format!("message {serial}"), tokens, Vec::new());
        deeds.push((after, Deed::Print(start, SCRIPTED_TOKENS)));
    }
    let rest = if script.first_message.is_some() { 0 } else { SCRIPTED_TOKENS };
    let result = result(tokens, |result| {
        if attempt <= script.failures {
            fail(result, "failed");
            result.api_error_status = Some(if script.is_permanent { 400 } else { 500 });
        }
    });
    deeds.push((script.duration, Deed::Print(result, rest)));
    deeds
}

/// Returns the response to `initialize`.
pub(super) fn ready() -> Event {
    response(Ok(Commands::new(vec!["clear".to_owned(), "x".to_owned()])))
}

fn response(commands: Result<Commands, InitializeError>) -> Event {
    let request_id = request::INITIALIZE_ID.to_owned();
    Event::InitializeResponse { request_id, commands, prices: Vec::new(), reports_usage: true }
}

/// Returns a random response to `initialize`.
pub(super) fn initialize(random: &mut Random) -> Deeds {
    let response = if random.one_in(40) { response(Err(InitializeError::NoReason)) } else { ready() };
    let after = delay(random);
    match random.below(40) {
        0 => vec![(after, Deed::Exit(ExitStatus::Code(1)))],
        1 => Vec::new(), // hangs
        2 => vec![(after, Deed::Complain("No conversation found with session ID: x\n")), exit(after, random)],
        3 => vec![(after, Deed::Complain("Session ID x is already in use.\n")), exit(after, random)],
        _ => vec![(after, Deed::Print(response, 0))],
    }
}

fn exit(after: Duration, random: &mut Random) -> (Duration, Deed) {
    (after + ms(random, 50), Deed::Exit(ExitStatus::Code(i32::try_from(random.below(2)).unwrap_or(0))))
}

/// Returns a whole turn. `serial` makes the ids unique.
pub(super) fn turn(random: &mut Random, serial: &mut u64) -> Deeds {
    let mut deeds = Deeds::new();
    let mut at = ms(random, 200);
    deeds.push((at, Deed::Print(init(), 0)));
    let mut total = Tokens::default();
    for _ in 0..random.below(4) {
        at += delay(random);
        total += message(&mut deeds, &mut at, random, serial);
    }
    match random.below(60) {
        0 => deeds.push((at, Deed::PrintOversized)),
        1 => deeds.push((at, Deed::Print(Event::Invalid, 0))),
        2 => deeds.push((at, Deed::Print(Event::MalformedResult, 0))),
        3 => deeds.push((at, Deed::CloseStdout)),
        4 => deeds.push((at, Deed::CloseStdin)),
        5 => deeds.push(exit(at, random)),
        6 => return deeds, // hangs
        _ => {}
    }
    if random.one_in(10) {
        let task = Task { id: format!("task {serial}"), description: "sleep".to_owned() };
        let ends = random.one_in(2);
        deeds.push((at, Deed::Print(Event::BackgroundTasks { agents: random.below(2), commands: vec![task] }, 0)));
        if ends {
            let later = at + delay(random);
            deeds.push((later, Deed::Print(Event::TaskEnded, 0)));
            deeds.push((later, Deed::Print(Event::BackgroundTasks { agents: 0, commands: Vec::new() }, 0)));
        }
    }
    if random.one_in(40) {
        let ahead = [None, Some(EPOCH_MS / 1000 + random.below(40_000) as u64)][random.below(2)];
        deeds.push((at, Deed::Print(Event::RateLimit { rejected: true, resets_at: ahead }, 0)));
        deeds.push((at, Deed::Print(result(total, limited), 0)));
        return deeds;
    }
    at += delay(random);
    let kind = random.below(30);
    let change = move |result: &mut TurnResult| match kind {
        0 => fail(result, "API Error: 500"),
        1 => fail(result, "API Error: 400"),
        2 => {
            fail(result, "API Error: 403");
            result.api_error_status = Some(403);
        }
        3 => result.permission_denials.push(Denial { tool: "Bash".to_owned(), input_summary: String::new() }),
        4 => result.used_model = false,
        _ => {}
    };
    deeds.push((at, Deed::Print(result(total, change), 0)));
    deeds
}

fn message(deeds: &mut Deeds, at: &mut Duration, random: &mut Random, serial: &mut u64) -> Tokens {
    *serial += 1;
    let (input, output) = (1 + random.below(1_500) as u64, 1 + random.below(500) as u64);
    let tool = ToolUse { id: format!("tool {serial}"), tool: "Bash".to_owned(), input_summary: "ls".to_owned() };
    let uses_tools = random.one_in(2);
    let tools = if uses_tools { vec![tool.clone()] } else { Vec::new() };
    let start = message_start(format!("message {serial}"), Tokens { input, ..Tokens::default() }, tools);
    deeds.push((*at, Deed::Print(start, input)));
    *at += ms(random, 2_000);
    let tokens = Tokens { output, ..Tokens::default() };
    deeds.push((*at, Deed::Print(Event::MessageDelta { tokens, uses_tools, ended: true, paused: false }, output)));
    deeds.push((*at, Deed::Print(Event::MessageStop, 0)));
    if uses_tools {
        *at += delay(random);
        let result = ToolResult { id: tool.id, missing: None, leaves: Leaves::Nothing };
        deeds.push((*at, Deed::Print(Event::ToolResults { tools: vec![result], of_subagent: false }, 0)));
    }
    Tokens { input, output, ..Tokens::default() }
}

fn message_start(id: String, tokens: Tokens, tools: Vec<ToolUse>) -> Event {
    Event::Message(Box::new(Message {
        id: Some(id),
        model: "m".to_owned(),
        tokens,
        from_subagent: false,
        is_start: true,
        content: Vec::new(),
        tools,
        error: None,
    }))
}

fn init() -> Event {
    Event::Init { session_id: Some("id".to_owned()), model: None, permission_mode: None, mcp_failed: Vec::new() }
}

fn limited(result: &mut TurnResult) {
    fail(result, "You've hit your limit");
    result.api_error = Some("usage_limit_reached".to_owned());
}

fn fail(result: &mut TurnResult, text: &str) {
    result.is_error = true;
    text.clone_into(&mut result.text);
}

/// Returns the result of a turn that used this number of tokens.
fn result(tokens: Tokens, change: impl FnOnce(&mut TurnResult)) -> Event {
    let usage = ModelUsage { tokens, micros: 0 };
    let mut result = TurnResult {
        subtype: "success".to_owned(),
        is_error: false,
        text: "done".to_owned(),
        errors: Vec::new(),
        is_unsolicited: false,
        session_id: None,
        terminal_reason: None,
        stop_reason: None,
        safety_stops: 0,
        stopped_by_permission_check: false,
        interrupted_by_shutdown: false,
        used_model: tokens.total() > 0,
        api_error_status: None,
        api_error: None,
        settlement: ReportedUsage::Delta(BTreeMap::from([("m".to_owned(), usage)])),
        permission_denials: Vec::new(),
        denied_ids: Vec::new(),
    };
    change(&mut result);
    Event::Result(Box::new(result))
}

/// Returns the reaction to a closed stdin, to SIGTERM or to SIGKILL; empty if the process ignores it.
pub(super) fn exit_after(random: &mut Random, ignores_one_in: usize, status: ExitStatus) -> Deeds {
    if random.one_in(ignores_one_in) {
        return Vec::new();
    }
    vec![(ms(random, 3_000), Deed::Exit(status))]
}
