//! One turn: a user's message, the model's messages with their tool calls, and the result.

use crate::commands::split_command;
use crate::message::OpenMessage;
use crate::money::Tokens;
use crate::report::{Reports, Verdict};
use crate::subagent::Agent;
use crate::templates::replace;
use crate::{Claude, Stop, log};
use harness::script;
use harness::script::{Message, Step};
use serde_json::{Value, json};
use std::collections::VecDeque;
use std::path::Path;
use std::time::Instant;

/// What is known of the turn under way, or of a subagent within it.
pub struct Turn {
    pub model: String,
    /// Whose conversation it is, when it is not the main one.
    pub agent: Option<Agent>,
    pub usage: Tokens,
    /// Of the last message, until it has been weighed against the budget.
    pub unsettled: Tokens,
    /// The user's message, and what stands in its place: results of tools and the note of an interrupt.
    pub user_messages: u64,
    /// All messages that this turn added to the conversation; each block of the model's is one.
    pub messages: u64,
    pub denials: Vec<Value>,
    pub last_text: String,
    pub message_ids: Vec<String>,
    pub started: Instant,
    pub open: Option<OpenMessage>,
    pub tool_uses: u64,
    /// The message under way is one that old generations get without streaming.
    pub is_fallback: bool,
    /// The message under way has its end as soon as this block has.
    pub ends_at_once: bool,
    pub is_last_block: bool,
    pub stop_reason: &'static str,
    pub interrupted_tool: bool,
    /// Begun by the end of a subagent.
    pub is_follow_up: bool,
    pub reports: Reports,
    /// What the turn is to be reported as at its end, when nothing else goes wrong.
    pub verdict: Verdict,
    pub text: String,
}

impl Turn {
    pub fn new(model: &str, text: &str, agent: Option<Agent>) -> Turn {
        Turn {
            model: model.to_owned(),
            agent,
            usage: Tokens::default(),
            unsettled: Tokens::default(),
            user_messages: 1,
            messages: 0,
            denials: Vec::new(),
            last_text: String::new(),
            message_ids: Vec::new(),
            started: Instant::now(),
            open: None,
            tool_uses: 0,
            is_fallback: false,
            ends_at_once: true,
            is_last_block: true,
            stop_reason: "end_turn",
            interrupted_tool: false,
            is_follow_up: false,
            reports: Reports::One,
            verdict: Verdict::Success,
            text: text.to_owned(),
        }
    }

    pub fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(0)
    }
}

impl Claude {
    /// Runs one message of the user to its result.
    pub fn run_turn(&mut self, text: &str) {
        log::event(
            "turn",
            json!({ "text": text, "session_id": self.session.id, "history": self.session.conversation.len() }),
        );
        let model = self.model.clone();
        let Some((name, arguments)) = split_command(text).filter(|_| !self.options.no_slash_commands) else {
            return self.run_prompt(text, &model, 0);
        };
        if let Some(command) = self.commands.iter().find(|command| command.name == name) {
            let model = command.model.as_deref().map_or(model, |name| self.generation.resolve_model(name));
            let text = command.expand(self.generation, arguments);
            if let Some(why) = self.run_shell_lines(&text) {
                return self.end_without_model(&why, "custom");
            }
            return self.run_prompt(&text, &model, 1);
        }
        match name {
            "help" => self.answer_locally(name, self.local_answer(name)),
            "compact" => self.compact(arguments),
            "clear" | "reset" | "new" if self.generation.has_clear() => self.clear(),
            "cost" | "usage" | "context" if self.is_builtin(name) => self.answer_locally(name, self.local_answer(name)),
            _ if self.generation.sends_unknown_commands_to_the_model()
                || self.is_builtin(name)
                || Path::new("/").join(name).exists() =>
            {
                self.run_prompt(text, &model, 0);
            }
            _ => self.answer_locally(name, None),
        }
    }

    pub fn print_init(&mut self, model: &str) {
        let mut line = self.templates.init();
        let cwd = std::env::current_dir().unwrap_or_default().to_string_lossy().into_owned();
        let custom: Vec<Value> = self.commands.iter().map(|command| command.name.as_str().into()).collect();
        let builtin: Vec<Value> = self.templates.builtin_commands().map(|command| command["name"].clone()).collect();
        replace(
            &mut line,
            "slash_commands",
            if self.options.no_slash_commands { vec![] } else { [custom, builtin].concat() },
        );
        if let Some(tools) = line["tools"].as_array_mut() {
            tools.retain(|tool| self.permissions.offers(tool.as_str().unwrap_or_default()));
        }
        if let Ok(failed) = std::env::var("FAKE_CLAUDE_MCP_FAILED") {
            let server = |name: &str| json!({ "name": name, "status": "failed", "source": "dynamic" });
            line["mcp_servers"] = failed.split(',').map(server).collect();
        }
        replace(&mut line, "cwd", cwd.as_str());
        replace(&mut line, "original_cwd", cwd.as_str());
        replace(&mut line, "model", model);
        replace(&mut line, "permissionMode", self.permissions.mode.as_str());
        if line["memory_paths"].is_object() {
            let home = std::env::var("HOME").unwrap_or_default();
            line["memory_paths"]["auto"] = format!("{home}/.claude/projects/{}/memory/", cwd.replace('/', "-")).into();
        }
        replace(&mut line, "messaging_socket_path", format!("/tmp/cc-socks/{}.sock", std::process::id()));
        self.emit(line);
    }

    /// Gives text to the model; `extra_messages` is what a command adds to the conversation beside it.
    pub fn run_prompt(&mut self, text: &str, model: &str, extra_messages: u64) {
        let mut turn = Turn::new(model, text, None);
        turn.messages += 1 + extra_messages;
        self.session.add("user", text);
        self.session.save(&self.totals);
        self.print_init(model);
        if self.finish(&mut turn) {
            self.follow_up();
        }
    }

    /// A turn that nobody asked for: the end of something in the background began it.
    pub fn follow_up(&mut self) {
        let model = self.model.clone();
        let mut turn = Turn::new(&model, "", None);
        turn.is_follow_up = true;
        self.print_init(&model);
        self.finish(&mut turn);
    }

    /// Runs a turn that has begun to its result; true when subagents were waited for.
    fn finish(&mut self, turn: &mut Turn) -> bool {
        let outcome = self.converse(turn).and_then(|()| self.finish_agents(turn, false));
        let (verdict, had_agents) = match outcome {
            Ok(had_agents) => (turn.verdict.clone(), had_agents),
            Err(Stop::Verdict(verdict)) => (verdict, false),
            Err(Stop::Interrupted) => {
                self.abort(turn);
                self.stop_background();
                (Verdict::Interrupted, false)
            }
        };
        let said = turn.last_text.clone();
        self.session.add("assistant", &said);
        self.session.save(&self.totals);
        self.report(turn, &verdict);
        if self.got_sigint {
            self.end(0);
        }
        had_agents
    }

    /// Messages of the model until one calls no tool.
    pub fn converse(&mut self, turn: &mut Turn) -> Result<(), Stop> {
        let mut messages = self.messages_for(turn);
        if self.is_over_budget() {
            return Err(Stop::Verdict(Verdict::OverBudget));
        }
        let mut rounds = 0;
        loop {
            let message = messages.pop_front().unwrap_or_else(|| default_message(rounds > 0 || turn.is_follow_up));
            let calls = self.serve(turn, &message);
            if turn.agent.is_none() {
                // What this turn leaves belongs to later turns that bring no script.
                self.rest_of_script.clone_from(&messages);
            }
            let calls = calls?;
            if self.is_over_budget() {
                // The message that went over is missing from the turn's own usage.
                return Err(Stop::Verdict(Verdict::OverBudget));
            }
            turn.usage += std::mem::take(&mut turn.unsettled);
            if calls.is_empty() {
                return Ok(());
            }
            for call in &calls {
                self.run_tool(turn, call)?;
            }
            rounds += 1;
            if turn.agent.is_none()
                && self.options.max_turns.is_some_and(|most| self.generation.is_out_of_turns(rounds, most))
            {
                return Err(Stop::Verdict(Verdict::MaxTurns));
            }
        }
    }

    fn messages_for(&mut self, turn: &Turn) -> VecDeque<Message> {
        let script = script::parse(&turn.text).unwrap_or_else(|error| {
            crate::fail(&format!("fake-claude: {error}"));
        });
        if script.messages.is_empty() && turn.agent.is_none() {
            return std::mem::take(&mut self.rest_of_script);
        }
        script.messages.into()
    }

    fn is_over_budget(&self) -> bool {
        self.options.max_budget_usd.is_some_and(|most| self.totals.cost_usd() >= most)
    }
}

/// What the model says where the script has no more to say.
fn default_message(is_end_of_script: bool) -> Message {
    let text = if is_end_of_script { "done." } else { "ok" };
    Message { steps: vec![Step::Say(text.to_owned())], ..Message::default() }
}
