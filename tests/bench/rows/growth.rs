//! What one event costs the loop, with ever more instances.

use std::os::fd::AsFd;
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::child;
use crate::measure::{bytes_read, cpu_of, mib, status_field};
use crate::sandbox::Sandbox;
use crate::table::{Line, Table};

const WINDOW: Duration = Duration::from_secs(4);
/// Of all instances together, where that is kept the same.
const EVENTS_PER_SECOND: u64 = 1_000;
/// Of each instance, where that is kept the same.
const EVENTS_PER_SECOND_OF_EACH: u64 = 10;
/// How much more the last may cost than the first to be called flat.
const FLAT: f64 = 1.5;

/// How often poll(2) is asked to know what that costs.
const POLLS: u32 = 200;

const EACH: &str = "Each instance writes a line every 100 ms, so ten times as many instances write ten times as much. A pass of the loop \
asks poll(2) once for all pipes and serves all that are ready. As long as zen is not busy these are few, and what grows is \
what a pass costs without them: the next row.";
const SUM: &str = "All together write 1,000 lines a second, however many they are, so that a pass serves one line. \
Such a pass costs as much as there are instances, and most of that is poll(2): it goes through all descriptors, two for \
each, once before it waits and once after. Beside it stands a poll(2) alone that has to wait, on as many pipes. zen itself \
looks at each one's deadlines, a sixth of it. epoll(7) would spare the rest, on Linux alone. It has to be read as a share \
of a processor, which stands in the last column.";

/// At 10, 100 and 1,000 instances.
pub fn growth(table: &mut Table) {
    let each = |_| 1_000_000 / EVENTS_PER_SECOND_OF_EACH;
    let sum = |count: usize| 1_000_000 * count as u64 / EVENTS_PER_SECOND;
    for (what, period_micros, note, has_aim) in [
        ("each as busy as before", &each as &dyn Fn(usize) -> u64, EACH, true),
        ("as busy as before together", &sum, SUM, false),
    ] {
        let counts = [10, 100, 1000];
        let [ten, hundred, thousand] = counts.map(|count| event(count, period_micros(count)));
        let polls = counts.map(|count| format!("{:.1} µs", bare_poll(count).as_secs_f64() * 1e6)).join(", ");
        let ratio = thousand.micros / ten.micros;
        table.add(Line {
            what: format!("CPU per event at 10, 100, 1,000 instances, {what}"),
            ratio: format!("{ratio:.2} × from 10 to 1,000"),
            aim: has_aim.then_some(("flat, or explained", ratio <= FLAT)),
            zen: [&ten, &hundred, &thousand].map(|cost| format!("{:.1} µs", cost.micros)).join(", "),
            other: format!("one poll(2) alone: {polls}"),
            alone: format!("at 1,000: {:.1} % CPU, {}", thousand.share * 100.0, mib(thousand.peak_kib)),
            note,
        });
    }
}

/// The CPU time of one poll(2) that has to wait, on two pipes for each instance, in a process of two threads: so is zen, and
/// a descriptor that threads share takes longer to look at.
fn bare_poll(count: usize) -> Duration {
    let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).expect("there is a limit");
    setrlimit(Resource::RLIMIT_NOFILE, most, most).expect("it can be raised");
    let pipes: Vec<_> = (0..2 * count).map(|_| std::io::pipe().expect("a pipe")).collect();
    let mut fds: Vec<PollFd> = pipes.iter().map(|(reader, _)| PollFd::new(reader.as_fd(), PollFlags::POLLIN)).collect();
    let (ended, wait_for_end) = std::sync::mpsc::channel::<()>();
    let thread = std::thread::spawn(move || wait_for_end.recv());
    let before = cpu_of(std::process::id());
    for _ in 0..POLLS {
        poll(&mut fds, PollTimeout::from(1_u8)).expect("nothing is wrong with the pipes");
    }
    let cpu = cpu_of(std::process::id()) - before;
    drop(ended);
    let _ = thread.join();
    cpu / POLLS
}

struct Event {
    micros: f64,
    share: f64,
    peak_kib: u64,
}

fn event(count: usize, period_micros: u64) -> Event {
    let sandbox = Sandbox::new();
    let notes = sandbox.path("notes");
    let config = sandbox.instances(count, &format!("busy {} {period_micros} 1", notes.display()));
    let mut command = sandbox.zen(&config);
    command.args(["--no-logs", "--quiet"]);
    let mut zen = command.spawn().expect("zen starts");
    let pid = zen.id();
    sandbox.wait_for_notes(&notes, count);
    sleep(Duration::from_millis(500));
    let of_a_line = child::busy_line_bytes() as u64;
    let look = || (Instant::now(), cpu_of(pid), bytes_read(pid));
    let before = look();
    sleep(WINDOW);
    let after = look();
    let peak_kib = status_field(pid, "VmHWM").expect("zen lives");
    for _ in 0..2 {
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT).expect("zen lives");
        sleep(Duration::from_millis(500));
    }
    zen.wait().expect("zen ends");
    let (window, cpu, events) = (after.0 - before.0, after.1 - before.1, (after.2 - before.2) / of_a_line);
    assert!(events > 0, "nothing was read");
    Event { micros: cpu.as_secs_f64() * 1e6 / events as f64, share: cpu.as_secs_f64() / window.as_secs_f64(), peak_kib }
}
