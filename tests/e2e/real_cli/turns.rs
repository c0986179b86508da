//! What a turn brings: text, tokens and dollars, what was refused, and how long it may be.

use serde_json::json;

use super::{on_each_generation, on_the_newest, tokens_of};
use harness::loopback::TokenCount;
use harness::wait_until;

#[test]
fn real_text_turn_is_on_the_books_to_the_token() {
    on_each_generation(1, |real| {
        let prompt = "Say it. [[usage in=1200 out=34 read=5600 write=700]] [[say All is well.]]";
        let outcome = real.run_prompt(prompt).expect_code(0);
        let dump = real.dump(&outcome);
        let (a, conversation) = (outcome.instance("a"), real.conversation());
        assert_eq!(conversation.len(), 1, "{dump}");
        let main = TokenCount {
            input_tokens: 1200,
            output_tokens: 34,
            cache_read_input_tokens: 5600,
            cache_creation_input_tokens: 700,
        };
        assert_eq!(conversation[0].usage, main);
        real.assert_books_balance(&outcome);
        assert!(tokens_of(a).output_tokens >= main.output_tokens, "{dump}");
        for certainty in ["tokens_certainty", "cost_certainty"] {
            assert_eq!(a[certainty], real.certainty(), "{dump}");
        }
        // From the cheapest model to the dearest one.
        let (dollars, tokens) = (a["cost_usd"].as_f64().expect("dollars"), outcome.total_tokens("a") as f64);
        assert!((0.08e-6 * tokens..75e-6 * tokens).contains(&dollars), "{dollars}\n{dump}");
        assert_eq!(a["model"].as_str(), Some(conversation[0].model.as_str()), "{dump}");
        assert_eq!(a["session_id"].as_str(), conversation[0].session_id.as_deref(), "{dump}");
        assert_eq!(a["result"], "All is well.", "{dump}");
        let file = |name: &str| std::fs::read_to_string(real.sandbox.path("state/zen/latest/01-a").join(name));
        assert_eq!(file("result.txt").expect("a result"), "All is well.");
        assert!(file("stream.jsonl").expect("a stream").lines().last().is_some_and(|l| l.contains("total_cost_usd")));
    });
}

/// claude would take what begins with a slash for a command, and 1.0 and 2.0 do nothing for one that they do not know.
#[test]
fn real_prompt_is_text_whatever_it_begins_with() {
    on_each_generation(3, |real| {
        real.sandbox.command("deploy", "The command's file. [[say Deployed.]]");
        let instances = json!([
            {"name": "a", "prompt": "/help me. [[say A.]]"},
            {"name": "b", "prompt": "/nope is no command. [[say B.]]"},
            {"name": "c", "prompt": "/deploy is a word. [[say C.]]"},
            {"name": "d", "prompt": "/tmp is full. [[say D.]]"},
            {"name": "e", "command": "/deploy now"},
        ]);
        let config = real.sandbox.config(&json!({ "instances": instances }).to_string());
        let outcome = real.run(&config, &["--startup-delay", "0.3", "--max-parallel", "3"]).expect_code(0);
        for (name, said) in [("a", "A."), ("b", "B."), ("c", "C."), ("d", "D."), ("e", "Deployed.")] {
            assert_eq!(outcome.instance(name)["result"], said, "{}", real.dump(&outcome));
        }
        real.assert_books_balance(&outcome);
    });
}

#[test]
fn real_turns_of_one_process_share_their_context() {
    on_each_generation(1, |real| {
        let first = "The word is mauve. [[usage in=300 out=10]] [[say One.]]";
        let instance =
            json!({"name": "a", "pre_commands": [first], "prompt": "And now? [[usage in=500 out=20]] [[say Two.]]"});
        let config = real.sandbox.config(&json!({"instances": [instance]}).to_string());
        let outcome = real.run(&config, &[]).expect_code(0);
        let dump = real.dump(&outcome);
        let (a, conversation) = (outcome.instance("a"), real.conversation());
        assert_eq!((&a["attempts"], &a["turns_done"], &a["result"]), (&json!(1), &json!(2), &json!("Two.")), "{dump}");
        assert_eq!(conversation.len(), 2, "{dump}");
        let texts = conversation[1].conversation_texts.join("\n");
        assert!(texts.contains("mauve") && texts.contains("One.") && texts.contains("And now?"), "{texts}");
        real.assert_tokens(&outcome, "a", 310 + 520);
        real.assert_books_balance(&outcome);
    });
}

#[test]
fn real_unknown_command_among_pre_commands_spends_nothing() {
    on_each_generation(1, |real| {
        let pre_commands = ["Fine. [[say Fine.]]", "/no-such-command"];
        let instance = json!({"name": "a", "pre_commands": pre_commands, "prompt": "Go. [[say Gone.]]"});
        let config = real.sandbox.config(&json!({"instances": [instance]}).to_string());
        let outcome = real.run(&config, &[]).expect_code(2);
        let dump = real.dump(&outcome);
        assert_eq!(outcome.error("a"), "Command not found: /no-such-command", "{dump}");
        assert!(real.conversation().is_empty(), "{dump}");
    });
}

#[test]
fn real_refused_tool_is_in_the_report() {
    on_each_generation(1, |real| {
        let file = real.sandbox.workspace().join("new.txt");
        let input = json!({"file_path": file, "content": "x"});
        let prompt = format!("Write. [[tool Write {input}]] [[say I could not.]]");
        let instance = json!({"name": "a", "prompt": prompt, "permission_mode": "default"});
        let config = real.sandbox.config(&json!({"instances": [instance]}).to_string());
        let outcome = real.run(&config, &[]).expect_code(0);
        let dump = real.dump(&outcome);
        let denials = &outcome.instance("a")["permission_denials"];
        assert_eq!(denials, &json!([{"tool": "Write", "input": file}]), "{dump}");
        assert!(outcome.stdout.contains("Write"), "{dump}");
        assert!(!file.exists(), "{dump}");
        real.assert_books_balance(&outcome);
    });
}

#[test]
fn real_tool_that_is_not_allowed_cannot_be_used() {
    on_each_generation(1, |real| {
        let file = real.sandbox.workspace().join("new.txt");
        let input = json!({"file_path": file, "content": "x"});
        let prompt = format!("Write. [[tool Write {input}]] [[say I could not.]]");
        let instance = json!({"name": "a", "prompt": prompt, "allowed_tools": ["Read", "Grep"]});
        let config = real.sandbox.config(&json!({"instances": [instance]}).to_string());
        let outcome = real.run(&config, &[]).expect_code(0);
        let dump = real.dump(&outcome);
        assert!(!file.exists(), "{dump}");
        assert_eq!(outcome.instance("a")["result"], "I could not.", "{dump}");
        let mut offered = real.conversation()[0].offered_tools.clone();
        offered.retain(|tool| tool != "DeferredToolPlaceholder"); // 2.1's own; nothing can be done with it
        offered.sort_unstable();
        assert_eq!(offered, ["Grep", "Read"], "{dump}");
    });
}

/// In 2.1 an agent runs in the background: the turn that asked for it ends before it, and its own end begins another.
#[test]
fn real_agent_that_is_slower_than_the_answer() {
    on_the_newest(1, |real| {
        let task = "Count. [[usage in=50 out=10]] [[until the turn has ended]] [[say Three files.]]";
        let input = json!({"description": "Count", "prompt": task, "subagent_type": "general-purpose"});
        let prompt = format!(
            "Ask one. [[usage in=400 out=40]] [[tool Agent {input}]] [[usage in=500 out=5]] [[say I have asked.]] \
             [[next]] [[usage in=600 out=6]] [[say The agent says three.]]"
        );
        let run = real.start(&real.sandbox.prompts(&[&prompt]), &[]);
        let stream = real.sandbox.path("state/zen/latest/01-a/stream.jsonl");
        let has_result = |text: String| text.lines().any(|line| line.contains(r#""type":"result""#));
        wait_until("the turn's result", || std::fs::read_to_string(&stream).is_ok_and(has_result));
        real.api.open("the turn has ended");
        let outcome = run.outcome().expect_code(0);
        let dump = real.dump(&outcome);
        assert_eq!(outcome.instance("a")["result"], "The agent says three.", "{dump}");
        real.assert_tokens(&outcome, "a", 440 + 60 + 505 + 606);
        real.assert_books_balance(&outcome);
    });
}

#[test]
fn real_long_answer_and_long_prompt() {
    on_each_generation(2, |real| {
        let answer = "It goes on. ".repeat(200_000 / 12);
        let filler = "All of this is to be read. ".repeat(300_000 / 27);
        let prompts = [format!("[[say {answer}]]"), format!("{filler} [[say I have read it.]]")];
        let outcome = real.run(&real.sandbox.prompts(&prompts.each_ref().map(String::as_str)), &[]);
        let outcome = outcome.expect_code(0);
        let dump = || real.dump(&outcome);
        // report.json has the beginning, and result.txt the whole.
        let result = outcome.instance("a")["result"].as_str().expect("a result").to_owned();
        assert!(answer.starts_with(&result[..90_000]), "the answer is another");
        let logs = std::path::Path::new(outcome.instance("a")["directory"].as_str().expect("a directory"));
        let whole = std::fs::read_to_string(logs.join("result.txt")).expect("result.txt");
        assert!(whole.trim_end() == answer.trim_end(), "the answer is another");
        assert_eq!(outcome.instance("b")["result"], "I have read it.", "{}", dump());
        let conversation = real.conversation();
        assert!(conversation.iter().any(|served| served.last_user_text.contains(&filler)), "the prompt is not whole");
        real.assert_books_balance(&outcome);
    });
}
