//! A hundred silent instances for a minute.

use std::fs::File;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::measure::{cpu_of, mib, status_field, time};
use crate::sandbox::Sandbox;
use crate::table::{Line, Table};

const COUNT: usize = 100;
const WINDOW: Duration = Duration::from_secs(60);
const MAX_SHARE: f64 = 0.0005;

const WAKE_UPS: &str = "Wake-ups are voluntary context switches in /proc/PID/status, from when all instances have their turn. \
Reports are counted in what zen printed in the same minute; the one at either edge may fall to the other side.";

/// Wake-ups and CPU time.
pub fn idle(table: &mut Table) {
    let sandbox = Sandbox::new();
    let notes = sandbox.path("notes");
    let config = sandbox.instances(COUNT, &format!("silent {}", notes.display()));
    let stdout = sandbox.path("stdout");
    let mut command = sandbox.zen(&config);
    command.arg("--no-logs").stdout(File::create(&stdout).expect("a file"));
    let mut zen = command.spawn().expect("zen starts");
    let pid = zen.id();
    sandbox.wait_for_notes(&notes, COUNT);
    sleep(Duration::from_secs(1));
    let look = || {
        let text = std::fs::read_to_string(&stdout).unwrap_or_default();
        let reports = text.matches("Instance Status (").count();
        (status_field(pid, "voluntary_ctxt_switches").expect("zen lives"), cpu_of(pid), reports)
    };
    let before = look();
    sleep(WINDOW);
    let after = look();
    let peak_kib = status_field(pid, "VmHWM").expect("zen lives");
    for _ in 0..2 {
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT).expect("zen lives");
        sleep(Duration::from_millis(100));
    }
    zen.wait().expect("zen ends");
    let (wake_ups, cpu, reports) = (after.0 - before.0, after.1 - before.1, after.2 - before.2);
    let share = cpu.as_secs_f64() / WINDOW.as_secs_f64();
    for (what, ratio, aim) in [
        (
            "wake-ups",
            format!("{wake_ups} for {reports} reports"),
            ("no more than reports", wake_ups <= reports as u64 + 1),
        ),
        ("CPU", format!("{:.3} %", share * 100.0), ("under 0.05 %", share < MAX_SHARE)),
    ] {
        table.add(Line {
            what: format!("{COUNT} silent instances for a minute: {what}"),
            ratio,
            aim: Some(aim),
            zen: format!("{wake_ups} wake-ups, CPU {}", time(cpu)),
            other: "–".into(),
            alone: format!("{}, {}", time(cpu), mib(peak_kib)),
            note: WAKE_UPS,
        });
    }
}
