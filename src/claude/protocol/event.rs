//! Events of claude's output stream, as decoded. Every field may be missing in some generation.

use std::fmt;

use crate::claude::pricing::Price;
use crate::claude::slash_commands::Commands;
use crate::claude::tokens::Tokens;
use crate::claude::tool_denials::UnavailableTool;
use crate::claude::usage_meter::ReportedUsage;

/// One decoded line of the stream.
#[derive(Debug, PartialEq)]
pub enum Event {
    /// Response to a control request.
    InitializeResponse {
        /// Id of the request.
        request_id: String,
        /// Slash commands of the session, or the error.
        commands: Result<Commands, InitializeError>,
        /// Prices of models, if the response names them.
        prices: Vec<(String, Price)>,
        /// True if this claude answers usage queries and so reports all its usage (2.1).
        reports_usage: bool,
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

/// Error instead of the list of commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum InitializeError {
    /// An error of claude, in its words.
    Reported(String),
    /// An error without a reason.
    NoReason,
    /// A response that is nested too deeply to be decoded.
    Unreadable,
}

impl fmt::Display for InitializeError {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            InitializeError::Reported(error) => error,
            InitializeError::NoReason => "claude gave no reason",
            InitializeError::Unreadable => "zen cannot decode the JSON of its response",
        })
    }
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
