//! Settings of the memory allocator, and the release of a forked child's memory.

/// Makes glibc return every large block to the system when it is freed.
///
/// By default, glibc starts to keep such blocks: after many concurrent long lines, it keeps ten times what is used.
pub fn give_large_blocks_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use nix::libc;
        const LARGE_BYTES: libc::c_int = 128 * 1024;
        // SAFETY: a setting of the allocator, which takes any number.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES) };
    }
}

#[cfg(target_os = "linux")]
pub(super) use linux::drop_heap;

#[cfg(target_os = "linux")]
mod linux {
    use nix::libc::{self, c_int};

    const MAPS_BYTES: usize = 4096;

    /// Bytes kept on both sides of errno: the thread control block, which the C library uses.
    const KEPT_AROUND_ERRNO: usize = 64 * 1024;

    /// A line of /proc/self/maps.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Mapping {
        start: usize,
        end: usize,
        is_private_writable: bool,
        /// True if the mapping has no file, or is the heap.
        is_anonymous: bool,
    }

    /// Addresses in memory that must stay mapped.
    struct Kept {
        errno: usize,
        on_stack: usize,
    }

    /// Unmaps the heap and other anonymous memory of a fork that runs without exec(2).
    ///
    /// Otherwise each page that zen writes to later would exist twice. The calling process must use only its stack
    /// afterwards, and must never return to the caller's caller.
    pub fn drop_heap() {
        let on_stack = 0_u8;
        let kept = Kept { errno: errno_address(), on_stack: &raw const on_stack as usize };
        // SAFETY: the path is a C string that lives for the call.
        let maps = unsafe { libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY) };
        if maps < 0 {
            return;
        }
        let mut buffer = [0_u8; MAPS_BYTES];
        let (mut filled, mut last_file_end) = (0, 0);
        loop {
            // SAFETY: the call writes no more than the rest of the buffer.
            let count = unsafe { libc::read(maps, buffer[filled..].as_mut_ptr().cast(), buffer.len() - filled) };
            let Ok(count @ 1..) = usize::try_from(count) else { break };
            filled = (filled + count).min(buffer.len());
            let mut done = 0;
            while let Some(length) = buffer[done..filled].iter().position(|&byte| byte == b'\n') {
                if let Some(mapping) = parse(&buffer[done..done + length]) {
                    drop_mapping(mapping, last_file_end, &kept);
                    if !mapping.is_anonymous {
                        last_file_end = mapping.end;
                    }
                }
                done += length + 1;
            }
            buffer.copy_within(done..filled, 0);
            filled -= done;
        }
        // SAFETY: it was opened above.
        unsafe { libc::close(maps) };
    }

    /// Unmaps a mapping unless it is needed. Memory directly after a file mapping is the .bss of a program or library.
    fn drop_mapping(mapping: Mapping, last_file_end: usize, kept: &Kept) {
        const PAGES: usize = !(KEPT_AROUND_ERRNO - 1);
        let Mapping { start, end, is_private_writable, is_anonymous } = mapping;
        let range = start..end;
        let is_stack = range.contains(&kept.on_stack);
        if !is_private_writable || !is_anonymous || start == last_file_end || is_stack {
            return;
        }
        if !range.contains(&kept.errno) {
            return unmap(start, end);
        }
        let below = kept.errno.saturating_sub(KEPT_AROUND_ERRNO) & PAGES;
        let above = kept.errno.saturating_add(2 * KEPT_AROUND_ERRNO) & PAGES;
        unmap(start, below.max(start));
        unmap(above.min(end), end);
    }

    fn unmap(start: usize, end: usize) {
        if start < end {
            // SAFETY: this process uses nothing in the range any more.
            unsafe { libc::munmap(start as *mut libc::c_void, end - start) };
        }
    }

    /// Parses a line of the form `START-END PERMISSIONS OFFSET DEVICE INODE [PATH]`.
    fn parse(line: &[u8]) -> Option<Mapping> {
        let line = std::str::from_utf8(line).ok()?;
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let permissions = words.next()?;
        let inode = words.nth(2)?;
        Some(Mapping {
            start: usize::from_str_radix(start, 16).ok()?,
            end: usize::from_str_radix(end, 16).ok()?,
            is_private_writable: permissions == "rw-p",
            is_anonymous: inode == "0" && matches!(words.next(), None | Some("[heap]")),
        })
    }

    fn errno_address() -> usize {
        // SAFETY: it returns the address of this thread's errno.
        let errno: *mut c_int = unsafe { libc::__errno_location() };
        errno as usize
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn lines_of_maps_are_parsed() {
            let mapping = |start, end, is_private_writable, is_anonymous| {
                Some(Mapping { start, end, is_private_writable, is_anonymous })
            };
            let heap = b"7f00-7f80 rw-p 00000000 00:00 0                          [heap]";
            assert_eq!(parse(heap), mapping(0x7f00, 0x7f80, true, true));
            assert_eq!(parse(b"1000-2000 rw-p 00000000 00:00 0 "), mapping(0x1000, 0x2000, true, true));
            assert_eq!(parse(b"1000-2000 r-xp 00000000 08:01 42 /bin/zen"), mapping(0x1000, 0x2000, false, false));
            assert_eq!(parse(b"1000-2000 rw-p 00000000 00:00 0 [stack]"), mapping(0x1000, 0x2000, true, false));
            assert_eq!(parse(b"nonsense"), None);
        }
    }
}
