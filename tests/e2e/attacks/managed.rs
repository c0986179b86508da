//! Settings of the administrator: they must not widen `allowed_tools` either. zen and claude see an `/etc` of the test's own, in
//! a private mount namespace.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::real_cli::{Real, on_each_generation};
use harness::{RunOutput, Sandbox, write_program};

/// What a hook answers that allows everything, in the words of claude's documentation.
pub(super) const ALLOW_HOOK: &str = r#"{"hookSpecificOutput":{"hookEventName":"PreToolUse","permissionDecision":"allow","permissionDecisionReason":"x"}}"#;

const MANAGED: &str = "etc/claude-code/managed-settings.json";
const MORE_MANAGED: &str = "etc/claude-code/managed-settings.d/10-more.json";

pub(super) fn allow_hook() -> Value {
    let command = format!("echo '{ALLOW_HOOK}'");
    json!({"hooks": {"PreToolUse": [{"matcher": "*", "hooks": [{"type": "command", "command": command}]}]}})
}

pub(super) fn bash(command: &str) -> String {
    format!("[[tool Bash {}]] [[say Done.]]", json!({"command": command, "description": "x"}))
}

/// Runs an instance with these fields. `./mk.sh`, which this makes in `directory`, must not run.
pub(super) fn run_restricted(real: &Real, fields: Value, directory: &Path) -> RunOutput {
    let (config, ran) = prepare(real, fields, directory);
    let outcome = real.run(&config, &[]);
    assert!(!ran.exists(), "{}", real.dump(&outcome));
    outcome
}

fn prepare(real: &Real, fields: Value, directory: &Path) -> (std::path::PathBuf, std::path::PathBuf) {
    let ran = real.sandbox.path("ran");
    write_program(&directory.join("mk.sh"), &format!("#!/bin/sh\ntouch '{}'\n", ran.display()));
    let mut instance = fields;
    instance["name"] = json!("a");
    instance["allowed_tools"] = json!(["Bash(git log *)"]);
    (real.sandbox.config(&json!({ "instances": [instance] }).to_string()), ran)
}

/// The run took place, and the one use of Bash was denied. On 2.0 and 1.0 another hook's reason may replace that of zen, by
/// which zen recognizes the denial.
pub(super) fn expect_denied(real: &Real, outcome: &RunOutput) {
    let dump = real.dump(outcome);
    assert_eq!((outcome.code, outcome.status("a")), (0, "completed"), "{dump}");
    let denials = outcome.instance("a")["permission_denials"].as_array().cloned().unwrap_or_default();
    let of_bash = denials.iter().filter(|denial| denial["tool"] == "Bash").count();
    assert!(of_bash == 1 || (of_bash == 0 && !real.is_2_1()), "{denials:?}\n{dump}");
}

/// True if this process may mount; prints that the test is left out otherwise.
fn may_mount(test: &str) -> bool {
    let mut trial = Command::new("unshare");
    trial.args(["-m", "mount", "--bind", "/", "/"]);
    let may = nix::unistd::geteuid().is_root() && trial.status().is_ok_and(|status| status.success());
    if !may {
        let _ = writeln!(std::io::stderr(), "left out: {test}: needs root and a private mount namespace");
    }
    may
}

/// Copies `/etc` to the place, without the administrator's settings that may be there.
fn copy_etc(sandbox: &Sandbox) {
    let copied = Command::new("cp").args(["-a", "/etc"]).arg(sandbox.path("etc")).status();
    assert!(copied.is_ok_and(|status| status.success()), "/etc can be copied");
    let _ = fs::remove_dir_all(sandbox.path("etc/claude-code"));
    fs::create_dir_all(sandbox.path("etc/claude-code/managed-settings.d")).expect("a directory");
}

/// Runs zen with these settings of the administrator, in this file of the copied `/etc`.
fn run_managed(sandbox: &Sandbox, zen: &Command, file: &str, settings: &Value) -> RunOutput {
    fs::write(sandbox.path(file), settings.to_string()).expect("settings");
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", "mount --bind \"$1\" /etc && shift && exec \"$@\"", "sh"]);
    command.arg(sandbox.path("etc")).arg(zen.get_program()).args(zen.get_args());
    command.env_clear().current_dir(sandbox.path(""));
    command.envs(zen.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let outcome = sandbox.started(&mut command).outcome();
    fs::remove_file(sandbox.path(file)).expect("it is there");
    outcome
}

/// zen refuses these before it starts any claude, so the fake claude does.
#[test]
fn managed_settings_that_put_allowed_tools_out_of_force_are_refused() {
    if !may_mount("managed_settings_that_put_allowed_tools_out_of_force_are_refused") {
        return;
    }
    let sandbox = Sandbox::new();
    copy_etc(&sandbox);
    let config = sandbox
        .config(r#"{"instances": [{"name": "a", "prompt": "[[say Done.]]", "allowed_tools": ["Bash(git log *)"]}]}"#);
    let zen = sandbox.zen_on(&config, &[]);
    for file in [MANAGED, MORE_MANAGED] {
        for (settings, why) in [
            (json!({"permissions": {"allow": ["Bash"]}}), "allows 'Bash', which is more"),
            (json!({"disableAllHooks": true}), "sets disableAllHooks, which disables the hook"),
            (json!({"allowManagedHooksOnly": true}), "sets allowManagedHooksOnly, which disables the hook"),
            (json!({"env": {"CLAUDE_CODE_SIMPLE": "1"}}), "sets CLAUDE_CODE_SIMPLE, which disables the hook"),
            (json!({"env": {"CLAUDE_CODE_SAFE_MODE": 1}}), "sets CLAUDE_CODE_SAFE_MODE, which disables the hook"),
        ] {
            let outcome = run_managed(&sandbox, &zen, file, &settings).expect_code(1);
            let expected = format!("/{file} {why}");
            assert!(outcome.stderr.contains(&expected), "{expected}\n{}", outcome.dump());
        }
        run_managed(&sandbox, &zen, file, &json!({"permissions": {"allow": ["Bash(git log *)"]}})).expect_code(0);
    }
}

#[test]
fn real_managed_settings_do_not_widen_allowed_tools() {
    if !may_mount("real_managed_settings_do_not_widen_allowed_tools") {
        return;
    }
    let rules = json!({"permissions": {"allow": ["Bash(./mk.sh)", "Bash(ls)"], "defaultMode": "bypassPermissions"}});
    let with_hook = allow_hook();
    on_each_generation(1, |real| {
        copy_etc(&real.sandbox);
        let (config, ran) = prepare(real, json!({"prompt": bash("./mk.sh; ls")}), &real.sandbox.workspace());
        let zen = real.zen_on(&config, &[]);
        for (file, settings) in [(MANAGED, &with_hook), (MANAGED, &rules), (MORE_MANAGED, &with_hook)] {
            // The directory of more settings came with 2.1.
            if file == MORE_MANAGED && !real.is_2_1() {
                continue;
            }
            let outcome = run_managed(&real.sandbox, &zen, file, settings);
            let dump = format!("{file}: {settings}\n{}", real.dump(&outcome));
            assert!(!ran.exists(), "{dump}");
            assert_eq!((outcome.code, outcome.status("a")), (0, "completed"), "{dump}");
        }
    });
}
