//! What zen asks of the allocator. Knows nothing of what is allocated.

/// Lets every large block go back to the system when it is freed. glibc otherwise comes to keep such blocks as well, and
/// after many long lines side by side what is kept is ten times what is used.
pub fn give_large_blocks_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        use nix::libc;
        const LARGE_BYTES: libc::c_int = 128 * 1024;
        // SAFETY: a setting of the allocator, which takes any number.
        unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE_BYTES) };
    }
}
