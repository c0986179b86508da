//! What a child can do wrong. Each fault happens beside instances that do their work: these must complete, in their own
//! time, with their own tokens; the faulty one must be told truthfully, end within its bounds, and leave nothing behind.

mod clock;
mod deadlines;
mod disks;
mod exits;
mod floods;
mod orphans;
mod other_users;
mod pipes;
mod protocol;
mod replaced_files;
mod resources;
mod sessions;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use harness::{RunOutput, Sandbox, copy_program, zen_binary};

/// The grace of these runs, unless a test says otherwise.
const GRACE: Duration = Duration::from_secs(1);

/// zen's own, from SIGTERM to SIGKILL.
const TERMINATE_TO_KILL: Duration = Duration::from_secs(2);

/// What a busy machine may add to a deadline.
const SLACK: Duration = Duration::from_secs(15);

const GOOD: &str = "[[say Begun.]] [[wait 300ms]] [[say Done.]]";
const GOOD_TOKENS: u64 = 120;
/// It needs half a second; a machine that runs three other suites has needed eight.
const GOOD_AT_MOST: Duration = Duration::from_secs(40);

/// An instance of this name with this prompt; more fields can be put into it.
fn instance(name: &str, prompt: &str) -> Value {
    json!({ "name": name, "prompt": prompt })
}

/// The faulty one, with this prompt.
fn bad(prompt: &str) -> Value {
    instance("bad", prompt)
}

/// This instance with one more field.
fn with(mut instance: Value, field: &str, value: Value) -> Value {
    instance[field] = value;
    instance
}

/// This instance, whose fake claude does this before it listens.
fn at_start(instance: Value, script: &str) -> Value {
    with(instance, "env", json!({ "FAKE_CLAUDE_AT_START": script }))
}

/// zen, run by a user who has no rights, on a copy of this claude: what `of_zen` says otherwise holds for it too.
fn as_user(sandbox: &Sandbox, user: u32, of_zen: &Command, claude: &Path) -> Command {
    for name in ["", "home", "state", "workspace"] {
        fs::set_permissions(sandbox.path(name), Permissions::from_mode(0o777)).expect("permissions");
    }
    let (zen, claude_of_user) = (sandbox.path("zen"), sandbox.path("claude"));
    copy_program(zen_binary(), &zen);
    copy_program(claude, &claude_of_user);
    let mut command = Command::new("setpriv");
    command.args([&format!("--reuid={user}"), &format!("--regid={user}"), "--clear-groups"]).arg(&zen);
    command.args(of_zen.get_args()).env_clear().current_dir(sandbox.path(""));
    command.envs(of_zen.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.env("ZEN_CLAUDE", claude_of_user);
    command
}

/// A config of these instances between two good ones.
fn beside_good_ones(instances: &[Value]) -> String {
    let mut all = vec![instance("good-before", GOOD)];
    all.extend_from_slice(instances);
    all.push(instance("good-after", GOOD));
    json!({ "instances": all }).to_string()
}

/// Runs these between two good ones, and holds the good ones to what they have to come to.
fn run(sandbox: &Sandbox, instances: &[Value], arguments: &[&str]) -> RunOutput {
    let config = sandbox.config(&beside_good_ones(instances));
    let mut all = vec!["--grace", "1"];
    all.extend(arguments);
    let outcome = sandbox.run(&config, &all);
    expect_good_ones(&outcome);
    outcome
}

/// The good ones have completed and have noticed nothing.
fn expect_good_ones(outcome: &RunOutput) {
    for name in ["good-before", "good-after"] {
        expect_completed(outcome, name);
        assert_eq!(outcome.total_tokens(name), GOOD_TOKENS, "{}", outcome.dump());
        let ran = outcome.ran(name);
        assert!(ran < GOOD_AT_MOST, "{name} was held up: {ran:?}\n{}", outcome.dump());
    }
}

fn expect_completed(outcome: &RunOutput, name: &str) {
    assert_eq!(outcome.status(name), "completed", "{name}: {}\n{}", outcome.error(name), outcome.dump());
}

fn expect_failed(outcome: &RunOutput, name: &str, reason: &str, error: &str) {
    let told = (outcome.status(name), outcome.reason(name), outcome.error(name));
    assert_eq!(told, ("failed", reason, error), "{name}\n{}", outcome.dump());
}

/// It has ended at this deadline, or so much later as a busy machine is.
fn expect_ended_at(outcome: &RunOutput, name: &str, deadline: Duration) {
    let ran = outcome.ran(name);
    assert!(ran >= deadline, "{name} ended after {ran:?}, before {deadline:?}\n{}", outcome.dump());
    assert!(ran < deadline + SLACK, "{name} ended after {ran:?}, not at {deadline:?}\n{}", outcome.dump());
}
