//! What a user would take instead, where it is installed.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;

use crate::sandbox::Sandbox;

/// The program of that name on the PATH.
pub fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// netra-zen as `.ci/install-netra-zen` has installed it, with its telemetry off; as root, with no network at all. It runs
/// so many instances, and knows prompts only as commands.
pub fn netra_zen(sandbox: &Sandbox, instances: usize) -> Option<Command> {
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/netra-zen/bin/zen");
    if !program.is_file() {
        return None;
    }
    let mut command = if nix::unistd::geteuid().is_root() {
        let mut command = sandbox.command("unshare");
        command.arg("--net").arg(program);
        command
    } else {
        sandbox.command(program)
    };
    // It finds claude by its name only.
    let programs = sandbox.path("bin");
    let _ = std::fs::create_dir(&programs);
    let _ = std::os::unix::fs::symlink(crate::child::program(), programs.join("claude"));
    let path = std::env::var("PATH").unwrap_or_default();
    command.env("PATH", format!("{}:{path}", programs.display())).env("ZEN_TELEMETRY_DISABLED", "1");
    command.arg("--workspace").arg(sandbox.path("workspace")).args(["--startup-delay", "0", "--quiet"]);
    let instances: Vec<_> = (0..instances).map(|i| json!({ "name": format!("i{i}"), "command": "go" })).collect();
    let config = sandbox.path("netra.json");
    std::fs::write(&config, json!({ "instances": instances }).to_string()).expect("a config file");
    command.arg("--config").arg(config);
    Some(command)
}

/// What stands in the table for one that is not there.
pub fn missing(name: &str) -> String {
    format!("{name}: not installed here")
}
