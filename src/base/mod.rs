//! Domain-independent helpers: text, time, hashes, lines. Imports no other layer.

pub mod lines;
pub mod sha256;
pub mod start_at;
pub mod suggest;
pub mod text;
pub mod timestamp;

/// Numbers of random cases.
#[cfg(test)]
pub(crate) mod cases {
    use proptest::test_runner::Config;

    /// Returns a quarter of the usual number of cases, for properties that take milliseconds each.
    ///
    /// The usual number is 256, or `PROPTEST_CASES`, which `make fuzz` sets to several thousand.
    pub(crate) fn few() -> Config {
        let usual = Config::default();
        Config { cases: usual.cases.div_ceil(4), ..usual }
    }
}

/// Golden files in `tests/golden`: the expected wording of messages. `UPDATE_EXPECTED=1` rewrites them.
#[cfg(test)]
pub(crate) mod golden {
    use std::path::Path;

    /// Compares a text with the golden file of this name, such as `config_errors.txt`.
    pub(crate) fn assert_golden(name: &str, actual: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name);
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            std::fs::create_dir_all(path.parent().expect("a directory")).expect("a directory for golden files");
            std::fs::write(&path, actual).expect("a writable golden file");
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        if expected == actual {
            return;
        }
        let mut lines = expected.lines().zip(actual.lines()).enumerate();
        let difference = match lines.find(|(_, (expected, actual))| expected != actual) {
            Some((i, (expected, actual))) => format!("line {}:\n  expected {expected}\n  actual   {actual}", i + 1),
            None => format!("expected {} lines, got {}", expected.lines().count(), actual.lines().count()),
        };
        panic!("{} differs: {difference}\nUPDATE_EXPECTED=1 rewrites it", path.display());
    }
}
