//! zen runs many headless Claude Code instances from a JSON config and reports how each of them ended.
//!
//! # Layers
//!
//! Each layer imports only layers above it in this list; `tests/source/layers.rs` has the exact rules and checks them. Start
//! reading at [`app`] for the program, at [`run`] for the loop, at [`engine`] for the decisions.
//!
//! ```text
//! base        text, time, hashes, lines: no domain
//! claude      everything known about the claude CLI: its protocol, arguments, commands, prices
//! config      file → values, with every mistake and its position
//! plan        config → plan: all defaults resolved, dependencies checked
//! engine      decisions of a run: schedule, budget, attempts, retries, outcomes
//! system      the edge to the operating system: processes, signals, files, locks, output
//! report      text and JSON from a snapshot of the run
//! cli         flags, help, man page, examples
//! preflight   everything before the first process: find claude, ask it, scan its settings
//! run         the loop that joins engine, system and report
//! app         the verbs of the program
//! ```
//!
//! `base`, `claude`, `config`, `plan`, `engine`, `report` and `cli` are pure: time, text and events come in as arguments.
//!
//! # The loop and the engine
//!
//! [`run::Supervisor`] has the loop: it turns what happens to processes, signals and the clock into an
//! [`engine::event::Event`], passes it to [`engine::Engine::handle`], and performs the [`engine::event::Action`]s that come
//! back. All decisions are in the engine, so that `engine/simulation` runs whole nights without a process.
//!
//! # A launch, from the plan to the process
//!
//! 1. [`engine::schedule`] lists the instances that may start now: dependencies, sessions, slots, delays.
//! 2. `Budget::admit_first` picks the first of them that the budget admits or denies; one that waits blocks no later one.
//!    `Engine::launch` joins both and requests the process.
//! 3. [`run`] (`run/launcher`) locks the session and spawns it.
//!
//! # A result, from claude to the verdict
//!
//! 1. `engine/attempt/conversation` takes the result of a turn; [`claude::turn_outcome`] classifies it.
//! 2. The next turn is sent. After the last one, `engine/attempt/background` waits for background work.
//! 3. When the process has ended, `engine/process` reads the verdict; `engine/ending` retries or ends the instance.
//!
//! # A signal, from the handler to the notice
//!
//! [`system::signals`] records it, [`run`] passes it on, `engine/stopping` stops the instances, and [`report::notices`] has the
//! text.
//!
//! # A missing slash command, from the config to the failure
//!
//! Before a run, `preflight/missing_commands` asks claude for its commands; `engine/ending` fails the instances that lack one.
//! Without claude, `preflight/command_files` lists the files that define commands.
//!
//! # A token count, from the socket to the report
//!
//! 1. [`run`] polls (`run/children`); [`system::child`] reads the bytes of a claude's standard output.
//! 2. [`base::lines`] cuts them into lines; [`claude::protocol`] decodes a line to an event.
//! 3. [`engine::attempt`] takes the event; [`claude::usage_meter`] counts each message once.
//! 4. The engine (`engine/limits`) stores the new total in the [`engine::record`] and charges it to [`engine::budget`], which
//!    returns the instances that must stop.
//! 5. [`report`] prints the records of an [`engine::snapshot`].
//!
//! # A config line, from the file to claude's arguments
//!
//! 1. [`config`] reads the field by the table in `config::fields`, or reports its line, column and the right spelling.
//! 2. [`plan`] merges it with the defaults and checks it against the others.
//! 3. [`preflight`] checks that this claude can enforce it.
//! 4. [`claude::argv`] turns the [`claude::invocation`] of the planned instance into arguments, for the dry run and the run.
//!
//! # A deadline, from the clock to SIGKILL
//!
//! 1. All deadlines are times on [`engine::run_clock`], which leaves out pauses: Ctrl-Z, and a suspended machine.
//!    [`engine::attempt`] returns the time at which it must be called next; [`run`] polls no longer than that.
//! 2. When the timeout has passed, the attempt sends `interrupt` on standard input and closes it. SIGTERM follows after the
//!    grace period, and SIGKILL two seconds later: the steps of `engine/attempt/shutdown`, with the delays of
//!    [`engine::timing`].
//! 3. [`run`] performs these actions through [`system::child`] and [`system::process_tree`], which finds the descendants
//!    wherever they went (`run/cleanup`). The reaper of each instance (`system::reaper`) does the same if zen itself is killed.

#![warn(missing_docs)]

pub mod base;

pub mod claude;

pub mod config;

pub mod plan;

pub mod engine;

pub mod system;

pub mod report;

pub mod cli;

pub mod preflight;

pub mod run;

pub mod app;
