//! Readers of zen's output that go away or do not read. A run is supervised all the same, and its files tell of it.

use std::fs::File;
use std::io::{BufRead, BufReader, PipeReader, PipeWriter, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::Stdio;

use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::signal::Signal;
use serde_json::json;

use super::{config, has_logged, instance};
use harness::{RunOutput, Running, Sandbox, terminal, wait_until};

fn stdout_of(writer: PipeWriter) -> Stdio {
    Stdio::from(OwnedFd::from(writer))
}

/// As in `zen | head -1`.
#[test]
fn reader_closes_the_pipe() {
    for (script, code) in [("[[say Done.]]", 0), ("[[error Out of ideas.]]", 2)] {
        let sandbox = Sandbox::new();
        let instances = [instance("a", &format!("{} {script}", sandbox.gate("gate")))];
        let (reader, writer) = std::io::pipe().expect("a pipe");
        let mut command = sandbox.zen_on(&config(&sandbox, &instances), &["--status-report-interval", "0.1"]);
        let zen = sandbox.started_to(&mut command, stdout_of(writer));
        drop(command); // it holds the other end of the pipe
        let mut line = String::new();
        let mut reader = BufReader::new(reader);
        reader.read_line(&mut line).expect("a line");
        drop(reader);
        wait_until("the instance", || has_logged(&sandbox, "tool", 1));
        sandbox.open_gate("gate");
        let outcome = zen.outcome().expect_code(code);
        assert_eq!(outcome.report["exit_code"], code, "{}", outcome.dump());
        let complaints = outcome.stderr.lines().filter(|line| !line.contains("Out of ideas.")).count();
        assert_eq!(complaints, 0, "a reader that has read enough is nothing to complain about\n{}", outcome.stderr);
    }
}

/// The same for both outputs.
#[test]
fn stdout_and_stderr_are_never_read() {
    let sandbox = Sandbox::new();
    let instances = [instance("a", "[[wait 500ms]] [[say Done.]]"), instance("b", "[[error Out of ideas.]]")];
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let mut command = sandbox.zen_on(&config(&sandbox, &instances), &["--status-report-interval", "0.1"]);
    let zen = sandbox.started_to(&mut command, stdout_of(writer));
    let outcome = zen.outcome().expect_code(2);
    assert_eq!(outcome.status("a"), "completed");
}

/// As in `zen <&- >&- 2>&-`: what zen opens first must not be taken for its output.
#[test]
fn nothing_is_open_at_the_start() {
    let sandbox = Sandbox::new();
    let instances = [instance("a", "[[wait 500ms]] [[say Done.]]"), instance("b", "[[error Out of ideas.]]")];
    let mut command = sandbox.zen_on(&config(&sandbox, &instances), &["--status-report-interval", "0.1"]);
    // SAFETY: close is async-signal-safe, and nothing of the child's is in use before exec.
    unsafe {
        command.pre_exec(|| {
            for fd in 0..3 {
                nix::unistd::close(fd)?;
            }
            Ok(())
        })
    };
    let outcome = sandbox.started(&mut command).outcome().expect_code(2);
    assert_eq!(outcome.status("a"), "completed");
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", ""));
    let stream = std::fs::read_to_string(sandbox.path("state/zen/latest/01-a/stream.jsonl")).expect("a stream");
    assert!(stream.lines().all(|line| line.starts_with('{')), "nothing but claude's own lines are in it");
}

/// A run of which nobody reads a word: one that completes, one that is timed out.
fn unread(sandbox: &Sandbox) -> (Running, PipeReader) {
    let mut hangs = instance("hangs", "[[hang]]");
    hangs["timeout"] = json!(1);
    let instances = [instance("a", "[[wait 1500ms]] [[say Done.]]"), hangs];
    let (reader, writer) = std::io::pipe().expect("a pipe");
    fcntl(writer.as_fd(), FcntlArg::F_SETPIPE_SZ(4096)).expect("a small pipe");
    let mut command = sandbox.zen_on(&config(sandbox, &instances), &["--status-report-interval", "0.1"]);
    let zen = sandbox.started_to(&mut command, stdout_of(writer));
    drop(command);
    wait_until("the end of the run, by its files", || zen.report()["exit_code"].is_number());
    (zen, reader)
}

fn expect_supervised(outcome: &RunOutput) {
    assert_eq!(outcome.status("a"), "completed");
    assert_eq!(outcome.error("hangs"), "Timeout after 1s");
    let ran = outcome.ran("hangs").as_secs_f64();
    assert!((1.0..20.0).contains(&ran), "it ran for {ran} s");
}

#[test]
fn reader_resumes_late() {
    let sandbox = Sandbox::new();
    let (zen, mut reader) = unread(&sandbox);
    zen.signal(Signal::SIGUSR1); // asks for a report, and is no reason to give up
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("UTF-8");
    let outcome = zen.outcome().expect_code(4);
    expect_supervised(&outcome);
    assert!(text.contains("Orchestration Complete - Results"), "{text}");
    assert!(text.trim_end().ends_with("Exit code: 4 (none failed otherwise, and at least one timed out)"), "{text}");
}

#[test]
fn signal_while_the_reader_is_blocked() {
    let sandbox = Sandbox::new();
    let (zen, reader) = unread(&sandbox);
    zen.signal(Signal::SIGTERM);
    // The first may come while zen still looks for what is left.
    wait_until("zen to end", || {
        zen.signal(Signal::SIGTERM);
        zen.is_zombie()
    });
    let outcome = zen.outcome();
    expect_supervised(&outcome);
    assert_eq!(outcome.report["exit_code"], outcome.code, "the files and the exit code agree");
    drop(reader);
}

/// The other side of a terminal that does not read: a connection that has stalled.
#[test]
fn terminal_is_never_read() {
    let sandbox = Sandbox::new();
    let mut hangs = instance("hangs", "[[hang]]");
    hangs["timeout"] = json!(2);
    let config = config(&sandbox, &[instance("a", "[[wait 1500ms]] [[say Done.]]"), hangs]);
    let (master, slave) = terminal(None);
    let mut command = sandbox.zen_on(&config, &["--status-report-interval", "0.01"]);
    let zen = sandbox.started_to(&mut command, slave.into());
    drop(command);
    wait_until("the end of the run, by its files", || zen.report()["exit_code"].is_number());
    zen.signal(Signal::SIGTERM);
    wait_until("zen to end", || {
        zen.signal(Signal::SIGTERM);
        zen.is_zombie()
    });
    let report = zen.outcome().report;
    assert_eq!(report["instances"][1]["error"], "Timeout after 2s");
    let ran = report["instances"][1]["duration_seconds"].as_f64().expect("a time");
    assert!((2.0..20.0).contains(&ran), "it ran for {ran} s");
    drop(master);
}

/// A full disk under standard output.
#[test]
fn an_output_that_is_full() {
    let sandbox = Sandbox::new();
    let instances = [instance("a", "[[wait 500ms]] [[say Done.]]")];
    let mut command = sandbox.zen_on(&config(&sandbox, &instances), &["--status-report-interval", "0.1"]);
    let full = File::options().write(true).open("/dev/full").expect("/dev/full is there");
    let outcome = sandbox.started_to(&mut command, Stdio::from(full)).outcome().expect_code(0);
    assert_eq!(outcome.status("a"), "completed");
    assert_eq!(outcome.stderr.matches("No space left on device").count(), 1, "{}", outcome.stderr);
}
