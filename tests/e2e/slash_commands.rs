//! Slash commands are known before the first launch: a run fails the instances that lack theirs at once, and a dry run
//! reports them as mistakes.

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use harness::{Sandbox, wait_until};

fn launched(sandbox: &Sandbox) -> Vec<String> {
    let starts = sandbox.claude_events("start");
    starts.iter().filter_map(|start| start["env"]["ZEN_INSTANCE"].as_str().map(str::to_owned)).collect()
}

fn config(sandbox: &Sandbox, instances: &Value) -> std::path::PathBuf {
    sandbox.config(&json!({ "instances": instances }).to_string())
}

#[test]
fn missing_command_fails_its_instance_and_others_run() {
    let sandbox = Sandbox::new();
    sandbox.command("analyze-code", "[[say Analyzed.]]");
    let config = config(
        &sandbox,
        &json!([
            {"name": "first", "prompt": format!("{} [[say Done.]]", sandbox.gate("open"))},
            {"name": "typo", "command": "/analyse-code src", "depends_on": ["first"]},
            {"name": "pre", "command": "/analyze-code", "pre_commands": ["/zzz-none"], "depends_on": ["typo"]},
            {"name": "dependent", "prompt": "[[say x]]", "depends_on": ["typo"]},
            {"name": "last", "command": "/analyze-code", "depends_on": ["first", {"name": "typo", "when": "done"}]},
        ]),
    );
    let run = sandbox.start(&config, &[]);
    wait_until("the failures are in the report", || {
        ["typo", "pre", "dependent"].iter().all(|name| run.has_ended(name)) && !run.has_ended("first")
    });
    sandbox.open_gate("open");
    let outcome = run.outcome().expect_code(2);
    for (name, error) in [
        ("typo", "Command not found: /analyse-code (did you mean /analyze-code?)"),
        ("pre", "Command not found: /zzz-none"),
    ] {
        assert_eq!((outcome.status(name), outcome.reason(name)), ("failed", "command not found"), "{name}");
        assert_eq!(outcome.error(name), error);
        assert!(outcome.stderr.contains(&format!("zen: {name} failed: {error}\n")), "{}", outcome.dump());
    }
    assert_eq!(outcome.status("dependent"), "skipped", "{}", outcome.dump());
    assert_eq!((outcome.status("first"), outcome.status("last")), ("completed", "completed"));
    assert_eq!(launched(&sandbox), ["first", "last"], "{}", outcome.dump());
    assert_eq!(sandbox.questions().len(), 1, "one question for one directory");
}

#[test]
fn dry_run_reports_all_missing_commands_after_the_plan() {
    let sandbox = Sandbox::new();
    sandbox.command("analyze-code", "[[say Analyzed.]]");
    let config = sandbox.config(
        "{\"instances\": [\n{\"name\": \"a\", \"command\": \"/analyse-code\",\n \"pre_commands\": [\"/clear\", \"/zzz-none\"]},\n\
         {\"name\": \"b\", \"command\": \"/analyze-code\"}, {\"name\": \"c\", \"command\": \"/help\"},\n\
         {\"name\": \"d\", \"command\": \"/tmp is full\"}]}",
    );
    let outcome = sandbox.run(&config, &["--dry-run"]).expect_code(1);
    assert!(outcome.stdout.starts_with("4 instances configured\n"), "{}", outcome.dump());
    let name = config.display();
    let expected = format!(
        "zen: {name}: 3 mistakes, nothing was launched:\n  \
         line 2, column 26: instance 'a': command: Command not found: /analyse-code (did you mean /analyze-code?)\n  \
         line 3, column 18: instance 'a': pre_commands: Command not found: /zzz-none\n  \
         line 5, column 26: instance 'd': command: Command not found: /tmp (text that begins with a path belongs in 'prompt')\n"
    );
    assert_eq!(outcome.stderr, expected);
    assert_eq!(launched(&sandbox), Vec::<String>::new());
}

/// A question costs up to a second of a run that cron has started.
#[test]
fn built_in_commands_need_no_query() {
    let sandbox = Sandbox::new();
    let config = config(
        &sandbox,
        &json!([
            {"name": "a", "command": " /help", "clear_history": true, "compact_history": true},
            {"name": "b", "prompt": "/zzz-none is text here [[say x]]"},
        ]),
    );
    sandbox.run(&config, &["--dry-run"]).expect_code(0);
    let outcome = sandbox.run(&config, &[]).expect_code(0);
    assert_eq!(sandbox.questions().len(), 0, "{}", outcome.dump());
    let why = "with blanks before it /help is still a command, which costs nothing";
    assert_eq!(outcome.total_tokens("a"), 0, "{why}\n{}", outcome.dump());
}

#[test]
fn each_directory_and_environment_is_queried_once() {
    let sandbox = Sandbox::new();
    for folder in ["workspace", "workspace/sub"] {
        let commands = sandbox.path(folder).join(".claude/commands");
        std::fs::create_dir_all(&commands).expect("a directory");
        std::fs::write(commands.join("both.md"), "[[say x]]").expect("a file");
    }
    sandbox.command("top", "[[say x]]");
    let config = config(
        &sandbox,
        &json!([
            {"name": "a", "command": "/both"}, {"name": "b", "command": "/top"},
            {"name": "c", "command": "/both", "cwd": "sub"}, {"name": "d", "command": "/top", "cwd": "sub"},
            {"name": "e", "command": "/top", "env": {"X": "1"}},
            {"name": "f", "command": "/top", "claude_args": ["--disable-slash-commands"]},
        ]),
    );
    let outcome = sandbox.run(&config, &[]).expect_code(2);
    let completed = |name: &&str| outcome.status(name) == "completed";
    assert_eq!(["a", "b", "c", "d", "e", "f"].into_iter().filter(completed).collect::<Vec<_>>(), ["a", "b", "c", "e"]);
    assert_eq!(sandbox.questions().len(), 4, "{}", outcome.dump());
}

#[test]
fn claude_without_a_command_list_does_not_block_the_run() {
    let sandbox = Sandbox::new();
    let config =
        config(&sandbox, &json!([{"name": "a", "command": "/zzz-none"}, {"name": "b", "prompt": "[[say x]]"}]));
    let mut command = sandbox.zen_on(&config, &[]);
    command.env("FAKE_CLAUDE_INITIALIZE", "error");
    let outcome = sandbox.started(&mut command).outcome().expect_code(2);
    let notice = "zen: instance 'a': slash commands not checked: claude did not list them: the fake claude refuses to \
                  initialize: they are checked when it starts\n";
    assert!(outcome.stderr.contains(notice), "{}", outcome.dump());
    assert_eq!(launched(&sandbox), ["a", "b"]);
    let outcome = sandbox.started(command.arg("--dry-run")).outcome().expect_code(1);
    assert!(outcome.stdout.contains("2 instances configured"), "{}", outcome.dump());
    assert!(outcome.stderr.contains("slash commands not checked"), "{}", outcome.dump());
}

/// claude 2.1 would take it for text, and be paid for it.
#[test]
fn path_without_a_command_is_never_sent() {
    let sandbox = Sandbox::new();
    let outcome =
        sandbox.run(&config(&sandbox, &json!([{"name": "a", "command": "/tmp is full"}])), &[]).expect_code(2);
    let error = "Command not found: /tmp (text that begins with a path belongs in 'prompt')";
    assert_eq!(outcome.error("a"), error, "{}", outcome.dump());
    let text = json!([{"name": "a", "command": "/usr/bin/env is there [[say x]]"}]);
    sandbox.run(&config(&sandbox, &text), &[]).expect_code(0);
    assert_eq!(sandbox.questions().len(), 1, "what cannot be a command is text");
}

#[test]
fn missing_command_is_reported_before_the_wait_for_a_later_start() {
    let sandbox = Sandbox::new();
    let config = config(&sandbox, &json!([{"name": "a", "command": "/zzz-none"}]));
    let run = sandbox.start(&config, &["--start-at", "2h"]);
    let warning = "zen: instance 'a': Command not found: /zzz-none: it fails at the start, unless it is added\n";
    wait_until("the wait has begun", || run.stderr().contains("zen: starts at "));
    assert!(run.stderr().contains(warning), "{}", run.stderr());
    run.signal(Signal::SIGTERM);
    run.outcome().expect_code(143);
}
