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
fn removed_current_directory_is_not_the_workspace() {
    let sandbox = Sandbox::new();
    fs::create_dir(sandbox.path("gone")).expect("a directory");
    let config = sandbox.prompts(&["[[say Done.]]"]);
    let zen = sandbox.zen(&["--config", config.to_str().expect("UTF-8")]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "cd gone && rmdir ../gone && exec \"$0\" \"$@\""]);
    shell.arg(zen.get_program()).args(zen.get_args()).current_dir(sandbox.path(""));
    shell.env_clear().envs(zen.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let outcome = sandbox.started(&mut shell).outcome().expect_code(1);
    let expected = "zen: the current directory was removed: change to another one\n";
    assert_eq!(outcome.stderr, expected, "{}", outcome.dump());
}

#[test]
fn log_directory_of_another_user_is_warned_of() {
    if !is_root("log_directory_of_another_user_is_warned_of") {
        return;
    }
    for (owner, mode, problem) in [
        (NOBODY, 0o1777, Some("logs belongs to another user")),
        (0, 0o777, Some("other users can write to")),
        (0, 0o1777, None),
        (0, 0o755, None),
    ] {
        let sandbox = Sandbox::new();
        fs::create_dir(sandbox.path("logs")).expect("a directory");
        chown(sandbox.path("logs"), Some(owner), None).expect("root may");
        fs::set_permissions(sandbox.path("logs"), Permissions::from_mode(mode)).expect("permissions");
        let config = sandbox.prompts(&["[[say Done.]]"]);
        let outcome = sandbox.run(&config, &["--quiet", "--log-dir", "logs"]).expect_code(0);
        let warning = outcome.stderr.lines().find(|line| line.starts_with("zen: log directory: "));
        let is_expected = match (warning, problem) {
            (Some(warning), Some(problem)) => warning.contains(problem) && warning.ends_with("with --log-dir DIR"),
            (warning, problem) => warning.is_none() && problem.is_none(),
        };
        assert!(is_expected, "{owner} {mode:o}\n{}", outcome.dump());
    }
}

/// An instance can move its files away and put others in their place.
#[test]
fn replaced_directory_of_an_instance_is_reported() {
    let sandbox = Sandbox::new();
    let command = "cd \"$HOME/../state/zen/latest\" && mv 01-a moved && mkdir 01-a && echo {} > 01-a/stream.jsonl";
    let tool = json!({ "command": command });
    let outcome = sandbox.run(&sandbox.prompts(&[&format!("[[tool Bash {tool}]] [[say Done.]]")]), &[]).expect_code(0);
    let expected = "/01-a/stream.jsonl: it was moved, removed or replaced";
    assert!(outcome.stderr.contains(expected), "{}", outcome.dump());
    assert!(outcome.stdout.contains("stream.jsonl"), "the summary names it\n{}", outcome.dump());
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
