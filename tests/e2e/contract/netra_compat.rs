//! Configs in the fields of netra-zen's own: each loads, and means here what it means there.

use harness::{Sandbox, fixture};

/// The heading of an instance in the plan, and what stands below it.
type Instance = (&'static str, &'static [&'static str]);

/// Of each config: its name, what the plan says of its instances, and of its budget.
const MEANINGS: &[(&str, &[Instance], &[&str])] = &[
    (
        "data_analysis",
        &[
            (
                "profile-data: Columns, types and gaps of every table",
                &[
                    "command /profile-data data/",
                    "session new",
                    "tools all",
                    "permission mode bypassPermissions",
                    "timeout 10000s",
                    "max tokens 8,000",
                ],
            ),
            (
                "find-trends: Trends over the year",
                &[
                    "text Which numbers below data/ have grown over the year, and which have fallen?",
                    "tools only Read, Glob, Grep",
                    "permission mode bypassPermissions; other tools are denied",
                    "max tokens 12,000",
                ],
            ),
        ],
        &["Budget: overall 30,000 tokens; mode warn; type tokens"],
    ),
    (
        "code_review",
        &[
            (
                "review-api: Review of the API",
                &[
                    "command /review-code src/api",
                    "tools only Read, Grep, Glob",
                    "permission mode plan",
                    "max tokens 15,000",
                ],
            ),
            (
                "review-core: Review of the core",
                &[
                    "command /review-code src/core",
                    "tools only Read, Grep, Glob, Task",
                    "permission mode acceptEdits; other tools are denied",
                ],
            ),
        ],
        &["Budget: overall 60,000 tokens; mode block; type tokens", "  /review-code: 40,000 tokens"],
    ),
    (
        "content_creation",
        &[
            (
                "Write an outline of the user g...",
                &["text Write an outline of the user guide to docs/outline.md.", "permission mode bypassPermissions"],
            ),
            ("Write five questions that a ne...", &["tools only Read, Write"]),
        ],
        &["Budget: overall $2.50; mode block; type cost"],
    ),
    (
        "testing_workflow",
        &[
            (
                "unit-tests: The unit tests",
                &[
                    "command /compact",
                    "text Set context: only the unit tests count",
                    "command /list-tests",
                    "command /run-tests unit",
                    "session new",
                    "max tokens 20,000",
                ],
            ),
            ("integration-tests", &["command /clear", "command /run-tests integration", "tools all"]),
        ],
        &[
            "Budget: overall 100,000 tokens; mode warn; type tokens",
            "  /list-tests: 5,000 tokens",
            "  /run-tests: 80,000 tokens",
        ],
    ),
    (
        "migration_workflow",
        &[
            ("plan-migration: Every place that has to change", &["command /plan-migration v1 v2", "max tokens 25,000"]),
            ("migrate: The change itself", &["command /migrate v1 v2", "permission mode acceptEdits"]),
            ("verify", &["text Does everything still build and pass its tests?", "max tokens 10,000"]),
        ],
        &[
            "Budget: overall 150,000 tokens, $12.00; mode block; type mixed",
            "  /migrate: 80,000 tokens, $7.50",
            "  /plan-migration: 30,000 tokens",
        ],
    ),
    (
        "debugging_workflow",
        &[
            (
                "reproduce: A test that fails",
                &[
                    "command /clear",
                    "command /reproduce issue-42",
                    "session 2f6f1c9e-3a84-4d6e-9b1f-0c5d7e8a9b10 (2f6f1c9e-3a84-4d6e-9b1f-0c5d7e8a9b10)",
                ],
            ),
            (
                "explain: The cause, in the same conversation",
                &[
                    "command /compact",
                    "text Why does that test fail?",
                    "session 2f6f1c9e-3a84-4d6e-9b1f-0c5d7e8a9b10 (2f6f1c9e-3a84-4d6e-9b1f-0c5d7e8a9b10)",
                ],
            ),
            (
                "known-issues",
                &[
                    "command /help",
                    "session 8d0a4b52-6c1d-4f0e-8a37-5b9e2c4d6f81 (8d0a4b52-6c1d-4f0e-8a37-5b9e2c4d6f81)",
                ],
            ),
        ],
        &["Budget: no budget"],
    ),
];

#[test]
fn netra_configs_load_with_the_same_meaning() {
    for (name, instances, budget) in MEANINGS {
        let sandbox = Sandbox::new();
        let config = fixture(&format!("netra/{name}.json"));
        let outcome = sandbox.commands_of(&config).run(&config, &["--dry-run"]).expect_code(0);
        let plan = &outcome.stdout;
        assert!(plan.starts_with(&format!("{} instances configured\n", instances.len())), "{}", outcome.dump());
        for (heading, lines) in *instances {
            let told = plan.split(&format!("\n{heading}\n")).nth(1).and_then(|rest| rest.split("\n\n").next());
            let told = told.unwrap_or_else(|| panic!("{name}: {heading}\n{}", outcome.dump()));
            let mut rest = told.lines().map(str::trim_start);
            // In this order: what is sent first comes first.
            for line in *lines {
                assert!(rest.any(|told| told == *line), "{name}: {heading}: {line}\n{}", outcome.dump());
            }
        }
        for line in *budget {
            assert!(plan.lines().any(|told| told == *line), "{name}: {line}\n{}", outcome.dump());
        }
        let is_ignored = outcome.stderr.contains("'command' is used and 'prompt' is ignored");
        assert_eq!(is_ignored, *name == "migration_workflow", "{}", outcome.dump());
    }
}

#[test]
fn all_netra_configs_are_covered() {
    let mut names: Vec<String> = std::fs::read_dir(fixture("netra"))
        .expect("the fixtures")
        .flatten()
        .map(|entry| entry.path().file_stem().expect("a name").to_string_lossy().into_owned())
        .collect();
    names.sort();
    let mut known: Vec<&str> = MEANINGS.iter().map(|(name, ..)| *name).collect();
    known.sort_unstable();
    assert_eq!(names, known);
}
