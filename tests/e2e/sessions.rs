//! Runs of different configs that want one session: they are in it one after the other, whatever becomes of the first, and no
//! turn is lost.

use std::fs;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use harness::{Running, Sandbox, is_alive, processes_with, wait_until};

/// Two places of one user, with one workspace. Each has a config, files and a log of its own.
struct Two {
    first: Sandbox,
    second: Sandbox,
}

impl Two {
    fn new() -> Self {
        Two { first: Sandbox::new(), second: Sandbox::new() }
    }

    fn start_first(&self, instances: &Value, arguments: &[&str]) -> Running {
        let config = self.first.config(&json!({ "instances": instances }).to_string());
        self.first.start(&config, arguments)
    }

    /// The first one's only instance, which is in the session until the gate is opened.
    fn start_first_in_session(&self) -> Running {
        let prompt = format!("remember the lighthouse {} [[say Noted.]]", self.first.gate("gate"));
        let run = self.start_first(&json!([in_session("a", &prompt)]), &[]);
        wait_until("the first one to be in the session", || !self.first.claude_events("tool").is_empty());
        run
    }

    fn start_second(&self, instances: &Value, arguments: &[&str]) -> Running {
        let config = self.second.config(&json!({ "instances": instances }).to_string());
        let arguments = [&["--status-report-interval", "0.2"], arguments].concat();
        self.second.started(self.as_the_first(&mut self.second.zen_on(&config, &arguments)))
    }

    fn as_the_first<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        command
            .arg("--workspace")
            .arg(self.first.workspace())
            .arg("--log-dir")
            .arg(self.second.path("state/zen"))
            .env("HOME", self.first.path("home"))
            .env("XDG_STATE_HOME", self.first.path("state"))
    }
}

fn in_session(name: &str, prompt: &str) -> Value {
    json!({"name": name, "prompt": prompt, "session_id": "diary"})
}

fn expect_waiting(run: &Running) {
    wait_until("it to say what it waits for", || {
        run.stdout().contains("\n  b: session diary is in use by another run\n")
    });
    assert_eq!(run.stderr(), "zen: b waits: session diary is in use by another run\n", "said once");
    let expected = json!(["pending", "session diary is in use by another run", null, 0]);
    wait_until("its files to say so", || {
        let report = run.report();
        let b = report["instances"].as_array().and_then(|all| all.iter().find(|i| i["name"] == "b"));
        b.is_some_and(|b| json!([b["status"], b["blocked_on"], b["started_at"], b["attempts"]]) == expected)
    });
}

#[test]
fn second_run_waits_for_the_session_and_loses_no_turn() {
    let two = Two::new();
    let first = two.start_first_in_session();
    let instances =
        json!([in_session("b", "remember the harbour [[recall]]"), {"name": "c", "prompt": "[[say Done.]]"}]);
    let second = two.start_second(&instances, &["--max-parallel", "1"]);
    expect_waiting(&second);
    wait_until("whoever needs no session", || second.has_ended("c"));
    assert!(two.second.claude_events("start").iter().all(|event| event["env"]["ZEN_INSTANCE"] != "b"));
    two.first.open_gate("gate");
    first.outcome().expect_code(0);
    let outcome = second.outcome().expect_code(0);
    let (b, dump) = (outcome.instance("b"), outcome.dump());
    let recalled = b["result"].as_str().unwrap_or("");
    assert!(recalled.contains("lighthouse") && recalled.contains("harbour"), "{recalled}\n{dump}");
    assert_eq!(b["blocked_on"], json!(null), "{dump}");
    assert!(outcome.ran("b") < outcome.took, "its time begins with its start\n{dump}");
}

/// The session's lock, and not the conversation's, of which it has several.
#[test]
fn cleared_session_is_locked_as_a_whole() {
    let two = Two::new();
    let mut a = in_session("a", &format!("remember the bridge {} [[say Noted.]]", two.first.gate("gate")));
    a["pre_commands"] = json!(["remember the ferry", "/clear"]);
    let first = two.start_first(&json!([a, in_session("later", "[[recall]]")]), &[]);
    wait_until("the second conversation", || !two.first.claude_events("tool").is_empty());
    let second = two.start_second(&json!([in_session("b", "[[recall]]")]), &[]);
    expect_waiting(&second);
    two.first.open_gate("gate");
    for (run, name) in [(first, "later"), (second, "b")] {
        let outcome = run.outcome().expect_code(0);
        let recalled = outcome.instance(name)["result"].as_str().unwrap_or("").to_owned();
        assert!(recalled.contains("bridge") && !recalled.contains("ferry"), "{name}: {recalled}");
    }
}

/// The middle one is skipped while the first one runs; the last one must still wait for the first.
#[test]
fn session_stays_exclusive_when_an_instance_between_two_others_never_starts() {
    let sandbox = Sandbox::new();
    let gate = format!("{} [[say One.]]", sandbox.gate("gate"));
    let skipped = json!({"name": "b", "prompt": "x", "session_id": "diary", "depends_on": ["bad"]});
    let instances = json!([
        in_session("a", &gate),
        skipped,
        in_session("c", "[[say Two.]]"),
        {"name": "bad", "prompt": "[[error it broke]]"},
        {"name": "d", "prompt": "x", "depends_on": [{"name": "bad", "when": "done"}]},
    ]);
    let run = sandbox.start(&sandbox.config(&json!({ "instances": instances }).to_string()), &[]);
    // If c did not wait, it would start before d.
    wait_until("d to complete", || run.report()["instances"][4]["status"] == "completed");
    assert_eq!(run.report()["instances"][2]["status"], "pending", "{}", run.report());
    sandbox.open_gate("gate");
    let outcome = run.outcome().expect_code(2);
    assert_eq!(outcome.status("b"), "skipped");
    assert_eq!((outcome.status("a"), outcome.status("c")), ("completed", "completed"), "{}", outcome.dump());
}

#[test]
fn a_signal_ends_the_wait() {
    let two = Two::new();
    let first = two.start_first_in_session();
    let second = two.start_second(&json!([in_session("b", "x")]), &[]);
    expect_waiting(&second);
    second.signal(Signal::SIGINT);
    let outcome = second.outcome().expect_code(130);
    assert_eq!((outcome.reason("b"), outcome.error("b")), ("interrupted", "Stopped by SIGINT before the start"));
    assert_eq!(outcome.instance("b")["blocked_on"], json!(null));
    assert_eq!(two.second.claude_log(), Vec::<Value>::new());
    two.first.open_gate("gate");
    first.outcome().expect_code(0);
}

/// When zen is killed, its reapers have the session until nothing of the run is left in it.
#[test]
fn sigkill_of_a_run_releases_its_session() {
    let two = Two::new();
    let deaf = "[[deaf]] [[escape 300 deaf]] [[tool Bash {\"command\": \"sleep 300\"}]]";
    let first = two.start_first(&json!([in_session("a", deaf)]), &[]);
    wait_until("the tool", || !two.first.claude_events("tool").is_empty());
    let run = first.report()["run"].as_str().expect("it has a name").to_owned();
    let second = two.start_second(&json!([in_session("b", "[[say Done.]]")]), &[]);
    expect_waiting(&second);
    first.kill();
    wait_until("the second one to start", || !two.second.claude_events("start").is_empty());
    assert_eq!(processes_with(&format!("ZEN_RUN={run}")), Vec::<String>::new());
    second.outcome().expect_code(0);
    wait_until("the reapers to end", || two.first.survivors().is_empty());
}

/// A run without its lock is beside another one of its config, but not in a session of that.
#[test]
fn sessions_are_locked_without_a_config_lock() {
    let two = Two::new();
    let first = two.start_first_in_session();
    let config = two.second.config(&json!({"instances": [in_session("b", "[[say Done.]]")]}).to_string());
    for arguments in [&["--no-lock"][..], &["--no-logs", "--no-lock"]] {
        let mut command = two.second.zen_on(&config, &["--timeout", "30"]);
        let run = two.second.started(two.as_the_first(&mut command).args(arguments));
        wait_until("it to wait", || run.stderr().contains("b waits: session diary is in use by another run"));
        run.signal(Signal::SIGTERM);
        run.outcome().expect_code(143);
    }
    // One command has a session too.
    let mut command = two.second.zen(&[
        "[[recall]] it",
        "--session-id",
        "diary",
        "--instance-name",
        "b",
        "--status-report-interval",
        "1",
    ]);
    let second = two.second.started(two.as_the_first(&mut command));
    expect_waiting(&second);
    two.first.open_gate("gate");
    first.outcome().expect_code(0);
    let outcome = second.outcome().expect_code(0);
    assert!(outcome.instance("b")["result"].as_str().is_some_and(|told| told.contains("lighthouse")));
}

#[test]
fn session_is_released_between_attempts() {
    let two = Two::new();
    let mut a = in_session("a", "[[error It broke.]]");
    a["retries"] = json!(1);
    a["retry_delay"] = json!(3600);
    let first = two.start_first(&json!([a]), &[]);
    wait_until("it to have failed", || first.stderr().contains("retry 1 of 1"));
    let second = two.start_second(&json!([in_session("b", "[[say Done.]]")]), &[]);
    second.outcome().expect_code(0);
    first.signal(Signal::SIGINT);
    first.outcome().expect_code(130);
}

/// And the retry waits for it in its turn.
#[test]
fn a_retry_waits_for_its_session() {
    let two = Two::new();
    let mut b = in_session("b", &format!("{} [[error It broke.]]", two.second.gate("broken")));
    b["retries"] = json!(10);
    b["retry_delay"] = json!(3);
    let second = two.start_second(&json!([b]), &[]);
    wait_until("its first attempt", || !two.second.claude_events("tool").is_empty());
    let prompt = format!("{} [[say Noted.]]", two.first.gate("gate"));
    let first = two.start_first(&json!([in_session("a", &prompt)]), &[]);
    wait_until("the other one to wait", || first.stderr().contains("a waits: session diary"));
    two.second.open_gate("broken");
    wait_until("the other one to be in the session", || !two.first.claude_events("tool").is_empty());
    wait_until("the retry to wait", || second.stderr().contains("b waits: session diary is in use by another run"));
    let attempts = || second.report()["instances"][0]["attempts"].as_u64();
    let before = attempts();
    two.first.open_gate("gate");
    first.outcome().expect_code(0);
    wait_until("the retry", || attempts() > before);
    second.signal(Signal::SIGINT);
    second.outcome().expect_code(130);
}

#[test]
fn claude_does_not_inherit_session_locks() {
    let two = Two::new();
    let first = two.start_first_in_session();
    let locks = two.first.path("state/zen/locks/sessions.lock").canonicalize().expect("it is there");
    let has_them = |pid: i32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").flatten();
        open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target == locks)
    };
    assert!(has_them(first.pid()));
    let log = two.first.claude_log();
    let pids = log.iter().flat_map(|event| [&event["pid"], &event["tool_pid"]]).filter_map(Value::as_i64);
    let pids: Vec<i32> = pids.filter_map(|pid| i32::try_from(pid).ok()).filter(|&pid| is_alive(pid)).collect();
    assert!(pids.len() >= 2, "claude and its tool run: {log:?}");
    assert!(!pids.into_iter().any(has_them), "{log:?}");
    two.first.open_gate("gate");
    first.outcome().expect_code(0);
}

/// Hundreds that wait cost one look a second together, and no descriptor each.
#[test]
fn many_waiting_instances_share_one_poll() {
    let two = Two::new();
    let sessions = |prompt: &str, count: usize| -> Value {
        let one = |i: usize| json!({"name": format!("i{i}"), "prompt": prompt, "session_id": format!("s{i}")});
        (0..count).map(one).collect()
    };
    const WAITING: usize = 8;
    let first = two.start_first(&sessions(&two.first.gate("gate"), WAITING), &[]);
    wait_until("all to be in their sessions", || two.first.claude_events("tool").len() == WAITING);
    let second = two.start_second(&sessions("[[say Done.]]", WAITING), &["--status-report-interval", "3600"]);
    wait_until("all to wait", || second.stderr().lines().count() == WAITING);
    assert!(second.descriptors() < 20, "{} descriptors", second.descriptors());
    let status = || fs::read_to_string(format!("/proc/{}/status", second.pid())).expect("it lives");
    let wake_ups = || -> u64 {
        let text = status();
        let line = text.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).expect("a count");
        line.trim().parse().expect("a number")
    };
    let (before, began) = (wake_ups(), std::time::Instant::now());
    const WATCHED: Duration = Duration::from_secs(4);
    wait_until("some time", || began.elapsed() >= WATCHED);
    let woken = wake_ups() - before;
    assert!((1..=3 * WATCHED.as_secs()).contains(&woken), "{woken} wake-ups in {WATCHED:?}");
    two.first.open_gate("gate");
    first.outcome().expect_code(0);
    second.outcome().expect_code(0);
}

#[test]
fn missing_state_directory_is_reported_once_and_the_run_continues() {
    let sandbox = Sandbox::new();
    let config = json!({"instances": [in_session("a", "x"), in_session("b", "[[say Done.]]")]}).to_string();
    let config = sandbox.config(&config);
    let mut command = sandbox.zen_on(&config, &["--no-logs", "--no-lock"]);
    command.env("XDG_STATE_HOME", "/dev/null");
    let outcome = sandbox.started(&mut command).outcome().expect_code(0);
    let expected = "zen: no locks for sessions: Not a directory: concurrent runs in one session are not detected\n";
    assert_eq!(outcome.stderr, expected, "{}", outcome.dump());
    let prompts = sandbox.prompts(&["[[say Done.]]"]);
    let mut command = sandbox.zen_on(&prompts, &["--no-logs", "--no-lock"]);
    command.env("XDG_STATE_HOME", "/dev/null");
    let outcome = sandbox.started(&mut command).outcome().expect_code(0);
    assert_eq!(outcome.stderr, "", "who has no session needs no lock");
}

/// claude says nothing if it cannot write a conversation to its folder; here a file stands in its place.
#[test]
fn session_that_claude_did_not_keep_is_reported() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("home/.claude")).expect("a directory");
    fs::write(sandbox.path("home/.claude/projects"), "").expect("a file");
    let run = |instances: Value| sandbox.run(&sandbox.config(&json!({ "instances": instances }).to_string()), &[]);
    let what = "claude has not saved the conversation of session diary";
    let outcome = run(json!([in_session("a", "[[say One.]]")])).expect_code(0);
    assert!(outcome.stderr.contains(&format!("zen: a: {what}: the next run starts")), "{}", outcome.dump());
    assert_eq!(outcome.instance("a")["session_kept"], false, "{}", outcome.dump());
    // The other one would go on without what was said.
    let outcome = run(json!([in_session("a", "[[say One.]]"), in_session("b", "[[say Two.]]")])).expect_code(2);
    assert!(outcome.error("a").starts_with(&format!("{what}, and b needs it")), "{}", outcome.dump());
    fs::remove_file(sandbox.path("home/.claude/projects")).expect("a file");
    for _ in 0..2 {
        let outcome =
            run(json!([in_session("a", "[[say One.]]"), {"name": "c", "prompt": "[[say C.]]"}])).expect_code(0);
        assert_eq!(outcome.instance("a")["session_kept"], true, "{}", outcome.dump());
        assert_eq!(outcome.instance("c")["session_kept"], Value::Null);
        assert_eq!(outcome.stderr, "");
    }
}
