//! Local time, by the system's time zone: `TZ`, or `/etc/localtime`.

/// Returns the offset of local time from UTC in seconds, at a time in seconds since 1970.
///
/// Returns 0 (UTC) if the system cannot determine it, as the C library does.
#[must_use]
pub fn utc_offset_s(epoch_s: i64) -> i64 {
    // SAFETY: a tm is numbers and a pointer that is not followed, for which all zeroes are good values.
    let mut local: nix::libc::tm = unsafe { std::mem::zeroed() };
    // SAFETY: both pointers are to values that live for the call, and the function keeps neither. It reads TZ, which
    // zen never sets.
    let is_known = !unsafe { nix::libc::localtime_r(&(epoch_s as _), &mut local) }.is_null();
    if is_known { local.tm_gmtoff as i64 } else { 0 }
}
