//! Fields of a config, in one table per section: name, shape, description, target. The reader, the schema, the man page
//! and the prompt template are generated from them; a new field is one row.
//!
//! A field that is not in its table is an error, so that a mistyped budget is never ignored.

use super::json::Node;
use super::{
    Background, BudgetConfig, BudgetType, Enforcement, InstanceConfig, OUTPUT_FORMATS, PERMISSION_MODES, PriceConfig,
    TokenBasis,
};
use crate::config::value_error::ValueError;
use crate::config::values::{
    ARGUMENTS, BOOLEAN, DEPENDENCIES, DOLLARS, DOLLARS_PER_COMMAND, FILLED, RETRIES, SECONDS, Shape, TEXT, TEXTS,
    TOKENS, TOKENS_PER_COMMAND, Type, VARIABLES, named, one_of, words,
};

/// Field of a config, as documented.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name in the config.
    pub name: &'static str,
    /// Shape of its value.
    pub shape: Shape,
    /// Description in sentences, with code in backticks.
    pub about: &'static str,
}

/// Field with the function that reads it into a `T`.
pub(super) struct FieldSpec<T: 'static> {
    pub(super) field: Field,
    pub(super) read: fn(&mut T, Node) -> Result<(), ValueError>,
}

impl<T> FieldSpec<T> {
    pub(super) fn field(&self) -> &Field {
        &self.field
    }

    pub(super) fn name(&self) -> &'static str {
        self.field.name
    }
}

/// Macro, since all rows have the same form: name, target, type, description.
macro_rules! table {
    ($($name:literal => $target:ident: $type:expr, $about:literal;)+) => {
        &[$(FieldSpec {
            field: Field { name: $name, shape: $type.shape, about: $about },
            read: |target, node| { target.$target = ($type.read)(node)?.into(); Ok(()) },
        }),+]
    };
}

pub(super) const INSTANCE: &[FieldSpec<InstanceConfig>] = table![
    "name" => name: FILLED,
        "The name in reports. Names are unique; the default is made from the command.";
    "command" => command: TEXT,
        "The task: a slash command, or text. If the slash command does not exist, the instance fails before a token is \
         used.";
    "prompt" => prompt: TEXT,
        "The task, always as text. If both are set, `command` counts.";
    "description" => description: TEXT,
        "A description for readers of the config.";
    "permission_mode" => permission_mode: PERMISSION_MODE,
        "The permission mode of claude; the default is bypassPermissions. With `allowed_tools`, a mode that allows \
         tools without asking is replaced by one that denies them.";
    "output_format" => output_format: OUTPUT_FORMAT,
        "Accepted for older configs, without effect: zen reads the stream of claude itself.";
    "max_tokens_per_command" => max_tokens: TOKENS,
        "The estimate of the tokens that it will use; if the budget blocks, also its own limit.";
    "session_id" => session_id: FILLED,
        "A conversation that the next run continues; any name. Instances with one session run one after the other, in \
         the order of the config, and in one directory: claude keeps conversations by directory.";
    "clear_history" => clear_history: BOOLEAN,
        "Starts a new conversation in the session, with every generation of claude. A `/clear` among the `pre_commands` \
         does so at its place: the messages after it are sent to another process, in a new conversation.";
    "compact_history" => compact_history: BOOLEAN,
        "Compacts the conversation first, if it has something to compact.";
    "allowed_tools" => allowed_tools: TEXTS,
        "The only tools that it can use, in every permission mode and in its subagents: these are allowed, all others \
         are denied, whatever settings, hooks, plugins and front matter allow (see SECURITY). A pattern such as \
         `Bash(git log *)`, `Edit(src/**)` or `mcp__server__tool` allows that much of a tool. With a pattern of Bash, each \
         command of a pipe or a list must match one; commands that only read (ls, cat, head) pass to the rules of claude, \
         which allows them inside the workspace.";
    "disallowed_tools" => disallowed_tools: TEXTS,
        "Tools, or patterns of tools, to deny. A pattern for a tool that writes files applies to all such tools.";
    "fail_on_denied" => fail_on_denied: BOOLEAN,
        "Fails the instance if a tool was denied: by a rule, by the permission mode, or by these lists. An unknown \
         tool does not count. The failure comes at the end of the turn and is not retried: the next attempt would \
         be denied too.";
    "fail_on_mcp" => fail_on_mcp: BOOLEAN,
        "Fails the instance if claude reports an MCP server as failed. Without it, the failure is a message, and the instance \
         runs without that server's tools.";
    "background" => background: BACKGROUND,
        "The action if commands still run in the background after the last turn: wait (the default) keeps claude open until \
         they have ended and claude has answered, which is then the result; stop stops them; fail stops them and fails the \
         instance (reason: unfinished; a retry continues the conversation). A pending wake-up counts as such a command. The summary lists what was stopped. claude \
         2.0 and older do not report the end of such a command, so that it is stopped.";
    "background_wait" => background_wait: SECONDS,
        "The longest wait, in seconds; then the commands are stopped and the instance has completed. The default is 600. \
         The timeout of the instance still applies, and fails it.";
    "pre_commands" => pre_commands: TEXTS,
        "Messages to send before the command, each as a turn of its own. If one fails, the instance fails.";
    "timeout" => timeout: SECONDS,
        "Time limit in seconds.";
    "idle_timeout" => idle_timeout: SECONDS,
        "Limit of the time without output, in seconds.";
    "startup_timeout" => startup_timeout: SECONDS,
        "Limit of the time from the start to claude's answer to `initialize`, in seconds; the default is 120.";
    "retries" => retries: RETRIES,
        "The number of retries after an error, a timeout, or a lack of processes or memory; the default is 0. Each \
         attempt has the whole timeout; usage and budget count for all attempts together. In a named session the \
         next attempt continues the conversation. An error that another attempt would have too is not retried: an \
         unknown command or model, a request that the API rejects as invalid or too large (400, 413), a refused \
         account, a denied tool, a program that cannot be started, a budget, a signal.";
    "retry_delay" => retry_delay: SECONDS,
        "Seconds before the first retry, doubled for each further one, up to ten minutes; the default is 5. A \
         waiting instance takes no slot, and its dependents and the next instances in its session wait too.";
    "depends_on" => depends_on: DEPENDENCIES,
        "Names of instances that must have completed before it starts. If one does not complete, it is skipped; \
         `{\"name\": \"x\", \"when\": \"done\"}` requires only that x has ended.";
    "model" => model: FILLED,
        "The model of claude.";
    "env" => env: VARIABLES,
        "Environment variables to set; null removes one.";
    "cwd" => cwd: FILLED,
        "The directory to run in, relative to the workspace.";
    "claude_args" => claude_args: ARGUMENTS,
        "Additional arguments for claude, except those that zen sets or has a field for.";
];

/// Fields of an instance that are not allowed in `defaults`.
pub(super) const NOT_IN_DEFAULTS: &[&str] = &["name", "command", "prompt", "description", "depends_on"];

pub(super) const BUDGET: &[FieldSpec<BudgetConfig>] = table![
    "overall_budget" => overall_tokens: TOKENS,
        "Tokens that all instances may use together.";
    "overall_cost_budget" => overall_micros: DOLLARS,
        "Dollars that all instances may use together.";
    "command_budgets" => command_tokens: TOKENS_PER_COMMAND,
        "Tokens by the first word of the command, for all instances with this command together.";
    "command_cost_budgets" => command_micros: DOLLARS_PER_COMMAND,
        "Dollars by the first word of the command, for all instances with this command together.";
    "budget_type" => budget_type: BUDGET_TYPE,
        "The limits that count: those in tokens, in dollars (cost), or both (mixed). The default is all that are \
         set.";
    "enforcement_mode" => enforcement: ENFORCEMENT,
        "The action at a limit: block stops, warn prints a message. The default is block.";
    "disable_visuals" => disable_visuals: BOOLEAN,
        "Omits the budget bar from the reports.";
    "token_basis" => token_basis: TOKEN_BASIS,
        "The tokens that count: total, or uncached, which excludes cache reads. The default is total.";
];

pub(super) const PRICE: &[FieldSpec<PriceConfig>] = table![
    "input" => input: DOLLARS, "Dollars per million tokens of input.";
    "output" => output: DOLLARS, "Dollars per million tokens of output.";
    "cache_write" => cache_write: DOLLARS, "Dollars per million tokens written to the cache.";
    "cache_read" => cache_read: DOLLARS, "Dollars per million tokens read from the cache.";
];

/// Required fields of a price.
pub(super) const NEEDED_IN_PRICE: &[&str] = &["input", "output"];

/// Sections of a config, with their descriptions.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("instances", "The instances of claude to run."),
    ("budget", "Limits of the run."),
    ("pricing", "Prices of models that zen does not know, by a prefix of the model's name."),
    (
        "halt",
        "The number of failed instances that stops the run: soon,fail=N or now,fail=N, or N% of all; as the option --halt.",
    ),
    ("defaults", "Fields for all instances; a field of an instance takes precedence."),
];

const BACKGROUNDS: [(&str, Background); 3] =
    [("wait", Background::Wait), ("stop", Background::Stop), ("fail", Background::Fail)];
const BACKGROUND: Type<Background> =
    Type { read: |node| named(node, &BACKGROUNDS), shape: Shape::Enum(&words(&BACKGROUNDS)) };

const PERMISSION_MODE: Type<String> =
    Type { read: |node| one_of(node, PERMISSION_MODES), shape: Shape::Enum(PERMISSION_MODES) };
const OUTPUT_FORMAT: Type<String> =
    Type { read: |node| one_of(node, OUTPUT_FORMATS), shape: Shape::Enum(OUTPUT_FORMATS) };

const BUDGET_TYPES: [(&str, BudgetType); 3] =
    [("tokens", BudgetType::Tokens), ("cost", BudgetType::Cost), ("mixed", BudgetType::Mixed)];
const BUDGET_TYPE: Type<BudgetType> =
    Type { read: |node| named(node, &BUDGET_TYPES), shape: Shape::Enum(&words(&BUDGET_TYPES)) };

const ENFORCEMENTS: [(&str, Enforcement); 2] = [("block", Enforcement::Block), ("warn", Enforcement::Warn)];
const ENFORCEMENT: Type<Enforcement> =
    Type { read: |node| named(node, &ENFORCEMENTS), shape: Shape::Enum(&words(&ENFORCEMENTS)) };

const TOKEN_BASES: [(&str, TokenBasis); 2] = [("total", TokenBasis::Total), ("uncached", TokenBasis::Uncached)];
const TOKEN_BASIS: Type<TokenBasis> =
    Type { read: |node| named(node, &TOKEN_BASES), shape: Shape::Enum(&words(&TOKEN_BASES)) };
