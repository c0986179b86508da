//! What may be used and what is refused, on the real claude: files that may not appear do not appear.

use serde_json::{Value, json};

use super::{Real, on_each_generation, on_the_newest};
use harness::RunOutput;

/// Lets the model call these tools one after the other, and gives what zen says of the instance.
fn run_tools(real: &Real, fields: &Value, calls: &[(&str, Value)]) -> RunOutput {
    let calls: String = calls.iter().map(|(tool, input)| format!("[[tool {tool} {input}]] [[say On.]] ")).collect();
    let mut instance = fields.clone();
    instance["name"] = json!("a");
    instance["prompt"] = json!(format!("Go. {calls} [[say That is all.]]"));
    let config = real.sandbox.config(&json!({ "instances": [instance] }).to_string());
    real.run(&config, &[])
}

fn bash(command: &str) -> (&'static str, Value) {
    ("Bash", json!({"command": command, "description": "x"}))
}

fn write(real: &Real, name: &str) -> (&'static str, Value) {
    ("Write", json!({"file_path": real.sandbox.workspace().join(name), "content": "x"}))
}

/// The files of the workspace that a test has made, by their names' beginning.
fn made(real: &Real) -> Vec<String> {
    let entries = std::fs::read_dir(real.sandbox.workspace()).expect("the workspace").flatten();
    let mut names: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.retain(|name| name.starts_with("made-"));
    names.sort();
    names
}

#[test]
fn real_pattern_allows_that_much_and_no_more_in_any_mode() {
    on_each_generation(1, |real| {
        for (n, mode) in ["bypassPermissions", "acceptEdits", "default", "dontAsk"].into_iter().enumerate() {
            let fields = json!({"permission_mode": mode, "allowed_tools": ["Read", "Bash(python3 allowed.py *)"]});
            real.script("allowed.py", "import sys; open(sys.argv[1], 'w')");
            let calls = [
                bash(&format!("python3 allowed.py made-{n}")),
                bash("mkdir made-by-mkdir"),
                bash("python3 allowed.py made-x && touch made-in-a-chain"),
                bash("echo x > made-by-redirection"),
                bash("python3 allowed.py $(touch made-in-a-substitution)"),
                write(real, "made-by-write"),
            ];
            let outcome = run_tools(real, &fields, &calls).expect_code(0);
            let dump = format!("{mode}\n{}", real.dump(&outcome));
            let expected: Vec<String> = (0..=n).map(|n| format!("made-{n}")).collect();
            assert_eq!(made(real), expected, "{dump}");
            let denials = outcome.instance("a")["permission_denials"].as_array().expect("a list");
            assert!(denials.iter().filter(|d| d["tool"] == "Bash").count() == 4, "{dump}");
        }
    });
}

#[test]
fn real_edit_pattern_allows_one_directory() {
    on_each_generation(1, |real| {
        for mode in ["bypassPermissions", "acceptEdits"] {
            let fields = json!({"permission_mode": mode, "allowed_tools": ["Read", "Write(docs/**)"]});
            let calls = [write(real, &format!("docs/{mode}")), write(real, "made-outside")];
            let outcome = run_tools(real, &fields, &calls).expect_code(0);
            let dump = real.dump(&outcome);
            assert!(real.sandbox.workspace().join("docs").join(mode).exists(), "{dump}");
            assert!(made(real).is_empty(), "{dump}");
        }
    });
}

#[test]
fn real_plan_writes_nothing_whatever_is_allowed() {
    on_each_generation(1, |real| {
        let fields = json!({"permission_mode": "plan", "allowed_tools": ["Read", "Write"]});
        let outcome = run_tools(real, &fields, &[write(real, "made-in-a-plan")]).expect_code(0);
        assert!(made(real).is_empty(), "{}", real.dump(&outcome));
    });
}

#[test]
fn real_denied_patterns_hold_in_a_mode_without_prompts() {
    on_each_generation(1, |real| {
        let fields = json!({"disallowed_tools": ["Bash(touch *)", "Write(docs/**)", "WebFetch"]});
        let calls = [
            bash("touch made-by-touch"),
            bash("true && touch made-by-touch-too"),
            bash("mkdir made-by-mkdir"),
            write(real, "docs/made"),
            write(real, "made-by-write"),
        ];
        let outcome = run_tools(real, &fields, &calls).expect_code(0);
        let dump = real.dump(&outcome);
        assert_eq!(made(real), ["made-by-mkdir", "made-by-write"], "{dump}");
        assert!(!real.sandbox.workspace().join("docs/made").exists(), "{dump}");
        let offered = &real.conversation()[0].offered_tools;
        assert!(!offered.iter().any(|tool| tool == "WebFetch"), "{dump}");
    });
}

/// An MCP server of two tools, each of which leaves a file.
const MCP_SERVER: &str = r#"
import json, sys
for line in sys.stdin:
    message = json.loads(line)
    if 'id' not in message:
        continue
    result, method, params = {}, message['method'], message.get('params', {})
    if method == 'initialize':
        result = {'protocolVersion': params['protocolVersion'], 'capabilities': {'tools': {}},
                  'serverInfo': {'name': 's', 'version': '1'}}
    elif method == 'tools/list':
        schema = {'type': 'object', 'properties': {}}
        result = {'tools': [{'name': n, 'description': n, 'inputSchema': schema} for n in ('look', 'change')]}
    elif method == 'tools/call':
        open('made-by-' + params['name'], 'w').close()
        result = {'content': [{'type': 'text', 'text': 'done'}]}
    print(json.dumps({'jsonrpc': '2.0', 'id': message['id'], 'result': result}), flush=True)
"#;

#[test]
fn real_mcp_tools_are_allowed_by_name() {
    on_each_generation(1, |real| {
        real.script("mcp.py", MCP_SERVER);
        let server = json!({"mcpServers": {"s": {"command": "python3", "args": ["mcp.py"]}}}).to_string();
        for (allowed, expected) in [
            (json!(["Read"]), &[][..]),
            (json!(["Read", "mcp__s__look"]), &["made-by-look"]),
            (json!(["Read", "mcp__s"]), &["made-by-change", "made-by-look"]),
        ] {
            let fields = json!({"allowed_tools": allowed, "claude_args": ["--mcp-config", server]});
            let calls = [("mcp__s__look", json!({})), ("mcp__s__change", json!({}))];
            let outcome = run_tools(real, &fields, &calls).expect_code(0);
            assert_eq!(made(real), expected, "{allowed}\n{}", real.dump(&outcome));
        }
    });
}

#[test]
fn real_subagent_may_use_no_more_than_its_instance() {
    on_each_generation(1, |real| {
        let (tool, input) = write(real, "made-by-write");
        let (shell, refused) = bash("touch made-by-touch");
        let (_, allowed) = bash("mkdir made-by-mkdir");
        let task = format!(
            "Do it. [[tool {tool} {input}]] [[say On.]] [[tool {shell} {refused}]] [[say On.]] \
             [[tool {shell} {allowed}]] [[say All done.]]"
        );
        let agent = if real.is_2_1() { "Agent" } else { "Task" };
        let call = json!({"description": "x", "prompt": task, "subagent_type": "general-purpose"});
        let prompt = format!("Ask one. [[tool {agent} {call}]] [[say I have asked.]] [[next]] [[say That is all.]]");
        // With a tool that writes, 2.0 need not refuse all writing for the sake of its redirections.
        let allowed_tools = json!(["Task", "NotebookEdit", "Bash(mkdir *)"]);
        let instance = json!({"name": "a", "prompt": prompt, "allowed_tools": allowed_tools});
        let config = real.sandbox.config(&json!({ "instances": [instance] }).to_string());
        let outcome = real.run(&config, &[]).expect_code(0);
        assert_eq!(made(real), ["made-by-mkdir"], "{}", real.dump(&outcome));
    });
}

#[test]
fn real_denied_tool_fails_the_instance_if_configured() {
    on_each_generation(1, |real| {
        let fields = json!({"permission_mode": "default", "fail_on_denied": true});
        let outcome = run_tools(real, &fields, &[write(real, "made-by-write")]).expect_code(2);
        let dump = real.dump(&outcome);
        assert_eq!((outcome.reason("a"), outcome.error("a")), ("error", "Permission denied: Write"), "{dump}");
        assert_eq!(outcome.instance("a")["result"], "That is all.", "{dump}");
        real.assert_books_balance(&outcome);
    });
}

/// claude does not offer what the config keeps back, and tells of its use as of that of a tool that does not exist.
#[test]
fn real_tool_that_is_kept_back_is_refused_and_an_invented_one_is_not() {
    on_each_generation(1, |real| {
        let invented = ("Frobnicate", json!({"a": 1}));
        for lists in [json!({"allowed_tools": ["Read"]}), json!({"disallowed_tools": ["Write"]})] {
            let mut fields = lists.clone();
            fields["fail_on_denied"] = json!(true);
            fields["retries"] = json!(2);
            let outcome = run_tools(real, &fields, &[invented.clone(), write(real, "made-by-write")]).expect_code(2);
            let (a, dump) = (outcome.instance("a"), real.dump(&outcome));
            assert_eq!(outcome.error("a"), "Permission denied: Write", "{dump}");
            assert_eq!((&a["attempts"], &a["result"]), (&json!(1), &json!("That is all.")), "{dump}");
            let denials = a["permission_denials"].as_array().expect("a list");
            assert!(denials.len() == 1 && denials[0]["input"].as_str().is_some_and(|on| on.ends_with("made-by-write")));
            assert!(made(real).is_empty(), "{dump}");
        }
        let fields = json!({"allowed_tools": ["Read"], "fail_on_denied": true});
        run_tools(real, &fields, &[invented]).expect_code(0);
    });
}

/// What settings and commands allow by themselves does not add to what the config allows.
#[test]
fn real_rules_of_others_allow_no_more() {
    on_each_generation(1, |real| {
        let settings = |rule: &str| {
            let text = json!({"permissions": {"allow": [rule]}}).to_string();
            std::fs::create_dir_all(real.sandbox.path("home/.claude")).expect("a directory");
            std::fs::write(real.sandbox.path("home/.claude/settings.json"), text).expect("settings");
        };
        let calls: String = [bash("touch made-by-touch"), bash("mkdir made-by-mkdir")]
            .iter()
            .map(|(tool, input)| format!("[[tool {tool} {input}]] [[say On.]] "))
            .collect();
        real.sandbox
            .command("go", &format!("---\nallowed-tools: Bash(mkdir:*)\n---\nGo. {calls} [[say That is all.]]"));
        let config = json!({"instances": [{"name": "a", "command": "/go", "allowed_tools": ["Read", "Bash(git *)"]}]});
        let config = real.sandbox.config(&config.to_string());
        settings("Bash(touch:*)");
        let outcome = real.run(&config, &[]).expect_code(0);
        let dump = real.dump(&outcome);
        assert_eq!(made(real), Vec::<String>::new(), "{dump}");
        assert_eq!(outcome.instance("a")["permission_denials"].as_array().map(Vec::len), Some(2), "{dump}");
        settings("Bash");
        let outcome = real.run(&config, &[]).expect_code(1);
        assert!(outcome.stderr.contains("settings.json allows 'Bash', which is more"), "{}", outcome.dump());
    });
}

#[test]
fn real_agent_with_a_mode_of_its_own_can_do_no_more() {
    on_each_generation(1, |real| {
        let agents = real.sandbox.workspace().join(".claude/agents");
        std::fs::create_dir_all(&agents).expect("a directory");
        let agent = "---\nname: wide\ndescription: does all\npermissionMode: bypassPermissions\n---\nYou do all.\n";
        std::fs::write(agents.join("wide.md"), agent).expect("an agent");
        let (shell, input) = bash("touch made-by-touch");
        let task = format!("Do it. [[tool {shell} {input}]] [[say On.]] [[say All done.]]");
        let call = json!({"description": "x", "prompt": task, "subagent_type": "wide"});
        let tool = if real.is_2_1() { "Agent" } else { "Task" };
        let prompt = format!("Ask one. [[tool {tool} {call}]] [[say I have asked.]] [[next]] [[say That is all.]]");
        let allowed_tools = json!(["Task", "NotebookEdit", "Bash(git *)"]);
        let instance = json!({"name": "a", "prompt": prompt, "allowed_tools": allowed_tools});
        let config = real.sandbox.config(&json!({ "instances": [instance] }).to_string());
        let outcome = real.run(&config, &[]).expect_code(if real.version.starts_with("2.0.") { 1 } else { 0 });
        assert!(made(real).is_empty(), "{}", outcome.dump());
    });
}

fn write_settings(real: &Real, text: &str) {
    std::fs::create_dir_all(real.sandbox.workspace().join(".claude")).expect("a directory");
    std::fs::write(real.sandbox.workspace().join(".claude/settings.json"), text).expect("settings");
}

fn denied(outcome: &RunOutput) -> Vec<&str> {
    let denials = outcome.instance("a")["permission_denials"].as_array().expect("a list");
    denials.iter().filter_map(|denial| denial["tool"].as_str()).collect()
}

/// claude answers as for a tool that does not exist, and lists no denial (measured on all generations).
#[test]
fn real_tool_that_settings_deny_is_refused_and_an_invented_one_is_not() {
    on_each_generation(1, |real| {
        let invented = ("Frobnicate", json!({"a": 1}));
        let deny = json!({"permissions": {"deny": ["Write"]}}).to_string();
        write_settings(real, &deny);
        let fields = json!({"fail_on_denied": true, "retries": 2});
        let outcome = run_tools(real, &fields, &[invented.clone(), write(real, "made-by-write")]).expect_code(2);
        let dump = real.dump(&outcome);
        assert_eq!(outcome.error("a"), "Permission denied: Write", "{dump}");
        assert_eq!((denied(&outcome), &outcome.instance("a")["attempts"]), (vec!["Write"], &json!(1)), "{dump}");
        assert!(outcome.stdout.contains("Permissions denied:\n- a: Write "), "{dump}");
        write_settings(real, "{}");
        let fields = json!({"claude_args": ["--settings", deny]});
        let outcome = run_tools(real, &fields, &[invented, write(real, "made-by-write")]).expect_code(0);
        assert_eq!(denied(&outcome), ["Write"], "{}", real.dump(&outcome));
        assert!(made(real).is_empty(), "{}", real.dump(&outcome));
    });
}

/// 2.0 does not list a denied file in its result; the others do.
#[test]
fn real_file_that_settings_deny_is_refused_once() {
    on_each_generation(1, |real| {
        write_settings(real, r#"{"permissions": {"deny": ["Edit(made-secret*)", "Read(./secret.txt)"]}}"#);
        std::fs::write(real.sandbox.workspace().join("secret.txt"), "s").expect("a file");
        let read = ("Read", json!({"file_path": real.sandbox.workspace().join("secret.txt")}));
        let fields = json!({"fail_on_denied": true});
        let outcome = run_tools(real, &fields, &[read, write(real, "made-secret")]).expect_code(2);
        let dump = real.dump(&outcome);
        assert_eq!(denied(&outcome), ["Read", "Write"], "{dump}");
        assert_eq!(outcome.error("a"), "Permission denied: Read, Write", "{dump}");
        assert!(made(real).is_empty(), "{dump}");
    });
}

#[test]
fn real_permission_mode_that_settings_forbid_is_reported() {
    on_each_generation(1, |real| {
        let outcome = run_tools(real, &json!({}), &[]).expect_code(0);
        let mode = |outcome: &RunOutput| outcome.instance("a")["permission_mode"].clone();
        assert_eq!(mode(&outcome), json!("bypassPermissions"), "{}", real.dump(&outcome));
        assert!(!outcome.stderr.contains("permission mode"), "{}", real.dump(&outcome));
        write_settings(real, r#"{"permissions": {"disableBypassPermissionsMode": "disable"}}"#);
        let outcome = run_tools(real, &json!({}), &[write(real, "made-by-write")]).expect_code(0);
        let dump = real.dump(&outcome);
        let notice = "a: claude runs in permission mode default instead of bypassPermissions";
        assert_eq!(outcome.stderr.matches(notice).count(), 1, "{dump}");
        assert_eq!(outcome.instance("a")["permission_mode_differs"], true, "{dump}");
        assert!(outcome.stdout.contains("- a: default instead of bypassPermissions\n"), "{dump}");
        assert!(made(real).is_empty(), "{dump}");
        write_settings(real, "{}");
        for mode in ["default", "acceptEdits", "plan"] {
            let outcome = run_tools(real, &json!({ "permission_mode": mode }), &[]).expect_code(0);
            assert!(!outcome.stderr.contains("permission mode"), "{mode}\n{}", real.dump(&outcome));
        }
        let strict = json!({"permission_mode": "bypassPermissions", "allowed_tools": ["Read"]});
        let outcome = run_tools(real, &strict, &[]).expect_code(0);
        assert!(!outcome.stderr.contains("permission mode default instead"), "{}", real.dump(&outcome));
    });
}

#[test]
fn real_manual_is_the_default_permission_mode() {
    on_the_newest(1, |real| {
        let outcome = run_tools(real, &json!({"permission_mode": "manual"}), &[]).expect_code(0);
        let dump = real.dump(&outcome);
        let a = outcome.instance("a");
        assert_eq!(
            (&a["permission_mode"], &a["permission_mode_differs"]),
            (&json!("default"), &json!(false)),
            "{dump}"
        );
        assert!(!outcome.stderr.contains("claude runs in permission mode"), "{dump}");
    });
}

/// claude ignores the whole file without a word, in all generations.
#[test]
fn real_settings_that_claude_cannot_parse_are_reported() {
    on_each_generation(1, |real| {
        for (n, text) in [
            r#"{"permissions": {"deny": ["Write"]},}"#,
            "// x\n{\"permissions\": {\"deny\": [\"Write\"]}}",
            r#"{"permissions": {"deny": ["Write"]}"#,
        ]
        .into_iter()
        .enumerate()
        {
            write_settings(real, text);
            let name = format!("made-{n}");
            let outcome = run_tools(real, &json!({}), &[write(real, &name)]).expect_code(0);
            let dump = format!("{text}\n{}", real.dump(&outcome));
            assert_eq!(outcome.stderr.matches("settings.json is not valid JSON").count(), 1, "{dump}");
            assert!(made(real).contains(&name), "{dump}");
        }
        for text in ["", "\u{feff}{}", r#"{"x": 1e999, "permissions": {"deny": ["Write"]}, "y": "\ud83d"}"#] {
            write_settings(real, text);
            let outcome = run_tools(real, &json!({}), &[]).expect_code(0);
            assert!(!outcome.stderr.contains("settings.json"), "{text}\n{}", real.dump(&outcome));
        }
        let deny = r#"{"x": "\ud83d", "permissions": {"deny": ["Write"]}}"#;
        let with_bom = format!("\u{feff}{deny}");
        for text in [deny, &with_bom] {
            write_settings(real, text);
            let outcome = run_tools(real, &json!({}), &[write(real, "made-x")]).expect_code(0);
            // 1.0.128 ignores a file that begins with a byte order mark.
            let is_read = !(real.is_1_0() && text == with_bom);
            assert_eq!(
                denied(&outcome),
                if is_read { vec!["Write"] } else { vec![] },
                "{text}\n{}",
                real.dump(&outcome)
            );
            std::fs::remove_file(real.sandbox.workspace().join("made-x")).ok();
        }
    });
}
