//! README, man page, `--help` and the tables in the code say the same; the demo runs.

use std::path::Path;
use std::process::Command;

use crate::support::zen_binary;

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("it is there")
}

#[test]
fn the_readme_has_the_exit_codes_of_the_table() {
    let rows: Vec<String> = zen::exit::TABLE.iter().map(|(code, what)| format!("| {code} | {what} |")).collect();
    assert!(read("README.md").contains(&rows.join("\n")), "{}", rows.join("\n"));
}

#[test]
fn every_option_that_the_readme_names_is_there() {
    let readme = read("README.md");
    let known: Vec<&str> = zen::flags::FLAGS.iter().map(|flag| flag.long).collect();
    for word in readme.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).filter(|w| w.starts_with("--")) {
        let name = &word[2..];
        assert!(name.is_empty() || name.starts_with('-') || known.contains(&name), "README.md names {word}");
    }
}

#[test]
fn every_field_that_the_readme_names_is_there() {
    let readme = read("README.md");
    let table = readme.split("| field | what it says |").nth(1).and_then(|t| t.split("\n\n").next()).expect("a table");
    let named: Vec<&str> = table
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .filter(|name| !name.contains('-'))
        .collect();
    let known: Vec<&str> = zen::config::instance_fields().map(|field| field.name).collect();
    for name in known.iter().filter(|name| !["command", "prompt"].contains(name)) {
        assert!(named.contains(name), "README.md does not name {name}");
    }
    for name in named {
        assert!(known.contains(&name), "README.md names {name}");
    }
}

#[test]
fn help_and_version_are_answered() {
    let zen = |argument: &str| Command::new(zen_binary()).arg(argument).output().expect("zen runs");
    let help = zen("--help");
    assert!(help.status.success() && String::from_utf8_lossy(&help.stdout).contains("--config FILE"));
    let version = zen("--version");
    assert_eq!(String::from_utf8_lossy(&version.stdout), format!("zen {}\n", env!("CARGO_PKG_VERSION")));
}

/// The example in the README is a config that zen takes.
#[test]
fn the_readme_s_config_is_a_good_one() {
    let place = crate::support::Place::new();
    let readme = read("README.md");
    let config = readme.split("```json\n").nth(1).and_then(|rest| rest.split("```").next()).expect("an example");
    let outcome = place.run(&place.config(config), &["--dry-run"]).expect_code(0);
    assert!(outcome.stdout.starts_with("3 instances configured"), "{}", outcome.everything());
}
