//! The child of all that is measured: a claude that costs as little as can be. What it does in its turn is its role:
//!
//! - `answer`: answers at once.
//! - `stamp FILE`: notes when it began, and answers.
//! - `stream KIND BYTES`: writes that much of a model's stream, and answers.
//! - `silent FILE`: notes that it has its turn, and says nothing until it is stopped.
//! - `busy FILE MICROS LINES`: notes that it has its turn, and writes so many short lines every so many microseconds, until it
//!   is stopped.
//! - `cross FILE`: writes the message that crosses its limit, and notes how long it took until it was interrupted.
//! - `fall-silent FILE MICROS`: the same of its idle timeout of so many microseconds.

use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Stdin, Write};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::measure::now;

/// The variable with the role.
pub const ROLE: &str = "BENCH_CHILD";

const CHUNK_BYTES: usize = 1 << 20;

/// This program, which plays the roles.
pub fn program() -> PathBuf {
    std::env::current_exe().expect("the harness knows itself")
}

/// Plays the role, and ends.
pub fn play(role: &str) -> ! {
    let words: Vec<&str> = role.split(' ').collect();
    if let ["stamp", file] = words[..] {
        note(file, &now().as_nanos().to_string());
    }
    if std::env::args().any(|argument| argument == "--help") {
        say("--tools --max-budget-usd\n");
    } else if std::env::args().any(|argument| argument == "--input-format") {
        converse(&words);
    } else {
        // As `claude -p PROMPT` does it, for those that have no conversation.
        turn(&words, &mut BufReader::new(std::io::stdin()));
    }
    std::process::exit(0)
}

fn converse(role: &[&str]) {
    let mut input = BufReader::new(std::io::stdin());
    let mut line = String::new();
    while input.read_line(&mut line).is_ok_and(|count| count > 0) {
        if line.contains(r#""initialize""#) {
            say(concat!(
                r#"{"type":"control_response","response":{"subtype":"success","request_id":"zen-initialize","#,
                r#""response":{"commands":[],"capabilities":["get_usage_v1"]}}}"#,
                "\n"
            ));
        } else if line.contains(r#""user""#) {
            turn(role, &mut input);
        }
        line.clear();
    }
}

fn turn(role: &[&str], input: &mut BufReader<Stdin>) {
    const INIT: &str =
        concat!(r#"{"type":"system","subtype":"init","session_id":"s","model":"claude-sonnet-4-5"}"#, "\n");
    say(INIT);
    match role {
        ["stream", kind, bytes] => stream(kind, bytes.parse().expect("a number")),
        ["silent", file] => {
            note(file, "");
            until_stopped(input, PollTimeout::NONE, || ());
        }
        ["busy", file, micros, lines] => {
            note(file, "");
            let text = delta("and so on").repeat(lines.parse().expect("a number"));
            busy(input, Duration::from_micros(micros.parse().expect("a number")), &text);
        }
        ["cross", file] => {
            // In the middle of a message, and with no sleep, so that no two cross at one moment by design.
            say(&message_start("msg_cross"));
            let crossed = now();
            say(&message_end(9_000));
            until_stopped(input, PollTimeout::NONE, || ());
            note(file, &(now() - crossed).as_nanos().to_string());
        }
        ["fall-silent", file, micros] => {
            let limit = Duration::from_micros(micros.parse().expect("a number"));
            let silent_since = now();
            say(&delta("the last words"));
            until_stopped(input, PollTimeout::NONE, || ());
            note(file, &now().saturating_sub(silent_since + limit).as_nanos().to_string());
        }
        _ => {}
    }
    say(&result());
}

/// Does something each time that nothing came for so long. Ends when zen says anything: it says nothing but that this is to end.
fn until_stopped(input: &mut BufReader<Stdin>, pause: PollTimeout, mut each_time: impl FnMut()) {
    loop {
        let is_stopped = {
            let mut fds = [PollFd::new(input.get_ref().as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, pause).is_ok_and(|ready| ready > 0)
        };
        if is_stopped {
            return;
        }
        each_time();
    }
}

/// Keeps to the beat, and begins it at a moment of its own.
fn busy(input: &mut BufReader<Stdin>, period: Duration, text: &str) {
    let mut next = now() + period.mul_f64(f64::from(std::process::id() % 1000) / 1000.0);
    loop {
        let left = next.saturating_sub(now());
        let is_stopped = {
            let mut fds = [PollFd::new(input.get_ref().as_fd(), PollFlags::POLLIN)];
            let left = PollTimeout::try_from(left + Duration::from_micros(999)).unwrap_or(PollTimeout::MAX);
            poll(&mut fds, left).is_ok_and(|ready| ready > 0)
        };
        if is_stopped {
            return;
        }
        say(text);
        next += period;
    }
}

/// Writes at least so many bytes in whole messages, each with an id of its own.
fn stream(kind: &str, bytes: u64) {
    let message = match kind {
        "short" => short_lines(),
        "long" => long_line(),
        _ => panic!("no such stream: {kind}"),
    };
    let count = CHUNK_BYTES.div_ceil(message.len());
    let mut chunk = message.repeat(count).into_bytes();
    let places: Vec<usize> = find_all(&chunk, ID.as_bytes());
    let (mut written, mut number) = (0, 0_u64);
    while written < bytes {
        for (nth, &sandbox) in places.iter().enumerate() {
            let ids_in_message = places.len() / count;
            let id = format!("msg_{:08}", number + (nth / ids_in_message) as u64);
            chunk[sandbox..sandbox + ID.len()].copy_from_slice(id.as_bytes());
        }
        number += count as u64;
        if std::io::stdout().write_all(&chunk).is_err() {
            return;
        }
        written += chunk.len() as u64;
    }
}

const ID: &str = "msg_00000000";

/// A message as a model streams it: a hundred deltas of a few words.
fn short_lines() -> String {
    let mut text = message_start(ID);
    text += &(0..100).map(|i| delta(&format!("some words, number {i}"))).collect::<String>();
    text += &format!(
        "{{\"type\":\"assistant\",\"message\":{{\"model\":\"claude-sonnet-4-5\",\"id\":\"{ID}\",\"type\":\"message\",\
         \"role\":\"assistant\",\"content\":[{{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"Read\",\"input\":\
         {{\"file_path\":\"src/main.rs\"}}}}],\"usage\":{{\"input_tokens\":100,\"output_tokens\":1}}}},\
         \"parent_tool_use_id\":null,\"session_id\":\"s\"}}\n"
    );
    text + &message_end(100) + &tool_result("fn main() {}")
}

/// A message of one answer of 300 kB, and what a tool has read of that length.
fn long_line() -> String {
    let words = r"All work and no play makes \u201cJack\u201d a dull boy.\n".repeat(300_000 / 55);
    let answer = format!(
        "{{\"type\":\"assistant\",\"message\":{{\"model\":\"claude-sonnet-4-5\",\"id\":\"{ID}\",\"type\":\"message\",\
         \"role\":\"assistant\",\"content\":[{{\"type\":\"text\",\"text\":\"{words}\"}}],\
         \"usage\":{{\"input_tokens\":100,\"output_tokens\":1}}}},\"parent_tool_use_id\":null,\"session_id\":\"s\"}}\n"
    );
    message_start(ID) + &answer + &message_end(100) + &tool_result(&words)
}

fn message_start(id: &str) -> String {
    format!(
        "{{\"type\":\"stream_event\",\"event\":{{\"type\":\"message_start\",\"message\":{{\"model\":\"claude-sonnet-4-5\",\
         \"id\":\"{id}\",\"type\":\"message\",\"role\":\"assistant\",\"content\":[],\"usage\":{{\"input_tokens\":100,\
         \"cache_creation_input_tokens\":0,\"cache_read_input_tokens\":0,\"output_tokens\":1}}}}}},\"session_id\":\"s\",\
         \"parent_tool_use_id\":null}}\n"
    )
}

fn delta(text: &str) -> String {
    format!(
        "{{\"type\":\"stream_event\",\"event\":{{\"type\":\"content_block_delta\",\"index\":0,\"delta\":{{\"type\":\
         \"text_delta\",\"text\":\"{text}\"}}}},\"session_id\":\"fa777b65-66f0-46a4-9c11-c3137f8e4bcf\",\
         \"parent_tool_use_id\":null,\"uuid\":\"6c0f575c-c7f2-4f08-90fb-79d456aa8172\"}}\n"
    )
}

fn message_end(output_tokens: u64) -> String {
    format!(
        "{{\"type\":\"stream_event\",\"event\":{{\"type\":\"message_delta\",\"delta\":{{\"stop_reason\":\"tool_use\"}},\
         \"usage\":{{\"output_tokens\":{output_tokens}}}}},\"session_id\":\"s\",\"parent_tool_use_id\":null}}\n\
         {{\"type\":\"stream_event\",\"event\":{{\"type\":\"message_stop\"}},\"session_id\":\"s\",\
         \"parent_tool_use_id\":null}}\n"
    )
}

fn tool_result(text: &str) -> String {
    format!(
        "{{\"type\":\"user\",\"message\":{{\"role\":\"user\",\"content\":[{{\"tool_use_id\":\"toolu_1\",\"type\":\
         \"tool_result\",\"content\":\"{text}\"}}]}},\"parent_tool_use_id\":null,\"session_id\":\"s\"}}\n"
    )
}

fn result() -> String {
    concat!(
        r#"{"type":"result","subtype":"success","is_error":false,"num_turns":1,"result":"done","session_id":"s","#,
        r#""total_cost_usd":0.001,"usage":{"input_tokens":100,"output_tokens":100},"modelUsage":{"claude-sonnet-4-5":"#,
        r#"{"inputTokens":100,"outputTokens":100,"costUSD":0.001}}}"#,
        "\n"
    )
    .to_owned()
}

/// How long a busy child's line is.
pub fn busy_line_bytes() -> usize {
    delta("and so on").len()
}

fn find_all(text: &[u8], part: &[u8]) -> Vec<usize> {
    text.windows(part.len()).enumerate().filter(|(_, window)| *window == part).map(|(sandbox, _)| sandbox).collect()
}

fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
}

/// A line of a file that others write to as well.
fn note(file: &str, text: &str) {
    let mut file = OpenOptions::new().create(true).append(true).open(file).expect("the file of notes");
    file.write_all(format!("{text}\n").as_bytes()).expect("it can be written to");
}
