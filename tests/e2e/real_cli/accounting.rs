//! The books against the API's own log: to the token by kind, and to the micro-dollar at the prices that each claude
//! counts with.
//!
//! 1.0 and 2.0 make calls of their own (warm-ups, titles, names of files) and tell only of those that are done before a
//! result. What they keep to themselves is worked out from the log, call by call, and shown; no call but such a one may be
//! missing, and no such one that was served in time.

use serde_json::{Value, json};

use super::{PATIENCES, Real, on_each_generation, read_tool, sum, tokens_of, told};
use harness::RunOutput;
use harness::loopback::{Kind, Outcome, Served, TokenCount};

/// A model, by the beginning of its name, and micro-dollars per million of its tokens.
struct Rate {
    model: &'static str,
    input: u64,
    output: u64,
    cache_write: u64,
    cache_write_1h: u64,
    cache_read: u64,
}

/// What the newest claude counts with, measured; the older ones take the shorter price for every cache write.
const RATES: &[Rate] = &[
    Rate::new("claude-opus-5-5", [4_000_000, 20_000_000, 5_000_000, 8_000_000, 200_000]),
    Rate::new("claude-sonnet-4", [3_000_000, 15_000_000, 3_750_000, 6_000_000, 300_000]),
    Rate::new("claude-haiku-4-5", [1_000_000, 5_000_000, 1_250_000, 2_000_000, 100_000]),
    Rate::new("claude-3-5-haiku", [800_000, 4_000_000, 1_000_000, 1_600_000, 80_000]),
];

impl Rate {
    const fn new(model: &'static str, prices: [u64; 5]) -> Self {
        let [input, output, cache_write, cache_write_1h, cache_read] = prices;
        Rate { model, input, output, cache_write, cache_write_1h, cache_read }
    }

    fn of(model: &str) -> &'static Rate {
        RATES.iter().find(|rate| model.starts_with(rate.model)).unwrap_or_else(|| panic!("no price for {model}"))
    }

    /// What this was worth, in millionths of a micro-dollar.
    fn picos(&self, tokens: TokenCount, lasts_an_hour: bool) -> u64 {
        let cache_write = if lasts_an_hour { self.cache_write_1h } else { self.cache_write };
        tokens.input_tokens * self.input
            + tokens.output_tokens * self.output
            + tokens.cache_creation_input_tokens * cache_write
            + tokens.cache_read_input_tokens * self.cache_read
    }
}

/// How long a busy machine may keep claude from seeing that it has been served.
const BOOKED_AFTER_MS: u64 = 1000;

/// What has to be on the books: a part of the API's log.
struct Expected<'a> {
    real: &'a Real,
    case: &'a str,
    /// Other than claude's own calls.
    asked: Vec<Served>,
    own_calls: Vec<Served>,
    /// Whether what is written to the cache stays there for an hour, which 2.1 prices.
    lasts_an_hour: bool,
}

impl<'a> Expected<'a> {
    fn all(real: &'a Real, case: &'a str) -> Self {
        Self::of(real, case, real.api.log())
    }

    fn of(real: &'a Real, case: &'a str, log: Vec<Served>) -> Self {
        let (own_calls, asked) = log.into_iter().partition(|served| real.is_small_call(served));
        Expected { real, case, asked, own_calls, lasts_an_hour: false }
    }

    /// Holds an entry of the report to it.
    fn assert_on_the_books(&self, entry: &Value, outcome: &RunOutput) {
        let booked = tokens_of(entry);
        let subsets = 0..1_usize << self.own_calls.len();
        let told = subsets.map(|subset| self.with(subset)).find(|served| tokens(served) == booked);
        let told = told.unwrap_or_else(|| {
            panic!("{}: {booked:?} is nothing that was served\n{}", self.case, self.all_of(outcome))
        });
        let micros = (entry["cost_usd"].as_f64().expect("dollars") * 1e6).round() as u64;
        assert_eq!(micros, self.micros(&told), "{}: micro-dollars\n{}", self.case, self.all_of(outcome));
        let untold = self.own_calls.iter().filter(|call| told.iter().all(|served| served.index != call.index));
        self.show(&untold.collect::<Vec<_>>(), outcome);
    }

    fn assert_certainty(&self, entry: &Value, outcome: &RunOutput) {
        for field in ["tokens_certainty", "cost_certainty"] {
            assert_eq!(entry[field], self.real.certainty(), "{}: {field}\n{}", self.case, self.all_of(outcome));
        }
    }

    /// All that was asked, and these of claude's own calls.
    fn with(&self, subset: usize) -> Vec<&Served> {
        let own_calls = self.own_calls.iter().enumerate().filter(|(i, _)| subset >> i & 1 == 1).map(|(_, call)| call);
        self.asked.iter().chain(own_calls).collect()
    }

    fn micros(&self, served: &[&Served]) -> u64 {
        let lasts_an_hour = self.lasts_an_hour && self.real.is_2_1();
        let picos = served.iter().map(|served| Rate::of(&served.model).picos(served.announced, lasts_an_hour));
        (picos.sum::<u64>() + 500_000) / 1_000_000
    }

    /// Says which calls claude has kept to itself. It may do so only with what was served after the last message had been
    /// asked for: whatever was there before, the result has.
    fn show(&self, untold: &[&Served], outcome: &RunOutput) {
        let last = self.asked.iter().map(|served| served.arrived_epoch_ms).max().unwrap_or(0);
        for call in untold {
            let ended = call.arrived_epoch_ms + call.took_ms;
            let (case, version, call) = (self.case, self.real.version, told(call));
            assert!(
                ended + BOOKED_AFTER_MS >= last,
                "{case}: claude had been served this: {call}\n{}",
                self.all_of(outcome)
            );
            eprintln!("{case}: claude {version} does not tell of {call}");
        }
    }

    fn all_of(&self, outcome: &RunOutput) -> String {
        self.real.dump(outcome)
    }
}

fn tokens(served: &[&Served]) -> TokenCount {
    served.iter().map(|served| served.announced).fold(TokenCount::default(), sum)
}

fn kinds(log: &[Served], kind: Kind) -> usize {
    log.iter().filter(|served| served.kind == kind && served.outcome == Outcome::Complete).count()
}

fn run(real: &Real, instance: &Value) -> RunOutput {
    real.run(&real.sandbox.config(&json!({ "instances": [instance] }).to_string()), &[])
}

#[test]
fn real_books_of_two_instances_side_by_side() {
    on_each_generation(2, |real| {
        real.api.tell_own_calls_apart();
        let config = json!({"instances": [
            {"name": "a", "prompt": "One. [[usage in=1203 out=47 read=5601 write=707]] [[say One.]]"},
            {"name": "b", "prompt": "Two. [[usage in=11 out=301 write_1h=1009]] [[say Two.]]",
                "model": "claude-sonnet-4-20250514"},
        ]});
        let outcome = real.run(&real.sandbox.config(&config.to_string()), &[]).expect_code(0);
        let dump = real.dump(&outcome);
        let log = real.api.log();
        for name in ["a", "b"] {
            let instance = outcome.instance(name);
            let is_its = |served: &&Served| served.session_id.as_deref() == instance["session_id"].as_str();
            let own: Vec<Served> = log.iter().filter(is_its).cloned().collect();
            assert_eq!(kinds(&own, Kind::Conversation), 1, "{dump}");
            let expected =
                Expected { lasts_an_hour: name == "b", ..Expected::of(real, "one turn, of two side by side", own) };
            expected.assert_on_the_books(instance, &outcome);
            expected.assert_certainty(instance, &outcome);
        }
        let of = |field: &str| -> u64 {
            ["a", "b"].iter().map(|name| outcome.instance(name)["tokens"][field].as_u64().expect("a count")).sum()
        };
        for field in ["input", "output", "cache_creation", "cache_read", "total"] {
            assert_eq!(outcome.report["totals"]["tokens"][field], of(field), "{dump}");
        }
    });
}

#[test]
fn real_books_of_several_turns_with_tool_rounds() {
    on_each_generation(1, |real| {
        real.api.tell_own_calls_apart();
        let (read, bash) = (read_tool(real), json!({"command": "cat notes.txt"}));
        let prompt = format!(
            "Work. [[usage in=7 out=11 write=1301 read=13]] {read} {read} [[usage in=3 out=5 write=17 read=1319]] \
             [[tool Bash {bash}]] [[usage in=1 out=2 write=19 read=1337]] [[say All read.]]"
        );
        let turns =
            ["First. [[usage in=901 out=90]] [[say One.]]", "Second. [[usage in=1 out=1 read=997]] [[say Two.]]"];
        let outcome = run(real, &json!({"name": "a", "pre_commands": turns, "prompt": prompt})).expect_code(0);
        let expected = Expected::all(real, "three turns and two rounds of tools");
        assert_eq!(expected.asked.len(), 5, "{}", real.dump(&outcome));
        expected.assert_on_the_books(outcome.instance("a"), &outcome);
        expected.assert_certainty(outcome.instance("a"), &outcome);
        expected.assert_on_the_books(&outcome.report["totals"], &outcome);
    });
}

#[test]
fn real_books_of_two_subagents() {
    on_each_generation(1, |real| {
        real.api.tell_own_calls_apart();
        let tool = if real.is_2_1() { "Agent" } else { "Task" };
        let agent = |word: &str, usage: &str| {
            let prompt =
                format!("{word}. [[usage {usage}]] {} [[usage in=2 out=3 read=41]] [[say {word}.]]", read_tool(real));
            let input = json!({"description": word, "prompt": prompt, "subagent_type": "general-purpose"});
            format!("[[tool {tool} {input}]]")
        };
        let (one, two) = (agent("Count", "in=53 out=17 write=29"), agent("Weigh", "in=59 out=19"));
        let prompt = format!("Ask. [[usage in=409 out=43]] {one} {two} [[usage in=503 out=5]] [[say Asked.]]");
        let outcome = run(real, &json!({"name": "a", "prompt": prompt})).expect_code(0);
        let dump = real.dump(&outcome);
        let expected = Expected::all(real, "two subagents");
        let of_agents =
            |served: &&Served| ["Count.", "Weigh."].iter().any(|word| served.last_user_text.starts_with(word));
        assert_eq!(expected.asked.iter().filter(of_agents).count(), 4, "{dump}");
        expected.assert_on_the_books(outcome.instance("a"), &outcome);
        expected.assert_certainty(outcome.instance("a"), &outcome);
    });
}

#[test]
fn real_books_of_a_resumed_session_that_is_compacted() {
    on_each_generation(1, |real| {
        real.api.tell_own_calls_apart();
        let first = json!({"name": "a", "session_id": "diary",
            "prompt": "Remember this. [[usage in=2003 out=211 write=97]] [[say I do.]]"});
        let outcome = run(real, &first).expect_code(0);
        let expected = Expected::all(real, "a session's first run");
        expected.assert_on_the_books(outcome.instance("a"), &outcome);
        expected.assert_certainty(outcome.instance("a"), &outcome);
        let before = real.api.log().len();
        let second = json!({"name": "a", "session_id": "diary", "compact_history": true,
            "prompt": "Go on. [[usage in=307 out=31 read=89]] [[say Gone on.]]"});
        let outcome = run(real, &second).expect_code(0);
        let dump = real.dump(&outcome);
        let log = real.api.log()[before..].to_vec();
        assert_eq!((kinds(&log, Kind::Compaction), kinds(&log, Kind::Conversation)), (1, 1), "{dump}");
        let expected = Expected::of(real, "a resumed session, compacted", log);
        expected.assert_on_the_books(outcome.instance("a"), &outcome);
        expected.assert_certainty(outcome.instance("a"), &outcome);
    });
}

#[test]
fn real_books_of_a_turn_that_ran_out_of_time() {
    on_each_generation(1, |real| {
        real.api.tell_own_calls_apart();
        real.script("hold.py", "import time\nopen('held', 'w').close()\ntime.sleep(300)\n");
        let hold = json!({"command": "python3 hold.py"});
        let prompt = format!(
            "Hold. [[usage in=701 out=31 read=53]] {} [[usage in=3 out=7 write=61]] [[tool Bash {hold}]]",
            read_tool(real)
        );
        let held = real.sandbox.workspace().join("held");
        let (first, outcome) = PATIENCES
            .into_iter()
            .find_map(|seconds| {
                let first = real.api.log().len();
                let outcome = run(real, &json!({"name": "a", "prompt": prompt, "timeout": seconds})).expect_code(4);
                held.exists().then_some((first, outcome))
            })
            .expect("the tool runs in one of them");
        let expected = Expected::of(real, "interrupted while a tool runs", real.api.log()[first..].to_vec());
        assert_eq!(expected.asked.len(), 2, "{}", real.dump(&outcome));
        expected.assert_on_the_books(outcome.instance("a"), &outcome);
        expected.assert_certainty(outcome.instance("a"), &outcome);
    });
}

/// The older generations ask again without streaming, and leave what they are served then out of all their totals.
#[test]
fn real_books_of_a_retry() {
    on_each_generation(1, |real| {
        real.api.tell_own_calls_apart();
        let prompt = format!(
            "Try. [[status 529 x2]] [[usage in=203 out=21 read=1009 write=103]] {} [[usage in=5 out=9 read=107]] [[say So.]]",
            read_tool(real)
        );
        let outcome = run(real, &json!({"name": "a", "prompt": prompt})).expect_code(0);
        let dump = real.dump(&outcome);
        let refused = real.api.log().iter().filter(|served| served.outcome == Outcome::Refused(529)).count();
        assert_eq!(refused, 2, "{dump}");
        let expected = Expected::all(real, "refused twice and tried again");
        assert_eq!(expected.asked.len(), 4, "{dump}");
        expected.assert_on_the_books(outcome.instance("a"), &outcome);
        expected.assert_certainty(outcome.instance("a"), &outcome);
    });
}

/// 2.0 warms its subagents up even for an instance that asks for nothing.
#[test]
fn real_books_of_an_instance_that_asked_nothing() {
    on_each_generation(1, |real| {
        real.api.tell_own_calls_apart();
        let outcome = run(real, &json!({"name": "a", "command": "/help"})).expect_code(0);
        let expected = Expected::all(real, "a command of claude itself");
        assert!(expected.asked.is_empty(), "{}", real.dump(&outcome));
        assert_eq!(tokens_of(outcome.instance("a")), TokenCount::default());
        expected.assert_on_the_books(outcome.instance("a"), &outcome);
        expected.assert_certainty(outcome.instance("a"), &outcome);
    });
}

/// claude writes a message of its own between such a message and its last delta.
#[test]
fn real_message_that_was_cut_or_refused_counts_once() {
    on_each_generation(1, |real| {
        for reason in ["max_tokens", "refusal"] {
            let before = real.api.log().len();
            let prompt = format!("[[usage in=5500 out=50]] [[say Half.]] [[stop {reason}]]");
            let outcome = real.run_prompt(&prompt);
            let dump = real.dump(&outcome);
            let cut: Vec<Served> = real.api.log()[before..].to_vec();
            assert!(cut.iter().any(|served| super::total(served.announced) == 5550), "{reason}\n{dump}");
            real.assert_books_balance_since(&outcome, before);
            assert_eq!(outcome.instance("a")["tokens_certainty"], real.certainty(), "{reason}\n{dump}");
        }
    });
}
