//! Directories in which tests run zen: workspace, home and state directory of their own. Each run is bounded in time, and
//! fails its test if it leaves a process behind.

use std::fs::{self, File};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigHandler, Signal, signal};
use serde_json::Value;
use wait_timeout::ChildExt;

use crate::processes::{self, is_alive, processes_with};
use crate::programs::{fake_claude, zen_binary};
use crate::waiting::MAX_WAIT;

/// Environment variable by which the processes of one test are found.
pub const TEST_VARIABLE: &str = "ZEN_TEST";

/// Temporary directory with everything that a run needs.
pub struct Sandbox {
    directory: tempfile::TempDir,
}

/// Run in progress.
pub struct Running {
    child: Child,
    sandbox_id: String,
    stdout: PathBuf,
    stderr: PathBuf,
    state: PathBuf,
    started: Instant,
}

/// Exit code, output and report of a finished run.
pub struct RunOutput {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
    /// `report.json`, or null if none was written.
    pub report: Value,
}

impl Default for Sandbox {
    fn default() -> Self {
        Sandbox::new()
    }
}

impl Sandbox {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("zen-test-").tempdir().expect("a temporary directory");
        for name in ["workspace/.claude/commands", "home", "state"] {
            fs::create_dir_all(directory.path().join(name)).expect("a directory");
        }
        Sandbox { directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn workspace(&self) -> PathBuf {
        self.path("workspace")
    }

    /// Writes a slash command of the workspace.
    pub fn command(&self, name: &str, body: &str) -> &Self {
        let file = self.workspace().join(format!(".claude/commands/{name}.md"));
        fs::write(file, body).expect("a command file");
        self
    }

    /// Writes every slash command that a config calls.
    pub fn commands_of(&self, config: &Path) -> &Self {
        let text = fs::read_to_string(config).expect("a config");
        for called in text.split("\"/").skip(1) {
            let name = called.split(['"', ' ', '\\']).next().unwrap_or_default();
            let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
            if is_name && !["help", "clear", "compact"].contains(&name) {
                self.command(name, "[[say x]]");
            }
        }
        self
    }

    /// Writes the config file, and returns its path.
    pub fn config(&self, text: &str) -> PathBuf {
        let file = self.path("config.json");
        fs::write(&file, text).expect("a config file");
        file
    }

    /// Writes a config with one instance for each prompt, named `a`, `b`, …
    pub fn prompts(&self, prompts: &[&str]) -> PathBuf {
        let names = ('a'..='z').map(String::from);
        let instances: Vec<Value> =
            prompts.iter().zip(names).map(|(p, name)| serde_json::json!({"name": name, "prompt": p})).collect();
        self.config(&serde_json::json!({ "instances": instances }).to_string())
    }

    /// Returns the command that runs zen in this sandbox on the fake claude. Of the caller's environment it has only PATH.
    pub fn zen(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(zen_binary());
        command.args(arguments).current_dir(self.directory.path()).env_clear().envs([
            ("PATH", std::env::var("PATH").unwrap_or_default().as_str()),
            ("HOME", self.path("home").to_str().expect("a path in UTF-8")),
            ("XDG_STATE_HOME", self.path("state").to_str().expect("a path in UTF-8")),
            ("LANG", "C.UTF-8"),
            ("IS_SANDBOX", "1"),
            ("ZEN_CLAUDE", fake_claude().to_str().expect("a path in UTF-8")),
            ("FAKE_CLAUDE_LOG", self.path("fake-claude.log").to_str().expect("a path in UTF-8")),
            ("FAKE_CLAUDE_RETRY_MS", "50"),
            (TEST_VARIABLE, &self.id()),
        ]);
        // Programs that are built for coverage write it to this file.
        command.envs(std::env::var_os("LLVM_PROFILE_FILE").map(|file| ("LLVM_PROFILE_FILE", file)));
        with_default_signals(&mut command);
        command
    }

    /// Runs a config with the workspace of the sandbox and no delay between launches, unless the arguments override them.
    pub fn run(&self, config: &Path, arguments: &[&str]) -> RunOutput {
        self.start(config, arguments).outcome()
    }

    /// Starts a run like [`run`](Self::run), and does not wait for its end.
    pub fn start(&self, config: &Path, arguments: &[&str]) -> Running {
        self.started(&mut self.zen_on(config, arguments))
    }

    /// Returns the command of such a run.
    pub fn zen_on(&self, config: &Path, arguments: &[&str]) -> Command {
        let mut all = vec!["--config", config.to_str().expect("a path in UTF-8"), "--workspace", "workspace"];
        all.extend(["--startup-delay", "0"]);
        all.extend(arguments);
        self.zen(&all)
    }

    /// Starts a command that [`zen`](Self::zen) returned.
    pub fn started(&self, command: &mut Command) -> Running {
        let stdout = File::create(self.path("stdout")).expect("a file");
        self.started_to(command, Stdio::from(stdout))
    }

    /// Starts such a command with another standard output.
    pub fn started_to(&self, command: &mut Command, stdout: Stdio) -> Running {
        command.stdout(stdout);
        let (stdout, stderr) = (self.path("stdout"), self.path("stderr"));
        command.stderr(File::create(&stderr).expect("a file"));
        if command.get_envs().any(|(name, _)| name == "TEST_KEEPS_STDIN") {
            command.env_remove("TEST_KEEPS_STDIN");
        } else {
            command.stdin(Stdio::null());
        }
        // Before the spawn: zen may have run for a while when this thread continues.
        let started = Instant::now();
        let child = command.spawn().expect("zen starts");
        Running { child, sandbox_id: self.id(), stdout, stderr, state: self.path("state/zen"), started }
    }

    /// Returns the log of the fake claude about instances: starts, messages, ends.
    pub fn claude_log(&self) -> Vec<Value> {
        let log = self.full_claude_log();
        let asked: Vec<Value> = questions_in(&log).map(|start| start["pid"].clone()).collect();
        log.into_iter().filter(|event| !asked.contains(&event["pid"])).collect()
    }

    /// Returns the starts of the fake claude for a query of zen itself, such as the list of commands.
    pub fn questions(&self) -> Vec<Value> {
        questions_in(&self.full_claude_log()).cloned().collect()
    }

    /// Returns the log of the fake claude, queries included.
    pub fn full_claude_log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.path("fake-claude.log")).unwrap_or_default();
        // The last line may be incomplete.
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole.map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// Returns the events of one kind from the log about instances.
    pub fn claude_events(&self, kind: &str) -> Vec<Value> {
        self.claude_log().into_iter().filter(|event| event["event"] == kind).collect()
    }

    /// Returns a script that waits in a tool until the gate is opened.
    pub fn gate(&self, name: &str) -> String {
        let command = format!("while [ ! -e {} ]; do sleep 0.02; done", self.path(name).display());
        format!("[[tool Bash {}]]", serde_json::json!({ "command": command }))
    }

    /// Opens a gate.
    pub fn open_gate(&self, name: &str) {
        File::create(self.path(name)).expect("a file");
    }

    pub fn id(&self) -> String {
        self.directory.path().file_name().expect("it has a name").to_string_lossy().into_owned()
    }

    /// Returns the living processes of this sandbox.
    pub fn survivors(&self) -> Vec<String> {
        processes_with(&format!("{TEST_VARIABLE}={}", self.id()))
    }
}

/// Kills the processes that a failed test left behind.
impl Drop for Sandbox {
    fn drop(&mut self) {
        processes::end_all_with(&format!("{TEST_VARIABLE}={}", self.id()));
    }
}

impl Running {
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    pub fn stdout(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stdout).unwrap_or_default()).into_owned()
    }

    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.stderr).unwrap_or_default()).into_owned()
    }

    pub fn report(&self) -> Value {
        let text = fs::read_to_string(self.state.join("latest/report.json")).unwrap_or_default();
        serde_json::from_str(&text).unwrap_or(Value::Null)
    }

    pub fn signal(&self, signal: nix::sys::signal::Signal) {
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.pid()), signal).expect("zen lives");
    }

    /// True if the instance has ended according to the report on disk.
    pub fn has_ended(&self, name: &str) -> bool {
        let report = self.report();
        let instances = report["instances"].as_array().map_or(&[][..], Vec::as_slice);
        let status = instances.iter().find(|i| i["name"] == name).and_then(|i| i["status"].as_str());
        status.is_some_and(|status| !["pending", "running"].contains(&status))
    }

    /// True if zen has exited and was not reaped.
    pub fn is_zombie(&self) -> bool {
        !is_alive(self.pid())
    }

    /// Returns the children of zen that are zombies.
    pub fn zombies(&self) -> Vec<i32> {
        processes::children_of(self.pid()).into_iter().filter(|&pid| !is_alive(pid)).collect()
    }

    /// Returns the number of open descriptors of zen.
    pub fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).expect("zen lives").count()
    }

    /// Returns a line of `/proc/PID/status` in kB: `VmRSS` is the current memory, `VmHWM` the peak.
    pub fn memory_kb(&self, line: &str) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).expect("zen lives");
        let line =
            status.lines().find_map(|text| text.strip_prefix(line)?.strip_prefix(':')).expect("the line is there");
        line.split_whitespace().next().and_then(|kb| kb.parse().ok()).expect("a number")
    }

    /// Kills zen with SIGKILL and reaps it. The caller checks for leftover processes.
    pub fn kill(mut self) {
        self.child.kill().expect("zen lives");
        self.child.wait().expect("it can be waited for");
    }

    /// Waits for the end of the run, at most [`MAX_WAIT`].
    pub fn outcome(self) -> RunOutput {
        self.outcome_within(MAX_WAIT)
    }

    pub fn outcome_within(mut self, bound: Duration) -> RunOutput {
        let Some(status) = self.child.wait_timeout(bound).expect("it can be waited for") else {
            let _ = self.child.kill();
            let _ = self.child.wait();
            panic!("zen did not end within {bound:?}\n{}\n{}", self.stdout(), self.stderr());
        };
        use std::os::unix::process::ExitStatusExt;
        let outcome = RunOutput {
            code: status.code().unwrap_or_else(|| -status.signal().unwrap_or(0)),
            stdout: self.stdout(),
            stderr: self.stderr(),
            took: self.started.elapsed(),
            report: self.report(),
        };
        // Everything that zen started ends before zen does.
        let mark = format!("{TEST_VARIABLE}={}", self.sandbox_id);
        assert_eq!(processes_with(&mark), Vec::<String>::new(), "processes left behind\n{}", outcome.dump());
        outcome
    }
}

impl RunOutput {
    /// Returns the entry of an instance in `report.json`.
    pub fn instance(&self, name: &str) -> &Value {
        let instances = self.report["instances"].as_array().expect("report.json has instances");
        instances.iter().find(|i| i["name"] == name).unwrap_or_else(|| panic!("no {name}\n{}", self.dump()))
    }

    pub fn status(&self, name: &str) -> &str {
        self.instance(name)["status"].as_str().expect("a status")
    }

    pub fn error(&self, name: &str) -> &str {
        self.instance(name)["error"].as_str().unwrap_or("")
    }

    pub fn reason(&self, name: &str) -> &str {
        self.instance(name)["reason"].as_str().unwrap_or("")
    }

    /// Returns the time from the start of an instance to its end.
    pub fn ran(&self, name: &str) -> Duration {
        let seconds = self.instance(name)["duration_seconds"].as_f64().expect("it was started");
        Duration::from_secs_f64(seconds)
    }

    pub fn total_tokens(&self, name: &str) -> u64 {
        self.instance(name)["tokens"]["total"].as_u64().expect("a count")
    }

    pub fn dump(&self) -> String {
        format!("exit {}\n--- stdout\n{}\n--- stderr\n{}", self.code, self.stdout, self.stderr)
    }

    /// Asserts the exit code, and prints the whole output if it differs.
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}", self.dump());
        self
    }
}

fn questions_in(log: &[Value]) -> impl Iterator<Item = &Value> {
    let is_question = |run: &Value| run.as_str().is_some_and(|run| run.starts_with("zen-question-"));
    log.iter().filter(move |event| event["event"] == "start" && is_question(&event["env"]["ZEN_RUN"]))
}

/// Copies a program in a separate process.
///
/// If this process wrote it, a child that another test spawns meanwhile would inherit the descriptor, and exec would fail
/// with ETXTBSY.
pub fn copy_program(from: impl AsRef<Path>, to: &Path) {
    let status = Command::new("cp").arg(from.as_ref()).arg(to).status().expect("there is a cp");
    assert!(status.success(), "{} can be copied", from.as_ref().display());
}

/// Writes a program in a separate process, for the same reason.
pub fn write_program(to: &Path, text: &str) {
    let mut writer = Command::new("sh");
    writer.args(["-c", "cat > \"$0\" && chmod 755 \"$0\""]).arg(to).stdin(Stdio::piped());
    let mut writer = writer.spawn().expect("there is a sh");
    writer.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("it reads");
    assert!(writer.wait().expect("an end").success(), "{} can be written", to.display());
}

/// Both sides of a terminal, of so many columns where that is said. No child of another test has them by accident: whoever
/// reads waits for the last who could write.
pub fn terminal(size: Option<&Winsize>) -> (OwnedFd, OwnedFd) {
    let OpenptyResult { master, slave } = openpty(size, None).expect("a terminal");
    for side in [&master, &slave] {
        fcntl(side, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).expect("it is open");
    }
    (master, slave)
}

/// Makes a command start with the default actions of the signals that zen handles, and without core files.
///
/// A shell without job control ignores SIGINT and SIGQUIT for its background processes, Python ignores SIGXFSZ, and zen leaves
/// ignored signals ignored.
pub fn with_default_signals(command: &mut Command) {
    // SAFETY: setting a signal to its default runs no code, and a limit is one system call.
    unsafe {
        command.pre_exec(|| {
            setrlimit(Resource::RLIMIT_CORE, 0, 0)?;
            for caught in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP, Signal::SIGTERM, Signal::SIGXFSZ] {
                signal(caught, SigHandler::SigDfl)?;
            }
            Ok(())
        })
    };
}
