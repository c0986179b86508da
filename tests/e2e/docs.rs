//! README, man page, `--help` and the tables in the code say the same; the demo runs.

use std::path::Path;
use std::process::Command;

use harness::zen_binary;

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("it is there")
}

#[test]
fn readme_lists_all_exit_codes() {
    let rows: Vec<String> =
        zen::engine::exit_code::TABLE.iter().map(|(code, what)| format!("| {code} | {what} |")).collect();
    assert!(read("README.md").contains(&rows.join("\n")), "{}", rows.join("\n"));
}

#[test]
fn options_in_the_readme_exist() {
    let readme = read("README.md");
    let known: Vec<&str> = zen::cli::flags::FLAGS.iter().map(|flag| flag.long).collect();
    for word in readme.split(|c: char| !(c.is_ascii_alphanumeric() || c == '-')).filter(|w| w.starts_with("--")) {
        let name = &word[2..];
        assert!(name.is_empty() || name.starts_with('-') || known.contains(&name), "README.md names {word}");
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

#[test]
fn configs_of_the_readme_are_valid() {
    let sandbox = harness::Sandbox::new();
    let readme = read("README.md");
    let configs: Vec<&str> = readme.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert_eq!(configs.len(), 3);
    for config in configs {
        sandbox.run(&sandbox.config(config), &["--dry-run"]).expect_code(0);
    }
}

/// The lines of a mail that cron sends, without the numbers and names of one run.
fn shape(text: &str) -> Vec<String> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let lines = lines.map(|line| match line.split_once(": /") {
        Some((label, _)) => label.to_owned(),
        None => line.replace("31m20s", "#s"),
    });
    let without_numbers = |line: String| {
        let mut kept = String::new();
        for c in line.chars().filter(|c| !".,".contains(*c)) {
            match c.is_ascii_digit() && !line.starts_with(['+', 'x', 'E']) {
                true if kept.ends_with('#') => {}
                true => kept.push('#'),
                false => kept.push(c),
            }
        }
        kept
    };
    lines.map(without_numbers).collect()
}

#[test]
fn mail_in_the_readme_is_what_a_run_prints() {
    let readme = read("README.md");
    let mail = readme.split("plain ASCII; elsewhere").nth(1).and_then(|rest| rest.split("With `--quiet --on").next());
    let (_, mail) = mail.and_then(|mail| mail.split_once('\n')).expect("a mail");
    let sandbox = harness::Sandbox::new();
    let audit = "[[say Reading the lock file.]] [[tool Bash {\"command\": \"npm audit\"}]] [[wait 600s]]";
    let instance = |name: &str, prompt: &str| serde_json::json!({"name": name, "prompt": prompt});
    let mut instances = vec![instance("audit", audit)];
    instances[0]["timeout"] = 10.into();
    instances.extend(["b", "c", "d"].map(|name| instance(name, "[[say done]]")));
    let config = serde_json::json!({"budget": {"overall_cost_budget": 5.0}, "instances": instances});
    let mut zen = sandbox.zen_on(&sandbox.config(&config.to_string()), &["--quiet"]);
    let outcome = sandbox.started(zen.env("LC_ALL", "C")).outcome().expect_code(4);
    assert_eq!(shape(&(outcome.stderr.clone() + &outcome.stdout)), shape(mail), "{}", outcome.dump());
}
