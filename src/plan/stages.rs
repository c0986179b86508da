//! Stages: the depth of each instance in the graph of `depends_on`. They are used in reports only; the schedule works
//! on instances.

use std::collections::HashSet;

use crate::plan::Instance;

/// Stages of all instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stages {
    of: Vec<usize>,
    members: Vec<Vec<usize>>,
    /// Instances of each stage that have not ended.
    open: Vec<HashSet<usize>>,
}

impl Stages {
    /// Computes the stages of a plan. The stage of an instance is one more than the highest of its dependencies.
    #[must_use]
    pub fn new(instances: &[Instance]) -> Self {
        let mut of = vec![0; instances.len()];
        let mut open = Vec::with_capacity(instances.len());
        let mut followers = vec![Vec::new(); instances.len()];
        let mut free = Vec::new();
        for (i, instance) in instances.iter().enumerate() {
            open.push(instance.depends_on.len());
            for other in instance.dependencies() {
                followers[other].push(i);
            }
            if instance.depends_on.is_empty() {
                free.push(i);
            }
        }
        while let Some(i) = free.pop() {
            for &follower in &followers[i] {
                of[follower] = of[follower].max(of[i] + 1);
                open[follower] -= 1;
                if open[follower] == 0 {
                    free.push(follower);
                }
            }
        }
        let count = of.iter().max().map_or(0, |last| last + 1);
        let (mut members, mut open) = (vec![Vec::new(); count], vec![HashSet::new(); count]);
        for (i, &stage) in of.iter().enumerate() {
            members[stage].push(i);
            open[stage].insert(i);
        }
        Stages { of, members, open }
    }

    /// Marks an instance as ended. Returns its stage if no other instance of it is left.
    pub fn ended(&mut self, instance: usize) -> Option<usize> {
        let stage = self.of[instance];
        let is_news = self.open[stage].remove(&instance);
        (is_news && self.open[stage].is_empty()).then_some(stage)
    }

    /// Returns the stage of an instance, counted from 0.
    #[must_use]
    pub fn of(&self, instance: usize) -> usize {
        self.of[instance]
    }

    /// Returns the number of stages.
    #[must_use]
    pub fn count(&self) -> usize {
        self.members.len()
    }

    /// Returns the instances of a stage, in config order.
    #[must_use]
    pub fn members(&self, stage: usize) -> &[usize] {
        &self.members[stage]
    }

    /// Returns true if there is more than one stage, that is, if any instance has a dependency.
    #[must_use]
    pub fn has_multiple(&self) -> bool {
        self.count() > 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::planned;

    #[test]
    fn stage_is_one_more_than_the_highest_dependency() {
        let plan = planned(
            r#"{"instances": [{"name": "late", "command": "x", "depends_on": ["b", "a"]}, {"name": "a", "command": "x"},
                {"name": "b", "command": "x", "depends_on": [{"name": "a", "when": "done"}]},
                {"name": "free", "command": "x", "session_id": "s"}, {"name": "t", "command": "x", "session_id": "s"}]}"#,
        );
        let mut stages = Stages::new(&plan.instances);
        let of_each: Vec<usize> = (0..5).map(|i| stages.of(i)).collect();
        assert_eq!((of_each, stages.count()), (vec![2, 0, 1, 0, 0], 3), "a session is a queue, and no stage");
        assert_eq!(stages.members(0), [1, 3, 4]);
        let ended: Vec<Option<usize>> = [3, 1, 2, 3, 4, 4, 0].map(|i| stages.ended(i)).into();
        assert_eq!(ended, [None, None, Some(1), None, Some(0), None, Some(2)]);
    }

    #[test]
    fn without_dependencies_there_is_one_stage() {
        let plan = planned(r#"{"instances": [{"command": "x"}, {"command": "y"}]}"#);
        assert!(!Stages::new(&plan.instances).has_multiple());
    }
}
