//! The lines that the real CLIs printed, as patterns: what the stand-in prints is a recorded line in which only the fields
//! that have to change are replaced, so that shape and unknown fields stay the real ones.

use crate::generation::Generation;
use crate::session::new_uuid;
use crate::tools::Kind;
use serde_json::{Value, json};
use std::time::{SystemTime, UNIX_EPOCH};

pub struct Templates {
    lines: Vec<Value>,
}

macro_rules! recorded {
    ($version:literal: $($name:literal),+ $(,)?) => {
        &[$(include_str!(concat!("../../fixtures/recorded/", $version, "/", $name, ".jsonl"))),+]
    };
}

fn recordings(generation: Generation) -> &'static [&'static str] {
    match generation {
        Generation::V2_1 => {
            recorded!["2.1.330": "initialize", "text", "tool", "thinking", "help", "unknown_command", "clear", "compact", "interrupt", "interrupt_text", "retry", "error_400", "subagent", "max_turns", "max_budget_usd", "tool_not_available", "dont_ask", "compact_empty", "provisional"]
        }
        Generation::V2_0 => {
            recorded!["2.0.76": "initialize", "text", "tool", "thinking", "help", "unknown_command", "clear", "compact", "interrupt", "interrupt_text", "retry", "error_400", "auth_to_the_end", "subagent", "permission_denied", "max_turns", "get_usage", "max_budget_usd", "tool_not_available", "dont_ask", "compact_empty", "provisional"]
        }
        Generation::V1_0 => {
            recorded!["1.0.128": "initialize", "text", "tool", "thinking", "help", "unknown_command", "clear", "compact", "interrupt", "interrupt_text", "retry", "error_400", "auth_to_the_end", "subagent", "permission_denied", "max_turns", "get_usage", "disallowed", "compact_empty", "provisional"]
        }
    }
}

pub fn help(generation: Generation) -> &'static str {
    match generation {
        Generation::V2_1 => include_str!("../../fixtures/recorded/2.1.330/help.txt"),
        Generation::V2_0 => include_str!("../../fixtures/recorded/2.0.76/help.txt"),
        Generation::V1_0 => include_str!("../../fixtures/recorded/1.0.128/help.txt"),
    }
}

impl Templates {
    pub fn load(generation: Generation) -> Templates {
        let lines = recordings(generation).iter().flat_map(|text| text.lines());
        Templates { lines: lines.filter_map(|line| serde_json::from_str(line).ok()).collect() }
    }

    /// The first recorded line of that kind which passes the test.
    pub fn find(&self, kind: &str, subtype: &str, test: impl Fn(&Value) -> bool) -> Option<Value> {
        let is_it =
            |line: &&Value| line["type"] == kind && (subtype.is_empty() || line["subtype"] == subtype) && test(line);
        self.lines.iter().find(is_it).cloned()
    }

    /// As `find`, for lines that every generation has.
    fn get(&self, kind: &str, subtype: &str, test: impl Fn(&Value) -> bool) -> Value {
        self.find(kind, subtype, test).unwrap_or_else(|| panic!("no {kind} {subtype} was recorded"))
    }

    pub fn init(&self) -> Value {
        self.get("system", "init", |_| true)
    }

    /// The answer to `initialize`.
    pub fn initialized(&self) -> Value {
        self.get("control_response", "", |line| line["response"]["response"]["commands"].is_array())
    }

    /// The event within a `stream_event` line of that type, and the line around it.
    pub fn stream_event(&self, event_type: &str) -> Value {
        self.get("stream_event", "", |line| line["event"]["type"] == event_type)
    }

    /// The end of a message that an interrupt cut off, where there is one.
    pub fn aborted_delta(&self) -> Option<Value> {
        self.find("stream_event", "", |line| {
            line["event"]["type"] == "message_delta" && line["event"]["delta"]["stop_reason"].is_null()
        })
    }

    /// What the newest tells of a thought besides.
    pub fn thinking_tokens(&self) -> Option<Value> {
        self.find("system", "thinking_tokens", |_| true)
    }

    /// An `assistant` line of the model itself, with a block of that type.
    pub fn assistant(&self, block_type: &str) -> Value {
        let is_own = |line: &Value| {
            line["message"]["model"] != "<synthetic>"
                && line["aborted"].is_null()
                && line["parent_tool_use_id"].is_null()
        };
        let mut line = self
            .find("assistant", "", |line| is_own(line) && line["message"]["content"][0]["type"] == block_type)
            .unwrap_or_else(|| self.get("assistant", "", is_own));
        // Only the last block of a message had a reason to stop, and only with a quick API.
        line["message"]["stop_reason"] = Value::Null;
        line
    }

    /// An `assistant` line with what a local command printed.
    pub fn local_output(&self) -> Value {
        self.get("assistant", "", |line| {
            line["local_command_source"].as_str().is_some_and(|text| text.contains("local-command-stdout"))
        })
    }

    /// An `assistant` line with an error of the API.
    pub fn api_error(&self) -> Value {
        self.get("assistant", "", |line| {
            line["message"]["model"] == "<synthetic>" && line["local_command_source"].is_null()
        })
    }

    /// A `user` line with the prompt of a subagent, where it is shown.
    pub fn subagent_prompt(&self) -> Option<Value> {
        self.find("user", "", |line| line["parent_tool_use_id"].is_string())
    }

    /// A `user` line with the answer of a subagent.
    pub fn subagent_result(&self) -> Value {
        self.get("user", "", |line| {
            line["parent_tool_use_id"].is_null() && line["message"]["content"][0]["content"].is_array()
        })
    }

    /// A `user` line with a tool's result.
    pub fn tool_result(&self, kind: Kind) -> Value {
        let is_kind = |line: &Value| {
            let result = &line["message"]["content"][0];
            let text = result["content"].as_str().unwrap_or_default();
            result["type"] == "tool_result"
                && match kind {
                    Kind::Done => result["is_error"] != true && result["content"].is_string(),
                    Kind::Failed => text.starts_with("Exit code") && !text.contains("[Request interrupted"),
                    Kind::Missing => text.contains("No such tool available"),
                    Kind::Interrupted => {
                        text.contains("[Request interrupted") || text.contains("stopped while running")
                    }
                    Kind::Denied => text.contains("denied") || text.contains("granted"),
                }
        };
        let is_error = |line: &Value| line["message"]["content"][0]["is_error"] == true;
        self.find("user", "", is_kind).unwrap_or_else(|| self.get("user", "", is_error))
    }

    /// The announcement of a refused tool, where there is one.
    pub fn permission_denied(&self) -> Option<Value> {
        self.find("system", "permission_denied", |_| true)
    }

    /// What the newest says to a `/compact` that has nothing to do.
    pub fn failed_command(&self) -> Value {
        self.get("assistant", "", |line| {
            line["local_command_source"].as_str().is_some_and(|text| text.contains("local-command-stderr"))
        })
    }

    /// A `user` line with text blocks, such as the one after an interrupt.
    pub fn user_text(&self) -> Value {
        self.get("user", "", |line| line["message"]["content"][0]["type"] == "text")
    }

    /// A `user` line whose content is one string that begins so.
    pub fn user_string(&self, beginning: &str) -> Value {
        self.get("user", "", |line| line["message"]["content"].as_str().is_some_and(|text| text.starts_with(beginning)))
    }

    /// A result of that subtype; the nearest one where none was recorded.
    pub fn result(&self, subtype: &str, is_error: bool) -> Value {
        let tokens = |line: &Value| line["usage"]["output_tokens"].as_u64().unwrap_or(0);
        self.find("result", subtype, |line| line["is_error"] == is_error && (is_error || tokens(line) > 0))
            .or_else(|| self.find("result", subtype, |_| true))
            .unwrap_or_else(|| {
                let mut line = self.get("result", "error_during_execution", |_| true);
                line["subtype"] = subtype.into();
                line["is_error"] = is_error.into();
                line
            })
    }

    /// The result of a turn that was answered without the model.
    pub fn local_result(&self) -> Value {
        self.get("result", "success", |line| line["is_error"] == false && line["usage"]["output_tokens"] == 0)
    }

    /// Where the generation announces its retries.
    pub fn api_retry(&self) -> Option<Value> {
        self.find("system", "api_retry", |_| true)
    }

    pub fn has_rate_limit_events(&self) -> bool {
        self.lines.iter().any(|line| line["type"] == "rate_limit_event")
    }

    pub fn rate_limit_event(&self) -> Value {
        self.find("rate_limit_event", "", |_| true)
            .unwrap_or_else(|| json!({ "type": "rate_limit_event", "rate_limit_info": {} }))
    }

    pub fn task_started(&self) -> Value {
        self.get("system", "task_started", |_| true)
    }

    pub fn task_notification(&self) -> Value {
        self.get("system", "task_notification", |_| true)
    }

    pub fn conversation_reset(&self) -> Value {
        self.get("conversation_reset", "", |_| true)
    }

    pub fn compact_boundary(&self) -> Value {
        self.get("system", "compact_boundary", |_| true)
    }

    pub fn model_usage(&self) -> Value {
        let entry = |line: &Value| line["modelUsage"].as_object()?.values().next().cloned();
        self.lines.iter().find_map(entry).expect("a result with modelUsage was recorded")
    }

    /// Only the newest generation refuses a control request that it does not know; the older ones ignore it.
    pub fn control_error(&self) -> Option<Value> {
        self.find("control_response", "", |line| line["response"]["subtype"] == "error")
    }

    /// The answer to `get_usage`.
    pub fn usage(&self) -> Value {
        self.get("control_response", "", |line| line["response"]["response"]["session"].is_object())
    }

    /// As `initialize` lists them.
    pub fn builtin_commands(&self) -> impl Iterator<Item = &Value> {
        let is_initialized = |line: &&Value| line["response"]["response"]["commands"].is_array();
        let commands = self.lines.iter().find(is_initialized).map(|line| &line["response"]["response"]["commands"]);
        // The recording may have had commands of its own, which say where they are from.
        let is_builtin = |command: &&Value| {
            let description = command["description"].as_str().unwrap_or_default();
            !description.ends_with("(project)") && !description.ends_with("(user)")
        };
        commands.and_then(Value::as_array).into_iter().flatten().filter(is_builtin)
    }

    /// The answer to `interrupt`.
    pub fn interrupted(&self) -> Value {
        self.get("control_response", "", |line| {
            let response = &line["response"]["response"];
            line["response"]["subtype"] == "success" && (response.is_null() || response["still_queued"].is_array())
        })
    }
}

/// Sets what is new in every line.
pub fn stamp(line: &mut Value, session_id: &str) {
    line["session_id"] = session_id.into();
    line["uuid"] = new_uuid().into();
    if line.get("timestamp").is_some() {
        line["timestamp"] = timestamp().into();
    }
}

/// Replaces a field where the pattern has it.
pub fn replace(line: &mut Value, field: &str, value: impl Into<Value>) {
    if let Some(place) = line.get_mut(field) {
        *place = value.into();
    }
}

pub fn text_block(text: &str) -> Value {
    json!([{ "type": "text", "text": text }])
}

pub fn epoch_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis()).unwrap_or(0)
}

/// Now, as `2026-11-22T10:31:43.609Z`.
fn timestamp() -> String {
    let ms = epoch_ms();
    let (days, of_day) = (ms / 86_400_000, ms % 86_400_000);
    // Days since 1 March of the year 0, in which leap days come last (Howard Hinnant's civil calendar).
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        of_day / 3_600_000,
        of_day / 60_000 % 60,
        of_day / 1000 % 60,
        of_day % 1000
    )
}
