//! The Messages API on the wire: HTTP requests in, JSON and server-sent events out. It knows how a message is told, not
//! which one and to whom. One request a connection: that is all the HTTP that a test needs.

use crate::script::{Message, Step, Usage};
use nix::libc;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Longer text comes in several deltas, as it does from the real API.
const MAX_DELTA_CHARS: usize = 200;
const MAX_BODY_BYTES: u64 = 64 * 1024 * 1024;
/// A client that takes nothing for so long is given up.
const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// How often it is looked whether a gate is open.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Returns a header's value as sent: `now+N` is the time N seconds after the answer, in seconds since 1970.
fn header_value(value: &str) -> String {
    match value.strip_prefix("now+").and_then(|seconds| seconds.parse::<u64>().ok()) {
        Some(seconds) => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            (now.as_secs() + seconds).to_string()
        }
        None => value.to_owned(),
    }
}

/// The API's own names and ways to count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenCount {
    pub input_tokens: u64,
    /// Both kinds of cache writes together.
    pub cache_creation_input_tokens: u64,
    pub cache_read_input_tokens: u64,
    pub output_tokens: u64,
}

impl From<Usage> for TokenCount {
    fn from(usage: Usage) -> Self {
        TokenCount {
            input_tokens: usage.input_tokens,
            output_tokens: usage.output_tokens,
            cache_read_input_tokens: usage.cache_read_tokens,
            cache_creation_input_tokens: usage.cache_write_5m_tokens + usage.cache_write_1h_tokens,
        }
    }
}

pub struct Request {
    pub method: String,
    /// Without what follows a `?`.
    pub path: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    pub body: Vec<u8>,
}

/// Reads one request with its body.
///
/// # Errors
/// Where it ends too early, or is no HTTP.
pub fn read_request(stream: &TcpStream) -> io::Result<Request> {
    let bad = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what);
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, target) = words.next().zip(words.next()).ok_or_else(|| bad("no request line"))?;
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(bad("the headers have no end"));
        }
        match line.split_once(':') {
            Some((name, value)) => headers.insert(name.to_ascii_lowercase(), value.trim().to_owned()),
            None => break,
        };
    }
    let length = headers.get("content-length").map_or(Ok(0), |length| length.parse::<u64>());
    let length = length.ok().filter(|bytes| *bytes <= MAX_BODY_BYTES).ok_or_else(|| bad("content-length"))?;
    let mut body = Vec::new();
    reader.take(length).read_to_end(&mut body)?;
    let path = target.split('?').next().unwrap_or_default().to_owned();
    Ok(Request { method, path, headers, body })
}

/// What the real API says to this status.
pub fn error_body(status: u16, message: &str) -> Value {
    let kind = match status {
        400 => "invalid_request_error",
        401 => "authentication_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        529 => "overloaded_error",
        _ => "api_error",
    };
    json!({"type": "error", "error": {"type": kind, "message": message}})
}

/// One message on its way to the client.
pub struct Answer<'a> {
    pub id: String,
    pub model: &'a str,
    pub message: &'a Message,
    /// Whether a gate that the message waits at is open.
    pub is_open: &'a dyn Fn(&str) -> bool,
}

impl Answer<'_> {
    /// Sends the message, and keeps in `announced` what of its usage the client has been told.
    ///
    /// # Errors
    /// As soon as the client is gone.
    pub fn send(&self, client: &mut Client<'_>, streaming: bool, announced: &mut TokenCount) -> io::Result<()> {
        if streaming { self.stream(client, announced) } else { self.send_whole(client, announced) }
    }

    /// Lets the time of this step pass, if it is one that takes time.
    fn pause(&self, client: &Client<'_>, step: &Step) -> io::Result<()> {
        match step {
            Step::Wait(pause) => client.stay_connected(*pause),
            Step::Other { verb, args } if verb == "until" => {
                while !(self.is_open)(args) {
                    client.stay_connected(LOOK_AGAIN)?;
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn stop_reason(&self) -> &'static str {
        let scripted = self.message.steps.iter().find_map(|step| match step {
            Step::Other { verb, args } if verb == "stop" => {
                ["max_tokens", "refusal", "pause_turn", "stop_sequence"].into_iter().find(|known| known == args)
            }
            _ => None,
        });
        scripted.unwrap_or(if self.message.calls_a_tool() { "tool_use" } else { "end_turn" })
    }

    fn envelope(&self, content: Vec<Block>, stop_reason: Option<&'static str>, told: TokenCount) -> Envelope<'_> {
        Envelope {
            model: self.model,
            id: &self.id,
            kind: "message",
            role: "assistant",
            content,
            stop_reason,
            stop_sequence: None,
            usage: FullUsage {
                told,
                cache_creation: CacheCreation {
                    ephemeral_5m_input_tokens: self.message.usage.cache_write_5m_tokens,
                    ephemeral_1h_input_tokens: self.message.usage.cache_write_1h_tokens,
                },
                service_tier: "standard",
            },
        }
    }

    /// The step as a block of content; none for what is no content.
    fn block(&self, index: usize, step: &Step) -> Option<Block> {
        match step {
            Step::Say(text) => Some(Block::Text { text: text.clone() }),
            Step::Think(text) => Some(Block::Thinking { thinking: text.clone(), signature: SIGNATURE }),
            Step::Tool { name, input } => Some(Block::ToolUse {
                id: format!("toolu_{}{index:02}", self.id.trim_start_matches("msg_")),
                name: name.clone(),
                input: input.clone(),
            }),
            Step::Wait(_) | Step::Other { .. } => None,
        }
    }

    /// Sends the head, the start of the message and its first block up to the last delta.
    ///
    /// # Errors
    /// As soon as the client is gone.
    pub fn send_beginning(
        &self,
        client: &mut Client<'_>,
        streaming: bool,
        announced: &mut TokenCount,
    ) -> io::Result<()> {
        if !streaming {
            return client.send_head(200, "application/json", None, &self.message.headers);
        }
        self.start_stream(client, announced)?;
        let blocks = self.message.steps.iter().filter_map(|step| self.block(0, step));
        for block in blocks.take(1) {
            start_block(client, 0, block)?;
        }
        Ok(())
    }

    fn start_stream(&self, client: &mut Client<'_>, announced: &mut TokenCount) -> io::Result<()> {
        client.send_head(200, "text/event-stream; charset=utf-8", None, &self.message.headers)?;
        // As the real API does: the input is known at once, the output is a placeholder.
        let at_start = TokenCount { output_tokens: 1, ..TokenCount::from(self.message.usage) };
        client.send_event(&Event::MessageStart { message: self.envelope(Vec::new(), None, at_start) })?;
        *announced = at_start;
        client.send_event(&Event::Ping)
    }

    fn stream(&self, client: &mut Client<'_>, announced: &mut TokenCount) -> io::Result<()> {
        let whole = TokenCount::from(self.message.usage);
        self.start_stream(client, announced)?;
        let mut index = 0;
        for step in &self.message.steps {
            self.pause(client, step)?;
            if let Some(block) = self.block(index, step) {
                stream_block(client, index, block)?;
                index += 1;
            }
        }
        client.stay_connected(Duration::ZERO)?;
        let delta = Stop { stop_reason: self.stop_reason(), stop_sequence: None };
        client.send_event(&Event::MessageDelta { delta, usage: whole })?;
        *announced = whole;
        client.send_event(&Event::MessageStop)
    }

    fn send_whole(&self, client: &mut Client<'_>, announced: &mut TokenCount) -> io::Result<()> {
        let mut content = Vec::new();
        for step in &self.message.steps {
            self.pause(client, step)?;
            content.extend(self.block(content.len(), step));
        }
        client.stay_connected(Duration::ZERO)?;
        let whole = TokenCount::from(self.message.usage);
        let message = self.envelope(content, Some(self.stop_reason()), whole);
        client.send_json(200, &self.message.headers, &message)?;
        *announced = whole;
        Ok(())
    }
}

fn stream_block(client: &mut Client<'_>, index: usize, block: Block) -> io::Result<()> {
    start_block(client, index, block)?;
    client.send_event(&Event::ContentBlockStop { index })
}

/// Sends the start of the block and all its deltas.
fn start_block(client: &mut Client<'_>, index: usize, block: Block) -> io::Result<()> {
    let (empty, deltas) = block.taken_apart();
    client.send_event(&Event::ContentBlockStart { index, content_block: empty })?;
    for delta in deltas {
        client.send_event(&Event::ContentBlockDelta { index, delta })?;
    }
    Ok(())
}

/// Any text: nobody here can check it.
const SIGNATURE: &str = "c2lnbmF0dXJl";

/// What a stream consists of; the fields are in the order in which the real API sends them.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Event<'a> {
    MessageStart { message: Envelope<'a> },
    Ping,
    ContentBlockStart { index: usize, content_block: Block },
    ContentBlockDelta { index: usize, delta: Delta },
    ContentBlockStop { index: usize },
    MessageDelta { delta: Stop, usage: TokenCount },
    MessageStop,
}

impl Event<'_> {
    fn name(&self) -> &'static str {
        match self {
            Event::MessageStart { .. } => "message_start",
            Event::Ping => "ping",
            Event::ContentBlockStart { .. } => "content_block_start",
            Event::ContentBlockDelta { .. } => "content_block_delta",
            Event::ContentBlockStop { .. } => "content_block_stop",
            Event::MessageDelta { .. } => "message_delta",
            Event::MessageStop => "message_stop",
        }
    }
}

#[derive(Serialize)]
struct Envelope<'a> {
    model: &'a str,
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    content: Vec<Block>,
    stop_reason: Option<&'static str>,
    stop_sequence: Option<String>,
    usage: FullUsage,
}

#[derive(Serialize)]
struct FullUsage {
    #[serde(flatten)]
    told: TokenCount,
    cache_creation: CacheCreation,
    service_tier: &'static str,
}

#[derive(Serialize)]
struct CacheCreation {
    ephemeral_5m_input_tokens: u64,
    ephemeral_1h_input_tokens: u64,
}

#[derive(Serialize)]
struct Stop {
    stop_reason: &'static str,
    stop_sequence: Option<String>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Block {
    Text { text: String },
    Thinking { thinking: String, signature: &'static str },
    ToolUse { id: String, name: String, input: Map<String, Value> },
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Delta {
    #[serde(rename = "text_delta")]
    Text { text: String },
    #[serde(rename = "thinking_delta")]
    Thinking { thinking: String },
    #[serde(rename = "signature_delta")]
    Signature { signature: &'static str },
    #[serde(rename = "input_json_delta")]
    InputJson { partial_json: String },
}

impl Block {
    /// The block as it starts, and the deltas that fill it.
    fn taken_apart(self) -> (Block, Vec<Delta>) {
        match self {
            Block::Text { text } => {
                let deltas = chunks(&text).map(|text| Delta::Text { text }).collect();
                (Block::Text { text: String::new() }, deltas)
            }
            Block::Thinking { thinking, signature } => {
                let mut deltas: Vec<_> = chunks(&thinking).map(|thinking| Delta::Thinking { thinking }).collect();
                deltas.push(Delta::Signature { signature });
                (Block::Thinking { thinking: String::new(), signature: "" }, deltas)
            }
            Block::ToolUse { id, name, input } => {
                let json = Value::from(input).to_string();
                let deltas = chunks(&json).map(|partial_json| Delta::InputJson { partial_json }).collect();
                (Block::ToolUse { id, name, input: Map::new() }, deltas)
            }
        }
    }
}

/// An empty text gives no part.
fn chunks(text: &str) -> impl Iterator<Item = String> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = rest.char_indices().nth(MAX_DELTA_CHARS).map_or(rest.len(), |(at, _)| at);
        let (part, after) = rest.split_at(end);
        rest = after;
        (!part.is_empty()).then(|| part.to_owned())
    })
}

/// The other side of a connection.
pub struct Client<'a> {
    stream: &'a TcpStream,
}

impl Client<'_> {
    /// # Errors
    /// Where the connection is gone already.
    pub fn new(stream: &TcpStream) -> io::Result<Client<'_>> {
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(WRITE_TIMEOUT))?;
        Ok(Client { stream })
    }

    /// Lets the time pass.
    ///
    /// # Errors
    /// As soon as the client is gone.
    pub fn stay_connected(&self, pause: Duration) -> io::Result<()> {
        let until = Instant::now() + pause;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            // A client that has sent its request has nothing more to say: all that can be read is its end.
            let peeked = if left.is_zero() {
                self.stream.set_nonblocking(true)?;
                let peeked = self.stream.peek(&mut [0]);
                self.stream.set_nonblocking(false)?;
                peeked
            } else {
                self.stream.set_read_timeout(Some(left))?;
                self.stream.peek(&mut [0])
            };
            match peeked {
                Ok(0) => return Err(io::ErrorKind::ConnectionAborted.into()),
                Ok(_) => {
                    thread::sleep(left);
                    return Ok(());
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut if left.is_zero() => {
                        return Ok(());
                    }
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
    }

    /// Without a length the body ends with the connection.
    fn send_head(
        &mut self,
        status: u16,
        content_type: &str,
        length_bytes: Option<usize>,
        headers: &[(String, String)],
    ) -> io::Result<()> {
        let reason = if status < 400 { "OK" } else { "Refused" };
        let mut lines = vec![format!("HTTP/1.1 {status} {reason}"), format!("content-type: {content_type}")];
        lines.extend(length_bytes.map(|bytes| format!("content-length: {bytes}")));
        lines.extend(headers.iter().map(|(name, value)| format!("{name}: {}", header_value(value))));
        lines.push("connection: close\r\n\r\n".to_owned());
        self.stream.write_all(lines.join("\r\n").as_bytes())
    }

    /// # Errors
    /// Where the client is gone.
    pub fn send_json(&mut self, status: u16, headers: &[(String, String)], body: &impl Serialize) -> io::Result<()> {
        let body = serde_json::to_string(body)?;
        self.send_head(status, "application/json", Some(body.len()), headers)?;
        self.stream.write_all(body.as_bytes())
    }

    fn send_event(&mut self, event: &Event<'_>) -> io::Result<()> {
        let data = serde_json::to_string(event)?;
        self.stream.write_all(format!("event: {}\ndata: {data}\n\n", event.name()).as_bytes())
    }

    /// Sends an event whose data is no JSON.
    ///
    /// # Errors
    /// If the client is gone.
    pub fn send_garbled_event(&mut self) -> io::Result<()> {
        self.stream.write_all(b"event: content_block_delta\ndata: {\"type\": \"content_block_de\n\n")
    }

    /// Resets the connection. The client may lose data that it has not read.
    ///
    /// # Errors
    /// If the connection is gone already.
    pub fn reset(&self) -> io::Result<()> {
        // SAFETY: zeros are a valid value of this plain C structure; the family 0 is AF_UNSPEC.
        let address: libc::sockaddr = unsafe { std::mem::zeroed() };
        let length = libc::socklen_t::try_from(size_of_val(&address)).map_err(io::Error::other)?;
        // connect(2): AF_UNSPEC dissolves the association. That sends RST even if the socket has other descriptors.
        // SAFETY: connect reads one sockaddr, which lives for the call.
        let code = unsafe { libc::connect(self.stream.as_raw_fd(), &raw const address, length) };
        if code == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }
}
