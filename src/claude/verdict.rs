//! What a turn's result means. claude's `success` can be an error and its exit status says nothing, so the fields of the
//! result decide, and never a search in its text: file contents and answers speak of limits and errors too.

use super::events::{Retry, TurnResult};
use crate::outcome::{Failure, Reason};

/// So begins a line about claude's own inner state, among the errors of 2.1.
const DIAGNOSTIC: &str = "[ede_diagnostic]";

/// What a turn came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// It did its work.
    Good,
    /// It was ended before it had.
    Interrupted,
    /// It failed.
    Bad(Failure),
}

/// Judges the result of a turn. `limit_rejected` tells of a rejected rate-limit event in the same turn, and when the limit ends.
#[must_use]
pub fn judge(result: &TurnResult, limit_rejected: Option<Option<u64>>) -> Judgement {
    if is_interruption(result) {
        return Judgement::Interrupted;
    }
    if result.subtype == "success" && !result.is_error {
        return Judgement::Good;
    }
    let error = words(result);
    Judgement::Bad(match result.subtype.as_str() {
        _ if limit_rejected.is_some() || result.api_error.as_deref() == Some("usage_limit_reached") => {
            Failure::new(Reason::Limit, error)
        }
        "error_max_budget_usd" => Failure::new(Reason::Budget, error),
        _ if is_refused_login(result) => authentication(&error),
        _ => Failure::new(Reason::Error, error),
    })
}

/// The older generations have no field for it: of an error, the text is claude's own.
fn is_refused_login(result: &TurnResult) -> bool {
    let is_told = result.api_error_status.is_none() && result.is_error && result.text.starts_with("API Error: 401 ");
    is_told || result.api_error_status == Some(401)
}

/// What was said in a turn, by the model or by claude of what went wrong; not what claude notes for those who write it.
#[must_use]
pub fn said(result: &TurnResult) -> String {
    if !result.text.is_empty() {
        return result.text.clone();
    }
    let errors: Vec<&str> = result.errors.iter().map(String::as_str).filter(|e| !e.starts_with(DIAGNOSTIC)).collect();
    errors.join("\n")
}

/// The older generations call an interruption an error during execution that is no error; 2.1 names its reason.
fn is_interruption(result: &TurnResult) -> bool {
    match &result.terminal_reason {
        Some(reason) => reason.starts_with("aborted"),
        None => result.subtype == "error_during_execution" && !result.is_error,
    }
}

/// Whether claude will try for minutes what cannot come to anything.
#[must_use]
pub fn is_hopeless(retry: &Retry) -> Option<Failure> {
    let hopeless = retry.status == Some(401) || retry.error == "authentication_failed";
    hopeless.then(|| authentication(&format!("the API answered {}", retry.status.unwrap_or(401))))
}

fn authentication(what: &str) -> Failure {
    let way_out = "log in (run claude once and type /login) or set ANTHROPIC_API_KEY";
    Failure::hopeless(Reason::Error, format!("Authentication failed: {what}: {way_out}"))
}

/// What went wrong, in claude's words.
fn words(result: &TurnResult) -> String {
    let said = if result.errors.is_empty() { result.text.clone() } else { result.errors.join("; ") };
    match (result.subtype.as_str(), said.trim()) {
        ("success" | "", "") => "claude reported an error and no reason".to_owned(),
        ("success" | "", said) => said.to_owned(),
        (subtype, "") => subtype.to_owned(),
        (subtype, said) => format!("{subtype}: {said}"),
    }
}
