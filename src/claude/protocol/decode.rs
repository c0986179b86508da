//! Decoder of one line of claude's output stream.
//!
//! Each release adds events and fields, so unknown ones are ignored and every field may be missing. Most lines are text
//! deltas, which are recognized by their first bytes and not decoded. The longest lines are decoded in one pass; see
//! `fast_path`.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::event::{ContentBlock, Event, InitializeError, Leaves, Message, Retry, Task, ToolResult, ToolUse};
use super::fast_path;
use super::initialize;
use super::request::INITIALIZE_ID;
use super::turn_result;
use super::value::{array, count, input_summary, text, tokens, word};
use crate::claude::json::replace_lone_surrogates;
use crate::claude::tool_denials::unavailable_tool;

/// Prefix of streamed lines. If `DELTA` or `PING` follows it, the line needs no decoding.
///
/// claude writes the keys in this order. Each prefix is short enough to be compared without a call.
const STREAMED: &[u8] = br#"{"type":"stream_event","event":{"#;
const DELTA: &[u8] = br#""type":"content_block_"#;
const PING: &[u8] = br#""type":"ping""#;

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    subtype: Option<Cow<'a, str>>,
    /// Payload of a `stream_event` line.
    #[serde(borrow, default)]
    event: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

/// Decodes one line.
#[must_use]
pub fn decode(line: &[u8]) -> Event {
    if let Some(event) = line.strip_prefix(STREAMED)
        && (event.starts_with(DELTA) || event.starts_with(PING))
    {
        return Event::Other;
    }
    if let Some(event) = fast_path::decode(line) {
        return event;
    }
    if let Some(event) = decode_strict(line) {
        return event;
    }
    if let Some(repaired) = repair(line)
        && let Some(event) = decode_strict(&repaired)
    {
        return event;
    }
    undecodable(line)
}

/// Decodes a line that serde accepts.
fn decode_strict(line: &[u8]) -> Option<Event> {
    let head = serde_json::from_slice::<Head>(line).ok()?;
    let decode: fn(&Value) -> Event = match (head.kind.as_ref(), head.subtype.as_deref()) {
        ("control_response", _) => initialize::decode,
        ("system", Some("init")) => init,
        ("system", Some("api_retry")) => retry,
        ("system", Some("background_tasks_changed")) => background,
        ("system", Some("task_started")) => task_started,
        ("system", Some("task_notification")) => task_notification,
        ("command_lifecycle", _) => command_lifecycle,
        ("system", Some("status")) => status,
        ("stream_event", _) if needs_decoding(head.event) => stream_event,
        ("assistant", _) => assistant,
        ("user", _) => user,
        ("result", _) => turn_result::decode,
        ("rate_limit_event", _) => rate_limit,
        ("conversation_reset", _) => return Some(Event::ConversationReset),
        _ => return Some(Event::Other),
    };
    let value = serde_json::from_slice(line).ok()?;
    Some(decode(&value))
}

/// Replaces lone surrogates and invalid UTF-8 by U+FFFD. Returns `None` if there is nothing to replace.
///
/// Programs that truncate texts leave such halves of characters.
fn repair(line: &[u8]) -> Option<Vec<u8>> {
    let text = String::from_utf8_lossy(line);
    let repaired = replace_lone_surrogates(&text).into_owned().into_bytes();
    if repaired == line { None } else { Some(repaired) }
}

/// Classifies a line that cannot be decoded: nested too deeply, or not JSON.
///
/// A result and the response to `initialize` must not be lost: zen waits for both, and no other follows.
fn undecodable(line: &[u8]) -> Event {
    let Ok(head) = serde_json::from_slice::<Head>(line) else { return Event::Invalid };
    match head.kind.as_ref() {
        "result" => Event::MalformedResult,
        "control_response" => Event::InitializeResponse {
            request_id: INITIALIZE_ID.to_owned(),
            commands: Err(InitializeError::Unreadable),
            prices: Vec::new(),
            reports_usage: false,
        },
        _ => Event::Invalid,
    }
}

/// Returns true if a stream event must be decoded. Deltas, which are most of them, need not.
fn needs_decoding(event: Option<&RawValue>) -> bool {
    let Some(event) = event else { return false };
    let Ok(Kind { kind }) = serde_json::from_str::<Kind>(event.get()) else { return false };
    matches!(kind.as_ref(), "message_start" | "message_delta" | "message_stop")
}

/// Returns true if the head of an undecodable line is that of a result.
///
/// 2.1 puts the type at the end and the cost before it. In a text the quotes would be escaped.
#[must_use]
pub fn is_result(head: &[u8]) -> bool {
    const COST: &[u8] = br#""total_cost_usd":"#;
    head.starts_with(br#"{"type":"result""#) || head.windows(COST.len()).any(|window| window == COST)
}

fn init(line: &Value) -> Event {
    /// Limits the memory that a hostile list of servers takes.
    const MAX_MCP_SERVERS: usize = 100;
    let mut mcp_failed = Vec::new();
    for server in array(&line["mcp_servers"]) {
        if server["status"] == "failed" && mcp_failed.len() < MAX_MCP_SERVERS {
            mcp_failed.extend(word(&server["name"]));
        }
    }
    Event::Init {
        session_id: word(&line["session_id"]),
        model: word(&line["model"]),
        permission_mode: word(&line["permissionMode"]),
        mcp_failed,
    }
}

fn status(line: &Value) -> Event {
    if line["status"] == "compacting" { Event::CompactionBegins } else { Event::Other }
}

fn retry(line: &Value) -> Event {
    Event::Retry(Retry {
        attempt: count(&line["attempt"]),
        max_retries: count(&line["max_retries"]),
        delay_ms: line["retry_delay_ms"].as_f64().unwrap_or(0.0).max(0.0) as u64,
        status: line["error_status"].as_u64(),
        error: word(&line["error"]).unwrap_or_default(),
    })
}

fn stream_event(line: &Value) -> Event {
    let event = &line["event"];
    match event["type"].as_str() {
        Some("message_start") => {
            let mut message = message(&event["message"], line);
            // 1.0 and 2.0 put the beginning of the first block here, and send the whole block later.
            message.content.clear();
            message.tools.clear();
            message.is_start = true;
            Event::Message(Box::new(message))
        }
        Some("message_delta") if !is_of_subagent(line) => Event::MessageDelta {
            tokens: tokens(&event["usage"]),
            uses_tools: event["delta"]["stop_reason"] == "tool_use",
            ended: event["delta"]["stop_reason"].is_string(),
            paused: event["delta"]["stop_reason"] == "pause_turn",
        },
        Some("message_stop") if !is_of_subagent(line) => Event::MessageStop,
        _ => Event::Other,
    }
}

fn assistant(line: &Value) -> Event {
    let error = text(&line["error"]);
    Event::Message(Box::new(Message { error, ..message(&line["message"], line) }))
}

fn message(message: &Value, line: &Value) -> Message {
    let (mut content, mut tools) = (Vec::new(), Vec::new());
    for block in array(&message["content"]) {
        content.extend(content_block(block));
        if block["type"] == "tool_use" {
            tools.extend(tool_use(block));
        }
    }
    Message {
        id: word(&message["id"]),
        model: word(&message["model"]).unwrap_or_default(),
        tokens: tokens(&message["usage"]),
        from_subagent: is_of_subagent(line),
        is_start: false,
        content,
        tools,
        error: None,
    }
}

fn content_block(block: &Value) -> Option<ContentBlock> {
    match block["type"].as_str()? {
        "text" => {
            let text = text(&block["text"])?;
            if text.trim().is_empty() { None } else { Some(ContentBlock::Text(text)) }
        }
        "tool_use" | "server_tool_use" => {
            Some(ContentBlock::Tool { name: word(&block["name"])?, input_summary: input_summary(&block["input"]) })
        }
        _ => None,
    }
}

fn tool_use(block: &Value) -> Option<ToolUse> {
    let id = word(&block["id"])?;
    Some(ToolUse { id, tool: word(&block["name"]).unwrap_or_default(), input_summary: input_summary(&block["input"]) })
}

/// Prefix of Bash's result for a command that is still running, on all generations.
pub(super) const IN_BACKGROUND: &str = "Command running in background with ID:";

fn user(line: &Value) -> Event {
    let mut tools = Vec::new();
    for block in array(&line["message"]["content"]) {
        if block["type"] == "tool_result" {
            tools.extend(tool_result(block, &line["tool_use_result"]));
        }
    }
    tool_results(tools, is_of_subagent(line))
}

/// Decodes the result of a tool. `details` is claude's own record of it, with fields that depend on the tool.
fn tool_result(block: &Value, details: &Value) -> Option<ToolResult> {
    let content = block["content"].as_str();
    let missing = match content {
        Some(error) if block["is_error"] == true => unavailable_tool(error),
        _ => None,
    };
    let is_stopped = details["stopped"] == true;
    let leaves = if details["scheduledFor"].is_u64() && !is_stopped {
        Leaves::WakeUp
    } else if details["scheduledFor"].is_number() && is_stopped {
        Leaves::NoWakeUp
    } else if content.is_some_and(|content| content.starts_with(IN_BACKGROUND)) {
        Leaves::Command
    } else {
        Leaves::Nothing
    };
    Some(ToolResult { id: word(&block["tool_use_id"])?, missing, leaves })
}

pub(super) fn tool_results(tools: Vec<ToolResult>, of_subagent: bool) -> Event {
    if tools.is_empty() { Event::Other } else { Event::ToolResults { tools, of_subagent } }
}

fn is_of_subagent(line: &Value) -> bool {
    line["parent_tool_use_id"].is_string()
}

fn background(line: &Value) -> Event {
    /// Limits the memory for a hostile list of tasks.
    const MAX_TASKS: usize = 1000;
    let (mut agents, mut commands) = (0, Vec::new());
    for task in array(&line["tasks"]).iter().take(MAX_TASKS) {
        if task["task_type"] != "local_bash" {
            agents += 1;
        } else if let Some(id) = text(&task["task_id"]) {
            commands.push(Task { id, description: text(&task["description"]).unwrap_or_default() });
        }
    }
    Event::BackgroundTasks { agents, commands }
}

fn task_started(line: &Value) -> Event {
    let is_command = line["task_type"] == "local_bash" && line["is_backgrounded"] != false;
    match (text(&line["task_id"]), text(&line["tool_use_id"])) {
        (Some(task_id), Some(tool_use_id)) if is_command => Event::CommandInBackground { task_id, tool_use_id },
        _ => Event::Other,
    }
}

/// Decodes the end of a task. claude does not report a stopped task to the model (measured on 2.1.332).
fn task_notification(line: &Value) -> Event {
    if line["status"] == "stopped" { Event::Other } else { Event::TaskEnded }
}

fn command_lifecycle(line: &Value) -> Event {
    let is_wakeup = line["state"] == "started" && line["wakeup_source"].is_string();
    if is_wakeup { Event::WokeUp } else { Event::Other }
}

fn rate_limit(line: &Value) -> Event {
    let info = &line["rate_limit_info"];
    // Paid usage beyond the plan is not rejected.
    let rejected = info["status"] == "rejected" && info["isUsingOverage"] != true;
    Event::RateLimit { rejected, resets_at: info["resetsAt"].as_u64() }
}
