//! Waiting for events, never for times. A bound says when to give up, and is generous: the machine may be busy.

use std::time::{Duration, Instant};

/// How long anything may take before a test takes it for lost.
pub const MAX_WAIT: Duration = Duration::from_secs(120);

/// Looks again and again until there is something, and gives it back.
pub fn wait_for<T>(what: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_within(MAX_WAIT, what, look)
}

/// The same, for what takes longer.
pub fn wait_within<T>(bound: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < bound, "waited for {what} in vain");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// The same, for something that is so or not.
pub fn wait_until(what: &str, mut look: impl FnMut() -> bool) {
    wait_for(what, || look().then_some(()));
}
