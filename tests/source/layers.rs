//! Holds the layers of the library: each imports only the layers below it, and the pure ones have no effects.

use std::collections::BTreeSet;

use syn::visit::{self, Visit};

use crate::Source;

/// A layer, and the layers that it may import. The documentation of `src/lib.rs` has the picture.
const LAYERS: [(&str, &[&str]); 11] = [
    ("base", &[]),
    ("claude", &["base"]),
    ("config", &["base", "claude"]),
    ("plan", &["base", "claude", "config"]),
    ("engine", &["base", "claude", "config", "plan"]),
    // Of the engine, only the exit status of a process.
    ("system", &["base", "engine"]),
    ("report", &["base", "claude", "config", "plan", "engine"]),
    ("cli", &["base", "config", "engine", "report"]),
    ("preflight", &["base", "claude", "config", "plan", "engine", "system", "cli"]),
    ("run", &["base", "claude", "config", "plan", "engine", "system", "report"]),
    ("app", &["base", "claude", "config", "plan", "engine", "system", "report", "cli", "preflight", "run"]),
];

/// Layers without effects: time, text and events come in as arguments.
const PURE: [&str; 7] = ["base", "claude", "config", "plan", "engine", "report", "cli"];

/// Paths that a pure layer must not name.
const EFFECTS: [&str; 12] = [
    "nix",
    "libc",
    "signal_hook",
    "ctrlc",
    "wait_timeout",
    "std::fs",
    "std::env",
    "std::process",
    "std::thread",
    "Instant::now",
    "SystemTime::now",
    "std::net",
];

/// Returns each breach of the rules as a line.
fn breaches(sources: &[Source]) -> Vec<String> {
    let mut breaches = Vec::new();
    for source in sources {
        let file = source.path.display();
        let mut parts = source.path.iter().map(|part| part.to_string_lossy());
        let (Some(layer), Some(_)) = (parts.next(), parts.next()) else { continue };
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == layer) else {
            breaches.push(format!("{file}: {layer} is no layer"));
            continue;
        };
        let mut paths = Paths::default();
        paths.visit_file(&source.syntax);
        for path in &paths.found {
            let imported = path.strip_prefix("crate::").map(|path| path.split("::").next().unwrap_or(path));
            if let Some(imported) = imported
                && imported != layer
                && !allowed.contains(&imported)
            {
                breaches.push(format!("{file}: {layer} must not import {imported}: {path}"));
            }
            let has_effect = EFFECTS.iter().any(|effect| {
                path == effect || path.starts_with(&format!("{effect}::")) || path.ends_with(&format!("::{effect}"))
            });
            if has_effect && PURE.contains(&&*layer) {
                breaches.push(format!("{file}: {layer} is pure and must not use {path}"));
            }
        }
    }
    breaches
}

/// Whole paths outside of test modules, of `use` declarations and of expressions.
#[derive(Default)]
struct Paths {
    found: BTreeSet<String>,
}

impl Paths {
    fn add_tree(&mut self, prefix: &str, tree: &syn::UseTree) {
        let join = |name: &syn::Ident| if prefix.is_empty() { name.to_string() } else { format!("{prefix}::{name}") };
        match tree {
            syn::UseTree::Path(path) => self.add_tree(&join(&path.ident), &path.tree),
            syn::UseTree::Name(name) => drop(self.found.insert(join(&name.ident))),
            syn::UseTree::Rename(rename) => drop(self.found.insert(join(&rename.ident))),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.add_tree(prefix, item)),
            syn::UseTree::Glob(_) => drop(self.found.insert(prefix.to_owned())),
        }
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|word| word == "test")
    })
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.add_tree("", &item.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.found.insert(names.join("::"));
        visit::visit_path(self, path);
    }
}

#[test]
fn each_layer_imports_only_lower_layers_and_pure_ones_have_no_effects() {
    let breaches = breaches(&crate::sources());
    assert!(breaches.is_empty(), "\n{}", breaches.join("\n"));
}

#[test]
fn breaches_of_the_layers_are_found() {
    let parse = |path: &str, text: &str| Source {
        path: path.into(),
        text: text.to_owned(),
        syntax: syn::parse_file(text).expect("Rust"),
    };
    let found = breaches(&[
        parse("lib.rs", "pub mod base;"),
        parse("base/lines.rs", "use crate::{base::text, plan::Plan};"),
        parse(
            "engine/mod.rs",
            "use std::fs; fn f() { std::time::Instant::now(); }\n#[cfg(test)] mod tests { use std::env; }",
        ),
        parse("system/child.rs", "use nix::poll::poll; use crate::engine::outcome::ExitStatus;"),
        parse("new/mod.rs", ""),
    ]);
    assert_eq!(
        found,
        [
            "base/lines.rs: base must not import plan: crate::plan::Plan",
            "engine/mod.rs: engine is pure and must not use std::fs",
            "engine/mod.rs: engine is pure and must not use std::time::Instant::now",
            "new/mod.rs: new is no layer",
        ]
    );
}
