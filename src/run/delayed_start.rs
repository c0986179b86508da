//! Wait for the start time of a delayed run. Reads the wall clock periodically, because the clock may be set and the
//! machine may be suspended.

use std::time::Duration;

use nix::poll::{PollTimeout, poll};

use super::epoch_ms;
use crate::base::start_at::next_countdown_s;
use crate::base::{text, timestamp};
use crate::system::local_time::utc_offset_s;
use crate::system::signals::ExitOnSignal;

/// Maximum delay of the start after a suspension of the machine, in milliseconds.
const LOOK_AGAIN_MS: u64 = 5000;

/// Formats a start time (in milliseconds since 1970) in local time, with the time remaining until then.
#[must_use]
pub fn describe_start(due_ms: u64) -> String {
    let offset_s = utc_offset_s(i64::try_from(due_ms / 1000).unwrap_or(i64::MAX));
    format!("{}, in {}", timestamp::on_a_clock(due_ms, offset_s), format_remaining(left_s(due_ms)))
}

/// True if a signal requested the message.
type IsAsked = bool;

/// Waits until the start time. Calls the callback with the remaining time, at intervals and on a signal.
///
/// The returned handler must stay alive until the run has installed its own signal handlers.
///
/// # Errors
/// Returns the system's error if the signal handlers cannot be installed.
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
        // A signal interrupts the wait.
        let _ = poll(&mut [], PollTimeout::try_from(Duration::from_millis(wait_ms)).unwrap_or(PollTimeout::ZERO));
    }
}

/// Returns the remaining time in seconds, rounded up so that it is zero only when the time has come.
fn left_s(due_ms: u64) -> u64 {
    due_ms.saturating_sub(epoch_ms()).div_ceil(1000)
}

fn format_remaining(left_s: u64) -> String {
    text::format_duration(Duration::from_secs(left_s))
}
