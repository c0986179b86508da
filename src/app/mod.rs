//! The program: `main`, and one function for each kind of request.

pub mod queries;
pub mod tool_hook;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode as ProcessExitCode;

use crate::base::{text, timestamp};
use crate::claude::argv::{arguments, tool_policy_arguments};
use crate::claude::tool_policy::hook::MODE;
use crate::claude::usage_meter::ModelUsage;
use crate::cli::flags::{self, ConfigSource, LockPolicy, LogDir, Options, Request};
use crate::engine::budget::Budget;
use crate::engine::exit_code::ExitCode;
use crate::engine::run_clock::Pauses;
use crate::engine::schedule::LaunchPolicy;
use crate::engine::usage_limit;
use crate::plan::{Instance, Plan};
use crate::preflight::earlier_runs;
use crate::preflight::probe::{self, Unchecked};
use crate::preflight::{LockTarget, PreparedRun, lock_place, locks_directory, log_base, prepare, unchecked_commands};
use crate::report::verbosity::LogLevel;
use crate::report::{self, Style};
use crate::run::{Settings, Supervisor, delayed_start, epoch_ms, no_session_locks, session_entry};
use crate::system::allocator;
use crate::system::child::raise_descriptor_limit;
use crate::system::error_text;
use crate::system::file_lock::{Holder, Lock, LockError};
use crate::system::local_time::utc_offset_s;
use crate::system::output::Output;
use crate::system::random::random_token;
use crate::system::run_dir::RunDirectory;
use crate::system::session_locks::SessionLocks;
use crate::system::signals;

/// Parses the command line, runs what it requests, and returns the exit code.
#[must_use]
pub fn main() -> ProcessExitCode {
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == MODE) {
        return ProcessExitCode::from(tool_hook::run(&words.collect::<Vec<_>>()));
    }
    let code = match flags::parse(std::env::args_os().skip(1), |name| std::env::var_os(name)) {
        Ok(Request::Help) => answer(&flags::help()),
        Ok(Request::Version) => answer(&format!("zen {}\n", env!("CARGO_PKG_VERSION"))),
        Ok(Request::Query(query, options)) => match crate::app::queries::answer(&query, &options) {
            Ok(found) => {
                print_messages(&found.notes);
                answer(&printable(found.text))
            }
            Err(problems) => refuse(&problems),
        },
        Ok(Request::Run(options)) => run(&options),
        Err(errors) => refuse(&errors),
    };
    ProcessExitCode::from(code.number())
}

fn run(options: &Options) -> ExitCode {
    let (mut stdout, mut stderr) = (Output::stdout(), Output::stderr());
    let style = style(&stdout);
    signals::reset_mask();
    allocator::give_large_blocks_back();
    let due_ms = options.start_at.map(|at| at.epoch_ms(epoch_ms(), utc_offset_s));
    let prepared = match prepare(options) {
        Ok(prepared) => prepared,
        Err(problems) => return refuse(&problems),
    };
    if options.dry_run {
        print_messages(&[&prepared.warnings[..], &prepared.notes].concat());
        return match answer(&dry_run(&prepared, options, due_ms, style)) {
            ExitCode::Completed if !prepared.problems.is_empty() => refuse(&prepared.problems),
            code => code,
        };
    }
    if variable("GITHUB_ACTIONS").is_some_and(|value| value == "true") {
        let token = random_token();
        stdout.fence(&token);
        stderr.fence(&token);
    }
    // A quiet run prints warnings too, for example about a mistyped budget.
    stderr.print(&messages(&prepared.warnings));
    if options.log_level > LogLevel::Silent {
        stderr.print(&messages(&prepared.notes));
    }
    if due_ms.is_some() {
        if let Err(problem) = check_places(options) {
            return refuse(&[problem]);
        }
        stderr.print(&messages(&early_warnings(&prepared)));
    }
    let say = |what: &str, is_asked: bool| {
        if is_asked || options.log_level > LogLevel::Silent {
            stderr.print(&messages(&[what.to_owned()]));
        }
    };
    let waited = match due_ms.map(|due_ms| delayed_start::wait_until(due_ms, say)).transpose() {
        Ok(waited) => waited,
        Err(error) => return refuse(&[format!("signals cannot be caught: {}", error_text(&error))]),
    };
    let started_epoch_ms = epoch_ms();
    let name = format!("{}-{}", timestamp::compact_utc(started_epoch_ms), std::process::id());
    let (lock, no_lock) = match take_lock(options, &prepared.workspace, &name, started_epoch_ms) {
        Ok(lock) => (lock, None),
        Err(LockOutcome::Abort(code)) => return code,
        Err(LockOutcome::Continue(why)) => (None, Some(why)),
    };
    let CheckedCommands { missing_commands, notices } = find_missing_commands(&prepared);
    stderr.print(&messages(&notices));
    let session_locks = session_locks(&prepared.plan).unwrap_or_else(|why| {
        stderr.print(&messages(&[no_session_locks(&why)]));
        None
    });
    let directory = match make_directory(&options.logs, &name) {
        Ok(directory) => {
            let what = |why| format!("no lock for this config: {why}: another run of it would not be noticed");
            stderr.print(&messages(&no_lock.map(what).into_iter().collect::<Vec<_>>()));
            directory
        }
        // If the user named a directory, a run without files would not be the requested one.
        Err(problem) if matches!(options.logs, LogDir::Path(_)) => return refuse(&[other_directory(&problem)]),
        Err(problem) => {
            let and_no_lock = if no_lock.is_some() { " and holds no lock" } else { "" };
            let what = format!("{problem}: this run keeps no files{and_no_lock}; --log-dir DIR names another place");
            stderr.print(&messages(&[what]));
            None
        }
    };
    let PreparedRun { plan, config_sha256, workspace, claude, abilities, .. } = prepared;
    let config = match &options.config {
        Some(ConfigSource::File(path)) => Some(path.display().to_string()),
        Some(ConfigSource::Stdin) => Some("-".to_owned()),
        None => None,
    };
    let workspace = workspace.display().to_string();
    let settings = Settings {
        earlier_usage: earlier_usage(&plan, directory.as_ref(), config.as_deref(), &workspace),
        pace: LaunchPolicy { startup_delay: options.startup_delay, max_parallel: options.max_parallel },
        grace: options.grace,
        limit_policy: usage_limit::Policy { on_limit: options.on_limit, max_wait: options.limit_wait_max },
        halt: options.halt.or(plan.halt),
        report_interval: options.status_report_interval,
        max_console_lines: options.max_console_lines,
        max_line_columns: options.max_line_length,
        log_level: options.log_level,
        on_success: options.on_success,
        style,
        claude: claude.clone().unwrap_or_default(),
        abilities,
        hook: tool_hook::program(),
        missing_commands,
        descriptor_limit: raise_descriptor_limit(),
        facts: report::json::RunMetadata {
            run: directory.as_ref().map_or(name, |directory| directory.run().to_owned()),
            config,
            config_sha256,
            workspace,
            claude: claude.unwrap_or_default().display().to_string(),
            started_epoch_ms,
            pauses: Pauses::default(),
            ..report::json::RunMetadata::default()
        },
    };
    match Supervisor::new(&plan, settings, directory, lock, session_locks, stdout, stderr) {
        Ok(run) => {
            drop(waited); // the run handles the signals from here on
            run.run()
        }
        Err(error) => refuse(&[format!("signals cannot be caught: {}", error_text(&error))]),
    }
}

/// Returns the usage of each instance when it last completed, by name, if the plan's budget learns estimates from it.
fn earlier_usage(
    plan: &Plan,
    directory: Option<&RunDirectory>,
    config: Option<&str>,
    workspace: &str,
) -> BTreeMap<String, ModelUsage> {
    let learns_estimates = Budget::new(&plan.budget, &plan.instances, &plan.prices).learns_estimates();
    let base = directory.and_then(|directory| directory.path().parent());
    // A config from standard input has no name that identifies its earlier runs.
    match (base, config) {
        (Some(base), Some(config)) if learns_estimates && config != "-" => {
            earlier_runs::used_by_instance(base, config, workspace)
        }
        _ => BTreeMap::new(),
    }
}

/// Returns a warning for each missing command, before the wait for a delayed start.
fn early_warnings(prepared: &PreparedRun) -> Vec<String> {
    let missing = find_missing_commands(prepared).missing_commands.into_iter();
    let warning = |(index, error): (usize, String)| {
        let name = text::sanitize_line(&prepared.plan.instances[index].name).into_owned();
        format!("instance '{name}': {error}: it fails at the start if that is still so then")
    };
    missing.map(warning).collect()
}

/// The result of the query for claude's commands.
struct CheckedCommands {
    missing_commands: Vec<(usize, String)>,
    notices: Vec<String>,
}

/// Queries claude for missing commands of the plan. If a query fails, its commands are checked when the instances
/// start.
fn find_missing_commands(prepared: &PreparedRun) -> CheckedCommands {
    let Some(claude) = &prepared.claude else {
        return CheckedCommands { missing_commands: Vec::new(), notices: Vec::new() };
    };
    let instances = &prepared.plan.instances;
    let findings = probe::missing_commands(instances, claude, probe::RUN_LIMIT);
    let notice = |unchecked: &Unchecked| {
        format!("{}: they are checked when it starts", unchecked_commands(instances, unchecked))
    };
    CheckedCommands { missing_commands: findings.errors(), notices: findings.unchecked.iter().map(notice).collect() }
}

const NO_STATE_HOME: &str = "neither XDG_STATE_HOME nor HOME says where it goes";

/// Outcome of a run that cannot take its lock.
enum LockOutcome {
    /// The run ends with this code; the reason has been printed.
    Abort(ExitCode),
    /// The run continues without the lock, for this reason.
    Continue(String),
}

/// Takes the lock of the run, if it must hold one.
fn take_lock(
    options: &Options,
    workspace: &Path,
    run: &str,
    started_epoch_ms: u64,
) -> Result<Option<Lock>, LockOutcome> {
    let Some(place) = lock_place(options, workspace, |name| std::env::var_os(name)) else { return Ok(None) };
    let since = timestamp::rfc3339_utc(started_epoch_ms);
    let holder = Holder { pid: std::process::id(), run, since: &since };
    let (taken, which) = match &place {
        LockTarget::File(path) => (Lock::take(path, holder), path.display().to_string()),
        LockTarget::PerConfig(directory, name) => (Lock::take_in(directory, name, holder), "of this config".to_owned()),
        LockTarget::Disabled => {
            return Err(LockOutcome::Continue(NO_STATE_HOME.to_owned()));
        }
    };
    match taken {
        Ok(lock) => Ok(Some(lock)),
        Err(LockError::Held(holder)) => {
            let holder = if holder.is_empty() { "one that has just begun" } else { &holder };
            let what = format!(
                "another run holds the lock {which}: {holder}: nothing was launched, try again when it has ended \
                 (--no-lock runs beside it)"
            );
            refuse(&[text::sanitize_line(&what).into_owned()]);
            Err(LockOutcome::Abort(ExitCode::TempFail))
        }
        // If the user named a file, a run without that lock would not be the requested one.
        Err(LockError::Unusable(why)) if matches!(place, LockTarget::File(_)) => {
            Err(LockOutcome::Abort(refuse(&[other_lock(&which, &why)])))
        }
        Err(LockError::Unusable(why)) => Err(LockOutcome::Continue(why)),
    }
}

/// Checks the log and lock paths now, so that a delayed run does not fail only after the wait.
fn check_places(options: &Options) -> Result<(), String> {
    if let (LogDir::Path(_), Some(base)) = (&options.logs, log_base(&options.logs, |name| std::env::var_os(name))) {
        RunDirectory::check(&base).map_err(|error| other_directory(&no_directory(&error)))?;
    }
    if let LockPolicy::File(path) = &options.lock
        && let Err(LockError::Unusable(why)) = Lock::check(path)
    {
        return Err(other_lock(&path.display().to_string(), &why));
    }
    Ok(())
}

fn no_directory(error: &std::io::Error) -> String {
    format!("no directory for the run's files: {}", text::sanitize_line(&error_text(error)))
}

fn other_directory(problem: &str) -> String {
    format!("{problem}: give another with --log-dir DIR")
}

fn other_lock(which: &str, why: &str) -> String {
    text::sanitize_line(&format!("lock {which}: {why}: give another with --lock FILE")).into_owned()
}

/// Opens the directory of session locks, if an instance has a session.
fn session_locks(plan: &Plan) -> Result<Option<SessionLocks>, String> {
    if plan.instances.iter().all(|instance| instance.invocation.session.is_none()) {
        return Ok(None);
    }
    let directory = locks_directory(|name| std::env::var_os(name)).ok_or(NO_STATE_HOME)?;
    SessionLocks::open(&directory).map(Some)
}

fn make_directory(logs: &LogDir, run: &str) -> Result<Option<RunDirectory>, String> {
    if *logs == LogDir::Disabled {
        return Ok(None);
    }
    let Some(base) = log_base(logs, |name| std::env::var_os(name)) else {
        return Err("neither XDG_STATE_HOME nor HOME says where files go".to_owned());
    };
    let directory = RunDirectory::create(&base, run);
    directory.map(Some).map_err(|error| no_directory(&error))
}

fn dry_run(prepared: &PreparedRun, options: &Options, due_ms: Option<u64>, style: Style) -> String {
    let plan = &prepared.plan;
    let claude = prepared.claude.as_deref().unwrap_or(Path::new("claude")).display().to_string();
    let ledger = Budget::new(&plan.budget, &plan.instances, &plan.prices);
    let hook = tool_hook::program();
    let command_line = |(index, instance): (usize, &Instance)| -> Vec<String> {
        let uuid = |instance: &Instance| instance.invocation.session.as_ref().map(|session| session.uuid.clone());
        let is_entered_before = plan.instances[..index].iter().any(|earlier| uuid(earlier) == uuid(instance));
        let entry = session_entry(instance, is_entered_before);
        let arguments = arguments(&instance.invocation, entry, prepared.abilities, ledger.dollars_left(index));
        let policy = tool_policy_arguments(&instance.invocation, &hook);
        std::iter::once(claude.clone()).chain(arguments).chain(policy).collect()
    };
    let command_lines = plan.instances.iter().enumerate().map(command_line);
    let mut settings = vec![
        ("workspace", prepared.workspace.display().to_string()),
        ("startup delay", text::format_duration(options.startup_delay)),
        ("in parallel", options.max_parallel.map_or_else(|| "all".to_owned(), |max| max.to_string())),
    ];
    settings.extend(due_ms.map(|due_ms| ("starts at", delayed_start::describe_start(due_ms))));
    settings.extend(prepared.overrides.iter().map(|what| ("budget", what.clone())));
    report::dry_run::plan(plan, &prepared.workspace, command_lines, &settings, style)
}

/// Returns the capabilities of standard output: under cron the locale is not UTF-8, and a pipe has no colours.
fn style(stdout: &Output) -> Style {
    let is_dumb = variable("TERM").is_none_or(|term| term == "dumb");
    Style { unicode: is_utf8(), colour: stdout.is_terminal() && variable("NO_COLOR").is_none() && !is_dumb }
}

fn is_utf8() -> bool {
    let locale = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().find_map(variable).unwrap_or_default();
    let locale = locale.to_string_lossy().to_ascii_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

fn variable(name: &str) -> Option<OsString> {
    std::env::var_os(name).filter(|value| !value.is_empty())
}

/// Prints the answer to a query. EPIPE is not an error: the reader has read enough.
fn answer(text: &str) -> ExitCode {
    use std::io::Write;
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            refuse(&[format!("standard output: {}", error_text(&error))])
        }
        _ => ExitCode::Completed,
    }
}

/// Prints the reasons why nothing was launched, and returns the exit code.
fn refuse(problems: &[impl Display]) -> ExitCode {
    print_messages(problems);
    ExitCode::NotLaunched
}

/// Prints messages to standard error with a blocking write, while no run is in progress.
fn print_messages(lines: &[impl Display]) {
    use std::io::Write;
    let _ = std::io::stderr().lock().write_all(messages(lines).as_bytes());
}

/// Returns the messages as lines of standard error, in the character set of the locale.
fn messages(lines: &[impl Display]) -> String {
    let mut text = String::new();
    for line in lines {
        text += &format!("zen: {}\n", text::strip_controls(&line.to_string()));
    }
    printable(text)
}

/// Converts text to the character set of the locale.
fn printable(text: String) -> String {
    if is_utf8() { text } else { text::ascii(&text).into_owned() }
}
