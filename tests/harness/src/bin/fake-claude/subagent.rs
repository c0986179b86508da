//! Subagents: conversations of their own, whose words are not shown and whose tokens are in `modelUsage` only. The
//! newest generation runs them in the background, unless told otherwise, as it does with commands where told so, and
//! comes back by itself with one more turn when they are done.

use crate::generation::Generation;
use crate::session::new_id;
use crate::templates::{epoch_ms, replace};
use crate::tools::{Answer, Call, group_of, start_shell, unnamed_file};
use crate::turn::Turn;
use crate::{Claude, Stop, signals};
use harness::script;
use serde_json::{Value, json};
use std::process::Child;

/// One subagent.
#[derive(Debug, Clone)]
pub struct Agent {
    /// The call that it works for.
    pub tool_use_id: String,
    pub id: String,
    run_id: String,
    kind: String,
    description: String,
    pub prompt: String,
    pub in_background: bool,
}

/// A command of the Bash tool that goes on after its turn.
pub struct Shell {
    task: Agent,
    child: Child,
}

impl Agent {
    /// Whether it is done as soon as it has begun: then the result waits for it.
    fn is_quick(&self) -> bool {
        let script = script::parse(&self.prompt).unwrap_or_default();
        script.messages.iter().all(|message| {
            message.failures.is_empty()
                && message.steps.iter().all(|step| matches!(step, script::Step::Say(_) | script::Step::Think(_)))
        })
    }

    fn new(call: &Call, in_background: bool) -> Agent {
        let field = |name: &str| call.input.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
        Agent {
            tool_use_id: call.id.clone(),
            id: new_id("a").replace('_', ""),
            run_id: new_id("r").replace('_', "-"),
            kind: field("subagent_type"),
            description: field("description"),
            prompt: field("prompt"),
            in_background,
        }
    }

    /// A command in the background.
    fn of_command(call: &Call) -> Agent {
        let mut task = Agent::new(call, true);
        if task.description.is_empty() {
            let command = call.input.get("command").and_then(Value::as_str).unwrap_or_default();
            command.clone_into(&mut task.description);
        }
        task
    }

    /// Sets what every line about a subagent says of it, as far as the pattern has it.
    pub fn mark(&self, line: &mut Value) {
        for (name, text) in [
            ("task_id", &self.id),
            ("agent_id", &self.id),
            ("run_id", &self.run_id),
            ("tool_use_id", &self.tool_use_id),
            ("subagent_type", &self.kind),
            ("description", &self.description),
            ("task_description", &self.description),
            ("prompt", &self.prompt),
        ] {
            replace(line, name, text.as_str());
        }
    }
}

impl Claude {
    pub fn use_agent(&mut self, turn: &mut Turn, call: &Call) -> Result<Answer, Stop> {
        let in_background = self.generation == Generation::V2_1
            && turn.agent.is_none()
            && call.input.get("run_in_background") != Some(&Value::Bool(false));
        let agent = Agent::new(call, in_background);
        if in_background {
            self.background.push(agent.clone());
            self.announce_tasks();
        }
        if let Some(mut line) = self.templates.task("task_started", false) {
            agent.mark(&mut line);
            line["is_backgrounded"] = in_background.into();
            self.emit(line);
        }
        if in_background {
            let mut line = self.templates.agent_launched();
            if let Some(details) = line.get_mut("tool_use_result") {
                replace(details, "agentId", agent.id.as_str());
                replace(details, "prompt", agent.prompt.as_str());
                replace(details, "description", agent.description.as_str());
            }
            return Ok(Answer::of_line(&line));
        }
        if let Some(mut line) = self.templates.agent_prompt() {
            agent.mark(&mut line);
            line["message"]["content"][0]["text"] = agent.prompt.as_str().into();
            line["parent_tool_use_id"] = agent.tool_use_id.as_str().into();
            self.emit(line);
        }
        let (text, total_tokens) = self.run_agent(turn, &agent)?;
        let mut line = self.templates.agent_result();
        let content = &mut line["message"]["content"][0]["content"];
        let before = content[0]["text"].as_str().unwrap_or_default();
        // The newest frames the report with words of its own, the older ones do not.
        let frame = before.find("The report follows:\n").map_or("", |at| &before[..at + 20]);
        let framed = format!("{frame}{text}");
        content[0]["text"] = framed.into();
        if let Some(details) = line.get_mut("tool_use_result") {
            replace(details, "agentId", agent.id.as_str());
            replace(details, "prompt", agent.prompt.as_str());
            replace(details, "totalTokens", total_tokens);
            replace(details, "content", json!([{ "type": "text", "text": text }]));
        }
        Ok(Answer::of_line(&line))
    }

    /// Runs the prompt, which may hold a script of its own. Returns the last text and all tokens.
    fn run_agent(&mut self, turn: &mut Turn, agent: &Agent) -> Result<(String, u64), Stop> {
        let before = self.subagent_tokens;
        let mut inner = Turn::new(&self.model.clone(), &agent.prompt, Some(agent.clone()));
        let outcome = self.converse(&mut inner);
        self.bill_open_message(&mut inner);
        turn.denials.append(&mut inner.denials);
        turn.interrupted_tool |= outcome.is_err();
        outcome?;
        let total_tokens = self.subagent_tokens - before;
        self.update_task(agent, "completed");
        if let Some(mut line) = self.templates.task("task_notification", false) {
            agent.mark(&mut line);
            line["status"] = "completed".into();
            line["summary"] = inner.last_text.as_str().into();
            if let Some(fields) = line.as_object_mut().filter(|_| !agent.in_background) {
                fields.remove("summary_is_report");
            }
            line["usage"] = json!({
                "total_tokens": total_tokens, "tool_uses": inner.tool_uses, "duration_ms": inner.elapsed_ms(),
            });
            self.emit(line);
        }
        Ok((inner.last_text, total_tokens))
    }

    /// Runs the subagents in the background that are quick enough for the result to wait for them, or all. True when
    /// there was one.
    pub fn finish_agents(&mut self, turn: &mut Turn, all: bool) -> Result<bool, Stop> {
        let is_due = !self.background.is_empty() && (all || self.background.iter().all(Agent::is_quick));
        while is_due && !self.background.is_empty() {
            let agent = self.background[0].clone();
            self.run_agent(turn, &agent)?;
            self.background.remove(0);
            self.announce_tasks();
        }
        Ok(is_due)
    }

    /// Starts a command that goes on after its turn; the older ones think no more of it.
    pub fn launch_shell(&mut self, call: &Call) -> Answer {
        let task = Agent::of_command(call);
        let command = call.input.get("command").and_then(Value::as_str).unwrap_or_default();
        let child = match start_shell(command, &unnamed_file()) {
            Ok(child) => child,
            Err(error) => return Answer::error(format!("sh: {error}")),
        };
        let mut line = self.templates.shell_launched();
        if let Some(details) = line.get_mut("tool_use_result") {
            replace(details, "backgroundTaskId", task.id.as_str());
        }
        let answer = Answer::of_line(&line);
        if self.generation == Generation::V2_1 {
            self.keep_shell(task, child);
        } else {
            // Left alone even by the signals that end the others.
            signals::remove_tool(group_of(&child));
        }
        answer
    }

    /// Looks whether a command in the background has ended, and tells of it.
    pub fn reap_shell(&mut self) -> bool {
        let ended = |shell: &mut Shell| shell.child.try_wait().ok().flatten();
        let Some((at, status)) = self.shells.iter_mut().enumerate().find_map(|(at, shell)| Some((at, ended(shell)?)))
        else {
            return false;
        };
        let shell = self.shells.remove(at);
        signals::remove_tool(group_of(&shell.child));
        let how = format!("completed (exit code {})", status.code().unwrap_or(1));
        self.tell_of_shell(&shell.task, "completed", &how);
        true
    }

    /// Ends one command in the background; no turn follows. True if there was one of this id.
    pub fn stop_shell(&mut self, id: &str) -> bool {
        let Some(at) = self.shells.iter().position(|shell| shell.task.id == id) else { return false };
        let mut shell = self.shells.remove(at);
        signals::end_tool(group_of(&shell.child));
        let _ = shell.child.wait();
        self.tell_of_shell(&shell.task, "killed", "was stopped");
        true
    }

    /// Moves a command to the background that has passed its time, as the newest generation does.
    pub fn move_to_background(&mut self, call: &Call, child: Child, seconds: f64) -> Answer {
        let task = Agent::of_command(call);
        let text = format!(
            "Command did not complete within its {seconds}s timeout and was moved to the background (ID: {}). You will \
             be notified when it completes.",
            task.id
        );
        self.keep_shell(task, child);
        Answer::ok(text)
    }

    fn keep_shell(&mut self, task: Agent, child: Child) {
        self.shells.push(Shell { task: task.clone(), child });
        self.announce_tasks();
        if let Some(mut line) = self.templates.task("task_started", true) {
            task.mark(&mut line);
            self.emit(line);
        }
    }

    /// A wake-up that the agent has scheduled comes `FAKE_CLAUDE_WAKEUP_MS` after it, and not after a minute.
    pub fn schedule_wakeup(&mut self) -> Answer {
        let delay_ms = std::env::var("FAKE_CLAUDE_WAKEUP_MS").ok().and_then(|ms| ms.parse().ok()).unwrap_or(100);
        self.wakeup = Some(std::time::Instant::now() + std::time::Duration::from_millis(delay_ms));
        let details = json!({ "scheduledFor": epoch_ms() + 60_000, "clampedDelaySeconds": 60, "wasClamped": false });
        Answer::with_details("Next wakeup scheduled for 10:50:00 (in 60s).", details)
    }

    /// True if a wake-up is due; says that it has come.
    pub fn take_wakeup(&mut self) -> bool {
        let is_due = self.wakeup.take_if(|at| *at <= std::time::Instant::now()).is_some();
        if is_due {
            self.emit(json!({ "type": "command_lifecycle", "state": "started", "wakeup_source": "loop_wakeup" }));
        }
        is_due
    }

    /// An interrupt ends what runs in the background as well, and no turn follows.
    pub fn stop_background(&mut self) {
        for mut shell in std::mem::take(&mut self.shells) {
            signals::end_tool(group_of(&shell.child));
            let _ = shell.child.wait();
            self.tell_of_shell(&shell.task, "killed", "was stopped");
        }
        for agent in std::mem::take(&mut self.background) {
            self.update_task(&agent, "killed");
        }
    }

    fn tell_of_shell(&mut self, task: &Agent, status: &str, how: &str) {
        self.update_task(task, status);
        if let Some(mut line) = self.templates.task("task_notification", true) {
            task.mark(&mut line);
            line["status"] = if status == "killed" { "stopped" } else { status }.into();
            line["summary"] = format!("Background command \"{}\" {how}", task.description).into();
            self.emit(line);
        }
        self.announce_tasks();
    }

    fn update_task(&mut self, task: &Agent, status: &str) {
        let Some(mut line) = self.templates.task("task_updated", false) else {
            return;
        };
        task.mark(&mut line);
        line["patch"] = json!({ "status": status, "end_time": epoch_ms() });
        self.emit(line);
    }

    /// All that runs in the background.
    pub fn announce_tasks(&mut self) {
        let Some(mut line) = self.templates.task("background_tasks_changed", false) else {
            return;
        };
        let agent = |agent: &Agent| {
            json!({
                "task_id": agent.id, "run_id": agent.run_id, "task_type": "local_agent",
                "subagent_type": agent.kind, "description": agent.description,
            })
        };
        let shell = |shell: &Shell| {
            let task = &shell.task;
            json!({ "task_id": task.id, "run_id": task.run_id, "task_type": "local_bash", "description": task.description })
        };
        line["tasks"] = self.background.iter().map(agent).chain(self.shells.iter().map(shell)).collect();
        self.emit(line);
    }
}
