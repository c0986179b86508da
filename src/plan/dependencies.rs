//! Graph of waiting instances: indirect dependencies and cycles.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use super::Instance;
use crate::plan::problem::{MAX_CYCLE_NAMES, PlanProblem};

/// Returns the pairs `(instance, other)` in which the instance depends on the other, directly or indirectly.
///
/// Direct dependencies need no traversal. The others are computed together: a traversal per pair would read all edges
/// each time, which are a million for 100 layers of 100 instances.
pub(super) fn dependent_pairs(
    instances: &[Instance],
    asked: impl IntoIterator<Item = (usize, usize)>,
) -> HashSet<(usize, usize)> {
    let mut others_of: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for (i, other) in asked {
        others_of.entry(i).or_default().insert(other);
    }
    let (mut dependent, mut indirect) = (HashSet::new(), Vec::new());
    for (i, others) in others_of {
        let direct: HashSet<usize> = instances[i].dependencies().collect();
        for other in others {
            if direct.contains(&other) {
                dependent.insert((i, other));
            } else {
                indirect.push((i, other));
            }
        }
    }
    if !indirect.is_empty() {
        add_indirect(instances, indirect, &mut dependent);
    }
    dependent
}

/// Adds the pairs with an indirect dependency, for a bounded number of targets at a time, so that their rows take a few
/// megabytes.
fn add_indirect(instances: &[Instance], pairs: Vec<(usize, usize)>, dependent: &mut HashSet<(usize, usize)>) {
    const MAX_WORDS: usize = 16;
    let order = order(instances);
    let mut targets: Vec<usize> = pairs.iter().map(|&(_, target)| target).collect();
    targets.sort_unstable();
    targets.dedup();
    for targets in targets.chunks(MAX_WORDS * 64) {
        let reach = Reach::new(instances, targets, &order);
        for &(i, target) in &pairs {
            if reach.has(i, target) {
                dependent.insert((i, target));
            }
        }
    }
}

/// Targets that each instance depends on: a row of bits for each instance, with a bit for each target.
struct Reach {
    words: usize,
    bits: HashMap<usize, usize>,
    rows: Vec<u64>,
}

impl Reach {
    /// Fills the rows in topological order.
    fn new(instances: &[Instance], targets: &[usize], order: &Order) -> Self {
        let words = targets.len().div_ceil(64);
        let mut bits = HashMap::with_capacity(targets.len());
        for (bit, &target) in targets.iter().enumerate() {
            bits.insert(target, bit);
        }
        let mut reach = Reach { words, bits, rows: vec![0; instances.len() * words] };
        let mut row = vec![0_u64; words];
        loop {
            let mut has_changed = false;
            for &i in &order.dependencies_first {
                has_changed |= reach.extend_row(i, &instances[i], &mut row);
            }
            // Without a cycle, each row was complete before it was read.
            if !order.has_cycle || !has_changed {
                return reach;
            }
        }
    }

    /// Adds the rows of an instance's dependencies to its own. Returns true if it has changed. `row` is a buffer.
    fn extend_row(&mut self, i: usize, instance: &Instance, row: &mut [u64]) -> bool {
        row.copy_from_slice(&self.rows[i * self.words..][..self.words]);
        for other in instance.dependencies() {
            for (word, more) in row.iter_mut().zip(&self.rows[other * self.words..][..self.words]) {
                *word |= more;
            }
            if let Some(bit) = self.bits.get(&other) {
                row[bit / 64] |= 1 << (bit % 64);
            }
        }
        let own = &mut self.rows[i * self.words..][..self.words];
        let has_changed = row != own;
        own.copy_from_slice(row);
        has_changed
    }

    /// Returns true if an instance depends on a target of this pass.
    fn has(&self, i: usize, target: usize) -> bool {
        let Some(bit) = self.bits.get(&target) else { return false };
        self.rows[i * self.words + bit / 64] & (1 << (bit % 64)) != 0
    }
}

struct Order {
    /// All instances, each after its dependencies; in a cycle, in the order of a depth-first search.
    dependencies_first: Vec<usize>,
    has_cycle: bool,
}

/// Sorts the instances topologically, by a depth-first search.
fn order(instances: &[Instance]) -> Order {
    #[derive(Clone, Copy, PartialEq)]
    enum Visit {
        No,
        Open,
        Done,
    }
    let mut visits = vec![Visit::No; instances.len()];
    let mut order = Order { dependencies_first: Vec::with_capacity(instances.len()), has_cycle: false };
    for root in 0..instances.len() {
        let mut path = if visits[root] == Visit::No { vec![(root, 0)] } else { Vec::new() };
        while let Some((i, next)) = path.last_mut() {
            visits[*i] = Visit::Open;
            let Some(&(other, _)) = instances[*i].depends_on.get(*next) else {
                visits[*i] = Visit::Done;
                order.dependencies_first.push(*i);
                path.pop();
                continue;
            };
            *next += 1;
            match visits[other] {
                Visit::No => path.push((other, 0)),
                Visit::Open => order.has_cycle = true,
                Visit::Done => {}
            }
        }
    }
    order
}

/// Returns the problem of a cycle.
pub(super) fn cycle_problem(cycle: &[usize], instances: &[Instance]) -> PlanProblem {
    let mut names = Vec::new();
    let mut is_by_session = false;
    for (&i, &next) in cycle.iter().zip(cycle.iter().cycle().skip(1)) {
        if names.len() <= MAX_CYCLE_NAMES {
            names.push(instances[i].name.clone());
        }
        is_by_session |= instances[i].dependencies().all(|other| other != next);
    }
    PlanProblem::Cycle { names, is_by_session }
}

/// Returns the cycles of waiting instances. An instance also waits for the one before it in its session.
pub(super) fn cycles(instances: &[Instance]) -> Vec<Vec<usize>> {
    let waits_for = waits_for(instances);
    // Remove instances that wait for none of the rest, repeatedly; cycles and their dependents remain.
    let mut open: Vec<usize> = waits_for.iter().map(Vec::len).collect();
    let mut followers = vec![Vec::new(); instances.len()];
    for (i, others) in waits_for.iter().enumerate() {
        for &other in others {
            followers[other].push(i);
        }
    }
    let mut cycles_found = Vec::new();
    let mut free: Vec<usize> = (0..instances.len()).filter(|&i| open[i] == 0).collect();
    let mut first_left = 0;
    loop {
        while let Some(i) = free.pop() {
            for &follower in &followers[i] {
                if open[follower] == 0 {
                    continue; // of a reported cycle
                }
                open[follower] -= 1;
                if open[follower] == 0 {
                    free.push(follower);
                }
            }
        }
        let Some(left) = (first_left..instances.len()).find(|&i| open[i] > 0) else { return cycles_found };
        first_left = left;
        let cycle = find_cycle_from(left, &waits_for, &open);
        // The dependents of the cycle can be removed now.
        for &i in &cycle {
            open[i] = 0;
        }
        free.extend(&cycle);
        cycles_found.push(cycle);
    }
}

/// Returns the cycle reached from `start` by following one remaining edge of each instance.
fn find_cycle_from(start: usize, waits_for: &[Vec<usize>], open: &[usize]) -> Vec<usize> {
    let mut path = Vec::new();
    let mut position = HashMap::new();
    let mut at = start;
    while !position.contains_key(&at) {
        position.insert(at, path.len());
        path.push(at);
        at = waits_for[at].iter().copied().find(|&other| open[other] > 0).unwrap_or(at);
    }
    path.split_off(position[&at])
}

/// Returns the instances that each one waits for: its dependencies, and the one before it in its session.
#[must_use]
pub fn waits_for(instances: &[Instance]) -> Vec<Vec<usize>> {
    let mut last_of_session: HashMap<&str, usize> = HashMap::new();
    let mut waits_for = Vec::with_capacity(instances.len());
    for (i, instance) in instances.iter().enumerate() {
        let mut others: Vec<usize> = instance.dependencies().collect();
        if let Some(session) = &instance.invocation.session
            && let Some(before) = last_of_session.insert(&session.uuid, i)
            && !others.contains(&before)
        {
            others.push(before);
        }
        waits_for.push(others);
    }
    waits_for
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DependencyCondition;
    use crate::plan::planned;
    use proptest::prelude::*;

    /// Reference implementation: a traversal of all edges from one instance.
    fn depends(instances: &[Instance], instance: usize, other: usize) -> bool {
        let mut seen = HashSet::new();
        let mut ahead = vec![instance];
        while let Some(i) = ahead.pop() {
            ahead.extend(instances[i].depends_on.iter().map(|&(next, _)| next).filter(|&next| seen.insert(next)));
        }
        seen.contains(&other)
    }

    proptest! {
        #[test]
        fn dependent_pairs_equal_those_of_a_traversal(
            edges in proptest::collection::vec((0_usize..9, 0_usize..9), 0..20),
        ) {
            let mut instances = planned(&format!(r#"{{"instances": [{}]}}"#, [r#"{"command": "x"}"#; 9].join(","))).instances;
            for (i, other) in edges {
                instances[i].depends_on.push((other, DependencyCondition::Ended));
            }
            let all = || (0..9).flat_map(|i| (0..9).map(move |other| (i, other)));
            let expected: HashSet<(usize, usize)> = all().filter(|&(i, other)| depends(&instances, i, other)).collect();
            prop_assert_eq!(dependent_pairs(&instances, all()), expected);
        }
    }

    #[test]
    fn many_targets_take_several_passes() {
        let count = 3000;
        let instances = vec![r#"{"command": "x"}"#; count].join(",");
        let mut instances = planned(&format!(r#"{{"instances": [{instances}]}}"#)).instances;
        for (i, instance) in instances.iter_mut().enumerate().skip(1) {
            instance.depends_on.push((i - 1, DependencyCondition::Ended));
        }
        let asked = (0..count).flat_map(|i| [(count - 1, i), (i, count - 1)]);
        let dependent = dependent_pairs(&instances, asked);
        assert_eq!(dependent, (0..count - 1).map(|i| (count - 1, i)).collect());
    }
}
