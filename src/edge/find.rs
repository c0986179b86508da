//! Finds the claude program, and asks it what it can.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::{AccessFlags, access};

use super::process::{Heard, Launch, Process};
use super::reason;
use crate::outcome::Exit;

const READ_BYTES: usize = 16 * 1024;

/// The help of any generation is a tenth of that.
const MAX_HELP_BYTES: usize = 256 * 1024;

const MAX_LAST_WORDS_COLUMNS: usize = 200;

/// Finds the program that `given` names, or else `claude` on this PATH. A name without a slash is looked for on the PATH.
///
/// # Errors
/// What is wrong with the name that was given, or with what stands there.
pub fn claude(given: Option<&Path>, path: Option<&OsStr>) -> Result<PathBuf, &'static str> {
    let name = given.unwrap_or(Path::new("claude"));
    if name.as_os_str().as_bytes().contains(&b'/') {
        return no_program(name).map_or_else(|| Ok(absolute(name)), Err);
    }
    let directories = path.into_iter().flat_map(std::env::split_paths);
    let mut files = directories.map(|directory| directory.join(name));
    files.find(|file| no_program(file).is_none()).map(|file| absolute(&file)).ok_or("is not in PATH")
}

/// What `claude --help` says, if it says it within that time.
///
/// # Errors
/// Why it says nothing: one that cannot tell what it can must not be taken for one that can little.
pub fn help_of(claude: &Path, limit: Duration) -> Result<String, String> {
    let give_up = Instant::now() + limit;
    let launch =
        Launch { program: claude.to_owned(), arguments: vec!["--help".into()], cwd: ".".into(), variables: Vec::new() };
    let mut process = Process::start(&launch, None, 0).map_err(|error| reason(&error))?;
    process.close_input();
    let said = read_both(&mut process, give_up);
    let exit = said.as_ref().and_then(|_| process.reap_within(give_up.saturating_duration_since(Instant::now())));
    match (said, exit) {
        (Some((help, _)), Some(Exit::Code(0))) => Ok(String::from_utf8_lossy(&help).into_owned()),
        (Some((_, errors)), Some(exit)) => {
            let errors = String::from_utf8_lossy(&errors);
            let last_words = errors.lines().rev().find(|line| !line.trim().is_empty()).map(crate::text::clean);
            let last_words = last_words.map_or_else(|| exit.to_string(), |words| words.into_owned());
            Err(crate::text::cut(&last_words, MAX_LAST_WORDS_COLUMNS, "...").into_owned())
        }
        _ => Err(format!("it took longer than {}s", limit.as_secs_f64())),
    }
}

/// What it writes to standard output and to standard error, up to a bound, if both end in time.
fn read_both(process: &mut Process, give_up: Instant) -> Option<(Vec<u8>, Vec<u8>)> {
    let (mut output, mut errors, mut buffer) = (Vec::new(), Vec::new(), vec![0; READ_BYTES]);
    loop {
        let open: Vec<_> = [process.output_fd(), process.errors_fd()].into_iter().flatten().collect();
        if open.is_empty() {
            return Some((output, errors));
        }
        let left = give_up.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        let mut fds: Vec<PollFd> = open.into_iter().map(|fd| PollFd::new(fd, PollFlags::POLLIN)).collect();
        let _ = poll(&mut fds, PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        drop(fds);
        if let Heard::Bytes(count) = process.read_output(&mut buffer) {
            keep(&mut output, &buffer[..count]);
        }
        if let Heard::Bytes(count) = process.read_errors(&mut buffer) {
            keep(&mut errors, &buffer[..count]);
        }
    }
}

fn keep(kept: &mut Vec<u8>, bytes: &[u8]) {
    let room = MAX_HELP_BYTES.saturating_sub(kept.len());
    kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
}

/// Whether claude seems to have a session of this id. It is a hint only, for how it keeps them is its own affair: when
/// it says otherwise, it is right.
#[must_use]
pub fn has_transcript(uuid: &str, env: &BTreeMap<String, Option<String>>) -> bool {
    let variable = |name: &str| match env.get(name) {
        Some(own) => own.as_ref().map(PathBuf::from),
        None => std::env::var_os(name).map(PathBuf::from),
    };
    let home = variable("CLAUDE_CONFIG_DIR").or_else(|| Some(variable("HOME")?.join(".claude")));
    let Some(projects) = home.and_then(|home| std::fs::read_dir(home.join("projects")).ok()) else { return false };
    projects.flatten().any(|project| project.path().join(format!("{uuid}.jsonl")).exists())
}

/// Why this is no program that can be run, if it is none.
fn no_program(file: &Path) -> Option<&'static str> {
    match file.metadata() {
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Some("is in a directory that cannot be entered"),
        Err(_) => Some("does not exist"),
        Ok(metadata) if metadata.is_dir() => Some("is a directory"),
        Ok(metadata) if !metadata.is_file() => Some("is not a file"),
        Ok(_) => access(file, AccessFlags::X_OK).is_err().then_some("is not executable"),
    }
}

/// Instances run elsewhere than zen, so a relative path must not stay one. Links are kept: claude finds itself by them.
fn absolute(file: &Path) -> PathBuf {
    std::path::absolute(file).unwrap_or_else(|_| file.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    fn help_of_script(body: &str) -> Result<String, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("claude");
        fs::write(&file, format!("#!/bin/sh\n{body}\n")).expect("a file");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("permissions");
        help_of(&file, Duration::from_millis(if body.contains("sleep") { 200 } else { 30_000 }))
    }

    #[test]
    fn help_is_what_it_prints_if_it_ends_well_and_in_time() {
        assert_eq!(help_of_script("echo noise >&2; echo --tools"), Ok("--tools\n".into()));
        assert_eq!(help_of_script("echo no node >&2; echo >&2; exit 127"), Err("no node".into()));
        assert_eq!(help_of_script("exit 3"), Err("exit status 3".into()));
        assert_eq!(help_of_script("kill -KILL $$"), Err("signal 9".into()));
        assert_eq!(help_of_script("sleep 1000"), Err("it took longer than 0.2s".into()));
        assert_eq!(help_of_script("exec >&- 2>&-; sleep 1000"), Err("it took longer than 0.2s".into()));
        let much = help_of_script("yes | head -c 5000000").expect("help");
        assert_eq!(much.len(), MAX_HELP_BYTES);
    }
}
