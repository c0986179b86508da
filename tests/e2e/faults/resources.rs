//! What happens around the instances: the program or the workspace goes away, descriptors or processes run out.

use std::os::unix::process::CommandExt;
use std::time::Duration;

use nix::sys::resource::{Resource, setrlimit};
use serde_json::{Value, json};

use super::{GOOD, GOOD_TOKENS, as_user, expect_completed, instance, with};
use harness::{RunOutput, Sandbox, copy_program, fake_claude, is_alive, wait_until};

/// The instances of a run, each with its status and reason.
fn verdicts(outcome: &RunOutput) -> Vec<(&str, &str)> {
    let instances = outcome.report["instances"].as_array().expect("instances");
    instances.iter().map(|i| (i["status"].as_str().unwrap_or(""), i["reason"].as_str().unwrap_or(""))).collect()
}

#[test]
fn claude_is_deleted_while_it_runs() {
    let sandbox = Sandbox::new();
    let claude = sandbox.path("claude");
    copy_program(fake_claude(), &claude);
    let waits = format!("{} [[say Done.]]", sandbox.gate("gate"));
    let instances = [
        instance("runs", &waits),
        instance("runs-too", &waits),
        with(instance("comes-later", GOOD), "depends_on", json!(["runs"])),
    ];
    let config = sandbox.config(&json!({ "instances": instances }).to_string());
    let zen = sandbox.started(sandbox.zen_on(&config, &[]).env("ZEN_CLAUDE", &claude));
    wait_until("both to run", || sandbox.claude_events("tool").len() == 2);
    std::fs::remove_file(&claude).expect("it was there");
    sandbox.open_gate("gate");
    let outcome = zen.outcome().expect_code(2);
    expect_completed(&outcome, "runs");
    expect_completed(&outcome, "runs-too");
    assert_eq!((outcome.status("comes-later"), outcome.reason("comes-later")), ("failed", "spawn"));
    let error = outcome.error("comes-later");
    assert!(error.contains(claude.to_str().expect("UTF-8")) && error.contains("No such file"), "{error}");
}

#[test]
fn the_workspace_is_deleted_while_it_runs() {
    let sandbox = Sandbox::new();
    let home = json!(sandbox.path("home"));
    let waits = format!("{} [[say Done.]]", sandbox.gate("gate"));
    let instances = [
        with(instance("elsewhere", &waits), "cwd", home.clone()),
        instance("runs-there", &waits),
        with(instance("comes-later", GOOD), "depends_on", json!(["elsewhere"])),
        with(with(instance("elsewhere-later", GOOD), "depends_on", json!(["elsewhere"])), "cwd", home),
    ];
    let config = sandbox.config(&json!({ "instances": instances }).to_string());
    let zen = sandbox.start(&config, &[]);
    wait_until("both to run", || sandbox.claude_events("tool").len() == 2);
    std::fs::remove_dir_all(sandbox.workspace()).expect("it was there");
    sandbox.open_gate("gate");
    let outcome = zen.outcome().expect_code(2);
    for name in ["elsewhere", "runs-there", "elsewhere-later"] {
        expect_completed(&outcome, name);
    }
    assert_eq!((outcome.status("comes-later"), outcome.reason("comes-later")), ("failed", "spawn"));
    let (error, workspace) = (outcome.error("comes-later"), sandbox.workspace());
    assert!(error.contains(workspace.to_str().expect("UTF-8")), "it says what is missing: {error}");
}

/// Those that cannot start fail, with the reason; those that run are not disturbed.
#[test]
fn descriptors_run_out() {
    let sandbox = Sandbox::new();
    let waits = format!("[[escape 300]] {} [[say Done.]]", sandbox.gate("gate"));
    let crashes = format!("[[escape 300 deaf keep-pipes]] {} [[die KILL]]", sandbox.gate("first"));
    let mut instances = vec![instance("crashes", &crashes)];
    instances.extend((1..500).map(|i| instance(&format!("i{i}"), &waits)));
    let config = sandbox.config(&json!({ "instances": instances }).to_string());
    let mut command = sandbox.zen_on(&config, &[]);
    // SAFETY: one system call, before exec.
    unsafe { command.pre_exec(|| Ok(setrlimit(Resource::RLIMIT_NOFILE, 64, 64)?)) };
    let zen = sandbox.started(&mut command);
    wait_until("all that cannot start to have failed", || zen.stderr().contains("i499 failed: "));
    wait_until("all others to be at work", || {
        let log = sandbox.claude_log();
        let count = |kind: &str| log.iter().filter(|e| e["event"] == kind).count();
        count("start") == count("tool")
    });
    sandbox.open_gate("first");
    wait_until("the end of one", || zen.has_ended("crashes"));
    let log = sandbox.claude_events("escape");
    let escaped = log.iter().find(|e| e["words"][1] == "deaf").and_then(|e| e["child_pid"].as_i64()).expect("a pid");
    assert!(!is_alive(i32::try_from(escaped).expect("a pid")), "what it left is found all the same");
    sandbox.open_gate("gate");
    let outcome = zen.outcome().expect_code(2);
    let verdicts = verdicts(&outcome);
    let completed = verdicts.iter().filter(|v| **v == ("completed", "")).count();
    let not_started = verdicts.iter().filter(|v| **v == ("failed", "spawn")).count();
    assert_eq!(completed + not_started, 499, "{}", outcome.dump());
    assert_eq!(outcome.error("crashes"), "claude ended with signal 9 without a result");
    assert!(completed >= 6, "64 descriptors are enough for six: {completed}");
    // The words for it are the C library's.
    let words = outcome.error("i499");
    assert!(["Too many open files", "No file descriptors available"].iter().any(|why| words.contains(why)), "{words}");
    assert_eq!(outcome.total_tokens("i1"), 2 * GOOD_TOKENS);
    assert!(!outcome.stderr.contains("incomplete"), "the files of those that run are whole\n{}", outcome.stderr);
    assert_eq!(outcome.report["exit_code"], 2, "the report is whole");
}

/// The same for processes. root has no such limit, so it is another user who runs this.
#[test]
fn processes_run_out() {
    // Its processes are counted wherever they run: another suite has another user.
    let user = 50_000 + std::process::id() % 10_000;
    if !nix::unistd::geteuid().is_root() {
        return; // a limit for the user who runs the tests would be one for the other tests
    }
    let sandbox = Sandbox::new();
    let instances: Vec<Value> = (0..30).map(|i| instance(&format!("i{i}"), "[[wait 2s]]")).collect();
    let config = sandbox.config(&json!({ "instances": instances }).to_string());
    let mut command = as_user(&sandbox, user, &sandbox.zen_on(&config, &["--timeout", "60"]), fake_claude());
    // SAFETY: one system call, before exec.
    unsafe { command.pre_exec(|| Ok(setrlimit(Resource::RLIMIT_NPROC, 24, 24)?)) };
    let outcome = sandbox.started(&mut command).outcome().expect_code(2);
    assert!(outcome.took < Duration::from_secs(60), "{:?}", outcome.took);
    let verdicts = verdicts(&outcome);
    // One that starts may find that it cannot have a thread, and then it says so itself.
    let known = [("completed", ""), ("failed", "spawn"), ("failed", "error")];
    assert!(verdicts.iter().all(|verdict| known.contains(verdict)), "{}", outcome.dump());
    assert!(verdicts.contains(&("completed", "")), "{}", outcome.dump());
    assert!(verdicts.contains(&("failed", "spawn")), "{}", outcome.dump());
}
