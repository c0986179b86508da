//! The command line. Which options a generation takes is read from its recorded `--help`, plus those that it takes
//! without naming them; so that an option of a newer release is refused by an older one in its own words.

use crate::generation::Generation;
use lexopt::{Arg, Parser, ValueExt};

#[derive(Debug, Default)]
pub struct Options {
    pub help: bool,
    pub version: bool,
    pub print: bool,
    pub verbose: bool,
    pub partial_messages: bool,
    pub skip_permissions: bool,
    pub fork_session: bool,
    pub continue_last: bool,
    pub no_persistence: bool,
    pub replay_user_messages: bool,
    pub forward_subagents: bool,
    pub no_slash_commands: bool,
    pub input_format: String,
    pub output_format: String,
    pub model: Option<String>,
    pub permission_mode: Option<String>,
    pub allowed_tools: Vec<String>,
    pub disallowed_tools: Vec<String>,
    /// `None`: all tools.
    pub tools: Option<Vec<String>>,
    pub session_id: Option<String>,
    pub resume: Option<String>,
    pub max_turns: Option<u64>,
    pub max_budget_usd: Option<f64>,
    pub settings: Option<String>,
    pub prompt: Option<String>,
}

/// How many values an option takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Arity {
    None,
    Optional,
    One,
    Many,
}

struct Known {
    names: Vec<String>,
    arity: Arity,
}

/// Taken by the real ones although `--help` does not name them.
const HIDDEN: [(&str, Arity, Generation); 8] = [
    ("--max-turns", Arity::One, Generation::V1_0),
    ("--system-prompt", Arity::One, Generation::V1_0),
    ("--system-prompt-file", Arity::One, Generation::V1_0),
    ("--append-system-prompt-file", Arity::One, Generation::V1_0),
    ("--permission-prompt-tool", Arity::One, Generation::V1_0),
    ("--max-thinking-tokens", Arity::One, Generation::V2_0),
    ("--debug-to-stderr", Arity::None, Generation::V1_0),
    ("--thinking", Arity::One, Generation::V2_1),
];

impl Options {
    /// # Errors
    /// The line for stderr; the exit code is 1.
    pub fn parse(generation: Generation, help: &str) -> Result<Options, String> {
        let known = known_options(generation, help);
        let mut options = Options { input_format: "text".into(), output_format: "text".into(), ..Options::default() };
        let mut parser = Parser::from_env();
        while let Some(arg) = parser.next().map_err(|error| format!("error: {error}"))? {
            let name = match arg {
                Arg::Long(name) => format!("--{name}"),
                Arg::Short(name) => format!("-{name}"),
                Arg::Value(value) => {
                    options.prompt = Some(value.to_string_lossy().into_owned());
                    continue;
                }
            };
            let Some(option) = known.iter().find(|option| option.names.contains(&name)) else {
                return Err(format!("error: unknown option '{name}'"));
            };
            let canonical = option.names.iter().find(|name| name.starts_with("--")).unwrap_or(&name);
            let values = values(&mut parser, option.arity)
                .map_err(|()| format!("error: option '{}' argument missing", describe(option)))?;
            options.set(generation, canonical, &values)?;
        }
        Ok(options)
    }

    fn set(&mut self, generation: Generation, name: &str, values: &[String]) -> Result<(), String> {
        let value = || values.first().cloned().unwrap_or_default();
        match name {
            "--help" => self.help = true,
            "--version" => self.version = true,
            "--print" => self.print = true,
            "--verbose" => self.verbose = true,
            "--include-partial-messages" => self.partial_messages = true,
            "--dangerously-skip-permissions" => self.skip_permissions = true,
            "--fork-session" => self.fork_session = true,
            "--continue" => self.continue_last = true,
            "--no-session-persistence" => self.no_persistence = true,
            "--replay-user-messages" => self.replay_user_messages = true,
            "--forward-subagent-text" => self.forward_subagents = true,
            "--disable-slash-commands" => self.no_slash_commands = true,
            "--input-format" => self.input_format = choice(name, "<format>", &value(), &["text", "stream-json"])?,
            "--output-format" => {
                self.output_format = choice(name, "<format>", &value(), &["text", "json", "stream-json"])?;
            }
            "--model" => self.model = Some(value()),
            "--permission-mode" => {
                self.permission_mode = Some(choice(name, "<mode>", &value(), permission_modes(generation))?);
            }
            "--allowedTools" => self.allowed_tools.extend(values.iter().flat_map(|list| split_tools(list))),
            "--disallowedTools" => {
                self.disallowed_tools.extend(values.iter().flat_map(|list| split_tools(list)));
            }
            "--tools" => {
                let names = values.iter().flat_map(|list| split_tools(list));
                let names: Vec<String> = self.tools.take().into_iter().flatten().chain(names).collect();
                // The word `default` stands for the whole set.
                self.tools = if names.iter().any(|name| name == "default") { None } else { Some(names) };
            }
            "--session-id" => self.session_id = Some(value()),
            "--resume" => self.resume = Some(value()),
            "--max-turns" => {
                let turns = value().parse().ok().filter(|&turns: &u64| turns > 0);
                self.max_turns =
                    Some(turns.ok_or_else(|| bad_argument(name, "<turns>", &value(), "Expected a positive integer."))?);
            }
            "--max-budget-usd" => {
                let usd = value().parse().ok().filter(|&usd: &f64| usd > 0.0);
                self.max_budget_usd = Some(usd.ok_or_else(|| {
                    bad_argument(
                        name,
                        "<amount>",
                        &value(),
                        "--max-budget-usd must be a positive number greater than 0",
                    )
                })?);
            }
            "--settings" => self.settings = Some(value()),
            // Accepted, and of no consequence here.
            _ => {}
        }
        Ok(())
    }

    /// The mode in force, settings not counted.
    pub fn mode(&self) -> &str {
        match &self.permission_mode {
            _ if self.skip_permissions => "bypassPermissions",
            Some(mode) => mode,
            None => "default",
        }
    }
}

/// `default` is taken by all, named by the help or not.
fn permission_modes(generation: Generation) -> &'static [&'static str] {
    match generation {
        Generation::V1_0 => &["acceptEdits", "bypassPermissions", "default", "plan"],
        Generation::V2_0 => &["acceptEdits", "bypassPermissions", "default", "delegate", "dontAsk", "plan"],
        Generation::V2_1 => &["acceptEdits", "auto", "bypassPermissions", "manual", "dontAsk", "plan", "default"],
    }
}

fn choice(name: &str, argument: &str, value: &str, allowed: &[&str]) -> Result<String, String> {
    if allowed.contains(&value) {
        return Ok(value.to_owned());
    }
    // The undocumented `default` is accepted, but not named.
    let named: Vec<&str> = match allowed.split_last() {
        Some((&"default", rest)) => rest.to_vec(),
        _ => allowed.to_vec(),
    };
    Err(bad_argument(name, argument, value, &format!("Allowed choices are {}.", named.join(", "))))
}

fn bad_argument(name: &str, argument: &str, value: &str, why: &str) -> String {
    format!("error: option '{name} {argument}' argument '{value}' is invalid. {why}")
}

fn values(parser: &mut Parser, arity: Arity) -> Result<Vec<String>, ()> {
    let text = |value: std::ffi::OsString| value.to_string_lossy().into_owned();
    match arity {
        Arity::None => Ok(Vec::new()),
        Arity::One => Ok(vec![parser.value().map_err(drop)?.string().map_err(drop)?]),
        Arity::Many => Ok(parser.values().map_err(drop)?.map(text).collect()),
        // Like commander: the next word is the value unless it looks like an option.
        Arity::Optional => {
            Ok(parser.values().map(|mut values| values.next().map(text)).ok().flatten().into_iter().collect())
        }
    }
}

/// `Read,Grep Bash(git log, x)` → three names: separators within parentheses do not count.
fn split_tools(list: &str) -> Vec<String> {
    let mut depth = 0;
    let is_separator = move |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth <= 0 && (c == ',' || c.is_whitespace())
    };
    list.split(is_separator).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

fn describe(option: &Known) -> String {
    option.names.join(", ")
}

/// Reads the lines of the `Options:` part, such as `  -p, --print   …` and `  --add-dir <directories...>   …`.
fn known_options(generation: Generation, help: &str) -> Vec<Known> {
    let lines = help.lines().skip_while(|line| *line != "Options:").take_while(|line| *line != "Commands:");
    let mut known: Vec<Known> = lines.filter_map(known_option).collect();
    for (name, arity, since) in HIDDEN {
        if generation >= since && !known.iter().any(|option| option.names.iter().any(|known| known == name)) {
            known.push(Known { names: vec![name.to_owned()], arity });
        }
    }
    known
}

fn known_option(line: &str) -> Option<Known> {
    let line = line.strip_prefix("  ").filter(|line| line.starts_with('-'))?;
    let signature = line.split("  ").next()?;
    let mut names = Vec::new();
    let mut arity = Arity::None;
    for word in signature.split([' ', ',']).filter(|word| !word.is_empty()) {
        match word.as_bytes()[0] {
            b'-' => names.push(word.to_owned()),
            b'[' => arity = Arity::Optional,
            _ if word.ends_with("...>") => arity = Arity::Many,
            b'<' => arity = Arity::One,
            _ => {}
        }
    }
    Some(Known { names, arity })
}
