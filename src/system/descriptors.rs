//! Closes descriptors between fork(2) and exec(2). Makes only system calls and does not allocate. Linux only.

use nix::libc::{self, c_int, c_long, c_uint};

const FIRST_AFTER_STANDARD: c_int = 3;

/// Upper bound of the descriptors that are closed if neither close_range(2) nor /proc is available.
const MAX_GUESSED: c_int = 65_536;

/// Size of the buffer for directory entries; enough for a few dozen.
const LIST_BYTES: usize = 2048;

// Offsets of `d_reclen` and `d_name` in the entries of getdents64(2).
const LENGTH_AT: usize = 16;
const NAME_AT: usize = 19;

/// Sets close-on-exec on every descriptor except the standard three, including those that zen inherited.
pub fn close_on_exec() {
    // Since Linux 5.11.
    if close_range(FIRST_AFTER_STANDARD, c_int::MAX, libc::CLOSE_RANGE_CLOEXEC) {
        return;
    }
    for_each_open(|fd| {
        // SAFETY: no memory is passed.
        unsafe { libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC) };
    });
}

/// Closes every descriptor except `kept`, which must be sorted.
pub fn close_all_but(kept: &[c_int]) {
    let mut from = 0;
    let mut is_done = true;
    for &fd in kept {
        is_done &= fd <= from || close_range(from, fd - 1, 0);
        from = fd.saturating_add(1);
    }
    if is_done && close_range(from, c_int::MAX, 0) {
        return;
    }
    for fd in 0..FIRST_AFTER_STANDARD {
        close_unless(kept, fd);
    }
    for_each_open(|fd| close_unless(kept, fd));
}

fn close_unless(kept: &[c_int], fd: c_int) {
    if !kept.contains(&fd) {
        // SAFETY: nothing in this process uses the descriptor any more.
        unsafe { libc::close(fd) };
    }
}

/// Calls close_range(2). Returns false if the kernel lacks the call (before 5.9) or the flag (before 5.11).
fn close_range(first: c_int, last: c_int, flags: c_uint) -> bool {
    // SAFETY: no memory is passed.
    unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) == 0 }
}

/// Calls `act` for each open descriptor from 3 on, as listed in /proc.
fn for_each_open(act: impl Fn(c_int)) {
    // SAFETY: the path is a C string that lives for the call.
    let directory = unsafe { libc::open(c"/proc/self/fd".as_ptr(), libc::O_RDONLY | libc::O_DIRECTORY) };
    if directory < 0 {
        return (FIRST_AFTER_STANDARD..MAX_GUESSED).for_each(act);
    }
    let mut list = [0_u8; LIST_BYTES];
    loop {
        // SAFETY: the buffer lives for the call, which writes no more than its length.
        let count: c_long = unsafe { libc::syscall(libc::SYS_getdents64, directory, list.as_mut_ptr(), list.len()) };
        let Ok(count @ 1..) = usize::try_from(count) else { break };
        names(&list[..count]).filter_map(number).filter(|&fd| fd != directory).for_each(&act);
    }
    // SAFETY: it was opened above.
    unsafe { libc::close(directory) };
}

/// Returns the names in a list written by getdents64(2).
fn names(mut list: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let length = u16::from_ne_bytes([*list.get(LENGTH_AT)?, *list.get(LENGTH_AT + 1)?]);
        let entry = list.get(..usize::from(length)).filter(|entry| entry.len() > NAME_AT)?;
        list = &list[entry.len()..];
        entry[NAME_AT..].split(|&byte| byte == 0).next()
    })
}

fn number(name: &[u8]) -> Option<c_int> {
    std::str::from_utf8(name).ok()?.parse().ok().filter(|&fd| fd >= FIRST_AFTER_STANDARD)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::os::fd::AsRawFd;
    use std::sync::Mutex;

    #[test]
    fn open_descriptors_are_listed() {
        let files: Vec<File> = (0..200).map(|_| File::open("/dev/null").expect("it is there")).collect();
        let found = Mutex::new(Vec::new());
        for_each_open(|fd| found.lock().expect("no panic").push(fd));
        let found = found.into_inner().expect("no panic");
        assert!(files.iter().all(|file| found.contains(&file.as_raw_fd())), "{found:?}");
        assert!(found.iter().all(|&fd| fd >= FIRST_AFTER_STANDARD));
    }
}
