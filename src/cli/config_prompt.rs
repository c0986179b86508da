//! The prompt from which a model writes a config: the fields, from their table, and rules that are in no table.

use crate::config;
use crate::config::{Field, Shape};

const TASK: &str = "\
Write a config for zen, a program that runs several headless Claude Code instances from one JSON file, unattended. Answer
with the JSON only.

Task:

    (describe it here: the goal, the directories, files that must not be changed, how to run the tests)
";

const RULES: &str = "\
- Give each instance one task with a verifiable result. Name in its prompt the file that it writes.
- No user answers questions: write all that is needed into the prompt, and the action to take if something is missing.
- Instances run in parallel and do not see each other. An instance that needs the output of another one lists it in
  `depends_on`; of two instances that change the same files, one depends on the other.
- `{{result:NAME}}` in a prompt is replaced by the answer of an instance that this one depends on.
- Instances with the same `session_id` share one conversation.
- Use `prompt`. Use `command` only for slash commands that exist (`zen --list-commands`); any other one fails.
- List the tools that an instance needs in `allowed_tools`, and no others.
- Give each instance a `timeout`, and the run a budget; omit `max_tokens_per_command` if it would be a guess.
- Use only these fields. Keys that begin with `//` are comments. Names are unique, and `depends_on` has no cycles.
";

/// A config that shows how the parts combine.
const EXAMPLE: &str = r#"{
  "//": "Reviews the code in two ways, then writes a summary.",
  "budget": {"overall_cost_budget": 5.0},
  "defaults": {"permission_mode": "default", "timeout": 1800, "allowed_tools": ["Read", "Glob", "Grep", "Write"]},
  "instances": [
    {"name": "errors", "prompt": "Find unhandled errors below src/. List them in review/errors.md."},
    {"name": "tests", "prompt": "Find untested behaviour below src/. List it in review/tests.md."},
    {
      "name": "summary",
      "prompt": "Write review/SUMMARY.md from the files in review/, the most severe first. Name missing files.",
      "depends_on": [{"name": "errors", "when": "done"}, {"name": "tests", "when": "done"}]
    }
  ]
}
"#;

/// Returns the prompt.
#[must_use]
pub fn prompt_template() -> String {
    format!(
        "{TASK}\n## Format\n\nAn object with `instances` (an array) and, optionally, `budget` and `defaults` (fields of all \
         instances).\n\nAn instance has a `prompt` or a `command`, and optionally these fields:\n\n{}\nFields of \
         `budget`:\n\n{}\n## Rules\n\n{RULES}\n## Example\n\n```json\n{EXAMPLE}```\n",
        fields(config::instance_fields()),
        fields(config::budget_fields())
    )
}

fn fields<'a>(fields: impl Iterator<Item = &'a Field>) -> String {
    let mut list = String::new();
    for field in fields {
        list += &format!("- `{}` ({}): {}\n", field.name, type_name(&field.shape), field.about);
    }
    list
}

fn type_name(shape: &Shape) -> String {
    match shape {
        Shape::String | Shape::NonEmptyString => "string".to_owned(),
        Shape::Boolean => "true or false".to_owned(),
        Shape::Enum(words) => format!("one of {}", words.join(", ")),
        Shape::NonEmptyStrings | Shape::Strings => "array of strings".to_owned(),
        Shape::Number { unit, is_whole: true, .. } => format!("whole number of {unit}"),
        Shape::Number { unit, .. } => format!("number of {unit}"),
        Shape::UnsignedInt { .. } => "whole number, 0 or above".to_owned(),
        Shape::PerCommand(Shape::Number { unit, .. }) => format!("object: for each command a number of {unit}"),
        Shape::PerCommand(_) | Shape::EnvVars => "object of strings".to_owned(),
        Shape::Dependencies(_) => "array of names".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn each_field_is_listed_with_its_type() {
        let template = prompt_template();
        for field in config::instance_fields().chain(config::budget_fields()) {
            assert_eq!(template.matches(&format!("- `{}` (", field.name)).count(), 1, "{}", field.name);
        }
        assert!(template.contains("- `timeout` (number of seconds): "), "{template}");
        assert!(template.contains("- `budget_type` (one of tokens, cost, mixed): "));
    }

    #[test]
    fn example_is_a_valid_config() {
        let template = prompt_template();
        let example = template.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
        let config = Config::read(example).expect("a config");
        assert_eq!((config.instances.len(), config.warnings), (3, Vec::new()));
        let value = serde_json::from_str(example).expect("JSON");
        assert!(jsonschema::is_valid(&config::schema(), &value));
    }

    #[test]
    fn named_flags_exist() {
        let flags = |text: &str| -> Vec<String> {
            text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-'))
                .filter_map(|word| word.strip_prefix("--"))
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect()
        };
        for flag in flags(&prompt_template()) {
            assert!(crate::cli::flags::FLAGS.iter().any(|known| known.long == flag), "--{flag}");
        }
    }
}
