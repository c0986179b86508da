//! Measures the imports between the top-level modules of the library.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::{self, Visit};

use crate::Source;

/// Counts.
pub struct Modules {
    pub count: f64,
    pub imports: f64,
    pub in_cycles: f64,
}

type Graph = BTreeMap<String, BTreeSet<String>>;

/// Measures the modules of these files.
pub fn measure(sources: &[Source]) -> Modules {
    let graph = graph(sources);
    Modules {
        count: graph.len() as f64,
        imports: graph.values().map(BTreeSet::len).sum::<usize>() as f64,
        in_cycles: graph.keys().filter(|module| reaches(&graph, module, module)).count() as f64,
    }
}

/// Returns the top-level module that a file belongs to; none for the crate's roots.
fn module_of(path: &Path) -> Option<String> {
    let first = path.components().next()?.as_os_str().to_str()?;
    let name = first.strip_suffix(".rs").unwrap_or(first);
    (!matches!(name, "lib" | "main")).then(|| name.to_owned())
}

fn graph(sources: &[Source]) -> Graph {
    let mut graph: Graph =
        sources.iter().filter_map(|source| Some((module_of(&source.path)?, BTreeSet::new()))).collect();
    let modules: BTreeSet<String> = graph.keys().cloned().collect();
    for source in sources {
        let Some(module) = module_of(&source.path) else { continue };
        let mut visitor = Imports::default();
        visitor.visit_file(&source.syntax);
        let mut imported = visitor.names;
        imported.retain(|name| *name != module && modules.contains(name));
        graph.entry(module).or_default().extend(imported);
    }
    graph
}

fn reaches(graph: &Graph, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = graph[from].iter().map(String::as_str).collect();
    while let Some(next) = open.pop() {
        if next == to {
            return true;
        }
        if seen.insert(next) {
            open.extend(graph[next].iter().map(String::as_str));
        }
    }
    false
}

/// Names that follow `crate::` outside of test modules.
#[derive(Default)]
struct Imports {
    names: BTreeSet<String>,
}

impl Imports {
    fn add_tree(&mut self, tree: &syn::UseTree) {
        match tree {
            syn::UseTree::Path(path) => {
                self.names.insert(path.ident.to_string());
            }
            syn::UseTree::Name(name) => {
                self.names.insert(name.ident.to_string());
            }
            syn::UseTree::Rename(rename) => {
                self.names.insert(rename.ident.to_string());
            }
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.add_tree(item)),
            syn::UseTree::Glob(_) => {}
        }
    }
}

impl<'ast> Visit<'ast> for Imports {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.ident != "tests" {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_use_tree(&mut self, tree: &'ast syn::UseTree) {
        if let syn::UseTree::Path(path) = tree
            && path.ident == "crate"
        {
            self.add_tree(&path.tree);
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let mut segments = path.segments.iter();
        if segments.next().is_some_and(|first| first.ident == "crate")
            && let Some(module) = segments.next()
        {
            self.names.insert(module.ident.to_string());
        }
        visit::visit_path(self, path);
    }
}

#[test]
fn a_cycle_is_found() {
    let parse = |path: &str, text: &str| Source {
        path: path.into(),
        text: text.to_owned(),
        syntax: syn::parse_file(text).expect("Rust"),
    };
    let sources = [
        parse("a.rs", "use crate::{b::B, c};"),
        parse("b/mod.rs", "fn f() { crate::c::g() }"),
        parse("b/x.rs", "use crate::a::A;"),
        parse("c.rs", "#[cfg(test)] mod tests { use crate::a; }"),
    ];
    let found = measure(&sources);
    assert_eq!((found.count, found.imports, found.in_cycles), (3.0, 4.0, 2.0));
}
