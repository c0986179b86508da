//! zen on the real claude: each test runs on the generations of real_cli_versions.txt, side by side, each with a Messages API of the
//! tests' own in a network namespace of its own, so that nothing can leave the machine.
//!
//! `.ci/install-claude target/claude` installs them; a generation that is not there is left out, and that is said.
//! `make real` runs them. `ZEN_GENERATIONS=newest` or `older` limits them to the newest generation or to the others.

mod accounting;
mod api_errors;
mod background;
mod budget;
mod contract;
mod dependencies;
mod mcp;
mod night;
mod sessions;
mod slash_commands;
mod stopping;
mod tools;
mod turns;
mod verdicts;

use std::io::Write;
use std::net::{Ipv4Addr, UdpSocket};
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use nix::libc;
use nix::sched::{CloneFlags, unshare};
use serde_json::Value;

use harness::loopback::{Kind, LoopbackApi, Outcome, Served, TokenCount};
use harness::{MAX_WAIT, RunOutput, Running, Sandbox};

const VERSIONS: &str = include_str!("../../real_cli_versions.txt");

/// Each process takes 300 MB and a second of CPU, and waits a lot.
const MAX_PROCESSES: usize = 4;

/// Timeouts in seconds, one after the other until claude has come as far as it is to: how long it takes to start only the
/// machine knows.
pub const PATIENCES: [u64; 3] = [8, 25, 80];

/// One generation of claude, with a place and an API of its own.
pub struct Real {
    pub version: &'static str,
    pub sandbox: Sandbox,
    pub api: LoopbackApi,
    cli: PathBuf,
}

/// A run under way. When it has ended, the API's log is whole.
pub struct RealRun<'a> {
    zen: Running,
    api: &'a LoopbackApi,
}

impl Deref for RealRun<'_> {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.zen
    }
}

impl RealRun<'_> {
    /// Waits for its end as [`Running::outcome`] does.
    pub fn outcome(self) -> RunOutput {
        self.outcome_within(MAX_WAIT)
    }

    pub fn outcome_within(self, bound: Duration) -> RunOutput {
        let outcome = self.zen.outcome_within(bound);
        // Nobody of it lives, but the API may not have seen its last client go.
        self.api.settle(MAX_WAIT);
        outcome
    }

    /// Kills zen with SIGKILL, as [`Running::kill`] does.
    pub fn kill(self) {
        self.zen.kill();
    }
}

/// Runs the test on every generation that is asked for and installed. `processes` says how many claudes one run has at a
/// time.
pub fn on_each_generation(processes: usize, test: impl Fn(&Real) + Sync) {
    on_generations(newest().into_iter().chain(older()), processes, test);
}

/// The same, on 2.1 alone.
pub fn on_the_newest(processes: usize, test: impl Fn(&Real) + Sync) {
    on_generations(newest().into_iter(), processes, test);
}

fn newest() -> Option<&'static str> {
    versions().next().filter(|_| is_asked_for("newest"))
}

fn older() -> impl Iterator<Item = &'static str> {
    versions().skip(1).filter(|_| is_asked_for("older"))
}

fn versions() -> impl Iterator<Item = &'static str> {
    VERSIONS.lines().filter(|line| !line.starts_with('#'))
}

/// `ZEN_GENERATIONS` says which, in words; all, if it does not.
fn is_asked_for(generations: &str) -> bool {
    std::env::var("ZEN_GENERATIONS").map_or(true, |asked| asked.split_whitespace().any(|word| word == generations))
}

fn on_generations(versions: impl Iterator<Item = &'static str>, processes: usize, test: impl Fn(&Real) + Sync) {
    let (installed, missing): (Vec<_>, Vec<_>) =
        versions.map(|version| (version, cli(version))).partition(|(_, cli)| cli.exists());
    let caller = thread::current();
    let name = caller.name().unwrap_or_default();
    if !missing.is_empty() {
        let missing: Vec<&str> = missing.into_iter().map(|(version, _)| version).collect();
        // Not by a macro: what those print is shown of failed tests only.
        let _ = writeln!(std::io::stderr(), "left out: {name}: claude {} not installed", missing.join(", "));
    }
    let test = &test;
    let failed: Vec<&str> = thread::scope(|scope| {
        let runs = installed.into_iter().map(|(version, cli)| {
            let named = thread::Builder::new().name(format!("{name} on {version}"));
            (version, named.spawn_scoped(scope, move || run_on(version, cli, processes, test)).expect("a thread"))
        });
        let runs: Vec<_> = runs.collect();
        runs.into_iter().filter_map(|(version, run)| run.join().is_err().then_some(version)).collect()
    });
    assert!(failed.is_empty(), "on {}", failed.join(" and "));
}

/// Where `.ci/install-claude` puts it.
fn cli(version: &str) -> PathBuf {
    let base = std::env::var_os("ZEN_REAL_CLAUDE").map(PathBuf::from);
    let base = base.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/claude"));
    base.join(version).join("node_modules/.bin/claude")
}

fn run_on(version: &'static str, cli: PathBuf, processes: usize, test: impl Fn(&Real)) {
    let _seats = Seats::take(processes);
    // A thread has a network of its own, and what it starts inherits that.
    enter_own_network();
    let sandbox = Sandbox::new();
    keep_conversations(&sandbox);
    test(&Real { version, sandbox, api: LoopbackApi::start(), cli });
}

/// 2.0 removes the directory of a project's conversations at its start if it is empty, also between the moment in which
/// another claude makes it and that in which it opens its first file there; that one then dies.
fn keep_conversations(sandbox: &Sandbox) {
    let project =
        sandbox.workspace().to_str().expect("a path in UTF-8").replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let directory = sandbox.path("home/.claude/projects").join(project);
    std::fs::create_dir_all(&directory).expect("a directory");
    std::fs::write(directory.join("keep"), "").expect("a file");
}

impl Real {
    pub fn is_2_1(&self) -> bool {
        self.version.starts_with("2.1.")
    }

    pub fn is_1_0(&self) -> bool {
        self.version.starts_with("1.0.")
    }

    /// How sure the books are where nothing was cut off: the older generations do not tell of all their own calls.
    pub fn certainty(&self) -> &'static str {
        if self.is_2_1() { "exact" } else { "at_least" }
    }

    /// zen, in this place, on this claude and this API; not started.
    pub fn zen(&self, arguments: &[&str]) -> Command {
        let mut command = self.sandbox.zen(arguments);
        for name in ["FAKE_CLAUDE_LOG", "FAKE_CLAUDE_RETRY_MS"] {
            command.env_remove(name);
        }
        command.env("ZEN_CLAUDE", &self.cli).env("TMPDIR", self.sandbox.path("")).envs([
            ("ANTHROPIC_BASE_URL", self.api.base_url().as_str()),
            ("ANTHROPIC_API_KEY", "anything"),
            ("CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC", "1"),
            ("DISABLE_AUTOUPDATER", "1"),
            ("DISABLE_TELEMETRY", "1"),
            ("DISABLE_ERROR_REPORTING", "1"),
        ]);
        command
    }

    /// Runs this config as [`Place::run`] does.
    pub fn run(&self, config: &Path, arguments: &[&str]) -> RunOutput {
        self.start(config, arguments).outcome()
    }

    /// Starts the same, and does not wait for it.
    pub fn start(&self, config: &Path, arguments: &[&str]) -> RealRun<'_> {
        RealRun { zen: self.sandbox.started(&mut self.zen_on(config, arguments)), api: &self.api }
    }

    /// The same, not started.
    pub fn zen_on(&self, config: &Path, arguments: &[&str]) -> Command {
        let mut all = vec!["--config", config.to_str().expect("a path in UTF-8"), "--workspace", "workspace"];
        all.extend(["--startup-delay", "0"]);
        all.extend(arguments);
        self.zen(&all)
    }

    /// Runs one prompt, named `a`.
    pub fn run_prompt(&self, prompt: &str) -> RunOutput {
        self.run(&self.sandbox.prompts(&[prompt]), &[])
    }

    /// What the API was asked in conversations, and has answered to the end.
    pub fn conversation(&self) -> Vec<Served> {
        self.api.log().into_iter().filter(|served| served.kind == Kind::Conversation).collect()
    }

    /// The tokens of an instance are these, and, on 1.0 and 2.0, those of small calls of claude's own.
    pub fn assert_tokens(&self, outcome: &RunOutput, name: &str, tokens: u64) {
        let more = outcome.total_tokens(name).checked_sub(tokens);
        let is_small_calls = more.is_some_and(|more| more == 0 || (!self.is_2_1() && more % total(SMALL_CALL) == 0));
        assert!(is_small_calls, "{name} is to have {tokens} tokens\n{}", self.dump(outcome));
    }

    /// Whether claude made this request for itself; 2.1 makes none that it does not tell of.
    pub fn is_small_call(&self, served: &Served) -> bool {
        !self.is_2_1() && matches!(served.kind, Kind::Warmup | Kind::SideModel)
    }

    /// zen's totals are what the API has served, to the token.
    pub fn assert_books_balance(&self, outcome: &RunOutput) {
        self.assert_books_balance_since(outcome, 0);
    }

    /// The same, without the first requests, which were another run's.
    ///
    /// 2.0 warms up two subagents in every process, and both older ones make titles for other processes' sessions and the
    /// like. They tell what that cost only if it is done before the result; what is not told is said here.
    pub fn assert_books_balance_since(&self, outcome: &RunOutput, first: usize) {
        let log = self.api.log();
        let (small, others): (Vec<_>, Vec<_>) = log[first..].iter().partition(|served| self.is_small_call(served));
        let (whole, cut): (Vec<&Served>, Vec<&Served>) =
            others.iter().partition(|served| !matches!(served.outcome, Outcome::ClientWentAway | Outcome::Broken));
        // claude may or may not have read what the API wrote of a message that was interrupted or broken off; the books
        // must not claim to be exact then. Of a broken message, 2.1 guesses the output.
        let mut wholes = vec![whole.iter().map(|served| served.announced).fold(TokenCount::default(), sum)];
        for message in &cut {
            wholes.extend(wholes.clone().into_iter().map(|read| sum(read, message.announced)));
        }
        let guesses: u64 = cut
            .iter()
            .filter(|served| served.outcome == Outcome::Broken)
            .map(|served| served.usage.output_tokens - served.announced.output_tokens)
            .sum();
        let booked = tokens_of(&outcome.report["totals"]);
        let balances = |sum: &TokenCount| {
            let guess = booked.output_tokens.saturating_sub(sum.output_tokens);
            booked == TokenCount { output_tokens: sum.output_tokens + guess, ..*sum } && guess <= guesses
        };
        let mut balanced = wholes;
        let mut told = None;
        for calls in 0..=small.len() {
            if balanced.iter().any(balances) {
                told = Some(calls);
                break;
            }
            if let Some(call) = small.get(calls) {
                balanced.iter_mut().for_each(|sums| *sums = sum(*sums, call.announced));
            }
        }
        let told = told.unwrap_or_else(|| panic!("{booked:?} is not what was served\n{}", self.dump(outcome)));
        if !cut.is_empty() {
            assert_eq!(outcome.report["totals"]["tokens_certainty"], "at_least", "{}", self.dump(outcome));
        }
        if told < small.len() {
            eprintln!(
                "claude {} does not tell of {} of its own {} calls",
                self.version,
                small.len() - told,
                small.len()
            );
        }
    }

    /// A program for the Bash tool, in Python. It runs in the workspace.
    pub fn script(&self, name: &str, text: &str) -> &Self {
        std::fs::write(self.sandbox.workspace().join(name), text).expect("a script");
        self
    }

    /// The result, and everything that helps to understand it.
    pub fn dump(&self, outcome: &RunOutput) -> String {
        let log: Vec<String> = self.api.log().iter().map(told).collect();
        format!("claude {}\n{}\n--- API\n{}\n", self.version, outcome.dump(), log.join("\n"))
    }
}

/// A use of the tool `Read`, which costs no small call of claude's own.
fn read_tool(real: &Real) -> String {
    let file = real.sandbox.workspace().join("notes.txt");
    std::fs::write(&file, "Nothing of note.\n").expect("a file");
    format!("[[tool Read {}]]", serde_json::json!({ "file_path": file }))
}

fn told(served: &Served) -> String {
    let text: String = served.last_user_text.chars().take(60).collect();
    let Served { kind, outcome, announced, model, .. } = served;
    format!("{kind:?} {outcome:?} {model} {announced:?} {text:?}")
}

fn sum(a: TokenCount, b: TokenCount) -> TokenCount {
    TokenCount {
        input_tokens: a.input_tokens + b.input_tokens,
        output_tokens: a.output_tokens + b.output_tokens,
        cache_creation_input_tokens: a.cache_creation_input_tokens + b.cache_creation_input_tokens,
        cache_read_input_tokens: a.cache_read_input_tokens + b.cache_read_input_tokens,
    }
}

/// What the API says of a message without a script.
const SMALL_CALL: TokenCount =
    TokenCount { input_tokens: 100, output_tokens: 20, cache_creation_input_tokens: 0, cache_read_input_tokens: 0 };

fn total(tokens: TokenCount) -> u64 {
    let TokenCount { input_tokens, output_tokens, cache_creation_input_tokens, cache_read_input_tokens } = tokens;
    input_tokens + output_tokens + cache_creation_input_tokens + cache_read_input_tokens
}

/// The tokens of an entry in `report.json`: an instance's, or the totals.
pub fn tokens_of(entry: &Value) -> TokenCount {
    let count = |kind: &str| entry["tokens"][kind].as_u64().expect("a count");
    TokenCount {
        input_tokens: count("input"),
        output_tokens: count("output"),
        cache_creation_input_tokens: count("cache_creation"),
        cache_read_input_tokens: count("cache_read"),
    }
}

/// Room for so many claudes, of all tests together.
struct Seats {
    count: usize,
}

/// Who comes first is served first: whoever needs several would else wait until nobody needs one.
struct Queue {
    free: usize,
    next_ticket: usize,
    served: usize,
}

static QUEUE: Mutex<Queue> = Mutex::new(Queue { free: MAX_PROCESSES, next_ticket: 0, served: 0 });
static QUEUE_MOVED: Condvar = Condvar::new();

impl Seats {
    fn take(count: usize) -> Seats {
        let count = count.min(MAX_PROCESSES);
        let mut queue = QUEUE.lock().unwrap_or_else(PoisonError::into_inner);
        let ticket = queue.next_ticket;
        queue.next_ticket += 1;
        let has_to_wait = |queue: &mut Queue| queue.served != ticket || queue.free < count;
        queue = QUEUE_MOVED.wait_while(queue, has_to_wait).unwrap_or_else(PoisonError::into_inner);
        queue.free -= count;
        queue.served += 1;
        QUEUE_MOVED.notify_all();
        Seats { count }
    }
}

impl Drop for Seats {
    fn drop(&mut self) {
        QUEUE.lock().unwrap_or_else(PoisonError::into_inner).free += self.count;
        QUEUE_MOVED.notify_all();
    }
}

/// Takes this thread to a network with nothing but `lo` in it. Who may not do that stays where he is.
fn enter_own_network() {
    if unshare(CloneFlags::CLONE_NEWNET).is_err() {
        return;
    }
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).expect("a socket");
    // SAFETY: zeros are a valid value of this plain C structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = libc::IFF_UP.try_into().expect("a small number");
    // SAFETY: SIOCSIFFLAGS reads one ifreq, which lives for the call.
    let code = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    assert_eq!(code, 0, "lo cannot be brought up: {}", std::io::Error::last_os_error());
}
