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
pub(super) use linux::{drop_heap, record_layout};

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;
    use std::sync::OnceLock;

    use nix::libc::{self, c_int};

    /// Maximum number of mappings of zen's program, its libraries and its stack; a dynamic build has about 25.
    const MAX_RANGES: usize = 96;

    /// Bytes kept on both sides of errno: the thread control block, which the C library uses.
    const KEPT_AROUND_ERRNO: usize = 64 * 1024;

    /// Bytes kept on both sides of the stack pointer.
    const KEPT_OF_STACK: usize = 256 * 1024;

    /// Start and end of a part of memory.
    type Range = (usize, usize);

    /// Memory that a forked child needs wherever it is in the program, sorted. It does not move after the start of zen.
    static LAYOUT: OnceLock<Vec<Range>> = OnceLock::new();

    /// Records what [`drop_heap`] must keep. Reads /proc, and allocates.
    pub fn record_layout() {
        LAYOUT.get_or_init(|| permanent(&fs::read_to_string("/proc/self/maps").unwrap_or_default()));
    }

    /// Unmaps the heap and other anonymous memory of a fork that runs without exec(2). Does nothing without a layout.
    ///
    /// Otherwise each page that zen writes to later would exist twice. The calling process must use only its stack and the
    /// page of `shared` afterwards, and must never return to the caller's caller.
    pub fn drop_heap<T>(shared: &T) {
        let Some(permanent) = LAYOUT.get().filter(|layout| !layout.is_empty()) else { return };
        let on_stack = 0_u8;
        let mut kept = [(0, 0); MAX_RANGES + 3];
        let count = permanent.len();
        kept[..count].copy_from_slice(permanent);
        kept[count] = around(&raw const on_stack as usize, KEPT_OF_STACK);
        kept[count + 1] = around(errno_address(), KEPT_AROUND_ERRNO);
        kept[count + 2] = around(std::ptr::from_ref(shared) as usize, 1);
        let kept = &mut kept[..count + 3];
        kept.sort_unstable();
        let mut kept_up_to = kept[0].1;
        for &(start, end) in kept.iter() {
            if start > kept_up_to {
                // SAFETY: this process uses nothing outside of the kept ranges any more.
                unsafe { libc::munmap(kept_up_to as *mut libc::c_void, start - kept_up_to) };
            }
            kept_up_to = kept_up_to.max(end);
        }
    }

    /// Returns the pages within `distance` bytes of an address.
    fn around(address: usize, distance: usize) -> Range {
        // A multiple of every page size.
        const PAGE: usize = 64 * 1024;
        let end = address.saturating_add(distance).saturating_add(PAGE);
        (address.saturating_sub(distance) & !(PAGE - 1), end & !(PAGE - 1))
    }

    /// Returns the mappings that do not change, from the text of /proc/self/maps: all but private writable memory without a
    /// file. Such memory directly after a file is the .bss of a program or library, and permanent too.
    fn permanent(maps: &str) -> Vec<Range> {
        let mut ranges: Vec<Range> = Vec::new();
        let mut last_file_end = 0;
        for mapping in maps.lines().filter_map(parse) {
            let Mapping { range, is_private_writable, is_anonymous } = mapping;
            if !is_anonymous {
                last_file_end = range.1;
            }
            if is_anonymous && is_private_writable && range.0 != last_file_end {
                continue;
            }
            match ranges.last_mut() {
                Some(last) if last.1 == range.0 => last.1 = range.1,
                _ => ranges.push(range),
            }
        }
        if ranges.len() > MAX_RANGES {
            ranges.clear();
        }
        ranges
    }

    /// A line of /proc/self/maps.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Mapping {
        range: Range,
        is_private_writable: bool,
        /// True if the mapping has no file, or is the heap.
        is_anonymous: bool,
    }

    /// Parses a line of the form `START-END PERMISSIONS OFFSET DEVICE INODE [PATH]`.
    fn parse(line: &str) -> Option<Mapping> {
        let mut words = line.split_ascii_whitespace();
        let (start, end) = words.next()?.split_once('-')?;
        let permissions = words.next()?;
        let inode = words.nth(2)?;
        Some(Mapping {
            range: (usize::from_str_radix(start, 16).ok()?, usize::from_str_radix(end, 16).ok()?),
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
        fn all_but_private_memory_without_a_file_is_permanent() {
            let maps = "\
                1000-2000 r-xp 00000000 08:01 42 /bin/zen\n\
                2000-3000 rw-p 00001000 08:01 42 /bin/zen\n\
                3000-4000 rw-p 00000000 00:00 0 \n\
                5000-9000 rw-p 00000000 00:00 0                          [heap]\n\
                a000-b000 ---p 00000000 00:00 0 \n\
                b000-c000 rw-p 00000000 00:00 0 \n\
                nonsense\n\
                d000-e000 rw-s 00000000 00:01 7 /dev/zero (deleted)\n\
                f000-10000 rw-p 00000000 00:00 0 [stack]\n";
            assert_eq!(permanent(maps), [(0x1000, 0x4000), (0xa000, 0xb000), (0xd000, 0xe000), (0xf000, 0x10000)]);
            assert!(permanent(&maps.repeat(MAX_RANGES)).is_empty());
        }

        #[test]
        fn pages_around_an_address_contain_it() {
            assert_eq!(around(0x12_3456, 1), (0x12_0000, 0x13_0000));
            assert_eq!(around(0x12_0000, 0x2_0000), (0x10_0000, 0x15_0000));
            assert_eq!(around(0x10, 0x1_0000), (0, 0x2_0000));
        }
    }
}
