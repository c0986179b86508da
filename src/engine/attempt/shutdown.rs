//! Shutdown of a process: stdin is closed, then SIGTERM follows, then SIGKILL. Each step has a deadline.

use std::time::Duration;

use super::AttemptAction;
use crate::engine::timing::{DRAIN, KILL_GIVE_UP, KILL_INTERVAL, TERMINATE_TO_KILL};

/// Step of the shutdown of a process.
///
/// | step          | deadline             | then                     |
/// |---------------|----------------------|--------------------------|
/// | `Closing`     | the grace period     | SIGTERM, `Terminating`   |
/// | `Terminating` | [`TERMINATE_TO_KILL`]| SIGKILL, `Killing`       |
/// | `Killing`     | [`KILL_INTERVAL`]    | SIGKILL, `Killing`       |
/// | `Killing`     | [`KILL_GIVE_UP`]     | `Done`, without an exit  |
/// | `Draining`    | [`DRAIN`]            | `Done`                   |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shutdown {
    /// Stdin is closed; the process should exit before the deadline.
    Closing(Duration),
    /// SIGTERM was sent; SIGKILL follows at the deadline.
    Terminating(Duration),
    /// SIGKILL was sent. It is repeated at `again_at`; the process is abandoned at `give_up_at`.
    Killing { again_at: Duration, give_up_at: Duration },
    /// The process has ended; its pipes may stay open until the deadline.
    Draining(Duration),
    /// The process has ended and its output is read, or it was abandoned.
    Done,
}

impl Shutdown {
    /// Returns the step after SIGKILL was sent at `now`.
    pub(super) fn killing(now: Duration) -> Self {
        Shutdown::Killing { again_at: now + KILL_INTERVAL, give_up_at: now + KILL_GIVE_UP }
    }

    /// Returns the step after the process has exited at `now`.
    pub(super) fn draining(now: Duration) -> Self {
        Shutdown::Draining(now + DRAIN)
    }

    /// Returns the time of the next step.
    pub(super) fn deadline(self) -> Option<Duration> {
        match self {
            Shutdown::Closing(at) | Shutdown::Terminating(at) | Shutdown::Draining(at) => Some(at),
            Shutdown::Killing { again_at, give_up_at } => Some(again_at.min(give_up_at)),
            Shutdown::Done => None,
        }
    }

    /// Returns the next step, after the deadline has passed at `now`, and its action.
    pub(super) fn next(self, now: Duration) -> (Self, Option<AttemptAction>) {
        match self {
            Shutdown::Closing(_) => (Shutdown::Terminating(now + TERMINATE_TO_KILL), Some(AttemptAction::Terminate)),
            Shutdown::Terminating(_) => (Shutdown::killing(now), Some(AttemptAction::Kill)),
            Shutdown::Killing { give_up_at, .. } if now < give_up_at => {
                (Shutdown::Killing { again_at: now + KILL_INTERVAL, give_up_at }, Some(AttemptAction::Kill))
            }
            Shutdown::Killing { .. } | Shutdown::Draining(_) | Shutdown::Done => (Shutdown::Done, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_step_has_a_deadline_and_the_last_one_is_done() {
        let mut step = Shutdown::Closing(s(5));
        let mut steps = Vec::new();
        while let Some(at) = step.deadline() {
            let (next, action) = step.next(at);
            steps.push((at, action));
            step = next;
        }
        let kills = (7..17).map(|at| (s(at), Some(AttemptAction::Kill)));
        let mut expected = vec![(s(5), Some(AttemptAction::Terminate))];
        expected.extend(kills);
        expected.push((s(17), None));
        assert_eq!(steps, expected);
        assert_eq!(Shutdown::draining(s(1)).deadline(), Some(s(3)));
    }
}
