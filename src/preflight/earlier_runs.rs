//! Reads the `report.json` of earlier runs below a log directory: the usage of an instance when it last completed. All
//! reads are bounded; reports that cannot be read or parsed are skipped.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::libc;
use serde::Deserialize;

use crate::claude::tokens::Tokens;
use crate::claude::usage_meter::ModelUsage;

/// Number of the newest runs that are read, whatever their config.
const MAX_RUNS: usize = 10;

/// Maximum size of a report; a larger one is skipped.
const MAX_REPORT_BYTES: u64 = 4 * 1024 * 1024;

#[derive(Deserialize)]
struct Report {
    config: Option<String>,
    workspace: String,
    instances: Vec<Instance>,
}

#[derive(Deserialize)]
struct Instance {
    name: String,
    status: String,
    tokens: Used,
    cost_usd: f64,
}

#[derive(Deserialize)]
struct Used {
    input: u64,
    output: u64,
    cache_creation: u64,
    cache_read: u64,
}

/// Returns the usage of each instance when it last completed, by name. It reads the newest runs of this config and
/// workspace below `base`.
#[must_use]
pub fn used_by_instance(base: &Path, config: &str, workspace: &str) -> BTreeMap<String, ModelUsage> {
    let mut used = BTreeMap::new();
    for run in newest_runs(base) {
        let Some(report) = read_report(&base.join(run).join("report.json")) else { continue };
        if report.config.as_deref() != Some(config) || report.workspace != workspace {
            continue;
        }
        for Instance { name, status, tokens, cost_usd } in report.instances {
            let Used { input, output, cache_creation, cache_read } = tokens;
            let tokens = Tokens { input, output, cache_creation, cache_read };
            if status == "completed" && tokens.total() > 0 {
                let micros = (cost_usd.max(0.0) * 1e6).round() as u64;
                used.entry(name).or_insert(ModelUsage { tokens, micros });
            }
        }
    }
    used
}

/// Returns the names of the newest runs, newest first. Names begin with the start time.
fn newest_runs(base: &Path) -> Vec<String> {
    let entries = fs::read_dir(base).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    let mut newest: Vec<String> = Vec::new();
    for name in names.filter(|name| name.starts_with(|c: char| c.is_ascii_digit())) {
        let at = newest.partition_point(|other| *other > name);
        newest.insert(at, name);
        newest.truncate(MAX_RUNS);
    }
    newest
}

fn read_report(path: &Path) -> Option<Report> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).open(path).ok()?;
    let metadata = file.metadata().ok()?;
    if !metadata.is_file() || metadata.len() > MAX_REPORT_BYTES {
        return None;
    }
    let mut bytes = Vec::new();
    file.take(MAX_REPORT_BYTES).read_to_end(&mut bytes).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(config: &str, status: &str, input: u64) -> String {
        format!(
            r#"{{"schema_version": 2, "config": "{config}", "workspace": "/w", "more": [1], "instances": [
                {{"name": "a", "status": "{status}", "cost_usd": 0.25, "new": null,
                "tokens": {{"input": {input}, "output": 1, "cache_creation": 0, "cache_read": 0, "total": 9}}}}]}}"#
        )
    }

    #[test]
    fn the_newest_completed_run_of_the_same_config_and_workspace_counts() {
        let base = tempfile::tempdir().expect("a directory");
        let put = |run: &str, text: &str| {
            fs::create_dir_all(base.path().join(run)).expect("a directory");
            fs::write(base.path().join(run).join("report.json"), text).expect("a file");
        };
        let used = || used_by_instance(base.path(), "c.json", "/w").get("a").map(|a| (a.tokens.input, a.micros));
        assert_eq!(used(), None);
        put("20261101T000000Z-1", &report("c.json", "completed", 100));
        put("20261102T000000Z-1", &report("c.json", "completed", 200));
        put("20261103T000000Z-1", &report("c.json", "failed", 300));
        put("20261104T000000Z-1", &report("other.json", "completed", 400));
        put("20261105T000000Z-1", "{");
        put("latest", &report("c.json", "completed", 500));
        assert_eq!(used(), Some((200, 250_000)));
        assert!(used_by_instance(base.path(), "c.json", "/elsewhere").is_empty());
        let huge = report("c.json", "completed", 600) + &" ".repeat(MAX_REPORT_BYTES as usize);
        put("20261106T000000Z-1", &huge);
        fs::create_dir_all(base.path().join("20261107T000000Z-1")).expect("a directory");
        std::os::unix::fs::symlink("/dev/zero", base.path().join("20261107T000000Z-1/report.json")).expect("a link");
        assert_eq!(used(), Some((200, 250_000)));
        for run in 0..MAX_RUNS {
            put(&format!("20261201T00000{run}Z-1"), "{}");
        }
        assert_eq!(used(), None, "only the newest are looked at");
    }
}
