//! Waiting for the moment at which a run is to start. The clock on the wall is looked at again and again, because it may be
//! set, and the machine may sleep.

use std::time::Duration;

use nix::poll::{PollTimeout, poll};

use super::epoch_ms;
use crate::base::start_at::next_countdown_s;
use crate::base::{text, timestamp};
use crate::system::local_time::utc_offset_s;
use crate::system::signals::ExitOnSignal;

/// How late a run starts at most on a machine that has slept.
const LOOK_AGAIN_MS: u64 = 5000;

/// The moment, in milliseconds since 1970, as the local clock shows it, and how long it is until then.
#[must_use]
pub fn describe_start(due_ms: u64) -> String {
    let offset_s = utc_offset_s(i64::try_from(due_ms / 1000).unwrap_or(i64::MAX));
    format!("{}, in {}", timestamp::on_a_clock(due_ms, offset_s), format_remaining(left_s(due_ms)))
}

/// Whether a signal has asked for what is said.
type IsAsked = bool;

/// Waits until then, and tells `say` now and then how long it still is. What it gives back is to be kept until the run
/// listens to signals itself.
///
/// # Errors
/// The system's, if signals cannot be caught.
pub fn wait_until(due_ms: u64, mut say: impl FnMut(&str, IsAsked)) -> std::io::Result<ExitOnSignal> {
    let signals = ExitOnSignal::begin()?;
    say(&format!("starts at {}", describe_start(due_ms)), false);
    let mut next_s = next_countdown_s(left_s(due_ms));
    loop {
        let left_ms = due_ms.saturating_sub(epoch_ms());
        if left_ms == 0 {
            return Ok(signals);
        }
        let (is_asked, is_due) = (signals.is_asked(), left_s(due_ms) <= next_s);
        if is_asked || is_due {
            say(&format!("starts in {}", format_remaining(left_s(due_ms))), is_asked);
            next_s = next_countdown_s(left_s(due_ms));
        }
        let wait_ms = left_ms.saturating_sub(next_s * 1000).clamp(1, LOOK_AGAIN_MS);
        // A signal ends the wait early.
        let _ = poll(&mut [], PollTimeout::try_from(Duration::from_millis(wait_ms)).unwrap_or(PollTimeout::ZERO));
    }
}

/// A moment that has almost come is not come: rounded up.
fn left_s(due_ms: u64) -> u64 {
    due_ms.saturating_sub(epoch_ms()).div_ceil(1000)
}

fn format_remaining(left_s: u64) -> String {
    text::format_duration(Duration::from_secs(left_s))
}
