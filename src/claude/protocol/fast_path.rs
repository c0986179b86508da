//! Decoder for the potentially long lines: messages of the model and tool results. Parses in one pass, without a tree.
//!
//! Accepts these lines only in the form that claude writes. The general decoder handles all others.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::{
    ContentBlock, Event, IN_BACKGROUND, Leaves, MAX_WORD_BYTES, Message, ToolResult, ToolUse, bounded, input_summary,
    tokens, tools_ended,
};
use crate::claude::tool_denials::{UnavailableTool, missing};

#[derive(Deserialize)]
#[serde(bound(deserialize = "Block: Deserialize<'de>"))]
struct Line<Block> {
    message: Content<Block>,
    parent_tool_use_id: Option<String>,
    error: Option<String>,
}

#[derive(Deserialize)]
#[serde(bound(deserialize = "Block: Deserialize<'de>"))]
struct Content<Block> {
    id: Option<String>,
    model: Option<String>,
    usage: Option<Value>,
    content: Vec<Block>,
}

/// A content block of a message of the model.
#[derive(Deserialize)]
struct Spoken<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    id: Option<String>,
    text: Option<String>,
    name: Option<String>,
    input: Option<Value>,
}

/// A content block of a user message, such as a tool result.
#[derive(Deserialize)]
struct Answered<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    tool_use_id: Option<String>,
    #[serde(borrow)]
    content: Option<&'a RawValue>,
    is_error: Option<bool>,
}

/// Decodes a line of one of these kinds, if it has the usual form.
pub(super) fn decode(line: &[u8]) -> Option<Event> {
    if line.starts_with(br#"{"type":"assistant","#) {
        serde_json::from_slice(line).ok().map(assistant)
    } else if line.starts_with(br#"{"type":"user","#) && !is_of_wakeup(line) {
        serde_json::from_slice(line).ok().map(user)
    } else {
        None
    }
}

/// Returns true for a wake-up's tool result, which needs the general decoder. Such lines are short.
fn is_of_wakeup(line: &[u8]) -> bool {
    const MAX_BYTES: usize = 8 * 1024;
    const MARK: &[u8] = br#""scheduledFor":"#;
    line.len() <= MAX_BYTES && line.windows(MARK.len()).any(|window| window == MARK)
}

fn assistant(line: Line<Spoken>) -> Event {
    let Content { id, model, usage, content } = line.message;
    let word = |text: Option<String>| text.map(|text| bounded(text, MAX_WORD_BYTES));
    let (mut tools, mut said) = (Vec::new(), Vec::new());
    for part in content {
        match (part.kind.as_ref(), part.text, part.name) {
            ("text", Some(text), _) if !text.trim().is_empty() => said.push(ContentBlock::Text(text)),
            (kind @ ("tool_use" | "server_tool_use"), _, name) => {
                let input = part.input.as_ref().map(input_summary).unwrap_or_default();
                let id = word(part.id).filter(|_| kind == "tool_use");
                let name = word(name);
                let tool = || name.clone().unwrap_or_default();
                tools.extend(id.map(|id| ToolUse { id, tool: tool(), input_summary: input.clone() }));
                said.extend(name.map(|name| ContentBlock::Tool { name, input_summary: input }));
            }
            _ => {}
        }
    }
    Event::Message(Box::new(Message {
        id: word(id),
        model: word(model).unwrap_or_default(),
        tokens: tokens(&usage.unwrap_or_default()),
        from_subagent: line.parent_tool_use_id.is_some(),
        is_start: false,
        content: said,
        tools,
        error: line.error,
    }))
}

fn user(line: Line<Answered>) -> Event {
    let results = line.message.content.into_iter().filter(|part| part.kind == "tool_result");
    let tools = results.filter_map(|part| {
        let missing = part.content.filter(|_| part.is_error == Some(true)).and_then(missing_in);
        let is_in_background = part.content.is_some_and(|content| content.get()[1..].starts_with(IN_BACKGROUND));
        let leaves = if is_in_background { Leaves::Command } else { Leaves::Nothing };
        Some(ToolResult { id: bounded(part.tool_use_id?, MAX_WORD_BYTES), missing, leaves })
    });
    tools_ended(tools.collect(), line.parent_tool_use_id.is_some())
}

/// Returns the reason if the content is claude's error for an unavailable tool. JSON escapes nothing in its prefix.
fn missing_in(content: &RawValue) -> Option<UnavailableTool> {
    missing(content.get().strip_prefix('"')?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes the line with the general decoder, by a beginning that the fast path does not accept.
    fn by_the_other(line: &str) -> Event {
        let otherwise = line.replacen("{\"type\"", "{ \"type\"", 1);
        assert_eq!(decode(otherwise.as_bytes()), None);
        super::super::decode(otherwise.as_bytes())
    }

    #[test]
    fn it_decodes_as_the_other_does() {
        let assistant = |content: &str, parent: &str| {
            format!(
                r#"{{"type":"assistant","message":{{"id":"m","model":"x","usage":{{"input_tokens":7,"output_tokens":1}},
                "content":[{content}]}},"parent_tool_use_id":{parent},"uuid":"u"}}"#
            )
        };
        let user = |content: &str, parent: &str| {
            format!(
                r#"{{"type":"user","message":{{"role":"user","content":[{content}]}},"parent_tool_use_id":{parent}}}"#
            )
        };
        let said = r#"{"type":"text","text":"Let \"me\" look.\n"},{"type":"text","text":" "},{"type":"thinking","text":"…"},
            {"type":"tool_use","id":"t1","name":"Bash","input":{"timeout":5,"command":"ls -l"}},
            {"type":"server_tool_use","id":"t2","name":"web","input":{"n":1,"what":"this"}},{"type":"tool_use","id":"t3"}"#;
        let answered = r#"{"tool_use_id":"a","type":"tool_result","content":[{"type":"text","text":"x"}]},{"type":"text","text":"y"},
            {"type":"tool_result","tool_use_id":"b\"","content":"x","is_error":true},
            {"type":"tool_result","tool_use_id":"d","content":"Command running in background with ID: b1. Output"},
            {"type":"tool_result","tool_use_id":"e","content":""},
            {"type":"tool_result","tool_use_id":"c","is_error":true,
             "content":"<tool_use_error>Error: No such tool available: Write. Write is disabled for this session"}"#;
        for parent in ["null", "\"t\""] {
            for line in [assistant(said, parent), assistant("", parent), user(answered, parent), user("", parent)] {
                let event = decode(line.as_bytes());
                assert_eq!(event.as_ref(), Some(&by_the_other(&line)), "{line}");
            }
        }
    }

    #[test]
    fn what_is_different_is_left_to_the_other() {
        for line in [
            r#"{"type":"user","message":{"content":"x"}}"#,
            r#"{"type":"assistant","message":{"content":[{"type":7}]}}"#,
            r#"{"type":"assistant","message":null}"#,
            r#"{"type":"assistant","message":{"content":[]},"parent_tool_use_id":7}"#,
            r#"{"type":"user","message":{"content":[]}"#,
            r#"{"type":"result","message":{"content":[]}}"#,
        ] {
            assert_eq!(decode(line.as_bytes()), None, "{line}");
        }
    }
}
