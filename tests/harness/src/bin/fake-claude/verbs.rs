//! Verbs of the fake claude alone: what a real claude, or a process that it starts, may do wrong, and what a test asks for.
//!
//! | verb | what happens |
//! | --- | --- |
//! | `exit N`, `die SIGNAL` | ends at once, in the middle of the turn |
//! | `hang` | says nothing more, but answers control requests |
//! | `deaf` | from now on ignores SIGINT, SIGTERM and `interrupt` |
//! | `stop-self` | SIGSTOP to itself |
//! | `hold-pipe SECONDS` | a child of the same process group holds stdout and stderr open |
//! | `escape SECONDS [env-cleared] [deaf] [keep-pipes]` | a process forked twice, in a session of its own |
//! | `garbage N` | N lines that are no events |
//! | `line SIZE [raw [ended]]` | one line of that size; `raw`: no JSON, and no newline unless `ended` |
//! | `nest DEPTH KIND` | an event of this type, nested so deep |
//! | `tiny N` | N lines of no more than `{}` |
//! | `print SIZE [LINE]` | `stream_event` lines, of that length each, up to that size |
//! | `unknown-events N` | N events that nobody has heard of |
//! | `no-result`, `result-twice` | none or two where one is due |
//! | `error TEXT`, `subtype NAME` | the verdict of the turn |
//! | `limit SECONDS` | the plan is used up, and resets so long from now |
//! | `announce-limit SECONDS` | the event of a used-up plan alone; the turn continues |
//! | `stop-reason NAME` | the stop reason of the message: pause_turn |
//! | `deny TOOL` | one more of the `permission_denials` |
//! | `exit-after N`, `linger SECONDS` | the exit code, and the time until the exit, after a good result and the end of input |
//! | `close stdin`, `close stdout`, `close stderr` | and lives on |
//! | `stop-reading` | never reads standard input again |
//! | `stderr TEXT` | a line there |
//! | `echo-env NAME…`, `recall` | says these variables; says what the user had said in this session |
//! | `swell KIND COUNT SIZE` | COUNT events of a kind that zen keeps something of, each of SIZE |
//! | `side in= out= …` | tokens of the small side model, in `modelUsage` only |

use crate::message::End;
use crate::money::Tokens;
use crate::report::{Reports, Verdict};
use crate::session::new_id;
use crate::templates::{epoch_ms, stamp};
use crate::turn::Turn;
use crate::{Claude, Stop, exit, log, signals};
use harness::script;
use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::{ForkResult, Pid, dup2_stderr, dup2_stdin, dup2_stdout, fork, setsid};
use serde_json::json;
use std::io::Write;
use std::os::fd::BorrowedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::time::Duration;

/// First argument of a process that `[[escape]]` starts.
const ESCAPEE: &str = "--fake-claude-escapee";
const FOR_EVER: Duration = Duration::from_secs(1_000_000);
const CHUNK_BYTES: usize = 64 * 1024;

impl Claude {
    /// `FAKE_CLAUDE_AT_START`: nothing is heard while it runs, for a real one that hangs at its start hears nothing.
    pub fn run_at_start(&mut self) {
        let Ok(text) = std::env::var("FAKE_CLAUDE_AT_START") else {
            return;
        };
        let script = script::parse(&text).unwrap_or_else(|error| crate::fail(&format!("fake-claude: {error}")));
        let mut turn = Turn::new(&self.model.clone(), &text, None);
        for step in script.messages.into_iter().flat_map(|message| message.steps) {
            match step {
                script::Step::Wait(duration) => std::thread::sleep(duration),
                script::Step::Other { verb, .. } if verb == "hang" => std::thread::sleep(FOR_EVER),
                script::Step::Other { verb, args } => {
                    let _ = self.do_other(&mut turn, Tokens::default(), &verb, &args);
                }
                _ => {}
            }
        }
    }

    /// A verb that is for the fake claude alone.
    pub fn do_other(&mut self, turn: &mut Turn, tokens: Tokens, verb: &str, args: &str) -> Result<(), Stop> {
        let words: Vec<&str> = args.split_whitespace().collect();
        let first = words.first().copied().unwrap_or_default();
        let has = |word: &str| words.contains(&word);
        self.out.flush();
        match verb {
            "exit" => exit(first.parse().unwrap_or(1)),
            "die" => signals::die(signal_named(first)),
            "hang" => self.pause(FOR_EVER)?,
            "deaf" => signals::become_deaf(),
            "stop-self" => {
                let _ = kill(Pid::this(), Signal::SIGSTOP);
            }
            "hold-pipe" => hold_pipe(first),
            "escape" => escape(&words),
            "garbage" => (0..number(first)).for_each(|at| self.out.bytes(&garbage(at))),
            "line" => self.print_long_line(turn, tokens, bytes(first), has("raw"), has("ended"))?,
            "print" => self.print_much(bytes(first), words.get(1).map_or(0, |size| bytes(size)))?,
            "nest" => self.print_nested(number(first), words.get(1).copied().unwrap_or("assistant")),
            "tiny" => self.print_tiny(number(first))?,
            "swell" => self.print_swelling(first, &words)?,
            "no-result" => turn.reports = Reports::None,
            "result-twice" => turn.reports = Reports::Two,
            "error" => return Err(Stop::Verdict(Verdict::Error(args.to_owned()))),
            "subtype" => turn.verdict = Verdict::Subtype(first.to_owned()),
            "stop-reason" if first == "pause_turn" => turn.stop_reason = "pause_turn",
            "exit-after" => self.ending.exit_code = Some(first.parse().unwrap_or(1)),
            "linger" => self.ending.linger = seconds(first),
            "close" => self.close_stream(first),
            "stop-reading" => self.inbox.stop_reading(),
            "stderr" => {
                let _ = writeln!(std::io::stderr(), "{args}");
            }
            "unknown-events" => (0..number(first)).for_each(|at| self.print_unknown_event(at)),
            "echo-env" => {
                let value = |name: &&str| match std::env::var(name) {
                    Ok(value) => format!("{name}={value}"),
                    Err(_) => format!("{name} is not set"),
                };
                self.say(turn, tokens, &words.iter().map(value).collect::<Vec<_>>().join("\n"));
            }
            "recall" => {
                let said = self.session.conversation.iter().filter(|(role, _)| role == "user");
                let texts: Vec<&str> = said.map(|(_, text)| text.as_str()).collect();
                self.say(turn, tokens, &texts.join("\n"));
            }
            "side" => {
                let usage = script::parse(&format!("[[usage {args}]]")).unwrap_or_default();
                let usage = usage.messages.first().map(|message| message.usage).unwrap_or_default();
                self.bill("side", self.generation.side_model(), usage.into(), "", End::Whole);
            }
            "deny" => {
                turn.denials.push(json!({ "tool_name": first, "tool_use_id": new_id("toolu"), "tool_input": {} }));
            }
            "announce-limit" => {
                self.print_rate_limit("rejected", "rejected", 1.0, epoch_ms() / 1000 + number(first));
            }
            "limit" => {
                let resets_at = epoch_ms() / 1000 + number(first);
                return Err(Stop::Verdict(self.hit_limit(resets_at)));
            }
            _ => crate::fail(&format!("fake-claude: unknown verb [[{verb} {args}]]")),
        }
        Ok(())
    }

    fn close_stream(&mut self, name: &str) {
        let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").expect("/dev/null is there");
        // /dev/null takes the number, so that no other file gets it.
        let closed = match name {
            "stdin" => {
                self.inbox.stop_reading();
                dup2_stdin(&null)
            }
            "stdout" => dup2_stdout(&null),
            "stderr" => dup2_stderr(&null),
            _ => crate::fail(&format!("fake-claude: [[close {name}]]: not a standard stream")),
        };
        closed.expect("a standard stream can be replaced");
    }

    /// One line of that many bytes; the raw one is no JSON and, unless it is to be ended, has no newline.
    fn print_long_line(
        &mut self,
        turn: &Turn,
        tokens: Tokens,
        size: usize,
        raw: bool,
        ended: bool,
    ) -> Result<(), Stop> {
        let mut line = self.assistant_line(turn, &new_id("msg"), tokens, json!({ "type": "text", "text": "@@" }));
        stamp(&mut line, &self.session.id);
        let text = line.to_string();
        let (before, after) = text.split_once("@@").expect("the text is in the line");
        let (before, after) = match (raw, ended) {
            (false, _) => (before, format!("{after}\n")),
            (true, true) => ("", "\n".to_owned()),
            (true, false) => ("", String::new()),
        };
        self.out.bytes(before.as_bytes());
        let chunk = vec![b'x'; CHUNK_BYTES];
        let mut left = size.saturating_sub(before.len() + after.len());
        while left > 0 {
            let count = left.min(CHUNK_BYTES);
            self.out.bytes(&chunk[..count]);
            left -= count;
            // Cut off in the middle of a line: the result is to begin a new one.
            if let Err(stop) = self.listen() {
                self.out.bytes(b"\n");
                return Err(stop);
            }
        }
        self.out.bytes(after.as_bytes());
        self.out.flush();
        Ok(())
    }

    /// Many lines of one length, as fast as they are read.
    fn print_much(&mut self, size: usize, line_size: usize) -> Result<(), Stop> {
        let mut line = self.templates.stream_event("content_block_delta");
        line["event"] = json!({
            "type": "content_block_delta", "index": 0, "delta": { "type": "text_delta", "text": "@@" },
        });
        stamp(&mut line, &self.session.id);
        let text = line.to_string();
        let filling = "x".repeat(line_size.saturating_sub(text.len() - 1).max(10));
        let text = text.replace("@@", &filling) + "\n";
        let block = text.repeat((CHUNK_BYTES / text.len()).max(1));
        let mut left = size;
        self.out.bulk = true;
        while left >= text.len() {
            let block = if left >= block.len() { &block } else { &text };
            self.out.bytes(block.as_bytes());
            left -= block.len();
            let outcome = if block.len() >= CHUNK_BYTES / 2 { self.listen() } else { Ok(()) };
            if outcome.is_err() {
                self.out.bulk = false;
                return outcome;
            }
        }
        self.out.bulk = false;
        self.out.flush();
        Ok(())
    }

    fn print_nested(&mut self, depth: u64, kind: &str) {
        let depth = usize::try_from(depth).unwrap_or(0);
        let (open, close) = ("{\"x\":[".repeat(depth), "]}".repeat(depth));
        self.out.bytes(format!("{{\"type\":\"{kind}\",\"message\":{open}{close}}}\n").as_bytes());
    }

    fn print_tiny(&mut self, mut lines: u64) -> Result<(), Stop> {
        const LINES_AT_ONCE: u64 = 20_000;
        while lines > 0 {
            let count = lines.min(LINES_AT_ONCE);
            self.out.bytes(&b"{}\n".repeat(usize::try_from(count).unwrap_or(1)));
            lines -= count;
            self.listen()?;
        }
        Ok(())
    }

    /// Events that a supervisor may keep something of: `[[swell KIND COUNT SIZE]]`, each with so large a part.
    fn print_swelling(&mut self, kind: &str, words: &[&str]) -> Result<(), Stop> {
        let count = words.get(1).map_or(1, |count| number(count));
        let filling = "x".repeat(words.get(2).map_or(0, |size| bytes(size)));
        for at in 0..count {
            let lines = match kind {
                "denials" => {
                    let denial = json!({ "tool_name": "Write", "tool_input": { "file_path": filling } });
                    vec![
                        json!({ "type": "result", "subtype": "success", "is_error": false, "result": "", "origin": {},
                            "permission_denials": [denial] }),
                        // The turn goes on.
                        json!({ "type": "system", "subtype": "init" }),
                    ]
                }
                // Ids, uses of tools that never end, and their inputs.
                "tools" => {
                    let tool = json!({ "type": "tool_use", "id": format!("toolu_{at}{filling}"), "name": "Write",
                        "input": { "file_path": filling } });
                    let message = json!({ "id": format!("msg_{at}{filling}"), "model": "m", "content": [tool] });
                    vec![json!({ "type": "assistant", "message": message, "parent_tool_use_id": null })]
                }
                "models" => {
                    let of_each = json!({ "inputTokens": 1, "outputTokens": 1, "costUSD": 0.0 });
                    let name = |i| (format!("model-{i}{filling}"), of_each.clone());
                    let models: serde_json::Map<String, serde_json::Value> = (0..4_000).map(name).collect();
                    vec![
                        json!({ "type": "result", "subtype": "success", "is_error": false, "result": "", "origin": {},
                            "modelUsage": models }),
                        json!({ "type": "system", "subtype": "init" }),
                    ]
                }
                _ => crate::fail(&format!("fake-claude: `{kind}` does not swell")),
            };
            for line in lines {
                self.out.bytes(format!("{line}\n").as_bytes());
            }
            if at % 256 == 0 || !filling.is_empty() {
                self.listen()?;
            }
        }
        Ok(())
    }

    fn print_unknown_event(&mut self, at: u64) {
        let lines = [
            json!({ "type": "weather_report", "sky": ["clear", { "wind": 3 }] }),
            json!({ "type": "system", "subtype": "moon_phase", "phase": 0.5 }),
            json!({ "type": "stream_event", "event": { "type": "content_block_sparkle", "index": 0 }, "parent_tool_use_id": null }),
            json!({ "type": "hook_progress", "hook": "x", "usage": { "input_tokens": 77 } }),
            json!({ "type": "tool_progress", "tool_use_id": "toolu_x", "elapsed_time_seconds": 3 }),
            json!({ "type": "control_request", "request_id": format!("from-claude-{at}"), "request": { "subtype": "unheard_of" } }),
        ];
        let index = usize::try_from(at).unwrap_or(0) % lines.len();
        self.emit(lines[index].clone());
    }
}

fn number(text: &str) -> u64 {
    text.parse().unwrap_or(1)
}

/// Seconds, as a number with or without `s`; nothing means for ever.
fn seconds(text: &str) -> Duration {
    match text.trim_end_matches('s').parse() {
        Ok(seconds) => Duration::from_secs_f64(seconds),
        Err(_) => FOR_EVER,
    }
}

/// `300kB`, `200MB`, `1GB` or plain bytes.
fn bytes(text: &str) -> usize {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match &text[digits.len()..] {
        "" | "B" => 1,
        "kB" | "KB" => 1000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        other => crate::fail(&format!("fake-claude: `{other}` is no unit of size")),
    };
    digits.parse::<usize>().unwrap_or(1) * unit
}

fn signal_named(name: &str) -> Signal {
    let by_number = || name.parse::<i32>().ok().and_then(|number| Signal::try_from(number).ok());
    let by_name = || format!("SIG{}", name.trim_start_matches("SIG")).parse().ok();
    by_number().or_else(by_name).unwrap_or_else(|| crate::fail(&format!("fake-claude: no signal {name}")))
}

/// A child in the same process group that keeps stdout and stderr open.
// To be left behind is its purpose.
#[allow(clippy::zombie_processes)]
fn hold_pipe(seconds: &str) {
    let mut command = Command::new("sleep");
    // SAFETY: sigprocmask is async-signal-safe.
    unsafe { command.pre_exec(signals::unblock) };
    let child = command.arg(seconds).stdin(Stdio::null()).spawn().expect("there is a sleep");
    log::event("hold-pipe", json!({ "child_pid": child.id() }));
}

/// A child that is nobody's: forked twice, in a session of its own.
fn escape(words: &[&str]) {
    // SAFETY: descriptor 1 is open for the whole life of the process.
    let stdout = unsafe { BorrowedFd::borrow_raw(1) }.try_clone_to_owned().expect("descriptors are left");
    let program = std::env::current_exe().expect("the program has a path");
    let mut command = Command::new(program);
    // The pipes travel as descriptors 0 and 2; 1 brings back the pid.
    command.arg(ESCAPEE).args(words).stdin(Stdio::from(stdout)).stdout(Stdio::piped());
    if words.contains(&"env-cleared") {
        command.env_clear();
    }
    let output = command.stderr(Stdio::inherit()).output().expect("the program can be started again");
    let pid = String::from_utf8_lossy(&output.stdout).trim().parse::<i32>().unwrap_or(0);
    log::event("escape", json!({ "child_pid": pid, "words": words }));
}

/// The other side of `escape`, when this process is one.
pub fn run_escapee() -> Option<i32> {
    let mut args = std::env::args().skip(1);
    if args.next().as_deref() != Some(ESCAPEE) {
        return None;
    }
    let words: Vec<String> = args.collect();
    let has = |word: &str| words.iter().any(|known| known == word);
    let _ = signals::unblock();
    let _ = setsid();
    // SAFETY: this process has one thread.
    match unsafe { fork() } {
        Ok(ForkResult::Parent { child }) => {
            println!("{child}");
            return Some(0);
        }
        Ok(ForkResult::Child) => {}
        Err(_) => return Some(1),
    }
    if has("deaf") {
        for number in 1..32 {
            if let Ok(name) = Signal::try_from(number) {
                // SAFETY: to ignore a signal runs no code.
                let _ = unsafe { signal(name, SigHandler::SigIgn) };
            }
        }
    }
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null").ok()?;
    let _ = dup2_stdout(&null);
    if !has("keep-pipes") {
        let _ = dup2_stdin(&null);
        let _ = dup2_stderr(&null);
    }
    std::thread::sleep(seconds(words.first().map_or("", String::as_str)));
    Some(0)
}

/// Lines that are no JSON, or JSON of the wrong shape; each with its newline.
fn garbage(at: u64) -> Vec<u8> {
    let kinds: [&[u8]; 14] = [
        b"\x00\x01\x02\xff\xfe\x80binary\x1b[31mred\x07",
        b"\0\0\0\0\0\0\0\0",
        b"{\"type\":\"result\",\"subtype\":\"succ",
        b"half of a letter \xc3",
        b"{\"type\":\"assistant\",\"message\":{\"id\":7,\"usage\":\"many\",\"content\":\"none\"}}",
        b"{\"type\":[\"result\"],\"is_error\":\"no\"}",
        b"{\"type\":\"stream_event\",\"event\":null}",
        b"null",
        b"[1,2,{\"type\":\"result\"}]",
        b"\"result\"",
        b"{\"type\":\"assistant\",\"message\":{\"id\":\"msg_g\",\"usage\":{\"input_tokens\":-5,\"output_tokens\":1e400}}}",
        b"",
        b"{\"type\":\"system\",\"subtype\":{\"init\":true}}",
        b"\xed\xa0\x80\xed\xb0\x80 a surrogate pair, \xf4\x90\x80\x80 beyond Unicode",
    ];
    let mut line = kinds[usize::try_from(at).unwrap_or(0) % kinds.len()].to_vec();
    line.push(b'\n');
    line
}
