//! Queries claude outside of a run: its help text, or its list of slash commands. No tokens are used, and no process is
//! left when the answer has arrived or the time limit has passed.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::{self, Display, Formatter};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::base::lines::{Line, LineSplitter};
use crate::base::text;
use crate::claude::environment::{PROBE_VARIABLES, SCRUBBED_VARIABLES};
use crate::engine::outcome::ExitStatus;
use crate::system::child::{Process, ReadOutcome, SpawnSpec};
use crate::system::process_tree;
use crate::system::{error_text, signals};

const READ_BYTES: usize = 16 * 1024;

/// Maximum number of bytes kept of each stream; the help text of any generation is a tenth of that.
const MAX_KEPT_BYTES: usize = 256 * 1024;

const MAX_STDERR_COLUMNS: usize = 200;

/// Time that a process may take to exit by itself after its answer.
const EXIT_GRACE: Duration = Duration::from_secs(5);

/// Time that a process may take to exit after SIGTERM, and its last children after SIGKILL.
const END_LIMIT: Duration = Duration::from_secs(2);

/// Reason why claude did not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueryError {
    /// It could not be spawned, for this reason.
    Spawn(String),
    /// The time limit of the query has passed.
    Timeout(Duration),
    /// It exited without an answer: the last line of its standard error, or its exit status.
    Exited(String),
    /// It answered with this error.
    Rejected(String),
    /// The time limit of all queries had passed before this one.
    NoTimeLeft(Duration),
}

impl Display for QueryError {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            QueryError::Spawn(reason) | QueryError::Exited(reason) | QueryError::Rejected(reason) => {
                f.write_str(reason)
            }
            QueryError::Timeout(limit) => write!(f, "no answer within {}s", limit.as_secs_f64()),
            QueryError::NoTimeLeft(limit) => write!(f, "no time left within {}s", limit.as_secs_f64()),
        }
    }
}

/// Returns the output of `claude --help`, if it exits within `limit`.
///
/// # Errors
///
/// The reason why there is no output. It must not be treated as a claude with few capabilities.
pub fn help_text(claude: &Path, limit: Duration) -> Result<String, QueryError> {
    let give_up = Instant::now() + limit;
    let (arguments, env) = (["--help".to_owned()], BTreeMap::new());
    let mut process = start(&ProbeCommand { claude, arguments: &arguments, cwd: Path::new("."), env: &env, limit })?;
    process.close_input();
    let (mut help, mut errors) = (Vec::new(), Vec::new());
    let has_ended = read_until(&mut process, give_up, &mut errors, |bytes| {
        keep(&mut help, bytes);
        false
    });
    // If a child holds the pipes open, claude itself may have printed everything and exited long ago.
    let patience = if has_ended { give_up.saturating_duration_since(Instant::now()) } else { Duration::ZERO };
    let exit = process.reap_within(patience);
    match exit {
        Some(ExitStatus::Code(0)) => Ok(String::from_utf8_lossy(&help).into_owned()),
        Some(exit) => Err(QueryError::Exited(last_line(&errors, &exit))),
        None => Err(QueryError::Timeout(limit)),
    }
}

/// A query to a claude process of its own.
#[derive(Clone, Copy, Debug)]
pub struct ProbeCommand<'a> {
    /// Path of the program.
    pub claude: &'a Path,
    /// Arguments of the program.
    pub arguments: &'a [String],
    /// Working directory of the process.
    pub cwd: &'a Path,
    /// Variables that are set or, if `None`, removed.
    pub env: &'a BTreeMap<String, Option<String>>,
    /// Time limit for the answer.
    pub limit: Duration,
}

/// Sends claude one message, reads lines until `answer` accepts one, then shuts the process down.
///
/// # Errors
///
/// The reason why there is no answer.
pub fn query<T>(command: &ProbeCommand, message: &[u8], answer: impl Fn(&[u8]) -> Option<T>) -> Result<T, QueryError> {
    let limit = command.limit;
    let give_up = Instant::now() + limit;
    let mut process = start(command)?;
    process.send(message);
    let (mut answered, mut lines, mut errors) = (None, LineSplitter::default(), Vec::new());
    let has_ended = read_until(&mut process, give_up, &mut errors, |bytes| {
        lines.push(bytes, |line| {
            if let (Line::Complete(line), None) = (line, &answered) {
                answered = answer(line);
            }
        });
        answered.is_some()
    });
    process.close_input();
    let exit = if has_ended {
        process.reap_within(END_LIMIT)
    } else {
        shut_down(&mut process, if answered.is_some() { EXIT_GRACE } else { Duration::ZERO })
    };
    match (answered, exit) {
        (Some(answer), _) => Ok(answer),
        (None, Some(exit)) if has_ended => Err(QueryError::Exited(last_line(&errors, &exit))),
        (None, _) => Err(QueryError::Timeout(limit)),
    }
}

/// Spawns the process of a query, under a reaper that kills what it leaves behind.
fn start(command: &ProbeCommand) -> Result<Process, QueryError> {
    let mut variables: Vec<(OsString, Option<OsString>)> = Vec::new();
    for name in SCRUBBED_VARIABLES {
        variables.push((name.into(), None));
    }
    if command.cwd.is_absolute() {
        variables.push(("PWD".into(), Some(command.cwd.into())));
    }
    for (name, value) in command.env {
        variables.push((name.into(), value.as_ref().map(OsString::from)));
    }
    // Distinguishes the process from an instance, and from the run of an outer zen that spawned this one.
    variables.push((process_tree::RUN_VARIABLE.into(), Some(format!("zen-question-{}", std::process::id()).into())));
    for (name, value) in PROBE_VARIABLES {
        variables.push((name.into(), Some(value.into())));
    }
    let launch = SpawnSpec {
        program: command.claude.to_owned(),
        arguments: command.arguments.iter().map(OsString::from).collect(),
        cwd: command.cwd.to_owned(),
        variables,
    };
    signals::reset_mask();
    process_tree::become_subreaper();
    Process::start(&launch, None, 0, &[]).map_err(|error| QueryError::Spawn(error_text(&error)))
}

/// Waits for the process to exit, then sends SIGTERM, then SIGKILL. Its pipes are drained meanwhile, so that it never
/// blocks on a write.
fn shut_down(process: &mut Process, patience: Duration) -> Option<ExitStatus> {
    let mut exit = None;
    for (limit, next) in
        [(patience, Process::terminate as fn(&Process)), (END_LIMIT, Process::kill), (END_LIMIT, |_| {})]
    {
        if exit.is_none() {
            read_until(process, Instant::now() + limit, &mut Vec::new(), |_| false);
            exit = process.reap_within(if limit.is_zero() { limit } else { Duration::from_millis(100) });
        }
        if exit.is_none() {
            next(process);
        }
    }
    exit
}

/// Passes standard output to `is_enough` until that returns true, and collects standard error. Returns true if both
/// reached EOF in time.
fn read_until(
    process: &mut Process,
    give_up: Instant,
    errors: &mut Vec<u8>,
    mut is_enough: impl FnMut(&[u8]) -> bool,
) -> bool {
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let output: Vec<_> = [process.stdout_fd(), process.stderr_fd()].into_iter().flatten().collect();
        if output.is_empty() {
            return true;
        }
        let left = give_up.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return false;
        }
        let mut fds: Vec<PollFd> = output.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        if process.has_pending_stdin() {
            fds.extend(process.stdin_fd().map(|fd| PollFd::new(fd, PollFlags::POLLOUT)));
        }
        let _ = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        drop(fds);
        if process.has_pending_stdin() {
            process.flush_stdin();
        }
        if let ReadOutcome::Data(count) = process.read_stderr(&mut buffer) {
            keep(errors, &buffer[..count]);
        }
        if let ReadOutcome::Data(count) = process.read_stdout(&mut buffer)
            && is_enough(&buffer[..count])
        {
            return false;
        }
    }
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    let room = MAX_KEPT_BYTES.saturating_sub(kept.len());
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// Returns the last line of standard error, or the exit status if there is none.
fn last_line(errors: &[u8], exit: &ExitStatus) -> String {
    let errors = String::from_utf8_lossy(errors);
    let Some(line) = errors.lines().rev().find(|line| !line.trim().is_empty()) else { return exit.to_string() };
    text::truncate(&text::sanitize_line(line), MAX_STDERR_COLUMNS, "...").into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;
    use std::process::Command;
    use std::thread;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(200);

    fn script(body: &str) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("claude");
        // The script is written by another process: a child that a concurrent test forks would hold it open for writing
        // until its exec, and the kernel does not execute a file that is open for writing (ETXTBSY).
        let mut writer = Command::new("sh");
        writer
            .args(["-c", "printf '%s\\n' \"$1\" >\"$0\" && chmod 755 \"$0\""])
            .arg(&file)
            .arg(format!("#!/bin/sh\n{body}"));
        assert!(writer.status().expect("there is a sh").success());
        (directory, file)
    }

    fn limit_for(body: &str) -> Duration {
        if body.contains("sleep") { SHORT } else { LONG }
    }

    fn help_of_script(body: &str) -> Result<String, QueryError> {
        let (_directory, file) = script(body);
        help_text(&file, limit_for(body))
    }

    #[test]
    fn help_is_the_output_of_a_process_that_succeeds_in_time() {
        assert_eq!(help_of_script("echo noise >&2; echo --tools"), Ok("--tools\n".into()));
        assert_eq!(help_of_script("echo no node >&2; echo >&2; exit 127"), Err(QueryError::Exited("no node".into())));
        assert_eq!(help_of_script("exit 3"), Err(QueryError::Exited("exit status 3".into())));
        assert_eq!(help_of_script("kill -KILL $$"), Err(QueryError::Exited("signal 9".into())));
        assert_eq!(help_of_script("sleep 1000"), Err(QueryError::Timeout(SHORT)));
        assert_eq!(help_of_script("exec >&- 2>&-; sleep 1000"), Err(QueryError::Timeout(SHORT)));
        let much = help_of_script("yes | head -c 5000000").expect("help");
        assert_eq!(much.len(), MAX_KEPT_BYTES);
    }

    fn answer_of_script(body: &str) -> Result<String, QueryError> {
        let (directory, file) = script(body);
        let answer = |line: &[u8]| Some(String::from_utf8_lossy(line).strip_prefix("answer ")?.to_owned());
        let env = BTreeMap::from([("OF_THE_QUERY".to_owned(), Some("set".to_owned()))]);
        let limit = limit_for(body);
        let command = ProbeCommand { claude: &file, arguments: &[], cwd: directory.path(), env: &env, limit };
        query(&command, b"question\n", answer)
    }

    #[test]
    fn answer_is_the_first_line_that_is_accepted() {
        assert_eq!(answer_of_script("read q; echo noise; echo answer $q; echo answer 2; cat"), Ok("question".into()));
        assert_eq!(answer_of_script("echo answer 1; exit 7"), Ok("1".into()));
        assert_eq!(answer_of_script("read q; echo no key >&2; exit 1"), Err(QueryError::Exited("no key".into())));
        assert_eq!(answer_of_script("exec 2>&-; exit 3"), Err(QueryError::Exited("exit status 3".into())));
        assert_eq!(answer_of_script("sleep 1000"), Err(QueryError::Timeout(SHORT)));
        assert_eq!(answer_of_script("yes noise | head -c 5000000; echo; echo answer 3; cat"), Ok("3".into()));
    }

    /// The cleanup after the first answer must not kill the queries that are still waiting.
    #[test]
    fn concurrent_queries_do_not_kill_each_other() {
        let (_directory, gate) = script("");
        let waits = format!("rm {0}; until [ -e {0} ]; do :; done; echo answer late", gate.display());
        thread::scope(|scope| {
            let late = scope.spawn(|| answer_of_script(&waits));
            while gate.exists() {
                thread::yield_now();
            }
            assert_eq!(answer_of_script("echo answer early"), Ok("early".into()));
            std::fs::write(&gate, "").expect("its directory is there");
            assert_eq!(late.join().expect("no panic"), Ok("late".into()));
        });
    }

    /// Without the variable, 2.0 sends the API two requests for each query.
    #[test]
    fn variables_of_a_query_are_set() {
        assert_eq!(answer_of_script("echo answer $DISABLE_PROMPT_CACHING"), Ok("1".into()));
        assert_eq!(answer_of_script("echo answer $OF_THE_QUERY"), Ok("set".into()));
    }
}
