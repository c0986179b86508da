//! The thin edge: the only part that touches processes, pipes, signals, /proc, files and the terminal. It decides nothing;
//! each room does one kind of thing when it is told to.

pub mod ask;
pub mod command_files;
pub mod descendants;
pub mod files;
pub mod find;
pub mod guard;
pub mod output;
pub mod process;
pub mod signals;

/// The system's words for an error, without the number that it knows it by: "No such file or directory".
#[must_use]
pub fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_owned()
}
