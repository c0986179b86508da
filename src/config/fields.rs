//! The fields of a config, in one table a section: what each is called, what it must be, what it says, and where it goes.
//! The reader, the schema, the man page and the prompt template all come from here; a new field is one row.
//!
//! A field that is not in its table is a mistake, so that a mistyped budget is never ignored.

use super::json::Node;
use super::{
    Background, BudgetConfig, BudgetType, Enforcement, InstanceConfig, OUTPUT_FORMATS, PERMISSION_MODES, PriceConfig,
    TokenBasis,
};
use crate::config::values::{
    ARGUMENTS, BOOLEAN, DEPENDENCIES, DOLLARS, DOLLARS_PER_COMMAND, FILLED, RETRIES, SECONDS, Shape, TEXT, TEXTS,
    TOKENS, TOKENS_PER_COMMAND, Type, VARIABLES, named, one_of, words,
};

/// A field as its author knows it.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// What it is called.
    pub name: &'static str,
    /// What its value must look like.
    pub shape: Shape,
    /// What it says, in sentences; what stands between backticks is code.
    pub about: &'static str,
}

/// A field, and how it is read into a `T`.
pub(super) struct FieldSpec<T: 'static> {
    pub(super) field: Field,
    pub(super) read: fn(&mut T, Node) -> Result<(), String>,
}

/// A macro, because each row is the same sentence: this name, this place, that type, these words.
macro_rules! table {
    ($($name:literal => $target:ident: $of:expr, $about:literal;)+) => {
        &[$(FieldSpec {
            field: Field { name: $name, shape: $of.shape, about: $about },
            read: |into, node| { into.$target = ($of.read)(node)?.into(); Ok(()) },
        }),+]
    };
}

pub(super) const INSTANCE: &[FieldSpec<InstanceConfig>] = table![
    "name" => name: FILLED,
        "What reports call it. Names are unique; a missing one is made from the command.";
    "command" => command: TEXT,
        "What it is to do: a slash command, or text. A slash command that does not exist fails the instance before a \
         token is spent.";
    "prompt" => prompt: TEXT,
        "What it is to do, always as text. With both, `command` counts.";
    "description" => description: TEXT,
        "A few words for whoever reads the config.";
    "permission_mode" => permission_mode: PERMISSION_MODE,
        "Passed on to claude; bypassPermissions if nothing is said. With `allowed_tools`, a mode that asks nobody \
         becomes one that refuses what would have to be asked for.";
    "output_format" => output_format: OUTPUT_FORMAT,
        "Taken for the sake of older configs. zen reads the stream of claude itself.";
    "max_tokens_per_command" => max_tokens: TOKENS,
        "The tokens that it is expected to use; with a budget that blocks, its own limit.";
    "session_id" => session_id: FILLED,
        "A conversation that the next run goes on with; any name. Instances with one session run one after the other, \
         in the order of the config, and in one directory: claude keeps conversations by directory.";
    "clear_history" => clear_history: BOOLEAN,
        "Starts that conversation afresh, with every generation of claude. A `/clear` among the `pre_commands` does it \
         where it stands: what comes after it is told to another process, in a new conversation.";
    "compact_history" => compact_history: BOOLEAN,
        "Compacts that conversation first. Where there is nothing to compact, nothing happens.";
    "allowed_tools" => allowed_tools: TEXTS,
        "The only tools that it can use, in every permission mode and in its subagents: these without asking, everything \
         else is refused, whatever settings, hooks, plugins and front matter allow (see SECURITY). A pattern such as \
         `Bash(git log *)`, `Edit(src/**)` or `mcp__server__tool` allows that much of a tool. With a pattern of Bash, each \
         command of a pipe or a list must match one; commands that only read (ls, cat, head) pass to the rules of claude, \
         which allows them inside the workspace.";
    "disallowed_tools" => disallowed_tools: TEXTS,
        "Tools, or patterns of tools, that it cannot use. A pattern for a tool that writes files holds for all of these.";
    "fail_on_denied" => fail_on_denied: BOOLEAN,
        "Makes it a failure when a tool was refused to it: by a rule or the permission mode, or because these lists keep it \
         from the instance and it was tried all the same. A tool that claude never had is none. The failure comes at the \
         end of the turn, and there is no retry: the next attempt would be refused as well.";
    "fail_on_mcp" => fail_on_mcp: BOOLEAN,
        "Fails the instance if claude reports an MCP server as failed. Without it, the failure is a message, and the instance \
         runs without that server's tools.";
    "background" => background: BACKGROUND,
        "What happens if commands still run in the background after the last turn: wait (the default) keeps claude open until \
         they have ended and claude has answered, which is then the result; stop stops them; fail stops them and fails the \
         instance (reason: unfinished; a retry continues the conversation). A pending wake-up counts as such a command. The summary lists what was stopped. claude \
         2.0 and older do not report when such a command ends, so that they are stopped.";
    "background_wait" => background_wait: SECONDS,
        "Seconds after the last turn that wait lasts at most; then the commands are stopped and the instance has completed. \
         Default: 600. The timeout of the instance still applies, and fails it.";
    "pre_commands" => pre_commands: TEXTS,
        "Messages that come before the command, each a turn of its own. One that fails, fails the instance.";
    "timeout" => timeout: SECONDS,
        "Seconds that it may run.";
    "idle_timeout" => idle_timeout: SECONDS,
        "Seconds that it may say nothing.";
    "startup_timeout" => startup_timeout: SECONDS,
        "Seconds from its start to claude's answer to `initialize`; 120 if nothing is said.";
    "retries" => retries: RETRIES,
        "How often it is tried again when it has failed by an error, by a timeout, or for want of processes or memory; 0 \
         if nothing is said. Its timeouts are of each attempt, its books and its budget of all of them. In a named session \
         the next attempt goes on with the conversation. What another attempt cannot change is not tried again: an \
         unknown command or model, a request that the API calls invalid or too large (400, 413), a refused account, a \
         refused tool, a program that cannot be started, a budget, a signal.";
    "retry_delay" => retry_delay: SECONDS,
        "Seconds before the first retry; they double before each further one, up to ten minutes. 5 if nothing is said. \
         Meanwhile it takes no slot, and whoever depends on it, or comes behind it in its session, waits.";
    "depends_on" => depends_on: DEPENDENCIES,
        "Names of instances that must have completed before it starts, which it then does at once. One that has not makes \
         it skipped; `{\"name\": \"x\", \"when\": \"done\"}` asks only that x has ended.";
    "model" => model: FILLED,
        "Passed on to claude.";
    "env" => env: VARIABLES,
        "Environment variables for it; null takes one away.";
    "cwd" => cwd: FILLED,
        "Its directory, relative to the workspace.";
    "claude_args" => claude_args: ARGUMENTS,
        "More arguments for claude; none that zen gives itself, or has a field for.";
];

/// What makes no sense as a default for every instance.
pub(super) const NOT_IN_DEFAULTS: &[&str] = &["name", "command", "prompt", "description", "depends_on"];

pub(super) const BUDGET: &[FieldSpec<BudgetConfig>] = table![
    "overall_budget" => overall_tokens: TOKENS,
        "Tokens that all instances may use together.";
    "overall_cost_budget" => overall_micros: DOLLARS,
        "Dollars that they may use together.";
    "command_budgets" => command_tokens: TOKENS_PER_COMMAND,
        "Tokens by the first word of the command, summed over the instances that run it.";
    "command_cost_budgets" => command_micros: DOLLARS_PER_COMMAND,
        "The same in dollars.";
    "budget_type" => budget_type: BUDGET_TYPE,
        "Which limits count: those in tokens, in dollars (cost), or both (mixed). All that are set if nothing is said.";
    "enforcement_mode" => enforcement: ENFORCEMENT,
        "What happens at a limit: block stops at it, warn only says so. Block if nothing is said.";
    "disable_visuals" => disable_visuals: BOOLEAN,
        "Leaves the bar out of the reports.";
    "token_basis" => token_basis: TOKEN_BASIS,
        "Which tokens count: total, or uncached, which leaves cache reads out. Total if nothing is said.";
];

pub(super) const PRICE: &[FieldSpec<PriceConfig>] = table![
    "input" => input: DOLLARS, "Dollars per million tokens of input.";
    "output" => output: DOLLARS, "Dollars per million tokens of output.";
    "cache_write" => cache_write: DOLLARS, "Dollars per million tokens written to the cache.";
    "cache_read" => cache_read: DOLLARS, "Dollars per million tokens read from the cache.";
];

/// Without these a price is none.
pub(super) const NEEDED_IN_PRICE: &[&str] = &["input", "output"];

/// The sections of a config, and what each says.
pub(super) const SECTIONS: &[(&str, &str)] = &[
    ("instances", "What is to be done, an instance of claude for each."),
    ("budget", "Limits for the whole run."),
    ("pricing", "Prices of models that zen does not know, by the beginning of the model's name."),
    ("halt", "How many failed instances stop the run: soon,fail=N or now,fail=N, or N% of all; as the option --halt."),
    ("defaults", "Fields for all instances; what an instance says itself beats them."),
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
