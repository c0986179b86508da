//! Names that are wider than their column: the list of failed instances has them whole, the table does not.

use serde_json::json;
use unicode_width::UnicodeWidthStr;

use harness::Sandbox;

/// The width of the names in the table.
const MAX_COLUMNS: usize = 40;

#[test]
fn failed_instances_are_listed_with_whole_names() {
    let sandbox = Sandbox::new();
    // They differ in their ends alone.
    let names: Vec<String> = ["one", "another"]
        .iter()
        .flat_map(|end| [format!("{}{end}", "a long name ".repeat(6)), format!("{}{end}", "長い名前".repeat(16))])
        .collect();
    let long_error = "it broke ".repeat(100);
    let failing = |name: &String| json!({"name": name, "prompt": format!("[[error {long_error}]]")});
    let mut instances: Vec<_> = names.iter().map(failing).collect();
    instances.push(json!({"name": "waits", "prompt": "[[say Done.]]", "depends_on": [names[0]]}));
    let config = sandbox.config(&json!({ "instances": instances }).to_string());
    let outcome = sandbox.run(&config, &[]).expect_code(2);
    let (reports, summary) = outcome.stdout.split_once("Failed Instances:\n").expect("a list");
    let summary: Vec<&str> = summary.lines().collect();
    for name in &names {
        let line = format!("- {name}: it broke it broke");
        let found: Vec<&&str> = summary.iter().filter(|found| found.starts_with(&line)).collect();
        assert_eq!(found.len(), 1, "{line}\n{}", outcome.dump());
        assert!(found[0].ends_with('…'), "the error is cut, and not the name\n{}", outcome.dump());
        assert!(!reports.contains(name.as_str()), "{}", outcome.dump());
    }
    for row in reports.lines().filter(|line| line.contains("| ✗ failed")) {
        let cell = row.split('|').next().expect("a cell").trim_end();
        assert!(cell.width() <= MAX_COLUMNS, "{cell}\n{}", outcome.dump());
    }
}
