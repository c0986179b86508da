//! Slash commands of the CLI itself, answered without the model or around it.

use crate::Claude;
use crate::generation::Generation;
use crate::message::End;
use crate::money::Totals;
use crate::session::new_uuid;
use crate::templates::{replace, text_block};
use crate::turn::Turn;
use harness::script;
use serde_json::{Value, json};

impl Claude {
    pub fn is_builtin(&self, name: &str) -> bool {
        self.templates.builtin_commands().any(|command| command["name"] == name)
    }

    /// What the newest says to a command that the model is not asked about.
    pub fn local_answer(&self, name: &str) -> Option<String> {
        (self.generation == Generation::V2_1).then(|| match name {
            "help" => "/help isn't available in this environment.".to_owned(),
            _ => format!("Estimated cost:        ${:.4}", self.totals.cost_usd()),
        })
    }

    /// An end without the model: 0 tokens.
    pub fn answer_locally(&mut self, command: &str, text: Option<String>) {
        let model = self.model.clone();
        self.print_init(&model);
        self.report_locally(command, text);
    }

    fn report_locally(&mut self, command: &str, text: Option<String>) {
        if let Some(text) = &text {
            self.print_local_output(text);
        }
        let model = self.model.clone();
        let turn = Turn::new(&model, "", None);
        let mut line = self.templates.local_result(command);
        replace(&mut line, "result", text.unwrap_or_default());
        let messages = self.count_messages(2);
        let whole = self.generation.local_results_are_whole();
        self.fill_result(&mut line, &turn, if whole { 0 } else { messages });
        if !whole {
            line["modelUsage"] = json!({});
        }
        self.ending.last_was_error = false;
        self.emit(line);
        self.results += 1;
        self.since_last_result = Totals::default();
    }

    /// What a local command says, where that is an `assistant` line.
    fn print_local_output(&mut self, text: &str) {
        let mut line = self.templates.local_output();
        line["message"]["id"] = new_uuid().into();
        line["message"]["content"] = text_block(text);
        replace(&mut line, "local_command_source", format!("<local-command-stdout>{text}</local-command-stdout>"));
        self.emit(line);
    }

    /// `/clear`, where it exists: a new session, and totals from 0.
    pub fn clear(&mut self) {
        let id = new_uuid();
        let mut line = self.templates.conversation_reset();
        line["new_conversation_id"] = id.as_str().into();
        replace(&mut line, "user_message_uuid", new_uuid());
        self.emit(line);
        self.session.conversation.clear();
        self.session.id = new_uuid();
        self.totals = Totals::default();
        self.since_last_result = Totals::default();
        self.rest_of_script.clear();
        self.announce_tasks();
        self.answer_locally("clear", None);
    }

    fn refuse_to_compact(&mut self) {
        const WHY: &str = "Error: No messages to compact";
        let model = self.model.clone();
        self.print_init(&model);
        let stderr = format!("<local-command-stderr>{WHY}</local-command-stderr>");
        if self.generation == Generation::V2_1 {
            let mut line = self.templates.failed_command();
            line["message"]["id"] = new_uuid().into();
            self.emit(line);
        } else {
            let mut line = self.templates.user_string("<local-command-stderr>");
            line["message"]["content"] = stderr.into();
            self.emit(line);
        }
        self.report_locally("compact", None);
    }

    /// `/compact`: the summary is paid for in `modelUsage` only. Its arguments may hold a `[[usage …]]`.
    pub fn compact(&mut self, arguments: &str) {
        let usage = script::parse(arguments).ok().and_then(|script| Some(script.messages.first()?.usage));
        if self.session.conversation.is_empty() {
            return self.refuse_to_compact();
        }
        let is_newer = self.generation > Generation::V1_0;
        let status = |status: Value| json!({ "type": "system", "subtype": "status", "status": status });
        if is_newer {
            self.emit(status("compacting".into()));
        }
        let model = self.model.clone();
        self.bill("compact", &model, usage.unwrap_or_default().into(), "/compact", End::Whole);
        if is_newer {
            let mut line = status(Value::Null);
            if self.generation == Generation::V2_1 {
                line["compact_result"] = "success".into();
            }
            self.emit(line);
        }
        self.print_init(&model);
        let boundary = self.templates.compact_boundary();
        self.emit(boundary);
        for beginning in ["This session is being continued", "<local-command-stdout>Compacted"] {
            let line = self.templates.user_string(beginning);
            self.emit(line);
        }
        // As the older ones count the summary and what belongs to it.
        self.message_count += 6;
        self.session.conversation = vec![("user".to_owned(), "the summary of what was said".to_owned())];
        self.session.save(&self.totals);
        self.report_locally("compact", None);
    }
}
