//! Table of the fixed delays of a run. The user's own limits are options and config fields.

use std::time::Duration;

/// Delay between SIGTERM and SIGKILL.
pub const TERMINATE_TO_KILL: Duration = Duration::from_secs(2);

/// Interval at which SIGKILL is repeated, for a process that is blocked in the kernel.
pub const KILL_INTERVAL: Duration = Duration::from_secs(1);

/// Time after the first SIGKILL at which a process is abandoned. It belongs to another user, or is blocked in the
/// kernel.
pub const KILL_GIVE_UP: Duration = Duration::from_secs(10);

/// Time that the pipes may stay open after the process has ended. A process that cannot be killed may hold them.
pub const DRAIN: Duration = Duration::from_secs(2);

/// Time limit of an instance's reaper, which may be stopped or traced, before zen kills its descendants itself.
pub const REAPER_LIMIT: Duration = Duration::from_secs(1);

/// Time after which a reaper that has not exited is killed; its children are reparented to zen.
pub const REAPER_GIVE_UP: Duration = Duration::from_secs(4);

/// Interval between killing descendants and checking that they are gone.
pub const CLEANUP_INTERVAL: Duration = Duration::from_millis(10);

/// Time after which the cleanup of descendants is abandoned: a process may belong to another user or hang in the kernel.
pub const CLEANUP_GIVE_UP: Duration = Duration::from_secs(5);

/// Time limit for the start of the turn that follows the end of a background command. claude takes 40 ms. If the limit
/// is exceeded, stdin is closed, and a later turn still counts.
pub const FOLLOW_UP: Duration = Duration::from_secs(5);

/// Time limit of the wait for a first message, before an instance without an estimate is launched. claude starts in 0.3
/// to 1.5 s, and a model answers within seconds; a hung instance must not block the others.
pub const FIRST_MESSAGE_WAIT: Duration = Duration::from_secs(20);

/// Interval between two attempts to lock a session, shared by all waiting instances.
pub const SESSION_RETRY: Duration = Duration::from_secs(1);

/// Upper bound of the delay between retries, unless the initial delay is longer.
pub const MAX_RETRY_DELAY: Duration = Duration::from_secs(600);

/// Margin after the end of a usage limit, because clocks differ.
pub const AFTER_RESET: Duration = Duration::from_secs(60);

/// Minimum pause for a usage limit, even if its end is near or past. It doubles each time the run hits the limit again.
pub const FIRST_LIMIT_PAUSE: Duration = Duration::from_secs(5);

/// Bound of the doubled pause, and the pause for a usage limit without a known end.
pub const MAX_LIMIT_PAUSE: Duration = Duration::from_secs(900);

/// Overrun of a wait that counts as a pause of the run: zen was stopped, frozen or starved.
pub const MIN_PAUSE: Duration = Duration::from_secs(2);

/// Longest wait while instances run. It bounds the error of a pause, which may have begun during the wait.
pub const MAX_WAIT: Duration = Duration::from_secs(1);

/// Longest wait while none runs. Only waits for a time of day remain, which passes while the machine is suspended.
pub const MAX_IDLE_WAIT: Duration = Duration::from_secs(30);
