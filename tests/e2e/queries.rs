//! Answers without a run: what slash commands there are, and configs to start from. Nothing is launched for them but, to
//! list its commands, one claude, which spends nothing and is gone afterwards.

use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use harness::{RunOutput, Sandbox, terminal, wait_until, write_program};

fn ask(sandbox: &Sandbox, arguments: &[&str]) -> RunOutput {
    run(sandbox, &mut sandbox.zen(&[arguments, &["--workspace", "workspace"]].concat()))
}

fn served(sandbox: &Sandbox) -> usize {
    sandbox.full_claude_log().iter().filter(|event| event["event"] == "served").count()
}

fn run(sandbox: &Sandbox, command: &mut Command) -> RunOutput {
    sandbox.started(command).outcome()
}

/// A workspace with commands of all kinds that files make.
fn furnished() -> Sandbox {
    let sandbox = Sandbox::new();
    let front =
        "---\ndescription: Analyze the code\nargument-hint: PATH\nallowed-tools: Read, Grep\nmodel: opus\n---\n";
    sandbox.command("analyze-code", &format!("{front}Analyze $ARGUMENTS:\n\n  - errors\n"));
    sandbox.command("both", "---\ndescription: The project's\n---\nx\n");
    let user = sandbox.path("home/.claude/commands");
    fs::create_dir_all(&user).expect("a directory");
    fs::write(user.join("both.md"), "---\ndescription: The user's\n---\nx\n").expect("a file");
    let folder = sandbox.workspace().join(".claude/commands/sub");
    fs::create_dir_all(&folder).expect("a directory");
    fs::write(folder.join("report.md"), "# Report of it\n\nWrite it.\n").expect("a file");
    sandbox
}

/// The line of a listing that is about this command, its white space made single.
fn line(outcome: &RunOutput, name: &str) -> String {
    let mut lines = outcome.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    lines.find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}\n{}", outcome.dump()))
}

fn expect_the_files(outcome: &RunOutput) {
    for (name, expected) in [
        ("/analyze-code", "/analyze-code project Analyze the code"),
        ("/both", "/both user The user's"),
        ("/sub:report", "/sub:report project Report of it"),
        ("/help", "/help built-in Answered by claude without using tokens"),
    ] {
        assert_eq!(line(outcome, name), expected, "{}", outcome.dump());
    }
    assert!(
        line(outcome, "/clear").starts_with("/clear built-in ") && line(outcome, "/compact").contains(" built-in ")
    );
    let names: Vec<&str> = outcome.stdout.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.is_sorted_by(|a, b| a.to_lowercase() < b.to_lowercase()), "{}", outcome.dump());
}

#[test]
fn commands_are_listed_as_claude_lists_them() {
    for generation in ["1.0", "2.0", "2.1"] {
        let sandbox = furnished();
        let mut zen = sandbox.zen(&["--list-commands", "--workspace", "workspace"]);
        let outcome = run(&sandbox, zen.env("FAKE_CLAUDE_GENERATION", generation)).expect_code(0);
        expect_the_files(&outcome);
        assert!(outcome.stdout.lines().count() > 8 && outcome.stderr.is_empty(), "{}", outcome.dump());
        assert_eq!(sandbox.questions().len(), 1, "one claude is asked");
        assert_eq!(served(&sandbox), 0, "and spends nothing");
        assert!(fs::read_dir(sandbox.path("state")).expect("a directory").next().is_none(), "no run, no files of one");
    }
}

#[test]
fn commands_are_listed_from_files_if_claude_is_missing() {
    let sandbox = furnished();
    let mut zen = sandbox.zen(&["--list-commands", "--workspace", "workspace"]);
    let outcome = run(&sandbox, zen.env_remove("ZEN_CLAUDE").env("PATH", "/nowhere")).expect_code(0);
    expect_the_files(&outcome);
    assert_eq!(outcome.stdout.lines().count(), 6, "{}", outcome.dump());
    assert!(outcome.stderr.starts_with("zen: Claude CLI not found in PATH or ~/.local/bin: "), "{}", outcome.dump());
    assert!(outcome.stderr.contains("the list is from files only"), "{}", outcome.dump());
}

#[test]
fn commands_are_listed_from_files_if_claude_fails() {
    let sandbox = furnished();
    let mut zen = sandbox.zen(&["--list-commands", "--workspace", "workspace"]);
    let outcome = run(&sandbox, zen.env("FAKE_CLAUDE_INITIALIZE", "error")).expect_code(0);
    expect_the_files(&outcome);
    assert!(outcome.stderr.contains("did not list its commands: the fake claude refuses to initialize: "));

    let script = sandbox.path("claude");
    // It leaves something behind, too, in a session of its own.
    let text = "#!/bin/sh\nsetsid sleep 1000 </dev/null >/dev/null 2>&1 &\necho no licence >&2\nexit 3\n";
    write_program(&script, text);
    let outcome = ask(&sandbox, &["--list-commands", "--claude", script.to_str().expect("UTF-8")]).expect_code(0);
    expect_the_files(&outcome);
    assert!(outcome.stderr.contains("did not list its commands: no licence: "), "{}", outcome.dump());
}

#[test]
fn interrupt_ends_the_query_and_its_claude() {
    let sandbox = Sandbox::new();
    let mut zen = sandbox.zen(&["--list-commands", "--workspace", "workspace"]);
    let running = sandbox.started(zen.env("FAKE_CLAUDE_INITIALIZE", "never"));
    wait_until("claude is there", || !sandbox.questions().is_empty());
    running.signal(Signal::SIGINT);
    wait_until("zen has ended", || running.is_zombie());
    // The system tells claude of it, at that moment.
    wait_until("claude has ended", || sandbox.survivors().is_empty());
    let outcome = running.outcome();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (-(Signal::SIGINT as i32), ""), "{}", outcome.dump());
}

#[test]
fn invalid_workspace_has_no_commands() {
    let sandbox = Sandbox::new();
    for flag in ["--list-commands", "--inspect-command=/help"] {
        let outcome = run(&sandbox, &mut sandbox.zen(&[flag, "--workspace", "gone"])).expect_code(1);
        assert!(outcome.stdout.is_empty() && outcome.stderr.contains("gone does not exist"), "{}", outcome.dump());
    }
}

#[test]
fn a_command_is_shown_with_its_front_matter_its_file_and_its_text() {
    let sandbox = furnished();
    for called in ["/analyze-code", "analyze-code", "/analyze-code src"] {
        let outcome = ask(&sandbox, &["--inspect-command", called]).expect_code(0);
        let file = sandbox.workspace().canonicalize().expect("it is there").join(".claude/commands/analyze-code.md");
        let expected = format!(
            "/analyze-code\n  from           project\n  file           {}\n  description    Analyze the code\n  argument-hint  PATH\n  \
             allowed-tools  Read, Grep\n  model          opus\n\n  Analyze $ARGUMENTS:\n\n    - errors\n",
            file.display()
        );
        assert_eq!(outcome.stdout, expected);
    }
    let both = ask(&sandbox, &["--inspect-command", "/both"]).expect_code(0).stdout;
    assert!(
        both.contains("home/.claude/commands/both.md\n  instead of   ")
            && both.contains("/workspace/.claude/commands/both.md\n"),
        "{both}"
    );
    let compact = ask(&sandbox, &["--inspect-command", "compact"]).expect_code(0).stdout;
    assert!(compact.starts_with("/compact\n  from ") && compact.contains(" built-in\n"), "{compact}");
}

#[test]
fn unknown_command_gets_suggestions() {
    let sandbox = furnished();
    for (called, told) in [
        ("/analyse-code", "zen: Command not found: /analyse-code (did you mean /analyze-code?)\n"),
        ("report", "zen: Command not found: /report (did you mean /sub:report?)\n"),
        ("/../../etc/passwd", "zen: Command not found: /../../etc/passwd (zen --list-commands lists the commands)\n"),
    ] {
        let outcome = ask(&sandbox, &["--inspect-command", called]).expect_code(1);
        assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", told));
    }
}

#[test]
fn hostile_texts_print_no_control_character() {
    let sandbox = Sandbox::new();
    let folder = sandbox.workspace().join(".claude/commands");
    let front =
        "---\ndescription: \"\u{1b}[2Jred\u{202e}\u{9b}31m\"\n\u{1b}key: \u{7}\n---\n\u{1b}]0;title\u{7}text\r\n";
    for name in ["a\u{1b}[2Jb", "c\nd", "e\u{202e}f"] {
        fs::write(folder.join(format!("{name}.md")), front).expect("a file");
    }
    let mut zen = sandbox.zen(&["--list-commands", "--workspace", "workspace"]);
    let outcome = run(&sandbox, zen.env_remove("ZEN_CLAUDE").env("PATH", "/nowhere")).expect_code(0);
    let inspected = ask(&sandbox, &["--inspect-command", "e\u{202e}f"]).expect_code(0);
    for outcome in [&outcome, &inspected] {
        let is_harmless = |c: char| (!c.is_control() || c == '\n') && c != '\u{202e}';
        assert!(outcome.stdout.chars().all(is_harmless), "{:?}", outcome.stdout);
    }
    assert_eq!(outcome.stdout.lines().count(), 6, "{}", outcome.dump());
}

/// A list goes to the screen or to `grep`: a line of it is cut on the one, and whole for the other.
#[test]
fn lines_are_cut_to_the_terminal_and_whole_in_a_pipe() {
    let sandbox = Sandbox::new();
    sandbox.command("long", &format!("---\ndescription: 表示{}end\n---\n", " and so on".repeat(40)));
    let whole = ask(&sandbox, &["--list-commands"]).expect_code(0);
    assert!(line(&whole, "/long").ends_with(" and so onend"), "{}", whole.dump());
    let on_a_terminal = on_terminal(&sandbox, &["--list-commands", "--workspace", "workspace"], 60);
    let long = on_a_terminal.lines().find(|line| line.starts_with("/long")).expect("it is listed");
    assert!(long.contains("表示") && long.trim_end().ends_with("..."), "{long}");
    for line in on_a_terminal.lines() {
        assert!(unicode_width::UnicodeWidthStr::width(line.trim_end()) <= 60, "{line}");
    }
}

/// What zen writes to a terminal of so many columns.
fn on_terminal(sandbox: &Sandbox, arguments: &[&str], columns: u16) -> String {
    use std::io::Read;
    let size = nix::pty::Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let (master, slave) = terminal(Some(&size));
    let running = sandbox.started_to(&mut sandbox.zen(arguments), slave.into());
    let mut master = fs::File::from(master);
    // Nobody else has the other side open, so reading ends, with an error, when zen has.
    let reader = std::thread::spawn(move || {
        let (mut text, mut buffer) = (Vec::new(), [0; 4096]);
        while let Ok(count) = master.read(&mut buffer)
            && count > 0
        {
            text.extend_from_slice(&buffer[..count]);
        }
        String::from_utf8(text).expect("UTF-8")
    });
    running.outcome().expect_code(0);
    reader.join().expect("it was read")
}

#[test]
fn status_table_fits_the_terminal() {
    let sandbox = Sandbox::new();
    let name = "name-".repeat(7);
    let config = sandbox.config(&format!(r#"{{"instances": [{{"name": "{name}", "prompt": "[[say done]]"}}]}}"#));
    let config = config.to_str().expect("a path in UTF-8");
    let arguments = ["--workspace", "workspace", "--startup-delay", "0", "--config", config];
    for (columns, has_whole_name, has_progress) in [(40, false, false), (80, false, true), (200, true, true)] {
        let text = on_terminal(&sandbox, &arguments, columns);
        let header = text.lines().position(|line| line.starts_with("Name ")).expect("a table");
        let table: Vec<&str> = text.lines().skip(header).take(3).collect();
        for line in &table {
            let line = line.replace("\u{1b}[32m", "").replace("\u{1b}[0m", "");
            assert!(unicode_width::UnicodeWidthStr::width(line.trim_end()) <= columns.into(), "{columns}: {text}");
        }
        assert_eq!(table[2].starts_with(&name), has_whole_name, "{columns}: {text}");
        assert_eq!(table[0].contains("Progress"), has_progress, "{columns}: {text}");
    }
}

#[test]
fn each_example_config_runs() {
    let sandbox = Sandbox::new();
    let list = ask(&sandbox, &["--list-examples"]).expect_code(0).stdout;
    let names: Vec<&str> = list.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert_eq!(names.len(), 6, "{list}");
    let schema = jsonschema::draft202012::new(&schema(&sandbox)).expect("a schema");
    for name in names {
        let sandbox = Sandbox::new();
        let text = run(&sandbox, &mut sandbox.zen(&["--generate-example", name])).expect_code(0).stdout;
        let value: Value = serde_json::from_str(&text).expect("JSON");
        assert!(schema.is_valid(&value), "{name}");
        let config = sandbox.config(&text);
        let plan = sandbox.run(&config, &["--dry-run"]).expect_code(0);
        assert_eq!(plan.stderr, "", "{name}: {}", plan.dump());
        assert_eq!(served(&sandbox), 0, "{name}: nothing is done");
        let outcome = sandbox.run(&config, &[]).expect_code(0);
        let instances = value["instances"].as_array().expect("instances");
        for instance in instances {
            assert_eq!(outcome.status(instance["name"].as_str().expect("a name")), "completed", "{name}");
        }
    }
}

#[test]
fn unknown_example_gets_a_suggestion_and_the_list() {
    let sandbox = Sandbox::new();
    let outcome = ask(&sandbox, &["--generate-example", "code-reveiw"]).expect_code(1);
    let told = "zen: --generate-example: unknown example 'code-reveiw', did you mean 'code_review'? (available: data_analysis, \
                code_review, content_creation, testing_workflow, migration_workflow, debugging_workflow)\n";
    assert_eq!((outcome.stdout.as_str(), outcome.stderr.as_str()), ("", told));
}

fn schema(sandbox: &Sandbox) -> Value {
    serde_json::from_str(&ask(sandbox, &["--print-schema"]).expect_code(0).stdout).expect("JSON")
}

#[test]
fn the_schema_and_the_prompt_template_are_printed() {
    let sandbox = Sandbox::new();
    assert_eq!(schema(&sandbox), zen::config::schema());
    let template = ask(&sandbox, &["--show-prompt-template"]).expect_code(0).stdout;
    assert_eq!(template, zen::cli::config_prompt::prompt_template());
    assert_eq!(sandbox.claude_log().len(), 0, "nothing is launched");
}
