//! Settings of claude that are endless, or that zen does not understand; and patterns that allow more than they seem to.

use std::fs;
use std::os::unix::fs::symlink;
use std::time::Duration;

use crate::support::Place;

const RESTRICTED: &str =
    r#"{"instances": [{"name": "a", "prompt": "[[say Done.]]", "allowed_tools": ["Read", "Bash(git log *)"]}]}"#;

#[test]
fn settings_that_cannot_be_read_are_a_mistake_before_the_start() {
    type Make = fn(&std::path::Path);
    let cases: [(Make, &str); 5] = [
        (|file| symlink("/dev/zero", file).expect("a link"), "is not a regular file"),
        (|file| nix::unistd::mkfifo(file, nix::sys::stat::Mode::S_IRWXU).expect("a pipe"), "is not a regular file"),
        (|file| fs::write(file, vec![b' '; 2 * 1024 * 1024]).expect("a file"), "is larger than 1 MiB"),
        (
            |file| fs::write(file, "[".repeat(200) + &"]".repeat(200)).expect("a file"),
            "is no JSON that zen understands",
        ),
        (|file| fs::write(file, "{\"a\": 1e999}").expect("a file"), "is no JSON that zen understands"),
    ];
    for (make, why) in cases {
        let place = Place::new();
        make(&place.workspace().join(".claude/settings.local.json"));
        let zen = place.start(&place.config(RESTRICTED), &["--dry-run"]);
        let outcome = zen.outcome_within(Duration::from_secs(60)).expect_code(1);
        let everything = outcome.everything();
        assert!(outcome.stderr.contains("settings.local.json") && outcome.stderr.contains(why), "{everything}");
        let free = r#"{"instances": [{"name": "a", "prompt": "[[say Done.]]"}]}"#;
        place.run(&place.config(free), &["--dry-run"]).expect_code(0);
    }
}

#[test]
fn rule_behind_a_byte_order_mark_is_seen() {
    let place = Place::new();
    let settings = "\u{feff}{\"permissions\": {\"allow\": [\"Bash\"]}}";
    fs::write(place.workspace().join(".claude/settings.json"), settings).expect("settings");
    let outcome = place.run(&place.config(RESTRICTED), &["--dry-run"]).expect_code(1);
    assert!(outcome.stderr.contains("settings.json allows 'Bash', which is more"), "{}", outcome.everything());
}

#[test]
fn pattern_over_a_program_that_runs_others_is_a_warning() {
    let place = Place::new();
    let config = RESTRICTED.replace("git log *", "git *");
    let outcome = place.run(&place.config(&config), &["--quiet"]).expect_code(0);
    let warning = "'Bash(git *)' allows any program, because git runs others";
    assert!(outcome.stderr.contains(warning), "{}", outcome.everything());
    let outcome = place.run(&place.config(RESTRICTED), &[]).expect_code(0);
    assert!(!outcome.stderr.contains("allows any program"), "{}", outcome.everything());
}
