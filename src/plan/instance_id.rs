//! Identifier of an instance: its index in the plan.

use std::ops::{Index, IndexMut};

/// Identifier of an instance in its plan. The order of the identifiers is the order of the config.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InstanceId(pub usize);

impl<T> Index<InstanceId> for Vec<T> {
    type Output = T;

    fn index(&self, id: InstanceId) -> &T {
        &self[id.0]
    }
}

impl<T> IndexMut<InstanceId> for Vec<T> {
    fn index_mut(&mut self, id: InstanceId) -> &mut T {
        &mut self[id.0]
    }
}
