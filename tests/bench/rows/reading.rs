//! Reading streams: CPU time against what does nothing but read, and against what decodes everything.

use std::fs::File;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use crate::child;
use crate::measure::{Cost, in_turn, median, ratio, run, time, times, wait};
use crate::rivals::{installed, missing, netra_zen};
use crate::sandbox::Sandbox;
use crate::table::{Line, Table};

const BYTES: u64 = 1 << 30;
const TIMES: usize = 3;
/// How much of it jq gets; its figures are scaled to the whole.
const SLICE: u32 = 32;
/// How much of it netra-zen gets, which takes the longer for a line the more it has read.
const SLIVER: u32 = 1024;

const SHORT: &str = "Lines of about 250 bytes as a model streams them: a hundred deltas a message, each message with an id of its own. \
Deltas are told by their first bytes; to find the ends of lines all bytes are looked at once more than `cat` does.";
const LONG: &str = "Lines of 300 kB: half of them answers, half results of tools. A line longer than a read is put together first, and its \
JSON is gone through once, byte by byte: all of it has to be valid, and an answer is unescaped for the reports, into memory that the system clears anew. `cat` looks \
at no byte, and `jq` has few values to build in such lines.";
const SLICED: &str = "Measured on a 32nd of it and scaled.";
const SLIVERED: &str = "Measured on 1 MB of short lines and scaled, less its start.";
const LOGS: &str = "With logs zen writes all it reads to the disk's cache, as `cat > FILE` does.";

/// A gigabyte in short and in long lines, from one and from eight at once, without logs and with them.
pub fn reading(table: &mut Table) {
    for (kind, lines, note) in [("short", "short lines", SHORT), ("long", "300 kB lines", LONG)] {
        let sandbox = Sandbox::new();
        for count in [1, 8] {
            let from = if count == 1 { "from one" } else { "8 at once" };
            let role = format!("stream {kind} {}", BYTES / count as u64);
            let config = sandbox.instances(count, &role);
            let log = sandbox.path("log");
            let logs = sandbox.path(".local");
            let zen = |flags: &[&str]| {
                let cost = run(sandbox.zen(&config).args(flags));
                let _ = std::fs::remove_dir_all(&logs);
                cost
            };
            let [bare, beside] =
                in_turn(TIMES, [&mut || zen(&["--no-logs"]), &mut || cat(&sandbox, &role, count, None)]);
            let [kept, beside_kept] =
                in_turn(TIMES, [&mut || zen(&[]), &mut || cat(&sandbox, &role, count, Some(&log))]);
            let what = format!("1 GB in {lines}, {from}");
            let mut first = line(&format!("{what}, no logs"), &bare, &beside, "`cat > /dev/null`", note);
            first.aim = Some(("CPU 3 ×", ratio(&bare, &beside, |c| c.cpu) <= 3.0));
            table.add(first);
            table.add(line(&format!("{what}, logs"), &kept, &beside_kept, "`cat > FILE`", LOGS));
            if count == 1 {
                decoders(table, &sandbox, kind, &what, &bare);
            }
        }
    }
}

fn decoders(table: &mut Table, sandbox: &Sandbox, kind: &str, what: &str, zen: &[Cost]) {
    let role = |slice: u32| format!("stream {kind} {}", BYTES / u64::from(slice));
    let what = format!("{what}, no logs");
    let absent = |name| {
        let dash = String::from("–");
        let zen = time(median(zen).cpu);
        Line { what: what.clone(), ratio: dash.clone(), aim: None, zen, other: missing(name), alone: dash, note: "" }
    };
    table.add(match installed("jq") {
        Some(jq) => {
            let mut command = sandbox.command(jq);
            command.args(["-c", r#"select(.type == "result")"#]);
            let run = |_| scaled(piped(sandbox, &role(SLICE), &mut command), SLICE);
            let costs: Vec<Cost> = (0..TIMES).map(run).collect();
            let mut line = line(&what, zen, &costs, "`jq`, for the result alone", SLICED);
            line.aim = Some(("10 × ahead", ratio(zen, &costs, |c| c.cpu) <= 0.1));
            line
        }
        None => absent("jq"),
    });
    if kind == "long" {
        return;
    }
    table.add(match (netra_zen(sandbox, 1), netra_zen(sandbox, 1)) {
        (Some(mut idle), Some(mut reading)) => {
            let (idle, reading) = (run(&mut idle), run(reading.env(child::ROLE, role(SLIVER))));
            let (wall, cpu) = (reading.wall.saturating_sub(idle.wall), reading.cpu.saturating_sub(idle.cpu));
            line(&what, &zen[..1], &[scaled(Cost { wall, cpu, ..reading }, SLIVER)], "netra-zen 1.4.2", SLIVERED)
        }
        _ => absent("netra-zen 1.4.2"),
    });
}

fn scaled(cost: Cost, slice: u32) -> Cost {
    Cost { wall: cost.wall * slice, cpu: cost.cpu * slice, ..cost }
}

/// The child's stream into `cat`, once for each of `count`, all at a time.
fn cat(sandbox: &Sandbox, role: &str, count: usize, file: Option<&Path>) -> Cost {
    let mut cats = Vec::new();
    let began = Instant::now();
    for _ in 0..count {
        let mut command = sandbox.command("cat");
        if let Some(file) = file {
            command.stdout(File::create(file).expect("a file"));
        }
        cats.push(start_piped(sandbox, role, &mut command));
    }
    let mut sum = Cost::default();
    for (mut child, cat) in cats {
        let cost = wait(cat, began);
        child.wait().expect("it ends");
        sum.cpu += cost.cpu;
        sum.wall = sum.wall.max(cost.wall);
    }
    if let Some(file) = file {
        let _ = std::fs::remove_file(file);
    }
    sum
}

fn piped(sandbox: &Sandbox, role: &str, command: &mut Command) -> Cost {
    let began = Instant::now();
    let (mut child, reader) = start_piped(sandbox, role, command);
    let cost = wait(reader, began);
    child.wait().expect("it ends");
    cost
}

fn start_piped(sandbox: &Sandbox, role: &str, command: &mut Command) -> (std::process::Child, std::process::Child) {
    let mut source = sandbox.command(child::program());
    let mut child = source.env(child::ROLE, role).stdout(Stdio::piped()).spawn().expect("it starts");
    let reader = command.stdin(child.stdout.take().expect("a pipe")).spawn().expect("it starts");
    (child, reader)
}

fn line(what: &str, zen: &[Cost], other: &[Cost], name: &str, note: &'static str) -> Line {
    let (own, beside) = (median(zen), median(other));
    Line {
        what: what.to_owned(),
        ratio: times(ratio(zen, other, |c| c.cpu)),
        aim: None,
        zen: format!("CPU {}, {}", time(own.cpu), time(own.wall)),
        other: format!("{name}: CPU {}, {}", time(beside.cpu), time(beside.wall)),
        alone: own.alone(),
        note,
    }
}
