//! Everything that is printed: in which characters, how much, on which of the two streams, and harmless whatever names
//! and agents bring along.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use unicode_width::UnicodeWidthChar;

use harness::{RunOutput, Sandbox, fake_claude, fixture, terminal, wait_until, write_program};

/// Names that try to leave their cell, and what else a name may be.
const HOSTILE: [&str; 12] = [
    "\u{1b}[31mred\u{1b}[0m",
    "\u{1b}]0;title\u{7}title",
    "two\nlines\r\nand\tmore",
    "\u{202e}rtl\u{202c}\u{2066}x\u{2069}",
    "name | with | bars",
    "日本語の名前",
    "🎉🎉 party 👩‍👩‍👧",
    "e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}",
    "zen: a message?",
    "../../etc/passwd",
    "\u{7f}\u{9b}31m\u{85}",
    "plain",
];

fn hostile_config(sandbox: &Sandbox) -> std::path::PathBuf {
    let text = "\u{1b}[2J\u{1b}[31mred\u{7} \u{202e}rtl naïve 日本 🎉\r\nsecond\u{9b}1m line\u{8}\u{8}";
    let mut instances: Vec<Value> = HOSTILE
        .iter()
        .enumerate()
        .map(|(i, name)| {
            let prompt = match i % 4 {
                0 => format!("[[say {text}]]"),
                1 => format!("[[tool Bash {}]] [[say {text}]]", json!({"command": "true", "description": text})),
                2 => format!("[[stderr {text}]] [[error {text}]]"),
                _ => format!("[[stderr {text}]] [[exit 3]]"),
            };
            json!({"name": name, "prompt": prompt, "description": text})
        })
        .collect();
    instances.push(json!({"name": "x".repeat(500), "prompt": "[[garbage 14]] [[say done]]"}));
    instances.push(json!({"name": "語".repeat(500), "command": "/\u{1b}[31mgone", "depends_on": [HOSTILE[2]]}));
    instances.push(json!({"name": "gone", "command": "/gone"}));
    sandbox.config(&json!({"defaults": {"env": {"IS_SANDBOX": "1"}}, "instances": instances}).to_string())
}

#[test]
fn hostile_texts_keep_columns_and_print_no_control_character() {
    let sandbox = Sandbox::new();
    let arguments = ["--verbose", "--status-report-interval", "0.2", "--max-parallel", "4"];
    let outcome = sandbox.run(&hostile_config(&sandbox), &arguments).expect_code(2);
    hold_to_plain_text(&outcome);
    let tables = tables(&outcome.stdout);
    assert!(!tables.is_empty(), "{}", outcome.dump());
    for table in &tables {
        let expected = bars(table[0]);
        assert_eq!(expected.len(), 5, "{}", outcome.dump());
        for line in table {
            assert_eq!(bars(line)[bars(line).len() - 5..], expected, "{line}\n{}", outcome.dump());
        }
    }
    assert_eq!(tables.last().expect("tables").len(), 2 + HOSTILE.len() + 3, "{}", outcome.dump());
    let sandbox = Sandbox::new();
    let outcome = sandbox.run(&hostile_config(&sandbox), &["--dry-run"]).expect_code(1);
    hold_to_plain_text(&outcome);
}

/// No escape sequence, no control character, nothing that turns the direction or is not seen.
fn hold_to_plain_text(outcome: &RunOutput) {
    for text in [&outcome.stdout, &outcome.stderr] {
        let is_hidden =
            |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}');
        let bad: BTreeSet<char> = text.chars().filter(|&c| (c.is_control() && c != '\n') || is_hidden(c)).collect();
        assert!(bad.is_empty(), "{bad:?}\n{}", outcome.dump());
    }
}

/// The lines of each table, its header and rule first.
fn tables(stdout: &str) -> Vec<Vec<&str>> {
    let lines: Vec<&str> = stdout.lines().collect();
    let heads = (0..lines.len()).filter(|&i| lines[i].starts_with("Name "));
    heads.map(|i| lines[i..].iter().take_while(|line| !line.is_empty()).copied().collect()).collect()
}

/// The columns of the bars between cells.
fn bars(line: &str) -> Vec<usize> {
    let mut column = 0;
    let mut bars = Vec::new();
    for c in line.chars() {
        if c == '|' {
            bars.push(column);
        }
        column += c.width().unwrap_or(0);
    }
    bars
}

/// As cron starts it: nothing but HOME and PATH.
fn in_bare_environment(sandbox: &Sandbox, config: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = sandbox.zen(&["--config", config.to_str().expect("UTF-8"), "--startup-delay", "0"]);
    command.arg("--claude").arg(fake_claude()).args(arguments);
    let kept = ["HOME", "PATH", "ZEN_TEST"];
    let names: Vec<_> = command.get_envs().map(|(name, _)| name.to_owned()).collect();
    for name in names.iter().filter(|name| !kept.contains(&name.to_str().unwrap_or(""))) {
        command.env_remove(name);
    }
    command
}

#[test]
fn output_without_a_locale_is_ascii() {
    for variables in [&[][..], &[("LANG", "C")], &[("LANG", "POSIX")], &[("LC_ALL", "C"), ("LANG", "C.UTF-8")]] {
        let sandbox = Sandbox::new();
        let config = hostile_config(&sandbox);
        let mut command = in_bare_environment(&sandbox, &config, &["--verbose", "--max-parallel", "4"]);
        let outcome = sandbox.started(command.envs(variables.iter().copied())).outcome().expect_code(2);
        hold_to_plain_text(&outcome);
        assert!(outcome.stdout.is_ascii() && outcome.stderr.is_ascii(), "{variables:?}\n{}", outcome.dump());
        for expected in ["Orchestration Complete - Results", "+ completed", "x failed", "/ skipped", "########"] {
            assert!(outcome.stdout.contains(expected), "{expected}\n{}", outcome.dump());
        }
        let latest = sandbox.path("home/.local/state/zen/latest/report.json");
        assert!(latest.exists(), "cron knows no XDG_STATE_HOME");
        let plan = sandbox.started(command.arg("--dry-run")).outcome().expect_code(1);
        assert!(plan.stdout.is_ascii() && plan.stderr.is_ascii(), "{}", plan.dump());
    }
}

#[test]
fn the_locale_decides_in_its_order_and_in_every_spelling() {
    for (variables, is_unicode) in [
        (&[("LANG", "C.UTF-8")][..], true),
        (&[("LANG", "en_US.utf8")], true),
        (&[("LANG", "de_DE.UTF8")], true),
        (&[("LANG", "de_DE.utf-8@euro")], true),
        (&[("LANG", "de_DE@euro")], false),
        (&[("LANG", "ja_JP.eucJP")], false),
        (&[("LC_CTYPE", "C.UTF-8"), ("LANG", "C")], true),
        (&[("LC_CTYPE", "C"), ("LANG", "C.UTF-8")], false),
        (&[("LC_ALL", "C.UTF-8"), ("LC_CTYPE", "C"), ("LANG", "C")], true),
        (&[("LC_ALL", ""), ("LC_CTYPE", ""), ("LANG", "C.UTF-8")], true),
        (&[("LC_MESSAGES", "C"), ("LANG", "C.UTF-8")], true),
    ] {
        let sandbox = Sandbox::new();
        let config = sandbox.config(r#"{"instances": [{"prompt": "é", "permission_mode": "default"}]}"#);
        let mut command = in_bare_environment(&sandbox, &config, &["--dry-run"]);
        let outcome = sandbox.started(command.envs(variables.iter().copied())).outcome().expect_code(0);
        assert_eq!(outcome.stdout.contains('é'), is_unicode, "{variables:?}\n{}", outcome.dump());
        assert_eq!(outcome.stdout.is_ascii(), !is_unicode, "{variables:?}\n{}", outcome.dump());
    }
}

#[test]
fn colours_need_a_terminal_that_supports_them() {
    for (variables, has_colours) in [
        (&[("TERM", "xterm-256color")][..], true),
        (&[("TERM", "xterm"), ("NO_COLOR", "")], true),
        (&[("TERM", "xterm"), ("NO_COLOR", "1")], false),
        (&[("TERM", "dumb")], false),
        (&[], false),
    ] {
        let sandbox = Sandbox::new();
        let config = hostile_config(&sandbox);
        let mut command = sandbox.zen(&["--config", config.to_str().expect("UTF-8"), "--startup-delay", "0"]);
        command.args(["--workspace", "workspace", "--max-parallel", "4"]).envs(variables.iter().copied());
        let shown = on_a_terminal(&mut command);
        assert!(shown.contains("Orchestration Complete"), "{shown}");
        assert_eq!(shown.contains('\u{1b}'), has_colours, "{variables:?}\n{shown}");
        // Nothing but the colour of a word, and after the word the usual one.
        let mut rest = shown.as_str();
        while let Some((_, sequence)) = rest.split_once('\u{1b}') {
            let ends = ["[32m", "[31m", "[33m", "[2m"].iter().find_map(|begin| sequence.strip_prefix(begin));
            let (word, after) =
                ends.and_then(|word| word.split_once("\u{1b}[0m")).unwrap_or_else(|| panic!("{shown:?}"));
            assert!(!word.is_empty() && word.chars().all(|c| c.is_ascii_alphabetic() || c == ' '), "{word:?}");
            rest = after;
        }
        assert!(!shown.chars().any(|c| c.is_control() && !"\n\r\u{1b}".contains(c)), "{shown:?}");
    }
}

/// What a program prints on a terminal.
fn on_a_terminal(command: &mut Command) -> String {
    let (master, slave) = terminal(None);
    let stderr = slave.try_clone().expect("a descriptor");
    let mut child = command.stdin(Stdio::null()).stdout(slave).stderr(stderr).spawn().expect("zen starts");
    command.stdout(Stdio::null()).stderr(Stdio::null()); // so that nobody but zen has the terminal
    let mut shown = Vec::new();
    // Its end is an error: the other side is closed.
    let _ = File::from(master).read_to_end(&mut shown);
    let _ = child.wait();
    String::from_utf8(shown).expect("UTF-8")
}

#[test]
fn quiet_prints_errors_and_the_summary() {
    for quiet in [&["--quiet"][..], &["-q"], &["--log-level", "silent"], &["-v", "-q"]] {
        let sandbox = Sandbox::new();
        let config = sandbox.prompts(&["[[say one]] [[wait 600ms]]", "[[error it broke]]"]);
        let mut arguments = vec!["--status-report-interval", "0.1"];
        arguments.extend(quiet);
        let outcome = sandbox.run(&config, &arguments).expect_code(2);
        assert_eq!(outcome.stderr, "zen: b failed: it broke\n", "{}", outcome.dump());
        assert!(outcome.stdout.starts_with("╔"), "{}", outcome.dump());
        assert_eq!(outcome.stdout.matches('╔').count(), 1, "{}", outcome.dump());
        assert!(outcome.stdout.contains("Orchestration Complete - Results"), "{}", outcome.dump());
        assert!(!outcome.stdout.contains("[a]") && !outcome.stdout.contains("Name "), "{}", outcome.dump());
    }
}

#[test]
fn concise_prints_reports_and_detailed_prints_each_step() {
    let prompts = ["[[say one]] [[wait 500ms]]", "[[exit 3]]"];
    let run = |arguments: &[&str]| {
        let sandbox = Sandbox::new();
        let config = sandbox.prompts(&prompts);
        sandbox.run(&config, &[&["--status-report-interval", "0.2"], arguments].concat()).expect_code(2)
    };
    for arguments in [&[][..], &["--log-level", "concise"], &["-q", "--log-level", "concise"]] {
        let outcome = run(arguments);
        let error = "zen: b failed: claude ended with exit status 3 without a result\n";
        assert_eq!(outcome.stderr, error, "{}", outcome.dump());
        assert!(outcome.stdout.contains("[a] one"), "{}", outcome.dump());
    }
    for arguments in [&["--verbose"][..], &["-v"], &["--log-level", "detailed"], &["-q", "-v"]] {
        let outcome = run(arguments);
        for expected in [" a: started, pid ", " b: process exited: exit status 3", " a: completed", "zen: b failed: "] {
            assert!(outcome.stderr.contains(expected), "{expected}\n{}", outcome.dump());
            assert!(!outcome.stdout.contains(expected), "{expected}\n{}", outcome.dump());
        }
        for line in outcome.stderr.lines() {
            assert!(line.starts_with("zen: "), "{line}\n{}", outcome.dump());
        }
        assert!(!outcome.stdout.contains("zen: "), "{}", outcome.dump());
    }
}

/// The lines of an instance between two reports, report by report; the last ones stand before the summary.
fn lines_of<'a>(stdout: &'a str, name: &str) -> Vec<Vec<&'a str>> {
    let mark = format!("[{name}] ");
    let reports = stdout.split("Instance Status (").skip(1);
    reports.map(|report| report.lines().filter(|line| line.starts_with(&mark)).collect()).collect()
}

#[test]
fn recent_lines_keep_their_number_and_width() {
    let said: Vec<String> = (1..=10).map(|i| format!("line {i} {}", "wide 語 ".repeat(20))).collect();
    let prompt = format!("[[say {}]]", said.join("\n"));
    for (count, expected) in
        [(0, vec![]), (1, vec![10]), (2, vec![0, 10]), (5, vec![0, 7, 8, 9, 10]), (30, (1..=10).collect())]
    {
        let sandbox = Sandbox::new();
        let config = sandbox.prompts(&[&prompt]);
        let outcome = sandbox
            .run(&config, &["--max-console-lines", &count.to_string(), "--max-line-length", "40"])
            .expect_code(0);
        let all: Vec<&str> = lines_of(&outcome.stdout, "a").concat();
        let expected: Vec<String> = expected
            .into_iter()
            .map(|i: usize| match i {
                0 => format!("[a] … {} more lines", 10 - (count - 1)),
                i => format!("[a] line {i} "),
            })
            .collect();
        assert_eq!(all.len(), expected.len(), "{}", outcome.dump());
        for (line, expected) in all.iter().zip(&expected) {
            assert!(line.starts_with(expected.as_str()), "{line}, not {expected}");
            let columns: usize = line.chars().map(|c| c.width().unwrap_or(0)).sum();
            assert!(columns <= 40, "{columns}: {line}");
            assert!(line.ends_with('…') || line.ends_with("more lines"), "{line}");
        }
    }
}

/// In each report, not in all of them together.
#[test]
fn the_bound_on_lines_holds_for_each_report() {
    let sandbox = Sandbox::new();
    let gates = ["first", "second"];
    let [first, second] = gates.map(|name| sandbox.gate(name));
    let prompt = format!("[[say 1\n2\n3\n4]] {first} [[say 5\n6\n7\n8]] {second} [[say 9]]");
    let arguments = ["--max-console-lines", "3", "--status-report-interval", "0.1"];
    let run = sandbox.start(&sandbox.prompts(&[&prompt]), &arguments);
    for (count, gate) in gates.into_iter().enumerate() {
        wait_until("a report of its lines", || run.stdout().matches("[a] Bash: ").count() == count + 1);
        sandbox.open_gate(gate);
    }
    let outcome = run.outcome().expect_code(0);
    let reports: Vec<_> = lines_of(&outcome.stdout, "a").into_iter().filter(|lines| !lines.is_empty()).collect();
    assert!(reports.len() >= 3, "{}", outcome.dump());
    assert!(reports.iter().all(|lines| lines.len() <= 3), "{reports:?}");
    // Each of the 11 is shown or counted, once.
    let left_out = |line: &&str| line.split_once("… ").and_then(|(_, text)| text.split(' ').next()?.parse().ok());
    let told: usize = reports.concat().iter().map(|line| left_out(line).unwrap_or(1)).sum();
    assert_eq!(told, 11, "{reports:?}");
    assert_eq!(reports.last().expect("reports").last(), Some(&"[a] 9"), "{reports:?}");
}

#[test]
fn recent_lines_are_text_and_never_raw_events() {
    let sandbox = Sandbox::new();
    let prompt = "[[say Let me look.]] [[tool Bash {\"command\": \"true\", \"timeout\": 7}]] [[garbage 14]] \
                  [[unknown-events 6]] [[print 100kB 1kB]] [[say Done.]]";
    let outcome = sandbox.run(&sandbox.prompts(&[prompt]), &["--max-console-lines", "100"]).expect_code(0);
    let all: Vec<&str> = lines_of(&outcome.stdout, "a").concat();
    assert_eq!(all, ["[a] Let me look.", "[a] Bash: true", "[a] Done."], "{}", outcome.dump());
    for of_the_stream in ["{\"", "\"type\"", "xxxx", "uuid"] {
        assert!(!outcome.stdout.contains(of_the_stream), "{of_the_stream}\n{}", outcome.dump());
    }
}

#[test]
fn reports_keep_the_interval() {
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["[[wait 2s]] [[say done]]"]);
    let outcome = sandbox.run(&config, &["--status-report-interval", "0.5"]).expect_code(0);
    let reports = outcome.stdout.matches("Instance Status (").count();
    let most = outcome.took.as_millis() / 500 + 1; // one more at the end
    assert!((2..=most).contains(&(reports as u128)), "{reports} in {:?}\n{}", outcome.took, outcome.dump());
}

#[test]
fn reported_tokens_equal_the_served_ones() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(
        r#"{"budget": {"overall_budget": 15000, "overall_cost_budget": 5.0},
            "instances": [
            {"name": "a", "prompt": "[[usage in=1000 out=800 read=20 write=3]] [[say one]]", "max_tokens_per_command": 1823},
            {"name": "b", "prompt": "[[usage in=2000 out=450]] [[say two]]"},
            {"name": "c", "command": "/this-command-does-not-exist"}]}"#,
    );
    let outcome = sandbox.run(&config, &[]).expect_code(2);
    let tables = tables(&outcome.stdout);
    let rows: Vec<Vec<&str>> =
        tables.last().expect("a table").iter().skip(2).map(|line| line.split('|').map(str::trim).collect()).collect();
    let pid = |name: &str| outcome.instance(name)["pid"].to_string();
    for (row, expected) in rows.iter().zip([
        ["a", "✓ completed", &pid("a"), "1,823", "", "████████"],
        ["b", "✓ completed", &pid("b"), "2,450", "", "████████"],
        ["c", "✗ failed", "-", "0", "", "░░░░░░░░"],
    ]) {
        for (i, (cell, expected)) in row.iter().zip(expected).enumerate().filter(|(i, _)| *i != 4) {
            assert_eq!(*cell, expected, "cell {i}\n{}", outcome.dump());
        }
        assert!(row[4].ends_with('s') || expected[2] == "-", "{row:?}");
    }
    let dollars = outcome.report["totals"]["cost_usd"].as_f64().expect("dollars");
    assert!(dollars > 0.0, "{}", outcome.dump());
    for expected in [
        "Overall: 4,273 / 15,000 tokens used (28.5%)\n".to_owned(),
        format!("░ ${dollars:.2} / $5.00\n"),
        "✓ Successful: 2/3 instances\n✗ Failed: 1/3 instances\n".to_owned(),
        "Failed Instances:\n- c: Command not found: /this-command-does-not-exist\n".to_owned(),
        "Total Tokens: 4,273 of 15,000\n".to_owned(),
        format!("Total Cost: ${dollars:.2} of $5.00\n"),
    ] {
        assert!(outcome.stdout.contains(&expected), "{expected}\n{}", outcome.dump());
    }
}

#[test]
fn two_hundred_instances_are_reported_in_a_page() {
    let sandbox = Sandbox::new();
    let instances: Vec<Value> = (0..200).map(|i| json!({"name": format!("n{i}"), "prompt": "[[hang]]"})).collect();
    let config = sandbox.config(&json!({ "instances": instances }).to_string());
    let run = sandbox.start(&config, &["--max-parallel", "2", "--status-report-interval", "0.2"]);
    wait_until("a report on two", || run.stdout().contains("Instances: 2 running, 198 pending; 2 of 200 shown\n"));
    run.signal(Signal::SIGINT);
    let outcome = run.outcome().expect_code(130);
    for report in outcome.stdout.split('╔').skip(1) {
        assert!(report.lines().count() <= 60, "{}", outcome.dump());
    }
    assert!(outcome.stderr.lines().count() <= 3, "{}", outcome.dump());
    for expected in [
        "✗ Failed: 200/200 instances",
        "- n0: Stopped by SIGINT\n",
        "- n1: Stopped by SIGINT\n",
        "- n2: Stopped by SIGINT before the start\n",
        "- 188 more that had not started\n",
    ] {
        assert!(outcome.stdout.contains(expected), "{expected}\n{}", outcome.dump());
    }
}

#[test]
fn long_plan_is_summarized_by_counts() {
    let sandbox = Sandbox::new();
    let instance = |i: usize| {
        let prompt = if i.is_multiple_of(20) { "[[error it broke]]" } else { "[[usage in=90 out=10]] [[say ok]]" };
        json!({"name": format!("n{i}"), "prompt": prompt})
    };
    let instances: Vec<Value> = (0..44).map(instance).collect();
    let config = sandbox.config(&json!({ "instances": instances }).to_string());
    let outcome = sandbox
        .run(&config, &["--max-parallel", "8", "--max-console-lines", "0", "--status-report-interval", "600"])
        .expect_code(2);
    let last = outcome.stdout.split("Instance Status (").last().expect("a report");
    for expected in [
        "Instances: 41 completed, 3 failed; 3 of 44 shown\n",
        "Overall: 4,100 tokens used\n",
        "✓ Successful: 41/44 instances",
    ] {
        assert!(last.contains(expected), "{expected}\n{}", outcome.dump());
    }
}

#[test]
fn closed_stdout_stops_no_instance() {
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["[[wait 300ms]] [[say done]]", "[[say two]]"]);
    let mut command = sandbox.zen(&["--config", config.to_str().expect("UTF-8"), "--workspace", "workspace"]);
    command.args(["--startup-delay", "0", "--status-report-interval", "0.1"]);
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = command.stdout(Stdio::from(writer)).output().expect("zen runs");
    assert_eq!((output.status.code(), output.stderr.as_slice()), (Some(0), &b""[..]));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full is there");
    let output = command.stdout(full).output().expect("zen runs");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(stderr, "zen: no more reports: standard output: No space left on device\n");
    assert_eq!(output.status.code(), Some(0));
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full is there");
    let quiet = command.arg("--quiet").stdout(full).output().expect("zen runs");
    let stderr = String::from_utf8_lossy(&quiet.stderr);
    assert_eq!(stderr, "zen: no summary: standard output: No space left on device\n");
    let report = fs::read_to_string(sandbox.path("state/zen/latest/report.json")).expect("a report");
    let report: Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!(report["instances"][0]["result"], "done");
}

/// Where both streams go to one file, messages and reports follow each other line by line.
#[test]
fn stdout_and_stderr_in_one_file_keep_whole_lines() {
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["[[error it broke]]", "[[wait 500ms]] [[say done]]"]);
    let mut command = sandbox.zen(&["--config", config.to_str().expect("UTF-8"), "--workspace", "workspace", "-v"]);
    let file = File::create(sandbox.path("both")).expect("a file");
    command.args(["--startup-delay", "0", "--status-report-interval", "0.05"]);
    let both = file.try_clone().expect("a descriptor");
    let status = command.stdout(file).stderr(both).status().expect("zen runs");
    assert_eq!(status.code(), Some(2));
    let text = fs::read_to_string(sandbox.path("both")).expect("UTF-8");
    for line in text.lines() {
        assert!(!line.contains("zen: ") || line.starts_with("zen: "), "{line}\n{text}");
    }
    assert!(text.contains("zen: a failed: it broke\n"), "{text}");
    assert!(text.trim_end().lines().last().is_some_and(|line| line.starts_with("Exit code: 2 ")), "{text}");
}

/// A pipe that nobody reads for a while holds nobody up; what was printed meanwhile comes later.
#[test]
fn slow_reader_delays_no_instance() {
    let sandbox = Sandbox::new();
    let config = sandbox.prompts(&["[[say one]]", "[[say two]]"]);
    let mut command = sandbox.zen(&["--config", config.to_str().expect("UTF-8"), "--workspace", "workspace"]);
    command.args(["--startup-delay", "0", "--status-report-interval", "0.005"]);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("zen starts");
    wait_until("both to have completed, with nobody reading", || {
        let text = fs::read_to_string(sandbox.path("state/zen/latest/report.json")).unwrap_or_default();
        let report: Value = serde_json::from_str(&text).unwrap_or_default();
        report["exit_code"] == 0
    });
    std::thread::sleep(Duration::from_millis(1)); // it may wait for its reader now, or not yet
    let mut text = String::new();
    child.stdout.take().expect("a pipe").read_to_string(&mut text).expect("UTF-8");
    assert_eq!(child.wait().expect("an end").code(), Some(0));
    assert!(text.trim_end().ends_with("Exit code: 0 (every instance completed)"), "{text}");
}

/// However much waits for its reader, the summary is behind it, also one that is larger than that may be.
#[test]
fn the_summary_is_never_lost() {
    let name = |i: usize| format!("{i}-{}", "n".repeat(120));
    let mut instances = vec![json!({"name": "f", "command": "/gone"})];
    instances.extend((0..16_000).map(|i| json!({"name": name(i), "prompt": "x", "depends_on": ["f"]})));
    let config = json!({ "instances": instances }).to_string();
    let hold_to_the_summary = |text: &str| {
        assert!(text.len() > 1 << 20, "{} bytes", text.len());
        assert!(text.trim_end().ends_with("Exit code: 2 (at least one instance failed)"), "{} bytes", text.len());
    };
    let sandbox = Sandbox::new();
    hold_to_the_summary(&sandbox.run(&sandbox.config(&config), &["--quiet"]).expect_code(2).stdout);
    // And with something that waits before it, because the pipe is full and nobody reads.
    let sandbox = Sandbox::new();
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).expect("a flag");
    while writer.write(&[b'x'; 512]).is_ok() {}
    fcntl(&writer, FcntlArg::F_SETFL(OFlag::empty())).expect("a flag");
    let mut command = sandbox.zen_on(&sandbox.config(&config), &[]);
    let running = sandbox.started_to(&mut command, writer.into());
    drop(command);
    wait_until("the end of all, with nobody reading", || running.report()["exit_code"] == 2);
    let mut text = String::new();
    reader.read_to_string(&mut text).expect("UTF-8");
    running.outcome().expect_code(2);
    assert!(text.contains("Instance Status"));
    hold_to_the_summary(&text);
}

/// A name or an error of a megabyte is no reason to print a megabyte.
#[test]
fn long_texts_are_truncated() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(
        &json!({"instances": [
            {"name": "n".repeat(50_000), "prompt": format!("[[stderr {0}]] [[error {0}]]", "e".repeat(100_000))},
            {"name": "b", "prompt": format!("[[say {}]]", "s".repeat(1_000_000)), "description": "d".repeat(100_000)},
        ]})
        .to_string(),
    );
    let outcome = sandbox.run(&config, &["--verbose"]).expect_code(2);
    assert!(outcome.stdout.len() < 10_000, "{} bytes", outcome.stdout.len());
    assert!(outcome.stderr.len() < 5000 && outcome.stderr.contains("eee"), "{} bytes", outcome.stderr.len());
    let outcome = sandbox.run(&config, &["--dry-run"]).expect_code(0);
    assert!(outcome.stdout.len() < 10_000, "{} bytes", outcome.stdout.len());
}

/// The system says the same of a program that is not there, of an interpreter and of a directory.
#[test]
fn spawn_error_is_reported_with_its_reason() {
    let sandbox = Sandbox::new();
    let claude = sandbox.path("claude");
    write_program(&claude, "#!/nonexistent/node\n");
    let config = sandbox.prompts(&["x"]);
    let outcome = sandbox.run(&config, &["--claude", claude.to_str().expect("UTF-8")]).expect_code(2);
    let why = "could not be started: its interpreter does not exist";
    assert_eq!(outcome.stderr, format!("zen: a failed: {} {why}\n", claude.display()));
    assert_eq!(outcome.instance("a")["reason"], "spawn");
    let variables: Value = (0..60).map(|i| (format!("A{i}"), Value::from("x".repeat(120_000)))).collect();
    let large = sandbox.config(&json!({"instances": [{"name": "a", "prompt": "x", "env": variables}]}).to_string());
    let outcome = sandbox.run(&large, &[]).expect_code(2);
    assert!(outcome.stderr.ends_with("could not be started: Argument list too long\n"), "{}", outcome.dump());
}

/// The runner of GitHub Actions would run `::set-env …` and the like.
#[test]
fn text_of_agents_is_fenced_under_github_actions() {
    let sandbox = Sandbox::new();
    let prompts = ["[[say ::error::from an agent]]", "[[error ::set-env name=A::b]]"];
    let config = sandbox.prompts(&prompts);
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let mut zen = sandbox.zen_on(&config, &["--status-report-interval", "0.1"]);
        let outcome = sandbox.started(zen.env("GITHUB_ACTIONS", "true")).outcome().expect_code(2);
        for text in [&outcome.stdout, &outcome.stderr] {
            let lines: Vec<&str> = text.lines().collect();
            let token = lines[0].strip_prefix("::stop-commands::").unwrap_or_else(|| panic!("{text}"));
            assert_eq!(lines.last().copied(), Some(format!("::{token}::").as_str()), "{text}");
            assert_eq!(text.matches(token).count(), 2, "{text}");
            tokens.push(token.to_owned());
        }
        assert!(outcome.stderr.contains("::set-env"), "{}", outcome.dump());
    }
    assert!(tokens[0] == tokens[1] && tokens[1] != tokens[2], "one token a run: {tokens:?}");
    for value in ["false", ""] {
        let mut zen = sandbox.zen_on(&config, &[]);
        let outcome = sandbox.started(zen.env("GITHUB_ACTIONS", value)).outcome();
        assert!(!outcome.dump().contains("stop-commands"), "{}", outcome.dump());
    }
}

#[test]
fn first_line_has_the_number_of_instances_and_the_run_directory() {
    let sandbox = Sandbox::new();
    let outcome = sandbox.run(&sandbox.prompts(&["[[say Hi.]]", "[[say Hi.]]"]), &[]).expect_code(0);
    let first = outcome.stdout.lines().next().unwrap_or_default();
    assert!(first.starts_with("Running 2 instances: files in /"), "{}", outcome.dump());
    let quiet = sandbox.run(&sandbox.prompts(&["[[say Hi.]]"]), &["--quiet"]).expect_code(0);
    assert!(!quiet.stdout.contains("Running"), "{}", quiet.dump());
}

#[test]
fn successful_run_prints_nothing_on_request() {
    let sandbox = Sandbox::new();
    let arguments = ["--quiet", "--on-success", "silent"];
    let good = sandbox.run(&sandbox.prompts(&["[[say Hi.]]"]), &arguments).expect_code(0);
    assert_eq!((good.stdout.as_str(), good.stderr.as_str()), ("", ""));
    let bad = sandbox.run(&sandbox.prompts(&["[[crash]]"]), &arguments).expect_code(2);
    assert!(bad.stdout.contains("Exit code: 2"), "{}", bad.dump());
}

#[test]
fn empty_result_for_a_dependent_is_a_warning() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(
        r#"{"instances": [{"name": "a", "prompt": "[[say  ]]"},
            {"name": "b", "prompt": "Take {{result:a}}. [[say Done.]]", "depends_on": ["a"]}]}"#,
    );
    let outcome = sandbox.run(&config, &[]);
    assert!(outcome.stderr.contains("zen: b: the result of a is empty"), "{}", outcome.dump());
}

#[test]
fn the_dry_run_shows_which_instance_resumes_a_session() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(
        r#"{"instances": [{"name": "a", "prompt": "One. [[say Hi.]]", "session_id": "s"},
            {"name": "b", "prompt": "Two. [[say Hi.]]", "session_id": "s"}]}"#,
    );
    let plan = sandbox.run(&config, &["-n"]).expect_code(0).stdout;
    assert_eq!((plan.matches("--session-id").count(), plan.matches("--resume").count()), (1, 1), "{plan}");
}

/// Returns the arguments that a dry run prints for each instance, without the program.
fn printed_arguments(sandbox: &Sandbox, config: &Path) -> Vec<Vec<String>> {
    let plan = sandbox.run(config, &["--dry-run"]).expect_code(0).stdout;
    let lines: Vec<&str> = plan.lines().filter_map(|line| line.strip_prefix("  $ ")).collect();
    let mut instances = Vec::new();
    for line in lines {
        let output = Command::new("bash").args(["-c", &format!("printf '%s\\0' {line}")]).output().expect("bash");
        let words = String::from_utf8(output.stdout).expect("UTF-8");
        instances.push(comparable(words.split_terminator('\0').skip(1)));
    }
    instances
}

/// Returns arguments without what differs between two runs: the path of zen, and the dollars that are left.
fn comparable<'a>(arguments: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut arguments: Vec<String> = arguments.map(without_pid).collect();
    if let Some(flag) = arguments.iter().position(|argument| argument == "--max-budget-usd") {
        arguments[flag + 1] = "LEFT".to_owned();
    }
    arguments
}

/// Replaces the path of the running zen, which the command line of the hook has.
fn without_pid(argument: &str) -> String {
    let (mut kept, mut rest) = (String::new(), argument);
    while let Some((before, after)) = rest.split_once("/proc/") {
        kept += before;
        kept += "/proc/PID";
        rest = after.trim_start_matches(|c: char| c.is_ascii_digit());
    }
    kept + rest
}

#[test]
fn dry_run_prints_the_arguments_of_the_run() {
    let every_option = json!({
        "defaults": {"timeout": 60, "claude_args": ["--append-system-prompt", "it's \"quoted\" $HOME\n"]},
        "budget": {"command_cost_budgets": {"/only": 5}},
        "instances": [
            {"name": "a", "prompt": "[[say A.]]", "session_id": "s", "model": "opus"},
            {"name": "b", "prompt": "[[say B.]]", "session_id": "s", "permission_mode": "plan"},
            {"name": "c", "prompt": "[[say C.]]", "session_id": "t", "clear_history": true},
            {"name": "d", "prompt": "[[say D.]]", "allowed_tools": ["Read", "Bash(git log *)"]},
            {"name": "e", "prompt": "[[say E.]]", "disallowed_tools": ["Write"], "permission_mode": "acceptEdits"},
            {"name": "f", "command": "/only x"},
        ],
    });
    let fixtures = ["valid_complex_config.json", "parallel_workflow.json"];
    for config in fixtures.map(fixture).into_iter().map(Some).chain([None]) {
        let sandbox = Sandbox::new();
        sandbox.command("only", "[[say Only.]]");
        let config = match config {
            Some(fixture) => {
                sandbox.commands_of(&fixture);
                fixture
            }
            None => sandbox.config(&every_option.to_string()),
        };
        let printed = printed_arguments(&sandbox, &config);
        let outcome = sandbox.run(&config, &[]).expect_code(0);
        let mut started: Vec<Vec<String>> = Vec::new();
        for start in sandbox.claude_events("start") {
            let argv = start["argv"].as_array().expect("a list").iter().filter_map(Value::as_str);
            started.push(comparable(argv.skip(1)));
        }
        // Beside these, an instance that clears its conversation starts another process in the middle.
        assert!(!printed.is_empty());
        for arguments in printed {
            let same = started.iter().position(|started| *started == arguments);
            let same = same.unwrap_or_else(|| panic!("{arguments:#?}\nis not in\n{started:#?}\n{}", outcome.dump()));
            started.remove(same);
        }
    }
}
