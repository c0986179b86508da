//! Who waits for whom: whether a dependency can ever be fulfilled, and where instances wait for each other in a ring.

use std::collections::{HashMap, HashSet};

use super::Instance;
use crate::text::as_written;

/// A longer ring is not told whole.
const MAX_RING_NAMES: usize = 10;

/// Whom an instance depends on, be it through others.
pub(super) fn needed_by(instances: &[Instance], index: usize) -> HashSet<usize> {
    let mut needed = HashSet::new();
    let mut ahead = vec![index];
    while let Some(i) = ahead.pop() {
        ahead.extend(instances[i].after.iter().map(|&(other, _)| other).filter(|&other| needed.insert(other)));
    }
    needed
}

/// What is wrong with such a ring.
pub(super) fn waits_for_itself(ring: &[usize], instances: &[Instance]) -> String {
    let name = |&i: &usize| as_written(&instances[i].name);
    let mut names: Vec<String> = ring.iter().take(MAX_RING_NAMES).map(name).collect();
    if ring.len() > MAX_RING_NAMES {
        names.push("...".into());
    }
    names.push(name(&ring[0]));
    let depends = |(&i, next): (&usize, &usize)| instances[i].after.iter().any(|(other, _)| other == next);
    let by_session = !ring.iter().zip(ring.iter().cycle().skip(1)).all(depends);
    let why = if by_session { " (those of one session run in the config's order)" } else { "" };
    format!("waits for itself: {}{why}", names.join(" -> "))
}

/// Instances that wait for each other in a ring, each such ring. Instances with one session wait too, each for the one
/// before it in the config.
pub(super) fn rings(instances: &[Instance]) -> Vec<Vec<usize>> {
    let waits_for = waits_for(instances);
    // Takes away, again and again, whoever waits for nobody that is left; what stays are rings and those behind them.
    let mut open: Vec<usize> = waits_for.iter().map(Vec::len).collect();
    let mut followers = vec![Vec::new(); instances.len()];
    for (i, others) in waits_for.iter().enumerate() {
        for &other in others {
            followers[other].push(i);
        }
    }
    let mut rings = Vec::new();
    let mut free: Vec<usize> = (0..instances.len()).filter(|&i| open[i] == 0).collect();
    let mut first_left = 0;
    loop {
        while let Some(i) = free.pop() {
            for &follower in &followers[i] {
                if open[follower] == 0 {
                    continue; // of a ring that is told already
                }
                open[follower] -= 1;
                if open[follower] == 0 {
                    free.push(follower);
                }
            }
        }
        let Some(left) = (first_left..instances.len()).find(|&i| open[i] > 0) else { return rings };
        first_left = left;
        let ring = ring_ahead(left, &waits_for, &open);
        // Those behind it wait for others than themselves.
        for &i in &ring {
            open[i] = 0;
        }
        free.extend(&ring);
        rings.push(ring);
    }
}

/// The ring that is come to from `start` by going on to one that is waited for and that is left too.
fn ring_ahead(start: usize, waits_for: &[Vec<usize>], open: &[usize]) -> Vec<usize> {
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

/// Whom each instance waits for: those it depends on, and the one before it in its session.
#[must_use]
pub fn waits_for(instances: &[Instance]) -> Vec<Vec<usize>> {
    let mut last_of_session: HashMap<&str, usize> = HashMap::new();
    let mut waits_for = Vec::with_capacity(instances.len());
    for (i, instance) in instances.iter().enumerate() {
        let mut others: Vec<usize> = instance.after.iter().map(|&(other, _)| other).collect();
        if let Some(session) = &instance.session
            && let Some(before) = last_of_session.insert(&session.uuid, i)
            && !others.contains(&before)
        {
            others.push(before);
        }
        waits_for.push(others);
    }
    waits_for
}
