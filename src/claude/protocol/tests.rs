use super::*;
use crate::claude::tool_denials::UnavailableTool;
use crate::claude::usage_meter::ReportedUsage;

#[test]
fn deltas_and_unknown_events_are_ignored() {
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
fn command_has_all_its_names() {
    let commands = r#"[{"name":"code-review","aliases":["review",7]},{"name":"/a","aliases":null},{}]"#;
    let line = format!(
        r#"{{"type":"control_response","response":{{"subtype":"success","response":{{"commands":{commands}}}}}}}"#
    );
    let Event::InitializeResponse { commands, .. } = decode(line.as_bytes()) else { panic!("an answer") };
    let commands = commands.expect("commands");
    assert!(["code-review", "review", "a"].iter().all(|name| commands.contains(name)));
    assert_eq!(commands.listed().len(), 2);
}

#[test]
fn tool_results_are_decoded() {
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
fn unavailable_tool_is_recognized_in_its_result() {
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
fn garbage_is_invalid() {
    let nested = format!(r#"{{"type":"result","x":{}"#, "[".repeat(100_000));
    for line in [&b""[..], b"{", b"\xff\xfe", b"null", b"[1]", b"{\"type\":1}", b"text", nested.as_bytes()] {
        assert_eq!(decode(line), Event::Invalid, "{:?}", &line[..line.len().min(40)]);
    }
}

#[test]
fn deeply_nested_result_is_malformed() {
    let nested = |kind: &str| format!(r#"{{"type":"{kind}","x":{}{}}}"#, "[".repeat(1000), "]".repeat(1000));
    assert_eq!(decode(nested("result").as_bytes()), Event::MalformedResult);
    assert_eq!(decode(nested("assistant").as_bytes()), Event::Invalid);
}

#[test]
fn result_is_recognized_by_its_head() {
    for (head, is) in [
        (r#"{"type":"result","subtype":"success","result":"aaa"#, true),
        (r#"{"duration_api_ms":47,"stop_reason":"end_turn","session_id":"x","total_cost_usd":0.0008,"usa"#, true),
        (r#"{"type":"assistant","message":{"content":[{"type":"text","text":"\"total_cost_usd\":0.1"#, false),
        ("", false),
    ] {
        assert_eq!(is_result(head.as_bytes()), is, "{head}");
    }
}

/// Lines as 2.1.332 prints them; 2.0 and 1.0 print only the tool result.
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
fn every_field_may_be_missing() {
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
fn content_blocks_are_decoded_for_display() {
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
fn lone_surrogates_are_replaced() {
    let line =
        br#"{"type":"result","subtype":"success","is_error":false,"result":"cut \\ud83d \ud83d","total_cost_usd":1}"#;
    let Event::Result(result) = decode(line) else { panic!("no result") };
    assert_eq!(result.text, "cut \\ud83d \u{fffd}");
    let Event::Result(result) = decode(b"{\"type\":\"result\",\"result\":\"cut \xf0\x9f\"}") else {
        panic!("no result")
    };
    assert_eq!(result.text, "cut \u{fffd}");
    let answer = br#"{"type":"control_response","response":{"request_id":"zen-initialize","response":{"commands":[{"name":"review","description":"\udc00"}]}}}"#;
    let Event::InitializeResponse { commands, .. } = decode(answer) else { panic!("no response") };
    assert!(commands.expect("commands").contains("review"));
    let deep = format!(r#"{{"type":"control_response","response":{}1{}}}"#, "[".repeat(500), "]".repeat(500));
    assert!(matches!(decode(deep.as_bytes()), Event::InitializeResponse { commands: Err(_), .. }));
}

#[test]
fn start_of_a_message_has_no_content() {
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
    fn no_line_panics(line in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
        let _ = decode(&line);
    }
}
