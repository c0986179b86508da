//! From the message that crosses a limit, and from a deadline, to the interrupt, beside a hundred busy instances.

use std::fmt;
use std::io::{BufRead, BufReader, Write};
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::child;
use crate::measure::{cpu_of, mib, status_field, time};
use crate::sandbox::{Sandbox, instance};
use crate::table::{Line, Table};

const BUSY: usize = 100;
const MEASURED: usize = 300;
const AT_A_TIME: usize = 2;
const AIM: Duration = Duration::from_millis(5);
const IDLE_TIMEOUT_MICROS: u64 = 50_000;

const AS_THE_CHILD_SEES_IT: &str = "As the child sees it: from just before it writes the message to when it has read the interrupt, so \
that its own turn for a processor is in it as well; the floor tells how much that is. Each busy one writes 10 lines every 50 ms, five times what a fast model does.";
const DEADLINE: &str = "The deadline is the idle timeout, counted from just before the child's last line; zen counts from when it has \
read that, so this is a little more than zen's own.";
const FLOOD: &str = "Two processors, and a hundred that write as fast as they can: whoever writes waits for zen as all others do. One pass of \
the loop reads up to 64 kB of each.";

/// Both, at the 99th percentile.
pub fn latency(table: &mut Table) {
    let steady = "busy /dev/null 50000 10";
    measure(table, "the message that crosses a limit", steady, "cross FILE", Some(AIM), AS_THE_CHILD_SEES_IT);
    measure(table, "a deadline", steady, &format!("fall-silent FILE {IDLE_TIMEOUT_MICROS}"), Some(AIM), DEADLINE);
    measure(table, "the message that crosses a limit, in a flood", "busy /dev/null 0 200", "cross FILE", None, FLOOD);
}

fn measure(table: &mut Table, what: &str, busy: &str, role: &str, aim: Option<Duration>, note: &'static str) {
    let sandbox = Sandbox::new();
    let notes = sandbox.path("notes");
    let role = role.replace("FILE", &notes.display().to_string());
    let stopped = |i: usize| {
        let mut instance = instance(BUSY + i, &role);
        match role.starts_with("cross") {
            true => instance["max_tokens_per_command"] = json!(5_000),
            false => instance["idle_timeout"] = json!(IDLE_TIMEOUT_MICROS as f64 / 1e6),
        }
        instance
    };
    let instances: Vec<Value> = (0..BUSY).map(|i| instance(i, busy)).chain((0..MEASURED).map(stopped)).collect();
    let config = sandbox.config(&json!({
        "instances": instances,
        "budget": { "overall_budget": 1_000_000_000_u64, "enforcement_mode": "block" }
    }));
    let mut command = sandbox.zen(&config);
    command.args(["--no-logs", "--max-parallel", &(BUSY + AT_A_TIME).to_string()]);
    let mut zen = command.spawn().expect("zen starts");
    let began = Instant::now();
    let read = || -> Vec<Duration> {
        let text = std::fs::read_to_string(&notes).unwrap_or_default();
        text.lines().filter_map(|line| line.parse().ok()).map(Duration::from_nanos).collect()
    };
    let mut floor = Vec::new();
    while read().len() < MEASURED && began.elapsed() < Duration::from_secs(60) {
        floor.extend(answer_at_once(&sandbox));
    }
    let (cpu, peak_kib) = (cpu_of(zen.id()), status_field(zen.id(), "VmHWM").unwrap_or(0));
    for _ in 0..2 {
        let _ = kill(Pid::from_raw(zen.id().cast_signed()), Signal::SIGINT);
        sleep(Duration::from_millis(200));
    }
    zen.wait().expect("zen ends");
    let took = read();
    assert!(!took.is_empty() && !floor.is_empty(), "nobody was stopped: {what}");
    let (worst, of_floor) = (Percentiles::of(took), Percentiles::of(floor));
    table.add(Line {
        what: format!("from {what} to the interrupt, {BUSY} busy instances"),
        ratio: format!("p99 {}", time(worst.p99)),
        aim: aim.map(|aim| ("under 5 ms", worst.p99 < aim)),
        zen: worst.to_string(),
        other: format!(
            "floor, at the same time: one child and who answers it alone, p99 {}, {of_floor}",
            time(of_floor.p99)
        ),
        alone: format!("{}, {}", time(cpu), mib(peak_kib)),
        note,
    });
}

struct Percentiles {
    median: Duration,
    p90: Duration,
    p99: Duration,
    longest: Duration,
    count: usize,
}

impl Percentiles {
    fn of(mut took: Vec<Duration>) -> Self {
        took.sort();
        let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
        Percentiles { median: at(50), p90: at(90), p99: at(99), longest: at(100), count: took.len() }
    }
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Percentiles { median, p90, longest, count, .. } = self;
        write!(f, "median {}, p90 {}, longest {}, {count} times", time(*median), time(*p90), time(*longest))
    }
}

/// The floor: one child that crosses its limit, and nobody between it and this program, which answers at once.
fn answer_at_once(sandbox: &Sandbox) -> Option<Duration> {
    let file = sandbox.path("floor");
    let _ = std::fs::remove_file(&file);
    let mut command = sandbox.command(child::program());
    command.env(child::ROLE, format!("cross {}", file.display())).arg("--input-format");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut input = child.stdin.take().expect("a pipe");
    let output = child.stdout.take().expect("a pipe");
    input.write_all(b"{\"type\":\"user\"}\n").expect("it listens");
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        if line.contains("message_stop") {
            input.write_all(b"interrupt\n").expect("it listens");
        } else if line.contains(r#""result""#) {
            break;
        }
    }
    drop(input);
    child.wait().expect("it ends");
    std::fs::read_to_string(&file).ok()?.trim().parse().ok().map(Duration::from_nanos)
}
