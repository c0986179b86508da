//! A fake `claude -p --input-format stream-json --output-format stream-json`: the real CLI's behaviour, measured
//! on three generations of it, without network and account. What it does in a turn is written in the message it is sent
//! (see `script`), faults included. `FAKE_CLAUDE_GENERATION` chooses the generation; the other variables are
//! `FAKE_CLAUDE_AT_START`, `FAKE_CLAUDE_INITIALIZE`, `FAKE_CLAUDE_LOG`, `FAKE_CLAUDE_MCP_FAILED` (names of MCP servers that `init`
//! reports as failed), `FAKE_CLAUDE_RETRY_MS` and `FAKE_CLAUDE_WAKEUP_MS` (the time to a scheduled wake-up).

mod commands;
mod control;
mod generation;
mod inbox;
mod local;
mod log;
mod message;
mod money;
mod options;
mod output;
mod permissions;
mod refusals;
mod report;
mod session;
mod shell_lines;
mod signals;
mod subagent;
mod templates;
mod tools;
mod turn;
mod verbs;

use commands::Command;
use generation::Generation;
use harness::script;
use inbox::{Inbox, Input};
use money::Totals;
use options::Options;
use output::Output;
use permissions::Permissions;
use serde_json::{Value, json};
use session::Session;
use std::collections::VecDeque;
use std::io::Write;
use std::time::{Duration, Instant};
use templates::Templates;

/// One running process.
pub struct Claude {
    generation: Generation,
    options: Options,
    permissions: Permissions,
    model: String,
    templates: Templates,
    out: Output,
    inbox: Inbox,
    session: Session,
    commands: Vec<Command>,
    totals: Totals,
    /// What `totals` was not told yet in `model_usage_since_last_result`.
    since_last_result: Totals,
    /// Messages to run, each a turn.
    queue: VecDeque<String>,
    /// Messages of the last script that no turn has come to yet.
    rest_of_script: VecDeque<script::Message>,
    input_has_ended: bool,
    got_sigint: bool,
    results: u64,
    /// Messages of the conversation, as 1.0 counts them.
    message_count: u64,
    subagent_tokens: u64,
    /// Subagents that go on in the background.
    background: Vec<subagent::Agent>,
    /// Commands that do.
    shells: Vec<subagent::Shell>,
    /// When a scheduled wake-up comes.
    wakeup: Option<Instant>,
    api_time: Duration,
    ending: Ending,
}

/// How the process ends once its input has.
#[derive(Debug, Default)]
struct Ending {
    /// The last result was an error: the real ones exit 1 then.
    last_was_error: bool,
    /// `[[exit-after N]]`
    exit_code: Option<i32>,
    /// `[[linger SECONDS]]`
    linger: Duration,
}

/// Why a turn does not go on to its end.
pub enum Stop {
    Interrupted,
    /// The turn is over, with that verdict.
    Verdict(report::Verdict),
}

fn main() {
    if let Some(status) = verbs::run_escapee() {
        std::process::exit(status);
    }
    signals::block();
    let generation =
        Generation::from_env().unwrap_or_else(|name| fail(&format!("unknown FAKE_CLAUDE_GENERATION {name}")));
    let options = Options::parse(generation, templates::help(generation)).unwrap_or_else(|error| fail(&error));
    if options.help {
        print!("{}", templates::help(generation));
        return;
    }
    if options.version {
        println!("{} (Claude Code)", generation.version());
        return;
    }
    log::start();
    check(&options);
    let permissions = Permissions::new(generation, &options);
    let (session, totals) = open_session(generation, &options);
    if permissions.mode == "bypassPermissions" && nix::unistd::geteuid().is_root() && !generation.is_sandboxed() {
        fail("--dangerously-skip-permissions cannot be used with root/sudo privileges for security reasons");
    }
    let text = (options.input_format == "text").then(|| options.prompt.clone().unwrap_or_else(inbox::read_all));
    if text.as_deref().is_some_and(|text| text.trim().is_empty()) {
        fail("Error: Input must be provided either through stdin or as a prompt argument when using --print");
    }
    let (inbox, sender) = Inbox::open();
    signals::listen(generation, sender);
    let mut claude = Claude {
        generation,
        model: generation.resolve_model(options.model.as_deref().unwrap_or("default")),
        permissions,
        templates: Templates::load(generation),
        out: Output::new(generation.survives_closed_stdout()),
        inbox,
        message_count: session.conversation.len() as u64,
        session,
        commands: if options.no_slash_commands { Vec::new() } else { commands::find(generation) },
        totals,
        since_last_result: Totals::default(),
        queue: VecDeque::new(),
        rest_of_script: VecDeque::new(),
        input_has_ended: false,
        got_sigint: false,
        results: 0,
        subagent_tokens: 0,
        background: Vec::new(),
        shells: Vec::new(),
        wakeup: None,
        api_time: Duration::ZERO,
        ending: Ending::default(),
        options,
    };
    claude.run_at_start();
    if let Some(text) = text {
        claude.queue.push_back(text);
        claude.input_has_ended = true;
    }
    claude.run();
}

/// What the real ones check before anything else.
fn check(options: &Options) {
    if !options.print {
        fail("fake-claude: only --print is played here");
    }
    if options.output_format == "stream-json" && !options.verbose {
        fail("Error: When using --print, --output-format=stream-json requires --verbose");
    }
    if options.input_format == "stream-json" && options.output_format != "stream-json" {
        fail("Error: --input-format=stream-json requires output-format=stream-json.");
    }
    if options.output_format != "stream-json" {
        fail("fake-claude: only --output-format stream-json is played here");
    }
}

/// The session of `--session-id`, `--resume` or `--continue`, or a new one, and what it counts as spent already.
fn open_session(generation: Generation, options: &Options) -> (Session, Totals) {
    let persists = !options.no_persistence;
    let resumed = options.resume.clone().or_else(|| Session::last_id().filter(|_| options.continue_last));
    if let Some(id) = &options.session_id {
        if !session::is_uuid(id) {
            fail("Error: Invalid session ID. Must be a valid UUID.");
        }
        if resumed.is_none() && Session::exists(id) {
            fail(&format!("Error: Session ID {id} is already in use."));
        }
    }
    let Some(id) = resumed else {
        let id = options.session_id.clone().unwrap_or_else(session::new_uuid);
        return (Session::new(id, persists), Totals::default());
    };
    let Some((mut session, cost)) = Session::load(&id, persists) else {
        if let Some(mut line) = Templates::load(generation).missing_session() {
            line["errors"] = json!([format!("No conversation found with session ID: {id}")]);
            templates::stamp(&mut line, &session::new_uuid());
            Output::default().line(&line);
        }
        fail(&format!("No conversation found with session ID: {id}"));
    };
    if options.fork_session {
        session.id = options.session_id.clone().unwrap_or_else(session::new_uuid);
    }
    (session, if generation.resumes_totals() { cost } else { Totals::default() })
}

impl Claude {
    /// Turns as they come, until the input has ended.
    fn run(&mut self) -> ! {
        loop {
            while let Some(input) = self.inbox.take() {
                self.hear(input, false);
            }
            if self.got_sigint {
                self.end(0);
            }
            if let Some(text) = self.queue.pop_front() {
                self.run_turn(&text);
            } else if !self.background.is_empty() {
                self.run_background();
            } else if self.reap_shell() {
                self.follow_up();
            } else if self.take_wakeup() {
                let model = self.model.clone();
                self.run_prompt("", &model, 0);
            } else if self.input_has_ended && self.shells.is_empty() {
                break;
            } else {
                let is_idle = self.shells.is_empty() && self.wakeup.is_none();
                let patience = if is_idle { Duration::from_secs(3600) } else { Duration::from_millis(20) };
                if let Some(input) = self.inbox.wait(patience) {
                    self.hear(input, false);
                }
            }
        }
        if self.generation == Generation::V2_0 && self.results == 0 {
            self.session.save_nothing();
        }
        self.out.flush();
        if self.ending.linger > Duration::ZERO {
            std::thread::sleep(self.ending.linger);
        }
        let code = self.ending.exit_code.unwrap_or(i32::from(self.ending.last_was_error));
        self.end(code)
    }

    /// Subagents that go on after the result.
    fn run_background(&mut self) {
        let model = self.model.clone();
        match self.finish_agents(&mut turn::Turn::new(&model, "", None), true) {
            Ok(_) => self.follow_up(),
            Err(_) => self.stop_background(),
        }
    }

    /// Takes in one input; true when it interrupts the turn under way.
    fn hear(&mut self, input: Input, in_turn: bool) -> bool {
        match input {
            Input::Eof => self.input_has_ended = true,
            Input::Interrupt => {
                self.got_sigint = true;
                return true;
            }
            Input::Line(line) if line.trim().is_empty() => {}
            Input::Line(line) => {
                let value: Value = serde_json::from_str(&line).unwrap_or_else(|_| match self.generation {
                    Generation::V2_1 => fail(&format!(
                        "Error parsing streaming input line (type=unknown, {} chars): SyntaxError",
                        line.chars().count()
                    )),
                    _ => fail(&format!("Error parsing streaming input line: {line}: SyntaxError")),
                });
                match value["type"].as_str() {
                    Some("user") => self.queue.push_back(text_of(&value["message"]["content"])),
                    Some("control_request") => return self.answer_control(&value, in_turn),
                    Some("control_response" | "keep_alive" | "control_cancel_request") => {}
                    other => fail(&format!(
                        "Error: Expected message type 'user' or 'control', got '{}'",
                        other.unwrap_or("undefined")
                    )),
                }
            }
        }
        false
    }

    /// Waits, listening.
    fn pause(&mut self, duration: Duration) -> Result<(), Stop> {
        self.out.flush();
        let end = Instant::now() + duration;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.inbox.wait(left) {
                Some(input) => {
                    if self.hear(input, true) {
                        return Err(Stop::Interrupted);
                    }
                }
                None => return Ok(()),
            }
        }
    }

    /// Takes in what has arrived, without waiting.
    fn listen(&mut self) -> Result<(), Stop> {
        self.pause(Duration::ZERO)
    }

    fn emit(&mut self, mut line: Value) {
        templates::stamp(&mut line, &self.session.id);
        self.out.line(&line);
    }

    fn end(&mut self, code: i32) -> ! {
        self.out.flush();
        exit(code)
    }
}

/// The text of a message's content, in either of its forms.
fn text_of(content: &Value) -> String {
    match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().filter_map(|block| block["text"].as_str()).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

fn fail(message: &str) -> ! {
    // Not `eprintln!`: it panics when stderr is closed.
    let _ = writeln!(std::io::stderr(), "{message}");
    exit(1)
}

fn exit(code: i32) -> ! {
    log::event("end", json!({ "code": code }));
    std::process::exit(code)
}
