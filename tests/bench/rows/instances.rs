//! Many instances of a child that answers at once.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;
use nix::sys::wait::{Id, WaitPidFlag, waitid};

use crate::child;
use crate::measure::{Cost, in_turn, median, ratio, run, time, times};
use crate::rivals::{installed, missing, netra_zen};
use crate::sandbox::Sandbox;
use crate::table::{Line, Table};

const COUNT: usize = 1000;
const AT_A_TIME: usize = 64;
const TIMES: usize = 5;

const MORE: &str = "The same child for both, which takes a thousandth of what a real one takes to start. For each, zen also makes three \
pipes, asks `initialize` and waits for the answer, sends the turn, reads and decodes the stream, looks for what the child has left \
behind, and keeps its books; `xargs` starts it and waits. Half of zen's own CPU time is fork(2) itself and the page faults behind \
it: the signal at zen's death has to be asked for in the child, so that the child cannot share zen's memory until its exec, and \
zen's page tables are copied. The second floor does that and no more: it forks from as much memory, with that signal, tells the child the \
same over three pipes, and waits. With files zen also makes a directory and two files for each.";

/// As much as zen holds with a thousand instances.
const MEMORY_BYTES: usize = 4 << 20;

/// A thousand of them, 64 at a time.
pub fn instances(table: &mut Table) {
    let sandbox = Sandbox::new();
    let config = sandbox.instances(COUNT, "answer");
    let list: String = (0..COUNT).map(|i| format!("{i}\n")).collect();
    std::fs::write(sandbox.path("list"), list).expect("a file");
    let input = || File::open(sandbox.path("list")).expect("a file");
    let zen = |flags: &[&str]| {
        let mut command = sandbox.zen(&config);
        command.args(["--max-parallel", &AT_A_TIME.to_string()]).args(flags);
        command
    };
    let xargs = || {
        let mut command = sandbox.command("xargs");
        command.args(["-n", "1", "-P", &AT_A_TIME.to_string()]).arg(child::program()).stdin(input());
        command
    };
    let [bare, kept, beside, floor, told] = in_turn(
        TIMES,
        [
            &mut || run(&mut zen(&["--no-logs"])),
            &mut || run(&mut zen(&[])),
            &mut || run(&mut xargs()),
            &mut || start_all(|| sandbox.command(child::program()).spawn().expect("it starts")),
            &mut || {
                let memory = std::hint::black_box(vec![1_u8; MEMORY_BYTES]);
                let cost = start_all(|| start_told(&sandbox));
                drop(memory);
                cost
            },
        ],
    );
    let mut first = line("without files", &bare, &beside, "`xargs -P 64`");
    first.aim = Some(("1.2 ×", ratio(&bare, &beside, |c| c.wall) <= 1.2));
    table.add(first);
    table.add(line("with files", &kept, &beside, "`xargs -P 64`"));
    table.add(line("without files", &bare, &floor, "floor: a bare loop in Rust, which has no need to fork"));
    table.add(line("without files", &bare, &told, "floor: a loop that forks, and tells the child the same"));

    let mut build = format!("rule r\n  command = {}\n", child::program().display());
    for i in 0..COUNT {
        let _ = writeln!(build, "build {i}: r");
    }
    std::fs::write(sandbox.path("build.ninja"), build).expect("a file");
    let at_a_time = AT_A_TIME.to_string();
    let mut rival = |name: &str, command: Option<&dyn Fn() -> Command>, runs: usize| {
        let Some(command) = command else {
            let dash = String::from("–");
            table.add(Line {
                what: what("without files"),
                ratio: dash.clone(),
                aim: None,
                zen: dash.clone(),
                other: missing(name),
                alone: dash,
                note: "",
            });
            return;
        };
        let costs: Vec<Cost> = (0..runs).map(|_| run(&mut command())).collect();
        table.add(line("without files", &bare[..runs], &costs, name));
    };
    let parallel = installed("parallel").map(|program| {
        let (sandbox, at_a_time) = (&sandbox, &at_a_time);
        move || {
            let mut command = sandbox.command(&program);
            command.args(["-j", at_a_time]).arg(child::program()).stdin(input());
            command
        }
    });
    rival("GNU parallel -j 64", parallel.as_ref().map(|f| f as &dyn Fn() -> Command), 3);
    let ninja = installed("ninja").map(|program| {
        let (sandbox, at_a_time) = (&sandbox, &at_a_time);
        move || {
            let mut command = sandbox.command(&program);
            command.args(["-j", at_a_time]);
            command
        }
    });
    rival("ninja -j 64", ninja.as_ref().map(|f| f as &dyn Fn() -> Command), 3);
    let netra = || netra_zen(&sandbox, COUNT);
    let is_there = netra().is_some();
    let netra = || netra().expect("it was there");
    rival("netra-zen 1.4.2, all at a time", is_there.then_some(&netra as &dyn Fn() -> Command), 1);
}

/// Starts a child as zen does, with a signal at the end of its parent, and tells it all at once what zen tells it.
fn start_told(sandbox: &Sandbox) -> Child {
    const TOLD: &[u8] = b"{\"subtype\":\"initialize\"}\n{\"type\":\"user\"}\n";
    let mut command = sandbox.command(child::program());
    command.args(["--input-format", "stream-json"]).env(child::ROLE, "answer").process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // SAFETY: between fork and exec one system call is made, and nothing is allocated.
    unsafe { command.pre_exec(|| Ok(set_pdeathsig(Signal::SIGTERM)?)) };
    let mut child = command.spawn().expect("it starts");
    child.stdin.take().expect("a pipe").write_all(TOLD).expect("it reads");
    child
}

/// A floor: starts them 64 at a time and waits for them, and nothing else. What they say fits into their pipes.
fn start_all(start: impl Fn() -> Child) -> Cost {
    let began = Instant::now();
    let mut running: HashMap<i32, Child> = HashMap::new();
    for started in 0.. {
        while running.len() == AT_A_TIME || (started >= COUNT && !running.is_empty()) {
            let ended =
                waitid(Id::All, WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT).ok().and_then(|status| status.pid());
            if let Some(mut child) = ended.and_then(|pid| running.remove(&pid.as_raw())) {
                child.wait().expect("it has ended");
            }
        }
        if started >= COUNT {
            break;
        }
        let child = start();
        running.insert(child.id().cast_signed(), child);
    }
    Cost { wall: began.elapsed(), ..Cost::default() }
}

fn line(files: &str, zen: &[Cost], other: &[Cost], name: &str) -> Line {
    Line {
        what: what(files),
        ratio: times(ratio(zen, other, |c| c.wall)),
        aim: None,
        zen: time(median(zen).wall),
        other: format!("{name}: {}", time(median(other).wall)),
        alone: median(zen).alone(),
        note: MORE,
    }
}

fn what(files: &str) -> String {
    format!("{COUNT} instances, {AT_A_TIME} at a time, {files}")
}
