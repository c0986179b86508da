//! A project above the current directory that another user controls.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use serde_json::json;

use crate::real_cli::{Real, on_each_generation};
use harness::Sandbox;

const NOBODY: u32 = 65_534;

/// Returns false, and says so, if this process may not give files to another user.
fn is_root(test: &str) -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        let _ = writeln!(std::io::stderr(), "left out: {test}: needs root to make files of another user");
    }
    is_root
}

/// Makes `shared/` with a mark of this owner and mode below it, and the directory `shared/job`.
fn plant(sandbox: &Sandbox, mark: &str, owner: u32, directory_mode: u32) {
    let shared = sandbox.path("shared");
    fs::create_dir_all(shared.join(mark)).expect("a directory");
    fs::create_dir_all(shared.join("job")).expect("a directory");
    chown(shared.join(mark), Some(owner), Some(owner)).expect("root may");
    fs::set_permissions(&shared, Permissions::from_mode(directory_mode)).expect("permissions");
}

#[test]
fn project_of_another_user_is_not_the_workspace() {
    if !is_root("project_of_another_user_is_not_the_workspace") {
        return;
    }
    for (mark, owner, mode, expected, why) in [
        (".claude", NOBODY, 0o1777, "shared/job", "shared"),
        (".git", NOBODY, 0o755, "shared/job", "shared/.git belongs to another user"),
        (".claude", 0, 0o775, "shared/job", "other users can write to"),
        (".claude", 0, 0o755, "shared", ""),
    ] {
        let sandbox = Sandbox::new();
        plant(&sandbox, mark, owner, mode);
        let config = sandbox.prompts(&["[[say Done.]]"]);
        let mut zen = sandbox.zen(&["--quiet", "--config", config.to_str().expect("UTF-8")]);
        let outcome = sandbox.started(zen.current_dir(sandbox.path("shared/job"))).outcome().expect_code(0);
        let dump = format!("{mark} of {owner}, {mode:o}\n{}", outcome.dump());
        let workspace = sandbox.path(expected).canonicalize().expect("it is there");
        assert_eq!(outcome.report["workspace"], json!(workspace), "{dump}");
        let is_said = outcome.stderr.contains("is ignored: ") && outcome.stderr.contains(why);
        assert_eq!(is_said, !why.is_empty(), "a quiet run says so too\n{dump}");
    }
}

#[test]
fn project_is_looked_for_above_the_target_of_a_link() {
    let sandbox = Sandbox::new();
    for directory in ["home/real/job", "home/linked/.git"] {
        fs::create_dir_all(sandbox.path(directory)).expect("a directory");
    }
    symlink(sandbox.path("home/real/job"), sandbox.path("home/linked/job")).expect("a link");
    let config = sandbox.prompts(&["[[say Done.]]"]);
    let mut zen = sandbox.zen(&["--config", config.to_str().expect("UTF-8")]);
    let outcome = sandbox.started(zen.current_dir(sandbox.path("home/linked/job"))).outcome().expect_code(0);
    let workspace = sandbox.path("home/real/job").canonicalize().expect("it is there");
    assert_eq!(outcome.report["workspace"], json!(workspace), "{}", outcome.dump());
}

#[test]
fn real_hook_of_another_user_does_not_run() {
    if !is_root("real_hook_of_another_user_does_not_run") {
        return;
    }
    on_each_generation(1, |real: &Real| {
        plant(&real.sandbox, ".claude", NOBODY, 0o1777);
        let ran = real.sandbox.path("ran");
        let command = format!("id -un > {}", ran.display());
        let hooks = json!({"hooks": {"SessionStart": [{"hooks": [{"type": "command", "command": command}]}]}});
        let settings = real.sandbox.path("shared/.claude/settings.json");
        fs::write(&settings, hooks.to_string()).expect("settings");
        chown(&settings, Some(NOBODY), Some(NOBODY)).expect("root may");
        let config = real.sandbox.prompts(&["[[say Done.]]"]);
        let mut zen = real.zen(&["--config", config.to_str().expect("UTF-8")]);
        let outcome = real.sandbox.started(zen.current_dir(real.sandbox.path("shared/job"))).outcome();
        assert!(!ran.exists(), "{}", real.dump(&outcome));
        assert_eq!(outcome.status("a"), "completed", "{}", real.dump(&outcome));
    });
}
