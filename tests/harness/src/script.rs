//! The script language of the tests: what claude is to do in a turn, written inside the prompt itself or in the body of
//! a command file, so that a test reads as one piece. The loopback API and the fake claude obey the same script.
//!
//! Everything outside `[[verb …]]` is ignored, and so is a `[[` that no lowercase verb follows (`[[ -f x ]]`, `[[1]]`).
//! A tool call ends its message: whatever follows it, except for another tool call, belongs to the message after the
//! tool's result. This file knows no HTTP, no process and no clock.
//!
//! To add a verb: for both programs, here and in `loopback/wire.rs`; for the fake claude alone, in `do_other` of
//! `bin/fake-claude/verbs.rs`, with a row in its table.

use serde_json::{Map, Value};
use std::fmt;
use std::time::Duration;

/// All messages of one turn (or of several turns, where a later user message brings no script of its own), in order.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Script {
    /// Empty when the text holds no directive at all.
    pub messages: Vec<Message>,
}

/// One answer of the model.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Message {
    pub usage: Usage,
    /// Answers that come before this message: the request has to be repeated to get past them.
    pub failures: Vec<Failure>,
    /// Response headers of the message itself.
    pub headers: Vec<(String, String)>,
    pub steps: Vec<Step>,
}

impl Message {
    /// Whether claude will run a tool and come back for the next message.
    pub fn calls_a_tool(&self) -> bool {
        self.steps.iter().any(|step| matches!(step, Step::Tool { .. }))
    }
}

/// What happens within a message, in the order written.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    Say(String),
    Think(String),
    Tool {
        name: String,
        input: Map<String, Value>,
    },
    Wait(Duration),
    /// For the fake claude alone: `[[fake-claude VERB ARGS]]`, or any verb unknown here. The API knows `[[until GATE]]` and
    /// `[[stop REASON]]`, and ignores the others.
    Other {
        verb: String,
        args: String,
    },
}

/// Pseudo-status of a message whose connection is reset in mid-stream: `[[status reset]]`.
pub const RESET: u16 = 598;
/// Pseudo-status of a message whose stream ends with an event that is no JSON: `[[status garbled]]`.
pub const GARBLED: u16 = 599;

/// An answer of the API in place of the message.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// An HTTP status, or `RESET` or `GARBLED`.
    pub status: u16,
    pub times: u32,
    pub headers: Vec<(String, String)>,
}

/// Tokens of one message. The two cache writes are separate: what the API calls `cache_creation_input_tokens` is their sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub cache_read_tokens: u64,
    /// Written for five minutes.
    pub cache_write_5m_tokens: u64,
    pub cache_write_1h_tokens: u64,
}

impl Default for Usage {
    fn default() -> Self {
        Usage {
            input_tokens: 100,
            output_tokens: 20,
            cache_read_tokens: 0,
            cache_write_5m_tokens: 0,
            cache_write_1h_tokens: 0,
        }
    }
}

/// A directive that cannot be obeyed; a test that writes one is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadDirective {
    /// The directive, without its brackets.
    pub text: String,
    pub why: String,
}

impl fmt::Display for BadDirective {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "bad directive [[{}]]: {}", self.text, self.why)
    }
}

impl std::error::Error for BadDirective {}

/// Whether the text holds a directive, well formed or not.
pub fn holds_script(text: &str) -> bool {
    parse(text).map_or(true, |script| !script.messages.is_empty())
}

/// Reads all directives of a text.
///
/// # Errors
/// The first directive that is not understood, or that has no end.
pub fn parse(text: &str) -> Result<Script, BadDirective> {
    let mut builder = Builder::default();
    let mut rest = text;
    while let Some(open) = rest.find("[[") {
        rest = &rest[open + 2..];
        let verb = leading_verb(rest);
        if verb.is_empty() {
            // Step back by one bracket: `[[[say x]]` is a bracket and a directive.
            rest = if rest.starts_with('[') { &text[text.len() - rest.len() - 1..] } else { rest };
            continue;
        }
        match find_end(verb, rest) {
            Some(end) => {
                let body = &rest[..end];
                builder
                    .add(verb, body[verb.len()..].trim())
                    .map_err(|why| BadDirective { text: body.to_owned(), why })?;
                rest = &rest[end + 2..];
            }
            None if KNOWN_VERBS.contains(&verb) => {
                return Err(BadDirective { text: rest.chars().take(80).collect(), why: "no `]]` ends it".to_owned() });
            }
            None => {}
        }
    }
    Ok(Script { messages: builder.messages })
}

const KNOWN_VERBS: [&str; 9] = ["say", "think", "tool", "next", "usage", "wait", "status", "header", "fake-claude"];

/// The lowercase word the text begins with; empty when that word does not end like a verb.
fn leading_verb(text: &str) -> &str {
    let is_verb_char = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    let end = text.find(|c| !is_verb_char(c)).unwrap_or(text.len());
    let ends_well = text[end..].starts_with(|c: char| c.is_whitespace()) || text[end..].starts_with("]]");
    if ends_well && text.starts_with(|c: char| c.is_ascii_lowercase()) { &text[..end] } else { "" }
}

/// Where the closing `]]` begins: the first one that does not stand inside a JSON object that is still open.
fn find_end(verb: &str, text: &str) -> Option<usize> {
    let may_hold_json = !matches!(verb, "say" | "think");
    let ends = text.match_indices(']').map(|(at, _)| at).filter(|&at| text[at..].starts_with("]]"));
    ends.into_iter().find(|&end| !(may_hold_json && has_open_json(&text[..end])))
}

fn has_open_json(text: &str) -> bool {
    text.find('{').is_some_and(|start| {
        let mut values = serde_json::Deserializer::from_str(&text[start..]).into_iter::<Value>();
        matches!(values.next(), Some(Err(error)) if error.is_eof())
    })
}

#[derive(Default)]
struct Builder {
    messages: Vec<Message>,
    /// The next directive, unless it is a tool call, begins a new message.
    ended: bool,
    /// Where a `[[header]]` goes: to the last `[[status]]`, until something else was said.
    last_was_status: bool,
}

impl Builder {
    fn add(&mut self, verb: &str, args: &str) -> Result<(), String> {
        if self.messages.is_empty() || (self.ended && verb != "tool") {
            self.messages.push(Message::default());
            self.ended = false;
            // The tool call before has ended its message already: this `next` only says so.
            if verb == "next" && self.messages.len() > 1 {
                return Ok(());
            }
        }
        let is_about_status = verb == "status" || (verb == "header" && self.last_was_status);
        let message = self.messages.last_mut().expect("one was pushed above");
        match verb {
            "say" => message.steps.push(Step::Say(args.to_owned())),
            "think" => message.steps.push(Step::Think(args.to_owned())),
            "wait" => message.steps.push(Step::Wait(parse_duration(args)?)),
            "tool" => {
                message.steps.push(parse_tool(args)?);
                self.ended = true;
            }
            "next" => self.messages.push(Message::default()),
            "usage" => message.usage = parse_usage(args)?,
            "status" => message.failures.push(parse_status(args)?),
            "header" => {
                let (name, value) = args.split_once(':').ok_or("expected `NAME: VALUE`")?;
                let header = (name.trim().to_owned(), value.trim().to_owned());
                match message.failures.last_mut() {
                    Some(failure) if is_about_status => failure.headers.push(header),
                    _ => message.headers.push(header),
                }
            }
            "fake-claude" => {
                let (verb, args) = split_word(args);
                if verb.is_empty() {
                    return Err("expected `fake-claude VERB ARGS`".to_owned());
                }
                message.steps.push(Step::Other { verb: verb.to_owned(), args: args.to_owned() });
            }
            _ => message.steps.push(Step::Other { verb: verb.to_owned(), args: args.to_owned() }),
        }
        self.last_was_status = is_about_status;
        Ok(())
    }
}

fn split_word(text: &str) -> (&str, &str) {
    text.split_once(char::is_whitespace).map_or((text, ""), |(word, rest)| (word, rest.trim()))
}

fn parse_tool(args: &str) -> Result<Step, String> {
    let (name, input) = split_word(args);
    if name.is_empty() || name.starts_with('{') {
        return Err("expected `tool NAME {json input}`".to_owned());
    }
    let input = if input.is_empty() { "{}" } else { input };
    let input = serde_json::from_str(input).map_err(|error| format!("the input is no JSON object: {error}"))?;
    Ok(Step::Tool { name: name.to_owned(), input })
}

fn parse_usage(args: &str) -> Result<Usage, String> {
    let mut usage = Usage::default();
    for part in args.split_whitespace() {
        let (name, count) = part.split_once('=').ok_or_else(|| format!("`{part}` is not NAME=TOKENS"))?;
        let tokens = count.parse().map_err(|_| format!("`{count}` is no number of tokens"))?;
        match name {
            "in" => usage.input_tokens = tokens,
            "out" => usage.output_tokens = tokens,
            "read" => usage.cache_read_tokens = tokens,
            "write" => usage.cache_write_5m_tokens = tokens,
            "write_1h" => usage.cache_write_1h_tokens = tokens,
            _ => {
                return Err(format!("`{name}` is none of in, out, read, write, write_1h"));
            }
        }
    }
    Ok(usage)
}

fn parse_duration(args: &str) -> Result<Duration, String> {
    let parse = |number: &str, unit_seconds: f64| {
        let seconds = number.parse::<f64>().ok()? * unit_seconds;
        Duration::try_from_secs_f64(seconds).ok()
    };
    let duration = match (args.strip_suffix("ms"), args.strip_suffix('s')) {
        (Some(number), _) => parse(number, 0.001),
        (None, Some(number)) => parse(number, 1.0),
        (None, None) => None,
    };
    duration.ok_or_else(|| "expected a duration such as 500ms or 2s".to_owned())
}

fn parse_status(args: &str) -> Result<Failure, String> {
    let (status, times) = split_word(args);
    let status = match status {
        "reset" => RESET,
        "garbled" => GARBLED,
        _ => status.parse().ok().filter(|code| (100..RESET).contains(code)).ok_or("expected an HTTP status")?,
    };
    let times = match times.strip_prefix('x') {
        Some(count) => count.parse().map_err(|_| format!("`x{count}` is no number of times"))?,
        None if times.is_empty() => 1,
        None => return Err(format!("`{times}` is not `xN`")),
    };
    Ok(Failure { status, times, headers: Vec::new() })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn script(text: &str) -> Vec<Message> {
        parse(text).expect(text).messages
    }

    fn say(text: &str) -> Step {
        Step::Say(text.to_owned())
    }

    fn tool(name: &str, input: &Value) -> Step {
        Step::Tool { name: name.to_owned(), input: input.as_object().expect("an object").clone() }
    }

    fn other(verb: &str, args: &str) -> Step {
        Step::Other { verb: verb.to_owned(), args: args.to_owned() }
    }

    #[test]
    fn text_without_directives_is_no_script() {
        for text in [
            "",
            "hello",
            "if [[ -f x ]]; then",
            "[[1,2],[3]]",
            "[[\"a\"]]",
            "[[",
            "[[[",
            "[[Say x]]",
            "an [[open one",
            "é[[é",
        ] {
            assert_eq!(parse(text), Ok(Script::default()), "{text}");
            assert!(!holds_script(text), "{text}");
        }
    }

    #[test]
    fn blocks_of_one_message_stay_together_in_order() {
        let messages = script("a [[think hm]] b\n[[wait 500ms]][[say one\ntwo]] [[say]]c [[wait 2s]]");
        let wait = |ms| Step::Wait(Duration::from_millis(ms));
        let steps = vec![Step::Think("hm".into()), wait(500), say("one\ntwo"), say(""), wait(2000)];
        assert_eq!(messages, vec![Message { steps, ..Message::default() }]);
    }

    #[test]
    fn a_tool_call_ends_its_message_but_for_further_tool_calls() {
        let messages = script("[[say a]][[tool Read {\"p\":1}]][[tool Bash]][[usage out=7]][[say b]]");
        assert_eq!(messages.len(), 2);
        assert_eq!(messages[0].steps, vec![say("a"), tool("Read", &json!({"p": 1})), tool("Bash", &json!({}))]);
        assert_eq!(messages[0].usage, Usage::default());
        assert!(messages[0].calls_a_tool() && !messages[1].calls_a_tool());
        assert_eq!(messages[1].steps, vec![say("b")]);
        assert_eq!(messages[1].usage.output_tokens, 7);
    }

    #[test]
    fn next_begins_one_message_whether_a_tool_came_before_it_or_not() {
        for text in ["[[say a]][[next]][[say b]]", "[[tool Bash]][[next]][[tool Bash]]"] {
            assert_eq!(script(text).iter().map(|message| message.steps.len()).collect::<Vec<_>>(), [1, 1], "{text}");
        }
    }

    #[test]
    fn json_may_hold_brackets_and_whole_scripts() {
        let command = "[[ -f x ]] && echo ']]' \"q\"";
        let input = json!({"command": command, "list": [[1, [2]]], "prompt": "[[say inner]] {"});
        let text = format!("[[tool Bash {input}]] [[say after]]");
        let messages = script(&text);
        assert_eq!(messages[0].steps, vec![tool("Bash", &input)]);
        assert_eq!(messages[1].steps, vec![say("after")]);
    }

    #[test]
    fn text_may_hold_quotes_braces_and_brackets() {
        assert_eq!(script("[[say it's {\"a]b]]")[0].steps, vec![say("it's {\"a]b")]);
        assert_eq!(script("[[[say x]]]")[0].steps, vec![say("x")]);
    }

    #[test]
    fn usage_names_every_kind_of_token() {
        let usage = script("[[usage in=1 out=2 read=3 write=4 write_1h=5]]")[0].usage;
        let expected = Usage {
            input_tokens: 1,
            output_tokens: 2,
            cache_read_tokens: 3,
            cache_write_5m_tokens: 4,
            cache_write_1h_tokens: 5,
        };
        assert_eq!(usage, expected);
    }

    #[test]
    fn headers_go_to_the_status_before_them_or_else_to_the_message() {
        let messages = script(
            "[[header A: b: c]][[status 529 x3]][[header retry-after: 1]][[header X: y]][[say a]][[header D: e]]",
        );
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = vec![pair("retry-after", "1"), pair("X", "y")];
        assert_eq!(messages[0].failures, vec![Failure { status: 529, times: 3, headers }]);
        assert_eq!(messages[0].headers, vec![pair("A", "b: c"), pair("D", "e")]);
        assert_eq!(script("[[status 401]]")[0].failures[0].times, 1);
        let broken = script("[[status reset x2]][[status garbled]]")[0].failures.clone();
        assert_eq!(
            broken.iter().map(|failure| (failure.status, failure.times)).collect::<Vec<_>>(),
            [(RESET, 2), (GARBLED, 1)]
        );
    }

    #[test]
    fn other_verbs_are_kept_for_the_fake_claude() {
        let messages = script("[[fake-claude exit 3]][[emit {\"a\":[[1]]}]][[crash]]");
        assert_eq!(messages[0].steps, vec![other("exit", "3"), other("emit", "{\"a\":[[1]]}"), other("crash", "")]);
    }

    #[test]
    fn bad_directives_are_named() {
        let bad = [
            "[[tool]]",
            "[[tool {\"a\":1}]]",
            "[[tool Bash [1]]]",
            "[[tool Bash {\"a\":}]]",
            "[[usage in]]",
            "[[usage in=-1]]",
            "[[usage what=1]]",
            "[[wait 5]]",
            "[[wait -1s]]",
            "[[wait 1e300s]]",
            "[[wait NaNs]]",
            "[[status]]",
            "[[status 999]]",
            "[[status 598]]",
            "[[status 529 3]]",
            "[[header x]]",
            "[[fake-claude]]",
            "[[say no end",
            "[[tool Bash {\"a\":\"]]",
        ];
        for text in bad {
            let error = parse(text).expect_err(text);
            assert!(text.contains(&error.text), "{text}: {error}");
            assert!(holds_script(text), "{text}");
        }
    }

    #[test]
    fn cut_anywhere_nothing_panics() {
        let text = "é[[say ü]]x[[tool Bash {\"a\":[[\"é]]\"]]}]][[usage in=1]][[status 529 x2]][[header a: b]][[wait 1s]][[next]]";
        for (at, _) in text.char_indices() {
            let _ = parse(&text[..at]);
            let _ = parse(&text[at..]);
        }
    }
}
