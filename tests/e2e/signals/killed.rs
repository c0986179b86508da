//! zen is killed with SIGKILL: nothing of its run may live on, in whatever session and however deaf.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{SPENDS, alive, config, has_logged, instance, with_env};
use harness::{Random, Running, Sandbox, wait_until};

/// How long what zen has left may take to end.
const AT_MOST: Duration = Duration::from_secs(20);

fn kill(sandbox: &Sandbox, zen: Running) {
    zen.kill();
    let killed = Instant::now();
    wait_until("everything to end", || sandbox.survivors().is_empty() && alive(sandbox).is_empty());
    let took = killed.elapsed();
    assert!(took < AT_MOST, "it took {took:?}");
}

fn of_each_generation(script: &str) -> Vec<Value> {
    let of = |generation: &str| with_env(instance(generation, script), json!({ "FAKE_CLAUDE_GENERATION": generation }));
    ["2.1", "2.0", "1.0"].map(of).to_vec()
}

#[test]
fn before_anything_is_launched() {
    let sandbox = Sandbox::new();
    let slow = json!({ "name": "a", "prompt": "never", "depends_on": [] });
    let zen = sandbox.start(&config(&sandbox, &[slow]), &["--startup-delay", "100"]);
    wait_until("zen to run", || zen.report()["run"].is_string());
    kill(&sandbox, zen);
}

#[test]
fn while_launching() {
    let sandbox = Sandbox::new();
    let many: Vec<Value> = (0..20).map(|i| instance(&format!("i{i}"), SPENDS)).collect();
    let zen = sandbox.start(&config(&sandbox, &many), &[]);
    wait_until("some of them", || sandbox.claude_events("start").len() >= 3);
    kill(&sandbox, zen);
}

#[test]
fn while_waiting_for_the_first_response() {
    let sandbox = Sandbox::new();
    let silent = |name, how: &str| with_env(instance(name, "never"), json!({ "FAKE_CLAUDE_AT_START": how }));
    let instances = [silent("hangs", "[[hang]]"), silent("deaf", "[[deaf]] [[hang]]")];
    let zen = sandbox.start(&config(&sandbox, &instances), &[]);
    wait_until("both", || has_logged(&sandbox, "start", 2));
    kill(&sandbox, zen);
}

#[test]
fn while_tools_run() {
    let sandbox = Sandbox::new();
    let zen = sandbox.start(&config(&sandbox, &of_each_generation(SPENDS)), &[]);
    wait_until("the tools", || has_logged(&sandbox, "tool", 3));
    kill(&sandbox, zen);
}

#[test]
fn while_tools_that_ignore_signals_run() {
    let sandbox = Sandbox::new();
    let zen = sandbox.start(&config(&sandbox, &of_each_generation(&format!("[[deaf]] {SPENDS}"))), &[]);
    wait_until("the tools", || has_logged(&sandbox, "tool", 3));
    kill(&sandbox, zen);
}

#[test]
fn while_some_have_escaped() {
    let sandbox = Sandbox::new();
    let script =
        format!("[[escape 300]] [[escape 300 deaf]] [[escape 300 deaf keep-pipes]] [[hold-pipe 300]] {SPENDS}");
    let zen = sandbox.start(&config(&sandbox, &of_each_generation(&script)), &[]);
    wait_until("the tools", || has_logged(&sandbox, "tool", 3));
    kill(&sandbox, zen);
}

#[test]
fn in_the_grace_of_a_stop() {
    let sandbox = Sandbox::new();
    let zen = sandbox.start(&config(&sandbox, &of_each_generation(&format!("[[deaf]] {SPENDS}"))), &["--grace", "300"]);
    wait_until("the tools", || has_logged(&sandbox, "tool", 3));
    zen.signal(nix::sys::signal::Signal::SIGTERM);
    wait_until("word of it", || zen.stderr().contains("send it again to kill them"));
    kill(&sandbox, zen);
}

/// Wherever it is: between two steps of a launch, of a turn, of a stop.
#[test]
fn at_random_moments() {
    kill_at_random_moments(24);
}

#[test]
#[ignore = "long"]
fn at_a_hundred_random_moments() {
    kill_at_random_moments(100);
}

fn kill_at_random_moments(count: usize) {
    const AT_ONCE: usize = 4;
    let mut random = Random::new();
    eprintln!("ZEN_TEST_SEED={}", random.seed);
    let seeds: Vec<u64> = (0..count).map(|_| random.below(usize::MAX) as u64).collect();
    let left = Mutex::new(seeds);
    let next = || left.lock().expect("nobody panics with it").pop();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(seed) = next() {
                    kill_at_a_random_moment(&mut Random::of(seed));
                }
            });
        }
    });
}

/// After so many events of the log of the fake claudes, and a moment.
fn kill_at_a_random_moment(random: &mut Random) {
    const EVENTS: usize = 24;
    let sandbox = Sandbox::new();
    let escapes = format!("[[escape 300]] [[escape 300 deaf keep-pipes]] [[hold-pipe 300]] {SPENDS}");
    let mut instances = of_each_generation(&escapes);
    let mut timed_out = instance("timed-out", &format!("[[deaf]] {SPENDS}"));
    timed_out["timeout"] = json!(0.3);
    instances.extend([timed_out, instance("ends", "[[say Done.]]"), instance("dies", "[[escape 300]] [[die KILL]]")]);
    let zen = sandbox.start(&config(&sandbox, &instances), &["--grace", "0.3"]);
    let events = random.below(EVENTS);
    wait_until("its moment", || sandbox.claude_log().len() >= events);
    std::thread::sleep(random.time_below(Duration::from_millis(40)));
    kill(&sandbox, zen);
}

/// A second run's processes are not the first one's to end.
#[test]
fn beside_another_run() {
    let (sandbox, other) = (Sandbox::new(), Sandbox::new());
    let waits = instance("a", &format!("{} [[say Done.]]", other.gate("gate")));
    let another = other.start(&config(&other, &[waits]), &[]);
    let zen = sandbox.start(&config(&sandbox, &of_each_generation(SPENDS)), &[]);
    wait_until("the tools", || has_logged(&sandbox, "tool", 3) && has_logged(&other, "tool", 1));
    kill(&sandbox, zen);
    other.open_gate("gate");
    let outcome = another.outcome().expect_code(0);
    assert_eq!(outcome.status("a"), "completed");
}
