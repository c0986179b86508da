//! The Task tool: a conversation of its own whose words are not shown and whose tokens are in `modelUsage` only.

use crate::session::new_id;
use crate::tools::Call;
use crate::turn::Turn;
use crate::{Claude, Stop};
use serde_json::json;

impl Claude {
    /// Runs the prompt, which may hold a script of its own, and returns the last text.
    pub fn run_subagent(&mut self, turn: &mut Turn, call: &Call, prompt: &str) -> Result<String, Stop> {
        let before = self.subagent_tokens;
        let task_id = new_id("a");
        let model = self.model.clone();
        if self.generation.notifies_of_subagents() {
            let mut line = self.templates.task_started();
            line["task_id"] = task_id.as_str().into();
            line["tool_use_id"] = call.id.as_str().into();
            line["description"] = call.input.get("description").cloned().unwrap_or_else(|| "".into());
            line["prompt"] = prompt.into();
            self.emit(line);
        }
        let mut inner = Turn::new(&model, prompt, Some(&call.id));
        let outcome = self.converse(&mut inner);
        self.bill_open_message(&mut inner);
        turn.denials.append(&mut inner.denials);
        turn.interrupted_tool = true;
        outcome?;
        turn.interrupted_tool = false;
        if self.generation.notifies_of_subagents() {
            let mut line = self.templates.task_notification();
            line["task_id"] = task_id.into();
            line["tool_use_id"] = call.id.as_str().into();
            line["status"] = "completed".into();
            line["summary"] = inner.last_text.as_str().into();
            line["usage"] = json!({
                "total_tokens": self.subagent_tokens - before, "tool_uses": inner.tool_uses, "duration_ms": 10,
            });
            self.emit(line);
        }
        Ok(inner.last_text)
    }
}
