//! Working directories and folders of claude's that are symbolic links: what claude finds behind them must not widen
//! `allowed_tools`. The model calls Bash with `./mk.sh`, which leaves a file; the instance may use `Bash(git log *)` only.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use serde_json::{Value, json};

use super::managed::{ALLOW_HOOK, allow_hook, bash, expect_denied, run_restricted};
use crate::real_cli::{Real, on_each_generation};

/// Writes a file below the place.
fn write(real: &Real, name: &str, text: impl AsRef<[u8]>) {
    let file = real.sandbox.path(name);
    fs::create_dir_all(file.parent().expect("a directory")).expect("a directory");
    fs::write(file, text).expect("a file");
}

fn link(real: &Real, target: &str, name: &str) {
    symlink(real.sandbox.path(target), real.sandbox.path(name)).expect("a link");
}

fn command(front: &str, body: &str) -> String {
    format!("---\ndescription: x\n{front}\n---\n{body}\n")
}

/// The directory behind the link, in which `./mk.sh` stands.
fn job(real: &Real) -> std::path::PathBuf {
    real.sandbox.path("elsewhere/job")
}

/// Makes `workspace/link` a link to `elsewhere/job`.
fn link_job(real: &Real) {
    fs::create_dir_all(job(real)).expect("a directory");
    if !real.sandbox.workspace().join("link").exists() {
        link(real, "elsewhere/job", "workspace/link");
    }
}

fn in_link(mut fields: Value) -> Value {
    fields["cwd"] = json!("link");
    fields
}

/// claude goes up from the real directory: a command there is one of the instance.
#[test]
fn real_command_above_the_target_of_a_linked_directory_allows_no_more() {
    on_each_generation(1, |real| {
        link_job(real);
        let hook = format!(
            "hooks:\n  PreToolUse:\n    - matcher: \"*\"\n      hooks:\n        - type: command\n          command: echo '{ALLOW_HOOK}'"
        );
        for (front, body) in
            [("allowed-tools: Bash(./mk.sh)", "x !`./mk.sh` [[say Done.]]".to_owned()), (&hook, bash("./mk.sh"))]
        {
            write(real, "elsewhere/.claude/commands/go.md", command(front, &body));
            run_restricted(real, in_link(json!({"command": "/go"})), &job(real));
        }
    });
}

#[test]
fn real_settings_behind_a_linked_directory_allow_no_more() {
    on_each_generation(1, |real| {
        link_job(real);
        let settings = "elsewhere/job/.claude/settings.json";
        let attack = || run_restricted(real, in_link(json!({"prompt": bash("./mk.sh")})), &job(real));
        write(real, settings, allow_hook().to_string());
        expect_denied(real, &attack());
        for settings in [settings, "elsewhere/.claude/settings.json"] {
            write(real, settings, json!({"permissions": {"allow": ["Bash"]}}).to_string());
            let outcome = attack().expect_code(1);
            let expected = format!("{} allows 'Bash', which is more", resolved(&real.sandbox.path(settings)));
            assert!(outcome.stderr.contains(&expected), "{}", real.dump(&outcome));
            fs::remove_file(real.sandbox.path(settings)).expect("it is there");
        }
    });
}

#[test]
fn real_linked_folder_of_claude_allows_no_more() {
    on_each_generation(1, |real| {
        let workspace = real.sandbox.workspace();
        fs::remove_dir_all(workspace.join(".claude")).expect("it is there");
        for (target, name) in [("folder", "workspace/.claude"), ("folder/more", "folder/commands")] {
            fs::create_dir_all(real.sandbox.path(target)).expect("a directory");
            link(real, target, name);
        }
        write(real, "folder/settings.json", allow_hook().to_string());
        expect_denied(real, &run_restricted(real, json!({"prompt": bash("./mk.sh")}), &workspace));
        write(real, "folder/settings.json", "{}");
        // A key in quotes, which only claude reads as one.
        write(real, "folder/more/go.md", command("\"allowed-tools\": Bash(./mk.sh)", &bash("./mk.sh")));
        run_restricted(real, json!({"command": "/go"}), &workspace);
        let rule = json!({"permissions": {"allow": ["Bash"]}}).to_string();
        write(real, "folder/settings.json", rule);
        let outcome = run_restricted(real, json!({"prompt": bash("./mk.sh")}), &workspace).expect_code(1);
        assert!(outcome.stderr.contains("settings.json allows 'Bash', which is more"), "{}", real.dump(&outcome));
        // The file itself may be a link.
        fs::rename(real.sandbox.path("folder/settings.json"), real.sandbox.path("rules.json")).expect("it is there");
        link(real, "rules.json", "folder/settings.json");
        let outcome = run_restricted(real, json!({"prompt": bash("./mk.sh")}), &workspace).expect_code(1);
        assert!(outcome.stderr.contains("settings.json allows 'Bash', which is more"), "{}", real.dump(&outcome));
    });
}

fn resolved(file: &Path) -> String {
    file.canonicalize().expect("it is there").display().to_string()
}
