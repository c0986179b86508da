//! What claude says: one line of its stream, decoded to what zen acts on.
//!
//! New kinds of events and fields come with every release, so everything unknown is passed over and everything may be
//! missing. Most lines are deltas of text, which are told by their first bytes and not decoded at all; the longest are
//! decoded as far as is asked for, see `long`.

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

/// One line of the stream.
#[derive(Debug, PartialEq)]
pub enum Event {
    /// The answer to a control request.
    InitializeResponse {
        /// Which request it answers.
        request_id: String,
        /// The session's slash commands, their other names among them, without their slashes, if the answer has them; or what went wrong.
        commands: Result<Vec<String>, String>,
        /// The prices of models, where the answer names them.
        prices: Vec<(String, Price)>,
        /// Whether this claude can be asked what it has used, and so keeps nothing of it to itself (2.1).
        tells_usage: bool,
    },
    /// A turn begins.
    Init {
        /// The session it belongs to.
        session_id: Option<String>,
        /// The model that will answer.
        model: Option<String>,
        /// The permission mode that claude is in.
        permission_mode: Option<String>,
        /// The names of the MCP servers that claude could not start or reach.
        mcp_failed: Vec<String>,
    },
    /// A message of the model has begun, or a part of it has come.
    Message(Box<Message>),
    /// The message under way has come to these counts.
    MessageDelta {
        /// Its counts; a kind that is not said is 0.
        tokens: Tokens,
        /// Whether claude will use tools next, and go on with another message.
        uses_tools: bool,
        /// Whether the model ended it there. Of one that is cut off, 2.1 gives a guess.
        ended: bool,
        /// True if the API paused a long turn (`pause_turn`): the answer is not finished.
        paused: bool,
    },
    /// The message under way has ended.
    MessageStop,
    /// Tools have ended. The model is asked again when all that it used have.
    ToolResults {
        /// Which ones.
        tools: Vec<ToolResult>,
        /// Whether a subagent used them.
        of_subagent: bool,
    },
    /// A turn has ended.
    Result(Box<TurnResult>),
    /// A request to the API failed and will be tried again.
    Retry(Retry),
    /// The account's usage limit.
    RateLimit {
        /// Whether the request was rejected for it.
        rejected: bool,
        /// When it ends, in seconds since 1970.
        resets_at: Option<u64>,
    },
    /// What claude does in the background has changed (2.1).
    BackgroundTasks {
        /// The number of agents at work there.
        agents: usize,
        /// The commands that run there: of Bash, and of Monitor.
        commands: Vec<Task>,
    },
    /// A command was started in, or moved to, the background (2.1).
    CommandInBackground {
        /// Its task.
        task_id: String,
        /// The use of a tool that started it.
        tool_use_id: String,
    },
    /// A background task has ended by itself; claude reports that to the model, in the turn under way or in another (2.1).
    TaskEnded,
    /// A wake-up that the agent scheduled has come: claude begins a turn (2.1).
    WokeUp,
    /// The model is asked to sum up the conversation (2.0, 2.1); that message is not told.
    CompactionBegins,
    /// A turn's result that is nested beyond what is decoded.
    MalformedResult,
    /// The conversation began anew; later events carry another session id.
    ConversationReset,
    /// Nothing that zen acts on.
    Other,
    /// No JSON object with a `type`.
    Invalid,
}

/// A message of the model, or the part of it that one line brings.
#[derive(Debug, PartialEq)]
pub struct Message {
    /// Its id; the same message comes several times.
    pub id: Option<String>,
    /// The model that wrote it.
    pub model: String,
    /// Its counts so far; the output is a placeholder.
    pub tokens: Tokens,
    /// Whether a subagent's.
    pub from_subagent: bool,
    /// Whether it is being streamed from here on, to its [`Event::MessageStop`].
    pub is_start: bool,
    /// What it says and which tools it uses, in words.
    pub content: Vec<ContentBlock>,
    /// The tools that claude is to use for it.
    pub tools: Vec<ToolUse>,
    /// claude's word for an API error that this message reports (2.0, 2.1): `billing_error`, …
    pub error: Option<String>,
}

impl Message {
    /// True if the model wrote it. claude writes messages of its own as model `<synthetic>`.
    #[must_use]
    pub fn is_of_model(&self) -> bool {
        !self.model.is_empty() && self.model != "<synthetic>"
    }
}

/// The use of a tool that a message asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolUse {
    /// Its id.
    pub id: String,
    /// The tool.
    pub tool: String,
    /// The one thing in its input that tells most.
    pub input_summary: String,
}

/// A command that runs in the background.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// claude's id of it.
    pub id: String,
    /// The agent's description of it, or the command.
    pub description: String,
}

/// Work that the use of a tool has left to be done later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Leaves {
    /// None.
    #[default]
    Nothing,
    /// A command that goes on running.
    Command,
    /// A turn that claude will take by itself.
    WakeUp,
    /// Wake-ups that were scheduled before are cancelled.
    NoWakeUp,
}

/// The end of the use of a tool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToolResult {
    /// Its id.
    pub id: String,
    /// Whether there is no such tool, in claude's words.
    pub missing: Option<UnavailableTool>,
    /// Work that it has left.
    pub leaves: Leaves,
}

/// A part of a message, for a person to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentBlock {
    /// Text of the agent.
    Text(String),
    /// A tool it uses, and on what.
    Tool {
        /// The tool's name.
        name: String,
        /// The one thing in its input that tells most.
        input_summary: String,
    },
}

/// A request to the API that failed and will be tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// Which one this is, from 1.
    pub attempt: u64,
    /// How many there will be at most.
    pub max_retries: u64,
    /// How long claude waits before it.
    pub delay_ms: u64,
    /// The HTTP status, if there was one.
    pub status: Option<u64>,
    /// claude's word for the error.
    pub error: String,
}

impl Retry {
    /// Describes what claude was doing, as the known cause of a timeout. Of a connection that failed, claude says no more
    /// than that there was no HTTP status.
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
    /// Whether claude calls it an error. `success` can come with it.
    pub is_error: bool,
    /// The text of the answer; may be empty.
    pub text: String,
    /// What went wrong, in claude's words.
    pub errors: Vec<String>,
    /// Whether nothing that was sent asked for it: claude began the turn itself, when something in the background ended (2.1).
    pub is_unsolicited: bool,
    /// The session it belongs to.
    pub session_id: Option<String>,
    /// Why it ended, where claude says so (2.1).
    pub terminal_reason: Option<String>,
    /// The stop reason of the turn's last message (2.1).
    pub stop_reason: Option<String>,
    /// How many model calls a safety system has stopped since the process began (2.1).
    pub safety_stops: u64,
    /// True if a permission check of claude's ended the turn (2.1).
    pub stopped_by_permission_check: bool,
    /// True if a shutdown of claude's host ended the turn (2.1).
    pub interrupted_by_shutdown: bool,
    /// True if claude's numbers show that a model worked in this turn.
    pub used_model: bool,
    /// The HTTP status of the error that ended it (2.1).
    pub api_error_status: Option<u64>,
    /// claude's word for that error (2.1).
    pub api_error: Option<String>,
    /// claude's numbers.
    pub settlement: ReportedUsage,
    /// The tools that were refused.
    pub permission_denials: Vec<Denial>,
    /// The ids of these uses of tools, one for each; empty if claude gives none.
    pub denied_ids: Vec<String>,
}

impl TurnResult {
    /// Whether it was interrupted while the model was asked, or wrote (2.1).
    #[must_use]
    pub fn was_streaming(&self) -> bool {
        self.terminal_reason.as_deref() == Some("aborted_streaming")
    }
}

/// A use of a tool that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The tool.
    pub tool: String,
    /// The one thing in its input that tells most.
    pub input_summary: String,
}

/// How a line begins that nobody asks for: so, and on with one of the others. Such a line is a delta whatever follows, for
/// claude writes the keys in this order. Each is short enough to be compared without a call.
const STREAMED: &[u8] = br#"{"type":"stream_event","event":{"#;
const DELTA: &[u8] = br#""type":"content_block_"#;
const PING: &[u8] = br#""type":"ping""#;

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    subtype: Option<Cow<'a, str>>,
    /// Of a line that streams a message, the part that tells.
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

/// A line that can be decoded.
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

/// The line with U+FFFD in place of what is no character: programs that cut texts leave halves of some. `None` if there was
/// nothing to mend.
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

/// Nested beyond what is decoded, or no JSON. Neither a result is ever taken for nothing nor the answer that everything waits
/// for: no other would come.
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

/// A delta of a text needs no tree: of most lines that stream a message nothing is asked.
fn needs_decoding(event: Option<&RawValue>) -> bool {
    let kind = event.and_then(|event| serde_json::from_str::<Kind>(event.get()).ok());
    kind.is_some_and(|event| matches!(event.kind.as_ref(), "message_start" | "message_delta" | "message_stop"))
}

/// Whether a line that cannot be decoded was to be a turn's result, by its beginning. 2.1 puts the type at the end, and
/// what it cost before that. In a text the quotes would be escaped.
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
            // 2.1 runs a command by its aliases too: `/review` is one of `/code-review`.
            let aliases = |command: &Value| command["aliases"].as_array().cloned().unwrap_or_default();
            let names = commands.flat_map(|command| std::iter::once(command["name"].clone()).chain(aliases(command)));
            // Names come without the slash; one that comes with it shall not be lost.
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

/// The beginning of Bash's answer for a command that goes on running, on all generations.
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
    // 1.0 and 2.0 put the beginning of a message's first block into its start, and tell the block when it is whole.
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

/// How much of a name, an id or one word of claude is kept, in bytes. All that claude sends are far shorter; a broken or
/// hostile child may send megabytes in each.
const MAX_WORD_BYTES: usize = 256;

/// How much is kept of a tool's input, in bytes.
const MAX_ESSENCE_BYTES: usize = 1_000;

/// Returns a string of at most this length, cut between two characters.
fn bounded(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        text.truncate((0..=max_bytes).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0));
        text.shrink_to_fit();
    }
    text
}

/// A name, an id or a word.
fn word(value: &Value) -> Option<String> {
    text(value).map(|text| bounded(text, MAX_WORD_BYTES))
}

/// Returns the value in a tool's input that says most about it, of a long one the beginning.
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
        // Whoever leaves out whether it is an error has not said that it is none.
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

/// True if the numbers of a result show that a model worked in its turn.
///
/// `modelUsage` of the older generations grows by calls of claude's own too, so their `usage` decides. 2.1 counts each turn
/// apart; a turn that a `UserPromptSubmit` hook blocked with a model of its own has 0 turns and is no local command
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

/// The turn's own tokens, which a turn that ran out of its dollars does not tell.
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
    /// Limits the memory that a hostile list of tasks takes.
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

/// Of a task that was stopped the model is not told (measured on 2.1.332).
fn task_notification(line: &Value) -> Event {
    if line["status"] == "stopped" { Event::Other } else { Event::TaskEnded }
}

fn command_lifecycle(line: &Value) -> Event {
    let is_wakeup = line["state"] == "started" && line["wakeup_source"].is_string();
    if is_wakeup { Event::WokeUp } else { Event::Other }
}

fn rate_limit(line: &Value) -> Event {
    let info = &line["rate_limit_info"];
    // Of what goes over the plan and is paid for, nothing is refused.
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

/// Dollars, which claude gives as a double, as micro-dollars.
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

    /// As 2.1.332 prints them; 2.0 and 1.0 have the tool's answer alone.
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
