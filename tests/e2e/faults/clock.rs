//! The clock on the wall is set back and forth while zen runs. A test cannot set it (it is everybody's), so it puts a
//! library of its own before the system's, which says to zen alone what a clock says that is being set.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::{GRACE, bad, beside_good_ones, expect_completed, expect_ended_at, expect_failed, expect_good_ones, with};
use harness::{Sandbox, wait_until};

/// The library, if there is a compiler for it.
fn jumping_clock(sandbox: &Sandbox) -> Option<PathBuf> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/faults/jumping_clock.c");
    let library = sandbox.path("jumping_clock.so");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    made.is_ok_and(|status| status.success()).then_some(library)
}

/// Timeouts, graces, launches and reports follow the time that passes.
#[test]
fn clock_that_is_set_back_and_forth_changes_no_timeout() {
    let sandbox = Sandbox::new();
    let Some(library) = jumping_clock(&sandbox) else {
        eprintln!("left out: there is no cc");
        return;
    };
    let late = with(bad("[[wait 1s]] [[say Late.]]"), "name", json!("late"));
    let silent = with(with(bad("[[hang]]"), "name", json!("silent")), "idle_timeout", json!(1.5));
    let deaf = with(bad("[[deaf]] [[hang]]"), "timeout", json!(2));
    let config = sandbox.config(&beside_good_ones(&[late, silent, deaf]));
    let arguments = ["--grace", "1", "--startup-delay", "0.2", "--status-report-interval", "0.5"];
    let zen = sandbox.started(sandbox.zen_on(&config, &arguments).env("LD_PRELOAD", &library));
    wait_until("a report", || zen.stdout().contains("Instance Status"));
    let maps = std::fs::read_to_string(format!("/proc/{}/maps", zen.pid())).expect("zen lives");
    if !maps.contains("libc") {
        eprintln!("left out: zen is static, and loads no other clock");
        return;
    }
    assert!(maps.contains("jumping_clock.so"), "zen has that clock");
    let outcome = zen.outcome().expect_code(4);
    expect_good_ones(&outcome);
    expect_completed(&outcome, "late");
    expect_ended_at(&outcome, "late", Duration::from_secs(1));
    expect_failed(&outcome, "silent", "timeout", "Timeout: no output for 1.5s");
    expect_ended_at(&outcome, "silent", Duration::from_millis(1500));
    expect_failed(&outcome, "bad", "timeout", "Timeout after 2s");
    expect_ended_at(&outcome, "bad", Duration::from_secs(2) + GRACE + super::TERMINATE_TO_KILL);
    // Five launches a fifth of a second apart, and the last one ends after five seconds.
    assert!(outcome.took >= Duration::from_secs(5) && outcome.took < Duration::from_secs(30), "{:?}", outcome.took);
    let reports = outcome.stdout.matches("Instance Status").count();
    let most = 2 + usize::try_from(outcome.took.as_millis() / 500).expect("a small number");
    assert!((2..=most).contains(&reports), "{reports} in {:?}", outcome.took);
}
