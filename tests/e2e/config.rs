//! What is wrong is told before the launch: all of it at once, with its place and the way out, and nothing is started.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sys::resource::{Resource, setrlimit};

use harness::{MAX_WAIT, RunOutput, Sandbox, fake_claude, fixture, write_program};

/// In a debug build, on a slow machine. How busy it is makes no difference.
const MAX_CPU_SECONDS: u64 = 20;

/// Far above what zen takes for its largest config, far below the size of what it is attacked with.
const MEMORY_KB: u64 = 250_000;

/// Nothing was launched, and every message says in plain words what and why.
fn refused(sandbox: &Sandbox, outcome: RunOutput) -> RunOutput {
    let outcome = outcome.expect_code(1);
    assert_eq!(sandbox.claude_log().len(), 0, "something was launched\n{}", outcome.dump());
    assert_eq!(outcome.stdout, "", "{}", outcome.dump());
    hold_to_the_form(&outcome);
    outcome
}

/// `zen: what: why` in words for people: no debug format, no error number, no control character.
fn hold_to_the_form(outcome: &RunOutput) {
    assert!(!outcome.stderr.is_empty() && outcome.stderr.ends_with('\n'), "{}", outcome.dump());
    for line in outcome.stderr.lines() {
        let is_message = line.strip_prefix("zen: ").is_some_and(|text| text.contains([':', ' ']));
        assert!(is_message || line.starts_with("  "), "{line:?}\n{}", outcome.dump());
    }
    for jargon in ["Some(", "None", "Err(", "Ok(", "Os {", "(os error", "Error {", "panicked", "EOF"] {
        assert!(!outcome.stderr.contains(jargon), "{jargon}\n{}", outcome.dump());
    }
    assert!(!outcome.stderr.chars().any(|c| c.is_control() && c != '\n'), "{:?}", outcome.stderr);
}

fn expect_all<'a>(outcome: &RunOutput, expected: impl IntoIterator<Item = &'a str>) {
    for expected in expected {
        assert!(outcome.stderr.contains(expected), "{expected}\n{}", outcome.dump());
    }
}

fn refused_config(text: &str) -> RunOutput {
    let sandbox = Sandbox::new();
    let outcome = sandbox.run(&sandbox.config(text), &[]);
    refused(&sandbox, outcome)
}

/// The mistakes as they are told, without the indentation.
fn mistakes(outcome: &RunOutput) -> Vec<&str> {
    outcome.stderr.lines().filter_map(|line| line.strip_prefix("  ")).collect()
}

#[test]
fn all_errors_are_reported_at_once_in_file_order() {
    let outcome = refused_config(
        r#"{
"instnces": [],
"timeout": 60,
"overall_budget": 5,
"budget": {
"overal_budget": 5,
"overall_budget": "5",
"budget_type": "token",
"enforcement_mode": "blok",
"command_budgets": {"/a": -1, "/b": 1.5, "/c": null},
"disable_visuals": "no",
"model": "opus"},
"defaults": {
"command": "/help",
"timeut": 5},
"instances": [
{"name": "collector", "comand": "/help"},
{"name": "reporter", "command": "x",
"timeout": 0,
"timeout": 5,
"depends_on": ["colector", "reporter"]},
{"name": "reporter", "command": "x"},
{"command": "x",
"cwd": "gone"},
{"name": "ring-1", "command": "x", "depends_on": ["ring-2"]},
{"name": "ring-2", "command": "x", "depends_on": ["ring-1"]},
{"name": "twin-1", "command": "x", "depends_on": ["twin-2"]},
{"name": "twin-2", "command": "x", "depends_on": [{"name": "twin-1", "when": "done"}]},
{"name": "pattern", "command": "x", "allowed_tools": ["Bash(git *)", "Read(src/**)"]},
7
]}"#,
    );
    let told: Vec<String> = mistakes(&outcome)
        .into_iter()
        .map(|mistake| {
            let (line, what) = mistake.split_once(", column ").expect("a place");
            format!("{line}: {}", what.split_once(": ").expect("a mistake").1)
        })
        .collect();
    let workspace = outcome
        .stderr
        .split("accessible directory: ")
        .nth(1)
        .and_then(|rest| rest.split("/gone").next())
        .expect("a path");
    let expected = [
        "line 2: instnces: unknown field, did you mean 'instances'?",
        "line 3: timeout: misplaced field: move it to an instance or to 'defaults'",
        "line 4: overall_budget: misplaced field: move it to 'budget'",
        "line 6: budget: overal_budget: unknown field, did you mean 'overall_budget'?",
        "line 7: budget: overall_budget: must be a positive integer, got a string",
        "line 8: budget: budget_type: unknown value 'token', did you mean 'tokens'?",
        "line 9: budget: enforcement_mode: unknown value 'blok', did you mean 'block'?",
        "line 10: budget: command_budgets: '/a': must be a positive integer, got -1; \
         '/b': must be a positive integer, got 1.5",
        "line 11: budget: disable_visuals: must be true or false, got a string",
        "line 12: budget: model: misplaced field: move it to an instance or to 'defaults'",
        "line 14: defaults: command: misplaced field: set it for each instance",
        "line 15: defaults: timeut: unknown field, did you mean 'timeout'?",
        "line 17: instance 'collector': command: Either 'command' or 'prompt' must be provided",
        "line 17: instance 'collector': comand: unknown field, did you mean 'command'?",
        "line 19: instance 'reporter': timeout: must be a positive number of seconds, got 0",
        "line 20: instance 'reporter': timeout: duplicate key",
        "line 21: instance 'reporter': depends_on: unknown instance 'colector', did you mean 'collector'?",
        "line 21: instance 'reporter': depends_on: must not be the instance itself",
        "line 22: instance 'reporter': name: must be unique: instances[1] has the same name",
        &format!("line 24: instance 'x': cwd: not an accessible directory: {workspace}/gone"),
        "line 25: instance 'ring-1': depends_on: dependency cycle: ring-1 -> ring-2 -> ring-1",
        "line 27: instance 'twin-1': depends_on: dependency cycle: twin-1 -> twin-2 -> twin-1",
        "line 29: instance 'pattern': allowed_tools: 'Read(src/**)' cannot be enforced: claude uses Read in the \
         workspace without asking: allow Read, and list in disallowed_tools what to deny",
        "line 30: instances[9]: must be an object, got a number",
    ];
    for (told, expected) in told.iter().zip(expected) {
        assert_eq!(told, expected, "{}", outcome.dump());
    }
    assert_eq!(told.len(), expected.len(), "{}", outcome.dump());
    assert!(outcome.stderr.contains("24 mistakes, nothing was launched:"), "{}", outcome.dump());
}

#[test]
fn each_field_reports_its_type() {
    let of_instance = [
        ("name", "string"),
        ("command", "string"),
        ("prompt", "string"),
        ("description", "string"),
        ("permission_mode", "string"),
        ("output_format", "string"),
        ("max_tokens_per_command", "number"),
        ("session_id", "string"),
        ("clear_history", "true or false"),
        ("compact_history", "true or false"),
        ("allowed_tools", "array"),
        ("disallowed_tools", "array"),
        ("pre_commands", "array"),
        ("timeout", "number"),
        ("idle_timeout", "number"),
        ("depends_on", "array"),
        ("model", "string"),
        ("env", "object"),
        ("cwd", "string"),
        ("claude_args", "array"),
    ];
    let of_budget = [
        ("overall_budget", "number"),
        ("overall_cost_budget", "number"),
        ("command_budgets", "object"),
        ("command_cost_budgets", "object"),
        ("budget_type", "string"),
        ("enforcement_mode", "string"),
        ("disable_visuals", "true or false"),
        ("token_basis", "string"),
    ];
    let values = [
        ("\"x\"", "a string", "string"),
        ("7", "a number", "number"),
        ("true", "a boolean", "true or false"),
        ("[7]", "an array", "array"),
        ("{\"a\": []}", "an object", "object"),
    ];
    // The values that are wrong for each field, one config for each value.
    for (value, kind, fits) in values {
        let fields = |fields: &[(&str, &str)]| -> String {
            let wrong = fields.iter().filter(|(_, wanted)| *wanted != fits);
            wrong.map(|(name, _)| format!("\n\"{name}\": {value}")).collect::<Vec<_>>().join(",")
        };
        let config =
            format!("{{\"budget\": {{{}}}, \"instances\": [{{{}}}]}}", fields(&of_budget), fields(&of_instance));
        let outcome = refused_config(&config);
        let told = mistakes(&outcome);
        for (fields, whose) in [(&of_budget[..], "budget: "), (&of_instance[..], "instances[0]: ")] {
            for (name, wanted) in fields.iter().filter(|(_, wanted)| *wanted != fits) {
                let line = told.iter().find(|line| line.contains(&format!(": {whose}{name}: ")));
                let line = line.unwrap_or_else(|| panic!("{name} = {value}\n{}", outcome.dump()));
                assert!(line.contains(&format!("got {kind}")), "{name}: {line}");
                let is_integer = *wanted == "number" && line.contains("must be a positive integer");
                assert!(line.contains(wanted) || is_integer, "{name}: {line}");
            }
        }
    }
}

#[test]
fn implausible_numbers_are_rejected() {
    for (number, told) in [
        ("0", "got 0"),
        ("-1", "got -1"),
        ("-0.0", "got -0.0"),
        ("1e15", ""),
        ("1e16", "got 1e16"),
        ("1e400", "got 1e400"),
        ("-1e400", "got -1e400"),
        ("2.5", "must be a positive integer, got 2.5"),
        ("1e-5", "must be a positive integer, got 1e-5"),
        ("\"NaN\"", "must be a positive integer, got a string"),
    ] {
        let config = format!(r#"{{"instances": [{{"command": "x", "max_tokens_per_command": {number}}}]}}"#);
        let sandbox = Sandbox::new();
        let outcome = sandbox.run(&sandbox.config(&config), &["--dry-run"]);
        if told.is_empty() {
            outcome.expect_code(0);
        } else {
            let outcome = refused(&sandbox, outcome);
            expect_all(&outcome, ["line 1, column 59: instances[0]: max_tokens_per_command: ", told]);
        }
    }
    for number in ["NaN", "Infinity", "-Infinity", "+5", "0x10", "1_000", "05", ".5", "5."] {
        let outcome = refused_config(&format!("{{\"instances\": [{{\"command\": \"x\", \"timeout\":\n{number}}}]}}"));
        expect_all(&outcome, ["JSON parsing error at line 2, column ", "^"]);
    }
    let digits = "9".repeat(100_000);
    let outcome = refused_config(&format!(r#"{{"instances": [{{"command": "x", "timeout": {digits}}}]}}"#));
    expect_all(&outcome, ["timeout: must be at most 31,536,000 seconds, got 999"]);
    assert!(outcome.stderr.len() < 1000, "{}", outcome.dump());
}

#[test]
fn many_errors_are_truncated() {
    let outcome = refused_config(&format!("{{\"instances\": [{}{{}}]}}", "{},\n".repeat(999)));
    expect_all(&outcome, ["1000 mistakes", "line 50, column 1: instances[49]: ", "  and 950 more"]);
    assert_eq!(mistakes(&outcome).len(), 51);
}

#[test]
fn comments_nulls_and_defaults() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(
        r#"{"$schema": "https://example.org/zen.json", "// a": 1, "_b": [], "//": {"instances": 7}, "//": 2,
            "budget": {"// a": 1, "_b": {}, "$c": null, "overall_budget": null, "command_budgets": {"// x": "y"}},
            "defaults": {"// a": 1, "_b": 2, "$c": 3, "timeout": 77, "model": "opus", "permission_mode": null,
                "env": {"// a": 1, "FROM_DEFAULTS": "secret-1", "_UNDERLINED": "secret-2", "OVERRIDDEN": "secret-3"}},
            "instances": [
                {"// a": 1, "_b": 2, "$c": 3, "name": "a", "command": null, "prompt": "p", "timeout": null,
                    "env": {"// b": 2, "OVERRIDDEN": "secret-4", "GONE": null, "PORT": 8080},
                    "session_id": null, "allowed_tools": null, "depends_on": null},
                {"name": "b", "command": "x", "timeout": 5, "model": "haiku",
                    "depends_on": [{"// c": 3, "name": "a", "when": null}]}]}"#,
    );
    let outcome = sandbox.run(&config, &["--dry-run"]).expect_code(0);
    assert_eq!(outcome.stderr, "", "{}", outcome.dump());
    let (a, b) = outcome.stdout.split_once("\nb\n").expect("two instances");
    for expected in ["2 instances configured", "timeout 77s", "model opus", "text p", "tools all", "unset env GONE"] {
        assert!(a.contains(expected), "{expected}\n{}", outcome.dump());
    }
    for expected in ["timeout 5s", "model haiku", "depends on a", "FROM_DEFAULTS", "OVERRIDDEN", "_UNDERLINED"] {
        assert!(b.contains(expected), "{expected}\n{}", outcome.dump());
    }
    for secret in ["secret-", "8080"] {
        assert!(!outcome.stdout.contains(secret), "{secret}\n{}", outcome.dump());
    }
}

#[test]
fn a_byte_order_mark_and_carriage_returns_are_no_mistake_and_move_no_line() {
    let sandbox = Sandbox::new();
    let good = "\u{feff}{\r\n\"instances\": [\r\n{\"command\": \"x\"}\r\n]\r\n}\r\n";
    sandbox.run(&sandbox.config(good), &["--dry-run"]).expect_code(0);
    let outcome = refused_config(&good.replace("command", "comand"));
    expect_all(&outcome, ["line 3, column 12: instances[0]: comand: "]);
    let outcome = refused_config(&good.replace("\"x\"", "'x'"));
    expect_all(&outcome, ["line 3, column 13: ", "    {\"command\": 'x'}\n"]);
}

#[test]
fn command_takes_precedence_over_prompt_with_a_warning() {
    let sandbox = Sandbox::new();
    sandbox.command("help", "[[say from the command]]");
    let config =
        sandbox.config("{\"instances\": [\n{\"name\": \"a\", \"command\": \"/help\", \"prompt\": \"[[say no]]\"}]}");
    let outcome = sandbox.run(&config, &[]).expect_code(0);
    let said = format!("zen: {}: line 2: instance 'a': 'command' is used and 'prompt' is ignored\n", config.display());
    assert_eq!(outcome.stderr, said);
    assert_eq!(outcome.instance("a")["result"], "from the command");
    let outcome = sandbox.run(&config, &["--quiet"]).expect_code(0);
    assert_eq!(outcome.stderr, "", "a warning is no error");
}

#[test]
fn cycles_are_printed_and_long_ones_truncated() {
    let session = refused_config(
        r#"{"instances": [{"name": "a", "command": "x", "session_id": "s", "depends_on": ["b"]},
            {"name": "b", "command": "x", "session_id": "s"}]}"#,
    );
    expect_all(&session, ["dependency cycle: a -> b -> a (instances of one session run in the config's order)"]);
    let instance = |i: usize| format!(r#"{{"name": "n{i}", "command": "x", "depends_on": ["n{}"]}}"#, (i + 1) % 5000);
    let instances: Vec<String> = (0..5000).map(instance).collect();
    let long = refused_config(&format!("{{\"instances\": [{}]}}", instances.join(",\n")));
    expect_all(&long, ["1 mistake,", "n0 -> n1 -> ", " -> ... -> n0"]);
    assert!(long.stderr.len() < 500, "{}", long.dump());
}

#[test]
fn hostile_names_are_printed_safely() {
    let name = r"\u001b[31mred\nzen: \u202e\u0007\u0000";
    let outcome = refused_config(&format!(
        r#"{{"instances": [{{"name": "{name}", "{name}": 1, "cwd": "{name}", "depends_on": ["{name}"],
            "permission_mode": "{name}", "command": "{}"}}]}}"#,
        r"\u0000"
    ));
    expect_all(&outcome, ["NUL"]);
    assert!(!outcome.stderr.contains('\u{202e}'), "{}", outcome.dump());
    let outcome = refused_config("{\"instances\": [{\"name\": \"\u{1b}[31m\u{202e}x\" 1}]}");
    expect_all(&outcome, ["JSON parsing error at line 1"]);
    assert!(!outcome.stderr.contains('\u{202e}'), "{}", outcome.dump());
    let sandbox = Sandbox::new();
    let strange = Path::new("a\u{1b}[2J\nb\u{202e}c");
    let outcome = sandbox.run(strange, &["--workspace", strange.to_str().expect("UTF-8"), "--claude", "\u{1b}c\n/x"]);
    let outcome = refused(&sandbox, outcome);
    assert!(!outcome.stderr.contains('\u{202e}'), "{}", outcome.dump());
}

/// Without a locale (cron), a message has ASCII only.
#[test]
fn hostile_paths_and_commands_are_printed_safely() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(
        &serde_json::json!({"instances": [{"name": "a", "command": "/a\u{1b}[2J"}],
            "budget": {"command_budgets": {"/x\u{1b}[31mRED\u{7}\n/y": 5, "/\u{fc}ber": 5}}})
        .to_string(),
    );
    for arguments in [&["--log-dir", "/proc/x\u{1b}[31mRED\n"][..], &["--dry-run"], &["--claude", "\u{1b}[31m"], &[]] {
        let outcome = sandbox.run(&config, arguments);
        let is_harmless = |c: char| c == '\n' || !c.is_control();
        assert!(outcome.stdout.chars().chain(outcome.stderr.chars()).all(is_harmless), "{}", outcome.dump());
    }
    let mut command = sandbox.zen_on(&config, &[]);
    let outcome = sandbox.started(command.env("LANG", "C")).outcome();
    assert!(outcome.stdout.is_ascii() && outcome.stderr.is_ascii(), "{}", outcome.dump());
}

#[test]
fn messages_are_ascii_where_the_locale_is() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(
        r#"{"instances": [{"name": "名前é→", "command": "x", "名": 1, "permission_mode": "é", "depends_on": ["ü"]}]}"#,
    );
    for (config, locale) in [(config, ""), (sandbox.path("naïve.json"), "C")] {
        let mut command = sandbox.zen(&["--config", config.to_str().expect("UTF-8"), "--workspace", "é"]);
        let outcome = sandbox.started(command.env_remove("LANG").env("LC_ALL", locale)).outcome();
        let outcome = refused(&sandbox, outcome);
        assert!(outcome.stderr.is_ascii(), "{}", outcome.dump());
    }
}

#[test]
fn invalid_files_are_rejected_in_bounded_time_and_memory() {
    let sandbox = Sandbox::new();
    let written = |name: &str, bytes: &[u8]| {
        fs::write(sandbox.path(name), bytes).expect("a file");
        sandbox.path(name)
    };
    File::create(sandbox.path("large")).and_then(|file| file.set_len(100_000_000)).expect("a file");
    let deep = |levels: usize| format!("{{\"instances\": {}{}}}", "[".repeat(levels), "]".repeat(levels));
    let deep_object = format!("{{\"budget\": {}1{}}}", "{\"overall_budget\": ".repeat(10_000), "}".repeat(10_000));
    let cases = [
        (sandbox.path("gone.json"), "cannot be read: No such file or directory"),
        (sandbox.path("workspace"), "is a directory: give the file of the config with --config FILE"),
        (sandbox.path("config/below/nothing"), "cannot be read: No such file or directory"),
        (written("empty", b""), "empty: a config is an object with a list of \"instances\""),
        (written("white", b" \n\t\r\n"), "empty: a config is"),
        (written("mark", "\u{feff}".as_bytes()), "empty: a config is"),
        (written("latin-1", b"{\n\"caf\xe9\": 1}"), "invalid UTF-8 in line 2"),
        (written("utf-16", b"\xff\xfe{\0}\0"), "encoded in UTF-16: save it as UTF-8"),
        (written("nul", b"\0\0\0\0"), "JSON parsing error at line 1, column 1"),
        (written("binary", &fs::read(fake_claude()).expect("a program")[..1_000_000]), "invalid UTF-8"),
        (sandbox.path("large"), "larger than 32 MB: not a config"),
        (PathBuf::from("/dev/zero"), "larger than 32 MB: not a config"),
        (PathBuf::from("/dev/null"), "empty: a config is"),
        (written("deep", deep(10_000).as_bytes()), "instances[0]: must be an object, got an array"),
        (written("deeper", deep(1_000_000).as_bytes()), "instances[0]: must be an object, got an array"),
        (written("open", "[".repeat(1_000_000).as_bytes()), "JSON parsing error at line 1, column 1000000"),
        (written("objects", deep_object.as_bytes()), "budget: overall_budget: must be a positive integer"),
        (written("array", b"[]"), "config: must be an object, got an array"),
        (written("word", b"instances"), "JSON parsing error at line 1, column 1"),
        (written("two", b"{} {}"), "JSON parsing error at line 1, column 4"),
    ];
    for (file, expected) in cases {
        let mut command = sandbox.zen(&["--config", file.to_str().expect("UTF-8"), "--workspace", "workspace"]);
        limit_memory_and_time(&mut command);
        let outcome = refused(&sandbox, sandbox.started(&mut command).outcome());
        expect_all(&outcome, [file.to_str().expect("UTF-8"), expected]);
        assert!(outcome.stderr.len() < 1000, "{}", outcome.dump());
    }
}

/// Memory over the limit fails to be allocated, and that ends zen with a signal, as more time of a processor does.
fn limit_memory_and_time(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    // SAFETY: setrlimit is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            let bytes = MEMORY_KB * 1024;
            setrlimit(Resource::RLIMIT_AS, bytes, bytes)?;
            setrlimit(Resource::RLIMIT_CPU, MAX_CPU_SECONDS, MAX_CPU_SECONDS)?;
            Ok(())
        })
    };
}

/// Attacks on the algorithms: all of these would take hours in quadratic time.
#[test]
fn large_configs_full_of_mistakes_are_refused_in_bounded_time() {
    let count = 20_000;
    let listed = |one: &dyn Fn(usize) -> String| {
        let instances: Vec<String> = (0..count).map(one).collect();
        format!("{{\"instances\": [{}]}}", instances.join(","))
    };
    let names: Vec<String> = (0..count).map(|i| format!("\"gone-{i}\"")).collect();
    for (what, config) in [
        ("nothing in them", listed(&|_| "{}".into())),
        ("one name", listed(&|_| r#"{"name": "a", "command": "x"}"#.into())),
        ("unknown dependencies", listed(&|i| format!(r#"{{"name": "{i}", "command": "x", "depends_on": ["n{i}"]}}"#))),
        (
            "one that depends on many",
            listed(&|_| format!(r#"{{"command": "x", "depends_on": [{}]}}"#, names[0])).replacen(
                &names[0],
                &names.join(","),
                1,
            ),
        ),
        ("rings of two", listed(&|i| format!(r#"{{"name": "{i}", "command": "x", "depends_on": ["{}"]}}"#, i ^ 1))),
        ("no names and one mistake", listed(&|i| format!(r#"{{"prompt": "the same", "timeout": {i}}}"#))),
        ("too many instances", format!("{{\"instances\": [{}{{}}]}}", "{},".repeat(1_000_000))),
        (
            "one object of many keys",
            format!("{{{}}}", names.iter().map(|n| format!("{n}: 1")).collect::<Vec<_>>().join(",")),
        ),
    ] {
        let sandbox = Sandbox::new();
        let config = sandbox.config(&config);
        let mut command = sandbox.zen(&["--config", config.to_str().expect("UTF-8")]);
        limit_memory_and_time(&mut command);
        let outcome = sandbox.started(&mut command).outcome_within(5 * MAX_WAIT);
        assert_eq!(outcome.code, 1, "{what}: {}", outcome.dump());
        let outcome = refused(&sandbox, outcome);
        expect_all(&outcome, ["mistake"]);
    }
}

/// 40 layers of 100, each instance on the whole layer before: 390,000 edges. With one walk over the edges for each
/// instance that inserts a result, a debug build takes minutes.
#[test]
fn layered_config_with_results_is_planned_in_bounded_time() {
    const LAYERS: usize = 40;
    const WIDTH: usize = 100;
    // The result of a direct dependency, and of one through others.
    let of_layer_before = |layer: usize, at: usize| format!("{}-{at}", layer - 1);
    let of_any_layer = |layer: usize, at: usize| format!("{}-{}", (layer * 7919 + at) % layer, (at * 31) % WIDTH);
    for inserted in [&of_layer_before as &dyn Fn(usize, usize) -> String, &of_any_layer] {
        let instance = |layer: usize, at: usize| {
            let before: Vec<String> =
                (0..WIDTH).filter(|_| layer > 0).map(|other| format!("\"{}-{other}\"", layer - 1)).collect();
            let result = if layer == 0 { String::new() } else { format!("{{{{result:{}}}}}", inserted(layer, at)) };
            let depends_on = before.join(",");
            format!(r#"{{"name": "{layer}-{at}", "prompt": "x {result}", "depends_on": [{depends_on}]}}"#)
        };
        let instances: Vec<String> = (0..LAYERS)
            .flat_map(|layer| (0..WIDTH).map(move |at| (layer, at)))
            .map(|(l, at)| instance(l, at))
            .collect();
        let sandbox = Sandbox::new();
        let config = sandbox.config(&format!("{{\"instances\": [{}]}}", instances.join(",")));
        let mut command = sandbox.zen_on(&config, &["--dry-run"]);
        limit_memory_and_time(&mut command);
        let outcome = sandbox.started(&mut command).outcome_within(5 * MAX_WAIT).expect_code(0);
        assert!(outcome.stdout.starts_with("4000 instances configured\n"), "{}", &outcome.stdout[..200]);
    }
}

#[test]
fn config_without_read_permission_is_an_error() {
    if !nix::unistd::geteuid().is_root() {
        return; // for who is not root, the workspace of the seed's test 5.2 shows the same
    }
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["x"]);
    fs::set_permissions(&config, fs::Permissions::from_mode(0o600)).expect("permissions");
    let outcome = refused(&sandbox, as_nobody(&sandbox, &["--config", config.to_str().expect("UTF-8"), "--no-logs"]));
    expect_all(&outcome, ["config.json: cannot be read: Permission denied"]);
}

#[test]
fn claude_without_execute_permission_is_an_error() {
    if !nix::unistd::geteuid().is_root() {
        return; // there is nobody to keep it from
    }
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["x"]);
    let program = script(&sandbox, "claude", "true");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("permissions");
    let arguments = ["--config", config.to_str().expect("UTF-8"), "--no-logs", "--claude", "./claude"];
    let outcome = refused(&sandbox, as_nobody(&sandbox, &arguments));
    expect_all(&outcome, ["Claude CLI not found: --claude: ./claude is not executable: "]);
}

fn as_nobody(sandbox: &Sandbox, arguments: &[&str]) -> RunOutput {
    fs::set_permissions(sandbox.path(""), fs::Permissions::from_mode(0o755)).expect("permissions");
    let zen = sandbox.path("zen");
    harness::copy_program(harness::zen_binary(), &zen);
    let mut command = Command::new("setpriv");
    command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(zen).args(arguments);
    command.current_dir(sandbox.path("")).env_clear().env("PATH", "/usr/bin:/bin").env("ZEN_CLAUDE", "/bin/true");
    sandbox.started(&mut command).outcome()
}

#[test]
fn endless_pipe_is_rejected_and_finite_pipe_is_read() {
    let sandbox = Sandbox::new();
    let pipe = sandbox.path("pipe");
    let write = |text: &'static [u8], times: usize| {
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).expect("a pipe");
        let pipe = pipe.clone();
        std::thread::spawn(move || {
            let mut pipe = fs::OpenOptions::new().write(true).open(pipe).expect("its other end");
            (0..times).all(|_| pipe.write_all(text).is_ok())
        })
    };
    let writer = write(b"{\"a\":                                            \n", usize::MAX);
    let outcome = refused(&sandbox, sandbox.run(&pipe, &[]));
    expect_all(&outcome, ["larger than 32 MB: not a config"]);
    assert!(!writer.join().expect("a writer"), "it was not read to an end that it has not");
    fs::remove_file(&pipe).expect("a pipe");
    let writer = write(b"{\"instances\": [{\"command\": \"x\"}]}", 1);
    sandbox.run(&pipe, &["--dry-run"]).expect_code(0);
    assert!(writer.join().expect("a writer"));
}

#[test]
fn a_dash_reads_standard_input() {
    let sandbox = Sandbox::new();
    let with_stdin = |text: &str, arguments: &[&str]| {
        let mut command = sandbox.zen(&["--config", "-", "--workspace", "workspace"]);
        let stdin = File::open(sandbox.config(text)).expect("a file");
        sandbox.started(command.args(arguments).env("TEST_KEEPS_STDIN", "1").stdin(stdin)).outcome()
    };
    let outcome = with_stdin(r#"{"instances": [{"name": "a", "prompt": "[[say hello]]"}]}"#, &[]).expect_code(0);
    assert_eq!(outcome.instance("a")["result"], "hello");
    assert_eq!(outcome.stderr, "");
    fs::remove_file(sandbox.path("fake-claude.log")).expect("the log");
    for (text, expected) in [
        ("{", "zen: standard input: JSON parsing error at line 1, column "),
        ("{\"instances\": []}", "zen: standard input: 1 mistake"),
        ("", "zen: standard input: empty"),
    ] {
        expect_all(&refused(&sandbox, with_stdin(text, &[])), [expected]);
    }
}

/// A config of 1 MB, in many lines and in one. The aim is 10 ms in release; this holds a debug build to a rough bound.
#[test]
fn a_config_of_a_megabyte_loads_fast() {
    let sandbox = Sandbox::new();
    let instance = |i: usize| {
        let prompt = format!("Review module {i} and say what you find. ").repeat(6);
        format!(r#"{{"name": "instance-{i}", "prompt": "{prompt}", "timeout": 60, "max_tokens_per_command": 1000}}"#)
    };
    let instances: Vec<String> = (0..3000).map(instance).collect();
    for between in [",\n    ", ",", ""] {
        let config = match between {
            "" => format!(r#"{{"instances": [{{"prompt": "{}"}}]}}"#, "x".repeat(1_000_000)),
            _ => format!("{{\"instances\": [{}]}}", instances.join(between)),
        };
        let config = sandbox.config(&config);
        let mut command = sandbox.zen_on(&config, &["--dry-run"]);
        limit_memory_and_time(&mut command);
        sandbox.started(&mut command).outcome_within(5 * MAX_WAIT).expect_code(0);
    }
}

#[test]
fn claude_is_found_by_flag_then_variable_then_path() {
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["[[say hello]]"]);
    let config = config.to_str().expect("UTF-8");
    for name in ["option", "variable", "path/claude", "path/other", "relative/claude"] {
        script(
            &sandbox,
            name,
            &format!("echo {name} >> {}; exec '{}' \"$@\"", sandbox.path("started").display(), fake_claude().display()),
        );
    }
    fs::create_dir_all(sandbox.path("first/claude")).expect("a directory that is no program");
    fs::write(sandbox.path("first/other"), "no program").expect("a file");
    let path = format!("{0}/first:{0}/path:/usr/bin:/bin", sandbox.path("").display());
    let started = |arguments: &[&str], variable: &str, path: &str| {
        let _ = fs::remove_file(sandbox.path("started"));
        let mut all = vec!["--config", config, "--workspace", "workspace", "--no-logs"];
        all.extend(arguments);
        let mut command = sandbox.zen(&all);
        sandbox.started(command.env("ZEN_CLAUDE", variable).env("PATH", path)).outcome().expect_code(0);
        fs::read_to_string(sandbox.path("started")).expect("something was started").trim().to_owned()
    };
    let absolute = sandbox.path("variable");
    let variable = absolute.to_str().expect("UTF-8");
    assert_eq!(started(&["--claude", "./option"], variable, &path), "option");
    assert_eq!(started(&[], variable, &path), "variable");
    assert_eq!(started(&[], "", &path), "path/claude", "an empty variable is none");
    assert_eq!(started(&[], "other", &path), "path/other", "a name without a slash is looked for");
    // Relative to where zen was started, not to the workspace.
    assert_eq!(started(&[], "relative/claude", &path), "relative/claude");
    assert_eq!(started(&[], "", "relative:/usr/bin:/bin"), "relative/claude");
}

/// cron's PATH does not have the directory that claude's own installer uses.
#[test]
fn claude_is_found_where_its_installers_put_it() {
    for installed in [".local/bin/claude", ".claude/local/claude"] {
        let sandbox = Sandbox::new();
        let config = sandbox.prompts(&["[[say hello]]"]);
        let folder = sandbox.path("home").join(installed);
        fs::create_dir_all(folder.parent().expect("a folder")).expect("a directory");
        let text = format!(
            "#!/bin/sh\ntouch {}; exec '{}' \"$@\"",
            sandbox.path("started").display(),
            fake_claude().display()
        );
        write_program(&folder, &text);
        let mut command = sandbox.zen_on(&config, &[]);
        command.env_remove("ZEN_CLAUDE").env("PATH", "/usr/bin:/bin");
        if Command::new("sh")
            .args(["-c", "PATH=/usr/bin:/bin command -v claude"])
            .output()
            .is_ok_and(|o| o.status.success())
        {
            println!("left out: a claude is installed in /usr/bin");
            return;
        }
        sandbox.started(&mut command).outcome().expect_code(0);
        assert!(sandbox.path("started").exists(), "{installed}");
    }
}

#[test]
fn invalid_claude_is_rejected_with_its_reason() {
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["x"]);
    let config = config.to_str().expect("UTF-8");
    fs::write(sandbox.path("no-program"), "x").expect("a file");
    for (option, variable, expected) in [
        (
            "./gone",
            "",
            "zen: Claude CLI not found: --claude: ./gone does not exist: give the path of the claude program\n",
        ),
        ("./workspace", "", "--claude: ./workspace is a directory: "),
        ("./no-program", "", "--claude: ./no-program is not executable: "),
        ("/dev/null", "", "--claude: /dev/null is not a file: "),
        ("clod", "", "--claude: clod is not in PATH: "),
        ("", "./gone", "ZEN_CLAUDE: ./gone does not exist: "),
        ("./gone", "/bin/true", "--claude: ./gone does not exist: "),
        (
            "",
            "",
            "zen: Claude CLI not found in PATH or ~/.local/bin: install it with 'npm install -g @anthropic-ai/claude-code', or give its path with --claude PATH or ZEN_CLAUDE\n",
        ),
    ] {
        let mut arguments = vec!["--config", config];
        arguments.extend(["--claude", option].into_iter().filter(|_| !option.is_empty()));
        let mut command = sandbox.zen(&arguments);
        command.env("ZEN_CLAUDE", variable).env("PATH", "/nowhere");
        let outcome = refused(&sandbox, sandbox.started(&mut command).outcome());
        expect_all(&outcome, [expected]);
        assert_eq!(outcome.stderr.lines().count(), 1, "{}", outcome.dump());
        // A plan can be looked at on a machine that has no claude, and fails as the run would.
        let outcome = sandbox.started(command.arg("--dry-run")).outcome().expect_code(1);
        expect_all(&outcome, [expected]);
        assert!(outcome.stdout.contains("1 instance configured"), "{}", outcome.dump());
    }
    let mut command = sandbox.zen(&["--config", config]);
    let outcome = refused(&sandbox, sandbox.started(command.env_remove("PATH").env_remove("ZEN_CLAUDE")).outcome());
    expect_all(&outcome, ["Claude CLI not found in PATH"]);
}

/// Whether tools can be restricted is asked of claude itself; one that does not answer is not taken for one that can.
#[test]
fn claude_without_capabilities_is_rejected_if_they_are_required() {
    let sandbox = Sandbox::new();
    let broken = script(&sandbox, "broken", "echo 'env: node: No such file' >&2; echo >&2; exit 127");
    let config = sandbox.config(r#"{"instances": [{"command": "x", "allowed_tools": ["Read"]}]}"#);
    let outcome = refused(&sandbox, sandbox.run(&config, &["--claude", broken.to_str().expect("UTF-8")]));
    expect_all(&outcome, ["cannot read the capabilities of claude: ", "/broken --help: env: node: No such file\n"]);
}

#[test]
fn root_without_a_sandbox_is_rejected_before_the_start() {
    if !nix::unistd::geteuid().is_root() {
        return; // nothing is refused
    }
    let sandbox = Sandbox::new();
    let run = |config: &str, is_sandbox: Option<&str>| {
        let config = sandbox.config(config);
        let mut command = sandbox.zen(&["--config", config.to_str().expect("UTF-8"), "--workspace", "workspace"]);
        command.args(["--startup-delay", "0"]).env_remove("IS_SANDBOX");
        sandbox.started(command.envs(is_sandbox.map(|value| ("IS_SANDBOX", value)))).outcome()
    };
    let one = r#"{"instances": [{"name": "a", "prompt": "x"}]}"#;
    let many = r#"{"instances": [{"name": "a", "prompt": "x", "permission_mode": "default"}, {"name": "b", "prompt": "x"},
        {"name": "c", "prompt": "x", "permission_mode": "bypassPermissions"}]}"#;
    for (config, is_sandbox, subject) in [
        (one, None, "instance 'a': claude refuses permission_mode bypassPermissions as root: "),
        (one, Some("0"), "instance 'a': claude refuses "),
        (one, Some(""), "instance 'a': claude refuses "),
        (many, None, "instance 'b' and 1 more: claude refuses "),
        (
            r#"{"instances": [{"name": "a", "prompt": "x", "env": {"IS_SANDBOX": null}}]}"#,
            Some("1"),
            "instance 'a': claude refuses ",
        ),
    ] {
        let outcome = refused(&sandbox, run(config, is_sandbox));
        expect_all(&outcome, [subject, "run zen as another user", "\"permission_mode\": \"default\"", "IS_SANDBOX=1"]);
    }
    for (config, is_sandbox) in [
        (one, Some("1")),
        (r#"{"instances": [{"name": "a", "prompt": "x", "env": {"IS_SANDBOX": "1"}}]}"#, None),
        (r#"{"instances": [{"name": "a", "prompt": "x", "env": {"IS_SANDBOX": 1}}]}"#, None),
        (r#"{"defaults": {"env": {"IS_SANDBOX": "1"}}, "instances": [{"name": "a", "prompt": "x"}]}"#, None),
        (r#"{"instances": [{"name": "a", "prompt": "x", "permission_mode": "default"}]}"#, None),
        (r#"{"instances": [{"name": "a", "prompt": "x", "allowed_tools": ["Read"]}]}"#, None),
        (r#"{"defaults": {"permission_mode": "acceptEdits"}, "instances": [{"name": "a", "prompt": "x"}]}"#, None),
    ] {
        let outcome = run(config, is_sandbox).expect_code(0);
        assert_eq!(outcome.stderr, "", "{config}");
    }
}

#[test]
fn a_workspace_must_be_a_directory() {
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["[[echo-env PWD]]"]);
    let link = |to: &str, name: &str| std::os::unix::fs::symlink(to, sandbox.path(name)).expect("a link");
    link("workspace", "link");
    link("nowhere", "dangling");
    link("loop", "loop");
    fs::write(sandbox.path("file"), "").expect("a file");
    for (workspace, expected) in [
        ("gone", "gone does not exist: give another with --workspace DIR"),
        ("dangling", "dangling does not exist: give another with --workspace DIR"),
        ("file", "file is not a directory: give another with --workspace DIR"),
        ("file/below", "cannot be read: Not a directory: give another with --workspace DIR"),
        ("loop", "loop cannot be read: "),
        ("/dev/null", "workspace /dev/null is not a directory"),
    ] {
        let outcome = refused(&sandbox, sandbox.run(&config, &["--workspace", workspace]));
        expect_all(&outcome, ["zen: workspace /", expected]);
    }
    // With a bad config, both are told.
    let bad = sandbox.path("bad.json");
    fs::write(&bad, "{}").expect("a file");
    let outcome = refused(&sandbox, sandbox.run(&bad, &["--workspace", "gone", "--claude", "./gone"]));
    expect_all(&outcome, ["gone does not exist", "instances: missing", "--claude: ./gone does not exist"]);
    for workspace in ["link", "workspace/", "./workspace/.claude/.."] {
        let outcome = sandbox.run(&config, &["--workspace", workspace]).expect_code(0);
        let starts: Vec<_> = sandbox.claude_log().into_iter().filter(|line| line["event"] == "start").collect();
        let start = starts.last().expect("a start");
        let expected = sandbox.workspace().canonicalize().expect("it is there");
        for (what, path) in [("cwd", &start["cwd"]), ("PWD", &start["env"]["PWD"])] {
            let path = Path::new(path.as_str().expect("a path"));
            assert_eq!(path, expected, "{what}\n{}", outcome.dump());
        }
    }
}

#[test]
fn all_errors_of_the_command_line_are_reported_at_once() {
    let sandbox = Sandbox::new();
    let run = |arguments: &[&str]| refused(&sandbox, sandbox.started(&mut sandbox.zen(arguments)).outcome());
    let outcome = run(&[
        "--confg",
        "a.json",
        "--timeout",
        "-5",
        "--startup-delay",
        "soon",
        "--max-parallel",
        "0",
        "--grace=nan",
        "--log-level",
        "loud",
        "stray.json",
        "--max-line-length",
        "5",
        "--frobnicate",
        "--status-report-interval",
        "0",
        "--dry-run=yes",
        "--workspace=",
        "--log-dir",
    ]);
    let expected = [
        "zen: unknown option '--confg', did you mean '--config'?",
        "zen: --timeout: must be 0 or above, got '-5'",
        "zen: --startup-delay: must be a number of seconds, got 'soon'",
        "zen: --max-parallel: must be between 1 and 1000000, got '0'",
        "zen: --grace: must be a number of seconds, got 'nan'",
        "zen: --log-level: must be one of silent, concise, detailed, got 'loud'",
        "zen: unexpected argument 'stray.json': give a config with --config FILE",
        "zen: --max-line-length: must be between 20 and 1000000, got '5'",
        "zen: unknown option '--frobnicate' (see zen --help)",
        "zen: --status-report-interval: must be above 0, got '0'",
        "zen: --dry-run takes no value, got 'yes'",
        "zen: --workspace: must not be empty",
        "zen: --log-dir: missing DIR",
    ];
    assert_eq!(outcome.stderr.lines().collect::<Vec<_>>(), expected);
    expect_all(&run(&[]), ["zen: nothing to run: give a config with --config FILE, or one command, such as "]);
    expect_all(&run(&["plan.json"]), ["unexpected argument 'plan.json': give a config with --config FILE"]);
    expect_all(&run(&["--config", "--dry-run"]), ["zen: --config: missing FILE\n"]);
}

#[test]
fn unwritable_plan_is_an_error_unless_the_pipe_is_closed() {
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["x"]);
    let mut command = sandbox.zen(&["--config", config.to_str().expect("UTF-8"), "--dry-run"]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full is there");
    let output = command.stdout(full).output().expect("zen runs");
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "zen: standard output: No space left on device\n");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = command.stdout(Stdio::from(writer)).output().expect("zen runs");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The seed's configs, and what a plan shows of them.
#[test]
fn every_fixture_has_a_plan() {
    let sandbox = Sandbox::new();
    let mut plans = 0;
    for entry in fs::read_dir(fixture("")).expect("the fixtures").flatten() {
        if entry.path().extension().is_some_and(|extension| extension == "json") {
            let outcome = sandbox.commands_of(&entry.path()).run(&entry.path(), &["--dry-run"]).expect_code(0);
            assert!(outcome.stdout.contains(" configured"), "{}", outcome.dump());
            plans += 1;
        }
    }
    assert!(plans >= 12, "{plans} plans");
    assert_eq!(sandbox.claude_log().len(), 0, "a dry run starts nothing");
}

/// A program of the shell, at this path of the place.
fn script(sandbox: &Sandbox, name: &str, body: &str) -> PathBuf {
    let file = sandbox.path(name);
    fs::create_dir_all(file.parent().expect("it is below the place")).expect("a directory");
    write_program(&file, &format!("#!/bin/sh\n{body}\n"));
    file
}
