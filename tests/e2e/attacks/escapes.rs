//! The table of escapes: processes that try to outlive their instance, by the ways in which an instance ends. Nothing may be
//! left of them, and an instance beside them must not notice.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use harness::{Sandbox, is_alive, wait_until};

/// Runs of each column in the suite, and in `make soak`.
const RUNS: usize = 1;
const SOAK_RUNS: usize = 20;

/// How long what zen has left may take to end.
const AT_MOST: Duration = Duration::from_secs(20);

/// How an instance's timeout grows until all escapes are under way before it.
const TIMEOUTS: [u64; 3] = [5, 20, 60];

/// The name of an escape, how it is started, its mode, and what the instance does to its reaper then.
const ESCAPES: [(&str, &str, &str, &str); 13] = [
    ("marked", "", "plain", ""),
    ("cleared", "env -i setsid -f", "plain", ""),
    ("title", "", "title", ""),
    ("undumpable", "", "undumpable", ""),
    ("chain", "", "chain", ""),
    ("slow-chain", "", "slow-chain", ""),
    ("cleared-chain", "env -i", "chain", ""),
    ("cleared-slow-chain", "env -i", "slow-chain", ""),
    ("hydra", "", "hydra", ""),
    ("cleared-hydra", "env -i", "hydra", ""),
    ("other-mark", "env ZEN_RUN=another", "title", ""),
    ("reaper-stopped", "env -i", "plain", "kill -STOP $reaper"),
    ("reaper-killed", "env -i", "title", "kill -KILL $reaper; sleep 300"),
];

struct Escapes {
    sandbox: Sandbox,
}

impl Escapes {
    /// Leaves the test out, and says so, where there is no compiler.
    fn new() -> Option<Self> {
        let sandbox = Sandbox::new();
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/attacks/escapee.c");
        let made = Command::new("cc").args(["-O1", "-w", "-o"]).arg(sandbox.path("escapee")).arg(source).status();
        if made.is_ok_and(|status| status.success()) {
            return Some(Escapes { sandbox });
        }
        eprintln!("left out: there is no cc");
        None
    }

    /// One instance for each escape, and one with an ssh-agent where there is such. Each goes on with this script.
    fn instances(&self, script: &str) -> Vec<Value> {
        let path = |name: &str| self.sandbox.path(name).display().to_string();
        let instance = |name: &str, command: &str| {
            let tool = json!({ "command": command });
            json!({ "name": name, "prompt": format!("[[tool Bash {tool}]] {script}") })
        };
        let escape = |&(name, how, mode, to_reaper): &(&str, &str, &str, &str)| {
            let (program, held, ready) =
                (path("escapee"), path(&format!("{name}.held")), path(&format!("{name}.ready")));
            instance(
                name,
                &format!(
                    "{how} {program} {mode} {held} {ready}.new; until [ -e {ready}.new ]; do sleep 0.02; done; \
                     read _ _ _ reaper _ < /proc/$PPID/stat; mv {ready}.new {ready}; {to_reaper}"
                ),
            )
        };
        let mut all: Vec<Value> = ESCAPES.iter().map(escape).collect();
        if Command::new("ssh-agent").arg("-h").output().is_ok() {
            let (pid, ready) = (path("agent"), path("agent.ready"));
            let command = format!("eval $(ssh-agent -s); echo $SSH_AGENT_PID > {pid}; touch {ready}");
            all.push(instance("agent", &command));
        } else {
            eprintln!("left out: there is no ssh-agent");
        }
        all
    }

    fn are_ready(&self, instances: &[Value]) -> bool {
        let is_ready = |instance: &Value| {
            let name = instance["name"].as_str().expect("a name");
            self.sandbox.path(&format!("{name}.ready")).exists()
        };
        instances.iter().all(is_ready)
    }

    /// The escapes of which a process lives.
    fn survivors(&self) -> Vec<&'static str> {
        let is_held = |name: &str| {
            let Ok(file) = File::open(self.sandbox.path(&format!("{name}.held"))) else { return false };
            Flock::lock(file, FlockArg::LockExclusiveNonblock).is_err()
        };
        let mut names: Vec<&str> = ESCAPES.iter().map(|escape| escape.0).filter(|name| is_held(name)).collect();
        let agent = fs::read_to_string(self.sandbox.path("agent")).ok().and_then(|pid| pid.trim().parse().ok());
        names.extend(agent.filter(|&pid| is_alive(pid)).map(|_| "agent"));
        names
    }

    fn expect_no_survivor(&self) {
        assert_eq!(self.survivors(), Vec::<&str>::new(), "they live on");
    }

    fn config(&self, instances: &[Value]) -> std::path::PathBuf {
        self.sandbox.config(&json!({ "instances": instances }).to_string())
    }
}

fn repeat(count: usize, run: fn(&Escapes)) {
    for _ in 0..count {
        let Some(escapes) = Escapes::new() else { return };
        run(&escapes);
    }
}

fn while_another_instance_runs(escapes: &Escapes) {
    let sandbox = &escapes.sandbox;
    let mut instances = escapes.instances("[[say Done.]]");
    let count = instances.len();
    instances.push(json!({ "name": "beside", "prompt": format!("{} [[say Done.]]", sandbox.gate("gate")) }));
    let zen = sandbox.start(&escapes.config(&instances), &["--grace", "0.5"]);
    wait_until("the end of all others", || {
        instances[..count].iter().all(|i| zen.has_ended(i["name"].as_str().expect("a name")))
    });
    escapes.expect_no_survivor();
    assert!(!zen.has_ended("beside"));
    sandbox.open_gate("gate");
    let outcome = zen.outcome().expect_code(2); // of the one that has killed its reaper
    assert_eq!(outcome.status("beside"), "completed", "{}", outcome.dump());
    assert_eq!(outcome.error("reaper-killed"), "claude ended with signal 9 without a result");
    assert!(outcome.stdout.contains("Left running: nothing"), "{}", outcome.dump());
}

fn after_a_timeout(escapes: &Escapes) {
    for seconds in TIMEOUTS {
        let mut instances = escapes.instances("[[hang]]");
        instances.iter_mut().for_each(|instance| instance["timeout"] = json!(seconds));
        let outcome = escapes.sandbox.run(&escapes.config(&instances), &["--grace", "0.5"]).expect_code(2);
        escapes.expect_no_survivor();
        assert!(outcome.stdout.contains("Left running: nothing"), "{}", outcome.dump());
        if escapes.are_ready(&instances) {
            return;
        }
    }
    panic!("it takes longer than that to start a few processes");
}

fn after_ctrl_c(escapes: &Escapes) {
    let instances = escapes.instances("[[hang]]");
    let zen = escapes.sandbox.start(&escapes.config(&instances), &["--grace", "0.5"]);
    wait_until("all", || escapes.are_ready(&instances));
    zen.signal(Signal::SIGINT);
    let outcome = zen.outcome().expect_code(130);
    escapes.expect_no_survivor();
    assert!(outcome.stdout.contains("Left running: nothing"), "{}", outcome.dump());
}

fn after_sigkill_of_zen(escapes: &Escapes) {
    let instances = escapes.instances("[[hang]]");
    let zen = escapes.sandbox.start(&escapes.config(&instances), &[]);
    wait_until("all", || escapes.are_ready(&instances));
    // What a killed reaper has left, zen has killed by then: that is the end of its instance.
    wait_until("the end of one", || zen.has_ended("reaper-killed"));
    zen.kill();
    let killed = Instant::now();
    wait_until("all to end", || escapes.survivors().is_empty() && escapes.sandbox.survivors().is_empty());
    assert!(killed.elapsed() < AT_MOST, "it took {:?}", killed.elapsed());
}

#[test]
fn no_escapee_survives_while_another_instance_runs() {
    repeat(RUNS, while_another_instance_runs);
}

#[test]
fn no_escapee_survives_a_timeout() {
    repeat(RUNS, after_a_timeout);
}

#[test]
fn no_escapee_survives_ctrl_c() {
    repeat(RUNS, after_ctrl_c);
}

#[test]
fn no_escapee_survives_sigkill_of_zen() {
    repeat(RUNS, after_sigkill_of_zen);
}

#[test]
#[ignore = "long"]
fn no_escapee_survives_twenty_runs_of_each() {
    for run in [while_another_instance_runs, after_a_timeout, after_ctrl_c, after_sigkill_of_zen] {
        repeat(SOAK_RUNS, run);
    }
}
