//! Decoder of claude's output stream: one line in, one [`Event`] out.
//!
//! Each release adds events and fields, so unknown ones are ignored and every field may be missing. Most lines are text
//! deltas, which are recognized by their first bytes and not decoded. The longest lines are decoded in one pass; see
//! `fast_path`.

mod fast_path;
pub mod initialize;
pub mod request;

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::tokens::Tokens;
use crate::base::text::find_lone_surrogate;
use crate::claude::pricing::{self, Price};
use crate::claude::protocol::request::INITIALIZE_ID;
use crate::claude::tool_denials::{UnavailableTool, missing};
use crate::claude::usage_meter::{ModelUsage, ReportedUsage};

/// One decoded line of the stream.
#[derive(Debug, PartialEq)]
pub enum Event {
    /// Response to a control request.
    InitializeResponse {
        /// Id of the request.
        request_id: String,
        /// Slash commands of the session, including aliases, without slashes; or the error.
        commands: Result<Vec<String>, String>,
        /// Prices of models, if the response names them.
        prices: Vec<(String, Price)>,
        /// True if this claude answers usage queries and so reports all its usage (2.1).
        tells_usage: bool,
    },
    /// Start of a turn.
    Init {
        /// Session of the turn.
        session_id: Option<String>,
        /// Model that will answer.
        model: Option<String>,
        /// Active permission mode.
        permission_mode: Option<String>,
        /// Names of the MCP servers that claude could not start or reach.
        mcp_failed: Vec<String>,
    },
    /// Start of a message of the model, or a part of it.
    Message(Box<Message>),
    /// New counts of the current message.
    MessageDelta {
        /// Token counts; a kind that is not reported is 0.
        tokens: Tokens,
        /// True if claude will use tools next and continue with another message.
        uses_tools: bool,
        /// True if the model ended the message. For a message that is cut off, 2.1 sends a guess.
        ended: bool,
        /// True if the API paused a long turn (`pause_turn`): the answer is not finished.
        paused: bool,
    },
    /// End of the current message.
    MessageStop,
    /// Results of tools. The model is called again when all tools of its message have results.
    ToolResults {
        /// The results.
        tools: Vec<ToolResult>,
        /// True if a subagent used the tools.
        of_subagent: bool,
    },
    /// End of a turn.
    Result(Box<TurnResult>),
    /// A failed request to the API, to be retried.
    Retry(Retry),
    /// State of the account's usage limit.
    RateLimit {
        /// True if the request was rejected because of the limit.
        rejected: bool,
        /// End of the limit, in seconds since 1970.
        resets_at: Option<u64>,
    },
    /// Current background work (2.1).
    BackgroundTasks {
        /// Number of running background agents.
        agents: usize,
        /// Running background commands, of Bash and of Monitor.
        commands: Vec<Task>,
    },
    /// Start of a command in the background, or its move there (2.1).
    CommandInBackground {
        /// Task id of the command.
        task_id: String,
        /// Id of the tool use that started it.
        tool_use_id: String,
    },
    /// End of a background task. claude reports it to the model in the current turn or in a new one (2.1).
    TaskEnded,
    /// Arrival of a wake-up that the agent scheduled: claude starts a turn (2.1).
    WokeUp,
    /// Start of a compaction: the model summarizes the conversation in a message that is not reported (2.0, 2.1).
    CompactionBegins,
    /// Result of a turn that is nested too deeply to be decoded.
    MalformedResult,
    /// Start of a new conversation; later events carry another session id.
    ConversationReset,
    /// An event that zen ignores.
    Other,
    /// Not a JSON object with a `type`.
    Invalid,
}

/// A message of the model, or the part of it in one line.
#[derive(Debug, PartialEq)]
pub struct Message {
    /// Message id. The same message arrives several times.
    pub id: Option<String>,
    /// Model that wrote the message.
    pub model: String,
    /// Token counts so far; the output is a placeholder.
    pub tokens: Tokens,
    /// True if a subagent sent the message.
    pub from_subagent: bool,
    /// True if the message is streamed from here to its [`Event::MessageStop`].
    pub is_start: bool,
    /// Text and tool uses, for display.
    pub content: Vec<ContentBlock>,
    /// Tool uses that claude will execute.
    pub tools: Vec<ToolUse>,
    /// claude's name of an API error that the message reports, such as `billing_error` (2.0, 2.1).
    pub error: Option<String>,
}

impl Message {
    /// Returns true if the model wrote the message. claude writes messages of its own as model `<synthetic>`.
    #[must_use]
    pub fn is_of_model(&self) -> bool {
        !self.model.is_empty() && self.model != "<synthetic>"
    }
}

/// A tool use that a message requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolUse {
    /// Id of the tool use.
    pub id: String,
    /// Name of the tool.
    pub tool: String,
    /// Most informative value of the input.
    pub input_summary: String,
}

/// A command running in the background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// claude's id of the task.
    pub id: String,
    /// Description by the agent, or the command.
    pub description: String,
}

/// Work that a tool use leaves pending.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leaves {
    /// No pending work.
    #[default]
    Nothing,
    /// A command that is still running.
    Command,
    /// A turn that claude will start itself.
    WakeUp,
    /// Cancellation of the scheduled wake-ups.
    NoWakeUp,
}

/// The result of a tool use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolResult {
    /// Id of the tool use.
    pub id: String,
    /// Reason why the tool is unavailable, if claude's error names one.
    pub missing: Option<UnavailableTool>,
    /// Work that the tool use leaves pending.
    pub leaves: Leaves,
}

/// A part of a message, for display.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentBlock {
    /// Text of the agent.
    Text(String),
    /// Use of a tool.
    Tool {
        /// Name of the tool.
        name: String,
        /// Most informative value of the input.
        input_summary: String,
    },
}

/// A failed request to the API, to be retried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// Number of the attempt, from 1.
    pub attempt: u64,
    /// Maximum number of retries.
    pub max_retries: u64,
    /// Delay before the retry, in milliseconds.
    pub delay_ms: u64,
    /// HTTP status of the failure, if any.
    pub status: Option<u64>,
    /// claude's name of the error.
    pub error: String,
}

impl Retry {
    /// Describes the retry as the cause of a timeout.
    ///
    /// For a failed connection, claude reports only that there was no HTTP status.
    #[must_use]
    pub fn cause(&self) -> String {
        let error = match (self.status, self.error.as_str()) {
            (None, "" | "unknown") => "connection failed".to_owned(),
            (None, error) => error.to_owned(),
            (Some(status), "" | "unknown") => format!("HTTP {status}"),
            (Some(status), error) => format!("HTTP {status} {error}"),
        };
        format!("claude was retrying the API (attempt {} of {}: {error})", self.attempt, self.max_retries)
    }
}

/// The result of one turn.
#[derive(Clone, Debug, PartialEq)]
pub struct TurnResult {
    /// `success`, `error_during_execution`, …
    pub subtype: String,
    /// True if claude reports an error, which it may also do for `success`.
    pub is_error: bool,
    /// Text of the answer; may be empty.
    pub text: String,
    /// Error messages of claude.
    pub errors: Vec<String>,
    /// True if claude started the turn itself because a background task ended (2.1).
    pub is_unsolicited: bool,
    /// Session of the turn.
    pub session_id: Option<String>,
    /// Reason for the end of the turn, if reported (2.1).
    pub terminal_reason: Option<String>,
    /// Stop reason of the turn's last message (2.1).
    pub stop_reason: Option<String>,
    /// Number of model calls stopped by a safety system since the process started (2.1).
    pub safety_stops: u64,
    /// True if a permission check of claude ended the turn (2.1).
    pub stopped_by_permission_check: bool,
    /// True if a shutdown of claude's host ended the turn (2.1).
    pub interrupted_by_shutdown: bool,
    /// True if claude's numbers show a model call in this turn.
    pub used_model: bool,
    /// HTTP status of the error that ended the turn (2.1).
    pub api_error_status: Option<u64>,
    /// claude's name of that error (2.1).
    pub api_error: Option<String>,
    /// Usage that claude reports.
    pub settlement: ReportedUsage,
    /// Denied tool uses.
    pub permission_denials: Vec<Denial>,
    /// Ids of the denied tool uses, one for each; empty if claude sends none.
    pub denied_ids: Vec<String>,
}

impl TurnResult {
    /// Returns true if the turn was interrupted during a model call (2.1).
    #[must_use]
    pub fn was_streaming(&self) -> bool {
        self.terminal_reason.as_deref() == Some("aborted_streaming")
    }
}

/// A denied tool use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// Name of the tool.
    pub tool: String,
    /// Most informative value of the input.
    pub input_summary: String,
}

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
    if line.strip_prefix(STREAMED).is_some_and(|event| event.starts_with(DELTA) || event.starts_with(PING)) {
        return Event::Other;
    }
    if let Some(event) = fast_path::decode(line) {
        return event;
    }
    decoded(line).or_else(|| decoded(&replace_lone_surrogates(line)?)).unwrap_or_else(|| undecodable(line))
}

/// Decodes a line that serde accepts.
fn decoded(line: &[u8]) -> Option<Event> {
    let head = serde_json::from_slice::<Head>(line).ok()?;
    let decode: fn(&Value) -> Event = match (head.kind.as_ref(), head.subtype.as_deref()) {
        ("control_response", _) => answer,
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
        ("result", _) => result,
        ("rate_limit_event", _) => rate_limit,
        ("conversation_reset", _) => |_| Event::ConversationReset,
        _ => return Some(Event::Other),
    };
    serde_json::from_slice(line).ok().map(|value| decode(&value))
}

/// Replaces lone surrogates and invalid UTF-8 by U+FFFD. Returns `None` if there is nothing to replace.
///
/// Programs that truncate texts leave such halves of characters.
fn replace_lone_surrogates(line: &[u8]) -> Option<Vec<u8>> {
    const REPLACEMENT: &str = "\\ufffd";
    let mut text = String::from_utf8_lossy(line).into_owned();
    let mut from = 0;
    while let Some(at) = find_lone_surrogate(&text[from..]).map(|at| from + at) {
        from = at + REPLACEMENT.len();
        text.replace_range(at..from, REPLACEMENT);
    }
    (text.as_bytes() != line).then(|| text.into_bytes())
}

/// Classifies a line that cannot be decoded: nested too deeply, or not JSON.
///
/// A result and the response to `initialize` must not be lost: zen waits for both, and no other follows.
fn undecodable(line: &[u8]) -> Event {
    match serde_json::from_slice::<Head>(line).ok().as_ref().map(|head| head.kind.as_ref()) {
        Some("result") => Event::MalformedResult,
        Some("control_response") => Event::InitializeResponse {
            request_id: INITIALIZE_ID.to_owned(),
            commands: Err("its answer is JSON that zen cannot read".to_owned()),
            prices: Vec::new(),
            tells_usage: false,
        },
        _ => Event::Invalid,
    }
}

/// Returns true if a stream event must be decoded. Deltas, which are most of them, need not.
fn needs_decoding(event: Option<&RawValue>) -> bool {
    let kind = event.and_then(|event| serde_json::from_str::<Kind>(event.get()).ok());
    kind.is_some_and(|event| matches!(event.kind.as_ref(), "message_start" | "message_delta" | "message_stop"))
}

/// Returns true if the head of an undecodable line is that of a result.
///
/// 2.1 puts the type at the end and the cost before it. In a text the quotes would be escaped.
#[must_use]
pub fn is_result(head: &[u8]) -> bool {
    const OF_A_RESULT: &[u8] = br#""total_cost_usd":"#;
    head.starts_with(br#"{"type":"result""#) || head.windows(OF_A_RESULT.len()).any(|window| window == OF_A_RESULT)
}

fn answer(line: &Value) -> Event {
    let response = &line["response"];
    let commands = match response["subtype"].as_str() {
        Some("error") => Err(text(&response["error"]).unwrap_or_else(|| "claude gave no reason".into())),
        _ => {
            let commands = response["response"]["commands"].as_array().into_iter().flatten();
            // 2.1 also runs a command by its aliases: `/review` is one of `/code-review`.
            let aliases = |command: &Value| command["aliases"].as_array().cloned().unwrap_or_default();
            let names = commands.flat_map(|command| std::iter::once(command["name"].clone()).chain(aliases(command)));
            // Names come without the slash; accept one with it too.
            Ok(names.filter_map(|name| text(&name)).map(|n| n.trim_start_matches('/').to_owned()).collect())
        }
    };
    let models = response["response"]["models"].as_array().into_iter().flatten();
    let price = |model: &Value| {
        Some((text(&model["resolvedModel"])?, pricing::parse_description(model["description"].as_str()?)?))
    };
    let prices = models.filter_map(price).collect();
    let mut capabilities = response["response"]["capabilities"].as_array().into_iter().flatten();
    let tells_usage = capabilities.any(|c| c.as_str().is_some_and(|name| name.starts_with("get_usage")));
    Event::InitializeResponse {
        request_id: text(&response["request_id"]).unwrap_or_default(),
        commands,
        prices,
        tells_usage,
    }
}

fn init(line: &Value) -> Event {
    /// Limits the memory that a hostile list of servers takes.
    const MAX_MCP_SERVERS: usize = 100;
    let servers = line["mcp_servers"].as_array().into_iter().flatten();
    let failed = servers.filter(|server| server["status"] == "failed").filter_map(|server| word(&server["name"]));
    Event::Init {
        session_id: word(&line["session_id"]),
        model: word(&line["model"]),
        permission_mode: word(&line["permissionMode"]),
        mcp_failed: failed.take(MAX_MCP_SERVERS).collect(),
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
        Some("message_start") => message(&event["message"], is_of_subagent(line), true, None),
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
    message(&line["message"], is_of_subagent(line), false, text(&line["error"]))
}

/// Prefix of Bash's result for a command that is still running, on all generations.
const IN_BACKGROUND: &str = "Command running in background with ID:";

fn user(line: &Value) -> Event {
    let content = line["message"]["content"].as_array().into_iter().flatten();
    let results = content.filter(|block| block["type"] == "tool_result");
    let tools = results.filter_map(|block| {
        let answer = block["content"].as_str();
        let error = answer.filter(|_| block["is_error"] == true);
        let leaves = match &line["tool_use_result"] {
            result if result["scheduledFor"].is_u64() && result["stopped"] != true => Leaves::WakeUp,
            result if result["stopped"] == true && result["scheduledFor"].is_number() => Leaves::NoWakeUp,
            _ if answer.is_some_and(|answer| answer.starts_with(IN_BACKGROUND)) => Leaves::Command,
            _ => Leaves::Nothing,
        };
        Some(ToolResult { id: word(&block["tool_use_id"])?, missing: error.and_then(missing), leaves })
    });
    tools_ended(tools.collect(), is_of_subagent(line))
}

fn tools_ended(tools: Vec<ToolResult>, of_subagent: bool) -> Event {
    if tools.is_empty() { Event::Other } else { Event::ToolResults { tools, of_subagent } }
}

fn is_of_subagent(line: &Value) -> bool {
    line["parent_tool_use_id"].is_string()
}

fn message(message: &Value, of_subagent: bool, begins: bool, error: Option<String>) -> Event {
    // 1.0 and 2.0 put the beginning of the first block into the message start, and send the whole block later.
    let content = message["content"].as_array().filter(|_| !begins).into_iter().flatten();
    let tools = content.clone().filter(|block| block["type"] == "tool_use");
    Event::Message(Box::new(Message {
        tools: tools
            .filter_map(|block| {
                let tool = word(&block["name"]).unwrap_or_default();
                Some(ToolUse { id: word(&block["id"])?, tool, input_summary: input_summary(&block["input"]) })
            })
            .collect(),
        id: word(&message["id"]),
        model: word(&message["model"]).unwrap_or_default(),
        tokens: tokens(&message["usage"]),
        from_subagent: of_subagent,
        is_start: begins,
        content: content.filter_map(said).collect(),
        error,
    }))
}

fn said(block: &Value) -> Option<ContentBlock> {
    match block["type"].as_str()? {
        "text" => text(&block["text"]).filter(|t| !t.trim().is_empty()).map(ContentBlock::Text),
        "tool_use" | "server_tool_use" => {
            Some(ContentBlock::Tool { name: word(&block["name"])?, input_summary: input_summary(&block["input"]) })
        }
        _ => None,
    }
}

/// Maximum length of a name, an id or a keyword, in bytes. claude sends far shorter ones, but a broken or hostile child
/// may send megabytes in each.
const MAX_WORD_BYTES: usize = 256;

/// Maximum length of a tool's input summary, in bytes.
const MAX_ESSENCE_BYTES: usize = 1_000;

/// Truncates a string to at most `max_bytes`, at a character boundary.
fn bounded(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        text.truncate((0..=max_bytes).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0));
        text.shrink_to_fit();
    }
    text
}

/// Returns a name, an id or a keyword, truncated to `MAX_WORD_BYTES`.
fn word(value: &Value) -> Option<String> {
    text(value).map(|text| bounded(text, MAX_WORD_BYTES))
}

/// Returns the most informative value of a tool's input, truncated.
fn input_summary(input: &Value) -> String {
    const TELLING: &[&str] =
        &["command", "file_path", "notebook_path", "path", "pattern", "url", "query", "description", "prompt", "skill"];
    let told = TELLING.iter().find_map(|key| text(&input[*key]));
    let told = told.or_else(|| input.as_object()?.values().find_map(text)).unwrap_or_default();
    bounded(told, MAX_ESSENCE_BYTES)
}

fn result(line: &Value) -> Event {
    let denials = line["permission_denials"].as_array().into_iter().flatten();
    let errors = line["errors"].as_array().into_iter().flatten();
    Event::Result(Box::new(TurnResult {
        subtype: word(&line["subtype"]).unwrap_or_default(),
        // If the field is missing, assume an error.
        is_error: line["is_error"].as_bool().unwrap_or(true),
        text: text(&line["result"]).unwrap_or_default(),
        errors: errors.filter_map(text).collect(),
        is_unsolicited: line["origin"].is_object(),
        session_id: word(&line["session_id"]),
        terminal_reason: word(&line["terminal_reason"]),
        stop_reason: word(&line["stop_reason"]),
        safety_stops: count(&line["safety_stops"]),
        stopped_by_permission_check: line["stopped_by_permission_check"] == true,
        interrupted_by_shutdown: line["interrupted_by_shutdown"] == true,
        used_model: used_model(line),
        api_error_status: line["api_error_status"].as_u64(),
        api_error: word(&line["api_error"]),
        settlement: settlement(line),
        denied_ids: denials.clone().map(|d| word(&d["tool_use_id"]).unwrap_or_default()).collect(),
        permission_denials: denials
            .map(|d| Denial {
                tool: word(&d["tool_name"]).unwrap_or_default(),
                input_summary: input_summary(&d["tool_input"]),
            })
            .collect(),
    }))
}

/// Returns true if the numbers of a result show a model call in its turn.
///
/// In the older generations `modelUsage` also grows by calls of claude's own, so `usage` decides. 2.1 counts each turn
/// separately; a turn blocked by a `UserPromptSubmit` hook that used a model has 0 turns and is no local command
/// (measured on 2.1.332).
fn used_model(line: &Value) -> bool {
    match line["model_usage_since_last_result"].as_object() {
        Some(models) => !models.is_empty() && (count(&line["num_turns"]) > 0 || line["local_command"].is_string()),
        None => tokens(&line["usage"]).total() > 0,
    }
}

fn settlement(line: &Value) -> ReportedUsage {
    if let Some(models) = line["model_usage_since_last_result"].as_object() {
        return ReportedUsage::Delta(by_model(models));
    }
    match line["modelUsage"].as_object() {
        Some(models) => ReportedUsage::Cumulative { models: by_model(models), main: main_tokens(line) },
        None => ReportedUsage::Absent,
    }
}

/// Returns the turn's own tokens. A turn that exceeded its dollar limit does not report them.
fn main_tokens(line: &Value) -> Option<Tokens> {
    (line["usage"].is_object() && line["subtype"] != "error_max_budget_usd").then(|| tokens(&line["usage"]))
}

fn by_model(models: &serde_json::Map<String, Value>) -> BTreeMap<String, ModelUsage> {
    let mut used = BTreeMap::new();
    for (model, said) in models {
        let tokens = Tokens {
            input: count(&said["inputTokens"]),
            output: count(&said["outputTokens"]),
            cache_creation: count(&said["cacheCreationInputTokens"]),
            cache_read: count(&said["cacheReadInputTokens"]),
        };
        let micros = micros(&said["costUSD"]);
        used.entry(bounded(model.clone(), MAX_WORD_BYTES)).or_insert_with(ModelUsage::default).add(tokens, micros);
    }
    used
}

fn background(line: &Value) -> Event {
    /// Limits the memory for a hostile list of tasks.
    const MAX_TASKS: usize = 1000;
    let tasks = line["tasks"].as_array().into_iter().flatten().take(MAX_TASKS);
    let (commands, agents): (Vec<&Value>, Vec<&Value>) = tasks.partition(|task| task["task_type"] == "local_bash");
    let task = |task: &&Value| {
        Some(Task { id: text(&task["task_id"])?, description: text(&task["description"]).unwrap_or_default() })
    };
    Event::BackgroundTasks { agents: agents.len(), commands: commands.iter().filter_map(task).collect() }
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

fn tokens(usage: &Value) -> Tokens {
    Tokens {
        input: count(&usage["input_tokens"]),
        output: count(&usage["output_tokens"]),
        cache_creation: count(&usage["cache_creation_input_tokens"]),
        cache_read: count(&usage["cache_read_input_tokens"]),
    }
}

fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// Converts dollars, which claude sends as a double, to micro-dollars.
fn micros(dollars: &Value) -> u64 {
    (dollars.as_f64().unwrap_or(0.0).max(0.0) * 1e6).round() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_are_not_decoded_and_unknown_events_are_passed_over() {
        for line in [
            r#"{"type":"stream_event","event":{"type":"content_block_delta","delta":"#,
            r#"{"type":"stream_event","event":{"type":"error"}}"#,
            r#"{"type":"system","subtype":"hook_started"}"#,
            r#"{"type":"something_new","subtype":7.5}"#.replace("7.5", "null").as_str(),
            r#"{"type":"user","message":{"content":"x"}}"#,
        ] {
            assert_eq!(decode(line.as_bytes()), Event::Other, "{line}");
        }
    }

    #[test]
    fn a_command_is_listed_by_all_its_names() {
        let commands = r#"[{"name":"code-review","aliases":["review",7]},{"name":"/a","aliases":null},{}]"#;
        let line = format!(
            r#"{{"type":"control_response","response":{{"subtype":"success","response":{{"commands":{commands}}}}}}}"#
        );
        let Event::InitializeResponse { commands, .. } = decode(line.as_bytes()) else { panic!("an answer") };
        assert_eq!(commands, Ok(vec!["code-review".into(), "review".into(), "a".into()]));
    }

    #[test]
    fn tools_end_with_their_results() {
        let line = |parent: &str| {
            format!(
                r#"{{"type":"user","parent_tool_use_id":{parent},"message":{{"content":[
                {{"type":"tool_result","tool_use_id":"a","content":"x"}},{{"type":"text","text":"y"}}]}}}}"#
            )
        };
        for (parent, of_subagent) in [("null", false), ("\"t\"", true)] {
            let tools = vec![ToolResult { id: "a".into(), missing: None, leaves: Leaves::Nothing }];
            assert_eq!(decode(line(parent).as_bytes()), Event::ToolResults { tools, of_subagent });
        }
    }

    #[test]
    fn a_tool_that_is_missing_is_told_by_its_end() {
        let why = "<tool_use_error>Error: No such tool available: Write</tool_use_error>";
        for (is_error, expected) in [("true", Some(UnavailableTool::Unknown)), ("false", None), ("null", None)] {
            for beginning in ["{\"type\"", "{ \"type\""] {
                let line = format!(
                    r#"{beginning}:"user","message":{{"content":[{{"type":"tool_result","tool_use_id":"a","content":"{why}",
                    "is_error":{is_error}}}]}},"parent_tool_use_id":null}}"#
                );
                let tools = vec![ToolResult { id: "a".into(), missing: expected, leaves: Leaves::Nothing }];
                assert_eq!(decode(line.as_bytes()), Event::ToolResults { tools, of_subagent: false }, "{line}");
            }
        }
    }

    #[test]
    fn garbage_is_told_as_such() {
        let nested = format!(r#"{{"type":"result","x":{}"#, "[".repeat(100_000));
        for line in [&b""[..], b"{", b"\xff\xfe", b"null", b"[1]", b"{\"type\":1}", b"text", nested.as_bytes()] {
            assert_eq!(decode(line), Event::Invalid, "{:?}", &line[..line.len().min(40)]);
        }
    }

    #[test]
    fn a_result_nested_beyond_reason_is_no_garbage() {
        let nested = |kind: &str| format!(r#"{{"type":"{kind}","x":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
        assert_eq!(decode(nested("result").as_bytes()), Event::MalformedResult);
        assert_eq!(decode(nested("assistant").as_bytes()), Event::Invalid);
    }

    #[test]
    fn a_result_is_known_by_its_beginning_on_every_generation() {
        for (head, is) in [
            (r#"{"type":"result","subtype":"success","result":"aaa"#, true),
            (r#"{"duration_api_ms":47,"stop_reason":"end_turn","session_id":"x","total_cost_usd":0.0008,"usa"#, true),
            (r#"{"type":"assistant","message":{"content":[{"type":"text","text":"\"total_cost_usd\":0.1"#, false),
            ("", false),
        ] {
            assert_eq!(is_result(head.as_bytes()), is, "{head}");
        }
    }

    /// Lines as 2.1.332 prints them; 2.0 and 1.0 print only the tool result.
    #[test]
    fn background_work_is_decoded() {
        let tasks = br#"{"type":"system","subtype":"background_tasks_changed","tasks":[{"task_id":"b1","task_type":"local_bash","description":"Sleep"},
            {"task_id":"a1","task_type":"local_agent","description":"Count"}],"session_id":"s"}"#;
        let task = Task { id: "b1".into(), description: "Sleep".into() };
        assert_eq!(decode(tasks), Event::BackgroundTasks { agents: 1, commands: vec![task] });
        let started = br#"{"type":"system","subtype":"task_started","task_id":"b1","tool_use_id":"t1","is_backgrounded":true,"task_type":"local_bash"}"#;
        let named = Event::CommandInBackground { task_id: "b1".into(), tool_use_id: "t1".into() };
        assert_eq!(decode(started), named);
        let ended = |status: &str| {
            format!(r#"{{"type":"system","subtype":"task_notification","task_id":"b1","status":"{status}"}}"#)
        };
        assert_eq!(decode(ended("completed").as_bytes()), Event::TaskEnded);
        assert_eq!(decode(ended("stopped").as_bytes()), Event::Other);
        let woke =
            |state: &str| format!(r#"{{"type":"command_lifecycle","state":"{state}","wakeup_source":"loop_wakeup"}}"#);
        assert_eq!(decode(woke("started").as_bytes()), Event::WokeUp);
        assert_eq!(decode(woke("completed").as_bytes()), Event::Other);
        let answer = |content: &str, result: &str| {
            let block = format!(r#"{{"tool_use_id":"t","type":"tool_result","content":"{content}"}}"#);
            let line = format!(
                r#"{{"type":"user","message":{{"role":"user","content":[{block}]}},"parent_tool_use_id":null,"tool_use_result":{result}}}"#
            );
            let Event::ToolResults { tools, .. } = decode(line.as_bytes()) else { panic!("{line}") };
            tools[0].leaves
        };
        let scheduled = r#"{"scheduledFor":1795863000000,"clampedDelaySeconds":60,"wasClamped":false}"#;
        assert_eq!(answer("Next wakeup scheduled for 10:50:00 (in 108s).", scheduled), Leaves::WakeUp);
        assert_eq!(answer("Stopped.", r#"{"scheduledFor":0,"stopped":true}"#), Leaves::NoWakeUp);
        assert_eq!(answer("Command running in background with ID: b40c55c. Output", "{}"), Leaves::Command);
        assert_eq!(answer("ok", r#""ok""#), Leaves::Nothing);
    }

    #[test]
    fn everything_may_be_missing() {
        for kind in ["control_response", "stream_event", "assistant", "rate_limit_event", "conversation_reset"] {
            assert_ne!(decode(format!(r#"{{"type":"{kind}"}}"#).as_bytes()), Event::Invalid, "{kind}");
        }
        let Event::Result(result) = decode(br#"{"type":"result","usage":null,"modelUsage":7,"errors":{"a":1}}"#) else {
            panic!("a result is a result");
        };
        assert!(result.is_error, "what does not say that it is none is an error");
        assert_eq!(result.settlement, ReportedUsage::Absent);
    }

    #[test]
    fn what_an_agent_says_is_told_in_words() {
        let line = r#"{"type":"assistant","message":{"id":"m","model":"x","content":[
            {"type":"text","text":"Let me look."},{"type":"thinking","thinking":"…"},
            {"type":"tool_use","name":"Bash","input":{"timeout":5,"command":"ls -l"}},
            {"type":"tool_use","name":"mcp__a__b","input":{"n":1,"what":"this"}}]}}"#;
        let Event::Message(message) = decode(line.as_bytes()) else { panic!("a message") };
        let tool = |name: &str, on: &str| ContentBlock::Tool { name: name.into(), input_summary: on.into() };
        let said = [ContentBlock::Text("Let me look.".into()), tool("Bash", "ls -l"), tool("mcp__a__b", "this")];
        assert_eq!(message.content, said);
    }

    #[test]
    fn half_a_character_costs_no_line() {
        let result = br#"{"type":"result","subtype":"success","is_error":false,"result":"cut \\ud83d \ud83d","total_cost_usd":1}"#;
        let Event::Result(told) = decode(result) else { panic!("no result") };
        assert_eq!(told.text, "cut \\ud83d \u{fffd}");
        let Event::Result(told) = decode(b"{\"type\":\"result\",\"result\":\"cut \xf0\x9f\"}") else {
            panic!("no result")
        };
        assert_eq!(told.text, "cut \u{fffd}");
        let answer = br#"{"type":"control_response","response":{"request_id":"zen-initialize","response":{"commands":[{"name":"review","description":"\udc00"}]}}}"#;
        assert!(matches!(decode(answer), Event::InitializeResponse { commands: Ok(names), .. } if names == ["review"]));
        let deep = format!(r#"{{"type":"control_response","response":{}1{}}}"#, "[".repeat(500), "]".repeat(500));
        assert!(matches!(decode(deep.as_bytes()), Event::InitializeResponse { commands: Err(_), .. }));
    }

    #[test]
    fn the_start_of_a_message_says_nothing_yet() {
        for content in ["[]", r#"[{"type":"tool_use","id":"t","name":"Bash","input":{}}]"#] {
            let start = format!(
                r#"{{"type":"stream_event","event":{{"type":"message_start","message":{{"id":"m","model":"x","content":{content}}}}}}}"#
            );
            let Event::Message(message) = decode(start.as_bytes()) else { panic!("{start}") };
            assert!(message.is_start && message.content.is_empty() && message.tools.is_empty());
        }
    }

    proptest::proptest! {
        #[test]
        fn no_line_makes_it_panic(line in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = decode(&line);
        }
    }
}
