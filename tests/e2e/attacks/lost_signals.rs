//! A stopping signal among many others.

use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use harness::{Sandbox, wait_until};

/// More than fit into the pipe that wakes the loop: 278 on Linux.
const REPORTS_ASKED_FOR: usize = 3000;

/// Enough to keep one pass of the loop busy for much longer than the signals take.
const INSTANCES: usize = 40;

#[test]
fn sigterm_after_many_sigusr1_in_one_pass_of_the_loop_stops_the_run() {
    let sandbox = Sandbox::new();
    let floods = |i: usize| json!({ "name": format!("i{i}"), "prompt": "[[tiny 2000000]] [[say Done.]]" });
    let instances: Vec<Value> = (0..INSTANCES).map(floods).collect();
    let config = sandbox.config(&json!({ "instances": instances }).to_string());
    let zen = sandbox.start(&config, &["--no-logs", "--status-report-interval", "1000", "--grace", "0.1"]);
    wait_until("all to write", || sandbox.claude_events("turn").len() == INSTANCES);
    for _ in 0..REPORTS_ASKED_FOR {
        zen.signal(Signal::SIGUSR1);
        // Each must reach the handler before the next: the system keeps only one that waits.
        std::thread::sleep(Duration::from_micros(20));
    }
    zen.signal(Signal::SIGTERM);
    wait_until("the stop", || zen.stderr().contains("SIGTERM"));
    zen.outcome().expect_code(143);
}
