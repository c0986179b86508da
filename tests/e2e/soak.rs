//! Long runs, for `make soak`: ten thousand instances in one run, of which a tenth go wrong in some way; and SIGKILL to zen
//! at a hundred moments while the real claude works.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::real_cli::on_each_generation;
use harness::{Random, RunOutput, Running, Sandbox, wait_until, wait_within};

/// `ZEN_SOAK_INSTANCES` says otherwise, for a trial.
const INSTANCES: usize = 10_000;
const AT_ONCE: usize = 200;

/// One in so many goes wrong.
const BAD_EVERY: usize = 10;

const GOOD: &str = "[[usage in=900 out=100]] [[say Done.]]";

/// How much zen's memory may grow while it runs nine tenths of them: what it knows of each is kept.
const MAX_GROWTH_KB: u64 = 32 * 1024;

/// More than it needs for one instance.
const MAX_DESCRIPTORS_AT_THE_END: usize = 32;

/// One way to go wrong, and what it has to come to.
struct Fault {
    prompt: &'static str,
    fields: fn() -> Value,
    status: &'static str,
    reason: &'static str,
}

const fn fault(prompt: &'static str, status: &'static str, reason: &'static str) -> Fault {
    Fault { prompt, fields: || json!({}), status, reason }
}

const fn with(fault: Fault, fields: fn() -> Value) -> Fault {
    Fault { fields, ..fault }
}

fn at_start(script: &str) -> Value {
    json!({ "env": { "FAKE_CLAUDE_AT_START": script } })
}

fn short() -> Value {
    json!({ "timeout": 1 })
}

const FAULTS: [Fault; 20] = [
    fault("[[usage in=900 out=100]] [[say Begun.]] [[tool Read {}]] [[die SEGV]]", "failed", "error"),
    fault("[[say Begun.]] [[line 700 raw]] [[die KILL]]", "failed", "error"),
    fault("[[say Begun.]] [[exit 0]]", "failed", "error"),
    fault("[[error Out of ideas.]]", "failed", "error"),
    fault("[[close stdout]] [[hang]]", "failed", "error"),
    fault("/no-such-command", "failed", "command not found"),
    fault("[[say Begun.]] [[nest 100000 result]] [[hang]]", "failed", "error"),
    with(fault("never asked", "failed", "error"), || at_start("[[stderr No licence.]] [[exit 3]]")),
    with(fault("never asked", "failed", "error"), || at_start("[[die ABRT]]")),
    with(fault("[[say Begun.]] [[hang]]", "failed", "timeout"), short),
    with(fault("[[say Begun.]] [[deaf]] [[hang]]", "failed", "timeout"), short),
    with(fault("[[stop-self]] [[hang]]", "failed", "timeout"), short),
    with(fault("[[hold-pipe 300]] [[escape 300 deaf keep-pipes]] [[hang]]", "failed", "timeout"), short),
    fault("[[garbage 28]] [[usage in=900 out=100]] [[say Fine.]]", "completed", ""),
    fault("[[unknown-events 12]] [[line 6MB raw ended]] [[say Fine.]]", "completed", ""),
    fault("[[hold-pipe 300]] [[say Fine.]]", "completed", ""),
    fault("[[escape 300 deaf keep-pipes]] [[say Fine.]]", "completed", ""),
    fault("[[say Fine.]] [[linger 300]]", "completed", ""),
    fault("[[result-twice]] [[say Fine.]] [[exit-after 1]]", "completed", ""),
    with(fault("[[say Fine.]]", "completed", ""), || json!({ "env": { "FAKE_CLAUDE_INITIALIZE": "disordered" } })),
];

fn instance_count() -> usize {
    let given = std::env::var("ZEN_SOAK_INSTANCES").ok();
    given.map_or(INSTANCES, |count| count.parse().expect("a number of instances"))
}

/// What each instance has to come to: its name, status and reason.
type Expected = Vec<(String, &'static str, &'static str)>;

fn soaked(sandbox: &Sandbox, random: &mut Random) -> (Value, Expected) {
    let mut instances = vec![json!({ "name": "last", "prompt": format!("{} {GOOD}", sandbox.gate("gate")) })];
    let mut expected = vec![("last".to_owned(), "completed", "")];
    for number in 1..instance_count() {
        let name = format!("i{number}");
        let fault = (random.below(BAD_EVERY) == 0).then(|| &FAULTS[random.below(FAULTS.len())]);
        let (prompt, status, reason) = fault.map_or((GOOD, "completed", ""), |f| (f.prompt, f.status, f.reason));
        let key = if prompt.starts_with('/') { "command" } else { "prompt" };
        let mut instance = json!({ "name": name, key: prompt, "timeout": 120 });
        if let (Some(instance), Some(fault)) = (instance.as_object_mut(), fault) {
            instance.extend((fault.fields)().as_object().cloned().unwrap_or_default());
        }
        instances.push(instance);
        expected.push((name, status, reason));
    }
    (json!({ "instances": instances }), expected)
}

/// zen's memory once so many have ended.
fn memory_kb_after(zen: &Running, ended: usize) -> u64 {
    let bound = Duration::from_secs(3600);
    let count = || {
        let report = zen.report();
        let ended = |i: &&Value| i["ended_at"].is_string();
        report["instances"].as_array().map_or(0, |instances| instances.iter().filter(ended).count())
    };
    wait_within(bound, "the end of many", || {
        std::thread::sleep(Duration::from_secs(3)); // the report is large, and costs who writes it and who reads it
        (count() >= ended).then(|| zen.memory_kb("VmRSS"))
    })
}

#[test]
#[ignore = "long"]
fn ten_thousand_instances_of_which_a_tenth_go_wrong() {
    let mut random = Random::new();
    eprintln!("ZEN_TEST_SEED={}", random.seed);
    let sandbox = Sandbox::new();
    let (config, expected) = soaked(&sandbox, &mut random);
    let config = sandbox.config(&config.to_string());
    let at_once = AT_ONCE.to_string();
    let arguments = ["--max-parallel", &at_once, "--grace", "1", "--status-report-interval", "60"];
    let zen = sandbox.start(&config, &arguments);
    let count = instance_count();
    let early_kb = memory_kb_after(&zen, count / 10);
    let late_kb = memory_kb_after(&zen, count - 1);
    let (descriptors, zombies, most_kb) = (zen.descriptors(), zen.zombies(), zen.memory_kb("VmHWM"));
    sandbox.open_gate("gate");
    let outcome = zen.outcome().expect_code(2);
    eprintln!(
        "{count} instances, {AT_ONCE} at a time, took {:.0?}; memory {early_kb} kB after a tenth, {late_kb} kB at the \
         end, {most_kb} kB at most; {descriptors} descriptors at the end",
        outcome.took
    );
    hold_to(&outcome, &expected);
    hold_the_books(&sandbox, &outcome);
    assert!(late_kb < early_kb + MAX_GROWTH_KB, "from {early_kb} kB to {late_kb} kB");
    assert!(descriptors < MAX_DESCRIPTORS_AT_THE_END, "{descriptors} descriptors for one instance");
    assert_eq!(zombies, Vec::<i32>::new());
}

fn hold_to(outcome: &RunOutput, expected: &Expected) {
    let instances = outcome.report["instances"].as_array().expect("instances");
    assert_eq!(instances.len(), expected.len());
    let mut wrong = Vec::new();
    for (instance, (name, status, reason)) in instances.iter().zip(expected) {
        let told = (instance["name"].as_str(), instance["status"].as_str(), instance["reason"].as_str().unwrap_or(""));
        if told != (Some(name.as_str()), Some(*status), *reason) {
            wrong.push(format!("{told:?} instead of {status} {reason}: {}", instance["error"]));
        }
    }
    assert!(wrong.is_empty(), "{} of them:\n{}", wrong.len(), wrong.join("\n"));
    let completed = expected.iter().filter(|(_, status, _)| *status == "completed").count();
    assert!(outcome.stdout.contains(&format!("Successful: {completed}/{}", expected.len())), "{}", outcome.stdout);
    assert!(outcome.stdout.contains("Left running: nothing"), "{}", outcome.stdout);
}

/// Of each instance that was served in whole messages, and says so, zen has on its books what was served.
fn hold_the_books(sandbox: &Sandbox, outcome: &RunOutput) {
    // A process id may come again; the log is in order.
    let (mut by_pid, mut served) = (HashMap::new(), HashMap::<String, u64>::new());
    for event in sandbox.claude_log() {
        let pid = event["pid"].as_u64().expect("a pid");
        match event["event"].as_str() {
            Some("start") => {
                by_pid.insert(pid, event["env"]["ZEN_INSTANCE"].as_str().unwrap_or("").to_owned());
            }
            Some("served") => {
                let tokens = event["total_tokens"].as_u64().unwrap_or(0);
                *served.entry(by_pid[&pid].clone()).or_default() += tokens;
            }
            _ => {}
        }
    }
    let instances = outcome.report["instances"].as_array().expect("instances");
    let (mut sum, mut exact) = (0, 0);
    for instance in instances {
        let name = instance["name"].as_str().expect("a name");
        let (booked, served) = (instance["tokens"]["total"].as_u64(), served.get(name).copied().unwrap_or(0));
        sum += booked.expect("a count");
        if instance["tokens_certainty"] == "exact" {
            exact += 1;
            assert_eq!(booked, Some(served), "{instance:#}");
        }
    }
    assert!(exact > instances.len() / 10 * 9, "{exact} are exact");
    assert_eq!(outcome.report["totals"]["tokens"]["total"].as_u64(), Some(sum));
}

/// Thirty-four on each of three generations.
#[test]
#[ignore = "long"]
fn real_sigkill_of_zen_at_a_hundred_random_moments() {
    const TIMES: usize = 34;
    /// By then the tool runs.
    const LATEST: Duration = Duration::from_secs(4);
    const AT_MOST: Duration = Duration::from_secs(2);
    on_each_generation(1, |real| {
        let mut random = Random::new();
        let tool = json!({ "command": "setsid sleep 300 & (setsid -f sleep 300); sleep 300" });
        let prompt =
            format!("Hold on. [[usage in=700 out=30]] [[say Begun.]] [[tool Bash {tool}]] [[say Never said.]]");
        let (mut slowest, mut at_work) = (Duration::ZERO, 0);
        for _ in 0..TIMES {
            let run = real.start(&real.sandbox.prompts(&[&prompt]), &[]);
            let moment = random.time_below(LATEST);
            std::thread::sleep(moment);
            at_work += usize::from(real.sandbox.survivors().iter().any(|process| process.contains("sleep 300")));
            run.kill();
            let killed = Instant::now();
            wait_until("the end of all", || real.sandbox.survivors().is_empty());
            slowest = slowest.max(killed.elapsed());
            let seed = random.seed;
            assert!(slowest < AT_MOST, "it took {slowest:?} after {moment:?}, ZEN_TEST_SEED={seed}");
        }
        eprintln!("claude {}: {TIMES} times, {at_work} of them while a tool ran; gone in {slowest:?}", real.version);
        assert!(at_work > 0, "no tool was ever at work");
    });
}

/// What a signal comes upon does not matter either: stopped in order, and within its bounds.
#[test]
#[ignore = "long"]
fn sigterm_at_a_hundred_random_moments() {
    let mut random = Random::new();
    eprintln!("ZEN_TEST_SEED={}", random.seed);
    for _ in 0..100 {
        let sandbox = Sandbox::new();
        let script = "[[escape 300 deaf keep-pipes]] [[usage in=900 out=100]] [[say Begun.]] \
                      [[tool Bash {\"command\": \"sleep 300 & sleep 300\"}]]";
        let instances: Vec<Value> = ["2.1", "2.0", "1.0"]
            .map(|g| json!({ "name": g, "prompt": script, "env": { "FAKE_CLAUDE_GENERATION": g } }))
            .into();
        let config = sandbox.config(&json!({ "instances": instances }).to_string());
        let zen = sandbox.start(&config, &["--grace", "2"]);
        wait_until("its files", || zen.report()["run"].is_string());
        std::thread::sleep(random.time_below(Duration::from_millis(600)));
        zen.signal(Signal::SIGTERM);
        let outcome = zen.outcome_within(Duration::from_secs(15)).expect_code(143);
        assert!(outcome.stdout.contains("Left running: nothing"), "{}", outcome.dump());
    }
}
