//! System layer: the only code that touches processes, pipes, signals, /proc, files and the terminal. It makes no
//! decisions.
pub mod allocator;
pub mod child;
pub mod clock;
#[cfg(target_os = "linux")]
mod descriptors;
pub mod directory;
#[cfg(target_os = "linux")]
mod exec_image;
pub mod file_lock;
pub mod job_control;
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

/// Returns true if a spawn error may be temporary.
///
/// The system may be short of processes, memory or descriptors, or the program may be open for writing.
#[must_use]
pub fn is_transient(error: &std::io::Error) -> bool {
    use nix::errno::Errno;
    let passing = [Errno::EAGAIN, Errno::ENOMEM, Errno::EMFILE, Errno::ENFILE, Errno::ETXTBSY];
    error.raw_os_error().is_some_and(|number| passing.contains(&Errno::from_raw(number)))
}

/// Returns the system's text of an error without its number, for example "No such file or directory".
#[must_use]
pub fn error_text(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
