//! The local clock, by the system's own time zones: `TZ`, else `/etc/localtime`.

/// How many seconds the local clock is ahead of UTC at a moment, in seconds since 1970. What the system cannot tell is
/// taken for UTC, as the system does.
#[must_use]
pub fn utc_offset_s(epoch_s: i64) -> i64 {
    // SAFETY: a tm is numbers and a pointer that is not followed, for which all zeroes are good values.
    let mut local: nix::libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to values that live for the call, and the function keeps neither. It reads TZ, which nothing
    // in zen ever sets.
    let is_known = !unsafe { nix::libc::localtime_r(&(epoch_s as _), &mut local) }.is_null();
    if is_known { local.tm_gmtoff as i64 } else { 0 }
}
