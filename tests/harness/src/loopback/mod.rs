//! A Messages API on 127.0.0.1, so that the real CLI can be run without an account and without the network. It obeys the
//! script it finds in the conversation (see `script`), and keeps a log of what it served, to the token: what a client
//! cost is known here even when the client itself never told.
//!
//! Each connection carries one request and has a thread of its own. This file knows nothing of zen or of claude's stdin
//! and stdout, and needs nothing but the standard library and serde.

mod wire;

use crate::script::{self, Failure, Message, Script, Step, Usage};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
pub use wire::TokenCount;
use wire::{Answer, Client, error_body, read_request};

/// One request and what became of it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Served {
    /// Counts the requests in the order of their arrival, from 0. The log is in the order of their ends.
    pub index: usize,
    /// When the request had arrived, in milliseconds since 1970.
    pub arrived_epoch_ms: u64,
    pub took_ms: u64,
    pub kind: Kind,
    pub model: String,
    pub streaming: bool,
    pub outcome: Outcome,
    /// Unique over all servers; none where no message was served.
    pub message_id: Option<String>,
    /// What the whole message costs, whether or not the client stayed to hear it.
    pub usage: TokenCount,
    /// The part of `usage` that the client was told before it went away.
    pub announced: TokenCount,
    pub session_id: Option<String>,
    /// `metadata.user_id` as it came.
    pub user_id: Option<String>,
    pub last_user_text: String,
    /// Every text of the conversation, in order: prompts, answers and tool results.
    pub conversation_texts: Vec<String>,
    pub offered_tools: Vec<String>,
    pub has_authorization: bool,
    pub has_api_key: bool,
}

/// What the request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The conversation with the user, or a subagent's. Only this obeys scripts.
    Conversation,
    /// `/compact`: the conversation is to be summed up.
    Compaction,
    /// 2.0 lets its subagents fill the prompt cache.
    Warmup,
    Quota,
    /// Another call without tools: titles, topics, what a web page says.
    SideModel,
    CountTokens,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The client was there when the last byte was written.
    Complete,
    ClientWentAway,
    /// This HTTP status was answered in place of a message.
    Refused(u16),
    /// The message was broken off after its first block had begun, as scripted.
    Broken,
}

/// A running server; dropping it cuts its connections and ends its threads.
pub struct LoopbackApi {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

impl LoopbackApi {
    /// Starts on a free port of 127.0.0.1.
    ///
    /// # Panics
    /// When the machine has no loopback interface.
    pub fn start() -> LoopbackApi {
        Self::launch(None)
    }

    /// Like `start`, and each entry of the log is also appended to this file, as a line of JSON, once it is finished.
    ///
    /// # Panics
    /// Also when the file cannot be opened.
    pub fn start_logging_to(path: &Path) -> LoopbackApi {
        let file = OpenOptions::new().create(true).append(true).open(path);
        Self::launch(Some(file.unwrap_or_else(|error| panic!("{}: {error}", path.display()))))
    }

    fn launch(log_file: Option<File>) -> LoopbackApi {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port on 127.0.0.1");
        let address = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            name: format!("{:x}{:04x}", epoch().as_micros(), address.port()),
            stopping: AtomicBool::new(false),
            state: Mutex::new(State { log_file, ..State::default() }),
            changed: Condvar::new(),
        });
        let acceptor = thread::spawn({
            let shared = Arc::clone(&shared);
            move || accept_all(&listener, &shared)
        });
        LoopbackApi { shared, address, acceptor: Some(acceptor) }
    }

    /// For `ANTHROPIC_BASE_URL`.
    pub fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on each call that a client makes for itself has a usage of its own: an input of 1,000 tokens, 2,000, 4,000
    /// and so on. Which of them a sum has in it can be told from the sum.
    pub fn tell_own_calls_apart(&self) {
        self.shared.lock().own_calls = Some(0);
    }

    /// Once messages of conversations have begun that come to so many tokens, each further one begins so long after its
    /// request: no model answers at once.
    pub fn think_beyond(&self, tokens: u64, time: Duration) {
        self.shared.lock().thinking = Some(Thinking { tokens_before: tokens, time });
    }

    /// Lets every `[[until NAME]]` of this name go on, now and later.
    pub fn open(&self, gate: &str) {
        self.shared.lock().open_gates.insert(gate.to_owned());
    }

    /// Waits until all that was asked stands in the log. Whoever asked must be gone.
    ///
    /// # Panics
    /// When the time is over first.
    pub fn settle(&self, timeout: Duration) {
        // Connections are taken in their order: where this one is answered, all before it have been taken.
        let mut last = TcpStream::connect(self.address).expect("the API listens");
        let _ = last.write_all(b"HEAD / HTTP/1.1\r\n\r\n").and_then(|()| last.read_to_end(&mut Vec::new()));
        assert!(self.shared.wait_until(timeout, |state| state.connections == 0), "somebody is still connected");
    }

    /// All requests that are finished, in the order of their ends.
    pub fn log(&self) -> Vec<Served> {
        self.shared.lock().log.clone()
    }

    /// Waits until so many requests have arrived, finished or not; false when the time is over first.
    pub fn wait_for_arrivals(&self, count: usize, timeout: Duration) -> bool {
        self.shared.wait_until(timeout, |state| state.arrivals >= count)
    }

    /// Waits until the log fulfils the condition; false when the time is over first.
    pub fn wait_for_log(&self, timeout: Duration, condition: impl Fn(&[Served]) -> bool) -> bool {
        self.shared.wait_until(timeout, |state| condition(&state.log))
    }
}

impl Drop for LoopbackApi {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        // `accept` has no timeout: a connection wakes it.
        let _ = TcpStream::connect(self.address);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

struct Shared {
    /// Makes message ids unique over all servers.
    name: String,
    stopping: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    log: Vec<Served>,
    log_file: Option<File>,
    arrivals: usize,
    /// How many scripted failures a message has answered already.
    failures_served: HashMap<PlaceInScript, u32>,
    /// How many calls of clients for themselves there were, where they are told apart.
    own_calls: Option<u32>,
    open_gates: HashSet<String>,
    /// How many connections have not ended.
    connections: usize,
    /// What the messages of conversations come to that have begun.
    begun_tokens: u64,
    thinking: Option<Thinking>,
}

/// How long a model thinks before it begins a message, once those before it come to so many tokens.
#[derive(Clone, Copy)]
struct Thinking {
    tokens_before: u64,
    time: Duration,
}

/// A repeated request has the same one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PlaceInScript {
    session_id: Option<String>,
    script: String,
    messages_before: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        // A thread that panicked has left nothing half done in there.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn wait_until(&self, timeout: Duration, condition: impl Fn(&State) -> bool) -> bool {
        let waited = self.changed.wait_timeout_while(self.lock(), timeout, |state| !condition(state));
        waited.is_ok_and(|(_, result)| !result.timed_out())
    }

    fn arrive(&self) -> usize {
        let mut state = self.lock();
        state.arrivals += 1;
        self.changed.notify_all();
        state.arrivals - 1
    }

    fn finish(&self, served: Served) {
        let mut state = self.lock();
        if let Some(file) = &mut state.log_file {
            let line = serde_json::to_string(&served).expect("strings and numbers only");
            let _ = writeln!(file, "{line}");
        }
        state.log.push(served);
        self.changed.notify_all();
    }

    fn is_open(&self, gate: &str) -> bool {
        self.stopping.load(Ordering::SeqCst) || self.lock().open_gates.contains(gate)
    }

    fn thinking_time(&self) -> Duration {
        let state = self.lock();
        let thinking = state.thinking.filter(|thinking| state.begun_tokens >= thinking.tokens_before);
        thinking.map_or(Duration::ZERO, |thinking| thinking.time)
    }

    fn connections_changed(&self, change: impl FnOnce(usize) -> usize) {
        let mut state = self.lock();
        state.connections = change(state.connections);
        self.changed.notify_all();
    }

    /// What a client's call for itself costs that is not scripted.
    fn own_call_usage(&self) -> Usage {
        let mut state = self.lock();
        let Some(count) = &mut state.own_calls else { return Usage::default() };
        *count += 1;
        Usage { input_tokens: 500 << *count, ..Usage::default() }
    }

    /// The failure that is due at this place, if one is left.
    fn next_failure(&self, sandbox: PlaceInScript, failures: &[Failure]) -> Option<Failure> {
        let mut state = self.lock();
        let count = state.failures_served.entry(sandbox).or_default();
        let mut before = 0;
        let due = failures.iter().find(|failure| {
            before += failure.times;
            *count < before
        })?;
        *count += 1;
        Some(due.clone())
    }
}

fn epoch() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

fn accept_all(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut connections: Vec<(TcpStream, JoinHandle<()>)> = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        if shared.stopping.load(Ordering::SeqCst) {
            break;
        }
        connections.retain(|(_, thread)| !thread.is_finished());
        if let Ok(twin) = stream.try_clone() {
            shared.connections_changed(|count| count + 1);
            let shared = Arc::clone(shared);
            let serve_one = move || {
                // An error is a client that is gone: what was served it is in the log.
                let _ = serve(&stream, &shared);
                // The twin would keep the connection open.
                let _ = stream.shutdown(Shutdown::Write);
                shared.connections_changed(|count| count - 1);
            };
            connections.push((twin, thread::spawn(serve_one)));
        }
    }
    for (stream, thread) in connections {
        let _ = stream.shutdown(Shutdown::Both);
        let _ = thread.join();
    }
}

fn serve(stream: &TcpStream, shared: &Shared) -> io::Result<()> {
    let request = read_request(stream)?;
    let mut client = Client::new(stream)?;
    let is_count = request.path == "/v1/messages/count_tokens";
    if request.method != "POST" || !(is_count || request.path == "/v1/messages") {
        return client.send_json(404, &[], &error_body(404, "there is nothing here"));
    }
    let Ok(body) = serde_json::from_slice::<Value>(&request.body) else {
        return client.send_json(400, &[], &error_body(400, "the body is no JSON"));
    };
    let started = Instant::now();
    let conversation = Conversation::read(&body);
    let kind = if is_count { Kind::CountTokens } else { conversation.kind() };
    let mut served = Served {
        index: shared.arrive(),
        arrived_epoch_ms: epoch().as_millis().try_into().unwrap_or(u64::MAX),
        took_ms: 0,
        kind,
        model: conversation.model.clone(),
        streaming: body["stream"] == true,
        outcome: Outcome::ClientWentAway,
        message_id: None,
        usage: TokenCount::default(),
        announced: TokenCount::default(),
        session_id: conversation.session_id.clone(),
        user_id: body["metadata"]["user_id"].as_str().map(str::to_owned),
        last_user_text: conversation.last_user_text.clone(),
        conversation_texts: conversation.texts.clone(),
        offered_tools: conversation.offered_tools.clone(),
        has_authorization: request.headers.contains_key("authorization"),
        has_api_key: request.headers.contains_key("x-api-key"),
    };
    let answered = answer(&mut client, &conversation, shared, &mut served);
    if answered.is_err() {
        served.outcome = Outcome::ClientWentAway;
    }
    served.took_ms = started.elapsed().as_millis().try_into().unwrap_or(u64::MAX);
    shared.finish(served);
    answered
}

/// Serves what is due, and notes in `served` how far it came; an error is a client that went away.
fn answer(
    client: &mut Client<'_>,
    conversation: &Conversation,
    shared: &Shared,
    served: &mut Served,
) -> io::Result<()> {
    if served.kind == Kind::CountTokens {
        client.send_json(200, &[], &json!({"input_tokens": Usage::default().input_tokens}))?;
        served.outcome = Outcome::Complete;
        return Ok(());
    }
    let mut message = match conversation.next_message(served.kind, shared) {
        Ok(message) => message,
        Err(refusal) if matches!(refusal.status, script::RESET | script::GARBLED) => {
            return break_off(client, refusal.status, shared, served);
        }
        Err(refusal) => {
            served.outcome = Outcome::Refused(refusal.status);
            return client.send_json(refusal.status, &refusal.headers, &error_body(refusal.status, &refusal.message));
        }
    };
    if matches!(served.kind, Kind::Warmup | Kind::Quota | Kind::SideModel) {
        message.usage = shared.own_call_usage();
    }
    let id = format!("msg_{}{:04}", shared.name, served.index);
    served.message_id = Some(id.clone());
    served.usage = message.usage.into();
    if served.kind == Kind::Conversation {
        client.stay_connected(shared.thinking_time())?;
        let TokenCount { input_tokens, output_tokens, cache_creation_input_tokens, cache_read_input_tokens } =
            served.usage;
        shared.lock().begun_tokens +=
            input_tokens + output_tokens + cache_creation_input_tokens + cache_read_input_tokens;
    }
    let is_open = |gate: &str| shared.is_open(gate);
    let answer = Answer { id, model: &served.model, message: &message, is_open: &is_open };
    answer.send(client, served.streaming, &mut served.announced)?;
    served.outcome = Outcome::Complete;
    Ok(())
}

/// Sends the beginning of a message, and then resets the connection or sends an event that is no JSON.
fn break_off(client: &mut Client<'_>, status: u16, shared: &Shared, served: &mut Served) -> io::Result<()> {
    let message = Message { steps: vec![Step::Say("The beginning of".to_owned())], ..Message::default() };
    let id = format!("msg_{}{:04}", shared.name, served.index);
    served.message_id = Some(id.clone());
    served.usage = message.usage.into();
    let answer = Answer { id, model: &served.model, message: &message, is_open: &|_| true };
    answer.send_beginning(client, served.streaming, &mut served.announced)?;
    if status == script::GARBLED {
        client.send_garbled_event()?
    } else {
        client.reset()?
    }
    served.outcome = Outcome::Broken;
    Ok(())
}

/// What of a request decides its answer.
struct Conversation {
    session_id: Option<String>,
    model: String,
    last_user_text: String,
    texts: Vec<String>,
    offered_tools: Vec<String>,
    /// The text with the script that is in force, and the number of answers since.
    script: Option<(String, usize)>,
    message_count: usize,
}

struct Refusal {
    status: u16,
    headers: Vec<(String, String)>,
    message: String,
}

impl Conversation {
    fn read(body: &Value) -> Conversation {
        let mut last_user_text = String::new();
        let mut texts = Vec::new();
        let mut script = None;
        let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
        for message in messages {
            let own_texts = own_texts(&message["content"]);
            texts.extend(all_texts(&message["content"]));
            match message["role"].as_str() {
                Some("user") => {
                    // One message can hold several prompts (after an interrupt) and a command's arguments before its
                    // body: the last script of them is the one that is meant.
                    let prompts = || own_texts.iter().filter(|text| !is_reminder(text));
                    if let Some(text) = prompts().next_back() {
                        last_user_text.clone_from(text);
                    }
                    if let Some(text) = prompts().rfind(|text| script::holds_script(text)) {
                        script = Some((text.clone(), 0));
                    }
                }
                Some("assistant") => {
                    if let Some((_, answers_since)) = &mut script {
                        *answers_since += 1;
                    }
                }
                // 2.1 puts its environment and what it remembers of commands into messages of the role `system`.
                _ => {}
            }
        }
        let tools = body["tools"].as_array().map_or(&[][..], Vec::as_slice);
        Conversation {
            session_id: body["metadata"]["user_id"].as_str().and_then(session_id),
            model: body["model"].as_str().unwrap_or_default().to_owned(),
            last_user_text,
            texts,
            offered_tools: tools.iter().filter_map(|tool| Some(tool["name"].as_str()?.to_owned())).collect(),
            script,
            message_count: messages.len(),
        }
    }

    fn kind(&self) -> Kind {
        let text = self.last_user_text.as_str();
        if text.contains("Your task is to create a detailed summary of") {
            Kind::Compaction
        } else if self.offered_tools.is_empty() && text == "Warmup" {
            Kind::Warmup
        } else if self.offered_tools.is_empty() && text == "quota" {
            Kind::Quota
        } else if self.offered_tools.is_empty() && self.model.contains("haiku") {
            Kind::SideModel
        } else {
            Kind::Conversation
        }
    }

    fn next_message(&self, kind: Kind, shared: &Shared) -> Result<Message, Refusal> {
        let plain = |text: &str| Message { steps: vec![Step::Say(text.to_owned())], ..Message::default() };
        let (text, answers_since) = match (&self.script, kind) {
            (Some(script), Kind::Conversation) => script,
            (_, Kind::Compaction) => {
                return Ok(plain("<analysis>All of it.</analysis><summary>A summary.</summary>"));
            }
            _ => return Ok(plain("ok")),
        };
        let Script { messages } = script::parse(text).map_err(|error| Refusal {
            status: 400,
            headers: Vec::new(),
            message: error.to_string(),
        })?;
        let Some(mut message) = messages.into_iter().nth(*answers_since) else {
            return Ok(plain("done."));
        };
        let sandbox = PlaceInScript {
            session_id: self.session_id.clone(),
            script: text.clone(),
            messages_before: self.message_count,
        };
        if let Some(failure) = shared.next_failure(sandbox, &message.failures) {
            let Failure { status, headers, .. } = failure;
            return Err(Refusal { status, headers, message: format!("scripted status {status}") });
        }
        // A message without a block is none that the API ever sends.
        if message.steps.iter().all(|step| matches!(step, Step::Wait(_) | Step::Other { .. })) {
            message.steps.push(Step::Say("ok".to_owned()));
        }
        Ok(message)
    }
}

/// 2.1 sends a JSON object, the older ones `user_…_account_…_session_UUID`.
fn session_id(user_id: &str) -> Option<String> {
    if let Ok(object) = serde_json::from_str::<Value>(user_id) {
        return object["session_id"].as_str().map(str::to_owned);
    }
    user_id.rsplit_once("_session_").map(|(_, id)| id.to_owned())
}

/// What claude adds to a prompt; it can repeat texts of files and commands.
fn is_reminder(text: &str) -> bool {
    text.trim_start().starts_with("<system-reminder>")
}

/// The text blocks of a message; a tool's result is not among them, for it may repeat a script.
fn own_texts(content: &Value) -> Vec<String> {
    match content {
        Value::String(text) => vec![text.clone()],
        Value::Array(blocks) => blocks.iter().filter_map(|block| Some(block["text"].as_str()?.to_owned())).collect(),
        _ => Vec::new(),
    }
}

fn all_texts(content: &Value) -> Vec<String> {
    let Value::Array(blocks) = content else {
        return own_texts(content);
    };
    let texts = |block: &Value| match block["type"].as_str() {
        Some("tool_result") => own_texts(&block["content"]),
        _ => own_texts(&json!([block])),
    };
    blocks.iter().flat_map(texts).collect()
}
