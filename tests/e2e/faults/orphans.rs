//! What instances leave behind: processes that hold their pipes, that went away into sessions of their own, that are
//! deaf, that carry no mark. All are gone when zen is, and those that can be known to be its own, when their instance is.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{SLACK, bad, expect_completed, expect_failed, instance, run, with};
use harness::{Sandbox, exists, is_alive, wait_for, wait_until, write_program};

/// The processes that the fake claudes have left behind, by their log.
fn left_behind(sandbox: &Sandbox) -> Vec<i32> {
    let pid = |event: &Value| i32::try_from(event["child_pid"].as_i64()?).ok();
    let log = sandbox.claude_log();
    log.iter().filter(|e| e["event"] == "escape" || e["event"] == "hold-pipe").filter_map(pid).collect()
}

fn expect_none_alive(pids: &[i32]) {
    let alive: Vec<i32> = pids.iter().copied().filter(|&pid| is_alive(pid)).collect();
    assert_eq!(alive, Vec::<i32>::new(), "they live on");
}

/// Each leaves one process of this kind behind, ends, and is over long before the others of the run are.
fn is_gone_with_its_instance(script: &str) {
    let sandbox = Sandbox::new();
    let instances = [
        bad(&format!("{script} [[say Fine.]]")),
        instance("crashes", &format!("{script} [[say Begun.]] [[die KILL]]")),
        instance("runs-on", &format!("{} [[say Done.]]", sandbox.gate("gate"))),
    ];
    let config = sandbox.config(&json!({ "instances": instances }).to_string());
    let zen = sandbox.start(&config, &[]);
    wait_until("the end of both", || zen.has_ended("bad") && zen.has_ended("crashes"));
    let pids = left_behind(&sandbox);
    assert_eq!(pids.len(), 2);
    expect_none_alive(&pids);
    assert!(!zen.has_ended("runs-on"));
    wait_until("all that has ended to be reaped", || zen.zombies().is_empty());
    sandbox.open_gate("gate");
    let outcome = zen.outcome().expect_code(2);
    expect_completed(&outcome, "bad");
    expect_failed(&outcome, "crashes", "error", "claude ended with signal 9 without a result");
    expect_completed(&outcome, "runs-on");
    for name in ["bad", "crashes"] {
        let ran = outcome.ran(name);
        assert!(ran < SLACK, "{name} was held up by what it left: {ran:?}\n{}", outcome.dump());
    }
}

#[test]
fn orphan_that_holds_the_pipes() {
    is_gone_with_its_instance("[[hold-pipe 300]]");
}

#[test]
fn orphan_in_its_own_session() {
    is_gone_with_its_instance("[[escape 300]]");
}

#[test]
fn orphan_in_its_own_session_that_ignores_signals_and_holds_the_pipes() {
    is_gone_with_its_instance("[[escape 300 deaf keep-pipes]]");
}

/// Without a mark nobody can say whose it is while others run.
#[test]
fn orphan_without_environment_ends_with_zen() {
    let sandbox = Sandbox::new();
    let script = "[[escape 300 env-cleared deaf]] [[escape 300 env-cleared deaf keep-pipes]] [[say Fine.]]";
    let outcome = run(&sandbox, &[bad(script)], &[]).expect_code(0);
    expect_completed(&outcome, "bad");
    assert!(outcome.ran("bad") < Duration::from_secs(2) + SLACK, "{:?}", outcome.ran("bad"));
    let pids = left_behind(&sandbox);
    assert_eq!(pids.len(), 2);
    expect_none_alive(&pids);
    assert!(outcome.stdout.contains("Left running: nothing"), "{}", outcome.dump());
}

/// The same, when its instance is the last one and is timed out.
#[test]
fn orphan_without_environment_of_a_stopped_instance() {
    let sandbox = Sandbox::new();
    let script = "[[escape 300 env-cleared deaf keep-pipes]] [[deaf]] [[hang]]";
    let outcome = run(&sandbox, &[with(bad(script), "timeout", json!(1))], &[]).expect_code(4);
    expect_failed(&outcome, "bad", "timeout", "Timeout after 1s");
    expect_none_alive(&left_behind(&sandbox));
}

/// The tools of the real ones run in sessions of their own.
#[test]
fn a_tool_whose_claude_was_killed() {
    let sandbox = Sandbox::new();
    let instances = [
        bad("[[tool Bash {\"command\": \"sleep 300 & sleep 300\"}]]"),
        instance("runs-on", &format!("{} [[say Done.]]", sandbox.gate("gate"))),
    ];
    let config = sandbox.config(&json!({ "instances": instances }).to_string());
    let zen = sandbox.start(&config, &[]);
    let (claude, tool) = wait_for("the tool", || {
        let is_it = |e: &Value| e["command"].as_str().is_some_and(|command| command.starts_with("sleep"));
        let tool = sandbox.claude_events("tool").into_iter().find(is_it)?;
        let number = |name: &str| i32::try_from(tool[name].as_i64()?).ok();
        number("pid").zip(number("tool_pid"))
    });
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(claude), nix::sys::signal::Signal::SIGKILL).expect("it lives");
    wait_until("its end", || zen.has_ended("bad"));
    assert!(!is_alive(tool), "the tool lives on");
    sandbox.open_gate("gate");
    let outcome = zen.outcome().expect_code(2);
    expect_failed(&outcome, "bad", "error", "claude ended with signal 9 without a result");
    expect_completed(&outcome, "runs-on");
}

/// A process that knows what it would be looked for by: another run's mark, or a first thread that is no more.
#[test]
fn orphan_with_the_tag_of_another_run() {
    let sandbox = Sandbox::new();
    let files = ["marked", "threads"].map(|name| sandbox.path(name));
    let commands = [
        format!("ZEN_RUN=another setsid -f sh -c 'echo $$ >{}; exec sleep 300'", files[0].display()),
        format!("setsid -f python3 -c '{LOSE_FIRST_THREAD}' {}", files[1].display()),
    ];
    let tools = commands.map(|command| format!("[[tool Bash {}]]", json!({ "command": command })));
    let instances = [bad(&format!("{} {} {} [[say Fine.]]", tools[0], tools[1], sandbox.gate("known")))];
    let config = sandbox.config(&json!({ "instances": instances }).to_string());
    let zen = sandbox.start(&config, &[]);
    let pids = files
        .each_ref()
        .map(|file| wait_for("its number", || std::fs::read_to_string(file).ok()?.trim().parse::<i32>().ok()));
    let threads = |pid: i32| std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    let stat = |pid: i32| std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    wait_until("its first thread to end", || stat(pids[1]).contains(") Z "));
    sandbox.open_gate("known");
    let outcome = zen.outcome().expect_code(0);
    assert!(outcome.stdout.contains("Left running: nothing"), "{}", outcome.dump());
    expect_none_alive(&pids[..1]);
    assert_eq!(threads(pids[1]), 0, "it lives on, though its first thread does not");
}

/// Writes its number, and goes on in its second thread alone.
const LOSE_FIRST_THREAD: &str = "
import ctypes, os, sys, threading, time
threading.Thread(target=time.sleep, args=(300,)).start()
open(sys.argv[1], \"w\").write(str(os.getpid()))
ctypes.CDLL(None).syscall({\"x86_64\": 60}.get(os.uname().machine, 93), 0)
";

/// Signals to it go to its group. As the leader of a session it cannot leave that.
#[test]
fn a_claude_that_tries_to_join_the_group_of_zen() {
    let sandbox = Sandbox::new();
    let claude = sandbox.path("claude");
    write_program(
        &claude,
        "#!/usr/bin/env python3\nimport os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n\
         try:\n    os.setpgid(0, os.getpgid(os.getppid()))\nexcept OSError:\n    time.sleep(300)\n",
    );
    let config = sandbox.config(&json!({"instances": [{"name": "bad", "prompt": "x", "timeout": 1}]}).to_string());
    let arguments = ["--claude", claude.to_str().expect("UTF-8"), "--grace", "0.5"];
    let outcome = sandbox.run(&config, &arguments).expect_code(4);
    expect_failed(&outcome, "bad", "timeout", "Timeout after 1s");
    assert!(outcome.ran("bad") < Duration::from_secs(4) + SLACK, "{:?}", outcome.ran("bad"));
}

/// The kernel takes its time to give so much memory back, and meanwhile the process shows no environment.
#[test]
fn orphan_that_ends_slowly() {
    let sandbox = Sandbox::new();
    let files = ["first", "second"].map(|name| sandbox.path(name));
    let hold = |file: &std::path::Path, rest: &str| {
        let command = format!("setsid -f python3 -c '{HOLD_MEMORY}' {}", file.display());
        format!("[[tool Bash {}]] {} {rest}", json!({ "command": command }), sandbox.gate("known"))
    };
    let instances = [
        bad(&hold(&files[0], "[[say Fine.]]")),
        with(instance("stopped", &hold(&files[1], "[[hang]]")), "depends_on", json!(["bad"])),
    ];
    let config = sandbox.config(&json!({ "instances": instances }).to_string());
    let zen = sandbox.start(&config, &[]);
    let pid_in = |file: &std::path::PathBuf| std::fs::read_to_string(file).ok()?.trim().parse::<i32>().ok();
    let first = wait_for("the first", || pid_in(&files[0]));
    sandbox.open_gate("known");
    wait_until("its instance's end", || zen.has_ended("bad"));
    assert!(!is_alive(first), "it lives on");
    let second = wait_for("the second", || pid_in(&files[1]));
    zen.signal(Signal::SIGTERM);
    let outcome = zen.outcome().expect_code(143);
    expect_completed(&outcome, "bad");
    for pid in [first, second] {
        assert!(!exists(pid), "nobody waited for its end");
    }
}

/// 512 MB in the smallest pages.
const HOLD_MEMORY: &str = "
import mmap, os, sys, time
memory = mmap.mmap(-1, 1 << 29)
memory.madvise(mmap.MADV_NOHUGEPAGE)
for page in range(0, 1 << 29, 4096):
    memory[page] = 1
with open(sys.argv[1], \"w\") as file:
    file.write(str(os.getpid()))
time.sleep(300)
";

/// What a tool leaves in the background is gone as well.
#[test]
fn tool_with_a_background_process() {
    let sandbox = Sandbox::new();
    let file = sandbox.path("pid");
    let command = format!("setsid -f sh -c 'echo $$ > {}; sleep 300'", file.display());
    let tool = format!("[[tool Bash {}]]", json!({ "command": command }));
    let instances = [
        bad(&format!("{tool} {} [[say Fine.]]", sandbox.gate("known"))),
        instance("runs-on", &format!("{} [[say Done.]]", sandbox.gate("gate"))),
    ];
    let config = sandbox.config(&json!({ "instances": instances }).to_string());
    let zen = sandbox.start(&config, &[]);
    let pid = wait_for("its pid", || std::fs::read_to_string(&file).ok()?.trim().parse::<i32>().ok());
    assert!(is_alive(pid));
    sandbox.open_gate("known");
    wait_until("its end", || zen.has_ended("bad"));
    assert!(!is_alive(pid), "it lives on");
    sandbox.open_gate("gate");
    let outcome = zen.outcome().expect_code(0);
    expect_completed(&outcome, "bad");
}
