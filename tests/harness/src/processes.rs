//! Finds processes in /proc by their environment.

use std::fs;

/// Returns each living process whose environment has this `NAME=VALUE`, as "pid: command line".
pub fn processes_with(variable: &str) -> Vec<String> {
    pids_with(variable).into_iter().map(|pid| format!("{pid}: {}", command_line(pid))).collect()
}

/// True if the process exists and is no zombie.
pub fn is_alive(pid: i32) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| stat.rsplit(')').next().map(|rest| !rest.trim_start().starts_with(['Z', 'X'])))
        .unwrap_or(false)
}

/// True if the process exists, as a zombie or not.
pub fn exists(pid: i32) -> bool {
    fs::exists(format!("/proc/{pid}")).expect("/proc is there")
}

/// Returns the children of a process, zombies included.
pub fn children_of(pid: i32) -> Vec<i32> {
    let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Kills each process whose environment has this `NAME=VALUE`.
pub fn end_all_with(variable: &str) {
    for pid in pids_with(variable) {
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
}

fn pids_with(variable: &str) -> Vec<i32> {
    let entries = fs::read_dir("/proc").expect("/proc is there");
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let has = |environment: Vec<u8>| environment.split(|&b| b == 0).any(|v| v == variable.as_bytes());
    pids.filter(|pid| is_alive(*pid) && fs::read(format!("/proc/{pid}/environ")).is_ok_and(has)).collect()
}

fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}
