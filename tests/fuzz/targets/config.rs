//! Any bytes as a config: they are read, planned, shown, and gone through to the end of the schedule. What is refused is
//! told with its place; what is accepted has an end.

use std::path::Path;
use std::time::Duration;

use zen::claude::argv::arguments;
use zen::claude::capabilities::Capabilities;
use zen::claude::session::SessionEntry;
use zen::config::{Config, Diagnostic};
use zen::engine::budget::{Admission, Budget};
use zen::engine::schedule::{LaunchPolicy, Schedule};
use zen::plan::{Defaults, HostFiles, Instance, Plan, plan};
use zen::report;
use zen::report::Style;
use zen::report::dry_run::PlannedRun;

const STYLE: Style = Style { unicode: true, colour: false };

/// A machine on which every second path is there.
struct Nowhere;

impl HostFiles for Nowhere {
    fn exists(&self, path: &Path) -> bool {
        path.as_os_str().len().is_multiple_of(2)
    }

    fn is_directory(&self, path: &Path) -> bool {
        self.exists(path)
    }
    fn has_command_file(&self, _: &Path, _: &str) -> bool {
        false
    }
}

pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let (config, mistakes) = match Config::read_with_diagnostics(text) {
        Ok(read) => read,
        Err(error) => return hold_to_plain_text(&format!("{}\n{}", error, error.excerpt)),
    };
    let defaults =
        Defaults { timeout: Duration::from_secs(300), idle_timeout: None, startup_timeout: Duration::from_secs(120) };
    let planned = plan(config, Path::new("/workspace"), &defaults, &Nowhere);
    mistakes.iter().for_each(|mistake| hold_to_the_form(mistake, text));
    planned.as_ref().err().into_iter().flatten().for_each(|mistake| hold_to_the_form(mistake, text));
    if let (Ok(plan), true) = (planned, mistakes.is_empty()) {
        show(&plan);
        run_through(&plan);
    }
}

/// It says where it is, in the text that there is.
fn hold_to_the_form<P: std::fmt::Display>(mistake: &Diagnostic<P>, text: &str) {
    let lines = text.bytes().filter(|&b| b == b'\n').count() + 1;
    assert!((1..=lines).contains(&mistake.position.line) && mistake.position.column >= 1, "{mistake}");
    hold_to_plain_text(&mistake.to_string());
}

fn hold_to_plain_text(text: &str) {
    assert!(!text.chars().any(|c| c.is_control() && c != '\n'), "{text:?}");
}

fn show(plan: &Plan) {
    let command_line = |instance: &Instance| {
        arguments(&instance.invocation, SessionEntry::open(None, false), Capabilities::newest(), None)
    };
    let command_lines: Vec<_> = plan.instances.iter().map(command_line).collect();
    let (workspace, command_lines) = (Path::new("/workspace"), &command_lines);
    let run = PlannedRun { plan, workspace, command_lines, settings: &[] };
    hold_to_plain_text(&report::dry_run::plan(&run, STYLE));
}

/// Every instance has its turn or is told why not, whatever becomes of the others.
fn run_through(plan: &Plan) {
    let pace = LaunchPolicy { startup_delay: Duration::from_secs(1), max_parallel: Some(2) };
    let mut schedule = Schedule::new(&plan.instances, pace);
    let mut ledger = Budget::new(&plan.budget, &plan.instances, &plan.prices);
    let (mut now, mut running, mut ended) = (Duration::ZERO, Vec::new(), 0);
    while !schedule.is_finished() {
        now += Duration::from_secs(1);
        match ledger.admit_first(schedule.ready(now), now) {
            Some((index, Admission::Admit)) => {
                ledger.started(index, now);
                schedule.started(index, now);
                running.push(index);
            }
            Some((index, Admission::Deny(refusal))) => {
                ledger.refused(index, refusal);
                ended += 1 + schedule.ended(index, false).len();
            }
            None => {
                let index = running.pop().expect("nothing runs, nothing can start, and it is not over");
                ledger.ended(index);
                ended += 1 + schedule.ended(index, index % 3 != 0).len();
            }
        }
    }
    assert_eq!(ended, plan.instances.len());
}
