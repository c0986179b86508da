//! Response to `initialize`: the slash commands with their descriptions and sources, in the formats of all generations.

use serde_json::Value;

use crate::claude::protocol::request::INITIALIZE_ID;

/// A slash command as claude lists it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListedCommand {
    /// Name without the slash.
    pub name: String,
    /// Description, without the source that claude adds to it.
    pub description: String,
    /// Placeholder of the arguments.
    pub argument_hint: String,
    /// Aliases (2.1).
    pub aliases: Vec<String>,
    /// Source according to claude.
    pub source: CommandSource,
}

/// Source of a command according to claude.
///
/// 1.0 reports the user's own commands as the project's, so the command's file is more reliable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CommandSource {
    /// No source reported: built in.
    #[default]
    Claude,
    /// The project's files.
    Project,
    /// The user's files.
    User,
    /// The plugin of this name.
    Plugin(String),
}

/// Decodes the commands of a line, or its error, if it responds to [`initialize`](super::request::initialize).
#[must_use]
pub fn answer(line: &[u8]) -> Option<Result<Vec<ListedCommand>, String>> {
    let line: Value = serde_json::from_slice(line).ok()?;
    let response = &line["response"];
    if line["type"] != "control_response" || response["request_id"] != INITIALIZE_ID {
        return None;
    }
    if response["subtype"] == "error" {
        return Some(Err(response["error"].as_str().unwrap_or("claude gave no reason").to_owned()));
    }
    let commands = response["response"]["commands"].as_array().into_iter().flatten();
    Some(Ok(commands.filter_map(listed).collect()))
}

fn listed(command: &Value) -> Option<ListedCommand> {
    let text = |key: &str| command[key].as_str().unwrap_or_default().trim().to_owned();
    let name = text("name").trim_start_matches('/').to_owned();
    let (source, description) = if command["builtin"] == true {
        (CommandSource::Claude, text("description"))
    } else {
        source(&name, &text("description"))
    };
    let aliases = command["aliases"].as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned);
    let argument_hint = text("argumentHint");
    (!name.is_empty()).then(|| ListedCommand { name, description, argument_hint, aliases: aliases.collect(), source })
}

/// Splits a description into source and text.
///
/// 2.0 writes "TEXT (project)" or "TEXT (plugin:NAME@SHOP)", 2.1 "(NAME) TEXT".
fn source(name: &str, description: &str) -> (CommandSource, String) {
    if let Some((plugin, _)) = name.split_once(':')
        && let Some(rest) = description.strip_prefix(&format!("({plugin}) "))
    {
        return (CommandSource::Plugin(plugin.to_owned()), rest.trim().to_owned());
    }
    let last = description.strip_suffix(')').and_then(|rest| rest.rsplit_once('('));
    let (rest, source) = match last {
        Some((rest, "user")) => (rest, CommandSource::User),
        Some((rest, "project" | "project, gitignored")) => (rest, CommandSource::Project),
        Some((rest, of)) if of.starts_with("plugin:") => {
            let plugin = of["plugin:".len()..].split('@').next().unwrap_or_default();
            (rest, CommandSource::Plugin(plugin.to_owned()))
        }
        _ => (description, CommandSource::Claude),
    };
    (source, rest.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_say_in_their_own_words_where_one_comes_from() {
        for (name, description, expected, rest) in [
            ("a", "Do it (project)", CommandSource::Project, "Do it"),
            ("a", "Do it (project, gitignored)", CommandSource::Project, "Do it"),
            ("a", "Do it (fast) (user)", CommandSource::User, "Do it (fast)"),
            ("p:a", "(p) Do it", CommandSource::Plugin("p".into()), "Do it"),
            ("p:a", "Do it (plugin:p@shop)", CommandSource::Plugin("p".into()), "Do it"),
            ("a", "Do it (dynamic workflow)", CommandSource::Claude, "Do it (dynamic workflow)"),
            ("a", "(removed) Do it", CommandSource::Claude, "(removed) Do it"),
            ("a", "", CommandSource::Claude, ""),
        ] {
            assert_eq!(source(name, description), (expected, rest.to_owned()), "{description}");
        }
    }

    #[test]
    fn every_generation_s_answer_is_read() {
        for version in ["1.0.128", "2.0.76", "2.1.330"] {
            let file = format!("{}/fixtures/recorded/{version}/initialize.jsonl", env!("CARGO_MANIFEST_DIR"));
            let recorded = std::fs::read_to_string(file).expect("a recording");
            let asked = recorded.replace("\"request_id\":\"1\"", &format!("\"request_id\":\"{INITIALIZE_ID}\""));
            assert_eq!(answer(recorded.lines().next().expect("a line").as_bytes()), None, "another request's answer");
            let listed = asked.lines().find_map(|line| answer(line.as_bytes())).expect("an answer").expect("commands");
            let command = |name: &str| listed.iter().find(|listed| listed.name == name).expect("it is listed");
            let analyze = command("analyze-code");
            assert_eq!((analyze.description.as_str(), &analyze.source), ("Analyze the code", &CommandSource::Project));
            assert_eq!(analyze.argument_hint, "PATH");
            assert_eq!(command("compact").source, CommandSource::Claude);
        }
    }

    #[test]
    fn an_answer_without_commands_is_none_or_says_why() {
        let refused = format!(
            r#"{{"type":"control_response","response":{{"subtype":"error","request_id":"{INITIALIZE_ID}","error":"no"}}}}"#
        );
        assert_eq!(answer(refused.as_bytes()), Some(Err("no".into())));
        assert_eq!(answer(&refused.as_bytes().to_ascii_uppercase()), None);
        let odd =
            refused.replace("error", "success").replace("\"no\"", r#"0,"response":{"commands":[7,{},{"name":"/a"}]}"#);
        let listed = answer(odd.as_bytes()).expect("an answer").expect("commands");
        assert_eq!(listed, [ListedCommand { name: "a".into(), ..ListedCommand::default() }]);
        for line in ["", "{}", "[]", "{\"type\":\"control_response\"}", "\u{fffd}"] {
            assert_eq!(answer(line.as_bytes()), None);
        }
    }
}
