//! One turn: a user's message, the model's messages with their tool calls, and the result.

use crate::commands::split_command;
use crate::generation::Generation;
use crate::money::{Tokens, Totals};
use crate::script::{Failure, Message, Step};
use crate::session::{new_id, new_uuid};
use crate::templates::{replace, text_block};
use crate::subagent::Agent;
use crate::tools::Call;
use crate::{Claude, Stop, log, script};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// How a turn ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    Success,
    Interrupted,
    MaxTurns,
    OverBudget,
    /// The API refused for good. `kind` is its name in 2.1.
    ApiError { status: u16, text: String },
    UsageLimit { resets_at: u64, text: String },
    /// `[[error TEXT]]`
    Error(String),
    /// `[[subtype NAME]]`
    Subtype(String),
}

/// What is known of the turn under way, or of a subagent within it.
pub struct Turn {
    model: String,
    /// Whose conversation it is, when it is not the main one.
    pub agent: Option<Agent>,
    usage: Tokens,
    /// Of the last message, until it has been weighed against the budget.
    unsettled: Tokens,
    /// The user's message, and what stands in its place: results of tools and the note of an interrupt.
    pub user_messages: u64,
    /// All messages that this turn added to the conversation; each block of the model's is one.
    pub messages: u64,
    pub denials: Vec<Value>,
    pub last_text: String,
    message_ids: Vec<String>,
    started: Instant,
    open: Option<OpenMessage>,
    pub tool_uses: u64,
    /// The message under way is one that old generations get without streaming.
    is_fallback: bool,
    /// The message under way has its end as soon as this block has.
    ends_at_once: bool,
    is_last_block: bool,
    stop_reason: &'static str,
    pub interrupted_tool: bool,
    /// Begun by the end of a subagent.
    is_follow_up: bool,
    pub reports: Reports,
    /// What the turn is to be reported as at its end, when nothing else goes wrong.
    pub verdict: Verdict,
    text: String,
}

/// How many results the turn brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reports {
    None,
    One,
    Two,
}

/// How a message came to its end, as far as the bill is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Whole,
    CutOff,
    /// Served whole, but in no total of the CLI.
    Forgotten,
}

/// A message that began to stream.
struct OpenMessage {
    id: String,
    /// Not streamed, and never counted: see `falls_back_after_retries`.
    is_fallback: bool,
    tokens: Tokens,
    index: u64,
    streamed_chars: u64,
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

/// No delta is longer, in characters.
const DELTA_CHARS: usize = 200;
const MAX_RETRIES: u32 = 10;

impl Claude {
    /// Runs one message of the user to its result.
    pub fn run_turn(&mut self, text: &str) {
        log::event("turn", json!({ "text": text, "session_id": self.session.id, "history": self.session.conversation.len() }));
        let model = self.model.clone();
        let Some((name, arguments)) = split_command(text).filter(|_| !self.options.no_slash_commands) else {
            return self.run_prompt(text, &model, 0);
        };
        if let Some(command) = self.commands.iter().find(|command| command.name == name) {
            let model = command.model.as_deref().map_or(model, |name| self.generation.resolve_model(name));
            let text = command.expand(self.generation, arguments);
            return self.run_prompt(&text, &model, 1);
        }
        match name {
            "help" => self.answer_locally(name, self.local_answer(name)),
            "compact" => self.compact(arguments),
            "clear" | "reset" | "new" if self.generation.has_clear() => self.clear(),
            "cost" | "usage" | "context" if self.is_builtin(name) => self.answer_locally(name, self.local_answer(name)),
            _ if self.generation.sends_unknown_commands_to_the_model() || self.is_builtin(name) => {
                self.run_prompt(text, &model, 0);
            }
            _ => self.answer_locally(name, None),
        }
    }

    fn is_builtin(&self, name: &str) -> bool {
        self.templates.builtin_commands().any(|command| command["name"] == name)
    }

    /// What the newest says to a command that the model is not asked about.
    fn local_answer(&self, name: &str) -> Option<String> {
        (self.generation == Generation::V2_1).then(|| match name {
            "help" => "/help isn't available in this environment.".to_owned(),
            _ => format!("Estimated cost:        ${:.4}", self.totals.cost_usd()),
        })
    }

    fn print_init(&mut self, model: &str) {
        let mut line = self.templates.init();
        let cwd = std::env::current_dir().unwrap_or_default().to_string_lossy().into_owned();
        let custom: Vec<Value> = self.commands.iter().map(|command| command.name.as_str().into()).collect();
        let builtin: Vec<Value> = self.templates.builtin_commands().map(|command| command["name"].clone()).collect();
        replace(&mut line, "slash_commands", if self.options.no_slash_commands { vec![] } else { [custom, builtin].concat() });
        if let Some(tools) = line["tools"].as_array_mut() {
            tools.retain(|tool| self.permissions.offers(tool.as_str().unwrap_or_default()));
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
    fn run_prompt(&mut self, text: &str, model: &str, extra_messages: u64) {
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
            if turn.agent.is_none() && self.options.max_turns.is_some_and(|most| self.generation.is_out_of_turns(rounds, most)) {
                return Err(Stop::Verdict(Verdict::MaxTurns));
            }
        }
    }

    fn messages_for(&mut self, turn: &Turn) -> std::collections::VecDeque<Message> {
        let script = script::parse(&turn.text).unwrap_or_else(|error| {
            crate::fail(&format!("claude-stand-in: {error}"));
        });
        if script.messages.is_empty() && turn.agent.is_none() {
            return std::mem::take(&mut self.rest_of_script);
        }
        script.messages.into()
    }

    fn is_over_budget(&self) -> bool {
        self.options.max_budget_usd.is_some_and(|most| self.totals.cost_usd() >= most)
    }

    /// One message of the model; returns its tool calls.
    fn serve(&mut self, turn: &mut Turn, message: &Message) -> Result<Vec<Call>, Stop> {
        let tokens = Tokens::from(message.usage);
        let mut calls = Vec::new();
        turn.stop_reason = if message.calls_a_tool() { "tool_use" } else { "end_turn" };
        if self.generation.announces_requests() && self.streams(turn) {
            let line = json!({ "type": "system", "subtype": "status", "status": "requesting" });
            self.emit(line);
        }
        self.fail_first(&message.failures)?;
        turn.is_fallback = !message.failures.is_empty() && self.generation.falls_back_after_retries();
        for (at, step) in message.steps.iter().enumerate() {
            self.listen()?;
            let rest = &message.steps[at + 1..];
            let waits = |step: &Step| matches!(step, Step::Wait(_) | Step::Other { .. });
            turn.ends_at_once = !rest.iter().any(waits);
            turn.is_last_block = rest.iter().all(waits);
            match step {
                Step::Say(text) => self.say(turn, tokens, text),
                Step::Think(text) => {
                    self.print_block(turn, tokens, json!({ "type": "thinking", "thinking": text, "signature": "c2lnbmF0dXJl" }));
                }
                Step::Tool { name, input } => {
                    let call = Call { id: new_id("toolu"), name: name.clone(), input: input.clone() };
                    let block = json!({ "type": "tool_use", "id": call.id, "name": name, "input": input });
                    self.print_block(turn, tokens, block);
                    turn.tool_uses += 1;
                    calls.push(call);
                }
                Step::Wait(duration) => {
                    self.open(turn, tokens, None);
                    self.pause(*duration)?;
                }
                Step::Other { verb, args } => self.do_other(turn, tokens, verb, args)?,
            }
        }
        if calls.is_empty() && turn.open.as_ref().is_none_or(|open| open.index == 0) {
            self.say(turn, tokens, "ok");
        }
        self.close(turn);
        if let Some(window) = header(&message.headers, "status") {
            let number = |name: &str| header(&message.headers, name).and_then(|value| value.parse().ok());
            let resets_at = header(&message.headers, "reset").and_then(|value| value.parse().ok()).unwrap_or(0);
            self.print_rate_limit("allowed", window, number("5h-utilization").unwrap_or(0.0), resets_at);
        }
        Ok(calls)
    }

    fn streams(&self, turn: &Turn) -> bool {
        self.options.partial_messages && turn.agent.is_none() && !turn.is_fallback
    }

    fn stream(&mut self, turn: &Turn, event: Value) {
        if !self.streams(turn) {
            return;
        }
        let mut line = self.templates.around(&event);
        line["event"] = event;
        if let Some(open) = &turn.open {
            replace(&mut line, "api_message_id", open.id.as_str());
        }
        self.emit(line);
    }

    /// Begins the message, unless it has begun.
    fn open(&mut self, turn: &mut Turn, tokens: Tokens, first_block: Option<&Value>) {
        if turn.open.is_some() {
            return;
        }
        let id = new_id("msg");
        let is_fallback = turn.is_fallback;
        turn.open = Some(OpenMessage { id: id.clone(), is_fallback, tokens, index: 0, streamed_chars: 0 });
        turn.message_ids.push(id.clone());
        let mut event = self.templates.stream_event("message_start")["event"].take();
        let message = &mut event["message"];
        message["id"] = id.into();
        message["model"] = turn.model.as_str().into();
        // The older ones print it a little late, when the first block is in it already.
        let first_block = first_block.filter(|_| self.generation < Generation::V2_1);
        message["content"] = first_block.map(empty_block).into_iter().collect();
        Tokens { output: 1, ..tokens }.write_api_usage(&mut message["usage"]);
        self.stream(turn, event);
    }

    pub fn say(&mut self, turn: &mut Turn, tokens: Tokens, text: &str) {
        text.clone_into(&mut turn.last_text);
        self.print_block(turn, tokens, json!({ "type": "text", "text": text }));
    }

    fn print_block(&mut self, turn: &mut Turn, tokens: Tokens, block: Value) {
        self.open(turn, tokens, Some(&block));
        let open = turn.open.as_ref().expect("just opened");
        let (index, id) = (open.index, open.id.clone());
        let kind = block["type"].as_str().unwrap_or_default().to_owned();
        let (delta, delta_field, text) = match kind.as_str() {
            "tool_use" => ("input_json_delta", "partial_json", block["input"].to_string()),
            "thinking" => ("thinking_delta", "thinking", text_field(&block, "thinking")),
            _ => ("text_delta", "text", text_field(&block, "text")),
        };
        if self.streams(turn) {
            let empty = empty_block(&block);
            self.stream(turn, json!({ "type": "content_block_start", "index": index, "content_block": empty }));
            if kind == "thinking"
                && let Some(mut line) = self.templates.thinking_tokens()
            {
                line["estimated_tokens"] = text.chars().count().div_ceil(4).into();
                line["estimated_tokens_delta"] = line["estimated_tokens"].clone();
                self.emit(line);
            }
            let chars: Vec<char> = text.chars().collect();
            for part in chars.chunks(DELTA_CHARS) {
                let part: String = part.iter().collect();
                let delta = json!({ "type": delta, delta_field: part });
                self.stream(turn, json!({ "type": "content_block_delta", "index": index, "delta": delta }));
            }
            if kind == "thinking" {
                let delta = json!({ "type": "signature_delta", "signature": block["signature"] });
                self.stream(turn, json!({ "type": "content_block_delta", "index": index, "delta": delta }));
            }
        }
        // Of a subagent only the tools are shown, and in the background its words.
        let is_shown = |agent: &Agent| kind == "tool_use" || agent.in_background || self.options.forward_subagents;
        if turn.agent.as_ref().is_none_or(is_shown) {
            let line = self.assistant_line(turn, &id, tokens, block);
            self.emit(line);
        }
        self.stream(turn, json!({ "type": "content_block_stop", "index": index }));
        let open = turn.open.as_mut().expect("just opened");
        open.index += 1;
        turn.messages += 1;
        open.streamed_chars += text.chars().count() as u64;
    }

    /// The `assistant` line of one block, as the real ones place it: with the usage of `message_start`.
    pub fn assistant_line(&self, turn: &Turn, id: &str, tokens: Tokens, block: Value) -> Value {
        let mut line = self.templates.assistant(block["type"].as_str().unwrap_or_default(), turn.agent.is_some());
        let message = &mut line["message"];
        message["id"] = id.into();
        message["model"] = turn.model.as_str().into();
        message["content"] = json!([block]);
        // The older ones print a block so late that the end of a quick message is in it already.
        let is_whole = self.generation < Generation::V2_1 && turn.ends_at_once;
        if is_whole && turn.is_last_block {
            message["stop_reason"] = turn.stop_reason.into();
        }
        Tokens { output: if is_whole { tokens.output } else { 1 }, ..tokens }.write_api_usage(&mut message["usage"]);
        if let Some(agent) = &turn.agent {
            agent.mark(&mut line);
            line["parent_tool_use_id"] = agent.tool_use_id.as_str().into();
        }
        line
    }

    /// Ends the message and puts it on the bill.
    fn close(&mut self, turn: &mut Turn) {
        let Some(open) = &turn.open else { return };
        let (tokens, is_fallback) = (open.tokens, open.is_fallback);
        let mut event = self.templates.stream_event("message_delta")["event"].take();
        event["delta"]["stop_reason"] = turn.stop_reason.into();
        let usage = &mut event["usage"];
        usage["output_tokens"] = tokens.output.into();
        replace(usage, "input_tokens", tokens.input);
        replace(usage, "cache_read_input_tokens", tokens.cache_read);
        replace(usage, "cache_creation_input_tokens", tokens.cache_write());
        self.stream(turn, event);
        self.stream(turn, json!({ "type": "message_stop" }));
        turn.open = None;
        let kind = if turn.agent.is_some() { "subagent" } else { "main" };
        if turn.agent.is_none() && !is_fallback {
            turn.unsettled = tokens;
        }
        let end = if is_fallback { End::Forgotten } else { End::Whole };
        self.bill(kind, &turn.model.clone(), tokens, &turn.text, end);
    }

    /// Adds to the totals, and tells the log.
    pub fn bill(&mut self, kind: &str, model: &str, tokens: Tokens, text: &str, end: End) {
        let counted = match end {
            End::Whole => true,
            End::CutOff => self.generation.counts_interrupted_messages(),
            End::Forgotten => false,
        };
        if kind == "subagent" {
            self.subagent_tokens += tokens.total();
        }
        if end == End::Forgotten && self.generation == Generation::V1_0 {
            self.totals.add(model, Tokens::default());
        }
        if counted {
            self.totals.add(model, tokens);
            self.since_last_result.add(model, tokens);
        }
        self.api_time += Duration::from_millis(10);
        let fields = json!({
            "kind": kind,
            "model": model,
            "usage": tokens.to_json(),
            "total_tokens": tokens.total(),
            "complete": end != End::CutOff,
            "counted": counted,
            "text": text,
            "session_id": self.session.id,
            "cumulative": self.totals.to_json(),
            "cumulative_usd": self.totals.cost_usd(),
        });
        log::event("served", fields);
    }

    /// The answers that come in place of the message, as far as they are retried.
    fn fail_first(&mut self, failures: &[Failure]) -> Result<(), Stop> {
        let mut attempt = 0;
        let mut resends = 0;
        for failure in failures {
            let status = failure.status;
            if let Some(resets_at) = used_up_until(failure) {
                return Err(Stop::Verdict(self.hit_limit(resets_at)));
            }
            let is_retried = matches!(status, 401 | 408 | 409 | 429) || status >= 500;
            for _ in 0..failure.times {
                log::event("refused", json!({ "status": status }));
                attempt += 1;
                if is_retried && attempt <= MAX_RETRIES {
                    self.announce_retry(status, attempt, failure.times)?;
                } else if !is_retried && resends < self.generation.quiet_resends(status) {
                    resends += 1;
                } else {
                    let text = self.generation.api_error_text(status);
                    return Err(Stop::Verdict(Verdict::ApiError { status, text }));
                }
            }
        }
        Ok(())
    }

    fn announce_retry(&mut self, status: u16, attempt: u32, times: u32) -> Result<(), Stop> {
        let announced_ms = (500_u64 << (attempt - 1)).min(32_000) + u64::from(std::process::id() % 250);
        if let Some(mut line) = self.templates.api_retry() {
            line["attempt"] = attempt.into();
            line["max_retries"] = MAX_RETRIES.into();
            line["retry_delay_ms"] = announced_ms.into();
            line["error_status"] = status.into();
            line["error"] = error_kind(status).into();
            self.emit(line);
        }
        // A script that will be let through is not to hold up its test; one that will not is to be waited for.
        let fixed = std::env::var("STAND_IN_RETRY_MS").ok().and_then(|ms| ms.parse().ok());
        let ms = fixed.unwrap_or(if times > MAX_RETRIES { announced_ms } else { 50 });
        self.pause(Duration::from_millis(ms))
    }

    /// After an interrupt: what was under way is closed, as far as the generation tells of it.
    fn abort(&mut self, turn: &mut Turn) {
        let cut_off = turn.open.as_ref().map(|open| (open.id.clone(), open.tokens, open.index));
        self.bill_open_message(turn);
        let text = if turn.interrupted_tool {
            "[Request interrupted by user for tool use]"
        } else {
            "[Request interrupted by user]"
        };
        let mut line = self.templates.user_text();
        line["message"]["content"] = text_block(text);
        self.emit(line);
        turn.messages += 1;
        turn.user_messages += 1;
        if let Some((id, tokens, index)) = cut_off
            && self.streams(turn)
            && let Some(mut line) = self.templates.aborted_delta()
        {
            line["event"]["usage"]["input_tokens"] = tokens.input.into();
            line["event"]["usage"]["cache_read_input_tokens"] = tokens.cache_read.into();
            line["event"]["usage"]["cache_creation_input_tokens"] = tokens.cache_write().into();
            line["api_message_id"] = id.as_str().into();
            self.emit(line);
            let mut line = self.templates.stream_event("message_stop");
            line["api_message_id"] = id.as_str().into();
            line["abandoned_blocks"] = json!({ "api_message_id": id, "from_block_index": index });
            self.emit(line);
        }
    }

    /// A message that was cut off: its input, and an estimate of what was streamed.
    pub fn bill_open_message(&mut self, turn: &mut Turn) {
        let Some(open) = turn.open.take() else { return };
        // As the newest estimates it: three and a half letters a token.
        let estimate = ((4 * open.streamed_chars + 7) / 14).max(1);
        let tokens = Tokens { output: estimate.min(open.tokens.output), ..open.tokens };
        let kind = if turn.agent.is_some() { "subagent" } else { "main" };
        self.bill(kind, &turn.model.clone(), tokens, &turn.text, End::CutOff);
    }

    /// Prints the result, as often as the script wants it.
    fn report(&mut self, turn: &Turn, verdict: &Verdict) {
        match verdict {
            Verdict::ApiError { text, status } => self.print_api_error(text, Some(*status)),
            Verdict::Error(text) => self.print_api_error(text, None),
            Verdict::UsageLimit { text, resets_at } => self.print_limit_error(text, *resets_at),
            _ => {}
        }
        let line = self.result_line(turn, verdict);
        self.ending.last_was_error = line["is_error"] == true;
        for _ in 0..match turn.reports {
            Reports::None => 0,
            Reports::One => 1,
            Reports::Two => 2,
        } {
            self.emit(line.clone());
            self.results += 1;
        }
        self.since_last_result = Totals::default();
        log::event("result", json!({ "verdict": format!("{verdict:?}"), "cumulative_usd": self.totals.cost_usd() }));
    }

    fn result_line(&mut self, turn: &Turn, verdict: &Verdict) -> Value {
        let is_newest = self.generation == Generation::V2_1;
        let mut line = match verdict {
            Verdict::Success if turn.is_follow_up => self.templates.follow_up_result(),
            Verdict::Success => self.templates.result("success", false),
            Verdict::Interrupted => self.templates.interrupted_result(turn.interrupted_tool),
            Verdict::MaxTurns => self.templates.result("error_max_turns", is_newest),
            Verdict::OverBudget => self.templates.result("error_max_budget_usd", is_newest),
            Verdict::ApiError { .. } | Verdict::Error(_) => self.templates.result("success", true),
            Verdict::UsageLimit { .. } => {
                self.templates.limit_result().unwrap_or_else(|| self.templates.result("success", true))
            }
            Verdict::Subtype(name) => self.templates.result(name, name != "success" && is_newest),
        };
        match verdict {
            Verdict::ApiError { text, status } => {
                line["is_error"] = true.into();
                line["result"] = text.as_str().into();
                replace(&mut line, "api_error_status", *status);
                replace(&mut line, "api_error_type", api_error_type(*status));
            }
            Verdict::UsageLimit { text, .. } => line["result"] = text.as_str().into(),
            Verdict::Error(text) => {
                line["is_error"] = true.into();
                line["result"] = text.as_str().into();
                replace(&mut line, "api_error_status", Value::Null);
                replace(&mut line, "api_error_type", "api_error");
            }
            Verdict::MaxTurns if is_newest => {
                let most = self.options.max_turns.unwrap_or(0);
                line["errors"] = json!([format!("Reached maximum number of turns ({most})")]);
            }
            Verdict::OverBudget if is_newest => {
                let most = self.options.max_budget_usd.unwrap_or(0.0);
                line["errors"] = json!([format!("Reached maximum budget (${most})")]);
            }
            _ => replace(&mut line, "result", turn.last_text.as_str()),
        }
        let messages = self.count_messages(turn.messages);
        let num_turns = match (self.generation, verdict) {
            (Generation::V1_0, Verdict::Interrupted) => 0,
            (Generation::V1_0, Verdict::MaxTurns) => self.options.max_turns.unwrap_or(0),
            (Generation::V1_0, _) => messages,
            _ => turn.user_messages,
        };
        self.fill_result(&mut line, turn, num_turns);
        line
    }

    /// The number of messages in the conversation so far, but for the first one, as the older ones report it.
    fn count_messages(&mut self, more: u64) -> u64 {
        self.message_count += more;
        self.message_count.saturating_sub(1)
    }

    fn fill_result(&mut self, line: &mut Value, turn: &Turn, num_turns: u64) {
        let usage = |totals: &Totals, templates: &crate::templates::Templates| totals.model_usage(&templates.model_usage());
        line["num_turns"] = num_turns.into();
        line["total_cost_usd"] = self.totals.cost_usd().into();
        turn.usage.write_api_usage(&mut line["usage"]);
        line["modelUsage"] = usage(&self.totals, &self.templates);
        line["permission_denials"] = turn.denials.clone().into();
        line["duration_ms"] = u64::try_from(turn.started.elapsed().as_millis()).unwrap_or(0).into();
        line["duration_api_ms"] = u64::try_from(self.api_time.as_millis()).unwrap_or(0).into();
        replace(line, "begun_message_ids", turn.message_ids.clone());
        replace(line, "result_index", self.results);
        replace(line, "queued_turn_count", self.queue.len());
        let increment = usage(&self.since_last_result, &self.templates);
        replace(line, "model_usage_since_last_result", increment);
    }

    /// An end without the model: 0 tokens.
    fn answer_locally(&mut self, command: &str, text: Option<String>) {
        let model = self.model.clone();
        self.print_init(&model);
        self.report_locally(command, text);
    }

    fn report_locally(&mut self, command: &str, text: Option<String>) {
        if let Some(text) = &text {
            self.print_local_output(text);
        }
        let model = self.model.clone();
        let turn = Turn::new(&model, "", None);
        let mut line = self.templates.local_result(command);
        replace(&mut line, "result", text.unwrap_or_default());
        let messages = self.count_messages(2);
        let whole = self.generation.local_results_are_whole();
        self.fill_result(&mut line, &turn, if whole { 0 } else { messages });
        if !whole {
            line["modelUsage"] = json!({});
        }
        self.ending.last_was_error = false;
        self.emit(line);
        self.results += 1;
        self.since_last_result = Totals::default();
    }

    /// What a local command says, where that is an `assistant` line.
    fn print_local_output(&mut self, text: &str) {
        let mut line = self.templates.local_output();
        line["message"]["id"] = new_uuid().into();
        line["message"]["content"] = text_block(text);
        replace(&mut line, "local_command_source", format!("<local-command-stdout>{text}</local-command-stdout>"));
        self.emit(line);
    }

    /// The `assistant` line that tells of the API's refusal.
    fn print_api_error(&mut self, text: &str, status: Option<u16>) {
        self.message_count += 1;
        let mut line = self.templates.api_error();
        line["message"]["id"] = new_uuid().into();
        line["message"]["content"] = text_block(text);
        replace(&mut line, "error", status.map_or("unknown", error_kind));
        replace(&mut line, "api_error_status", status);
        replace(&mut line, "api_error_type", status.map_or("api_error", api_error_type));
        self.emit(line);
    }

    fn print_limit_error(&mut self, text: &str, resets_at: u64) {
        let mut line = self.templates.limit_error().unwrap_or_else(|| self.templates.api_error());
        line["message"]["id"] = new_uuid().into();
        line["message"]["content"] = text_block(text);
        replace(&mut line, "error", "rate_limit");
        if let Some(info) = line["api_error_params"].get_mut("rate_limit_info") {
            info["resetsAt"] = resets_at.into();
        }
        self.emit(line);
    }

    /// Tells how full the plan is, where the generation does: the state and the window's own state.
    pub fn print_rate_limit(&mut self, status: &str, window: &str, utilization: f64, resets_at: u64) {
        let Some(mut line) = self.templates.rate_limit_event() else { return };
        let info = &mut line["rate_limit_info"];
        info["status"] = status.into();
        info["resetsAt"] = resets_at.into();
        info["unifiedWindows"]["five_hour"] =
            json!({ "utilization": utilization, "resetsAt": resets_at, "status": window });
        self.emit(line);
    }

    /// `/clear`, where it exists: a new session, and totals from 0.
    fn clear(&mut self) {
        let id = new_uuid();
        let mut line = self.templates.conversation_reset();
        line["new_conversation_id"] = id.as_str().into();
        replace(&mut line, "user_message_uuid", new_uuid());
        self.emit(line);
        self.session.conversation.clear();
        self.session.id = new_uuid();
        self.totals = Totals::default();
        self.since_last_result = Totals::default();
        self.rest_of_script.clear();
        self.announce_tasks();
        self.answer_locally("clear", None);
    }

    fn refuse_to_compact(&mut self) {
        const WHY: &str = "Error: No messages to compact";
        let model = self.model.clone();
        self.print_init(&model);
        let stderr = format!("<local-command-stderr>{WHY}</local-command-stderr>");
        if self.generation == Generation::V2_1 {
            let mut line = self.templates.failed_command();
            line["message"]["id"] = new_uuid().into();
            self.emit(line);
        } else {
            let mut line = self.templates.user_string("<local-command-stderr>");
            line["message"]["content"] = stderr.into();
            self.emit(line);
        }
        self.report_locally("compact", None);
    }

    /// `/compact`: the summary is paid for in `modelUsage` only. Its arguments may hold a `[[usage …]]`.
    fn compact(&mut self, arguments: &str) {
        let usage = script::parse(arguments).ok().and_then(|script| Some(script.messages.first()?.usage));
        if self.session.conversation.is_empty() {
            return self.refuse_to_compact();
        }
        let is_newer = self.generation > Generation::V1_0;
        let status = |status: Value| json!({ "type": "system", "subtype": "status", "status": status });
        if is_newer {
            self.emit(status("compacting".into()));
        }
        let model = self.model.clone();
        self.bill("compact", &model, usage.unwrap_or_default().into(), "/compact", End::Whole);
        if is_newer {
            let mut line = status(Value::Null);
            if self.generation == Generation::V2_1 {
                line["compact_result"] = "success".into();
            }
            self.emit(line);
        }
        self.print_init(&model);
        let boundary = self.templates.compact_boundary();
        self.emit(boundary);
        for beginning in ["This session is being continued", "<local-command-stdout>Compacted"] {
            let line = self.templates.user_string(beginning);
            self.emit(line);
        }
        // As the older ones count the summary and what belongs to it.
        self.message_count += 6;
        self.session.conversation = vec![("user".to_owned(), "the summary of what was said".to_owned())];
        self.session.save(&self.totals);
        self.report_locally("compact", None);
    }
}

/// What the model says where the script has no more to say.
fn default_message(is_end_of_script: bool) -> Message {
    let text = if is_end_of_script { "done." } else { "ok" };
    Message { steps: vec![Step::Say(text.to_owned())], ..Message::default() }
}

/// The headers of a used-up plan, as a subscription gets them.
fn used_up_until(failure: &Failure) -> Option<u64> {
    let is_rejected = header(&failure.headers, "status") == Some("rejected");
    (failure.status == 429 && is_rejected).then(|| header(&failure.headers, "reset")?.parse().ok()).flatten()
}

/// The value of `anthropic-ratelimit-unified-NAME`.
fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    let is_it = |(known, _): &&(String, String)| {
        known.to_ascii_lowercase().strip_prefix("anthropic-ratelimit-unified-") == Some(name)
    };
    headers.iter().find(is_it).map(|(_, value)| value.as_str())
}

/// A block as its start tells of it.
fn empty_block(block: &Value) -> Value {
    let mut empty = block.clone();
    for (field, nothing) in [("input", json!({})), ("thinking", "".into()), ("signature", "".into()), ("text", "".into())] {
        replace(&mut empty, field, nothing);
    }
    empty
}

fn text_field(block: &Value, name: &str) -> String {
    block[name].as_str().unwrap_or_default().to_owned()
}

/// What the CLI calls an error of the API.
fn error_kind(status: u16) -> &'static str {
    match status {
        401 | 403 => "authentication_failed",
        429 => "rate_limit",
        529 => "overloaded",
        500.. => "server_error",
        _ => "unknown",
    }
}

/// What the API calls it.
pub fn api_error_type(status: u16) -> &'static str {
    match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    }
}
