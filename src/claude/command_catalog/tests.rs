use super::*;

fn file(name: &str, origin: Origin, text: &str) -> CommandFile {
    let path = PathBuf::from(format!("/{origin:?}/{name}.md"));
    CommandFile { name: name.into(), origin, path, text: Ok(text.into()) }
}

fn listed(name: &str, description: &str, source: CommandSource) -> ListedCommand {
    ListedCommand { name: name.into(), description: description.into(), source, ..ListedCommand::default() }
}

fn files() -> Vec<CommandFile> {
    vec![
        file("folder", Origin::ProjectSkill, "---\nname: tidy\ndescription: Tidy up\n---\nTidy.\n"),
        file("analyze", Origin::User, "---\ndescription: The user's\n---\nAnalyze it.\n"),
        file("analyze", Origin::Project, "---\ndescription: The project's\nargument-hint: PATH\n---\nAnalyze $1.\n"),
        file("表示", Origin::Project, "# Show it\n\nShow it.\n"),
        file(
            "sub:generate",
            Origin::Project,
            "---\ndescription: >\n  Generate\n  a report\nallowed-tools: [Read]\n---\n",
        ),
    ]
}

const OF_FILES: &str = "\
/analyze       user           The user's
/clear         built-in       Start a new conversation
/compact       built-in       Continue with a summary of the conversation
/help          built-in       Answered by claude without using tokens
/sub:generate  project        Generate a report
/tidy          project skill  Tidy up
/表示          project        Show it
";

#[test]
fn without_claude_the_files_are_listed() {
    assert_eq!(text::list(&CommandCatalog::new(None, files()), None), OF_FILES);
}

#[test]
fn list_of_claude_is_joined_with_the_files() {
    let listed = vec![
        listed("analyze", "The user's", CommandSource::Project),
        listed("analyze", "The project's", CommandSource::Project),
        listed("sub:generate", ">", CommandSource::Project),
        listed("of-a-parent", "Elsewhere", CommandSource::Project),
        listed("p:do", "Do it", CommandSource::Plugin("p".into())),
        listed("tidy", "Not that one", CommandSource::Claude),
        ListedCommand { aliases: vec!["new".into()], ..listed("clear", "Its own words", CommandSource::Claude) },
    ];
    let catalogue = CommandCatalog::new(Some(listed), files());
    let expected = "\
/analyze       user      The user's
/clear         built-in  Its own words
/compact       built-in  Continue with a summary of the conversation
/help          built-in  Answered by claude without using tokens
/of-a-parent   project   Elsewhere
/p:do          plugin p  Do it
/sub:generate  project   Generate a report
/tidy          built-in  Not that one
";
    assert_eq!(text::list(&catalogue, None), expected);
    assert_eq!(catalogue.find("/new").map(|c| c.name.as_str()), Ok("clear"));
}

#[test]
fn lines_fit_the_screen() {
    let listing = text::list(&CommandCatalog::new(None, files()), Some(28));
    assert!(listing.lines().all(|line| crate::base::text::width(line) <= 28), "{listing}");
    assert!(listing.ends_with("/表示          project   ...\n"), "{listing}");
}

#[test]
fn inspection_shows_all_fields() {
    let catalogue = CommandCatalog::new(None, files());
    let shown = |called: &str| text::inspection(catalogue.find(called).expect("it is there"), None);
    let expected = "\
/analyze
  from         user
  file         /User/analyze.md
  instead of   /Project/analyze.md
  description  The user's

  Analyze it.
";
    assert_eq!(shown("/analyze src --deep"), expected);
    let expected = "\
/sub:generate
  from           project
  file           /Project/sub:generate.md
  description    Generate a report
  allowed-tools  Read

  (no text)
";
    assert_eq!(shown("sub:generate"), expected);
    let help = "/help\n  from         built-in\n  description  Answered by claude without using tokens\n";
    assert_eq!(shown("help"), help);
}

#[test]
fn long_text_is_truncated_with_its_indentation() {
    let body = (1..=30).map(|n| format!("    line {n}\n")).collect::<String>();
    let catalogue = CommandCatalog::new(None, vec![file("long", Origin::Project, &format!("first\n{body}"))]);
    let shown = text::inspection(&catalogue.commands()[3], None);
    assert!(shown.contains("\n  first\n      line 1\n"), "{shown}");
    assert!(shown.ends_with("\n      line 19\n  ... and 11 more lines\n"), "{shown}");
}

#[test]
fn unknown_command_has_the_nearest_names() {
    let catalogue = CommandCatalog::new(None, files());
    for (called, expected) in [
        ("/analyse", "Command not found: /analyse (did you mean /analyze?)"),
        ("generate now", "Command not found: /generate (did you mean /sub:generate?)"),
        ("/c", "Command not found: /c (zen --list-commands lists the commands)"),
        ("/\u{1b}[2Jx", "Command not found: /x (zen --list-commands lists the commands)"),
    ] {
        assert_eq!(catalogue.find(called).map_err(|error| error.to_string()), Err(expected.to_owned()));
    }
    let many = CommandCatalog::new(None, ["a1", "a2", "a3", "a4"].map(|n| file(n, Origin::User, "x")).to_vec());
    let error = many.find("a").expect_err("no command of this name");
    assert_eq!(error.to_string(), "Command not found: /a (did you mean /a1, /a2 or /a3?)");
}

#[test]
fn foreign_text_is_sanitized() {
    let hostile = "\u{1b}[2J\u{1b}]0;title\u{7}a\nb\r\u{202e}c\u{9b}31m";
    let mut bad = file(hostile, Origin::Project, &format!("---\ndescription: \"{hostile}\"\n---\n{hostile}\n"));
    bad.path = PathBuf::from(format!("/{hostile}"));
    let unreadable = CommandFile { text: Err(format!("no {hostile}")), ..bad.clone() };
    let listed = ListedCommand {
        aliases: vec![hostile.into()],
        argument_hint: hostile.into(),
        ..listed(hostile, hostile, CommandSource::User)
    };
    for file in [bad, unreadable] {
        for listed in [None, Some(vec![listed.clone()])] {
            let catalogue = CommandCatalog::new(listed, vec![file.clone()]);
            let listing = text::list(&catalogue, None);
            assert_eq!(listing.lines().count(), 4, "{listing:?}");
            for shown in catalogue.commands().iter().map(|command| text::inspection(command, Some(80))).chain([listing])
            {
                assert!(
                    !shown.chars().any(|c| (c.is_control() && c != '\n') || crate::base::text::is_invisible(c)),
                    "{shown:?}"
                );
            }
        }
    }
}

#[test]
fn huge_description_is_truncated() {
    let catalogue = CommandCatalog::new(None, vec![file("huge", Origin::User, &"é".repeat(100_000))]);
    assert!(text::list(&catalogue, None).len() < 10_000);
}
