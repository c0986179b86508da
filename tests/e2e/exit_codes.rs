//! Each row of the table of exit codes, reached by a run; and which code a run has that has cause for several.

use nix::sys::signal::Signal;
use serde_json::{Value, json};
use zen::engine::exit_code::TABLE;

use harness::{RunOutput, Sandbox, wait_until};

/// An instance that brings a run to this code when all others complete.
fn instance(code: i32) -> Value {
    match code {
        0 => json!({"prompt": "[[say done]]"}),
        2 => json!({"prompt": "[[error it broke]]"}),
        3 => json!({"prompt": "[[tool Bash {\"command\": \"true\"}]] [[say done]]",
            "claude_args": ["--max-budget-usd", "0.000001"]}),
        4 => json!({"prompt": "[[hang]]", "timeout": 0.5}),
        75 => json!({"prompt": "[[limit 3600]]"}),
        _ => panic!("no instance brings a run to {code}"),
    }
}

/// A run of instances that have cause for these codes, named by their place.
fn run(sandbox: &Sandbox, codes: &[i32]) -> RunOutput {
    let instances: Vec<Value> = codes
        .iter()
        .enumerate()
        .map(|(i, &code)| {
            let mut instance = instance(code);
            instance["name"] = format!("{i}").into();
            instance
        })
        .collect();
    sandbox.run(&sandbox.config(&json!({ "instances": instances }).to_string()), &[])
}

/// The code stands in the summary with its meaning, and in `report.json`.
fn hold_to(outcome: &RunOutput, code: i32, meaning: &str) {
    // Of a row's two meanings, the summary prints the one that applies.
    let meaning = if code == 2 { "at least one instance failed" } else { meaning };
    assert_eq!(outcome.code, code, "{}", outcome.dump());
    assert!(outcome.stdout.ends_with(&format!("Exit code: {code} ({meaning})\n")), "{}", outcome.dump());
    assert_eq!(outcome.report["exit_code"], code, "{}", outcome.dump());
}

#[test]
fn each_exit_code_is_reached() {
    for &(written, meaning) in TABLE {
        match written {
            "1" => {
                let sandbox = Sandbox::new();
                let outcome = sandbox.run(&sandbox.config("{}"), &[]).expect_code(1);
                assert_eq!(outcome.stdout, "");
                assert_eq!(outcome.report, Value::Null, "what was not launched leaves no files");
            }
            "128+N" => {
                for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT] {
                    let sandbox = Sandbox::new();
                    let run = sandbox.start(&sandbox.prompts(&["[[hang]]", "[[say done]]"]), &[]);
                    wait_until("one to run and one to have completed", || {
                        let report = run.report();
                        let status = |i: usize| report["instances"][i]["status"].as_str().unwrap_or("").to_owned();
                        status(0) == "running" && status(1) == "completed"
                    });
                    run.signal(signal);
                    let outcome = run.outcome();
                    hold_to(&outcome, 128 + signal as i32, &format!("stopped by {signal}"));
                    assert_eq!(outcome.report["stopped_by"], signal.as_str());
                    assert_eq!(outcome.instance("a")["reason"], "interrupted");
                    assert_eq!(outcome.status("b"), "completed", "it had completed before");
                }
            }
            code => {
                let code: i32 = code.parse().expect("a number");
                // A run that another one holds up has no summary to say so.
                let meaning = if code == 75 { "try again later: the usage limit was reached" } else { meaning };
                let outcome = run(&Sandbox::new(), &[0, code, 0]);
                hold_to(&outcome, code, meaning);
                assert_eq!((outcome.status("0"), outcome.status("2")), ("completed", "completed"));
            }
        }
    }
}

/// The first of 2, 75, 4, 3, 0; whichever instance comes or ends first.
#[test]
fn most_severe_of_several_exit_codes_is_used() {
    let order = [2, 75, 4, 3, 0];
    std::thread::scope(|scope| {
        for (i, worse) in order.into_iter().enumerate() {
            scope.spawn(move || {
                for (j, better) in order.into_iter().enumerate().skip(i + 1) {
                    let codes = if (i + j) % 2 == 0 { [worse, better] } else { [better, worse] };
                    let outcome = run(&Sandbox::new(), &codes);
                    assert_eq!(outcome.code, worse, "{worse} and {better}\n{}", outcome.dump());
                }
            });
        }
    });
    assert_eq!(run(&Sandbox::new(), &[0, 3, 4, 75, 2]).code, 2);
}

#[test]
fn signal_outranks_earlier_failures() {
    let sandbox = Sandbox::new();
    let run = sandbox.start(&sandbox.prompts(&["[[error it broke]]", "[[limit 3600]]", "[[hang]]"]), &[]);
    wait_until("two failures", || {
        let report = run.report();
        let failed = |i: usize| report["instances"][i]["status"] == "failed";
        failed(0) && failed(1)
    });
    run.signal(Signal::SIGTERM);
    let outcome = run.outcome();
    hold_to(&outcome, 143, "stopped by SIGTERM");
    assert_eq!(outcome.error("a"), "it broke");
}

#[test]
fn skipped_instance_does_not_change_the_exit_code() {
    let sandbox = Sandbox::new();
    let config = sandbox.config(
        r#"{"instances": [{"name": "a", "prompt": "[[hang]]", "timeout": 0.5},
            {"name": "b", "prompt": "x", "depends_on": ["a"]}, {"name": "c", "prompt": "x", "depends_on": ["b"]}]}"#,
    );
    let outcome = sandbox.run(&config, &[]).expect_code(4);
    assert_eq!((outcome.status("b"), outcome.status("c")), ("skipped", "skipped"));
}

#[test]
fn query_exits_with_0() {
    let sandbox = Sandbox::new();
    for question in ["--help", "--version", "-h", "-V"] {
        let outcome = sandbox.started(&mut sandbox.zen(&[question])).outcome().expect_code(0);
        assert!(outcome.stdout.starts_with("zen ") && outcome.stderr.is_empty(), "{}", outcome.dump());
    }
    let help = sandbox.started(&mut sandbox.zen(&["--help"])).outcome().stdout;
    for (code, meaning) in TABLE {
        assert!(help.contains(&format!("  {code}  ")), "{code}: {meaning}\n{help}");
    }
}
