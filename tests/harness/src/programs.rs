//! The programs and files that tests use: zen, the fake claude, the fixtures.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

const PACKAGE: &str = "zen-harness";
const FAKE_CLAUDE: &str = "fake-claude";

/// Returns the root of the repository.
pub fn repository() -> &'static Path {
    let harness = Path::new(env!("CARGO_MANIFEST_DIR"));
    harness.ancestors().nth(2).expect("the harness is two directories below the root")
}

/// Returns the path of a fixture.
pub fn fixture(name: &str) -> PathBuf {
    repository().join("tests/fixtures").join(name)
}

/// Returns the zen under test: `$ZEN_BINARY` (`make static` builds one), or else the one that cargo built with the tests.
pub fn zen_binary() -> PathBuf {
    std::env::var_os("ZEN_BINARY").map_or_else(|| Build::of_this_test().directory.join("zen"), PathBuf::from)
}

/// Returns the fake claude, which the first call builds if it is missing or out of date.
///
/// `cargo test --workspace` builds it with the tests. A test target that is built by itself comes without it, because cargo
/// builds no program of a dependency.
///
/// # Panics
/// If the build fails.
pub fn fake_claude() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| Build::of_this_test().program(FAKE_CLAUDE))
}

/// The cargo build that made the running test program.
struct Build {
    /// Holds the programs: `<target directory>[/<target triple>]/<profile>`.
    directory: PathBuf,
}

impl Build {
    fn of_this_test() -> Build {
        // It is in `deps`, below that directory.
        let program = std::env::current_exe().expect("/proc is mounted");
        Build { directory: program.ancestors().nth(2).expect("a test is built below a target directory").to_owned() }
    }

    /// Returns the path of a program of this package, in the profile and target directory of the test.
    fn program(&self, name: &str) -> PathBuf {
        let program = self.directory.join(name);
        if is_up_to_date(&program) { program } else { self.build(name) }
    }

    /// Builds a program of this package. A lock of cargo's own keeps processes that build at the same time apart.
    fn build(&self, name: &str) -> PathBuf {
        // Cargo sets the variable for tests that it runs itself.
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| env!("CARGO").into());
        let mut command = Command::new(cargo);
        command.args(["build", "--quiet", "--message-format", "json", "--package", PACKAGE, "--bin", name]);
        command.args(self.arguments()).current_dir(repository()).stdin(Stdio::null());
        let output = command.output().expect("cargo can be run");
        let messages = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name} cannot be built: {command:?}\n{errors}\n{messages}");
        executable(&messages, name).unwrap_or_else(|| panic!("cargo built no {name}: {command:?}\n{messages}"))
    }

    fn arguments(&self) -> Vec<String> {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let path = |path: &Path| path.to_str().expect("a target directory in UTF-8").to_owned();
        let profile = match name(&self.directory).as_str() {
            "debug" => "dev".to_owned(),
            other => other.to_owned(),
        };
        let mut arguments = vec!["--profile".to_owned(), profile];
        let parent = self.directory.parent().expect("a profile is below a target directory");
        let is_triple = name(parent).starts_with(&format!("{}-", std::env::consts::ARCH));
        let target = if is_triple { parent.parent().expect("a triple is below a target directory") } else { parent };
        if is_triple {
            arguments.extend(["--target".to_owned(), name(parent)]);
        }
        arguments.extend(["--target-dir".to_owned(), path(target)]);
        arguments
    }
}

/// True if a program is newer than all its sources, which cargo lists in a file beside it.
fn is_up_to_date(program: &Path) -> bool {
    let modified = |path: &Path| path.metadata().and_then(|metadata| metadata.modified()).ok();
    let (Some(built), Ok(list)) = (modified(program), fs::read_to_string(program.with_extension("d"))) else {
        return false;
    };
    let sources = sources(&list);
    !sources.is_empty()
        && sources.iter().all(|source| modified(&repository().join(source)).is_some_and(|changed| changed < built))
}

/// Returns the files after the colon of a makefile rule, in which a backslash escapes a space.
fn sources(rule: &str) -> Vec<String> {
    const SPACE: &str = "\0";
    let (_, files) = rule.trim_end().split_once(": ").unwrap_or_default();
    files.replace("\\ ", SPACE).split_whitespace().map(|file| file.replace(SPACE, " ")).collect()
}

/// Returns the path of the program of this name from the JSON messages of cargo.
fn executable(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().find_map(|line| {
        let message: Value = serde_json::from_str(line).ok()?;
        let is_program = message["reason"] == "compiler-artifact" && message["target"]["name"] == name;
        message["executable"].as_str().filter(|_| is_program).map(PathBuf::from)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_select_profile_target_and_directory() {
        let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        for (directory, expected) in [
            ("/t/debug".to_owned(), vec!["--profile", "dev", "--target-dir", "/t"]),
            ("/t/release".to_owned(), vec!["--profile", "release", "--target-dir", "/t"]),
            (format!("/t/{triple}/debug"), vec!["--profile", "dev", "--target", triple.as_str(), "--target-dir", "/t"]),
        ] {
            assert_eq!(Build { directory: directory.into() }.arguments(), expected);
        }
    }

    #[test]
    fn sources_of_a_rule_may_contain_spaces() {
        assert_eq!(sources("/t/fake-claude: /a/main.rs /a\\ b/c.rs\n"), ["/a/main.rs", "/a b/c.rs"]);
        assert!(sources("").is_empty());
    }

    #[test]
    fn program_without_a_list_of_sources_is_out_of_date() {
        let directory = tempfile::tempdir().expect("a directory");
        let program = directory.path().join("program");
        fs::write(&program, "").expect("a file");
        assert!(!is_up_to_date(&program));
        fs::write(program.with_extension("d"), format!("x: {}/Cargo.toml\n", repository().display())).expect("a file");
        assert!(is_up_to_date(&program));
        fs::write(program.with_extension("d"), "x: /no/such/file\n").expect("a file");
        assert!(!is_up_to_date(&program));
    }

    #[test]
    fn fake_claude_is_built_on_demand() {
        let version = Command::new(fake_claude()).arg("--version").output().expect("it starts");
        assert!(String::from_utf8_lossy(&version.stdout).contains("Claude Code"), "{version:?}");
    }
}
