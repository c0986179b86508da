//! The lines that the real CLIs printed, as patterns: what the fake claude prints is a recorded line in which only the fields
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
        &[$(include_str!(concat!("../../../../../fixtures/recorded/", $version, "/", $name, ".jsonl"))),+]
    };
}

fn recordings(generation: Generation) -> &'static [&'static str] {
    match generation {
        Generation::V2_1 => {
            recorded!["2.1.330": "initialize", "text", "tool", "thinking", "help", "unknown_command", "clear", "compact", "interrupt", "interrupt_text", "retry", "error_400", "auth_to_the_end", "limit", "subagent", "background_bash", "permission_denied", "max_turns", "missing_session", "get_usage", "unknown_control", "max_budget_usd", "tool_not_available", "dont_ask", "compact_empty", "subagent_foreground"]
        }
        Generation::V2_0 => {
            recorded!["2.0.76": "initialize", "text", "tool", "thinking", "help", "unknown_command", "clear", "compact", "interrupt", "interrupt_text", "retry", "error_400", "auth_to_the_end", "subagent", "background_bash", "permission_denied", "max_turns", "missing_session", "get_usage", "unknown_control", "max_budget_usd", "tool_not_available", "dont_ask", "compact_empty"]
        }
        Generation::V1_0 => {
            recorded!["1.0.128": "initialize", "text", "tool", "thinking", "help", "unknown_command", "clear", "compact", "interrupt", "interrupt_text", "retry", "error_400", "auth_to_the_end", "subagent", "background_bash", "permission_denied", "max_turns", "get_usage", "unknown_control", "disallowed", "compact_empty"]
        }
    }
}

pub fn help(generation: Generation) -> &'static str {
    match generation {
        Generation::V2_1 => include_str!("../../../../../fixtures/recorded/2.1.330/help.txt"),
        Generation::V2_0 => include_str!("../../../../../fixtures/recorded/2.0.76/help.txt"),
        Generation::V1_0 => include_str!("../../../../../fixtures/recorded/1.0.128/help.txt"),
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

    /// A `stream_event` line of that type.
    pub fn stream_event(&self, event_type: &str) -> Value {
        self.get("stream_event", "", |line| line["event"]["type"] == event_type)
    }

    /// The line around an event: the nearest one, for that of a thought says more than others.
    pub fn around(&self, event: &Value) -> Value {
        let part = |event: &Value| (event["content_block"]["type"].clone(), event["delta"]["type"].clone());
        let is_same = |line: &Value| line["event"]["type"] == event["type"] && part(&line["event"]) == part(event);
        let nearest = self.find("stream_event", "", is_same);
        nearest.unwrap_or_else(|| self.stream_event(event["type"].as_str().unwrap_or_default()))
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
    pub fn assistant(&self, block_type: &str, of_agent: bool) -> Value {
        let of_agent =
            of_agent && self.lines.iter().any(|line| line["type"] == "assistant" && line["agent_id"].is_string());
        let is_own = |line: &Value| {
            line["message"]["model"] != "<synthetic>"
                && line["aborted"].is_null()
                && line["parent_tool_use_id"].is_string() == of_agent
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
            line["message"]["model"] == "<synthetic>"
                && line["local_command_source"].is_null()
                && line["api_error"].is_null()
        })
    }

    /// A `user` line with the prompt of a subagent, where it is shown.
    pub fn agent_prompt(&self) -> Option<Value> {
        self.find("user", "", |line| {
            line["parent_tool_use_id"].is_string() && line["message"]["content"][0]["type"] == "text"
        })
    }

    /// The line of a subagent that goes on in the background.
    pub fn agent_launched(&self) -> Value {
        self.get("user", "", is_launched)
    }

    /// The line of a subagent that is done.
    pub fn agent_result(&self) -> Value {
        self.get("user", "", |line| line["message"]["content"][0]["content"].is_array() && !is_launched(line))
    }

    /// A `system` line about a background task, where the generation tells of them.
    pub fn task(&self, subtype: &str, of_shell: bool) -> Option<Value> {
        // A shell's notification counts no tokens, and its start names no kind of agent.
        let is_shell = |line: &Value| match subtype {
            "task_started" => line["task_type"] == "local_bash",
            "task_notification" => line["usage"].is_null(),
            _ => of_shell,
        };
        self.find("system", subtype, |line| is_shell(line) == of_shell)
    }

    /// The result of a turn that a finished subagent began, and no line of standard input.
    pub fn follow_up_result(&self) -> Value {
        self.get("result", "", |line| line["origin"].is_object())
    }

    /// Both the line on stdout and the reason for the exit, where a session to be resumed is missing.
    pub fn missing_session(&self) -> Option<Value> {
        self.find("result", "error_during_execution", |line| {
            line["errors"][0].as_str().is_some_and(|text| text.starts_with("No conversation found"))
        })
    }

    /// A `user` line with a tool's result.
    pub fn tool_result(&self, kind: Kind) -> Value {
        let is_kind = |line: &Value| {
            let result = &line["message"]["content"][0];
            let text = result["content"].as_str().unwrap_or_default();
            result["type"] == "tool_result"
                && match kind {
                    Kind::Done => {
                        result["is_error"] != true && result["content"].is_string() && !is_shell_launched(line)
                    }
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
        let is_whole = |line: &Value| line["origin"].is_null() && line["num_turns"] != 0;
        let tokens = |line: &Value| line["usage"]["output_tokens"].as_u64().unwrap_or(0);
        let is_success = |line: &Value| subtype != "success" || is_error || tokens(line) > 0;
        let is_plain = |line: &Value| line["api_error"].is_null();
        self.find("result", subtype, |line| {
            line["is_error"] == is_error && is_success(line) && is_plain(line) && is_whole(line)
        })
        .or_else(|| self.find("result", subtype, |line| line["is_error"] == is_error))
        .unwrap_or_else(|| {
            let mut line = self.get("result", "error_during_execution", |_| true);
            line["subtype"] = subtype.into();
            line["is_error"] = is_error.into();
            line
        })
    }

    /// The result of a turn that a usage limit stopped, and the lines before it.
    pub fn limit_result(&self) -> Option<Value> {
        self.find("result", "success", |line| line["api_error"].is_string())
    }

    pub fn limit_error(&self) -> Option<Value> {
        self.find("assistant", "", |line| line["api_error"].is_string())
    }

    pub fn rate_limit_event(&self) -> Option<Value> {
        self.find("rate_limit_event", "", |_| true)
    }

    /// The result of a turn that was answered without the model.
    pub fn local_result(&self, command: &str) -> Value {
        let is_local = |line: &Value| line["is_error"] == false && line["usage"]["output_tokens"] == 0;
        self.find("result", "success", |line| is_local(line) && line["local_command"] == command)
            .unwrap_or_else(|| self.get("result", "success", |line| is_local(line) && line["local_command"].is_null()))
    }

    /// The result of an interrupted turn.
    pub fn interrupted_result(&self, in_tool: bool) -> Value {
        let reason = if in_tool { "aborted_tools" } else { "aborted_streaming" };
        let is_it = |line: &Value| line["num_turns"] != 0 && line["terminal_reason"] == reason;
        self.find("result", "error_during_execution", is_it)
            .unwrap_or_else(|| self.get("result", "error_during_execution", |line| line["terminal_reason"].is_null()))
    }

    /// The `user` line of a command that goes on in the background.
    pub fn shell_launched(&self) -> Value {
        self.get("user", "", |line| line["tool_use_result"]["backgroundTaskId"].is_string() || is_shell_launched(line))
    }

    /// Where the generation announces its retries.
    pub fn api_retry(&self) -> Option<Value> {
        self.find("system", "api_retry", |_| true)
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

fn is_shell_launched(line: &Value) -> bool {
    let text = line["message"]["content"][0]["content"].as_str();
    text.is_some_and(|text| text.starts_with("Command running in background"))
}

fn is_launched(line: &Value) -> bool {
    let text = line["message"]["content"][0]["content"][0]["text"].as_str();
    text.is_some_and(|text| text.starts_with("Async agent launched"))
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
