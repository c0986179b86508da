//! Runs a plan: sets up the resources of the run, and hands over to the event loop.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::path::Path;

use super::console::{self, messages};
use super::setup::{self, DirectoryError, RunLock, SetupError, Unlocked};
use super::{dry_run, tool_hook};
use crate::base::{text, timestamp};
use crate::claude::usage_meter::ModelUsage;
use crate::cli::flags::{ConfigSource, LogDir, Options};
use crate::engine::RunPolicy;
use crate::engine::budget::Budget;
use crate::engine::exit_code::ExitCode;
use crate::engine::schedule::LaunchPolicy;
use crate::engine::usage_limit;
use crate::plan::{InstanceId, Plan};
use crate::preflight::workspace::foreign_log_directory;
use crate::preflight::{PreparedRun, earlier_runs, missing_commands, prepare};
use crate::report::Style;
use crate::report::json::RunMetadata;
use crate::report::notices::no_session_locks;
use crate::report::verbosity::LogLevel;
use crate::run::{
    LaunchSettings, Locks, ReportSettings, Resources, Settings, Sinks, Supervisor, delayed_start, epoch_ms,
};
use crate::system::allocator;
use crate::system::child::raise_descriptor_limit;
use crate::system::file_lock::{Holder, Lock};
use crate::system::local_time::utc_offset_s;
use crate::system::output::Output;
use crate::system::random::random_token;
use crate::system::run_dir::RunDirectory;
use crate::system::signals::{self, ExitOnSignal};

/// Runs the plan of these options, or prints it, and returns the exit code.
pub(super) fn run(options: &Options) -> ExitCode {
    let (stdout, stderr) = (Output::stdout(), Output::stderr());
    let mut streams = Streams { style: console::style(&stdout), stdout, stderr };
    signals::reset_mask();
    allocator::give_large_blocks_back();
    let due_ms = options.start_at.map(|at| at.epoch_ms(epoch_ms(), utc_offset_s));
    let prepared = match prepare(options) {
        Ok(prepared) => prepared,
        Err(problems) => return console::refuse(&problems),
    };
    if options.dry_run {
        return dry_run::print(&prepared, options, due_ms, streams.style);
    }
    streams.fence_workflow_commands();
    // A quiet run prints warnings too, for example about a mistyped budget.
    streams.print(&prepared.warnings);
    if options.log_level > LogLevel::Silent {
        streams.print(&prepared.notes);
    }
    let waited = match due_ms.map(|due_ms| wait_for_start(due_ms, &prepared, options, &mut streams)).transpose() {
        Ok(waited) => waited,
        Err(error) => return refuse(&error),
    };
    launch(prepared, options, streams, waited).unwrap_or_else(|error| refuse(&error))
}

fn refuse(error: &SetupError) -> ExitCode {
    console::print_messages(&[error]);
    error.exit_code()
}

/// Output of a run.
struct Streams {
    stdout: Output,
    stderr: Output,
    style: Style,
}

impl Streams {
    fn print(&mut self, lines: &[impl Display]) {
        self.stderr.print(&messages(lines));
    }

    /// Prevents GitHub Actions from executing workflow commands in the output of an agent.
    fn fence_workflow_commands(&mut self) {
        if console::variable("GITHUB_ACTIONS").is_some_and(|value| value == "true") {
            let token = random_token();
            self.stdout.fence(&token);
            self.stderr.fence(&token);
        }
    }
}

/// Waits for the start time. Before that, reports all that can be checked now.
fn wait_for_start(
    due_ms: u64,
    prepared: &PreparedRun,
    options: &Options,
    streams: &mut Streams,
) -> Result<ExitOnSignal, SetupError> {
    setup::check_paths(options)?;
    for (index, error) in find_missing_commands(prepared).errors() {
        let name = &prepared.plan.instances[index].name;
        let warning =
            format!("instance '{}': {error}: it fails at the start, unless it is added", text::sanitize_line(name));
        streams.print(&[warning]);
    }
    let print = |text: &str, is_requested: bool| {
        if is_requested || options.log_level > LogLevel::Silent {
            streams.print(&[text]);
        }
    };
    delayed_start::wait_until(due_ms, print).map_err(SetupError::Signals)
}

/// Queries claude for missing commands of the plan. If a query fails, its commands are checked when the instances
/// start.
fn find_missing_commands(prepared: &PreparedRun) -> missing_commands::Findings {
    match &prepared.claude {
        Some(claude) => {
            missing_commands::missing_commands(&prepared.plan.instances, claude, missing_commands::RUN_LIMIT)
        }
        None => missing_commands::Findings::default(),
    }
}

/// Sets up the run, runs it, and returns its exit code. `waited` has the signal handlers of a delayed start.
fn launch(
    prepared: PreparedRun,
    options: &Options,
    mut streams: Streams,
    waited: Option<ExitOnSignal>,
) -> Result<ExitCode, SetupError> {
    let started_epoch_ms = epoch_ms();
    let mut run = format!("{}-{}", timestamp::compact_utc(started_epoch_ms), std::process::id());
    let since = timestamp::rfc3339_utc(started_epoch_ms);
    let holder = Holder { pid: std::process::id(), run: &run, since: &since };
    let run_lock = setup::take_lock(options, &prepared.workspace, holder)?;
    let findings = find_missing_commands(&prepared);
    for unchecked in &findings.unchecked {
        streams.print(&[format!("{}: they are checked when it starts", unchecked.describe(&prepared.plan.instances))]);
    }
    let session_locks = setup::session_locks(&prepared.plan).unwrap_or_else(|reason| {
        streams.print(&[no_session_locks(&reason)]);
        None
    });
    let (lock, directory) = lock_and_directory(run_lock, &options.logs, &run, &mut streams)?;
    if let Some(directory) = &directory {
        directory.run().clone_into(&mut run);
    }
    let metadata = metadata(&prepared, options, run, started_epoch_ms);
    let earlier_usage = earlier_usage(&prepared.plan, directory.as_ref(), &metadata);
    let settings = Settings {
        policy: RunPolicy {
            pace: LaunchPolicy { startup_delay: options.startup_delay, max_parallel: options.max_parallel },
            grace: options.grace,
            limit_policy: usage_limit::Policy { on_limit: options.on_limit, max_wait: options.limit_wait_max },
            halt: options.halt.or(prepared.plan.halt),
            capabilities: prepared.abilities,
        },
        earlier_usage,
        missing_commands: findings.errors().into_iter().map(|(index, error)| (InstanceId(index), error)).collect(),
        launch: LaunchSettings {
            claude: prepared.claude.unwrap_or_default(),
            capabilities: prepared.abilities,
            hook: tool_hook::program(),
            descriptor_limit: raise_descriptor_limit(),
        },
        reports: ReportSettings {
            interval: options.status_report_interval,
            max_console_lines: options.max_console_lines,
            max_line_columns: options.max_line_length,
            log_level: options.log_level,
            on_success: options.on_success,
            style: streams.style,
            metadata,
        },
    };
    let Streams { stdout, stderr, .. } = streams;
    let resources =
        Resources { sinks: Sinks { directory, stdout, stderr }, locks: Locks { run: lock, sessions: session_locks } };
    let supervisor = Supervisor::new(&prepared.plan, settings, resources).map_err(SetupError::Signals)?;
    drop(waited); // the supervisor handles the signals from here on
    Ok(supervisor.run())
}

/// Returns the facts about the run as a whole.
fn metadata(prepared: &PreparedRun, options: &Options, run: String, started_epoch_ms: u64) -> RunMetadata {
    let config = match &options.config {
        Some(ConfigSource::File(path)) => Some(path.display().to_string()),
        Some(ConfigSource::Stdin) => Some(STANDARD_INPUT.to_owned()),
        None => None,
    };
    RunMetadata {
        run,
        config,
        config_sha256: prepared.config_sha256.clone(),
        workspace: prepared.workspace.display().to_string(),
        claude: prepared.claude.as_deref().unwrap_or(Path::new("")).display().to_string(),
        started_epoch_ms,
        ..RunMetadata::default()
    }
}

/// Name of a config that is read from standard input.
const STANDARD_INPUT: &str = "-";

/// A notice that the run lacks a resource.
enum Notice {
    NoLock(Unlocked),
    NoFiles { error: DirectoryError, has_no_lock: bool },
}

impl Display for Notice {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self {
            Notice::NoLock(reason) => {
                write!(f, "no lock for this config: {reason}: concurrent runs of it are not detected")
            }
            Notice::NoFiles { error, has_no_lock } => {
                let and_no_lock = if *has_no_lock { " and holds no lock" } else { "" };
                write!(f, "{error}: this run writes no files{and_no_lock}: give a directory with --log-dir DIR")
            }
        }
    }
}

/// Creates the directory of the run's files, and prints a notice if the directory or the lock is not available.
fn lock_and_directory(
    run_lock: RunLock,
    logs: &LogDir,
    run: &str,
    streams: &mut Streams,
) -> Result<(Option<Lock>, Option<RunDirectory>), SetupError> {
    let (lock, unlocked) = match run_lock {
        RunLock::NotNeeded => (None, None),
        RunLock::Held(lock) => (Some(lock), None),
        RunLock::Unavailable(reason) => (None, Some(reason)),
    };
    match setup::run_directory(logs, run) {
        Ok(directory) => {
            if let Some(reason) = unlocked {
                streams.print(&[Notice::NoLock(reason)]);
            }
            let base = directory.as_ref().and_then(|directory| directory.path().parent());
            streams.print(base.and_then(foreign_log_directory).as_slice());
            Ok((lock, directory))
        }
        // If the user named a directory, a run without files would not be the requested one.
        Err(error) if matches!(logs, LogDir::Path(_)) => Err(SetupError::LogDirectory(error)),
        Err(error) => {
            streams.print(&[Notice::NoFiles { error, has_no_lock: unlocked.is_some() }]);
            Ok((lock, None))
        }
    }
}

/// Returns the usage of each instance when it last completed, by name, if the plan's budget learns estimates from it.
fn earlier_usage(
    plan: &Plan,
    directory: Option<&RunDirectory>,
    metadata: &RunMetadata,
) -> BTreeMap<String, ModelUsage> {
    let learns_estimates = Budget::new(&plan.budget, &plan.instances, &plan.prices).learns_estimates();
    let base = directory.and_then(|directory| directory.path().parent());
    // A config from standard input has no name that identifies its earlier runs.
    match (base, metadata.config.as_deref()) {
        (Some(base), Some(config)) if learns_estimates && config != STANDARD_INPUT => {
            earlier_runs::used_by_instance(base, config, &metadata.workspace)
        }
        _ => BTreeMap::new(),
    }
}
