//! Runs a command, and tells what it took: itself alone, none of its children.

use std::fs;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// What a process took.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    pub wall: Duration,
    pub cpu: Duration,
    pub peak_kib: u64,
}

impl Cost {
    /// CPU time and peak memory, for the table.
    pub fn alone(&self) -> String {
        format!("{}, {}", time(self.cpu), mib(self.peak_kib))
    }
}

/// Runs it to its end, its output thrown away unless it goes somewhere else already.
pub fn run(command: &mut Command) -> Cost {
    let began = Instant::now();
    let child = command.stderr(Stdio::null()).spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    wait(child, began)
}

/// Waits for the end of one that was started at that time.
pub fn wait(mut child: Child, began: Instant) -> Cost {
    let pid = child.id();
    let handle = handle_of(pid);
    let mut peak_kib = 0;
    loop {
        let mut fds = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
        let has_ended = poll(&mut fds, PollTimeout::from(5_u8)).is_ok_and(|ready| ready > 0);
        peak_kib = status_field(pid, "VmHWM").unwrap_or(0).max(peak_kib);
        if has_ended {
            break;
        }
    }
    let cost = Cost { wall: began.elapsed(), cpu: cpu_of(pid), peak_kib };
    child.wait().expect("it can be reaped");
    cost
}

/// The CPU time that a process has taken, all its threads and none of its children; of one that is not reaped too.
pub fn cpu_of(pid: u32) -> Duration {
    let clock = ClockId::pid_cpu_clock_id(Pid::from_raw(pid.cast_signed())).expect("it has a clock");
    clock_gettime(clock).expect("its clock can be read").into()
}

/// A number of `/proc/PID/status`: kilobytes, or times.
pub fn status_field(pid: u32, name: &str) -> Option<u64> {
    number_after(&fs::read_to_string(format!("/proc/{pid}/status")).ok()?, name)
}

/// How many bytes it has read, from whatever.
pub fn bytes_read(pid: u32) -> u64 {
    let io = fs::read_to_string(format!("/proc/{pid}/io")).expect("it is alive");
    number_after(&io, "rchar").expect("/proc tells it")
}

fn number_after(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn handle_of(pid: u32) -> OwnedFd {
    // SAFETY: the call makes a descriptor, or answers a negative number.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    assert!(fd >= 0, "pidfd_open: {}", std::io::Error::last_os_error());
    // SAFETY: it was just made, and is nobody else's.
    unsafe { OwnedFd::from_raw_fd(i32::try_from(fd).expect("a descriptor")) }
}

/// The monotonic clock, which is the same for all processes.
pub fn now() -> Duration {
    clock_gettime(ClockId::CLOCK_MONOTONIC).expect("there is a clock").into()
}

/// Runs each in turn, so many times, so that what disturbs the machine disturbs all alike.
pub fn in_turn<const N: usize>(times: usize, mut each: [&mut dyn FnMut() -> Cost; N]) -> [Vec<Cost>; N] {
    let mut costs = [const { Vec::new() }; N];
    for _ in 0..times {
        for (run, costs) in each.iter_mut().zip(&mut costs) {
            costs.push(run());
        }
    }
    costs
}

/// The middle one of each figure.
pub fn median(costs: &[Cost]) -> Cost {
    Cost {
        wall: middle(costs.iter().map(|c| c.wall)),
        cpu: middle(costs.iter().map(|c| c.cpu)),
        peak_kib: middle(costs.iter().map(|c| c.peak_kib)),
    }
}

/// The median of the ratios of runs that stood side by side.
pub fn ratio(zen: &[Cost], other: &[Cost], figure: fn(&Cost) -> Duration) -> f64 {
    let ratio = |(zen, other): (&Cost, &Cost)| figure(zen).as_secs_f64() / figure(other).as_secs_f64().max(1e-9);
    let mut ratios: Vec<f64> = zen.iter().zip(other).map(ratio).collect();
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

pub fn middle<T: Ord>(values: impl Iterator<Item = T>) -> T {
    let mut values: Vec<T> = values.collect();
    values.sort();
    let middle = values.len() / 2;
    values.swap_remove(middle)
}

/// `1.23 ms`, `45 ms`, `1.23 s`.
pub fn time(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1000.0;
    match ms {
        ..10.0 => format!("{ms:.2} ms"),
        ..1000.0 => format!("{ms:.0} ms"),
        _ => format!("{:.2} s", ms / 1000.0),
    }
}

pub fn times(ratio: f64) -> String {
    if ratio < 0.1 { format!("{ratio:.3} ×") } else { format!("{ratio:.2} ×") }
}

pub fn mib(kib: u64) -> String {
    format!("{:.1} MiB", kib as f64 / 1024.0)
}
