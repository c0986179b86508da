//! Where zen is run: a directory of its own, with a config in it.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::child;

/// A directory of its own, removed at the end.
pub struct Sandbox {
    directory: tempfile::TempDir,
}

impl Sandbox {
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("zen-bench-").tempdir().expect("a temporary directory");
        std::fs::create_dir(directory.path().join("workspace")).expect("a directory");
        Sandbox { directory }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// So many instances that all play this role.
    pub fn instances(&self, count: usize, role: &str) -> PathBuf {
        self.config(&json!({ "instances": (0..count).map(|i| instance(i, role)).collect::<Vec<_>>() }))
    }

    pub fn config(&self, config: &Value) -> PathBuf {
        let file = self.path("config.json");
        std::fs::write(&file, config.to_string()).expect("a config file");
        file
    }

    /// zen on this config, with no delay between launches, no files, and its output thrown away.
    pub fn zen(&self, config: &Path) -> Command {
        let mut command = self.command(zen_binary());
        command.arg("--config").arg(config).arg("--workspace").arg(self.path("workspace"));
        command.arg("--claude").arg(child::program()).args(["--startup-delay", "0"]);
        command
    }

    /// Waits until so many children have noted in this file that they have their turn.
    pub fn wait_for_notes(&self, notes: &Path, count: usize) {
        let began = Instant::now();
        while std::fs::read_to_string(notes).unwrap_or_default().lines().count() < count {
            assert!(began.elapsed() < Duration::from_secs(120), "not all of {count} instances have their turn");
            sleep(Duration::from_millis(50));
        }
    }

    /// A command in this place, with an environment of its own.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(self.directory.path()).env_clear().envs([
            ("PATH", std::env::var("PATH").unwrap_or_default().as_str()),
            ("HOME", self.directory.path().to_str().expect("a path in UTF-8")),
            ("LANG", "C.UTF-8"),
            ("IS_SANDBOX", "1"),
            (child::ROLE, "answer"),
        ]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

/// An instance of a config that plays this role.
pub fn instance(number: usize, role: &str) -> Value {
    json!({ "name": format!("i{number}"), "prompt": "go", "env": { child::ROLE: role } })
}

/// The zen that is measured: `ZEN_BINARY`, or the one that cargo has built with this.
fn zen_binary() -> PathBuf {
    std::env::var_os("ZEN_BINARY").map_or_else(|| env!("CARGO_BIN_EXE_zen").into(), PathBuf::from)
}
