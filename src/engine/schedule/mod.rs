//! Launch order: dependencies, sessions, slots and the delay between launches.
//!
//! Pure: takes the time, the starts and the ends as arguments; returns the instances that are ready and the time of the
//! next check. `Budget::admit_first` picks among them.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::config::DependencyCondition;
use crate::plan::{Instance, waits_for};

/// Limits on launches.
#[derive(Clone, Copy, Debug)]
pub struct LaunchPolicy {
    /// Minimum delay between launches: parallel starts of claude race on its own files.
    pub startup_delay: Duration,
    /// Maximum number of running instances; `None` for no limit.
    pub max_parallel: Option<usize>,
}

/// Instance that will never start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skip {
    /// Index of the instance.
    pub instance: usize,
    /// Index of the dependency that did not complete.
    pub cause: usize,
}

/// Queue of the instances that have not ended, with their dependencies.
#[derive(Debug)]
pub struct Schedule {
    pace: LaunchPolicy,
    /// Number of instances that each one waits for.
    blockers: Vec<usize>,
    /// Dependents of each instance.
    followers: Vec<Vec<Dependent>>,
    /// Instance before each one in its session, if any.
    session_before: Vec<Option<usize>>,
    state: Vec<State>,
    /// Instances that wait for no other, in config order.
    ready: BTreeSet<usize>,
    /// Retried and deferred instances, with the end of their delay.
    delayed: BTreeSet<(Duration, usize)>,
    running: usize,
    /// Number of instances that have not ended.
    open: usize,
    /// Earliest time of the next launch, by the delay between launches.
    next_launch: Duration,
    /// End of the pause of all launches.
    paused_until: Duration,
    stopped: bool,
}

#[derive(Clone, Copy, Debug)]
struct Dependent {
    instance: usize,
    /// True if it starts only if the dependency has completed.
    needs_completed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Waiting,
    Running,
    Ended,
}

impl Schedule {
    /// Returns a schedule with all instances waiting; the first launch may happen at once.
    #[must_use]
    pub fn new(instances: &[Instance], pace: LaunchPolicy) -> Self {
        let waits_for = waits_for(instances);
        let mut followers = vec![Vec::new(); instances.len()];
        for (i, others) in waits_for.iter().enumerate() {
            for &other in others {
                let needs_completed = instances[i].depends_on.contains(&(other, DependencyCondition::Completed));
                followers[other].push(Dependent { instance: i, needs_completed });
            }
        }
        let blockers: Vec<usize> = waits_for.iter().map(Vec::len).collect();
        let mut ready = BTreeSet::new();
        ready.extend((0..instances.len()).filter(|&i| blockers[i] == 0));
        Schedule {
            pace,
            blockers,
            followers,
            session_before: session_order(instances),
            state: vec![State::Waiting; instances.len()],
            ready,
            delayed: BTreeSet::new(),
            running: 0,
            open: instances.len(),
            next_launch: Duration::ZERO,
            paused_until: Duration::ZERO,
            stopped: false,
        }
    }

    /// Returns the instances that may start at `now`, in config order.
    pub fn ready(&mut self, now: Duration) -> impl Iterator<Item = usize> {
        while let Some((_, instance)) = self.delayed.first().copied().filter(|&(at, _)| at <= now) {
            self.delayed.pop_first();
            self.ready.insert(instance);
        }
        let is_time = self.next_start_at().is_some_and(|at| at <= now);
        self.ready.iter().copied().take(if is_time { usize::MAX } else { 0 })
    }

    /// Returns the time at which [`ready`](Self::ready) returns an instance, unless another one ends earlier.
    #[must_use]
    pub fn next_start_at(&self) -> Option<Duration> {
        let has_slot = self.pace.max_parallel.is_none_or(|max| self.running < max);
        let at = if self.ready.is_empty() { self.next_deferred_at()? } else { Duration::ZERO };
        (has_slot && !self.stopped).then_some(at.max(self.next_launch).max(self.paused_until))
    }

    /// Returns the earliest end of a delay, of a retry or a deferred start.
    #[must_use]
    pub fn next_deferred_at(&self) -> Option<Duration> {
        self.delayed.first().map(|&(at, _)| at)
    }

    /// Marks an instance as started at `now`.
    pub fn started(&mut self, instance: usize, now: Duration) {
        self.ready.remove(&instance);
        self.state[instance] = State::Running;
        self.running += 1;
        self.next_launch = now + self.pace.startup_delay;
    }

    /// Starts no instance before this time.
    pub fn pause_until(&mut self, at: Duration) {
        self.paused_until = self.paused_until.max(at);
    }

    /// If launches are paused until `from`, changes the end of the pause to `to`.
    pub fn move_hold(&mut self, from: Duration, to: Duration) {
        if self.paused_until == from {
            self.paused_until = to;
        }
    }

    /// Moves the end of an instance's delay from `from` to `to`.
    pub fn move_delay(&mut self, instance: usize, from: Duration, to: Duration) {
        if self.delayed.remove(&(from, instance)) {
            self.delayed.insert((to, instance));
        }
    }

    /// Schedules another start of a running instance that has ended, at `at` or later. Until then it occupies no slot,
    /// and its dependents keep waiting.
    pub fn retry_at(&mut self, instance: usize, at: Duration) {
        self.state[instance] = State::Waiting;
        self.running -= 1;
        self.delayed.insert((at, instance));
    }

    /// Defers a ready instance until `at`. Other instances are not affected.
    pub fn defer_until(&mut self, instance: usize, at: Duration) {
        if self.ready.remove(&instance) {
            self.delayed.insert((at, instance));
        }
    }

    /// Marks an instance as ended or never to start. Returns the instances that are skipped because of it.
    pub fn ended(&mut self, instance: usize, completed: bool) -> Vec<Skip> {
        let mut skipped = Vec::new();
        let mut ended = vec![(instance, completed)];
        while let Some((instance, completed)) = ended.pop() {
            if self.state[instance] == State::Ended {
                continue;
            }
            if self.state[instance] == State::Running {
                self.running -= 1;
            }
            let before = self.open_before(instance);
            self.session_before[instance] = before;
            self.state[instance] = State::Ended;
            self.open -= 1;
            if !self.ready.remove(&instance) {
                self.delayed.retain(|&(_, delayed)| delayed != instance);
            }
            for follower in self.followers[instance].clone() {
                if self.state[follower.instance] != State::Waiting {
                    continue;
                }
                if follower.needs_completed && !completed {
                    self.blockers[follower.instance] -= 1;
                    skipped.push(Skip { instance: follower.instance, cause: instance });
                    ended.push((follower.instance, false));
                    continue;
                }
                if let Some(before) = before
                    && self.session_before[follower.instance] == Some(instance)
                    && self.wait_instead(follower.instance, before)
                {
                    continue;
                }
                self.blockers[follower.instance] -= 1;
                if self.blockers[follower.instance] == 0 {
                    self.ready.insert(follower.instance);
                }
            }
        }
        skipped
    }

    /// Returns the last instance before this one in its session that has not ended.
    ///
    /// There is one only if the instance itself never started.
    fn open_before(&self, instance: usize) -> Option<usize> {
        let mut before = self.session_before[instance];
        while let Some(other) = before
            && self.state[other] == State::Ended
        {
            before = self.session_before[other];
        }
        before
    }

    /// Makes an instance wait for `before`, which still uses the session, in place of one that ended without a start.
    ///
    /// Returns false if it waits for `before` already.
    fn wait_instead(&mut self, instance: usize, before: usize) -> bool {
        self.session_before[instance] = Some(before);
        if self.followers[before].iter().any(|follower| follower.instance == instance) {
            return false;
        }
        self.followers[before].push(Dependent { instance, needs_completed: false });
        true
    }

    /// Prevents all further starts. Returns the instances that would have started.
    pub fn stop(&mut self) -> Vec<usize> {
        self.stopped = true;
        self.ready.clear();
        self.delayed.clear();
        self.waiting()
    }

    /// Returns the instances that have not started, or wait for another attempt.
    #[must_use]
    pub fn waiting(&self) -> Vec<usize> {
        (0..self.state.len()).filter(|&i| self.state[i] == State::Waiting).collect()
    }

    /// Returns true if all instances have ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.open == 0
    }
}

/// Returns the instance before each one in its session, in config order.
fn session_order(instances: &[Instance]) -> Vec<Option<usize>> {
    let mut last: HashMap<&str, usize> = HashMap::new();
    let mut order = Vec::with_capacity(instances.len());
    for (index, instance) in instances.iter().enumerate() {
        let session = instance.invocation.session.as_ref();
        order.push(session.and_then(|session| last.insert(&session.uuid, index)));
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::planned;
    use proptest::prelude::*;

    fn instances(text: &str) -> Vec<Instance> {
        planned(text).instances
    }

    fn schedule(text: &str, delay_s: u64, max_parallel: Option<usize>) -> Schedule {
        Schedule::new(&instances(text), LaunchPolicy { startup_delay: Duration::from_secs(delay_s), max_parallel })
    }

    const fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    impl Schedule {
        fn due(&mut self, now: Duration) -> Option<usize> {
            self.ready(now).next()
        }
    }

    const THREE: &str = r#"{"instances": [{"name": "a", "command": "x"}, {"name": "b", "command": "x"},
        {"name": "c", "command": "x"}]}"#;

    #[test]
    fn instance_i_starts_after_i_startup_delays() {
        let mut schedule = schedule(THREE, 5, None);
        for (i, start) in [(0, at(0)), (1, at(5)), (2, at(10))] {
            assert_eq!(schedule.next_start_at(), Some(start));
            if i > 0 {
                assert_eq!(schedule.due(start - Duration::from_millis(1)), None);
            }
            assert_eq!(schedule.due(start), Some(i));
            schedule.started(i, start);
        }
        assert_eq!(schedule.next_start_at(), None);
        assert!(!schedule.is_finished());
    }

    #[test]
    fn max_parallel_limits_running_instances() {
        let mut schedule = schedule(THREE, 0, Some(2));
        schedule.started(0, at(0));
        schedule.started(1, at(0));
        assert_eq!(schedule.due(at(100)), None);
        assert_eq!(schedule.ended(1, false), []);
        assert_eq!(schedule.due(at(100)), Some(2));
    }

    #[test]
    fn failure_skips_exactly_the_dependents_that_need_completion() {
        let mut schedule = schedule(
            r#"{"instances": [{"name": "a", "command": "x"}, {"name": "b", "command": "x", "depends_on": ["a"]},
                {"name": "c", "command": "x", "depends_on": ["b"]}, {"name": "d", "command": "x"},
                {"name": "e", "command": "x", "depends_on": [{"name": "c", "when": "done"}, "d"]}]}"#,
            0,
            None,
        );
        schedule.started(0, at(0));
        let skipped = schedule.ended(0, false);
        assert_eq!(skipped, [Skip { instance: 1, cause: 0 }, Skip { instance: 2, cause: 1 }]);
        assert_eq!(schedule.due(at(0)), Some(3));
        schedule.started(3, at(0));
        assert_eq!(schedule.due(at(0)), None);
        schedule.ended(3, true);
        assert_eq!(schedule.due(at(0)), Some(4), "what waits for an end does not need a completion");
    }

    #[test]
    fn instances_of_one_session_run_one_after_another() {
        let mut schedule = schedule(
            r#"{"instances": [{"name": "a", "command": "x", "session_id": "s"},
                {"name": "b", "command": "x", "session_id": "s"}, {"name": "c", "command": "x"}]}"#,
            0,
            None,
        );
        schedule.started(0, at(0));
        assert_eq!(schedule.due(at(0)), Some(2), "whatever else runs beside them");
        schedule.started(2, at(0));
        assert_eq!(schedule.due(at(9)), None);
        assert_eq!(schedule.ended(0, false), []);
        assert_eq!(schedule.due(at(9)), Some(1));
    }

    #[test]
    fn session_stays_exclusive_when_an_instance_between_two_others_never_starts() {
        let four = r#"{"instances": [{"name": "a", "command": "x", "session_id": "s"},
            {"name": "b", "command": "x", "session_id": "s"}, {"name": "c", "command": "x", "session_id": "s"},
            {"name": "d", "command": "x", "session_id": "s"}]}"#;
        for order in [[1, 2], [2, 1]] {
            let mut schedule = schedule(four, 0, None);
            schedule.started(0, at(0));
            for never_started in order {
                schedule.ended(never_started, false);
                assert_eq!(schedule.due(at(9)), None, "the first instance still uses the session");
            }
            schedule.ended(0, true);
            assert_eq!(schedule.due(at(9)), Some(3));
        }
    }

    #[test]
    fn retry_delay_occupies_no_slot_and_keeps_dependents_waiting() {
        let mut schedule = schedule(
            r#"{"instances": [{"name": "a", "command": "x", "session_id": "s"},
                {"name": "b", "command": "x", "session_id": "s"}, {"name": "c", "command": "x", "depends_on": ["a"]},
                {"name": "d", "command": "x"}, {"name": "e", "command": "x"}]}"#,
            2,
            Some(1),
        );
        schedule.started(0, at(0));
        assert_eq!(schedule.next_start_at(), None, "one slot");
        schedule.retry_at(0, at(10));
        assert_eq!((schedule.next_start_at(), schedule.next_deferred_at()), (Some(at(2)), Some(at(10))));
        assert_eq!(schedule.due(at(2)), Some(3), "neither its session nor its dependent");
        schedule.started(3, at(2));
        schedule.ended(3, true);
        schedule.started(4, at(9));
        assert_eq!(schedule.due(at(10)), None, "the slot is taken");
        schedule.ended(4, true);
        assert_eq!((schedule.next_start_at(), schedule.due(at(11))), (Some(at(11)), Some(0)), "launches stay apart");
        schedule.started(0, at(11));
        schedule.retry_at(0, at(30));
        assert_eq!((schedule.next_start_at(), schedule.due(at(29))), (Some(at(30)), None));
        assert_eq!(schedule.stop(), [0, 1, 2]);
        assert_eq!((schedule.next_start_at(), schedule.next_deferred_at()), (None, None));
        for instance in 0..3 {
            schedule.ended(instance, false);
        }
        assert!(schedule.is_finished());
    }

    #[test]
    fn deferred_instance_occupies_no_slot_and_delays_no_other() {
        let mut schedule = schedule(THREE, 5, Some(1));
        assert_eq!(schedule.due(at(0)), Some(0));
        schedule.defer_until(0, at(1));
        assert_eq!((schedule.due(at(0)), schedule.next_deferred_at()), (Some(1), Some(at(1))));
        schedule.defer_until(1, at(1));
        schedule.defer_until(2, at(1));
        assert_eq!((schedule.due(at(0)), schedule.next_start_at()), (None, Some(at(1))));
        assert_eq!(schedule.due(at(1)), Some(0), "its place in the order is kept");
        schedule.started(0, at(1));
        assert_eq!(schedule.next_start_at(), None, "nobody is asked for where there is no slot");
        schedule.ended(0, true);
        assert_eq!((schedule.due(at(2)), schedule.next_start_at()), (None, Some(at(6))), "launches stay apart");
        schedule.ready(at(6)).next();
        schedule.defer_until(1, at(7));
        assert_eq!(schedule.ended(1, false), []);
        assert_eq!(schedule.stop(), [2]);
        schedule.ended(2, false);
        assert!(schedule.is_finished());
    }

    #[test]
    fn no_launch_while_launches_are_paused() {
        let mut schedule = schedule(THREE, 5, None);
        schedule.started(0, at(0));
        schedule.pause_until(at(3600));
        schedule.pause_until(at(60));
        schedule.retry_at(0, at(3600));
        assert_eq!((schedule.next_start_at(), schedule.due(at(3599))), (Some(at(3600)), None));
        assert_eq!(schedule.due(at(3600)), Some(0));
        schedule.started(0, at(3600));
        assert_eq!(schedule.next_start_at(), Some(at(3605)), "launches stay apart");
    }

    #[test]
    fn stop_returns_the_instances_that_never_started() {
        let mut schedule = schedule(THREE, 5, None);
        schedule.started(0, at(0));
        assert_eq!(schedule.stop(), [1, 2]);
        assert_eq!(schedule.next_start_at(), None);
    }

    proptest! {
        /// Each instance starts or is skipped for a reason, and none starts before its dependencies end.
        ///
        /// Inputs are arbitrary acyclic graphs, outcomes and numbers of slots.
        #[test]
        fn every_instance_starts_or_is_skipped(
            edges in proptest::collection::vec((1_usize..12, 0_usize..12, any::<bool>()), 0..30),
            completes in proptest::collection::vec(any::<bool>(), 12),
            max_parallel in proptest::option::of(1_usize..4),
            pick_last in any::<bool>(),
        ) {
            let mut instances = instances(&format!(
                r#"{{"instances": [{}]}}"#,
                [r#"{"command": "x"}"#; 12].join(",")
            ));
            for (i, other, done) in edges {
                let other = other % i;
                if instances[i].depends_on.iter().all(|&(o, _)| o != other) {
                    instances[i].depends_on.push((other, if done { DependencyCondition::Ended } else { DependencyCondition::Completed }));
                }
            }
            let mut schedule = Schedule::new(&instances, LaunchPolicy { startup_delay: Duration::ZERO, max_parallel });
            let mut outcome: Vec<Option<bool>> = vec![None; 12];
            let mut running = Vec::new();
            while !schedule.is_finished() {
                while let Some(i) = schedule.due(at(0)) {
                    for &(other, when) in &instances[i].depends_on {
                        prop_assert!(outcome[other].is_some_and(|completed| completed || when == DependencyCondition::Ended));
                    }
                    schedule.started(i, at(0));
                    running.push(i);
                }
                prop_assert!(max_parallel.is_none_or(|max| running.len() <= max));
                prop_assert!(!running.is_empty(), "nobody runs and nobody may start");
                let i = if pick_last { running.pop() } else { Some(running.remove(0)) }.expect("somebody runs");
                outcome[i] = Some(completes[i]);
                for skip in schedule.ended(i, completes[i]) {
                    let needed = (skip.cause, DependencyCondition::Completed);
                    prop_assert!(instances[skip.instance].depends_on.contains(&needed));
                    prop_assert_eq!(outcome[skip.cause], Some(false));
                    prop_assert_eq!(outcome[skip.instance].replace(false), None, "skipped once");
                }
            }
            prop_assert!(outcome.iter().all(Option::is_some));
        }
    }
}
