//! Waits for events, with generous bounds: the machine may be busy.

use std::time::{Duration, Instant};

/// Time after which a wait fails its test.
pub const MAX_WAIT: Duration = Duration::from_secs(120);

/// Polls until there is a value, and returns it.
pub fn wait_for<T>(event: &str, look: impl FnMut() -> Option<T>) -> T {
    wait_within(MAX_WAIT, event, look)
}

/// Polls within a bound.
pub fn wait_within<T>(bound: Duration, event: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let began = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(began.elapsed() < bound, "waited {bound:?} in vain for {event}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Polls until a condition holds.
pub fn wait_until(event: &str, mut look: impl FnMut() -> bool) {
    wait_for(event, || look().then_some(()));
}
