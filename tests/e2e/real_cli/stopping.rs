//! Stopping the real claude while a command of its Bash tool runs, which claude starts in a session of its own: nothing is
//! left, and what was used is on the books.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::json;

use super::{PATIENCES, Real, RealRun, on_each_generation, tokens_of};
use harness::{RunOutput, exists, is_alive, wait_for, wait_until};

/// Runs on in two processes: the tool's own, and one that has left it with a double fork for a session of its own.
const HOLD: &str = "
import os, time
def tell(name):
    with open(name + '.new', 'w') as file:
        file.write(str(os.getpid()))
    os.rename(name + '.new', name)
if os.fork() == 0:
    os.setsid()
    if os.fork() != 0:
        os._exit(0)
    tell('daemon.pid')
else:
    tell('tool.pid')
time.sleep(300)
";

fn start_holding(real: &Real, timeout_seconds: u64) -> RealRun<'_> {
    real.script("hold.py", HOLD);
    let tool = json!({"command": "python3 hold.py"});
    let prompt = format!("Hold on. [[usage in=700 out=30 read=50]] [[tool Bash {tool}]] [[say Never said.]]");
    let instance = json!({"name": "a", "prompt": prompt, "timeout": timeout_seconds});
    let config = real.sandbox.config(&json!({"instances": [instance]}).to_string());
    real.start(&config, &[])
}

/// The processes of the tool, once they run.
fn holding(real: &Real) -> [i32; 2] {
    ["tool.pid", "daemon.pid"].map(|name| {
        let file = real.sandbox.workspace().join(name);
        wait_for(name, || std::fs::read_to_string(&file).ok()?.parse().ok())
    })
}

fn assert_stopped(real: &Real, outcome: &RunOutput, held: &[i32], reason: &str) {
    assert_stopped_since(real, outcome, held, reason, 0);
}

/// The same, without the API's first requests, which were another run's.
fn assert_stopped_since(real: &Real, outcome: &RunOutput, held: &[i32], reason: &str, first: usize) {
    let dump = real.dump(outcome);
    assert_eq!(held.iter().find(|pid| exists(**pid)), None, "a process of the tool is left\n{dump}");
    let a = outcome.instance("a");
    assert_eq!((&a["status"], &a["reason"]), (&json!("failed"), &json!(reason)), "{dump}");
    assert_eq!(a["surviving_pids"], json!([]));
    // Nothing was under way: claude's own sum has come, and it is the API's.
    assert_eq!(a["tokens_certainty"], real.certainty(), "{dump}");
    assert!(a["cost_usd"].as_f64().is_some_and(|dollars| dollars > 0.0), "{dump}");
    real.assert_books_balance_since(outcome, first);
}

#[test]
fn real_timeout_while_a_tool_runs() {
    on_each_generation(1, |real| {
        for seconds in PATIENCES {
            let first = real.api.log().len();
            let outcome = start_holding(real, seconds).outcome().expect_code(4);
            assert_eq!(outcome.error("a"), format!("Timeout after {seconds}s"));
            if real.sandbox.workspace().join("daemon.pid").exists() {
                assert_stopped_since(real, &outcome, &holding(real), "timeout", first);
                return;
            }
        }
        panic!("claude takes longer than that to run a tool");
    });
}

#[test]
fn real_ctrl_c_while_a_tool_runs() {
    on_each_generation(1, |real| stopped_by(real, Signal::SIGINT, 130));
}

#[test]
fn real_sigterm_while_a_tool_runs() {
    on_each_generation(1, |real| stopped_by(real, Signal::SIGTERM, 143));
}

fn stopped_by(real: &Real, signal: Signal, code: i32) {
    let run = start_holding(real, 300);
    let held = holding(real);
    run.signal(signal);
    let outcome = run.outcome().expect_code(code);
    assert_stopped(real, &outcome, &held, "interrupted");
}

/// The second Ctrl-C waits for nobody; what was seen is on the books all the same.
#[test]
fn real_ctrl_c_twice_while_a_tool_runs() {
    on_each_generation(1, |real| {
        let run = start_holding(real, 300);
        let held = holding(real);
        run.signal(Signal::SIGINT);
        wait_until("word of the first", || run.stderr().contains("send it again to kill them"));
        run.signal(Signal::SIGINT);
        let outcome = run.outcome().expect_code(130);
        let dump = real.dump(&outcome);
        assert_eq!(held.iter().find(|pid| exists(**pid)), None, "a process of the tool is left\n{dump}");
        let tokens = tokens_of(outcome.instance("a"));
        assert!(tokens.input_tokens >= 700 && tokens.output_tokens >= 30, "{tokens:?}\n{dump}");
    });
}

#[test]
fn real_ctrl_c_in_the_middle_of_a_text() {
    on_each_generation(1, |real| {
        let prompt = "Speak. [[usage in=700 out=30 read=50]] [[say Begun.]] [[wait 300s]] [[say Never said.]]";
        let run = real.start(&real.sandbox.prompts(&[prompt]), &[]);
        let stream = real.sandbox.path("state/zen/latest/01-a/stream.jsonl");
        wait_until("the first words", || {
            std::fs::read_to_string(&stream).is_ok_and(|text| text.contains("content_block_stop"))
        });
        run.signal(Signal::SIGINT);
        let outcome = run.outcome().expect_code(130);
        let dump = real.dump(&outcome);
        let a = outcome.instance("a");
        assert_eq!((&a["status"], &a["reason"]), (&json!("failed"), &json!("interrupted")), "{dump}");
        let (tokens, served) = (tokens_of(a), real.conversation()[0].announced);
        assert_eq!((served.input_tokens, served.cache_read_input_tokens), (700, 50), "{dump}");
        assert!(tokens.input_tokens >= 700 && tokens.cache_read_input_tokens >= 50, "{tokens:?}\n{dump}");
        // What the API wrote of it nobody was told.
        assert_eq!(a["tokens_certainty"], "at_least", "{dump}");
    });
}

#[test]
fn real_sigkill_of_zen_while_a_tool_runs() {
    on_each_generation(1, |real| {
        let run = start_holding(real, 300);
        let held = holding(real);
        assert!(!real.sandbox.survivors().is_empty());
        wait_until("what it has used to be on the books", || {
            let tokens = run.report()["instances"][0]["tokens"].clone();
            tokens["input"].as_u64() >= Some(700) && tokens["output"].as_u64() >= Some(30)
        });
        run.signal(Signal::SIGKILL);
        let began = Instant::now();
        wait_until("the end of all", || real.sandbox.survivors().is_empty());
        let took = began.elapsed();
        assert!(took < Duration::from_secs(20), "it took {took:?}");
        // Whoever adopts them may take his time to reap them.
        assert_eq!(held.iter().find(|pid| is_alive(**pid)), None, "a process of the tool is left");
        let outcome = run.outcome().expect_code(-(Signal::SIGKILL as i32));
        let a = outcome.instance("a");
        let dump = real.dump(&outcome);
        assert_eq!((&a["status"], &a["tokens_certainty"]), (&json!("running"), &json!("at_least")), "{dump}");
        let tokens = tokens_of(a);
        assert!(tokens.input_tokens >= 700 && tokens.output_tokens >= 30, "{tokens:?}\n{dump}");
        assert!(a["cost_usd"].as_f64() > Some(0.0), "{dump}");
    });
}
