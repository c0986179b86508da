//! Tests of the loopback API itself, with a client of a few lines.

use harness::loopback::{Kind, LoopbackApi, Outcome, TokenCount};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(20);

fn connect(api: &LoopbackApi, method: &str, path: &str, body: &str) -> TcpStream {
    let url = api.base_url();
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).expect("the API listens");
    write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: x\r\nX-Api-Key: k\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .expect("the API reads");
    stream
}

fn request(api: &LoopbackApi, path: &str, body: &Value) -> String {
    let mut answer = String::new();
    connect(api, "POST", path, &body.to_string()).read_to_string(&mut answer).expect("the API answers");
    answer
}

fn user(text: &str) -> Value {
    json!({"role": "user", "content": [{"type": "text", "text": text}]})
}

fn assistant() -> Value {
    json!({"role": "assistant", "content": [{"type": "text", "text": "before"}]})
}

fn body(messages: &[Value]) -> Value {
    json!({
        "model": "claude-test",
        "stream": true,
        "messages": messages,
        "tools": [{"name": "Bash"}],
        "metadata": {"user_id": "user_a_account__session_s-1"},
    })
}

fn events(answer: &str) -> Vec<Value> {
    let data = answer.lines().filter_map(|line| line.strip_prefix("data: "));
    data.map(|json| serde_json::from_str(json).expect(json)).collect()
}

/// The deltas of one kind, joined.
fn joined(answer: &str, field: &str) -> String {
    events(answer).iter().filter_map(|event| event["delta"][field].as_str().map(str::to_owned)).collect()
}

#[test]
fn streams_the_message_and_its_true_usage() {
    let api = LoopbackApi::start();
    let long = "é".repeat(450);
    let prompt = format!(
        "[[usage in=7 out=9 read=3 write=4 write_1h=5]][[think hm]][[say {long}]][[header x-limit: 1]][[tool Bash {{\"command\":\"ls\"}}]]"
    );
    let answer = request(&api, "/v1/messages?beta=true", &body(&[user(&prompt)]));
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream"), "{answer}");
    assert!(answer.contains("\r\nx-limit: 1\r\n"), "{answer}");
    let events = events(&answer);
    assert_eq!(events[0]["message"]["usage"]["input_tokens"], 7);
    assert_eq!(events[0]["message"]["usage"]["output_tokens"], 1);
    assert_eq!(events[0]["message"]["usage"]["cache_creation_input_tokens"], 9);
    let delta = &events[events.len() - 2];
    assert_eq!((&delta["type"], &delta["usage"]["output_tokens"]), (&json!("message_delta"), &json!(9)));
    assert_eq!(delta["delta"]["stop_reason"], "tool_use");
    assert_eq!(joined(&answer, "text"), long);
    assert_eq!(joined(&answer, "thinking"), "hm");
    assert_eq!(joined(&answer, "partial_json"), "{\"command\":\"ls\"}");
    assert_eq!(events.iter().filter(|event| event["delta"]["text"].is_string()).count(), 3);

    assert!(api.wait_for_log(LONG, |log| log.len() == 1));
    let served = &api.log()[0];
    let whole =
        TokenCount { input_tokens: 7, output_tokens: 9, cache_read_input_tokens: 3, cache_creation_input_tokens: 9 };
    assert_eq!((served.outcome, served.usage, served.announced), (Outcome::Complete, whole, whole));
    assert_eq!(served.session_id.as_deref(), Some("s-1"));
    assert!(served.has_api_key && !served.has_authorization && served.streaming);
    assert_eq!((served.kind, served.offered_tools.as_slice()), (Kind::Conversation, &["Bash".to_owned()][..]));
}

#[test]
fn a_message_waits_at_a_gate_until_it_is_opened() {
    let api = LoopbackApi::start();
    let mut stream =
        connect(&api, "POST", "/v1/messages", &body(&[user("[[until it is time]] [[say now]]")]).to_string());
    let mut begun = [0; 15];
    stream.read_exact(&mut begun).expect("it begins");
    assert!(api.log().is_empty());
    api.open("it is time");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it goes on");
    assert_eq!(joined(&answer, "text"), "now");
}

#[test]
fn a_model_thinks_where_it_is_to() {
    let api = LoopbackApi::start();
    api.think_beyond(120, Duration::from_secs(600));
    let asked = body(&[user("[[say at once]]")]);
    assert_eq!(joined(&request(&api, "/v1/messages", &asked), "text"), "at once");
    let stream = connect(&api, "POST", "/v1/messages", &asked.to_string());
    assert!(api.wait_for_arrivals(2, LONG));
    drop(stream);
    api.settle(LONG);
    let served = &api.log()[1];
    assert_eq!((served.outcome, served.announced), (Outcome::ClientWentAway, TokenCount::default()));
}

#[test]
fn own_calls_of_a_client_can_be_told_apart() {
    let api = LoopbackApi::start();
    let own = json!({"model": "claude-haiku-x", "stream": true, "messages": [user("Warmup")]});
    let input = || events(&request(&api, "/v1/messages", &own))[0]["message"]["usage"]["input_tokens"].clone();
    assert_eq!(input(), 100);
    api.tell_own_calls_apart();
    assert_eq!([input(), input(), input()], [1000, 2000, 4000]);
}

#[test]
fn the_place_in_the_script_is_the_number_of_answers_since() {
    let api = LoopbackApi::start();
    let ask = |messages: &[Value]| joined(&request(&api, "/v1/messages", &body(messages)), "text");
    let scripted = user("[[say one]][[next]][[say two]]");
    assert_eq!(ask(&[user("hello")]), "ok");
    assert_eq!(ask(&[user("[[say old]]"), assistant(), scripted.clone()]), "one");
    assert_eq!(ask(&[scripted.clone(), assistant(), user("no script")]), "two");
    assert_eq!(ask(&[scripted.clone(), assistant(), user("x"), assistant(), user("y")]), "done.");
    // Neither a tool's result nor claude's own reminders are obeyed, and the last of several prompts wins.
    let result =
        json!({"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "[[say echo]]"}]});
    let reminder = json!({"type": "text", "text": "<system-reminder>[[say reminder]]</system-reminder>"});
    let with_result = json!({"role": "user", "content": [result, reminder]});
    assert_eq!(ask(&[scripted.clone(), assistant(), with_result]), "two");
    let several = json!({"role": "user", "content": [{"type": "text", "text": "[[say args]]"}, {"type": "text", "text": "[[say body]]"}, reminder]});
    assert_eq!(ask(&[several]), "body");
    let ids: std::collections::HashSet<_> = api.log().into_iter().map(|served| served.message_id).collect();
    assert_eq!(ids.len(), 6);
}

#[test]
fn a_scripted_status_comes_as_often_as_it_says() {
    let api = LoopbackApi::start();
    let body = body(&[user("[[status 529 x2]][[status 401]][[header retry-after: 1]][[say well]]")]);
    let statuses: Vec<String> = (0..4).map(|_| request(&api, "/v1/messages", &body)[9..12].to_owned()).collect();
    assert_eq!(statuses, ["529", "529", "401", "200"]);
    assert_eq!(api.log()[2].outcome, Outcome::Refused(401));
    assert_eq!(api.log()[2].usage, TokenCount::default());
}

#[test]
fn a_message_is_reset_or_garbled_in_mid_stream() {
    let api = LoopbackApi::start();
    let body = body(&[user("[[status garbled]][[status reset]][[say well]]")]);
    let garbled = request(&api, "/v1/messages", &body);
    assert!(garbled.contains("message_start") && garbled.contains("text_delta"), "{garbled}");
    let last = garbled.lines().filter_map(|line| line.strip_prefix("data: ")).next_back().expect("an event");
    assert!(serde_json::from_str::<Value>(last).is_err(), "{last}");
    let mut stream = connect(&api, "POST", "/v1/messages", &body.to_string());
    let error = stream.read_to_end(&mut Vec::new()).expect_err("the connection is reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert_eq!(joined(&request(&api, "/v1/messages", &body), "text"), "well");
    let outcomes: Vec<Outcome> = api.log().iter().map(|served| served.outcome).collect();
    assert_eq!(outcomes, [Outcome::Broken, Outcome::Broken, Outcome::Complete]);
    assert_eq!(api.log()[1].announced.output_tokens, 1);
}

#[test]
fn a_client_that_goes_away_ends_its_request_at_once() {
    let api = LoopbackApi::start();
    let started = Instant::now();
    let stream = connect(
        &api,
        "POST",
        "/v1/messages",
        &body(&[user("[[usage out=50]][[say a]][[wait 600s]][[say b]]")]).to_string(),
    );
    let mut told = String::new();
    let mut reader = BufReader::new(&stream);
    while !told.contains("message_start") {
        assert_ne!(reader.read_line(&mut told).expect("the stream begins"), 0);
    }
    // Others are served meanwhile.
    assert_eq!(joined(&request(&api, "/v1/messages", &body(&[user("x")])), "text"), "ok");
    drop(stream);
    assert!(api.wait_for_log(LONG, |log| log.len() == 2));
    assert!(started.elapsed() < LONG);
    let served = &api.log()[1];
    assert_eq!((served.index, served.outcome), (0, Outcome::ClientWentAway));
    assert_eq!((served.usage.output_tokens, served.announced.output_tokens), (50, 1));
}

#[test]
fn dropping_the_server_ends_what_it_serves() {
    let api = LoopbackApi::start();
    let mut stream = connect(&api, "POST", "/v1/messages", &body(&[user("[[wait 600s]]")]).to_string());
    assert!(api.wait_for_arrivals(1, LONG));
    drop(api);
    let mut rest = Vec::new();
    stream.set_read_timeout(Some(LONG)).expect("a timeout");
    // Reset or end, but no wait.
    if let Err(error) = stream.read_to_end(&mut rest) {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
}

#[test]
fn what_is_no_conversation_obeys_no_script() {
    let api = LoopbackApi::start();
    let scripted = user("[[say scripted]]");
    let mut title = body(std::slice::from_ref(&scripted));
    title["tools"] = json!([]);
    title["model"] = json!("claude-haiku-x");
    assert_eq!(joined(&request(&api, "/v1/messages", &title), "text"), "ok");
    let compaction = user("Your task is to create a detailed summary of the conversation so far");
    let compaction = body(&[scripted.clone(), assistant(), compaction]);
    assert_eq!(
        joined(&request(&api, "/v1/messages", &compaction), "text"),
        "<analysis>All of it.</analysis><summary>A summary.</summary>"
    );
    assert!(request(&api, "/v1/messages/count_tokens", &body(&[scripted])).ends_with("{\"input_tokens\":100}"));
    let kinds: Vec<Kind> = api.log().iter().map(|served| served.kind).collect();
    assert_eq!(kinds, [Kind::SideModel, Kind::Compaction, Kind::CountTokens]);
}

#[test]
fn without_streaming_the_message_comes_whole() {
    let api = LoopbackApi::start();
    let mut body = body(&[user("[[say a]][[tool Bash {\"command\":\"ls\"}]]")]);
    body["stream"] = json!(false);
    let answer = request(&api, "/v1/messages", &body);
    let (_, json) = answer.split_once("\r\n\r\n").expect("a body");
    let message: Value = serde_json::from_str(json).expect(json);
    assert_eq!(message["content"][0]["text"], "a");
    assert_eq!(message["content"][1]["input"]["command"], "ls");
    assert_eq!(message["usage"]["output_tokens"], 20);
}

#[test]
fn what_cannot_be_served_is_refused() {
    let api = LoopbackApi::start();
    let bad_script = request(&api, "/v1/messages", &body(&[user("[[wait soon]]")]));
    assert!(bad_script.starts_with("HTTP/1.1 400") && bad_script.contains("[[wait soon]]"), "{bad_script}");
    assert!(request(&api, "/v1/models", &json!({})).starts_with("HTTP/1.1 404"));
    let mut answer = String::new();
    connect(&api, "HEAD", "/", "").read_to_string(&mut answer).expect("an answer");
    assert!(answer.starts_with("HTTP/1.1 404"));
}
