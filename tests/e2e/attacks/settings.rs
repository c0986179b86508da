//! Settings of claude that are endless, or that zen does not understand; and patterns that allow more than they seem to.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use harness::{Sandbox, copy_program, wait_until, write_program, zen_binary};

const RESTRICTED: &str =
    r#"{"instances": [{"name": "a", "prompt": "[[say Done.]]", "allowed_tools": ["Read", "Bash(git log *)"]}]}"#;

#[test]
fn unreadable_settings_are_an_error_before_the_start() {
    type Make = fn(&std::path::Path);
    let cases: [(Make, &str); 5] = [
        (|file| symlink("/dev/zero", file).expect("a link"), "is not a regular file"),
        (|file| nix::unistd::mkfifo(file, nix::sys::stat::Mode::S_IRWXU).expect("a pipe"), "is not a regular file"),
        (|file| fs::write(file, vec![b' '; 2 * 1024 * 1024]).expect("a file"), "is larger than 1 MiB"),
        (|file| fs::write(file, "[".repeat(200) + &"]".repeat(200)).expect("a file"), "cannot be parsed"),
        (|file| fs::write(file, "{\"a\": 1e999}").expect("a file"), "cannot be parsed"),
    ];
    for (make, why) in cases {
        let sandbox = Sandbox::new();
        make(&sandbox.workspace().join(".claude/settings.local.json"));
        let zen = sandbox.start(&sandbox.config(RESTRICTED), &["--dry-run"]);
        let outcome = zen.outcome_within(Duration::from_secs(60)).expect_code(1);
        let dump = outcome.dump();
        assert!(outcome.stderr.contains("settings.local.json") && outcome.stderr.contains(why), "{dump}");
        let free = r#"{"instances": [{"name": "a", "prompt": "[[say Done.]]"}]}"#;
        sandbox.run(&sandbox.config(free), &["--dry-run"]).expect_code(0);
    }
}

#[test]
fn rule_behind_a_byte_order_mark_is_seen() {
    let sandbox = Sandbox::new();
    let settings = "\u{feff}{\"permissions\": {\"allow\": [\"Bash\"]}}";
    fs::write(sandbox.workspace().join(".claude/settings.json"), settings).expect("settings");
    let outcome = sandbox.run(&sandbox.config(RESTRICTED), &["--dry-run"]).expect_code(1);
    assert!(outcome.stderr.contains("settings.json allows 'Bash', which is more"), "{}", outcome.dump());
}

#[test]
fn pattern_over_a_program_that_runs_others_is_a_warning() {
    let sandbox = Sandbox::new();
    let config = RESTRICTED.replace("git log *", "git *");
    let outcome = sandbox.run(&sandbox.config(&config), &["--quiet"]).expect_code(0);
    let warning = "'Bash(git *)' allows any program, because git runs others";
    assert!(outcome.stderr.contains(warning), "{}", outcome.dump());
    let outcome = sandbox.run(&sandbox.config(RESTRICTED), &[]).expect_code(0);
    assert!(!outcome.stderr.contains("allows any program"), "{}", outcome.dump());
}

/// Runs the hook that the fake claude was given, as claude would, and returns its decision.
fn decision(sandbox: &Sandbox, command: &str) -> Option<Value> {
    let log = sandbox.claude_events("start");
    let argv: Vec<&str> = log[0]["argv"].as_array().expect("a list").iter().filter_map(Value::as_str).collect();
    let at = argv.iter().position(|word| *word == "--settings").expect("settings are given");
    let settings: Value = serde_json::from_str(argv[at + 1]).expect("JSON");
    let line = settings["hooks"]["PreToolUse"][0]["hooks"][0]["command"].as_str().expect("a command");
    let mut shell = Command::new("sh");
    shell.args(["-c", line]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut hook = shell.spawn().expect("there is a sh");
    let call = json!({"tool_name": "Bash", "tool_input": {"command": command}, "cwd": sandbox.workspace()});
    // The hook may have ended already: it need not read.
    let _ = hook.stdin.take().expect("a pipe").write_all(call.to_string().as_bytes());
    let output = hook.wait_with_output().expect("it ends");
    assert!(output.status.success(), "another exit status would let claude go on");
    (!output.stdout.is_empty()).then(|| serde_json::from_slice(&output.stdout).expect("JSON"))
}

#[test]
fn hook_survives_an_upgrade_of_zen_and_denies_without_it() {
    let sandbox = Sandbox::new();
    let program = sandbox.path("zen");
    copy_program(zen_binary(), &program);
    let prompt = format!("{} [[say Done.]]", sandbox.gate("gate"));
    let instance = json!({"name": "a", "prompt": prompt, "allowed_tools": ["Bash"]});
    let restricted = json!({"name": "b", "prompt": "[[say Done.]]", "allowed_tools": ["Bash(git log *)"]});
    let config = sandbox.config(&json!({ "instances": [restricted, instance] }).to_string());
    let of_zen = sandbox.zen_on(&config, &["--max-parallel", "1"]);
    let mut command = Command::new(&program);
    command.args(of_zen.get_args()).current_dir(sandbox.path("")).env_clear();
    command.envs(of_zen.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let zen = sandbox.started(&mut command);
    wait_until("the second instance to start", || sandbox.claude_events("start").len() == 2);
    fs::remove_file(&program).expect("it is there");
    write_program(&program, "#!/bin/sh\nexit 0\n");
    assert_eq!(decision(&sandbox, "git log -1"), None);
    let is_denied = |decision: Option<Value>| {
        decision.is_some_and(|decision| decision["hookSpecificOutput"]["permissionDecision"] == "deny")
    };
    assert!(is_denied(decision(&sandbox, "./mk.sh")));
    sandbox.open_gate("gate");
    zen.outcome().expect_code(0);
    assert!(is_denied(decision(&sandbox, "git log -1")), "without zen nothing is allowed");
}
