//! Random plans and policies.

use std::sync::OnceLock;
use std::time::Duration;

use super::Random;
use crate::claude::capabilities::Capabilities;
use crate::claude::session::Session;
use crate::config::halt::Halt;
use crate::config::{Background, DependencyCondition, Enforcement};
use crate::engine::RunPolicy;
use crate::engine::schedule::LaunchPolicy;
use crate::engine::usage_limit::{self, UsageLimitPolicy};
use crate::plan::result_template::Placeholder;
use crate::plan::{Instance, Plan, RetryPolicy, Turn, planned};

const MAX_INSTANCES: usize = 7;

/// Returns a random plan and policy.
pub(super) fn random(random: &mut Random) -> (Plan, RunPolicy) {
    static BASE: OnceLock<Plan> = OnceLock::new();
    let base = BASE.get_or_init(|| {
        let instances = [r#"{"command": "x"}"#; MAX_INSTANCES].join(",");
        planned(&format!(r#"{{"instances": [{instances}]}}"#))
    });
    let mut plan = base.clone();
    plan.instances.truncate(1 + random.below(MAX_INSTANCES));
    for index in 0..plan.instances.len() {
        vary(&mut plan.instances[index], index, random);
    }
    if random.one_in(2) {
        plan.budget.overall_tokens = Some(500 + random.below(20_000) as u64);
        plan.budget.enforcement = random.one_in(4).then_some(Enforcement::Warn);
    }
    (plan, policy(random))
}

fn vary(instance: &mut Instance, index: usize, random: &mut Random) {
    for other in 0..index {
        if random.one_in(4) {
            let needs_end = random.one_in(3);
            let when = if needs_end { DependencyCondition::Ended } else { DependencyCondition::Completed };
            instance.depends_on.push((other, when));
        }
    }
    if random.one_in(4) {
        let name = ["s", "t"][random.below(2)];
        instance.invocation.session = Some(Session { name: name.to_owned(), uuid: format!("uuid of {name}") });
    }
    let seconds = |random: &mut Random, bound: usize| Duration::from_secs(1 + random.below(bound) as u64);
    instance.retries = RetryPolicy { max_retries: random.below(3) as u32, initial_delay: seconds(random, 9) };
    instance.timeout = seconds(random, 300);
    instance.idle_timeout = if random.one_in(3) { Some(seconds(random, 60)) } else { None };
    instance.startup_timeout = seconds(random, 60);
    instance.background = [Background::Wait, Background::Stop, Background::Fail][random.below(3)];
    instance.background_wait = seconds(random, 60);
    instance.fail_on_denied = random.one_in(3);
    instance.max_tokens = if random.one_in(4) { Some(100 + random.below(3_000) as u64) } else { None };
    if random.one_in(6) {
        instance.invocation.env.insert("HOME".to_owned(), Some("/other".to_owned()));
    }
    for _ in 0..random.below(3) {
        let is_clear = random.one_in(3);
        let (text, command) = if is_clear { ("/clear", Some("clear".to_owned())) } else { ("first", None) };
        let turn = Turn { text: text.to_owned(), command, is_clear, ..Turn::default() };
        instance.turns.insert(0, turn);
    }
    if let (Some(&(other, _)), Some(last)) = (instance.depends_on.first(), instance.turns.last_mut())
        && random.one_in(2)
    {
        last.placeholders = vec![Placeholder { range: 0..last.text.len(), instance: other }];
    }
}

/// Returns a random policy.
pub(super) fn policy(random: &mut Random) -> RunPolicy {
    let on_limit = [UsageLimitPolicy::Wait, UsageLimitPolicy::Stop, UsageLimitPolicy::Fail][random.below(3)];
    let halt = ["soon,fail=1", "now,fail=1", "soon,fail=50%", "now,fail=2"][random.below(4)];
    RunPolicy {
        pace: LaunchPolicy {
            startup_delay: Duration::from_millis([0, 1, 500, 5_000][random.below(4)]),
            max_parallel: [None, Some(1), Some(2), Some(3)][random.below(4)],
        },
        grace: Duration::from_secs(random.below(6) as u64),
        limit_policy: usage_limit::Policy { on_limit, max_wait: Duration::from_secs(60 * random.below(400) as u64) },
        halt: if random.one_in(5) { Halt::parse(halt).ok() } else { None },
        capabilities: Capabilities::newest(),
    }
}
