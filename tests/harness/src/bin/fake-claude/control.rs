//! Control requests, answered at any time, also in the middle of a turn.

use crate::templates::replace;
use crate::{Claude, log, signals};
use serde_json::{Value, json};
use std::time::Duration;

impl Claude {
    /// Answers one; true when it interrupts the turn under way.
    pub fn answer_control(&mut self, request: &Value, in_turn: bool) -> bool {
        let id = &request["request_id"];
        let request = &request["request"];
        match request["subtype"].as_str().unwrap_or_default() {
            "initialize" => self.answer_initialize(id),
            "interrupt" => {
                if signals::is_deaf() {
                    return false;
                }
                let mut answer = self.templates.interrupted();
                answer["response"]["request_id"] = id.clone();
                self.out.line(&answer);
                if !in_turn {
                    self.stop_background();
                }
                return in_turn;
            }
            "get_usage" if self.generation.answers_get_usage() => {
                let usage = self.totals.model_usage(&self.templates.model_usage());
                let mut answer = self.templates.usage();
                answer["response"]["request_id"] = id.clone();
                let session = &mut answer["response"]["response"]["session"];
                session["total_cost_usd"] = self.totals.cost_usd().into();
                session["model_usage"] = usage;
                self.out.line(&answer);
            }
            "stop_task" => {
                let is_known = self.stop_shell(request["task_id"].as_str().unwrap_or_default());
                log::event("stop_task", json!({ "task_id": request["task_id"], "is_known": is_known }));
                self.succeed(id, &json!({}));
            }
            "set_model" => {
                let model = request["model"].as_str().unwrap_or("default");
                self.model = self.generation.resolve_model(model);
                let model = self.model.clone();
                self.succeed(id, &json!({ "model": model }));
            }
            "set_permission_mode" => {
                if let Some(mode) = request["mode"].as_str() {
                    mode.clone_into(&mut self.permissions.mode);
                }
                self.succeed(id, &json!({ "mode": request["mode"] }));
            }
            other => {
                if let Some(mut answer) = self.templates.control_error() {
                    answer["response"]["request_id"] = id.clone();
                    answer["response"]["error"] = format!("Unsupported control request subtype: {other}").into();
                    self.out.line(&answer);
                }
            }
        }
        false
    }

    fn succeed(&mut self, id: &Value, response: &Value) {
        let mut answer = json!({ "type": "control_response", "response": { "subtype": "success", "request_id": id } });
        if self.generation.answers_get_usage() {
            answer["response"]["response"] = response.clone();
        }
        self.out.line(&answer);
    }

    /// Answers to what nobody has asked come first, and the error last.
    fn answer_in_disorder(&mut self, answer: &Value) {
        let of = |subtype: &str, id: Value| {
            json!({ "type": "control_response",
                "response": { "subtype": subtype, "request_id": id, "error": "not in order", "response": {} } })
        };
        let (unknown, missing, number) = (json!("no-such-request"), Value::Null, json!(7));
        for early in [of("success", unknown.clone()), of("error", unknown), of("error", missing), of("success", number)]
        {
            self.out.line(&early);
        }
        self.out.line(&self.templates.interrupted());
        self.out.line(answer);
        self.out.line(&of("error", answer["response"]["request_id"].clone()));
    }

    fn answer_initialize(&mut self, id: &Value) {
        let mut answer = self.templates.initialized();
        answer["response"]["request_id"] = id.clone();
        let response = &mut answer["response"]["response"];
        let mut commands: Vec<Value> = self.commands.iter().map(crate::commands::Command::to_json).collect();
        if !self.options.no_slash_commands {
            commands.extend(self.templates.builtin_commands().cloned());
        }
        response["commands"] = commands.into();
        replace(response, "pid", std::process::id());
        replace(response, "current_permission_mode", self.permissions.mode.as_str());
        let home = std::env::var("HOME").unwrap_or_default();
        replace(response, "user_output_styles_dir", format!("{home}/.claude/output-styles"));
        let how = std::env::var("FAKE_CLAUDE_INITIALIZE").unwrap_or_default();
        match how.split_once(':').unwrap_or((&how, "")) {
            ("never", _) => return,
            ("error", _) => {
                answer = json!({
                    "type": "control_response",
                    "response": { "subtype": "error", "request_id": id, "error": "the fake claude refuses to initialize" }
                });
            }
            ("late", delay) => std::thread::sleep(Duration::from_millis(delay.parse().unwrap_or(1000))),
            ("twice", _) => self.out.line(&answer),
            ("disordered", _) => self.answer_in_disorder(&answer),
            _ => {}
        }
        self.out.line(&answer);
    }
}
