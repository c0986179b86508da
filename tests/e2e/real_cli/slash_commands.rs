//! What slash commands there are, asked of the real claude: it lists them without a request to the API.

use std::fs;

use super::{on_each_generation, on_the_newest};

#[test]
fn real_commands_are_listed_with_where_they_come_from() {
    on_each_generation(1, |real| {
        let sandbox = &real.sandbox;
        sandbox.command(
            "analyze-code",
            "---\ndescription: Analyze the code\nargument-hint: PATH\n---\nAnalyze $ARGUMENTS.\n",
        );
        sandbox.command("both", "---\ndescription: The project's\n---\nx\n");
        for (path, text) in [
            ("home/.claude/commands/both.md", "---\ndescription: The user's\n---\nx\n"),
            ("workspace/.claude/commands/sub/report.md", "Write it.\n"),
            ("workspace/.claude/commands/block.md", "---\ndescription: |\n  Two\n  lines\n---\nx\n"),
            ("workspace/.claude/skills/tidy/SKILL.md", "---\nname: tidy\ndescription: Tidy up\n---\nTidy.\n"),
        ] {
            let file = sandbox.path(path);
            fs::create_dir_all(file.parent().expect("a folder")).expect("a directory");
            fs::write(file, text).expect("a file");
        }
        let ask = |arguments: &[&str]| {
            let arguments = [arguments, &["--workspace", "workspace"]].concat();
            sandbox.started(&mut real.zen(&arguments)).outcome()
        };
        let listed = ask(&["--list-commands"]).expect_code(0);
        assert_eq!(listed.stderr, "", "{}", real.dump(&listed));
        let lines: Vec<String> =
            listed.stdout.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        let mut expected = vec![
            "/analyze-code project Analyze the code",
            "/block project Two lines",
            "/both user The user's",
            "/help built-in Answered by claude without using tokens",
            "/sub:report project Write it.",
        ];
        // 1.0 has no skills.
        expected.extend((!real.is_1_0()).then_some("/tidy project skill Tidy up"));
        for line in &expected {
            assert!(lines.iter().any(|told| told == line), "{line}\n{}", real.dump(&listed));
        }
        let has_tidy = lines.iter().any(|line| line.starts_with("/tidy "));
        assert_eq!(has_tidy, !real.is_1_0(), "{}", real.dump(&listed));
        for built_in in ["/clear built-in ", "/compact built-in ", "/context built-in ", "/init built-in "] {
            assert!(lines.iter().any(|line| line.starts_with(built_in)), "{built_in}\n{}", real.dump(&listed));
        }

        let inspected = ask(&["--inspect-command", "sub:report"]).expect_code(0);
        assert!(inspected.stdout.starts_with("/sub:report\n  from         project\n  file "), "{}", inspected.dump());
        assert!(inspected.stdout.ends_with("\n\n  Write it.\n"), "{}", inspected.dump());
        let built_in = ask(&["--inspect-command", "/init"]).expect_code(0);
        assert!(built_in.stdout.contains(" built-in\n"), "{}", built_in.dump());
        let unknown = ask(&["--inspect-command", "/analyse-code"]).expect_code(1);
        assert_eq!(unknown.stderr, "zen: Command not found: /analyse-code (did you mean /analyze-code?)\n");
        // 2.0 would have begun to warm up its subagents each time, had it not been told that nothing is cached.
        assert_eq!(real.api.log().len(), 0, "no request is made\n{}", real.dump(&listed));
    });
}

/// Of the generations only 2.1 has names besides the name; the older ones list `/review` itself.
#[test]
fn real_command_is_there_by_its_other_name_too() {
    on_the_newest(1, |real| {
        let config = real.sandbox.config(r#"{"instances": [{"name": "a", "command": "/review src"}]}"#);
        let outcome = real.run(&config, &[]).expect_code(0);
        let asked = real.conversation().first().expect("a request").conversation_texts.join("\n");
        assert!(asked.contains("Review target: `src`"), "{asked}\n{}", real.dump(&outcome));
        let inspected = real.zen(&["--inspect-command", "/review", "--workspace", "workspace"]);
        let shown = real.sandbox.started(&mut { inspected }).outcome().expect_code(0).stdout;
        assert!(shown.starts_with("/code-review\n") && shown.contains("\n  aliases        /review\n"), "{shown}");
    });
}
