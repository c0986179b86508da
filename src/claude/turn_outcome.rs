//! Classification of a turn's result.
//!
//! claude's `success` can be an error and its exit status proves nothing, so the fields of the result decide. Text
//! decides only if claude marks the result as an error: an answer can mention limits and errors too.

use crate::claude::protocol::{Denial, Retry, TurnResult};

/// Prefix of a diagnostic line about claude's internal state, among the errors of 2.1.
const DIAGNOSTIC: &str = "[ede_diagnostic]";

/// Number of consecutive refused logins after which the turn fails.
///
/// claude recovers from fewer: another process may renew the token.
pub const MAX_REFUSED_LOGINS: u32 = 4;

/// Outcome of one turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TurnOutcome {
    /// The turn did its work.
    Succeeded,
    /// The turn was interrupted before it had done its work.
    Interrupted,
    /// The turn failed.
    Failed(TurnError),
}

/// Error of a turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnError {
    /// Kind of the error.
    pub kind: TurnErrorKind,
    /// Error message of one sentence, usually claude's own.
    pub message: String,
    /// True if another attempt would fail in the same way.
    pub is_permanent: bool,
}

/// Kind of a turn's error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TurnErrorKind {
    /// Any error that no other kind describes.
    Error,
    /// The usage limit of the account is reached.
    UsageLimit,
    /// claude's own limit in dollars (`--max-budget-usd`) is reached.
    Budget,
    /// The API refuses the account: its login, its permission or its credit.
    Account,
}

impl TurnError {
    /// Returns an error that another attempt may not have.
    #[must_use]
    pub fn new(kind: TurnErrorKind, message: impl Into<String>) -> Self {
        TurnError { kind, message: message.into(), is_permanent: false }
    }

    /// Returns an error that another attempt would have too.
    #[must_use]
    pub fn permanent(kind: TurnErrorKind, message: impl Into<String>) -> Self {
        TurnError { is_permanent: true, ..TurnError::new(kind, message) }
    }
}

/// Facts about a turn that its result does not carry.
#[derive(Clone, Copy, Debug, Default)]
pub struct TurnFacts<'a> {
    /// End of the usage limit that a rate-limit event of the turn announced, if one did.
    pub limit_rejected: Option<Option<u64>>,
    /// claude's code for the API error that its last message reported.
    pub api_error: Option<&'a str>,
    /// True if the API paused the turn's last message.
    pub paused: bool,
    /// `safety_stops` of the previous result.
    pub safety_stops_before: u64,
}

/// Meaning of a field's value in a result that reports success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// The turn was completed.
    Done,
    /// The turn was interrupted.
    Interrupted,
    /// The turn was not completed; a retry may succeed.
    NotDone(&'static str),
    /// The turn was not completed, and a retry would fail too.
    Permanent(&'static str),
}

/// All fields and values of a 2.1.332 result that can mean that the work is not done.
///
/// The values of `terminal_reason` are all that the program contains. An unlisted value counts as done. The unlisted
/// fields contain costs, times, ids, the answer (`result`, `structured_output`), or the state of the account
/// (`fast_mode_state`, `credential_expires_at`). `is_error`, `subtype` and `api_error…` are handled in [`classify`],
/// `permission_denials` and `queued_turn_count` in the conversation. `deferred_tool_use` occurs with `tool_deferred`;
/// `stop_reason: tool_use` is the normal end of an answer with a schema.
pub const DECISIONS: &[(&str, &str, Meaning)] = &[
    ("terminal_reason", "completed", Meaning::Done),
    ("terminal_reason", "aborted_streaming", Meaning::Interrupted),
    ("terminal_reason", "aborted_tools", Meaning::Interrupted),
    ("terminal_reason", "stop_hook_prevented", Meaning::NotDone("a Stop hook ended the turn")),
    ("terminal_reason", "hook_stopped", Meaning::NotDone("a hook ended the turn")),
    ("terminal_reason", "tool_deferred", Meaning::NotDone("a tool call was deferred and never made")),
    ("terminal_reason", "tool_deferred_unavailable", Meaning::NotDone("a deferred tool is not available any more")),
    ("terminal_reason", "background_requested", Meaning::NotDone("the turn was moved to the background")),
    ("terminal_reason", "max_turns", Meaning::NotDone("the maximum number of turns was reached")),
    ("terminal_reason", "budget_exhausted", Meaning::NotDone("claude's own budget was reached")),
    ("terminal_reason", "blocking_limit", Meaning::Permanent("the conversation is too long for the model")),
    ("terminal_reason", "prompt_too_long", Meaning::Permanent("the prompt is too long for the model")),
    ("terminal_reason", "rapid_refill_breaker", Meaning::NotDone("the context filled up again after each compaction")),
    ("terminal_reason", "image_error", Meaning::Permanent("an image or attachment could not be sent")),
    ("terminal_reason", "model_error", Meaning::NotDone("the model failed")),
    ("terminal_reason", "api_error", Meaning::NotDone("the API failed")),
    ("terminal_reason", "malformed_tool_use_exhausted", Meaning::NotDone("the model wrote malformed tool calls")),
    (
        "terminal_reason",
        "structured_output_retry_exhausted",
        Meaning::NotDone("the model gave no answer that fits the schema"),
    ),
    ("terminal_reason", "turn_setup_failed", Meaning::NotDone("claude could not begin the turn")),
    ("stop_reason", "end_turn", Meaning::Done),
    ("stop_reason", "stop_sequence", Meaning::Done),
    ("stop_reason", "tool_use", Meaning::Done),
    (
        "stop_reason",
        "pause_turn",
        Meaning::NotDone("the API paused the turn (pause_turn) and claude did not continue it"),
    ),
    ("stop_reason", "max_tokens", Meaning::NotDone("the answer was cut off at the maximum of output tokens")),
    ("stop_reason", "refusal", Meaning::NotDone("the model refused to answer")),
    ("stop_reason", "model_context_window_exceeded", Meaning::NotDone("the context window of the model is full")),
    ("stopped_by_permission_check", "true", Meaning::NotDone("a permission check of claude ended the turn")),
    ("interrupted_by_shutdown", "true", Meaning::NotDone("a shutdown of claude's host ended the turn")),
    ("safety_stops", "more than before", Meaning::NotDone("a safety system stopped a model call of the turn")),
];

/// Looks up a field's value in [`DECISIONS`].
fn meaning(field: &str, value: &str) -> Meaning {
    for (known_field, known_value, meaning) in DECISIONS {
        if *known_field == field && *known_value == value {
            return *meaning;
        }
    }
    Meaning::Done
}

/// Returns the first meaning of this result that is not [`Meaning::Done`], else `Done`.
fn decision(result: &TurnResult, facts: TurnFacts) -> Meaning {
    let stop_reason = result.stop_reason.as_deref().or(facts.paused.then_some("pause_turn"));
    let values = [
        ("stopped_by_permission_check", result.stopped_by_permission_check.then_some("true")),
        ("interrupted_by_shutdown", result.interrupted_by_shutdown.then_some("true")),
        ("terminal_reason", result.terminal_reason.as_deref()),
        ("stop_reason", stop_reason),
        ("safety_stops", (result.safety_stops > facts.safety_stops_before).then_some("more than before")),
    ];
    for (field, value) in values {
        let meaning = value.map_or(Meaning::Done, |value| meaning(field, value));
        if meaning != Meaning::Done {
            return meaning;
        }
    }
    Meaning::Done
}

/// Classifies the result of a turn.
#[must_use]
pub fn classify(result: &TurnResult, facts: TurnFacts) -> TurnOutcome {
    if is_interruption(result) {
        return TurnOutcome::Interrupted;
    }
    if result.subtype != "success" || result.is_error {
        return TurnOutcome::Failed(turn_error(result, facts));
    }
    match decision(result, facts) {
        Meaning::Done => TurnOutcome::Succeeded,
        Meaning::Interrupted => TurnOutcome::Interrupted,
        Meaning::NotDone(reason) => TurnOutcome::Failed(TurnError::new(TurnErrorKind::Error, reason)),
        Meaning::Permanent(reason) => TurnOutcome::Failed(TurnError::permanent(TurnErrorKind::Error, reason)),
    }
}

/// Returns the error of a result that claude marks as an error.
fn turn_error(result: &TurnResult, facts: TurnFacts) -> TurnError {
    let error = error_message(result);
    if reports_usage_limit(result, facts) {
        return TurnError::new(TurnErrorKind::UsageLimit, error);
    }
    if result.subtype == "error_max_budget_usd" {
        return TurnError::new(TurnErrorKind::Budget, error);
    }
    let status = api_status(result);
    if status == Some(401) {
        return authentication(&error);
    }
    let is_account = matches!(status, Some(402 | 403))
        || matches!(facts.api_error, Some("billing_error" | "authentication_failed"))
        || result.text.starts_with("Credit balance is too low");
    if is_account {
        return TurnError::permanent(TurnErrorKind::Account, error);
    }
    let is_permanent = matches!(status, Some(400 | 404 | 413))
        || facts.api_error == Some("model_not_found")
        || result.text.starts_with("Prompt is too long")
        || matches!(decision(result, facts), Meaning::Permanent(_));
    TurnError { is_permanent, ..TurnError::new(TurnErrorKind::Error, error) }
}

/// Returns true if this error is the account's usage limit.
///
/// A limit stops other instances, so the event that announces it is not enough: the result must also report a refused
/// request.
fn reports_usage_limit(result: &TurnResult, facts: TurnFacts) -> bool {
    let is_refused = api_status(result) == Some(429) || result.text.starts_with("You've hit your ");
    result.api_error.as_deref() == Some("usage_limit_reached") || (facts.limit_rejected.is_some() && is_refused)
}

/// Returns the HTTP status of the error.
///
/// The older generations have no field for it, but the text of an error is claude's own and contains it.
fn api_status(result: &TurnResult) -> Option<u64> {
    if result.api_error_status.is_some() || !result.is_error {
        return result.api_error_status;
    }
    let status = result.text.strip_prefix("API Error: ")?.split_whitespace().next()?.parse().ok()?;
    if (400..600).contains(&status) { Some(status) } else { None }
}

/// Returns the text of a turn: the model's answer, or claude's error messages without diagnostic lines.
#[must_use]
pub fn result_text(result: &TurnResult) -> String {
    if !result.text.is_empty() {
        return result.text.clone();
    }
    let errors: Vec<&str> = result.errors.iter().map(String::as_str).filter(|e| !e.starts_with(DIAGNOSTIC)).collect();
    errors.join("\n")
}

/// Returns true if the turn was interrupted.
///
/// The older generations report `error_during_execution` with `is_error: false`; 2.1 has a `terminal_reason`.
fn is_interruption(result: &TurnResult) -> bool {
    match &result.terminal_reason {
        Some(reason) => {
            meaning("terminal_reason", reason) == Meaning::Interrupted && !result.stopped_by_permission_check
        }
        None => result.subtype == "error_during_execution" && !result.is_error,
    }
}

/// Returns true if the API refused the login in this retry.
#[must_use]
pub fn is_refused_login(retry: &Retry) -> bool {
    retry.status == Some(401) || retry.error == "authentication_failed"
}

/// Returns the error of a login that the API refused [`MAX_REFUSED_LOGINS`] times.
#[must_use]
pub fn refused_logins(retry: &Retry) -> TurnError {
    authentication(&format!("the API answered {} {MAX_REFUSED_LOGINS} times", retry.status.unwrap_or(401)))
}

fn authentication(problem: &str) -> TurnError {
    let hint = "log in (run claude once and type /login) or set ANTHROPIC_API_KEY";
    TurnError::permanent(TurnErrorKind::Account, format!("Authentication failed: {problem}: {hint}"))
}

/// Returns claude's error message.
fn error_message(result: &TurnResult) -> String {
    let message = if result.errors.is_empty() { result.text.clone() } else { result.errors.join("; ") };
    match (result.subtype.as_str(), message.trim()) {
        ("success" | "", "") => "claude reported an error and no reason".to_owned(),
        ("success" | "", message) => message.to_owned(),
        (subtype, "") => subtype.to_owned(),
        (subtype, message) => format!("{subtype}: {message}"),
    }
}

/// Returns the error of a turn that reports success without a request to the model.
///
/// A hook blocked the turn, or a `` !`bash` `` line of its command failed. The text is claude's own (2.1); the older
/// generations have none.
#[must_use]
pub fn without_model(result: &TurnResult) -> TurnError {
    const PROMPT: &str = "Original prompt:";
    let text = result.text.split(PROMPT).next().unwrap_or_default();
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    match lines.join(" ") {
        text if text.is_empty() => TurnError::new(
            TurnErrorKind::Error,
            "claude ended the turn without a request to the model and gave no reason: a hook may have blocked it, or a \
             !`bash` line of the command failed",
        ),
        text if refused_shell_command(result).is_some() => TurnError::permanent(TurnErrorKind::Error, text),
        text => TurnError::new(TurnErrorKind::Error, text),
    }
}

/// Returns the refused `` !`bash` `` line of a command, parsed from the text of a turn without a model (2.1).
#[must_use]
pub fn refused_shell_command(result: &TurnResult) -> Option<Denial> {
    let text = result.text.strip_prefix("Shell command permission check failed for pattern \"")?;
    let pattern = text.split("\": ").next().unwrap_or(text);
    let command = pattern.trim_start_matches(['!', '`']).trim_end_matches(['`', '"']);
    Some(Denial { tool: "Bash".to_owned(), input_summary: command.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claude::protocol::{Event, decode};

    /// Returns a result of 2.1 that reports success, with these fields.
    fn result(fields: &str) -> TurnResult {
        let line = format!(
            r#"{{"type":"result","subtype":"success","is_error":false,"num_turns":1,"result":"ok",
            "model_usage_since_last_result":{{"m":{{"inputTokens":1}}}}{fields}}}"#
        );
        match decode(line.as_bytes()) {
            Event::Result(result) => *result,
            other => panic!("no result: {other:?}"),
        }
    }

    fn error(text: &str, status: &str) -> TurnResult {
        result(&format!(r#","is_error":true,"result":"{text}","api_error_status":{status}"#))
    }

    #[test]
    fn every_row_of_the_table_decides() {
        for &(field, value, meaning) in DECISIONS {
            let fields = match field {
                "terminal_reason" | "stop_reason" => format!(r#","{field}":"{value}""#),
                "safety_stops" => r#","safety_stops":2"#.to_owned(),
                _ => format!(r#","{field}":{value}"#),
            };
            let facts = TurnFacts { safety_stops_before: 1, ..TurnFacts::default() };
            let expected = match meaning {
                Meaning::Done => TurnOutcome::Succeeded,
                Meaning::Interrupted => TurnOutcome::Interrupted,
                Meaning::NotDone(reason) => TurnOutcome::Failed(TurnError::new(TurnErrorKind::Error, reason)),
                Meaning::Permanent(reason) => TurnOutcome::Failed(TurnError::permanent(TurnErrorKind::Error, reason)),
            };
            assert_eq!(classify(&result(&fields), facts), expected, "{field} {value}");
        }
    }

    #[test]
    fn unknown_values_and_old_safety_stops_decide_nothing() {
        let fields = r#","terminal_reason":"new","stop_reason":"newer","safety_stops":2"#;
        let facts = TurnFacts { safety_stops_before: 2, ..TurnFacts::default() };
        assert_eq!(classify(&result(fields), facts), TurnOutcome::Succeeded);
    }

    #[test]
    fn paused_message_of_an_older_generation_is_not_done() {
        let facts = TurnFacts { paused: true, ..TurnFacts::default() };
        assert!(matches!(classify(&result(""), facts), TurnOutcome::Failed(_)));
    }

    #[test]
    fn permission_check_that_aborts_is_a_failure_of_its_own() {
        let fields = r#","terminal_reason":"aborted_tools","stopped_by_permission_check":true"#;
        let outcome = classify(&result(fields), TurnFacts::default());
        assert!(
            matches!(&outcome, TurnOutcome::Failed(failure) if failure.message.contains("permission check")),
            "{outcome:?}"
        );
    }

    #[test]
    fn errors_are_classified() {
        let word = |api_error| TurnFacts { api_error: Some(api_error), ..TurnFacts::default() };
        let none = TurnFacts::default();
        for (text, status, facts, reason, is_hopeless) in [
            ("API Error: 400 scripted", "400", none, TurnErrorKind::Error, true),
            ("API Error: 400 {}", "null", none, TurnErrorKind::Error, true),
            ("There's an issue with the selected model", "404", none, TurnErrorKind::Error, true),
            ("Prompt is too long", "null", none, TurnErrorKind::Error, true),
            ("Request too large", "413", none, TurnErrorKind::Error, true),
            ("API Error: 500 x", "500", none, TurnErrorKind::Error, false),
            ("it broke", "null", none, TurnErrorKind::Error, false),
            ("Credit balance is too low", "400", word("billing_error"), TurnErrorKind::Account, true),
            ("Credit balance is too low", "null", none, TurnErrorKind::Account, true),
            ("Failed to authenticate. API Error: 403 x", "403", none, TurnErrorKind::Account, true),
            ("API Error: 401 x", "null", none, TurnErrorKind::Account, true),
            ("Not logged in", "null", word("authentication_failed"), TurnErrorKind::Account, true),
        ] {
            let TurnOutcome::Failed(failure) = classify(&error(text, status), facts) else {
                panic!("{text} is an error")
            };
            assert_eq!((failure.kind, failure.is_permanent), (reason, is_hopeless), "{text}");
        }
        let quoted = result(r#","result":"Credit balance is too low""#);
        assert_eq!(classify(&quoted, none), TurnOutcome::Succeeded, "text of the model decides nothing");
    }

    #[test]
    fn announced_usage_limit_counts_only_if_the_result_reports_it() {
        let announced = TurnFacts { limit_rejected: Some(None), ..TurnFacts::default() };
        for (result, facts, reason) in [
            (error("API Error: 500 x", "500"), announced, TurnErrorKind::Error),
            (error("it broke", "null"), announced, TurnErrorKind::Error),
            (error("API Error: 429 x", "429"), TurnFacts::default(), TurnErrorKind::Error),
            (error("API Error: 429 x", "429"), announced, TurnErrorKind::UsageLimit),
            (error("You've hit your 5-hour limit", "null"), announced, TurnErrorKind::UsageLimit),
            (
                self::result(r#","is_error":true,"api_error":"usage_limit_reached""#),
                TurnFacts::default(),
                TurnErrorKind::UsageLimit,
            ),
        ] {
            let TurnOutcome::Failed(failure) = classify(&result, facts) else { panic!("{} is an error", result.text) };
            assert_eq!(failure.kind, reason, "{}", result.text);
        }
        assert_eq!(classify(&result(""), announced), TurnOutcome::Succeeded);
    }

    #[test]
    fn refused_shell_line_is_parsed() {
        let text =
            "Shell command permission check failed for pattern \"!`date -u`\": Permission to use Bash has been denied.";
        let refused = TurnResult { text: text.to_owned(), ..result("") };
        assert_eq!(
            refused_shell_command(&refused),
            Some(Denial { tool: "Bash".into(), input_summary: "date -u".into() })
        );
        assert!(without_model(&refused).is_permanent);
        assert_eq!(refused_shell_command(&result("")), None);
    }

    #[test]
    fn blocked_prompt_is_not_repeated_in_the_error() {
        let text = "UserPromptSubmit operation blocked by hook:\n[x]: no\n\n\nOriginal prompt: hello";
        let blocked = TurnResult { text: text.to_owned(), ..result("") };
        assert_eq!(without_model(&blocked).message, "UserPromptSubmit operation blocked by hook: [x]: no");
    }
}
