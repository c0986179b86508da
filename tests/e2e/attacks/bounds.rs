//! Files of commands beyond the bounds of the scan: they may grant permissions, so that they are an error before the start.

use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::Path;

use nix::sys::resource::{Resource, setrlimit};
use serde_json::{Value, json};

use harness::{RunOutput, Sandbox};

const MAX_FILE_BYTES: usize = 64 * 1024;

fn run(sandbox: &Sandbox, instances: &Value) -> RunOutput {
    sandbox.run(&sandbox.config(&json!({ "instances": instances }).to_string()), &["--no-logs"])
}

fn commands(sandbox: &Sandbox) -> std::path::PathBuf {
    sandbox.workspace().join(".claude/commands").canonicalize().expect("it is there")
}

fn expect_error(outcome: &RunOutput, path: &Path, problem: &str) {
    let expected = format!("{} {problem}", path.display());
    assert_eq!(outcome.code, 1, "{}", outcome.dump());
    assert!(outcome.stderr.contains(&expected), "{expected}\n{}", outcome.dump());
}

#[test]
fn restricted_instance_with_a_command_of_unread_size_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.command("go", &format!("---\ndescription: x\n---\n[[say Done.]] {}", "x".repeat(MAX_FILE_BYTES)));
    sandbox.command("small", "[[say Done.]]");
    let restricted = |command: &str| json!([{ "name": "a", "command": command, "allowed_tools": ["Read"] }]);
    let outcome = run(&sandbox, &restricted("/go"));
    expect_error(
        &outcome,
        &commands(&sandbox).join("go.md"),
        "is larger than 64 KiB, and zen reads no more: correct it",
    );
    // Another command, and an instance without a restriction, are not concerned.
    run(&sandbox, &restricted("/small")).expect_code(0);
    run(&sandbox, &json!([{ "name": "a", "command": "/go" }])).expect_code(0);
}

#[test]
fn result_in_the_arguments_of_a_command_that_may_be_unread_is_refused() {
    let sandbox = Sandbox::new();
    sandbox.command("go", "[[say Done.]] $ARGUMENTS");
    let instances = json!([
        { "name": "first", "prompt": "[[say x]]" },
        { "name": "second", "command": "/go {{result:first}}", "depends_on": ["first"] },
    ]);
    run(&sandbox, &instances).expect_code(0);
    sandbox.command("large", &"x".repeat(MAX_FILE_BYTES));
    for i in 0..300 {
        symlink("large.md", commands(&sandbox).join(format!("link{i}.md"))).expect("a link");
    }
    let problem = "brings the files to more than 16 MiB, and zen reads no more: a result in the arguments of /go";
    expect_error(&run(&sandbox, &instances), &commands(&sandbox), problem);
}

/// Links to one file made zen hold more than a gigabyte.
#[test]
fn query_on_many_links_to_one_file_holds_little() {
    let sandbox = Sandbox::new();
    sandbox.command("one", &"x".repeat(MAX_FILE_BYTES));
    for i in 0..4_900 {
        symlink("one.md", commands(&sandbox).join(format!("link{i}.md"))).expect("a link");
    }
    let mut command = sandbox.zen(&["--workspace", "workspace", "--inspect-command", "/one"]);
    let limit = 400 << 20;
    // SAFETY: between fork and exec one system call is made, and nothing is allocated.
    unsafe { command.pre_exec(move || Ok(setrlimit(Resource::RLIMIT_AS, limit, limit)?)) };
    // The fake claude reads the files too, without a bound.
    command.env("ZEN_CLAUDE", "/bin/false");
    let outcome = sandbox.started(&mut command).outcome().expect_code(0);
    assert!(outcome.stderr.contains("brings the files to more than 16 MiB"), "{}", outcome.dump());
}
