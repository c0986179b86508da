//! Disks that are slow, full or read-only, and instances that plant links in the run directory. No verdict changes, nothing
//! outside is written, and a record that is incomplete is reported and changes the exit code.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::resource::{RLIM_INFINITY, Resource, setrlimit};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{expect_completed, expect_failed, instance, with};
use harness::{RunOutput, Sandbox, fake_claude, wait_until, write_program};

/// A tool that runs this shell command.
fn bash(command: &str) -> String {
    format!("[[tool Bash {}]]", json!({ "command": command }))
}

/// Makes zen's disk slow. Returns false if that cannot be done here.
fn slow_disk(sandbox: &Sandbox, zen: &mut Command, delay: Duration) -> bool {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/faults/slow_disk.c");
    let library = sandbox.path("slow_disk.so");
    let made = Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(source).status();
    let zen_bytes = fs::read(harness::zen_binary()).expect("a program");
    let is_dynamic = zen_bytes.windows(7).any(|bytes| bytes == b"libc.so");
    if !is_dynamic || !made.is_ok_and(|status| status.success()) {
        eprintln!("left out: there is no cc, or zen is static");
        return false;
    }
    zen.env("LD_PRELOAD", &library).env("DISK_DELAY_MS", delay.as_millis().to_string());
    true
}

/// Before, each rename held up the loop: nothing started, and the timeout came after it.
#[test]
fn slow_rename_holds_up_no_launch_and_no_timeout() {
    const DELAY: Duration = Duration::from_secs(6);
    let sandbox = Sandbox::new();
    let config = json!({ "instances": [
        with(instance("silent", "[[say Begun.]] [[hang]]"), "timeout", json!(1)),
        instance("first", "[[say Done.]]"),
        with(instance("second", "[[say Done.]]"), "depends_on", json!(["first"])),
        with(instance("third", "[[say Done.]]"), "depends_on", json!(["second"])),
    ]});
    let mut zen = sandbox.zen_on(&sandbox.config(&config.to_string()), &["--log-level", "detailed"]);
    if !slow_disk(&sandbox, &mut zen, DELAY) {
        return;
    }
    let outcome = sandbox.started(&mut zen).outcome().expect_code(4);
    expect_failed(&outcome, "silent", "timeout", "Timeout after 1s");
    let ran = outcome.ran("silent");
    assert!(ran < DELAY, "{ran:?}\n{}", outcome.dump());
    for name in ["first", "second", "third"] {
        expect_completed(&outcome, name);
    }
    let ended = seconds_after_start(&outcome, "third");
    assert!(ended < DELAY.as_secs_f64(), "{ended} s\n{}", outcome.dump());
    assert!(outcome.took >= DELAY, "the disk was slow");
    assert_eq!(outcome.report["exit_code"], 4, "the final report was waited for");
}

/// The time at which an instance ended, as its `completed` message says it.
fn seconds_after_start(outcome: &RunOutput, name: &str) -> f64 {
    let end = format!("s {name}: completed");
    let line = outcome.stderr.lines().find_map(|line| line.strip_prefix("zen: ")?.strip_suffix(&end));
    line.and_then(|seconds| seconds.parse().ok()).unwrap_or_else(|| panic!("{}", outcome.dump()))
}

#[test]
fn signal_ends_the_wait_for_a_disk_that_does_not_respond() {
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["[[say Done.]]"]);
    let mut zen = sandbox.zen_on(&config, &["--log-level", "detailed"]);
    if !slow_disk(&sandbox, &mut zen, Duration::from_secs(1000)) {
        return;
    }
    let zen = sandbox.started(&mut zen);
    wait_until("the last instance to end", || zen.stderr().contains(" a: completed"));
    zen.signal(Signal::SIGTERM);
    let outcome = zen.outcome().expect_code(2);
    expect_incomplete(&outcome, "report.json");
    assert!(outcome.stderr.contains("/report.json: the disk did not respond in time"), "{}", outcome.dump());
    assert_eq!(outcome.report, Value::Null, "nothing has been renamed");
}

/// zen on a file system of its own of this size, at `state`. What is there at its end is copied to `copy`, where it can
/// be seen. `None`, with a message, if no file system can be mounted here.
fn on_small_disk(sandbox: &Sandbox, zen: &Command, size: &str, before: &str) -> Option<RunOutput> {
    let can = Command::new("unshare").args(["--mount", "true"]).stderr(std::process::Stdio::null()).status();
    if !can.is_ok_and(|status| status.success()) {
        eprintln!("left out: no file system can be mounted here");
        return None;
    }
    let script = format!(
        "mount -t tmpfs -o size={size} tmpfs state && {{ {before}; }} && \"$@\"; code=$?; cp -a state copy; exit $code"
    );
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &script, "sh"]).arg(zen.get_program()).args(zen.get_args());
    command.current_dir(sandbox.path("")).env_clear();
    command.envs(zen.get_envs().filter_map(|(name, value)| Some((name, value?))));
    Some(sandbox.started(&mut command).outcome())
}

/// The run directory in the copy.
fn copy_of_run(sandbox: &Sandbox) -> PathBuf {
    sandbox.path("copy/zen/latest")
}

fn copy_of_report(sandbox: &Sandbox) -> Value {
    let text = fs::read_to_string(copy_of_run(sandbox).join("report.json")).expect("a report");
    serde_json::from_str(&text).expect("whole JSON")
}

fn expect_incomplete(outcome: &RunOutput, files: &str) {
    let line = format!("\nIncomplete files: {files}\n");
    assert!(outcome.stdout.contains(&line), "{files}\n{}", outcome.dump());
    if files.contains("report.json") {
        let end = "Exit code: 2 (report.json is incomplete)\n";
        assert!(outcome.stdout.ends_with(end), "{}", outcome.dump());
    }
}

/// Each kind of file has one line.
fn expect_complaints(outcome: &RunOutput, files: &[&str], why: &str) {
    let complaints: Vec<&str> =
        outcome.stderr.lines().filter_map(|line| line.strip_prefix("zen: incomplete files: /")).collect();
    assert_eq!(complaints.len(), files.len(), "{}", outcome.dump());
    for file in files {
        let count = complaints.iter().filter(|line| line.ends_with(&format!("{file}: {why}"))).count();
        assert_eq!(count, 1, "{file}\n{}", outcome.dump());
    }
}

const NO_SPACE: &str = "No space left on device";

const MUCH: &str = "[[print 1MB 1kB]] [[stderr oops]] [[say one]]";

/// Fills the disk to its last byte.
const FILL: &str = "dd if=/dev/zero of=state/fill bs=4k 2>/dev/null; true";

#[test]
fn disk_full_from_the_start_loses_the_record_and_exits_with_2() {
    let sandbox = Sandbox::new();
    let zen = sandbox.zen_on(&sandbox.prompts(&[MUCH]), &["--lock", "state/own.lock"]);
    let Some(outcome) = on_small_disk(&sandbox, &zen, "200k", FILL) else { return };
    let outcome = outcome.expect_code(2);
    assert!(outcome.stdout.contains("✓ Successful: 1/1 instances"), "{}", outcome.dump());
    let files = ["report.json", "stream.jsonl", "stderr.txt", "result.txt"];
    expect_incomplete(&outcome, &files.join(", "));
    expect_complaints(&outcome, &files, NO_SPACE);
    for name in ["report.json", ".report.json.new", ".report.json.spare", "01-a/result.txt"] {
        assert!(!copy_of_run(&sandbox).join(name).exists(), "{name}");
    }
    assert!(sandbox.path("copy/own.lock").exists(), "the lock was held without its line");
}

/// The record is whole, because space for it was reserved; before, it said `running` for ever.
#[test]
fn disk_that_fills_up_leaves_a_whole_final_report() {
    for is_filled_by_tool in [false, true] {
        let sandbox = Sandbox::new();
        let fill = format!("dd if=/dev/zero of='{}' bs=4k; true", sandbox.path("state/fill").display());
        let (prompt, lost) = if is_filled_by_tool {
            (format!("{} [[say one]]", bash(&fill)), &["stream.jsonl", "result.txt"][..])
        } else {
            (MUCH.to_owned(), &["stream.jsonl", "stderr.txt", "result.txt"][..])
        };
        let zen = sandbox.zen_on(&sandbox.prompts(&[&prompt]), &[]);
        let Some(outcome) = on_small_disk(&sandbox, &zen, "400k", "true") else { return };
        let outcome = outcome.expect_code(0);
        expect_incomplete(&outcome, &lost.join(", "));
        let report = copy_of_report(&sandbox);
        let first = &report["instances"][0];
        assert_eq!((&report["exit_code"], &report["omitted"]), (&json!(0), &Value::Null));
        assert_eq!((&first["status"], &first["result"]), (&json!("completed"), &json!("one")));
        let left: Vec<String> = names(&copy_of_run(&sandbox));
        assert_eq!(left, ["01-a", "report.json"]);
        assert!(!copy_of_run(&sandbox).join("01-a/result.txt").exists(), "no half of a result");
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory").flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn report_that_is_larger_than_the_reserve_is_shortened() {
    let sandbox = Sandbox::new();
    let result = "x".repeat(500_000);
    let prompt = format!("[[print 1MB 1kB]] [[say {result}]]");
    let zen = sandbox.zen_on(&sandbox.prompts(&[&prompt]), &[]);
    let Some(outcome) = on_small_disk(&sandbox, &zen, "400k", "true") else { return };
    let outcome = outcome.expect_code(2);
    expect_incomplete(&outcome, "report.json, stream.jsonl, result.txt");
    let report = copy_of_report(&sandbox);
    let first = &report["instances"][0];
    assert_eq!((&report["exit_code"], &first["status"]), (&json!(2), &json!("completed")));
    assert_eq!(first["result"], Value::Null);
    assert!(report["omitted"].as_str().is_some_and(|why| why.contains("results")), "{report}");
}

/// A limit on the size of a file acts as a full disk; SIGXFSZ must not end zen, in no thread.
#[test]
fn limit_on_file_size_shortens_or_loses_the_report() {
    for (limit, is_short) in [(20_000, true), (500, false)] {
        let sandbox = Sandbox::new();
        let prompt = format!("[[say {}]]", "x".repeat(100_000));
        let claude = sandbox.path("claude");
        write_program(
            &claude,
            &format!("#!/bin/sh\nulimit -S -f unlimited\nexec '{}' \"$@\"\n", fake_claude().display()),
        );
        let mut zen = sandbox.zen_on(&sandbox.prompts(&[&prompt]), &["--claude", claude.to_str().expect("UTF-8")]);
        // SAFETY: setrlimit is async-signal-safe.
        unsafe { zen.pre_exec(move || Ok(setrlimit(Resource::RLIMIT_FSIZE, limit, RLIM_INFINITY)?)) };
        let outcome = sandbox.started(&mut zen).outcome().expect_code(2);
        assert!(outcome.stderr.contains("report.json: File too large"), "{}", outcome.dump());
        let expected = if is_short { json!("completed") } else { Value::Null };
        assert_eq!(outcome.report["instances"][0]["status"], expected);
        let run = sandbox.path("state/zen/latest");
        assert_eq!(names(&run), if is_short { &["01-a", "report.json"][..] } else { &["01-a"] });
        assert!(!run.join("01-a/result.txt").exists(), "no half of a result");
    }
}

#[test]
fn log_dir_on_a_read_only_disk_is_refused() {
    let sandbox = Sandbox::new();
    let zen = sandbox.zen_on(&sandbox.prompts(&["[[say Done.]]"]), &["--log-dir", "state/logs", "--lock", "own.lock"]);
    let Some(outcome) = on_small_disk(&sandbox, &zen, "200k", "mount -o remount,ro state") else { return };
    let outcome = outcome.expect_code(1);
    let expected = "/state/logs: Read-only file system: give another with --log-dir DIR\n";
    assert!(outcome.stderr.ends_with(expected), "{}", outcome.dump());
    assert_eq!(sandbox.claude_log().len(), 0, "something was launched");
}

/// The proof of the audit: the instance has write access to the run directory, and zen must not be its deputy elsewhere.
#[test]
fn links_that_an_instance_plants_are_not_followed() {
    let sandbox = Sandbox::new();
    let (victim, new) = (sandbox.path("victim"), sandbox.path("new"));
    fs::write(&victim, "untouched").expect("a file");
    fs::set_permissions(&victim, fs::Permissions::from_mode(0o644)).expect("permissions");
    let plant = format!(
        "cd '{0}' && ln -sf '{1}' 01-a/result.txt && ln -sf '{2}' 01-a/stderr.txt && ln -sf '{1}' .report.json.new && \
         rm -f .report.json.spare && ln -s '{1}' .report.json.spare && ln -sf '{1}' report.json && \
         mkdir 02-b && ln '{1}' 02-b/stream.jsonl && ln -s '{2}' 02-b/result.txt && ln -s '{3}' 03-c",
        sandbox.path("state/zen/latest").display(),
        victim.display(),
        new.display(),
        sandbox.path("elsewhere").display()
    );
    fs::create_dir(sandbox.path("elsewhere")).expect("a directory");
    let after = |name: &str| with(instance(name, "[[stderr oops]] [[say Done.]]"), "depends_on", json!(["a"]));
    let first = instance("a", &format!("{} [[stderr oops]] [[say Done.]]", bash(&plant)));
    let config = json!({ "instances": [first, after("b"), after("c")] });
    let outcome = sandbox.run(&sandbox.config(&config.to_string()), &[]).expect_code(0);
    assert!(!outcome.stderr.contains("incomplete"), "{}", outcome.dump());
    assert_eq!(fs::read_to_string(&victim).expect("a file"), "untouched");
    assert_eq!(fs::metadata(&victim).expect("a file").permissions().mode() & 0o777, 0o644);
    assert!(!new.exists());
    let run = sandbox.path("state/zen/latest");
    for directory in ["01-a", "02-b", "03-c"] {
        for (name, text) in [("result.txt", "Done."), ("stderr.txt", "oops\n")] {
            let path = run.join(directory).join(name);
            assert!(path.symlink_metadata().expect("it is there").is_file(), "{}", path.display());
            assert_eq!(fs::read_to_string(&path).expect("a file"), text, "{}", path.display());
        }
    }
    assert_eq!(names(&sandbox.path("elsewhere")), Vec::<String>::new());
    assert!(!run.join("report.json").is_symlink());
    assert_eq!(outcome.report["exit_code"], 0);
}

#[test]
fn run_directory_replaced_by_a_link_is_not_followed() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("elsewhere")).expect("a directory");
    let run = sandbox.path("state/zen/latest");
    let script = format!(
        "run=$(readlink -f '{}') && mv \"$run\" '{}' && ln -s '{}' \"$run\"",
        run.display(),
        sandbox.path("moved").display(),
        sandbox.path("elsewhere").display()
    );
    let prompt = format!("{} [[stderr oops]] [[say Done.]]", bash(&script));
    let outcome = sandbox.run(&sandbox.prompts(&[&prompt]), &[]).expect_code(2);
    expect_incomplete(&outcome, "report.json");
    assert!(outcome.stderr.trim_end().ends_with(": it was moved, removed or replaced"), "{}", outcome.dump());
    assert_eq!(names(&sandbox.path("elsewhere")), Vec::<String>::new());
    let moved = fs::read_to_string(sandbox.path("moved/01-a/result.txt")).expect("it was written where it went");
    assert_eq!(moved, "Done.");
}

/// `latest` is replaced, not followed, if it is a link to a directory.
#[test]
fn latest_that_leads_elsewhere_is_replaced() {
    let sandbox = Sandbox::new();
    fs::create_dir_all(sandbox.path("state/zen")).expect("a directory");
    fs::create_dir(sandbox.path("elsewhere")).expect("a directory");
    symlink(sandbox.path("elsewhere"), sandbox.path("state/zen/latest")).expect("a link");
    sandbox.run(&sandbox.prompts(&["[[say Done.]]"]), &[]).expect_code(0);
    assert_eq!(names(&sandbox.path("elsewhere")), Vec::<String>::new());
    assert!(sandbox.path("state/zen/latest/report.json").is_file());
}
