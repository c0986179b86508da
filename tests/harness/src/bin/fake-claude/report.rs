//! The end of a turn: its verdict, and the result line that tells of it.

use crate::generation::Generation;
use crate::money::Totals;
use crate::refusals::api_error_type;
use crate::templates::{Templates, replace, text_block};
use crate::turn::Turn;
use crate::{Claude, log};
use serde_json::{Value, json};

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Success,
    Interrupted,
    MaxTurns,
    OverBudget,
    /// The API refused for good. `kind` is its name in 2.1.
    ApiError {
        status: u16,
        text: String,
    },
    UsageLimit {
        resets_at: u64,
        text: String,
    },
    /// `[[error TEXT]]`
    Error(String),
    /// `[[subtype NAME]]`
    Subtype(String),
}

/// How many results the turn brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reports {
    None,
    One,
    Two,
}

impl Claude {
    /// After an interrupt: what was under way is closed, as far as the generation tells of it.
    pub fn abort(&mut self, turn: &mut Turn) {
        let cut_off = turn.open.as_ref().map(|open| (open.id.clone(), open.tokens, open.index));
        self.bill_open_message(turn);
        let text = if turn.interrupted_tool {
            "[Request interrupted by user for tool use]"
        } else {
            "[Request interrupted by user]"
        };
        let mut line = self.templates.user_text();
        line["message"]["content"] = text_block(text);
        self.emit(line);
        turn.messages += 1;
        turn.user_messages += 1;
        if let Some((id, tokens, index)) = cut_off
            && self.streams(turn)
            && let Some(mut line) = self.templates.aborted_delta()
        {
            line["event"]["usage"]["input_tokens"] = tokens.input.into();
            line["event"]["usage"]["cache_read_input_tokens"] = tokens.cache_read.into();
            line["event"]["usage"]["cache_creation_input_tokens"] = tokens.cache_write().into();
            line["api_message_id"] = id.as_str().into();
            self.emit(line);
            let mut line = self.templates.stream_event("message_stop");
            line["api_message_id"] = id.as_str().into();
            line["abandoned_blocks"] = json!({ "api_message_id": id, "from_block_index": index });
            self.emit(line);
        }
    }

    /// Prints the result, as often as the script wants it.
    pub fn report(&mut self, turn: &Turn, verdict: &Verdict) {
        match verdict {
            Verdict::ApiError { text, status } => self.print_api_error(text, Some(*status)),
            Verdict::Error(text) => self.print_api_error(text, None),
            Verdict::UsageLimit { text, resets_at } => self.print_limit_error(text, *resets_at),
            _ => {}
        }
        let line = self.result_line(turn, verdict);
        self.ending.last_was_error = line["is_error"] == true;
        for _ in 0..match turn.reports {
            Reports::None => 0,
            Reports::One => 1,
            Reports::Two => 2,
        } {
            self.emit(line.clone());
            self.results += 1;
        }
        self.since_last_result = Totals::default();
        log::event("result", json!({ "verdict": format!("{verdict:?}"), "cumulative_usd": self.totals.cost_usd() }));
    }

    fn result_line(&mut self, turn: &Turn, verdict: &Verdict) -> Value {
        let is_newest = self.generation == Generation::V2_1;
        let mut line = match verdict {
            Verdict::Success if turn.is_follow_up => self.templates.follow_up_result(),
            Verdict::Success => self.templates.result("success", false),
            Verdict::Interrupted => self.templates.interrupted_result(turn.interrupted_tool),
            Verdict::MaxTurns => self.templates.result("error_max_turns", is_newest),
            Verdict::OverBudget => self.templates.result("error_max_budget_usd", is_newest),
            Verdict::ApiError { .. } | Verdict::Error(_) => self.templates.result("success", true),
            Verdict::UsageLimit { .. } => {
                self.templates.limit_result().unwrap_or_else(|| self.templates.result("success", true))
            }
            Verdict::Subtype(name) => self.templates.result(name, name != "success" && is_newest),
        };
        match verdict {
            Verdict::ApiError { text, status } => {
                line["is_error"] = true.into();
                line["result"] = text.as_str().into();
                replace(&mut line, "api_error_status", *status);
                replace(&mut line, "api_error_type", api_error_type(*status));
            }
            Verdict::UsageLimit { text, .. } => line["result"] = text.as_str().into(),
            Verdict::Error(text) => {
                line["is_error"] = true.into();
                line["result"] = text.as_str().into();
                replace(&mut line, "api_error_status", Value::Null);
                replace(&mut line, "api_error_type", "api_error");
            }
            Verdict::MaxTurns if is_newest => {
                let most = self.options.max_turns.unwrap_or(0);
                line["errors"] = json!([format!("Reached maximum number of turns ({most})")]);
            }
            Verdict::OverBudget if is_newest => {
                let most = self.options.max_budget_usd.unwrap_or(0.0);
                line["errors"] = json!([format!("Reached maximum budget (${most})")]);
            }
            _ => {
                replace(&mut line, "result", turn.last_text.as_str());
                if *verdict == Verdict::Success {
                    replace(&mut line, "stop_reason", turn.stop_reason);
                }
            }
        }
        let messages = self.count_messages(turn.messages);
        let num_turns = match (self.generation, verdict) {
            (Generation::V1_0, Verdict::Interrupted) => 0,
            (Generation::V1_0, Verdict::MaxTurns) => self.options.max_turns.unwrap_or(0),
            (Generation::V1_0, _) => messages,
            _ => turn.user_messages,
        };
        self.fill_result(&mut line, turn, num_turns);
        line
    }

    /// The number of messages in the conversation so far, but for the first one, as the older ones report it.
    pub fn count_messages(&mut self, more: u64) -> u64 {
        self.message_count += more;
        self.message_count.saturating_sub(1)
    }

    pub fn fill_result(&mut self, line: &mut Value, turn: &Turn, num_turns: u64) {
        let usage = |totals: &Totals, templates: &Templates| totals.model_usage(&templates.model_usage());
        line["num_turns"] = num_turns.into();
        line["total_cost_usd"] = self.totals.cost_usd().into();
        turn.usage.write_api_usage(&mut line["usage"]);
        line["modelUsage"] = usage(&self.totals, &self.templates);
        line["permission_denials"] = turn.denials.clone().into();
        line["duration_ms"] = u64::try_from(turn.started.elapsed().as_millis()).unwrap_or(0).into();
        line["duration_api_ms"] = u64::try_from(self.api_time.as_millis()).unwrap_or(0).into();
        replace(line, "begun_message_ids", turn.message_ids.clone());
        replace(line, "result_index", self.results);
        replace(line, "queued_turn_count", self.queue.len());
        let increment = usage(&self.since_last_result, &self.templates);
        replace(line, "model_usage_since_last_result", increment);
    }
}
