//! Decoder for the potentially long lines: messages of the model and tool results. Parses in one pass, without a tree.
//!
//! Accepts these lines only in the form that claude writes. The general decoder handles all others.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::decode::{IN_BACKGROUND, tool_results};
use super::event::{ContentBlock, Event, Leaves, Message, ToolResult, ToolUse};
use super::value::{MAX_WORD_BYTES, bounded, input_summary, tokens};
use crate::claude::tool_denials::unavailable_tool;

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
struct AssistantBlock<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
    id: Option<String>,
    text: Option<String>,
    name: Option<String>,
    input: Option<Value>,
}

/// A content block of a user message, such as a tool result.
#[derive(Deserialize)]
struct UserBlock<'a> {
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
        Some(assistant(serde_json::from_slice(line).ok()?))
    } else if line.starts_with(br#"{"type":"user","#) && !is_of_wakeup(line) {
        Some(user(serde_json::from_slice(line).ok()?))
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

fn assistant(line: Line<AssistantBlock>) -> Event {
    let Content { id, model, usage, content: blocks } = line.message;
    let (mut tools, mut content) = (Vec::new(), Vec::new());
    for block in blocks {
        match (block.kind.as_ref(), block.text, block.name) {
            ("text", Some(text), _) if !text.trim().is_empty() => content.push(ContentBlock::Text(text)),
            (kind @ ("tool_use" | "server_tool_use"), _, name) => {
                let input_summary = block.input.as_ref().map(input_summary).unwrap_or_default();
                let name = word(name);
                if let Some(id) = word(block.id)
                    && kind == "tool_use"
                {
                    let tool = name.clone().unwrap_or_default();
                    tools.push(ToolUse { id, tool, input_summary: input_summary.clone() });
                }
                if let Some(name) = name {
                    content.push(ContentBlock::Tool { name, input_summary });
                }
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
        content,
        tools,
        error: line.error,
    }))
}

fn word(text: Option<String>) -> Option<String> {
    Some(bounded(text?, MAX_WORD_BYTES))
}

fn user(line: Line<UserBlock>) -> Event {
    let mut tools = Vec::new();
    for block in line.message.content {
        if block.kind == "tool_result" {
            tools.extend(tool_result(block));
        }
    }
    tool_results(tools, line.parent_tool_use_id.is_some())
}

fn tool_result(block: UserBlock) -> Option<ToolResult> {
    // JSON escapes nothing in the prefixes that are looked for.
    let text = block.content.and_then(|content| content.get().strip_prefix('"'));
    let (mut missing, mut leaves) = (None, Leaves::Nothing);
    if let Some(text) = text {
        if block.is_error == Some(true) {
            missing = unavailable_tool(text);
        }
        if text.starts_with(IN_BACKGROUND) {
            leaves = Leaves::Command;
        }
    }
    Some(ToolResult { id: bounded(block.tool_use_id?, MAX_WORD_BYTES), missing, leaves })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes the line with the general decoder, by a beginning that the fast path does not accept.
    fn decode_generally(line: &str) -> Event {
        let otherwise = line.replacen("{\"type\"", "{ \"type\"", 1);
        assert_eq!(decode(otherwise.as_bytes()), None);
        super::super::decode::decode(otherwise.as_bytes())
    }

    #[test]
    fn fast_path_decodes_as_the_general_decoder() {
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
                assert_eq!(event.as_ref(), Some(&decode_generally(&line)), "{line}");
            }
        }
    }

    #[test]
    fn unusual_lines_are_left_to_the_general_decoder() {
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
