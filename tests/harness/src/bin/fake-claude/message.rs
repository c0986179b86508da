//! One message of the model: its stream, its `assistant` lines and its place on the bill.

use crate::generation::Generation;
use crate::money::Tokens;
use crate::session::new_id;
use crate::subagent::Agent;
use crate::templates::replace;
use crate::tools::Call;
use crate::turn::Turn;
use crate::{Claude, Stop, log};
use harness::script::{Message, Step};
use serde_json::{Value, json};
use std::time::Duration;

/// How a message came to its end, as far as the bill is concerned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    Whole,
    CutOff,
    /// Served whole, but in no total of the CLI.
    Forgotten,
}

/// A message that began to stream.
pub struct OpenMessage {
    pub id: String,
    /// Not streamed, and never counted: see `falls_back_after_retries`.
    pub is_fallback: bool,
    pub tokens: Tokens,
    pub index: u64,
    pub streamed_chars: u64,
}

/// No delta is longer, in characters.
const DELTA_CHARS: usize = 200;

impl Claude {
    /// One message of the model; returns its tool calls.
    pub fn serve(&mut self, turn: &mut Turn, message: &Message) -> Result<Vec<Call>, Stop> {
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
                    self.print_block(
                        turn,
                        tokens,
                        json!({ "type": "thinking", "thinking": text, "signature": "c2lnbmF0dXJl" }),
                    );
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
        self.tell_rate_limit(&message.headers);
        Ok(calls)
    }

    pub fn streams(&self, turn: &Turn) -> bool {
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

    /// A message that was cut off: its input, and an estimate of what was streamed.
    pub fn bill_open_message(&mut self, turn: &mut Turn) {
        let Some(open) = turn.open.take() else { return };
        // As the newest estimates it: three and a half letters a token.
        let estimate = ((4 * open.streamed_chars + 7) / 14).max(1);
        let tokens = Tokens { output: estimate.min(open.tokens.output), ..open.tokens };
        let kind = if turn.agent.is_some() { "subagent" } else { "main" };
        self.bill(kind, &turn.model.clone(), tokens, &turn.text, End::CutOff);
    }
}

/// A block as its start tells of it.
pub fn empty_block(block: &Value) -> Value {
    let mut empty = block.clone();
    for (field, nothing) in
        [("input", json!({})), ("thinking", "".into()), ("signature", "".into()), ("text", "".into())]
    {
        replace(&mut empty, field, nothing);
    }
    empty
}

fn text_field(block: &Value, name: &str) -> String {
    block[name].as_str().unwrap_or_default().to_owned()
}
