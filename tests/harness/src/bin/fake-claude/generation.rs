//! The three generations of the CLI that the fake claude plays, and everything in which they differ that is not the shape
//! of a line (that is recorded: see `templates`). Measured against the real ones.

/// Chosen by `FAKE_CLAUDE_GENERATION`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Generation {
    V1_0,
    V2_0,
    V2_1,
}

impl Generation {
    /// # Errors
    /// The value, when it names no generation: a test that writes one is wrong.
    pub fn from_env() -> Result<Generation, String> {
        match std::env::var("FAKE_CLAUDE_GENERATION").as_deref() {
            Err(_) | Ok("" | "2.1") => Ok(Generation::V2_1),
            Ok("2.0") => Ok(Generation::V2_0),
            Ok("1.0") => Ok(Generation::V1_0),
            Ok(other) => Err(other.to_owned()),
        }
    }

    pub fn version(self) -> &'static str {
        match self {
            Generation::V2_1 => "2.1.330",
            Generation::V2_0 => "2.0.76",
            Generation::V1_0 => "1.0.128",
        }
    }

    /// The model without `--model`.
    pub fn default_model(self) -> &'static str {
        match self {
            Generation::V2_1 => "claude-opus-5-5",
            Generation::V2_0 => "claude-sonnet-4-5-20250929",
            Generation::V1_0 => "claude-sonnet-4-20250514",
        }
    }

    /// What an alias of `--model` stands for; other names are taken as they are.
    pub fn resolve_model(self, name: &str) -> String {
        let full = match (self, name) {
            (_, "default") => self.default_model(),
            (Generation::V2_1, "opus") => "claude-opus-5-5",
            (Generation::V2_1, "fable") => "claude-fable-5-2",
            (Generation::V2_1, "sonnet") => "claude-sonnet-5-5",
            (Generation::V2_1, "haiku") => "claude-haiku-5-5",
            (Generation::V2_0, "opus") => "claude-opus-4-5-20251101",
            (Generation::V2_0, "sonnet") => "claude-sonnet-4-5-20250929",
            (Generation::V2_0, "haiku") => "claude-haiku-4-5-20251001",
            (Generation::V1_0, "opus") => "claude-opus-4-1-20250805",
            (Generation::V1_0, "sonnet") => "claude-sonnet-4-20250514",
            (Generation::V1_0, "haiku") => "claude-3-5-haiku-20241022",
            (_, other) => other,
        };
        full.to_owned()
    }

    /// The small model that titles and the like go to (`[[side …]]`).
    pub fn side_model(self) -> &'static str {
        match self {
            Generation::V2_1 => "claude-haiku-5-5",
            Generation::V2_0 => "claude-haiku-4-5-20251001",
            Generation::V1_0 => "claude-3-5-haiku-20241022",
        }
    }

    /// `/clear` works; without it the name is an unknown command.
    pub fn has_clear(self) -> bool {
        self == Generation::V2_1
    }

    /// An unknown slash command goes to the model as text; otherwise it is an empty success.
    pub fn sends_unknown_commands_to_the_model(self) -> bool {
        self == Generation::V2_1
    }

    /// After `--resume` the totals go on from what the session had cost before this process.
    pub fn resumes_totals(self) -> bool {
        self == Generation::V2_1
    }

    /// SIGINT and SIGTERM end the running tools, and SIGINT still brings a result.
    pub fn cleans_up_on_signals(self) -> bool {
        self == Generation::V2_1
    }

    /// `num_turns` is 0 and `modelUsage` complete after a turn that was answered locally. The older ones give the number
    /// of messages in the conversation, and no `modelUsage` at all.
    pub fn local_results_are_whole(self) -> bool {
        self == Generation::V2_1
    }

    /// What had been streamed of a message is paid for when it is interrupted; the older ones forget it.
    pub fn counts_interrupted_messages(self) -> bool {
        self == Generation::V2_1
    }

    /// A message that was refused at first comes without streaming then, and is in no total: only its `assistant` lines
    /// tell of it.
    pub fn falls_back_after_retries(self) -> bool {
        self < Generation::V2_1
    }

    /// `$0`, `$1` … of a command file stand for single arguments, counted from 0.
    pub fn replaces_numbered_arguments(self) -> bool {
        self == Generation::V2_1
    }

    /// 2.1 lets `bypassPermissions` of root pass with `IS_SANDBOX=1` only, the older ones with any value.
    pub fn is_sandboxed(self) -> bool {
        std::env::var("IS_SANDBOX").is_ok_and(|value| value == "1" || (self < Generation::V2_1 && !value.is_empty()))
    }

    /// After so many rounds of tools, with `--max-turns`.
    pub fn is_out_of_turns(self, rounds: u64, most: u64) -> bool {
        match self {
            Generation::V2_0 => rounds + 1 >= most,
            _ => rounds >= most,
        }
    }

    /// How often a message that the API refused for good is sent again without a word: the newest tries harder at a 400,
    /// the older ones ask a second time, without streaming, after whatever failure.
    pub fn quiet_resends(self, status: u16) -> u32 {
        match (self, status) {
            (Generation::V2_1, 400) => 5,
            (Generation::V2_1, _) => 0,
            (_, _) => 1,
        }
    }

    /// What is said to a used-up plan; `time` is such as `10:47am`.
    pub fn limit_text(self, time: &str) -> String {
        match self {
            Generation::V2_1 => format!("You've hit your 5-hour limit · resets {time} (UTC)"),
            Generation::V2_0 => format!("You've hit your session limit · resets {time} (UTC)"),
            Generation::V1_0 => format!("Session limit reached ∙ resets {time}"),
        }
    }

    /// When nobody reads its output any more, the newest lives on; the older ones die of it.
    pub fn survives_closed_stdout(self) -> bool {
        self == Generation::V2_1
    }

    /// What an API error is reported as.
    pub fn api_error_text(self, status: u16) -> String {
        let kind = crate::refusals::api_error_type(status);
        let body = format!(r#"{{"error":{{"message":"scripted status {status}","type":"{kind}"}},"type":"error"}}"#);
        match (self, status) {
            (Generation::V2_1, 401 | 403) => {
                format!("Failed to authenticate. API Error: {status} scripted status {status}")
            }
            (Generation::V2_1, _) => format!("API Error: {status} scripted status {status}"),
            (_, 401 | 403) => format!("API Error: {status} {body} · Please run /login"),
            (_, _) => format!("API Error: {status} {body}"),
        }
    }

    pub fn announces_requests(self) -> bool {
        self == Generation::V2_1
    }

    pub fn answers_get_usage(self) -> bool {
        self == Generation::V2_1
    }
}
