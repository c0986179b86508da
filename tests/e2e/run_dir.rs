//! What a run leaves on disk: where, for whose eyes, how whole; and that a disk that is full or gone stops nobody.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::Signal;
use nix::sys::stat::{Mode, umask};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use harness::{RunOutput, Sandbox, fake_claude, is_alive, wait_for, wait_until, write_program};

/// zen, with the workspace of the place and no delay between launches.
fn zen(sandbox: &Sandbox, config: &Path, arguments: &[&str]) -> Command {
    let config = config.to_str().expect("UTF-8");
    let mut command = sandbox.zen(&["--config", config, "--workspace", "workspace", "--startup-delay", "0"]);
    command.args(arguments);
    command
}

/// The directories of the runs below this one. Where locks are is none.
fn runs(base: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(base).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.filter(|path| !path.is_symlink() && !path.ends_with("locks")).collect()
}

fn report_in(run: &Path) -> Value {
    let text = fs::read_to_string(run.join("report.json")).expect("a report");
    serde_json::from_str(&text).expect("JSON")
}

fn logs_line(outcome: &RunOutput) -> Option<&str> {
    outcome.stdout.lines().find_map(|line| line.strip_prefix("Logs: "))
}

#[test]
fn files_go_to_the_state_directory_or_log_dir() {
    let state = |sandbox: &Sandbox| sandbox.path("xdg").to_str().expect("UTF-8").to_owned();
    for (state_home, arguments, expected) in [
        (Some("absolute"), &[][..], "xdg/zen"),
        (Some("relative/state"), &[], "home/.local/state/zen"),
        (Some(""), &[], "home/.local/state/zen"),
        (None, &[], "home/.local/state/zen"),
        (Some("absolute"), &["--log-dir", "logs/of/zen"], "logs/of/zen"),
        (Some("absolute"), &["--no-logs", "--log-dir", "logs"], "logs"),
    ] {
        let sandbox = Sandbox::new();
        let config = sandbox.prompts(&["[[say hello]]"]);
        let mut command = zen(&sandbox, &config, arguments);
        match state_home {
            Some("absolute") => command.env("XDG_STATE_HOME", state(&sandbox)),
            Some(other) => command.env("XDG_STATE_HOME", other),
            None => command.env_remove("XDG_STATE_HOME"),
        };
        let outcome = sandbox.started(&mut command).outcome().expect_code(0);
        assert_eq!(outcome.stderr, "", "{}", outcome.dump());
        let runs = runs(&sandbox.path(expected));
        assert_eq!(runs.len(), 1, "{expected}\n{}", outcome.dump());
        assert_eq!(logs_line(&outcome), runs[0].to_str(), "{}", outcome.dump());
        let latest = fs::read_link(sandbox.path(expected).join("latest")).expect("a link");
        assert_eq!(
            latest.to_str(),
            runs[0].file_name().and_then(|name| name.to_str()),
            "relative, so that it can move"
        );
        let report = report_in(&runs[0]);
        assert_eq!(report["run"].as_str(), latest.to_str());
        assert!(!sandbox.path("relative").exists() && !sandbox.path("workspace/relative").exists());
    }
}

#[test]
fn latest_is_the_run_that_began_last() {
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["[[say hello]]"]);
    let mut seen = BTreeSet::new();
    for _ in 0..3 {
        let outcome = sandbox.run(&config, &[]).expect_code(0);
        assert_eq!(
            Some(sandbox.path("state/zen/latest").canonicalize().expect("a run").as_path()),
            logs_line(&outcome).map(Path::new)
        );
        seen.insert(outcome.report["run"].to_string());
    }
    assert_eq!(seen.len(), 3);
    assert_eq!(runs(&sandbox.path("state/zen")).len(), 3);
}

#[test]
fn no_logs_leaves_nothing() {
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["[[say hello]]", "[[error it broke]]"]);
    let outcome = sandbox.run(&config, &["--log-dir", "logs", "--no-logs"]).expect_code(2);
    assert_eq!(logs_line(&outcome), None);
    for name in ["state/zen", "home/.local", "logs"] {
        assert_eq!(runs(&sandbox.path(name)), Vec::<PathBuf>::new());
    }
}

#[test]
fn two_runs_in_one_second_have_a_directory_each() {
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["[[say hello]]"]);
    let running: Vec<_> = (0..4)
        .map(|_| {
            zen(&sandbox, &config, &["--no-lock"])
                .stdout(fs::File::create("/dev/null").expect("it is there"))
                .spawn()
                .expect("zen starts")
        })
        .collect();
    for mut child in running {
        assert_eq!(child.wait().expect("an end").code(), Some(0));
    }
    let runs = runs(&sandbox.path("state/zen"));
    assert_eq!(runs.len(), 4);
    for run in runs {
        assert_eq!(report_in(&run)["exit_code"], 0);
    }
}

/// In containers, every zen may have the same process id.
#[test]
fn two_runs_of_one_second_and_one_process_id_have_a_directory_each() {
    let can = Command::new("unshare").args(["--pid", "--fork", "--mount-proc", "true"]).status();
    if !can.is_ok_and(|status| status.success()) {
        return; // not root, or in a container that forbids it
    }
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["[[say hello]]"]);
    let running: Vec<_> = (0..4)
        .map(|_| {
            let zen = zen(&sandbox, &config, &["--no-lock"]);
            let mut command = Command::new("unshare");
            command.args(["--pid", "--fork", "--mount-proc"]).arg(zen.get_program()).args(zen.get_args());
            command.current_dir(sandbox.path("")).env_clear();
            command.envs(zen.get_envs().filter_map(|(name, value)| Some((name, value?))));
            command.stdout(fs::File::create("/dev/null").expect("it is there")).spawn().expect("unshare starts")
        })
        .collect();
    for mut child in running {
        assert_eq!(child.wait().expect("an end").code(), Some(0));
    }
    let runs = runs(&sandbox.path("state/zen"));
    assert_eq!(runs.len(), 4, "{runs:?}");
    for run in runs {
        let report = report_in(&run);
        assert_eq!(report["exit_code"], 0);
        assert_eq!(report["run"].as_str(), run.file_name().and_then(|name| name.to_str()));
    }
}

#[test]
fn files_are_private_for_any_umask() {
    for mask in [0, 0o022, 0o077, 0o777] {
        let sandbox = Sandbox::new();
        let config = sandbox.prompts(&["[[stderr oops]] [[say hello]]", "[[error it broke]]"]);
        let mut command = zen(&sandbox, &config, &[]);
        // SAFETY: umask is async-signal-safe.
        unsafe {
            command.pre_exec(move || {
                umask(Mode::from_bits_truncate(mask));
                Ok(())
            })
        };
        let outcome = sandbox.started(&mut command).outcome();
        if mask == 0o777 && !nix::unistd::geteuid().is_root() {
            continue; // nor can anybody else make a directory below one of his own then
        }
        let outcome = outcome.expect_code(2);
        let run = PathBuf::from(logs_line(&outcome).expect("files"));
        let mut left = vec![run.clone()];
        let mut files = BTreeSet::new();
        while let Some(path) = left.pop() {
            let metadata = path.symlink_metadata().expect("it is there");
            let mode = metadata.permissions().mode() & 0o7777;
            if metadata.is_dir() {
                assert_eq!(mode, 0o700, "{} under {mask:o}", path.display());
                left.extend(fs::read_dir(&path).expect("a directory").flatten().map(|entry| entry.path()));
            } else {
                assert_eq!(mode, 0o600, "{} under {mask:o}", path.display());
                files.insert(path.strip_prefix(&run).expect("it is below").to_string_lossy().into_owned());
            }
        }
        let expected = [
            "01-a/result.txt",
            "01-a/stderr.txt",
            "01-a/stream.jsonl",
            "02-b/result.txt",
            "02-b/stream.jsonl",
            "report.json",
        ];
        assert_eq!(files.iter().collect::<Vec<_>>(), expected, "under {mask:o}");
        if mask == 0 {
            let base = fs::metadata(sandbox.path("state/zen")).expect("a directory").permissions().mode();
            assert_eq!(base & 0o7777, 0o700);
        }
    }
}

#[test]
fn names_stay_in_the_directory_and_are_unique() {
    let sandbox = Sandbox::new();
    let names = [
        "../../../escaped",
        "/tmp/escaped",
        "..",
        ".",
        "a/b",
        "a_b",
        "a\u{0}b".trim_matches('\0'),
        "-rf",
        "~",
        "x\ny",
        "語",
        &"n".repeat(5000),
    ];
    let names: Vec<String> = names.iter().map(|name| name.replace('\0', "\u{1}")).collect();
    let instances: Vec<Value> = names.iter().map(|name| json!({"name": name, "prompt": "[[say hello]]"})).collect();
    let outcome = sandbox.run(&sandbox.config(&json!({ "instances": instances }).to_string()), &[]).expect_code(0);
    let run = Path::new(logs_line(&outcome).expect("files"));
    let directories: BTreeSet<PathBuf> =
        names.iter().map(|name| PathBuf::from(outcome.instance(name)["directory"].as_str().expect("a path"))).collect();
    assert_eq!(directories.len(), names.len());
    for directory in &directories {
        assert_eq!(directory.parent(), Some(run), "{}", directory.display());
        assert_eq!(fs::read_to_string(directory.join("result.txt")).expect("a result"), "hello");
        let name = directory.file_name().and_then(|name| name.to_str()).expect("ASCII");
        let is_harmless = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        assert!(name.chars().all(is_harmless) && !name.starts_with('.') && name.len() < 100, "{name}");
    }
    assert_eq!(fs::read_dir(run).expect("a directory").count(), names.len() + 1, "and report.json");
    assert!(!sandbox.path("escaped").exists() && !sandbox.path("state/escaped").exists());
}

/// A claude that keeps a copy of what the fake claude prints.
fn copying(sandbox: &Sandbox) -> PathBuf {
    let (file, directory) = (sandbox.path("copying"), sandbox.path(""));
    let body = format!(
        "#!/bin/sh\ncd '{0}'\n'{1}' \"$@\" 2>stderr.copy | tee stdout.copy\ncat stderr.copy >&2\n",
        directory.display(),
        fake_claude().display()
    );
    write_program(&file, &body);
    file
}

#[test]
fn the_stream_is_kept_byte_for_byte() {
    let sandbox = Sandbox::new();
    let claude = copying(&sandbox);
    let prompt = "[[garbage 28]] [[stderr one \u{1b}[31mred]] [[unknown-events 6]] [[line 6MB raw ended]] [[line 5MB]] \
                  [[print 3MB 1kB]] [[stderr two]] [[say the\nend 日本\n]]";
    let config = sandbox.prompts(&[prompt]);
    let outcome = sandbox.run(&config, &["--claude", claude.to_str().expect("UTF-8")]).expect_code(0);
    let directory = PathBuf::from(outcome.instance("a")["directory"].as_str().expect("a path"));
    let same = |name: &str, copy: &str| {
        let (kept, printed) =
            (fs::read(directory.join(name)).expect("a file"), fs::read(sandbox.path(copy)).expect("a file"));
        assert_eq!(kept.len(), printed.len(), "{name}");
        assert!(kept == printed, "{name} differs");
        kept.len()
    };
    assert!(same("stream.jsonl", "stdout.copy") > 14_000_000);
    same("stderr.txt", "stderr.copy");
    assert_eq!(fs::read_to_string(directory.join("stderr.txt")).expect("a file"), "one \u{1b}[31mred\ntwo\n");
    let result = outcome.instance("a")["result"].as_str().expect("a text");
    assert_eq!(result, "the\nend 日本");
    assert_eq!(fs::read_to_string(directory.join("result.txt")).expect("a result"), result);
}

/// Each field that a program may rely on, with what it is: `s`tring, `i`nteger, `n`umber, `a`rray, `?` for null.
const FIELDS: [(&str, &str); 17] = [
    ("name", "s"),
    ("status", "s"),
    ("reason", "s?"),
    ("error", "s?"),
    ("attempts", "i"),
    ("pid", "i?"),
    ("session_id", "s?"),
    ("model", "s?"),
    ("cost_usd", "n"),
    ("tokens_certainty", "s"),
    ("cost_certainty", "s"),
    ("started_at", "s?"),
    ("ended_at", "s?"),
    ("duration_seconds", "n?"),
    ("exit_status", "i?"),
    ("exit_signal", "i?"),
    ("result", "s?"),
];

const RUN_FIELDS: [(&str, &str); 9] = [
    ("schema_version", "i"),
    ("run", "s"),
    ("zen_version", "s"),
    ("config", "s"),
    ("config_sha256", "s"),
    ("exit_code", "i?"),
    ("started_at", "s"),
    ("ended_at", "s?"),
    ("duration_seconds", "n"),
];

fn hold_to_the_schema(report: &Value) {
    let hold = |object: &Value, fields: &[(&str, &str)]| {
        for (name, kinds) in fields {
            let value = object.get(name).unwrap_or_else(|| panic!("no {name} in {object:#}"));
            let kind = match value {
                Value::Null => '?',
                Value::String(_) => 's',
                Value::Number(number) if number.is_u64() => 'i',
                Value::Number(_) => 'n',
                _ => 'x',
            };
            let is_whole = kind == 'i' && kinds.contains('n');
            assert!(kinds.contains(kind) || is_whole, "{name} is {value}");
        }
    };
    hold(report, &RUN_FIELDS);
    assert_eq!(report["schema_version"], 2);
    for instance in report["instances"].as_array().expect("instances") {
        hold(instance, &FIELDS);
        let tokens = &instance["tokens"];
        hold(tokens, &["input", "output", "cache_creation", "cache_read", "total"].map(|name| (name, "i")));
        let parts =
            ["input", "output", "cache_creation", "cache_read"].map(|name| tokens[name].as_u64().expect("a count"));
        assert_eq!(tokens["total"].as_u64(), Some(parts.iter().sum()));
        for denial in instance["permission_denials"].as_array().expect("denials") {
            hold(denial, &[("tool", "s"), ("input", "s")]);
        }
        for name in ["started_at", "ended_at"] {
            let Some(time) = instance[name].as_str() else { continue };
            assert!(time.len() == 24 && time.ends_with('Z') && time.contains('T'), "{time}");
        }
    }
}

#[test]
fn report_json_has_its_fields_for_every_kind_of_end() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(
        r#"{"instances": [
            {"name": "completed", "prompt": "[[usage in=1 out=2 read=3 write=4]] [[deny Write]] [[say done]]"},
            {"name": "failed", "prompt": "[[error it broke]]"},
            {"name": "crashed", "prompt": "[[die KILL]]"},
            {"name": "missing", "command": "/this-command-does-not-exist"},
            {"name": "skipped", "prompt": "x", "depends_on": ["failed"]},
            {"name": "timed-out", "prompt": "[[say begun]] [[hang]]", "timeout": 0.5},
            {"name": "interrupted", "prompt": "[[usage in=7 out=5]] [[say begun]] [[hang]]"},
            {"name": "not-started", "prompt": "x", "depends_on": ["interrupted"]}]}"#,
    );
    let run = sandbox.start(&config, &[]);
    let report = wait_for("all but one to have ended", || {
        let report = run.report();
        let has_ended = |i: &Value| i["ended_at"].is_string();
        let ended = report["instances"].as_array().map_or(0, |all| all.iter().filter(|i| has_ended(i)).count());
        (ended == 6).then_some(report)
    });
    let stream = sandbox.path("state/zen/latest/07-interrupted/stream.jsonl");
    let has_begun = |text: String| text.contains("message_start");
    wait_until("what the interrupted one uses", || fs::read_to_string(&stream).is_ok_and(has_begun));
    // In the middle of the run.
    hold_to_the_schema(&report);
    assert_eq!((&report["exit_code"], &report["ended_at"]), (&Value::Null, &Value::Null));
    let running = &report["instances"][6];
    assert_eq!(running["status"], "running");
    assert!(is_alive(i32::try_from(running["pid"].as_i64().expect("a pid")).expect("a pid")));
    run.signal(Signal::SIGTERM);
    let outcome = run.outcome().expect_code(143);
    hold_to_the_schema(&outcome.report);
    let expected = [
        ("completed", "completed", Value::Null, Value::Null, 1),
        ("failed", "failed", json!("error"), json!("it broke"), 1),
        ("crashed", "failed", json!("error"), json!("claude ended with signal 9 without a result"), 1),
        ("missing", "failed", json!("command not found"), json!("Command not found: /this-command-does-not-exist"), 0),
        ("skipped", "skipped", Value::Null, json!("depends on failed, which failed"), 0),
        ("timed-out", "failed", json!("timeout"), json!("Timeout after 0.5s"), 1),
        ("interrupted", "failed", json!("interrupted"), json!("Stopped by SIGTERM"), 1),
        ("not-started", "failed", json!("interrupted"), json!("Stopped by SIGTERM before the start"), 0),
    ];
    for (name, status, reason, error, attempts) in expected {
        let instance = outcome.instance(name);
        assert_eq!(instance["status"], status, "{instance:#}");
        assert_eq!(instance["reason"], reason, "{instance:#}");
        assert_eq!(instance["error"], error, "{instance:#}");
        assert_eq!(instance["attempts"], attempts, "{instance:#}");
        for field in ["pid", "started_at", "duration_seconds"] {
            assert_eq!(instance[field].is_null(), attempts == 0, "{field}: {instance:#}");
        }
        assert!(instance["ended_at"].is_string(), "{instance:#}");
    }
    let completed = outcome.instance("completed");
    assert_eq!(
        completed["tokens"],
        json!({"input": 1, "output": 2, "cache_creation": 4, "cache_read": 3, "total": 10})
    );
    assert_eq!(completed["permission_denials"], json!([{"tool": "Write", "input": ""}]));
    assert_eq!((&completed["exit_status"], &completed["exit_signal"]), (&json!(0), &Value::Null));
    assert_eq!((&completed["result"], &completed["tokens_certainty"]), (&json!("done"), &json!("exact")));
    assert!(completed["cost_usd"].as_f64().is_some_and(|dollars| dollars > 0.0), "{completed:#}");
    assert_eq!(completed["session_id"].as_str().map(str::len), Some(36), "{completed:#}");
    assert!(completed["model"].as_str().is_some_and(|model| model.contains("claude")), "{completed:#}");
    let crashed = outcome.instance("crashed");
    assert_eq!((&crashed["exit_status"], &crashed["exit_signal"]), (&Value::Null, &json!(9)));
    let paid_for = outcome.instance("interrupted")["tokens"]["input"].as_u64();
    assert_eq!(paid_for, Some(7), "it is on the books");
    assert_eq!((&outcome.report["exit_code"], &outcome.report["stopped_by"]), (&json!(143), &json!("SIGTERM")));
    assert!(outcome.report["ended_at"].is_string());
}

#[test]
fn the_hash_is_that_of_the_config_s_bytes() {
    let sandbox = Sandbox::new();
    for text in [
        "{\"instances\": [{\"prompt\": \"[[say hello]]\"}]}",
        "\u{feff}{\r\n\"instances\": [{\"prompt\": \"[[say naïve]]\"}]}\r\n\r\n",
    ] {
        let config = sandbox.config(text);
        let digest: String =
            Sha256::digest(fs::read(&config).expect("a file")).iter().map(|b| format!("{b:02x}")).collect();
        let outcome = sandbox.run(&config, &[]).expect_code(0);
        assert_eq!(outcome.report["config_sha256"], digest.as_str());
        assert_eq!(outcome.report["config"].as_str(), config.to_str());
        let mut command = zen(&sandbox, Path::new("-"), &[]);
        command.env("TEST_KEEPS_STDIN", "1").stdin(fs::File::open(&config).expect("a file"));
        let outcome = sandbox.started(&mut command).outcome().expect_code(0);
        assert_eq!(outcome.report["config_sha256"], digest.as_str());
        assert_eq!(outcome.report["config"], "-");
    }
}

/// It is replaced, never rewritten: whoever reads it at any moment reads a whole one.
#[test]
fn report_json_is_whole_at_every_moment() {
    let sandbox = Sandbox::new();
    let prompts: Vec<String> = (0..12).map(|i| format!("[[say {i}]]")).collect();
    let config = sandbox.prompts(&prompts.iter().map(String::as_str).collect::<Vec<_>>());
    let run = sandbox.start(&config, &["--max-parallel", "2"]);
    let file = sandbox.path("state/zen/latest/report.json");
    let ended = wait_for("the end of the run", || {
        let text = fs::read_to_string(&file).ok()?;
        let report: Value = serde_json::from_str(&text).expect("whole JSON");
        report["exit_code"].is_number().then_some(report)
    });
    assert_eq!(ended["exit_code"], 0);
    run.outcome().expect_code(0);
    let left: Vec<_> =
        fs::read_dir(file.parent().expect("a run")).expect("a run").flatten().map(|e| e.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().starts_with('.')), "{left:?}");
}

/// Whoever kills zen with SIGKILL shall find in it what was used, though nothing else has changed since.
#[test]
fn report_json_has_the_usage_of_a_running_instance() {
    let sandbox = Sandbox::new();
    let prompt = format!("[[usage in=700 out=30]] {} [[say Done.]]", sandbox.gate("end"));
    let run = sandbox.start(&sandbox.prompts(&[&prompt]), &["--quiet"]);
    let used = wait_for("the tokens", || {
        let used = run.report()["instances"][0].clone();
        (used["tokens"]["total"].as_u64() >= Some(730)).then_some(used)
    });
    assert_eq!((&used["status"], &used["tokens_certainty"]), (&json!("running"), &json!("at_least")));
    assert!(used["cost_usd"].as_f64() > Some(0.0), "{used}");
    sandbox.open_gate("end");
    run.outcome().expect_code(0);
}

#[test]
fn unusable_run_directory_is_reported_and_the_run_continues() {
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["[[say hello]]"]);
    let no_files = "this run writes no files and holds no lock: give a directory with --log-dir DIR\n";
    for (state_home, home, expected) in [
        (Some("/dev/null"), None, "zen: no directory for the run's files: /dev/null/zen: Not a directory: "),
        (
            None,
            Some("/dev/null"),
            "zen: no directory for the run's files: /dev/null/.local/state/zen: Not a directory: ",
        ),
        (None, None, "zen: no directory for the run's files: neither XDG_STATE_HOME nor HOME is an absolute path: "),
    ] {
        let mut command = zen(&sandbox, &config, &[]);
        command.env_remove("XDG_STATE_HOME").env_remove("HOME");
        command.envs(state_home.map(|path| ("XDG_STATE_HOME", path))).envs(home.map(|path| ("HOME", path)));
        let outcome = sandbox.started(&mut command).outcome().expect_code(0);
        assert_eq!(outcome.stderr, format!("{expected}{no_files}"), "{}", outcome.dump());
        assert_eq!(logs_line(&outcome), None);
        assert!(outcome.stdout.contains("Successful: 1/1"), "{}", outcome.dump());
    }
}

#[test]
fn unusable_log_dir_is_rejected_before_the_start() {
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["[[say hello]]"]);
    for (log_dir, expected) in [
        (
            "/dev/null/logs",
            "zen: no directory for the run's files: /dev/null/logs: Not a directory: give another with --log-dir DIR\n",
        ),
        ("config.json", "config.json: Not a directory: give another with --log-dir DIR\n"),
        ("config.json/below", "config.json/below: Not a directory: give another with --log-dir DIR\n"),
    ] {
        let outcome = sandbox.run(&config, &["--log-dir", log_dir]).expect_code(1);
        assert!(outcome.stderr.ends_with(expected), "{expected}\n{}", outcome.dump());
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.dump());
        assert_eq!(outcome.stdout, "");
        assert_eq!(sandbox.claude_log().len(), 0, "something was launched");
    }
}

/// Everything went well, and one line says that files are missing.
fn hold_to_one_complaint(outcome: &RunOutput, why: &str) {
    assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.dump());
    let is_it = outcome.stderr.starts_with("zen: incomplete files: /") && outcome.stderr.contains(why);
    assert!(is_it, "{}", outcome.dump());
    assert!(outcome.stdout.contains("✓ Successful: 3/3 instances"), "{}", outcome.dump());
    assert!(outcome.stdout.ends_with("Exit code: 0 (every instance completed)\n"), "{}", outcome.dump());
}

const MUCH: [&str; 3] =
    ["[[print 1MB 1kB]] [[say one]]", "[[print 1MB 1kB]] [[say two]]", "[[print 1MB 1kB]] [[say three]]"];

#[test]
fn file_size_limit_is_reported_once_and_stops_no_instance() {
    let sandbox = Sandbox::new();
    let claude = sandbox.path("claude");
    let body = format!(
        "#!/bin/sh\ngrep SigIgn /proc/$$/status >> '{}'\nexec '{}' \"$@\"\n",
        sandbox.path("ignored").display(),
        fake_claude().display()
    );
    write_program(&claude, &body);
    let mut command = zen(&sandbox, &sandbox.prompts(&MUCH), &["--claude", claude.to_str().expect("UTF-8")]);
    // SAFETY: setrlimit is async-signal-safe.
    unsafe { command.pre_exec(|| Ok(setrlimit(Resource::RLIMIT_FSIZE, 200_000, 200_000)?)) };
    let outcome = sandbox.started(&mut command).outcome().expect_code(0);
    hold_to_one_complaint(&outcome, "stream.jsonl: File too large");
    hold_to_the_schema(&outcome.report);
    assert_eq!(outcome.report["exit_code"], 0);
    assert_eq!(outcome.instance("c")["result"], "three");
    // What zen does with a signal is no affair of its instances.
    for line in fs::read_to_string(sandbox.path("ignored")).expect("three lines").lines() {
        let ignored = u64::from_str_radix(line.trim_start_matches("SigIgn:").trim(), 16).expect("a mask");
        for signal in [Signal::SIGXFSZ, Signal::SIGPIPE] {
            assert_eq!(ignored & (1 << (signal as i32 - 1)), 0, "{signal} is ignored: {line}");
        }
    }
}

#[test]
fn deleted_run_directory_stops_no_instance() {
    let sandbox = Sandbox::new();
    let prompt = "[[say begun]] [[wait 700ms]] [[print 100kB 1kB]] [[say done]]";
    let run = sandbox.start(&sandbox.prompts(&[prompt, prompt, "[[wait 300ms]] [[say done]]"]), &[]);
    let directory = wait_for("a stream", || {
        let directory = sandbox.path("state/zen/latest").canonicalize().ok()?;
        directory.join("01-a/stream.jsonl").exists().then_some(directory)
    });
    wait_until("it to be gone", || {
        let _ = fs::remove_dir_all(&directory);
        !directory.exists()
    });
    let outcome = run.outcome().expect_code(2);
    let is_complaint = |line: &str| line.starts_with("zen: incomplete files: /");
    assert!(outcome.stderr.lines().all(is_complaint), "{}", outcome.dump());
    assert!(outcome.stderr.lines().count() <= 3, "one for each kind of file\n{}", outcome.dump());
    assert!(outcome.stdout.ends_with("Exit code: 2 (report.json is incomplete)\n"), "{}", outcome.dump());
    assert!(outcome.stdout.contains("✓ Successful: 3/3 instances"), "{}", outcome.dump());
}

/// Where there is no report.json, that it is out of date must not wake the loop.
#[test]
fn run_without_files_waits_without_cpu_time() {
    const MAX_TICKS: u64 = 100; // a second; a busy loop takes all of the three
    let sandbox = Sandbox::new();
    let zen = sandbox.start(&sandbox.prompts(&["[[wait 3s]] [[say Done.]]"]), &["--no-logs"]);
    let ticks = || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", zen.pid())).unwrap_or_default();
        let fields: Vec<String> = stat.rsplit(") ").next().unwrap_or("").split(' ').map(str::to_owned).collect();
        [11, 12].iter().filter_map(|&at| fields.get(at)?.parse::<u64>().ok()).sum::<u64>()
    };
    let mut last = 0;
    harness::wait_until("its end", || {
        last = last.max(ticks());
        zen.is_zombie()
    });
    zen.outcome().expect_code(0);
    assert!(last < MAX_TICKS, "{last} ticks of CPU time");
}
