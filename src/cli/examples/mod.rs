//! Example configs, one for each kind of work. They are separate files in this directory; tests check them against the
//! schema, as a plan and in a run.

use std::fmt::{self, Display, Formatter};

use crate::base::suggest::closest_match;
use crate::base::text::quote_input;

/// An example config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example {
    /// Name of the example.
    pub name: &'static str,
    /// Purpose of the example, in one line.
    pub about: &'static str,
    /// The config.
    pub config: &'static str,
}

/// All examples, in the order in which they are listed.
pub static EXAMPLES: &[Example] = &[
    Example {
        name: "data_analysis",
        about: "data files analyzed from several sides, and one report",
        config: include_str!("data_analysis.json"),
    },
    Example {
        name: "code_review",
        about: "a week's changes reviewed side by side, the findings sorted",
        config: include_str!("code_review.json"),
    },
    Example {
        name: "content_creation",
        about: "the texts of a release from one list of facts, and an editor",
        config: include_str!("content_creation.json"),
    },
    Example {
        name: "testing_workflow",
        about: "gaps in the tests, the missing tests, a check",
        config: include_str!("testing_workflow.json"),
    },
    Example {
        name: "migration_workflow",
        about: "from one library to another: plan, halves, rest, check",
        config: include_str!("migration_workflow.json"),
    },
    Example {
        name: "debugging_workflow",
        about: "one bug: reproduced, explained, fixed, reviewed",
        config: include_str!("debugging_workflow.json"),
    },
];

/// The name of an example that does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownExample {
    name: String,
    suggestion: Option<&'static str>,
}

impl Display for UnknownExample {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "unknown example '{}'", quote_input(&self.name))?;
        if let Some(suggestion) = self.suggestion {
            write!(f, ", did you mean '{suggestion}'?")?;
        }
        let names: Vec<&str> = EXAMPLES.iter().map(|example| example.name).collect();
        write!(f, " (available: {})", names.join(", "))
    }
}

/// Returns the example of this name.
///
/// # Errors
///
/// An error with the closest name if there is none.
pub fn find(name: &str) -> Result<&'static Example, UnknownExample> {
    for example in EXAMPLES {
        if example.name == name {
            return Ok(example);
        }
    }
    let suggestion = closest_match(name, EXAMPLES.iter().map(|example| example.name));
    Err(UnknownExample { name: name.to_owned(), suggestion })
}

/// Returns one line for each example.
#[must_use]
pub fn list() -> String {
    let columns = EXAMPLES.iter().map(|example| example.name.len()).max().unwrap_or(0);
    EXAMPLES.iter().map(|example| format!("{:columns$}  {}\n", example.name, example.about)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::collections::HashSet;

    #[test]
    fn each_file_is_an_example_of_its_name() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/cli/examples")).expect("the folder");
        let paths =
            folder.flatten().map(|entry| entry.path()).filter(|path| path.extension().is_some_and(|e| e == "json"));
        let files: HashSet<String> =
            paths.map(|path| path.file_stem().expect("a name").to_string_lossy().into_owned()).collect();
        assert_eq!(files, EXAMPLES.iter().map(|example| example.name.to_owned()).collect());
        for example in EXAMPLES {
            let path = format!("{}/src/cli/examples/{}.json", env!("CARGO_MANIFEST_DIR"), example.name);
            assert_eq!(std::fs::read_to_string(path).expect("a file"), example.config);
        }
    }

    #[test]
    fn each_example_has_limits_tools_and_dependencies() {
        for example in EXAMPLES {
            let config = Config::read(example.config).expect(example.name);
            assert_eq!(config.warnings, Vec::<String>::new(), "{}", example.name);
            assert!(config.budget.overall_micros.or(config.budget.overall_tokens).is_some(), "{}", example.name);
            assert!(
                config.instances.iter().all(|i| i.timeout.is_some() && i.allowed_tools.is_some()),
                "{}",
                example.name
            );
            assert!(config.instances.iter().any(|i| i.depends_on.is_some()), "{}", example.name);
            // A missing slash command would fail the instance.
            assert!(config.instances.iter().all(|i| i.command.is_none() && i.name.is_some()), "{}", example.name);
        }
        let uses_sessions = |config: &str| config.contains("\"session_id\"");
        assert!(EXAMPLES.iter().any(|example| uses_sessions(example.config)));
    }

    #[test]
    fn list_fits_the_screen() {
        assert_eq!(list().lines().count(), 6);
        assert!(list().lines().all(|line| line.is_ascii() && line.len() <= 80), "{}", list());
    }

    #[test]
    fn unknown_name_has_a_suggestion_if_one_is_close() {
        assert_eq!(find("code_review").map(|example| example.name), Ok("code_review"));
        assert_eq!(find("code-review").map_err(|error| error.suggestion), Err(Some("code_review")));
        assert_eq!(find("poetry").map_err(|error| error.suggestion), Err(None));
    }
}
