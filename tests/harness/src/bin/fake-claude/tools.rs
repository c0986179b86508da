//! The tools: Bash really runs, Write really writes, Task is a subagent, and every other one says "ok".

use crate::generation::Generation;
use crate::permissions::Decision;
use crate::templates::replace;
use crate::turn::Turn;
use crate::{Claude, Stop, signals, templates};
use serde_json::{Map, Value, json};
use std::io::{Read, Seek};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A tool call of the model.
#[derive(Debug, Clone)]
pub struct Call {
    pub id: String,
    pub name: String,
    pub input: Map<String, Value>,
}

/// What a tool answers.
pub struct Answer {
    /// A text, or the blocks of a subagent's answer.
    content: Value,
    is_error: bool,
    /// The structured form beside the text; `Null` where there is none.
    details: Value,
    /// The line to print it in, where that is not one of the usual ones.
    pattern: Option<Value>,
}

impl Answer {
    pub fn ok(text: impl Into<String>) -> Answer {
        Answer { content: Value::String(text.into()), is_error: false, details: Value::Null, pattern: None }
    }

    pub fn with_details(text: impl Into<String>, details: Value) -> Answer {
        Answer { details, ..Answer::ok(text) }
    }

    /// What a recorded `user` line says, with what was replaced in it.
    pub fn of_line(line: &Value) -> Answer {
        let result = &line["message"]["content"][0];
        Answer {
            content: result["content"].clone(),
            is_error: result["is_error"] == true,
            details: line["tool_use_result"].clone(),
            pattern: Some(line.clone()),
        }
    }

    pub fn error(text: impl Into<String>) -> Answer {
        let text = text.into();
        Answer { details: format!("Error: {text}").into(), is_error: true, content: Value::String(text), pattern: None }
    }
}

/// Which of the recorded results is the pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Done,
    Failed,
    Missing,
    Denied,
    Interrupted,
}

impl Claude {
    /// Runs one tool call and prints its result.
    pub fn run_tool(&mut self, turn: &mut Turn, call: &Call) -> Result<(), Stop> {
        let (answer, kind) = match self.permissions.decide(&call.name, &call.input) {
            Decision::Allowed => (self.use_tool(turn, call), None),
            Decision::Missing(why) => {
                let text = format!("<tool_use_error>Error: {why}</tool_use_error>");
                (Ok(Answer { content: text.into(), ..Answer::error(why) }), Some(Kind::Missing))
            }
            Decision::DeniedFile => {
                let why = "File is in a directory that is denied by your permission settings.";
                let text = format!("<tool_use_error>{why}</tool_use_error>");
                (Ok(Answer { content: text.into(), ..Answer::error(why.to_owned()) }), Some(Kind::Missing))
            }
            Decision::Denied(why) => {
                turn.denials.push(json!({ "tool_name": call.name, "tool_use_id": call.id, "tool_input": call.input }));
                if let Some(mut line) = self.templates.permission_denied() {
                    line["tool_name"] = call.name.as_str().into();
                    line["tool_use_id"] = call.id.as_str().into();
                    line["message"] = why.as_str().into();
                    self.emit(line);
                }
                (Ok(Answer::error(why)), Some(Kind::Denied))
            }
        };
        let (answer, stop) = match answer {
            Ok(answer) => (answer, None),
            Err(stop) => (Answer::of_line(&self.templates.tool_result(Kind::Interrupted)), Some(stop)),
        };
        let kind = kind.unwrap_or(match (&stop, answer.is_error) {
            (Some(_), _) => Kind::Interrupted,
            (None, true) => Kind::Failed,
            (None, false) => Kind::Done,
        });
        let mut line = answer.pattern.unwrap_or_else(|| self.templates.tool_result(kind));
        let result = &mut line["message"]["content"][0];
        result["tool_use_id"] = call.id.as_str().into();
        result["content"] = answer.content;
        replace(result, "is_error", answer.is_error);
        line["parent_tool_use_id"] = turn.agent.as_ref().map(|agent| agent.tool_use_id.as_str()).into();
        if line.get("tool_use_result").is_some() {
            line["tool_use_result"] = answer.details;
        }
        if let Some(meta) = line.get_mut("tool_result_meta") {
            meta[0]["id"] = call.id.as_str().into();
        }
        self.emit(line);
        turn.messages += 1;
        turn.user_messages += 1;
        stop.map_or(Ok(()), Err)
    }

    fn use_tool(&mut self, turn: &mut Turn, call: &Call) -> Result<Answer, Stop> {
        let field = |name: &str| call.input.get(name).and_then(Value::as_str);
        match call.name.as_str() {
            "Bash" if call.input.get("run_in_background") == Some(&Value::Bool(true)) => Ok(self.launch_shell(call)),
            "Bash" => self.run_bash(turn, call),
            "Monitor" if self.generation == Generation::V2_1 => Ok(self.launch_shell(call)),
            "ScheduleWakeup" if self.generation == Generation::V2_1 => Ok(self.schedule_wakeup()),
            "Task" | "Agent" => self.use_agent(turn, call),
            "Write" => Ok(write_file(field("file_path").unwrap_or_default(), field("content").unwrap_or_default())),
            _ => Ok(Answer::ok("ok")),
        }
    }

    fn run_bash(&mut self, turn: &mut Turn, call: &Call) -> Result<Answer, Stop> {
        let command = call.input.get("command").and_then(Value::as_str).unwrap_or_default();
        let limit_ms = std::env::var("BASH_DEFAULT_TIMEOUT_MS").ok().and_then(|ms| ms.parse().ok());
        let limit = limit_ms.filter(|_| self.generation == Generation::V2_1).map(Duration::from_millis);
        let started = std::time::Instant::now();
        // A file and not a pipe: something the command leaves behind may hold it open without being waited for.
        let mut output = unnamed_file();
        let mut child = match start_shell(command, &output) {
            Ok(child) => child,
            Err(error) => return Ok(Answer::error(format!("sh: {error}"))),
        };
        let group = group_of(&child);
        let status = loop {
            if let Ok(Some(status)) = child.try_wait() {
                break status;
            }
            if let Some(limit) = limit.filter(|limit| started.elapsed() >= *limit) {
                return Ok(self.move_to_background(call, child, limit.as_secs_f64()));
            }
            if let Err(stop) = self.pause(Duration::from_millis(5)) {
                signals::end_tool(group);
                let _ = child.wait();
                turn.interrupted_tool = true;
                return Err(stop);
            }
        };
        signals::remove_tool(group);
        let mut bytes = Vec::new();
        let _ = output.rewind();
        let _ = output.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
        if !status.success() {
            let code = status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
            return Ok(Answer::error(format!("Exit code {code}\n{text}").trim_end()));
        }
        let mut details = self.templates.tool_result(Kind::Done)["tool_use_result"].clone();
        if details.is_object() {
            details["stdout"] = text.as_str().into();
        }
        let silent = text.is_empty() && self.generation == Generation::V2_1;
        let text = if silent { "(Bash completed with no output)".to_owned() } else { text };
        Ok(Answer { details, ..Answer::ok(text) })
    }
}

/// Starts a command in a session and process group of its own.
pub fn start_shell(command: &str, output: &std::fs::File) -> std::io::Result<Child> {
    let copy = |file: &std::fs::File| file.try_clone().map(Stdio::from);
    let mut shell = Command::new("sh");
    shell.arg("-c").arg(command).stdin(Stdio::null()).stdout(copy(output)?).stderr(copy(output)?);
    // SAFETY: setsid and sigprocmask are async-signal-safe.
    unsafe {
        shell.pre_exec(|| {
            nix::unistd::setsid()?;
            signals::unblock()
        })
    };
    let child = shell.spawn()?;
    signals::add_tool(group_of(&child));
    crate::log::event("tool", json!({ "tool_pid": child.id(), "command": command }));
    Ok(child)
}

/// The process group of a shell that was started.
pub fn group_of(child: &Child) -> i32 {
    i32::try_from(child.id()).expect("a pid is small")
}

fn write_file(path: &str, content: &str) -> Answer {
    let path = std::env::current_dir().unwrap_or_default().join(path);
    let written = path.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| std::fs::write(&path, content));
    match written {
        Ok(()) => Answer {
            details: json!({ "type": "create", "filePath": path.to_string_lossy(), "content": content, "structuredPatch": [] }),
            ..Answer::ok(format!("File created successfully at: {}", path.display()))
        },
        Err(error) => Answer::error(format!("{}: {error}", path.display())),
    }
}

/// A file that is gone with its last descriptor.
pub fn unnamed_file() -> std::fs::File {
    let path = std::env::temp_dir().join(format!("fake-claude-{}-{}", std::process::id(), templates::epoch_ms()));
    let file = std::fs::OpenOptions::new().read(true).append(true).create_new(true).open(&path);
    let _ = std::fs::remove_file(&path);
    file.expect("the temporary folder is writable")
}
