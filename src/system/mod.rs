//! The thin edge: the only part that touches processes, pipes, signals, /proc, files and the terminal. It decides nothing;
//! each room does one kind of thing when it is told to.
pub mod allocator;
pub mod child;
pub mod clock;
#[cfg(target_os = "linux")]
mod descriptors;
pub mod directory;
pub mod file_lock;
pub mod local_time;
pub mod locate;
pub mod output;
pub mod process_tree;
pub mod random;
#[cfg(target_os = "linux")]
mod reaper;
pub mod report_file;
pub mod report_writer;
pub mod run_dir;
pub mod session_locks;
pub mod signals;
pub mod suspension;

/// Whether the system refuses now what it may do in a while: it is short of processes, memory or descriptors, or the
/// program is being written.
#[must_use]
pub fn is_transient(error: &std::io::Error) -> bool {
    use nix::errno::Errno;
    let passing = [Errno::EAGAIN, Errno::ENOMEM, Errno::EMFILE, Errno::ENFILE, Errno::ETXTBSY];
    error.raw_os_error().is_some_and(|number| passing.contains(&Errno::from_raw(number)))
}

/// The system's words for an error, without the number that it knows it by: "No such file or directory".
#[must_use]
pub fn error_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
