//! Two runs of one config: the second one is not launched, learns who holds the lock, and can have it as soon as nothing of
//! the first one is left, however that one ended.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;

use harness::{Running, Sandbox, is_alive, wait_for, wait_until};

/// A run of one instance that waits for the gate in a tool. When it runs, its config has become one that waits for nothing.
fn started(sandbox: &Sandbox, arguments: &[&str]) -> (Running, PathBuf) {
    let config = sandbox.prompts(&[&format!("{} [[say Done.]]", sandbox.gate("gate"))]);
    let run = sandbox.start(&config, arguments);
    wait_until("the tool", || !sandbox.claude_events("tool").is_empty());
    (run, sandbox.prompts(&["[[say Done.]]"]))
}

/// What another zen does while one runs: its exit code, its output, its messages.
fn beside(command: &mut Command) -> (i32, String, String) {
    let output = command.args(["--timeout", "30"]).output().expect("zen runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
}

fn expect_refused(command: &mut Command, by: &Running) -> String {
    let run = by.report()["run"].as_str().expect("it has a name").to_owned();
    let (code, stdout, stderr) = beside(command);
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (75, "", 1), "{stderr}");
    let holder = format!("pid {}, run {run}, since 20", by.pid());
    assert!(stderr.starts_with("zen: another run holds the lock ") && stderr.contains(&holder), "{stderr}");
    assert_eq!(by.report()["run"], run.as_str(), "the refused one leaves no files");
    stderr
}

fn expect_done(command: &mut Command) {
    let (code, stdout, stderr) = beside(command);
    assert_eq!(code, 0, "{stdout}\n{stderr}");
}

#[test]
fn second_run_of_a_config_does_not_start() {
    let sandbox = Sandbox::new();
    let (first, config) = started(&sandbox, &[]);
    for arguments in [&[][..], &["--no-logs"], &["--quiet"], &["--log-dir", "elsewhere"]] {
        expect_refused(&mut sandbox.zen_on(&config, arguments), &first);
    }
    fs::create_dir(sandbox.path("links")).expect("a directory");
    std::os::unix::fs::symlink(&config, sandbox.path("links/config.json")).expect("a link");
    expect_refused(&mut sandbox.zen_on(&sandbox.path("links/config.json"), &[]), &first);
    assert_eq!(sandbox.claude_events("start").len(), 1, "nothing else was launched");
    sandbox.open_gate("gate");
    first.outcome().expect_code(0);
    sandbox.run(&config, &[]).expect_code(0);
}

#[test]
fn different_configs_do_not_share_a_lock() {
    let sandbox = Sandbox::new();
    let (first, config) = started(&sandbox, &[]);
    let other = sandbox.path("other.json");
    fs::copy(&config, &other).expect("a config");
    fs::create_dir(sandbox.path("elsewhere")).expect("a directory");
    expect_done(&mut sandbox.zen_on(&other, &[]));
    expect_done(&mut sandbox.zen_on(&config, &["--workspace", "elsewhere"]));
    expect_done(&mut sandbox.zen_on(&config, &["--no-lock"]));
    expect_done(&mut sandbox.zen_on(&config, &["--lock", "own.lock"]));
    expect_done(&mut sandbox.zen_on(&config, &["--dry-run"]));
    expect_done(&mut sandbox.zen_on(&config, &["[[say Done.]]"]));
    let input = fs::File::open(&config).expect("a config");
    expect_done(sandbox.zen_on(Path::new("-"), &[]).stdin(Stdio::from(input)));
    assert!(is_alive(first.pid()), "all that while, the first one ran");
    sandbox.open_gate("gate");
    first.outcome().expect_code(0);
}

#[test]
fn named_lock_applies_to_all_configs() {
    let sandbox = Sandbox::new();
    let (first, _) = started(&sandbox, &["--lock", "my.lock"]);
    let command = |arguments: &[&str]| {
        let mut command = sandbox.zen(&["[[say Done.]]", "--workspace", "workspace"]);
        command.args(arguments);
        command
    };
    let stderr = expect_refused(&mut command(&["--lock", "my.lock"]), &first);
    assert!(stderr.contains("holds the lock my.lock: pid "), "{stderr}");
    expect_done(&mut command(&["--lock", "my.lock", "--dry-run"]));
    expect_done(&mut command(&[]));
    for (file, expected) in [
        ("config.json", "zen: lock config.json: not a lock file of zen, and would be overwritten: "),
        ("gone/my.lock", "zen: lock gone/my.lock: No such file or directory: give another with --lock FILE"),
        ("workspace", "zen: lock workspace: "),
    ] {
        let (code, _, stderr) = beside(&mut command(&["--lock", file]));
        assert!(code == 1 && stderr.starts_with(expected), "{code}: {stderr}");
    }
    sandbox.open_gate("gate");
    first.outcome().expect_code(0);
    expect_done(&mut command(&["--lock", "my.lock"]));
}

#[test]
fn missing_state_directory_is_reported_and_the_run_continues() {
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["[[say Done.]]"]);
    for (home, why) in [(Some("/dev/null"), "Not a directory"), (None, "neither XDG_STATE_HOME nor HOME is")] {
        let mut command = sandbox.zen_on(&config, &["--no-logs"]);
        command.env_remove("XDG_STATE_HOME").env_remove("HOME").envs(home.map(|home| ("HOME", home)));
        let outcome = sandbox.started(&mut command).outcome().expect_code(0);
        let expected = format!("zen: no lock for this config: {why}");
        assert!(outcome.stderr.starts_with(&expected), "{}", outcome.dump());
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.dump());
    }
}

#[test]
fn claude_does_not_inherit_the_lock() {
    let sandbox = Sandbox::new();
    let (first, _) = started(&sandbox, &["--lock", "my.lock"]);
    let lock = sandbox.path("my.lock").canonicalize().expect("it is there");
    let has_it = |pid: i32| {
        let open = fs::read_dir(format!("/proc/{pid}/fd")).expect("it runs").flatten();
        open.filter_map(|entry| fs::read_link(entry.path()).ok()).any(|target| target == lock)
    };
    assert!(has_it(first.pid()));
    let log = sandbox.claude_log();
    let pids = log.iter().flat_map(|event| [&event["pid"], &event["tool_pid"]]).filter_map(serde_json::Value::as_i64);
    let pids: Vec<i32> = pids.filter_map(|pid| i32::try_from(pid).ok()).filter(|&pid| is_alive(pid)).collect();
    assert!(pids.len() >= 2, "claude and its tool run: {log:?}");
    for pid in pids {
        assert!(!has_it(pid), "{pid} of {log:?}");
    }
    sandbox.open_gate("gate");
    first.outcome().expect_code(0);
}

/// The watchdog holds the lock until the processes of the run are gone: the next run waits for it.
#[test]
fn run_after_sigkill_waits_for_the_lock() {
    for is_zombie in [false, true] {
        let sandbox = Sandbox::new();
        let (first, config) = started(&sandbox, &[]);
        let mut next = sandbox.zen_on(&config, &[]);
        if is_zombie {
            first.signal(Signal::SIGKILL);
            wait_until("the zombie", || first.is_zombie());
            expect_done(&mut next);
            first.kill();
        } else {
            first.kill();
            expect_done(&mut next);
        }
    }
}

#[test]
fn lock_that_is_a_symbolic_link_is_refused() {
    let sandbox = Sandbox::new();
    let victim = sandbox.path("victim");
    std::os::unix::fs::symlink(&victim, sandbox.path("my.lock")).expect("a link");
    for content in [None, Some("")] {
        let mut command = sandbox.zen(&["[[say Done.]]", "--workspace", "workspace", "--lock", "my.lock"]);
        let (code, _, stderr) = beside(&mut command);
        let expected = "zen: lock my.lock: must not be a symbolic link: give another with --lock FILE\n";
        assert_eq!((code, stderr.as_str()), (1, expected));
        assert_eq!(fs::read_to_string(&victim).ok().as_deref(), content, "the target is left as it is");
        fs::write(&victim, "").expect("a file");
    }
}

/// However a run ends; after SIGKILL not before its processes have ended.
#[test]
fn lock_is_released_after_the_last_process_of_the_run() {
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        let sandbox = Sandbox::new();
        let deaf = "[[deaf]] [[escape 300 deaf]] [[tool Bash {\"command\": \"sleep 300\"}]]";
        let config = sandbox.prompts(&[deaf]);
        let run = sandbox.start(&config, &["--grace", "0", "--lock", "my.lock"]);
        wait_until("the tool", || !sandbox.claude_events("tool").is_empty());
        match signal {
            Signal::SIGKILL => run.kill(),
            signal => {
                run.signal(signal);
                run.outcome().expect_code(143);
            }
        }
        let lock = wait_for("the lock", || {
            let file = fs::File::open(sandbox.path("my.lock")).expect("it is there");
            Flock::lock(file, FlockArg::LockExclusiveNonblock).ok()
        });
        let claudes = sandbox.survivors().into_iter().filter(|process| !process.contains("/zen ")).collect::<Vec<_>>();
        assert_eq!(claudes, Vec::<String>::new(), "{signal}");
        drop(lock);
        wait_until("the reapers to end", || sandbox.survivors().is_empty());
        let config = sandbox.prompts(&["[[say Done.]]"]);
        sandbox.run(&config, &["--lock", "my.lock"]).expect_code(0);
    }
}
