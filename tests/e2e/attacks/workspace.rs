//! A project above the current directory that another user controls.

use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, chown, symlink};

use serde_json::json;

use crate::real_cli::{Real, on_each_generation};
use harness::Place;

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
fn plant(place: &Place, mark: &str, owner: u32, directory_mode: u32) {
    let shared = place.path("shared");
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
        let place = Place::new();
        plant(&place, mark, owner, mode);
        let config = place.prompts(&["[[say Done.]]"]);
        let mut zen = place.zen(&["--quiet", "--config", config.to_str().expect("UTF-8")]);
        let outcome = place.started(zen.current_dir(place.path("shared/job"))).outcome().expect_code(0);
        let everything = format!("{mark} of {owner}, {mode:o}\n{}", outcome.everything());
        let workspace = place.path(expected).canonicalize().expect("it is there");
        assert_eq!(outcome.report["workspace"], json!(workspace), "{everything}");
        let is_said = outcome.stderr.contains("is ignored: ") && outcome.stderr.contains(why);
        assert_eq!(is_said, !why.is_empty(), "a quiet run says so too\n{everything}");
    }
}

#[test]
fn project_is_looked_for_above_the_target_of_a_link() {
    let place = Place::new();
    for directory in ["home/real/job", "home/linked/.git"] {
        fs::create_dir_all(place.path(directory)).expect("a directory");
    }
    symlink(place.path("home/real/job"), place.path("home/linked/job")).expect("a link");
    let config = place.prompts(&["[[say Done.]]"]);
    let mut zen = place.zen(&["--config", config.to_str().expect("UTF-8")]);
    let outcome = place.started(zen.current_dir(place.path("home/linked/job"))).outcome().expect_code(0);
    let workspace = place.path("home/real/job").canonicalize().expect("it is there");
    assert_eq!(outcome.report["workspace"], json!(workspace), "{}", outcome.everything());
}

#[test]
fn real_hook_of_another_user_does_not_run() {
    if !is_root("real_hook_of_another_user_does_not_run") {
        return;
    }
    on_each_generation(1, |real: &Real| {
        plant(&real.place, ".claude", NOBODY, 0o1777);
        let ran = real.place.path("ran");
        let command = format!("id -un > {}", ran.display());
        let hooks = json!({"hooks": {"SessionStart": [{"hooks": [{"type": "command", "command": command}]}]}});
        let settings = real.place.path("shared/.claude/settings.json");
        fs::write(&settings, hooks.to_string()).expect("settings");
        chown(&settings, Some(NOBODY), Some(NOBODY)).expect("root may");
        let config = real.place.prompts(&["[[say Done.]]"]);
        let mut zen = real.zen(&["--config", config.to_str().expect("UTF-8")]);
        let outcome = real.place.started(zen.current_dir(real.place.path("shared/job"))).outcome();
        assert!(!ran.exists(), "{}", real.everything(&outcome));
        assert_eq!(outcome.status("a"), "completed", "{}", real.everything(&outcome));
    });
}
