//! The environment variables of zen: the table of their meanings, and the options set by those that correspond to a
//! flag. The command line takes precedence over them.

use super::error::{UsageError, ValueError};
use super::{Options, values};
use crate::report::verbosity::LogLevel;
use std::ffi::{OsStr, OsString};

/// Environment variables that zen reads, and those that it sets for its instances, with their meaning.
pub static ENVIRONMENT: &[(&str, &str)] = &[
    ("ZEN_CONFIG", "the config, unless --config is given"),
    ("ZEN_WORKSPACE", "the directory to work in, unless --workspace is given"),
    ("ZEN_DEBUG", "unless empty, 0, no, off or false: as --log-level detailed; a flag takes precedence"),
    ("ZEN_CLAUDE", "the claude program, unless --claude is given"),
    ("XDG_STATE_HOME", "parent of zen/, the directory for the files of runs (default: ~/.local/state)"),
    ("NO_COLOR", "unless empty: print no colours, not even on a terminal"),
    ("LC_ALL", "the locale: print UTF-8 if it has it, else plain ASCII"),
    ("LC_CTYPE", "the locale, if LC_ALL is not set"),
    ("LANG", "the locale, if neither of these is set"),
    (
        "GITHUB_ACTIONS",
        "if true: print everything between ::stop-commands::TOKEN and ::TOKEN::, so that the text of an agent contains no workflow command",
    ),
    ("ZEN_RUN", "set for every instance: the name of the run"),
    ("ZEN_INSTANCE", "set for every instance: the name of the instance"),
    ("PWD", "set for every instance: its directory"),
    ("DISABLE_AUTOUPDATER", "set to 1 for every instance, unless its env sets it: no update during a run"),
    ("OTEL_RESOURCE_ATTRIBUTES", "extended by zen.run and zen.instance for every instance, unless its env sets it"),
];

/// The variables that correspond to a flag.
const FLAGS_BY_VARIABLE: &[(&str, Set)] = &[
    ("ZEN_CONFIG", |options, value| values::store(&mut options.config, values::config(value).map(Some))),
    ("ZEN_WORKSPACE", |options, value| values::store(&mut options.workspace, values::path(value).map(Some))),
    ("ZEN_DEBUG", |options, value| {
        options.log_level = if is_false(value) { options.log_level } else { LogLevel::Detailed };
        Ok(())
    }),
];

type Set = fn(&mut Options, &OsStr) -> Result<(), ValueError>;

fn is_false(value: &OsStr) -> bool {
    ["0", "no", "off", "false"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// Returns the options set by the environment, and the mistakes. An empty variable counts as not set.
pub(super) fn options(variable: impl Fn(&str) -> Option<OsString>) -> (Options, Vec<UsageError>) {
    let mut options = Options::default();
    let mut errors = Vec::new();
    for &(name, set) in FLAGS_BY_VARIABLE {
        let value = variable(name).unwrap_or_default();
        if !value.is_empty()
            && let Err(error) = set(&mut options, &value)
        {
            errors.push(UsageError::InvalidVariable { name, error });
        }
    }
    (options, errors)
}

#[cfg(test)]
mod tests {
    use super::super::ConfigSource;
    use super::*;
    use std::path::PathBuf;

    fn with(variables: &[(&str, &str)]) -> Options {
        let value = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        options(value).0
    }

    #[test]
    fn each_variable_sets_its_option_and_is_in_the_table() {
        let options = with(&[("ZEN_CONFIG", "plan.json"), ("ZEN_WORKSPACE", "/w"), ("ZEN_DEBUG", "1")]);
        let expected = Options {
            config: Some(ConfigSource::File(PathBuf::from("plan.json"))),
            workspace: Some(PathBuf::from("/w")),
            log_level: LogLevel::Detailed,
            ..Options::default()
        };
        assert_eq!(options, expected);
        for (name, _) in FLAGS_BY_VARIABLE {
            assert!(ENVIRONMENT.iter().any(|(known, _)| known == name), "{name}");
        }
    }

    #[test]
    fn empty_variable_is_not_set_and_debug_may_be_false() {
        for variables in [
            &[][..],
            &[("ZEN_CONFIG", ""), ("ZEN_WORKSPACE", ""), ("ZEN_DEBUG", "")],
            &[("ZEN_DEBUG", "0")],
            &[("ZEN_DEBUG", "False")],
        ] {
            assert_eq!(with(variables), Options::default(), "{variables:?}");
        }
    }
}
