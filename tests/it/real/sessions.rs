//! Named sessions on the real claude: a second run goes on where the first one ended.

use serde_json::json;

use super::{Real, on_each_generation, tokens_of};
use crate::support::Outcome;

fn run_in_session(real: &Real, pre_commands: &[&str], prompt: &str) -> Outcome {
    let instance = json!({"name": "a", "pre_commands": pre_commands, "prompt": prompt, "session_id": "diary"});
    let config = real.place.config(&json!({"instances": [instance]}).to_string());
    real.run(&config, &[]).expect_code(0)
}

#[test]
fn real_named_session_goes_on_in_the_next_run() {
    on_each_generation(1, |real| {
        let first = run_in_session(real, &[], "The word is heliotrope. [[usage in=900 out=90]] [[say Noted.]]");
        real.assert_books_balance(&first);
        let served_before = real.api.log().len();
        let second =
            run_in_session(real, &["Ready? [[say Yes.]]"], "What was it? [[usage in=1000 out=10]] [[say That.]]");
        let everything = real.everything(&second);
        let (a, conversation) = (second.instance("a"), real.conversation());
        assert_eq!(a["session_id"], first.instance("a")["session_id"], "{everything}");
        assert_eq!(a["result"], "That.", "{everything}");
        let last = conversation.last().expect("a request");
        assert_eq!(last.session_id.as_deref(), a["session_id"].as_str(), "{everything}");
        let texts = last.conversation_texts.join("\n");
        for expected in ["heliotrope", "Noted.", "Ready?", "Yes.", "What was it?"] {
            assert!(texts.contains(expected), "{expected}\n{texts}");
        }
        // What the session had cost before is not this run's.
        real.assert_books_balance_since(&second, served_before);
        assert!(tokens_of(a).input_tokens >= 1000, "{everything}");
    });
}
