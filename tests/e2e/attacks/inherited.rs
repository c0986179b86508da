//! Processes that zen must not kill: those that it inherits from a shell that becomes zen by `exec`, and one that shows the
//! run's mark without descending from zen.

use std::fs;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use harness::{Running, Sandbox, TEST_VARIABLE, processes_with, wait_for, wait_until, with_default_signals};

/// The variable by which the test finds what zen inherits. It takes the place of the variable of the test's own processes.
const INHERITED_VARIABLE: &str = "ZEN_TEST_INHERITED";

/// How each inherited process is started. `leave` makes the parents of some end, so that their children come to zen.
const INHERITED: [(&str, &str); 7] = [
    ("child", "exec sleep 1000"),
    ("session", "exec setsid sleep 1000"),
    ("daemon", "exec setsid -f sleep 1000"),
    ("grandchild", "sleep 1000 & wait"),
    ("orphan", "sleep 1000 & until [ -e leave ]; do sleep 0.02; done"),
    ("orphan-session", "setsid sh -c 'sleep 1000 & wait' & until [ -e leave ]; do sleep 0.02; done"),
    ("orphan-of-another-run", "ZEN_RUN=another sleep 1000 & until [ -e leave ]; do sleep 0.02; done"),
];

/// Kills its own reaper, and leaves a process behind that comes to zen: that one zen must kill.
const LEAVES: &str = "setsid sleep 300 & read _ _ _ reaper _ < /proc/$PPID/stat; kill -KILL $reaper; sleep 300";

/// zen in a place, started by a shell that has children.
struct Inheritor {
    sandbox: Sandbox,
}

impl Inheritor {
    fn new() -> Self {
        Inheritor { sandbox: Sandbox::new() }
    }

    fn variable(&self, name: &str) -> String {
        format!("{INHERITED_VARIABLE}={}-{name}", self.sandbox.id())
    }

    /// Returns the command lines of an inherited process and its parents, with their process ids.
    fn processes(&self, name: &str) -> Vec<(i32, String)> {
        let split = |process: String| {
            let (pid, line) = process.split_once(": ")?;
            Some((pid.parse().ok()?, line.trim().to_owned()))
        };
        processes_with(&self.variable(name)).into_iter().filter_map(split).collect()
    }

    /// Returns the process id of an inherited process, if it lives.
    fn inherited(&self, name: &str) -> Option<i32> {
        self.processes(name).into_iter().find(|(_, line)| line == "sleep 1000").map(|(pid, _)| pid)
    }

    fn expect_all_alive(&self) {
        let dead: Vec<&str> =
            INHERITED.iter().map(|(name, _)| *name).filter(|name| self.inherited(name).is_none()).collect();
        assert_eq!(dead, Vec::<&str>::new(), "zen has killed what it inherited");
    }

    /// Starts these instances, and makes orphans of what zen inherits when the fake claude has begun as many turns.
    fn start(&self, instances: &[Value]) -> Running {
        let config = self.sandbox.config(&json!({ "instances": instances }).to_string());
        let zen = self.sandbox.zen_on(&config, &["--grace", "0.5", "--max-parallel", "2"]);
        let mut script = String::new();
        for (name, how) in INHERITED {
            script += &format!("env -u {TEST_VARIABLE} '{}' sh -c '{}' &\n", self.variable(name), quoted(how));
        }
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{script}exec \"$@\""), "sh"]).arg(zen.get_program()).args(zen.get_args());
        shell.current_dir(self.sandbox.path("")).env_clear();
        shell.envs(zen.get_envs().filter_map(|(name, value)| Some((name, value?))));
        with_default_signals(&mut shell);
        let zen = self.sandbox.started(&mut shell);
        wait_until("all to be inherited", || INHERITED.iter().all(|(name, _)| self.inherited(name).is_some()));
        wait_until("the first instances", || self.sandbox.claude_events("turn").len() == 2);
        self.make_orphans(&zen);
        zen
    }

    fn make_orphans(&self, zen: &Running) {
        self.sandbox.open_gate("leave");
        for (name, _) in INHERITED.iter().filter(|(name, _)| name.starts_with("orphan")) {
            wait_until("an orphan to come to zen", || {
                self.processes(name).iter().any(|(pid, _)| parent_of(*pid) == Some(zen.pid()))
                    && self.processes(name).iter().all(|(_, line)| !line.contains("leave"))
            });
        }
    }

    /// Starts a process with the mark of this run that has nothing to do with it.
    fn marked_stranger(&self, zen: &Running) -> Stranger {
        let run = wait_for("the name of the run", || zen.report()["run"].as_str().map(str::to_owned));
        let mut command = Command::new("sleep");
        command.arg("1000").env_clear().env("ZEN_RUN", run).env("PATH", "/usr/bin:/bin").stdin(Stdio::null());
        Stranger(command.spawn().expect("there is a sleep"))
    }
}

impl Drop for Inheritor {
    fn drop(&mut self) {
        for (pid, _) in INHERITED.iter().flat_map(|(name, _)| self.processes(name)) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

struct Stranger(Child);

impl Stranger {
    fn expect_alive(&mut self) {
        assert!(matches!(self.0.try_wait(), Ok(None)), "zen has killed a process that it did not start");
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Returns the text for use between single quotes of a shell.
fn quoted(text: &str) -> String {
    text.replace('\'', r"'\''")
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(") ").next()?.split(' ').nth(1)?.parse().ok()
}

fn tool(command: &str) -> String {
    format!("[[tool Bash {}]]", json!({ "command": command }))
}

/// One that runs until the gate opens, with this end, and one that leaves a process to zen.
fn instances(sandbox: &Sandbox, end: &str) -> [Value; 2] {
    [
        json!({"name": "waits", "prompt": format!("{} {end}", sandbox.gate("gate"))}),
        json!({"name": "leaves", "prompt": format!("{} {} [[hang]]", sandbox.gate("gate"), tool(LEAVES))}),
    ]
}

#[test]
fn inherited_processes_live_on_after_a_good_run() {
    let inheritor = Inheritor::new();
    let instances = instances(&inheritor.sandbox, "[[escape 300 deaf]] [[say Done.]]");
    let zen = inheritor.start(&instances);
    let mut stranger = inheritor.marked_stranger(&zen);
    inheritor.sandbox.open_gate("gate");
    let outcome = zen.outcome().expect_code(2); // of the one that has killed its reaper
    assert_eq!(outcome.status("waits"), "completed", "{}", outcome.dump());
    assert_eq!(outcome.error("leaves"), "claude ended with signal 9 without a result", "{}", outcome.dump());
    assert!(outcome.stdout.contains("Left running: nothing"), "{}", outcome.dump());
    inheritor.expect_all_alive();
    stranger.expect_alive();
}

#[test]
fn inherited_processes_live_on_after_a_timeout() {
    let inheritor = Inheritor::new();
    let mut instances = instances(&inheritor.sandbox, "[[say Done.]]").to_vec();
    instances.push(json!({
        "name": "times-out", "prompt": "[[escape 300 deaf]] [[hang]]", "timeout": 1, "depends_on": ["waits"],
    }));
    let zen = inheritor.start(&instances);
    let mut stranger = inheritor.marked_stranger(&zen);
    inheritor.sandbox.open_gate("gate");
    let outcome = zen.outcome().expect_code(2);
    assert_eq!(outcome.error("times-out"), "Timeout after 1s", "{}", outcome.dump());
    inheritor.expect_all_alive();
    stranger.expect_alive();
}

#[test]
fn inherited_processes_live_on_after_ctrl_c() {
    let inheritor = Inheritor::new();
    let zen = inheritor.start(&instances(&inheritor.sandbox, "[[say Done.]]"));
    let mut stranger = inheritor.marked_stranger(&zen);
    zen.signal(Signal::SIGINT);
    zen.outcome().expect_code(130);
    inheritor.expect_all_alive();
    stranger.expect_alive();
}

#[test]
fn inherited_processes_live_on_after_sigkill_of_zen() {
    let inheritor = Inheritor::new();
    let zen = inheritor.start(&instances(&inheritor.sandbox, "[[say Done.]]"));
    let mut stranger = inheritor.marked_stranger(&zen);
    zen.kill();
    wait_until("the end of the run's own processes", || inheritor.sandbox.survivors().is_empty());
    inheritor.expect_all_alive();
    stranger.expect_alive();
}
