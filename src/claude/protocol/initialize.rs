//! Decoder of the response to `initialize`: slash commands with their descriptions and sources, and prices, in the
//! formats of all generations.

use serde_json::Value;

use super::decode::decode as decode_line;
use super::event::{Event, InitializeError};
use super::value::{array, text};
use crate::claude::pricing::{self, Price};
use crate::claude::protocol::request::INITIALIZE_ID;
use crate::claude::slash_commands::{CommandSource, Commands, ListedCommand};

/// Returns the commands of a line, or its error, if it responds to [`initialize`](super::request::initialize).
#[must_use]
pub fn initialize_response(line: &[u8]) -> Option<Result<Commands, InitializeError>> {
    match decode_line(line) {
        Event::InitializeResponse { request_id, commands, .. } if request_id == INITIALIZE_ID => Some(commands),
        _ => None,
    }
}

/// Decodes a line of type `control_response`.
pub(super) fn decode(line: &Value) -> Event {
    let response = &line["response"];
    let body = &response["response"];
    Event::InitializeResponse {
        request_id: text(&response["request_id"]).unwrap_or_default(),
        commands: commands(response),
        prices: array(&body["models"]).iter().filter_map(price).collect(),
        reports_usage: array(&body["capabilities"]).iter().any(is_usage_query),
    }
}

fn commands(response: &Value) -> Result<Commands, InitializeError> {
    if response["subtype"] == "error" {
        return Err(text(&response["error"]).map_or(InitializeError::NoReason, InitializeError::Reported));
    }
    let listed = array(&response["response"]["commands"]).iter().filter_map(listed).collect();
    Ok(Commands::from_listed(listed))
}

fn price(model: &Value) -> Option<(String, Price)> {
    let price = pricing::parse_description(model["description"].as_str()?)?;
    Some((text(&model["resolvedModel"])?, price))
}

fn is_usage_query(capability: &Value) -> bool {
    capability.as_str().is_some_and(|name| name.starts_with("get_usage"))
}

fn listed(command: &Value) -> Option<ListedCommand> {
    // Names come without the slash; accept one with it too.
    let name = trimmed(&command["name"]).trim_start_matches('/').to_owned();
    if name.is_empty() {
        return None;
    }
    let description = trimmed(&command["description"]);
    let (source, description) = if command["builtin"] == true {
        (CommandSource::Claude, description.to_owned())
    } else {
        source(&name, description)
    };
    // 2.1 also runs a command by its aliases: `/review` is one of `/code-review`.
    let aliases = array(&command["aliases"]).iter().filter_map(text).collect();
    let argument_hint = trimmed(&command["argumentHint"]).to_owned();
    Some(ListedCommand { name, description, argument_hint, aliases, source })
}

fn trimmed(value: &Value) -> &str {
    value.as_str().unwrap_or_default().trim()
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
    let built_in = (CommandSource::Claude, description.to_owned());
    let Some((rest, mark)) = description.strip_suffix(')').and_then(|rest| rest.rsplit_once('(')) else {
        return built_in;
    };
    let source = match mark {
        "user" => CommandSource::User,
        "project" | "project, gitignored" => CommandSource::Project,
        mark => match mark.strip_prefix("plugin:") {
            Some(plugin) => CommandSource::Plugin(plugin.split('@').next().unwrap_or_default().to_owned()),
            None => return built_in,
        },
    };
    (source, rest.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn source_is_parsed_in_the_form_of_each_generation() {
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
    fn response_of_each_generation_is_decoded() {
        for version in ["1.0.128", "2.0.76", "2.1.330"] {
            let file = format!("{}/fixtures/recorded/{version}/initialize.jsonl", env!("CARGO_MANIFEST_DIR"));
            let recorded = std::fs::read_to_string(file).expect("a recording");
            let asked = recorded.replace("\"request_id\":\"1\"", &format!("\"request_id\":\"{INITIALIZE_ID}\""));
            assert_eq!(
                initialize_response(recorded.lines().next().expect("a line").as_bytes()),
                None,
                "another request's answer"
            );
            let listed = asked
                .lines()
                .find_map(|line| initialize_response(line.as_bytes()))
                .expect("a response")
                .expect("commands");
            let command = |name: &str| listed.listed().iter().find(|listed| listed.name == name).expect("it is listed");
            let analyze = command("analyze-code");
            assert_eq!((analyze.description.as_str(), &analyze.source), ("Analyze the code", &CommandSource::Project));
            assert_eq!(analyze.argument_hint, "PATH");
            assert_eq!(command("compact").source, CommandSource::Claude);
        }
    }

    #[test]
    fn response_without_commands_is_an_error_or_none() {
        let refused = format!(
            r#"{{"type":"control_response","response":{{"subtype":"error","request_id":"{INITIALIZE_ID}","error":"no"}}}}"#
        );
        assert_eq!(initialize_response(refused.as_bytes()), Some(Err(InitializeError::Reported("no".into()))));
        assert_eq!(initialize_response(&refused.as_bytes().to_ascii_uppercase()), None);
        let odd =
            refused.replace("error", "success").replace("\"no\"", r#"0,"response":{"commands":[7,{},{"name":"/a"}]}"#);
        let listed = initialize_response(odd.as_bytes()).expect("an answer").expect("commands");
        assert_eq!(listed.listed(), [ListedCommand { name: "a".into(), ..ListedCommand::default() }]);
        for line in ["", "{}", "[]", "{\"type\":\"control_response\"}", "\u{fffd}"] {
            assert_eq!(initialize_response(line.as_bytes()), None);
        }
    }
}
