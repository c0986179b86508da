//! The prompt from which a model writes a config: the fields, from their table, and rules that are in no table.

use crate::config;
use crate::config::{Field, Shape};

const TASK: &str = "\
Write a config for zen, a program that runs several headless Claude Code instances from one JSON file, where nobody
watches. Answer with the JSON alone.

What is to be done:

    (say it here: the goal, the folders it is about, what must not be touched, how the tests are run)
";

const RULES: &str = "\
- One instance does one thing whose outcome can be looked at. Its prompt says which file it writes.
- Nobody answers questions: a prompt says all that is needed, and what to do when something is missing.
- Instances run side by side and know nothing of each other. One that needs what another has written names it in
  `depends_on`; two that change the same files depend on one another.
- `{{result:NAME}}` in a prompt becomes the answer of an instance that it depends on.
- One conversation over several instances is a `session_id` that they share.
- Use `prompt`. `command` is for slash commands that exist (`zen --list-commands`); any other fails.
- Name the tools that an instance needs in `allowed_tools`, and no more.
- Give every instance a `timeout`, and the run a budget; leave out `max_tokens_per_command` where you can only guess.
- No fields but these. Comments are keys that begin with `//`. Names are unique, and `depends_on` has no rings.
";

/// A config that shows how the parts combine.
const EXAMPLE: &str = r#"{
  "//": "Reads the code from two sides, then sums up.",
  "budget": {"overall_cost_budget": 5.0},
  "defaults": {"permission_mode": "default", "timeout": 1800, "allowed_tools": ["Read", "Glob", "Grep", "Write"]},
  "instances": [
    {"name": "errors", "prompt": "Find errors below src/ that nobody handles. List them in review/errors.md."},
    {"name": "tests", "prompt": "Find behaviour below src/ that no test holds. List it in review/tests.md."},
    {
      "name": "summary",
      "prompt": "Write review/SUMMARY.md from the files in review/, the worst first. If one is missing, say so.",
      "depends_on": [{"name": "errors", "when": "done"}, {"name": "tests", "when": "done"}]
    }
  ]
}
"#;

/// Returns the prompt.
#[must_use]
pub fn prompt_template() -> String {
    format!(
        "{TASK}\n## Form\n\nAn object with `instances` (an array), and, if wanted, `budget` and `defaults` (fields for all \
         instances).\n\nAn instance has a `prompt` or a `command`, and may have the others:\n\n{}\n`budget` may have:\n\n{}\n\
         ## Rules\n\n{RULES}\n## Example\n\n```json\n{EXAMPLE}```\n",
        fields(config::instance_fields()),
        fields(config::budget_fields())
    )
}

fn fields<'a>(fields: impl Iterator<Item = &'a Field>) -> String {
    fields.map(|field| format!("- `{}` ({}): {}\n", field.name, in_words(&field.shape), field.about)).collect()
}

fn in_words(shape: &Shape) -> String {
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
    fn every_field_and_its_type_stand_in_it() {
        let template = prompt_template();
        for field in config::instance_fields().chain(config::budget_fields()) {
            assert_eq!(template.matches(&format!("- `{}` (", field.name)).count(), 1, "{}", field.name);
        }
        assert!(template.contains("- `timeout` (number of seconds): "), "{template}");
        assert!(template.contains("- `budget_type` (one of tokens, cost, mixed): "));
    }

    #[test]
    fn its_example_is_a_good_config() {
        let template = prompt_template();
        let example = template.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
        let config = Config::read(example).expect("a config");
        assert_eq!((config.instances.len(), config.warnings), (3, Vec::new()));
        let value = serde_json::from_str(example).expect("JSON");
        assert!(jsonschema::is_valid(&config::schema(), &value));
    }

    #[test]
    fn what_it_names_is_there() {
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
