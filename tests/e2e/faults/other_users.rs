//! Processes of another user: a claude behind sudo, a tool that starts a server with it. zen may not end them. It lets go of
//! them after a while, goes on, and says who is left.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use super::{GRACE, SLACK, TERMINATE_TO_KILL, as_user, instance, with};
use harness::{RunOutput, Sandbox, TEST_VARIABLE, copy_program, fake_claude, is_alive, wait_until, write_program};

/// The least time from the first SIGKILL until zen gives up on a process.
const GIVE_UP: Duration = Duration::from_secs(4);

const NOBODY: u32 = 65_534;

/// A claude that does what its instance is called, by way of a program that may become root. What becomes root loses the
/// test's mark, for it is to outlive zen.
const CLAUDE: &str = r#"#!/bin/sh
here=$(dirname "$0")
case $ZEN_INSTANCE in
    stuck) exec env -u TEST_MARK "$here/become" --reuid=0 --regid=0 --clear-groups sh -c "sleep 300 & exec sleep 300" ;;
    leaves*)
        env -u TEST_MARK "$here/become" --reuid=0 --regid=0 --clear-groups sleep 300 </dev/null >/dev/null 2>&1 &
        echo $! > "$here/$ZEN_INSTANCE.pid" ;;
esac
exec "$here/fake-claude" "$@"
"#;

/// zen, run by a user who has no rights, on a claude whose processes may be root's.
fn as_nobody(sandbox: &Sandbox, config: &str, arguments: &[&str]) -> Command {
    let (script, become_root) = (sandbox.path("script"), sandbox.path("become"));
    copy_program(fake_claude(), &sandbox.path("fake-claude"));
    copy_program("/usr/bin/setpriv", &become_root);
    fs::set_permissions(&become_root, Permissions::from_mode(0o4755)).expect("permissions");
    write_program(&script, &CLAUDE.replace("TEST_MARK", TEST_VARIABLE));
    as_user(sandbox, NOBODY, &sandbox.zen_on(&sandbox.config(config), arguments), &script)
}

fn survivors(outcome: &RunOutput, name: &str) -> Vec<i32> {
    let pids = outcome.instance(name)["surviving_pids"].as_array().expect("a list");
    pids.iter().map(|pid| i32::try_from(pid.as_i64().expect("a number")).expect("a pid")).collect()
}

#[test]
fn processes_of_another_user_are_reported_and_block_no_instance() {
    if !nix::unistd::geteuid().is_root() {
        return; // who may become root without a password is root
    }
    let sandbox = Sandbox::new();
    let after = |name: &str, of: &str, prompt: &str| {
        with(instance(name, prompt), "depends_on", json!([{ "name": of, "when": "done" }]))
    };
    let config = json!({ "instances": [
        instance("leaves-one", "[[say Begun.]]"),
        after("leaves-another", "leaves-one", "[[say Begun.]]"),
        with(after("stuck", "leaves-another", "x"), "timeout", json!(1)),
        after("next", "stuck", &format!("{} [[say Done.]]", sandbox.gate("gate"))),
    ]});
    let zen = sandbox.started(&mut as_nobody(&sandbox, &config.to_string(), &["--grace", "1"]));
    wait_until("the one that cannot be ended to be let go", || zen.has_ended("stuck"));
    let pid_of = |name: &str| -> i32 {
        let text = fs::read_to_string(sandbox.path(&format!("{name}.pid"))).expect("a file");
        text.trim().parse().expect("a pid")
    };
    let (ends_after_all, stays) = (pid_of("leaves-one"), pid_of("leaves-another"));
    assert!(is_alive(ends_after_all) && is_alive(stays));
    kill(Pid::from_raw(ends_after_all), Signal::SIGKILL).expect("root may");
    wait_until("its end", || !is_alive(ends_after_all));
    sandbox.open_gate("gate");
    let outcome = zen.outcome().expect_code(4);
    let dump = outcome.dump();
    for name in ["leaves-one", "leaves-another", "next"] {
        assert_eq!(outcome.status(name), "completed", "{name}\n{dump}");
    }
    assert_eq!(outcome.error("stuck"), "Timeout after 1s");
    assert_eq!(outcome.instance("stuck")["exit_status"], json!(null));
    assert_eq!(survivors(&outcome, "leaves-one"), Vec::<i32>::new(), "it has ended since\n{dump}");
    assert_eq!(survivors(&outcome, "leaves-another"), [stays], "{dump}");
    assert_eq!(survivors(&outcome, "next"), Vec::<i32>::new(), "it has nothing to do with them\n{dump}");
    let [child, stuck] = survivors(&outcome, "stuck")[..] else { panic!("two are left\n{dump}") };
    assert!(child != stuck && [child, stuck, stays].into_iter().all(is_alive), "{dump}");
    let left = format!("Left running: {stays} (leaves-another); {child}, {stuck} (stuck)\n");
    assert!(outcome.stdout.contains(&left), "{dump}");
    for pid in [child, stuck, stays] {
        kill(Pid::from_raw(pid), Signal::SIGKILL).expect("root may");
    }
    let ran = outcome.ran("stuck");
    let least = Duration::from_secs(1) + GRACE + TERMINATE_TO_KILL + GIVE_UP;
    assert!(ran >= least && ran < least + SLACK, "{ran:?}\n{dump}");
    assert!(outcome.ran("next") < SLACK, "{dump}");
}
