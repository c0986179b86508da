//! The system's clocks.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

use crate::engine::run_clock::Reading;

/// Reads CLOCK_MONOTONIC and CLOCK_BOOTTIME (on Linux).
#[must_use]
pub fn read() -> Reading {
    let monotonic = clock(ClockId::CLOCK_MONOTONIC);
    #[cfg(target_os = "linux")]
    let boot = clock(ClockId::CLOCK_BOOTTIME);
    #[cfg(not(target_os = "linux"))]
    let boot = monotonic;
    Reading { monotonic, boot }
}

fn clock(id: ClockId) -> Duration {
    clock_gettime(id).map_or(Duration::ZERO, Duration::from)
}
