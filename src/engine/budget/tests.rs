//! Tests of the budget: tables and simulations.

use super::*;
use crate::claude::tokens::Tokens;
use crate::plan::planned;
use proptest::prelude::*;

fn ledger(config: &str) -> Budget {
    let plan = planned(config);
    Budget::new(&plan.budget, &plan.instances, &plan.prices)
}

fn tokens(count: u64) -> Usage {
    Usage { tokens: Tokens { input: count, ..Tokens::default() }, ..Usage::default() }
}

fn micros(micros: u64) -> Usage {
    Usage { micros, ..Usage::default() }
}

/// Requests the next decision and performs it. The wait for a first message is over.
fn next(ledger: &mut Budget, ready: &[usize]) -> Option<(usize, Admission)> {
    next_at(ledger, ready, Duration::MAX)
}

fn next_at(ledger: &mut Budget, ready: &[usize], now: Duration) -> Option<(usize, Admission)> {
    let next = ledger.admit_first(ready.iter().copied(), now);
    match &next {
        Some((instance, Admission::Admit)) => ledger.started(*instance, now),
        Some((instance, Admission::Deny(refusal))) => ledger.refused(*instance, refusal.clone()),
        None => {}
    }
    next
}

fn refuses(instance: usize, why: &str, is_overall: bool) -> Option<(usize, Admission)> {
    Some((instance, Admission::Deny(Denial { reason: why.to_owned(), is_overall })))
}

fn runs_to(ledger: &mut Budget, instance: usize, used: &Usage) {
    ledger.charge(instance, used);
    ledger.ended(instance);
}

const BLOCK: &str = r#"{"budget": {"overall_budget": 10000, "enforcement_mode": "block"}, "instances": [
    {"command": "/help", "max_tokens_per_command": 6000}, {"command": "/help", "max_tokens_per_command": 6000},
    {"command": "/help", "max_tokens_per_command": 3000}]}"#;

#[test]
fn overall_budget_denies_in_the_wording_of_the_seed() {
    let mut ledger = ledger(BLOCK);
    assert_eq!(next(&mut ledger, &[0, 1, 2]), Some((0, Admission::Admit)));
    assert_eq!(next(&mut ledger, &[1]), None, "it waits: the first may still leave it enough");
    runs_to(&mut ledger, 0, &tokens(6000));
    let second = "Estimated 6000 tokens would exceed overall budget of 10000 (currently at 6000)";
    assert_eq!(next(&mut ledger, &[1, 2]), refuses(1, second, true));
    let third = "Overall budget exceeded";
    assert_eq!(next(&mut ledger, &[2]), refuses(2, third, true), "though it would fit");
    assert_eq!(ledger.refusals(), [(1, second.into()), (2, third.into())]);
}

#[test]
fn unused_estimate_is_released_at_the_end() {
    let mut ledger = ledger(BLOCK);
    next(&mut ledger, &[0]);
    runs_to(&mut ledger, 0, &tokens(4000));
    assert_eq!(next(&mut ledger, &[1, 2]), Some((1, Admission::Admit)));
    assert_eq!(next(&mut ledger, &[2]), None);
}

#[test]
fn smaller_instance_may_pass_a_waiting_one_if_enough_is_left() {
    let mut ledger = ledger(
        r#"{"budget": {"overall_budget": 10000, "command_budgets": {"/a": 4000}}, "instances": [
            {"command": "/a", "max_tokens_per_command": 3000}, {"command": "/a", "max_tokens_per_command": 3000},
            {"command": "/b", "max_tokens_per_command": 4000}, {"command": "/b", "max_tokens_per_command": 1000}]}"#,
    );
    assert_eq!(next(&mut ledger, &[0, 1, 2, 3]), Some((0, Admission::Admit)));
    assert_eq!(
        next(&mut ledger, &[1, 2, 3]),
        Some((2, Admission::Admit)),
        "3000 and 3000 kept for the one before, and 4000"
    );
    assert_eq!(next(&mut ledger, &[1, 3]), None);
}

#[test]
fn command_budget_sums_all_instances_of_the_command() {
    let mut ledger = ledger(
        r#"{"budget": {"command_budgets": {"/analyze-code": 10000}}, "instances": [
            {"command": "/analyze-code a", "max_tokens_per_command": 4000},
            {"command": "/analyze-code", "max_tokens_per_command": 4000},
            {"command": "/analyze-code", "max_tokens_per_command": 4000}, {"command": "/help"}]}"#,
    );
    for instance in [0, 1] {
        assert_eq!(next(&mut ledger, &[instance]), Some((instance, Admission::Admit)));
    }
    assert_eq!(next(&mut ledger, &[2]), None);
    runs_to(&mut ledger, 0, &tokens(4000));
    runs_to(&mut ledger, 1, &tokens(4000));
    let why = "Estimated 4000 tokens would exceed /analyze-code budget of 10000 (currently at 8000)";
    assert_eq!(next(&mut ledger, &[2, 3]), refuses(2, why, false));
    assert_eq!(next(&mut ledger, &[3]), Some((3, Admission::Admit)), "a command's budget is nobody else's");
}

#[test]
fn retry_is_expected_to_use_the_rest_of_the_own_estimate() {
    let mut ledger = ledger(BLOCK);
    next(&mut ledger, &[0]);
    runs_to(&mut ledger, 0, &tokens(5000));
    assert_eq!(next(&mut ledger, &[0]), Some((0, Admission::Admit)), "1000 of its 6000 are left, and 5000 of all");
    assert_eq!(next(&mut ledger, &[2]), Some((2, Admission::Admit)), "1000 and 3000 fit beside the 5000");
}

#[test]
fn dollar_estimate_of_a_retry_is_proportional_to_its_tokens() {
    let mut ledger = ledger(
        r#"{"budget": {"overall_cost_budget": 1.3}, "instances": [
            {"command": "/a", "max_tokens_per_command": 60000}, {"command": "/b", "max_tokens_per_command": 60000}]}"#,
    );
    assert_eq!(ledger.accounts[0].estimate.micros, 468_000);
    next(&mut ledger, &[0]);
    // A model with a higher price than estimated: $0.78 for a third of the tokens.
    runs_to(&mut ledger, 0, &Usage { micros: 780_000, ..tokens(20_000) });
    assert_eq!(ledger.accounts[0].expected(None), Amounts { tokens: 40_000, micros: 312_000 });
    assert_eq!(next(&mut ledger, &[0]), Some((0, Admission::Admit)));
    assert_eq!(next(&mut ledger, &[1]), None, "$0.78, $0.31 and $0.47 are more than $1.30");
}

#[test]
fn retry_without_an_own_estimate_is_expected_to_use_as_much_again() {
    let mut ledger = ledger(r#"{"budget": {"overall_budget": 2500}, "instances": [{"command": "/a"}]}"#);
    next(&mut ledger, &[0]);
    runs_to(&mut ledger, 0, &tokens(2000));
    let why = "Estimated 1000 tokens would exceed overall budget of 2500 (currently at 2000)";
    assert_eq!(next(&mut ledger, &[0]), refuses(0, why, true));
}

#[test]
fn denial_by_a_command_budget_affects_no_other_instance() {
    let mut ledger = ledger(
        r#"{"budget": {"overall_cost_budget": 1, "command_budgets": {"/a": 500}},
            "instances": [{"command": "/b"}, {"command": "/a"}, {"command": "/b"}]}"#,
    );
    next(&mut ledger, &[0]);
    ledger.charge(0, &micros(999_000)); // an estimate: it may turn out too high
    let why = "Estimated 1000 tokens would exceed /a budget of 500 (currently at 0)";
    assert_eq!(next(&mut ledger, &[1, 2]), refuses(1, why, false));
    assert_eq!(next(&mut ledger, &[2]), None, "it waits for the first");
    runs_to(&mut ledger, 0, &micros(400_000));
    assert_eq!(next(&mut ledger, &[2]), Some((2, Admission::Admit)));
}

#[test]
fn dollar_estimate_is_60_percent_input_and_40_percent_output() {
    let mut ledger = ledger(
        r#"{"budget": {"overall_cost_budget": 5.0, "budget_type": "cost"}, "instances": [
            {"command": "/help", "max_tokens_per_command": 20000}, {"command": "/help", "max_tokens_per_command": 20000}]}"#,
    );
    // 12,000 tokens at $3 and 8,000 at $15 per million.
    assert_eq!(ledger.accounts[0].estimate.micros, 36_000 + 120_000);
    next(&mut ledger, &[0]);
    ledger.charge(0, &micros(4_950_000));
    assert_eq!(next(&mut ledger, &[1]), None, "an estimate may turn out too high");
    runs_to(&mut ledger, 0, &micros(4_900_000));
    let why = "Estimated $0.16 would exceed overall cost budget of $5.00 (currently at $4.90)";
    assert_eq!(next(&mut ledger, &[1]), refuses(1, why, true));
}

#[test]
fn reached_limit_lists_its_running_members_once() {
    let mut ledger = ledger(
        r#"{"budget": {"overall_budget": 10000}, "instances": [{"command": "/a"}, {"command": "/b"}, {"command": "/c"}]}"#,
    );
    for instance in 0..3 {
        next(&mut ledger, &[instance]);
    }
    ledger.ended(2);
    assert_eq!(ledger.charge(0, &tokens(9_999)), []);
    let what = "Overall budget reached: 10,000 / 10,000 tokens".to_owned();
    assert_eq!(ledger.charge(1, &tokens(1)), [LimitReached { message: what, is_own: false, stop: vec![0, 1] }]);
    assert_eq!(ledger.charge(1, &tokens(500)), [], "said once");
}

#[test]
fn limit_reached_by_an_estimate_can_be_reached_again() {
    let mut ledger =
        ledger(r#"{"budget": {"overall_cost_budget": 5}, "instances": [{"command": "/a"}, {"command": "/b"}]}"#);
    next(&mut ledger, &[0]);
    next(&mut ledger, &[1]);
    assert_eq!(ledger.charge(0, &micros(5_100_000)).len(), 1);
    assert_eq!(ledger.charge(0, &micros(4_000_000)), [], "claude says that it was less");
    let reached = ledger.charge(1, &micros(1_200_000));
    assert_eq!(reached.len(), 1);
    assert_eq!(reached[0].stop, [0, 1]);
}

#[test]
fn own_estimate_limits_the_instance_if_there_is_a_budget() {
    let mut with = ledger(
        r#"{"budget": {"overall_budget": 10000}, "instances": [
            {"command": "/a", "max_tokens_per_command": 100}, {"command": "/b"}]}"#,
    );
    next(&mut with, &[0]);
    next(&mut with, &[1]);
    let reached = with.charge(0, &tokens(120));
    assert_eq!(reached.len(), 1);
    assert_eq!(reached[0].stop, [0]);
    let mut without = ledger(r#"{"instances": [{"command": "/a", "max_tokens_per_command": 100}]}"#);
    next(&mut without, &[0]);
    assert_eq!(without.charge(0, &tokens(120)), []);
}

#[test]
fn warn_mode_reports_each_limit_once_and_stops_no_instance() {
    let mut ledger = ledger(
        r#"{"budget": {"overall_budget": 100, "enforcement_mode": "warn"}, "instances": [
            {"command": "/a", "max_tokens_per_command": 6000}, {"command": "/b"}]}"#,
    );
    assert_eq!(next(&mut ledger, &[0, 1]), Some((0, Admission::Admit)));
    let reached = ledger.charge(0, &tokens(150));
    assert_eq!(
        reached,
        [LimitReached { message: "Overall budget exceeded: 150 / 100 tokens".into(), is_own: false, stop: vec![] }]
    );
    assert_eq!(ledger.charge(0, &tokens(160)), []);
    assert_eq!(next(&mut ledger, &[1]), Some((1, Admission::Admit)));
}

#[test]
fn budget_type_selects_limits_and_token_basis_selects_tokens() {
    let config = |kind: &str| {
        format!(
            r#"{{"budget": {{"overall_budget": 100, "overall_cost_budget": 1, "budget_type": "{kind}",
                "token_basis": "uncached"}}, "instances": [{{"command": "/a"}}]}}"#
        )
    };
    let units = |kind: &str| ledger(&config(kind)).limits().iter().map(|l| l.unit).collect::<Vec<_>>();
    assert_eq!(units("tokens"), [Unit::Tokens]);
    assert_eq!(units("cost"), [Unit::Micros]);
    assert_eq!(units("mixed"), [Unit::Tokens, Unit::Micros]);
    let mut ledger = ledger(&config("mixed"));
    let cached = Tokens { input: 10, cache_read: 1_000, ..Tokens::default() };
    ledger.charge(0, &Usage { tokens: cached, ..Usage::default() });
    assert_eq!(ledger.limits()[0].used, 10);
}

fn model_use(count: u64) -> ModelUsage {
    ModelUsage { tokens: Tokens { input: count, ..Tokens::default() }, micros: 0 }
}

/// Reports a first message of this size.
fn speaks(ledger: &mut Budget, instance: usize, count: u64) {
    ledger.first_message(instance, &model_use(count));
    ledger.charge(instance, &tokens(count));
}

const NOTHING_ANNOUNCED: &str = r#"{"budget": {"overall_budget": 50000}, "instances": [
    {"command": "/a"}, {"command": "/a"}, {"command": "/a"}, {"command": "/a"}, {"command": "/a"}]}"#;

#[test]
fn launches_without_an_estimate_wait_for_a_first_message() {
    let mut ledger = ledger(NOTHING_ANNOUNCED);
    let at = Duration::from_secs;
    assert_eq!(next_at(&mut ledger, &[0, 1], at(0)), Some((0, Admission::Admit)));
    assert_eq!(next_at(&mut ledger, &[1], at(19)), None);
    assert_eq!(ledger.first_message_due(at(19)), Some(at(20)));
    assert_eq!(next_at(&mut ledger, &[1, 2], at(20)), Some((1, Admission::Admit)), "one that hangs stops no other");
    assert_eq!(next_at(&mut ledger, &[2], at(39)), None, "one for each wait");
    speaks(&mut ledger, 1, 12_700);
    assert_eq!(ledger.first_message_due(at(39)), None);
    assert_eq!(next_at(&mut ledger, &[2, 3], at(39)), Some((2, Admission::Admit)));
    // 12,700 used, and as much for each of the two without a first message.
    assert_eq!(ledger.limits[0].committed, 25_400);
    assert_eq!(next_at(&mut ledger, &[3, 4], at(39)), None, "50,800 would be over");
    speaks(&mut ledger, 0, 12_700);
    speaks(&mut ledger, 2, 12_700);
    let why = "Estimated 12700 tokens would exceed overall budget of 50000 (currently at 38100)";
    assert_eq!(next_at(&mut ledger, &[3, 4], at(39)), refuses(3, why, true));
}

#[test]
fn no_wait_without_a_limit_or_a_running_instance() {
    let at = Duration::from_secs(1);
    for budget in ["", r#""budget": {"overall_budget": 50000, "enforcement_mode": "warn"},"#] {
        let mut ledger = ledger(&format!(r#"{{{budget} "instances": [{{"command": "/a"}}, {{"command": "/b"}}]}}"#));
        for instance in [0, 1] {
            assert_eq!(next_at(&mut ledger, &[instance], at), Some((instance, Admission::Admit)), "{budget}");
        }
    }
    let mut ledger = ledger(NOTHING_ANNOUNCED);
    next_at(&mut ledger, &[0], at);
    ledger.ended(0);
    assert_eq!(next_at(&mut ledger, &[1], at), Some((1, Admission::Admit)), "it ended without a message");
}

#[test]
fn own_estimate_causes_no_wait_and_is_not_replaced() {
    let mut ledger = ledger(
        r#"{"budget": {"overall_budget": 50000}, "instances": [
            {"command": "/a"}, {"command": "/a", "max_tokens_per_command": 3000}, {"command": "/a"}]}"#,
    );
    let at = Duration::ZERO;
    assert_eq!(next_at(&mut ledger, &[0], at), Some((0, Admission::Admit)));
    assert_eq!(next_at(&mut ledger, &[1, 2], at), Some((1, Admission::Admit)));
    assert_eq!(ledger.limits[0].committed, 1000 + 3000);
    speaks(&mut ledger, 0, 20_000);
    assert_eq!(ledger.limits[0].committed, 3000);
    next_at(&mut ledger, &[2], at);
    assert_eq!(ledger.limits[0].committed, 3000 + 20_000);
}

#[test]
fn estimate_from_an_earlier_run_delays_but_does_not_deny() {
    let at = Duration::ZERO;
    let mut ledger = ledger(NOTHING_ANNOUNCED);
    for (instance, used) in [(0, 30_000), (1, 30_000), (2, 2_000), (3, 70_000)] {
        ledger.expect_as_before(instance, &model_use(used));
    }
    assert_eq!(next_at(&mut ledger, &[0, 1, 2], at), Some((0, Admission::Admit)));
    assert_eq!(next_at(&mut ledger, &[1, 2, 3], at), None, "30,000 are reserved for each");
    speaks(&mut ledger, 0, 12_700);
    runs_to(&mut ledger, 0, &tokens(20_000));
    assert_eq!(next_at(&mut ledger, &[1, 2, 3], at), Some((1, Admission::Admit)));
    runs_to(&mut ledger, 1, &tokens(30_000));
    assert_eq!(ledger.limits[0].used, 50_000);
    let mut ledger = self::ledger(NOTHING_ANNOUNCED);
    ledger.expect_as_before(3, &model_use(70_000));
    assert_eq!(next_at(&mut ledger, &[3], at), Some((3, Admission::Admit)), "nothing runs that could leave it more");
    ledger.ended(3);
    speaks(&mut ledger, 0, 40_000);
    ledger.expect_as_before(2, &model_use(2_000));
    assert_eq!(next_at(&mut ledger, &[2], at), Some((2, Admission::Admit)), "it is known to use less than the largest");
    let why = "Estimated 40000 tokens would exceed overall budget of 50000 (currently at 40000)";
    assert_eq!(next_at(&mut ledger, &[4], at), refuses(4, why, true));
}

#[test]
fn learned_estimates_follow_the_token_basis() {
    let mut ledger = ledger(
        r#"{"budget": {"overall_cost_budget": 1, "overall_budget": 5000, "token_basis": "uncached"}, "instances": [
            {"command": "/a"}, {"command": "/a"}]}"#,
    );
    next(&mut ledger, &[0]);
    let tokens = Tokens { input: 3000, cache_read: 90_000, ..Tokens::default() };
    ledger.first_message(0, &ModelUsage { tokens, micros: 600_000 });
    ledger.charge(0, &Usage { tokens, micros: 600_000, ..Usage::default() });
    ledger.ended(0);
    let why = "Estimated 3000 tokens would exceed overall budget of 5000 (currently at 3000)";
    assert_eq!(next(&mut ledger, &[1]), refuses(1, why, true));
    assert_eq!(ledger.largest_first, Some(Amounts { tokens: 3000, micros: 600_000 }));
}

#[test]
fn only_block_mode_reports_an_exceeded_limit() {
    for (mode, expected) in [("block", true), ("warn", false)] {
        let mut ledger = ledger(&format!(
            r#"{{"budget": {{"command_budgets": {{"/a": 5000}}, "enforcement_mode": "{mode}"}},
                "instances": [{{"command": "/a"}}, {{"command": "/b", "max_tokens_per_command": 10}}]}}"#
        ));
        next(&mut ledger, &[0]);
        runs_to(&mut ledger, 0, &tokens(5000));
        runs_to(&mut ledger, 1, &tokens(100));
        assert!(!ledger.is_exceeded(), "{mode}");
        runs_to(&mut ledger, 0, &tokens(5001));
        assert_eq!(ledger.is_exceeded(), expected, "{mode}");
    }
}

/// Identical instances without an own estimate, each of one message: after the first message, the limit is never
/// exceeded.
#[test]
fn random_runs_of_equal_single_messages_stay_within_the_limit() {
    for seed in 0..500 {
        let mut random = Random(seed);
        let (count, size, cap) = (1 + random.below(12) as usize, 1 + random.below(9_000), 1 + random.below(40_000));
        let instances = vec![r#"{"command": "/a"}"#; count].join(",");
        let mut ledger = ledger(&format!(r#"{{"budget": {{"overall_budget": {cap}}}, "instances": [{instances}]}}"#));
        let (mut ready, mut running): (Vec<usize>, Vec<usize>) = ((0..count).collect(), Vec::new());
        while !ready.is_empty() || !running.is_empty() {
            while let Some((instance, answer)) = next_at(&mut ledger, &ready, Duration::ZERO) {
                ready.retain(|&i| i != instance);
                running.extend((answer == Admission::Admit).then_some(instance));
            }
            assert!(!running.is_empty() || ready.is_empty(), "seed {seed}: something waits without end");
            if running.is_empty() {
                break;
            }
            let instance = running.swap_remove(random.below(running.len() as u64) as usize);
            speaks(&mut ledger, instance, size);
            ledger.ended(instance);
        }
        let used = ledger.limits[0].used;
        assert!(used <= cap.max(size), "seed {seed}: {used} of {cap}, {size} each");
    }
}

/// Simulates random instances with random messages in random order, under random limits, by the rules of a run: an
/// admitted instance starts, and a reached limit stops its members after their current message.
fn simulate(seed: u64) -> Result<(), TestCaseError> {
    let mut random = Random(seed);
    let count = 1 + random.below(7) as usize;
    let cap = 1 + random.below(5_000);
    let command_cap = 1 + random.below(3_000);
    let announces = random.below(3);
    let instances: Vec<String> = (0..count)
        .map(|i| {
            let estimate = 1 + random.below(1_500.min(cap).min(command_cap));
            let announced =
                if announces == 0 { String::new() } else { format!(r#", "max_tokens_per_command": {estimate}"#) };
            format!(r#"{{"name": "{i}", "command": "/{}"{announced}}}"#, ["a", "b"][random.below(2) as usize])
        })
        .collect();
    let by_command = random.below(2) == 1;
    let budgets = if by_command { format!(r#", "command_budgets": {{"/a": {command_cap}}}"#) } else { String::new() };
    let config =
        format!(r#"{{"budget": {{"overall_budget": {cap}{budgets}}}, "instances": [{}]}}"#, instances.join(","));
    let mut ledger = ledger(&config);
    let mut now = Duration::ZERO;
    for instance in 0..count {
        if random.below(4) == 0 {
            ledger.expect_as_before(instance, &model_use(1 + random.below(4_000)));
        }
    }
    let mut left: Vec<u64> = (0..count).map(|_| 1 + random.below(5)).collect(); // remaining messages
    let mut used = vec![0_u64; count];
    let mut under_way: Vec<Option<u64>> = vec![None; count];
    let mut ready: Vec<usize> = (0..count).collect();
    let mut running: Vec<usize> = Vec::new();
    let mut is_ending = vec![false; count];
    let mut largest_at_the_end = 0_u64;
    loop {
        while let Some((instance, answer)) = next_at(&mut ledger, &ready, now) {
            ready.retain(|&i| i != instance);
            if answer == Admission::Admit {
                running.push(instance);
                under_way[instance] = Some(1 + random.below(900));
                let is_alone = running.len() == 1;
                let shared = ledger.accounts[instance].limits.iter().map(|&l| &ledger.limits[l]);
                for limit in shared.filter(|limit| !matches!(limit.scope, Scope::Instance(_))) {
                    let fits = limit.used + limit.committed <= limit.cap;
                    prop_assert!(fits || is_alone || limit.running == 1, "more committed than there is");
                }
            }
        }
        for limit in ledger.limits.iter().filter(|limit| !matches!(limit.scope, Scope::Instance(_))) {
            let estimates: u64 = limit.members.iter().map(|&m| ledger.accounts[m].committed(Unit::Tokens)).sum();
            prop_assert_eq!(limit.committed, estimates);
            let sum: u64 = limit.members.iter().map(|&m| used[m]).sum();
            prop_assert_eq!(limit.used, sum, "the books balance");
        }
        if running.is_empty() {
            prop_assert!(ready.is_empty(), "somebody waits for ever");
            break;
        }
        // A running instance finishes its message.
        let instance = running[random.below(running.len() as u64) as usize];
        let message = under_way[instance].take().expect("a running one writes");
        let messages_beside: u64 = running.iter().filter_map(|&i| under_way[i]).sum();
        if used[instance] == 0 {
            ledger.first_message(instance, &model_use(message));
        }
        used[instance] += message;
        left[instance] -= 1;
        for reached in ledger.charge(instance, &tokens(used[instance])) {
            for i in reached.stop {
                is_ending[i] = true;
            }
            largest_at_the_end = largest_at_the_end.max(message + messages_beside);
        }
        if left[instance] == 0 || is_ending[instance] {
            running.retain(|&i| i != instance);
            ledger.ended(instance);
        } else {
            under_way[instance] = Some(1 + random.below(900));
        }
        if random.below(8) == 0 {
            now += FIRST_MESSAGE_WAIT;
        }
        let total: u64 = used.iter().sum();
        prop_assert!(total < cap + largest_at_the_end.max(1), "{total} of {cap}, {largest_at_the_end} under way");
    }
    Ok(())
}

/// Pseudorandom generator of the tests: a seed gives the same run on every machine and with every library version.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

#[test]
fn random_runs_never_overshoot_by_more_than_the_messages_under_way() {
    for seed in 0..3_000 {
        simulate(seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

/// The same test with a million runs, for `make soak`.
#[test]
#[ignore = "long"]
fn a_million_random_runs() {
    for seed in 0..1_000_000 {
        simulate(seed).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}
