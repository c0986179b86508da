//! `make bench`: what zen costs, side by side with what a user would take instead. Prints a table and writes it to
//! `target/bench.md`. One row of the table, one function below `rows`; `ROWS=memory,idle` measures only those.
//!
//! This program is also every child that is run in it: see `child`.

mod child;
mod measure;
mod rivals;
mod rows;
mod sandbox;
mod table;

use table::Table;

/// A name to ask for it by, and what measures it.
type Row = (&'static str, fn(&mut Table));

const ROWS: &[Row] = &[
    ("start", rows::start::start),
    ("plans", rows::start::plans),
    ("instances", rows::instances::instances),
    ("reading", rows::reading::reading),
    ("memory", rows::memory::memory),
    ("idle", rows::idle::idle),
    ("latency", rows::latency::latency),
    ("growth", rows::growth::growth),
];

fn main() {
    if let Ok(role) = std::env::var(child::ROLE) {
        child::play(&role);
    }
    // Started as a child by somebody who has forgotten the role, it must not measure: its children would be a thousand more.
    if !std::env::args().any(|argument| argument == "--bench") {
        eprintln!("bench: this is started by cargo bench");
        std::process::exit(1);
    }
    let wanted = std::env::var("ROWS").unwrap_or_default();
    let wanted: Vec<&str> = wanted.split([',', ' ']).filter(|name| !name.is_empty()).collect();
    let names: Vec<&str> = ROWS.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(name)) {
        eprintln!("bench: ROWS={unknown}: there are {}", names.join(", "));
        std::process::exit(1);
    }
    let mut table = Table::default();
    for (name, row) in ROWS.iter().filter(|(name, _)| wanted.is_empty() || wanted.contains(name)) {
        eprintln!("bench: {name}");
        row(&mut table);
    }
    let text = table.text();
    print!("{text}");
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("target/bench.md");
    std::fs::write(&file, text).expect("target/bench.md can be written");
    eprintln!("bench: {}", file.display());
}
