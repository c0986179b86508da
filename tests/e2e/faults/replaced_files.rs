//! What is changed under a run: the claude program, the config, the file system of the logs. What runs notices nothing, what
//! comes later is told truthfully; and two runs side by side do not disturb each other.

use std::fs;
use std::process::{Command, Stdio};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{GOOD, GOOD_TOKENS, beside_good_ones, expect_completed, expect_failed, instance, with};
use harness::{RunOutput, Running, Sandbox, copy_program, fake_claude, wait_until, write_program};

/// Three that wait for the gate, and one that comes after each, before which something is changed.
fn waiting_and_later(sandbox: &Sandbox) -> Value {
    let waits = format!("{} [[say Done.]]", sandbox.gate("gate"));
    let after = |name: &str| with(instance(name, GOOD), "depends_on", json!(["runs"]));
    json!({ "instances": [instance("runs", &waits), instance("runs-too", &waits), after("later"), after("later-too")] })
}

fn expect_undisturbed(outcome: &RunOutput) {
    for name in ["runs", "runs-too"] {
        expect_completed(outcome, name);
        assert_eq!(outcome.total_tokens(name), GOOD_TOKENS * 2, "{}", outcome.dump());
    }
}

/// Starts such a run on a claude of its own, and waits until those that can run do.
fn start_on_own_claude(sandbox: &Sandbox) -> Running {
    let claude = sandbox.path("claude");
    copy_program(fake_claude(), &claude);
    let config = sandbox.config(&waiting_and_later(sandbox).to_string());
    let zen = sandbox.started(sandbox.zen_on(&config, &["--max-parallel", "3"]).env("ZEN_CLAUDE", &claude));
    wait_until("both to run", || sandbox.claude_events("tool").len() == 2);
    zen
}

/// As an update does it that goes wrong: the new file is put in the old one's place.
fn replace_claude(sandbox: &Sandbox, body: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let new = sandbox.path("claude.new");
    write_program(&new, body);
    fs::set_permissions(&new, fs::Permissions::from_mode(mode)).expect("permissions");
    fs::rename(&new, sandbox.path("claude")).expect("it is put in place");
}

#[test]
fn claude_is_replaced_by_a_failing_program() {
    let sandbox = Sandbox::new();
    let zen = start_on_own_claude(&sandbox);
    replace_claude(&sandbox, "#!/bin/sh\necho 'update under way' >&2\nexit 9\n", 0o755);
    sandbox.open_gate("gate");
    let outcome = zen.outcome().expect_code(2);
    expect_undisturbed(&outcome);
    let error = "claude ended with exit status 9 before it answered initialize: update under way";
    expect_failed(&outcome, "later", "error", error);
    expect_failed(&outcome, "later-too", "error", error);
}

#[test]
fn claude_is_replaced_by_an_invalid_program() {
    const NO_INTERPRETER: &str = "#!/no/such/interpreter\n";
    for (body, mode, why) in [("nothing", 0o644, "Permission denied"), (NO_INTERPRETER, 0o755, "its interpreter")] {
        let sandbox = Sandbox::new();
        let zen = start_on_own_claude(&sandbox);
        replace_claude(&sandbox, body, mode);
        sandbox.open_gate("gate");
        let outcome = zen.outcome().expect_code(2);
        expect_undisturbed(&outcome);
        for name in ["later", "later-too"] {
            assert_eq!((outcome.status(name), outcome.reason(name)), ("failed", "spawn"), "{}", outcome.dump());
            assert!(outcome.error(name).contains(why), "{}", outcome.error(name));
        }
    }
}

/// The plan was made before the first launch.
#[test]
fn the_config_is_changed_and_then_deleted() {
    let sandbox = Sandbox::new();
    let text = waiting_and_later(&sandbox).to_string();
    let config = sandbox.config(&text);
    let zen = sandbox.start(&config, &["--status-report-interval", "0.2"]);
    wait_until("both to run", || sandbox.claude_events("tool").len() == 2);
    let hash = zen.report()["config_sha256"].clone();
    fs::write(&config, r#"{"instances": [{"name": "other", "prompt": "[[error wrong]]"}]}"#).expect("a file");
    let reports = zen.stdout().matches("Instance Status").count();
    wait_until("another report", || zen.stdout().matches("Instance Status").count() > reports);
    fs::remove_file(&config).expect("it was there");
    sandbox.open_gate("gate");
    let outcome = zen.outcome().expect_code(0);
    expect_undisturbed(&outcome);
    for name in ["later", "later-too"] {
        expect_completed(&outcome, name);
    }
    assert_eq!(outcome.report["config_sha256"], hash);
    assert_eq!(outcome.report["instances"].as_array().map(Vec::len), Some(4));
}

/// One workspace, one home, one state directory. One is stopped in the middle; the other never learns of it.
#[test]
fn two_runs_at_once_of_which_one_is_stopped() {
    let sandbox = Sandbox::new();
    let waits = format!("{} [[say Done.]]", sandbox.gate("gate"));
    let config = sandbox.config(&beside_good_ones(&[instance("bad", &waits)]));
    let log_dirs = ["one", "two"].map(|name| sandbox.path(name));
    let [one, two] = log_dirs.each_ref().map(|logs| {
        let mut command = sandbox.zen_on(&config, &["--no-lock", "--log-dir", logs.to_str().expect("UTF-8")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("zen starts")
    });
    wait_until("both to run", || {
        let is_gate = |e: &Value| e["command"].as_str().is_some_and(|command| command.starts_with("while"));
        sandbox.claude_events("tool").into_iter().filter(is_gate).count() == 2
    });
    let mut runs = [one, two];
    let pid = nix::unistd::Pid::from_raw(runs[0].id().cast_signed());
    nix::sys::signal::kill(pid, Signal::SIGTERM).expect("it lives");
    assert_eq!(runs[0].wait().expect("an end").code(), Some(143));
    assert!(runs[1].try_wait().expect("it can be asked").is_none(), "the other one goes on");
    sandbox.open_gate("gate");
    assert_eq!(runs[1].wait().expect("an end").code(), Some(0));
    wait_until("the last reaper to end", || sandbox.survivors().is_empty());
    let report = |logs: &std::path::Path| -> Value {
        let text = fs::read_to_string(logs.join("latest/report.json")).expect("a report");
        serde_json::from_str(&text).expect("JSON")
    };
    let (stopped, whole) = (report(&log_dirs[0]), report(&log_dirs[1]));
    assert_eq!((&stopped["exit_code"], &stopped["stopped_by"]), (&json!(143), &json!("SIGTERM")));
    assert_eq!(whole["exit_code"], 0);
    assert_eq!(whole["totals"]["tokens"]["total"], 4 * GOOD_TOKENS, "its own, and nobody else's");
}

/// In a mount namespace of its own, where there is one to be had.
fn in_own_mounts(zen: &Command, sandbox: &Sandbox, before: &str) -> Option<Command> {
    let can = Command::new("unshare").args(["--mount", "true"]).stderr(Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        return None; // not root, or in a container that forbids it
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &format!("{before} && exec \"$@\""), "sh"]);
    command.arg(zen.get_program()).args(zen.get_args()).current_dir(sandbox.path("")).env_clear();
    command.envs(zen.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(command)
}

#[test]
fn the_logs_are_on_a_disk_that_is_read_only() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(&beside_good_ones(&[]));
    let read_only = "mount -t tmpfs -o ro tmpfs state";
    let Some(mut command) = in_own_mounts(&sandbox.zen_on(&config, &[]), &sandbox, read_only) else { return };
    let outcome = sandbox.started(&mut command).outcome().expect_code(0);
    assert!(outcome.stdout.contains("Successful: 2/2"), "{}", outcome.dump());
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.dump());
    assert!(outcome.stderr.contains("Read-only file system: this run writes no files"), "{}", outcome.stderr);
}

#[test]
fn run_directory_stays_writable_under_a_read_only_mount() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(&waiting_and_later(&sandbox).to_string());
    let on_a_disk = "mount -t tmpfs tmpfs state";
    let Some(mut command) = in_own_mounts(&sandbox.zen_on(&config, &[]), &sandbox, on_a_disk) else { return };
    let zen = sandbox.started(&mut command);
    wait_until("both to run", || sandbox.claude_events("tool").len() == 2);
    // A second mount over the first: paths are read-only, what is open, the run directory included, is not.
    let status = Command::new("nsenter")
        .args([
            "--mount",
            "--target",
            &zen.pid().to_string(),
            "sh",
            "-c",
            "mount --bind \"$1\" \"$1\" && mount -o remount,ro,bind \"$1\"",
            "sh",
        ])
        .arg(sandbox.path("state"))
        .status();
    assert!(status.is_ok_and(|status| status.success()), "it can be made read-only");
    sandbox.open_gate("gate");
    let outcome = zen.outcome().expect_code(0);
    assert!(outcome.stdout.contains("Successful: 4/4"), "{}", outcome.dump());
    assert!(!outcome.stderr.contains("incomplete"), "{}", outcome.dump());
}
