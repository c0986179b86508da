//! Checks of the source text itself: the prose of its comments, the shape of its code, and the imports between its modules.
//!
//! Each figure has a limit, which holds what was reached, and a goal. Lower a limit whenever the figure has fallen.
//! `make figures` prints all of them.

mod code;
mod layers;
mod modules;
mod prose;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};

/// A file below `src`.
struct Source {
    /// Path below `src`.
    path: PathBuf,
    text: String,
    syntax: syn::File,
}

/// One measurement with its bounds.
struct Figure {
    name: &'static str,
    value: f64,
    limit: Bound,
    goal: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    AtMost(f64),
    AtLeast(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Bound::AtMost(bound) => value <= bound,
            Bound::AtLeast(bound) => value >= bound,
        }
    }

    fn describe(self) -> String {
        match self {
            Bound::AtMost(bound) => format!("at most {bound}"),
            Bound::AtLeast(bound) => format!("at least {bound}"),
        }
    }
}

/// Returns all Rust files below `src`, parsed, in the order of their paths.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&root, &mut files);
    files.sort();
    let parse = |file: PathBuf| {
        let text = fs::read_to_string(&file).expect("a source file is UTF-8");
        let syntax = syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        let path = file.strip_prefix(&root).expect("below src").to_owned();
        Source { path, text, syntax }
    };
    files.into_iter().filter(|file| !is_test(file)).map(parse).collect()
}

/// Returns true if a file has only tests, by its name or directory.
fn is_test(file: &Path) -> bool {
    let is_test = |name: &OsStr| ["tests.rs", "samples.rs", "simulation"].iter().any(|test| name == *test);
    file.iter().any(is_test)
}

fn collect(directory: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).expect("src can be listed") {
        let path = entry.expect("src can be listed").path();
        if path.is_dir() {
            collect(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

#[test]
fn figures_keep_their_limits() {
    use Bound::{AtLeast, AtMost};
    let sources = sources();
    let prose = prose::measure(&sources);
    let code = code::measure(&sources);
    let modules = modules::measure(&sources);
    let figure = |name, value, limit, goal| Figure { name, value, limit, goal };
    let figures = [
        figure("told, tell, said, say per 1,000 comment words", prose.tell, AtMost(0.5), AtMost(0.5)),
        figure("who, whom, whose per 1,000 comment words", prose.who, AtMost(0.5), AtMost(0.5)),
        figure("returns per 1,000 comment words", prose.returns, AtLeast(3.0), AtLeast(3.0)),
        figure("doc blocks that open with What, per 1,000 words", prose.what_openers, AtMost(1.0), AtMost(1.0)),
        figure("doc blocks that open with a pronoun, percent", prose.pronoun_openers, AtMost(5.0), AtMost(5.0)),
        figure("dialect words per 1,000 comment words", prose.dialect, AtMost(0.0), AtMost(0.0)),
        figure("closures per 1,000 code lines", code.closures, AtMost(30.0), AtMost(30.0)),
        figure("matches on a bool", code.bool_matches, AtMost(0.0), AtMost(0.0)),
        figure("calls of filter that ignore the item", code.blind_filters, AtMost(0.0), AtMost(0.0)),
        figure("types Result<_, String>", code.string_errors, AtMost(2.0), AtMost(15.0)),
        figure("functions over 60 lines", code.long_functions, AtMost(0.0), AtMost(0.0)),
        figure("lines of the longest function", code.longest_function, AtMost(60.0), AtMost(60.0)),
        figure("functions with over four parameters", code.wide_functions, AtMost(0.0), AtMost(0.0)),
        figure("fields of the largest struct", code.most_fields, AtMost(37.0), AtMost(15.0)),
        figure("methods of the largest type", code.most_methods, AtMost(72.0), AtMost(30.0)),
        figure("top-level modules", modules.count, AtMost(11.0), AtMost(12.0)),
        figure("imports between top-level modules", modules.imports, AtMost(44.0), AtMost(50.0)),
        figure("top-level modules in import cycles", modules.in_cycles, AtMost(0.0), AtMost(0.0)),
    ];
    println!("{:<52} {:>8}  {:<16} goal", "figure", "value", "limit");
    for Figure { name, value, limit, goal } in &figures {
        println!("{name:<52} {value:>8.2}  {:<16} {}", limit.describe(), goal.describe());
    }
    for Figure { name, value, limit, .. } in &figures {
        assert!(limit.holds(*value), "{name}: {value:.2}, and the limit is {}", limit.describe());
    }
}
