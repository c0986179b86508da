//! Environment of claude: variables that a child does not inherit from zen, and variables that zen sets.

use std::ffi::{OsStr, OsString};

/// Variables that claude sets for its own children, removed by zen.
///
/// A claude that sees them considers itself nested: it refuses to start or expects another program to talk to it.
pub const SCRUBBED_VARIABLES: &[&str] = &[
    "AI_AGENT",
    "CLAUDECODE",
    "CLAUDE_CODE_CHILD_NOTES_DIR",
    "CLAUDE_CODE_CHILD_SESSION",
    "CLAUDE_CODE_ENTRYPOINT",
    "CLAUDE_CODE_EXECPATH",
    "CLAUDE_CODE_LAUNCHED_BY_SESSION_IDS",
    "CLAUDE_CODE_MESSAGING_SOCKET",
    "CLAUDE_CODE_MESSAGING_TOKEN",
    "CLAUDE_CODE_SESSION_ATTENDED",
    "CLAUDE_CODE_SESSION_ID",
    "CLAUDE_CODE_SESSION_KIND",
    "CLAUDE_CODE_SSE_PORT",
    "CLAUDE_EFFORT",
    "CLAUDE_JOB_DIR",
    "CLAUDE_PID",
];

/// Variables of a claude that is only queried.
///
/// At every start 2.0 sends two requests of its own, to warm up the prompt cache for its subagents; without prompt
/// caching it omits them. Nothing else reads this variable before a request.
pub const PROBE_VARIABLES: &[(&str, &str)] = &[("DISABLE_AUTOUPDATER", "1"), ("DISABLE_PROMPT_CACHING", "1")];

/// Variables of every instance, unless its `env` sets or removes them.
///
/// A claude that updates itself during a run would replace the program under the instances that start later.
pub const DEFAULTS: &[(&str, &str)] = &[("DISABLE_AUTOUPDATER", "1")];

/// Attributes that OpenTelemetry attaches to all data of a process, as `key=value,key=value`.
pub const RESOURCE_ATTRIBUTES: &str = "OTEL_RESOURCE_ATTRIBUTES";

/// Maximum length of an attribute's value. The JavaScript SDK, which claude uses, rejects all attributes if one is
/// longer.
const MAX_ATTRIBUTE_BYTES: usize = 255;

/// Returns the resource attributes of an instance: the inherited ones, then `zen.run` and `zen.instance`.
#[must_use]
pub fn resource_attributes(inherited: Option<&OsStr>, run: &str, instance: &str) -> OsString {
    let mut attributes = inherited.unwrap_or_default().to_owned();
    if !attributes.is_empty() {
        attributes.push(",");
    }
    attributes.push(format!("zen.run={},zen.instance={}", percent_encoded(run), percent_encoded(instance)));
    attributes
}

/// Percent-encodes a value for W3C baggage, truncated at a character boundary.
///
/// Encodes more than the format requires (`=` and `/` too), because parsers differ.
fn percent_encoded(value: &str) -> String {
    let mut encoded = String::new();
    for character in value.chars() {
        let mut next = String::new();
        for &byte in character.encode_utf8(&mut [0; 4]).as_bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                next.push(char::from(byte));
            } else {
                next += &format!("%{byte:02X}");
            }
        }
        if encoded.len() + next.len() > MAX_ATTRIBUTE_BYTES {
            break;
        }
        encoded += &next;
    }
    encoded
}

/// Returns true if claude, run by root, accepts `bypassPermissions` with these variables.
///
/// The newest generation requires `IS_SANDBOX` to be exactly 1; the older ones accept any value.
#[must_use]
pub fn is_sandbox(variable: impl Fn(&str) -> Option<String>) -> bool {
    variable("IS_SANDBOX").as_deref() == Some("1") || variable("CLAUDE_CODE_BUBBLEWRAP").is_some_and(|v| !v.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn resource_attributes_extend_the_inherited_ones() {
        let attributes = |inherited: Option<&str>, name: &str| {
            let attributes = resource_attributes(inherited.map(OsStr::new), "20261128-1", name);
            attributes.into_string().expect("UTF-8")
        };
        assert_eq!(attributes(None, "a"), "zen.run=20261128-1,zen.instance=a");
        assert_eq!(attributes(Some(""), "a"), "zen.run=20261128-1,zen.instance=a");
        assert_eq!(
            attributes(Some("team=x"), "review src, é=1%"),
            "team=x,zen.run=20261128-1,zen.instance=review%20src%2C%20%C3%A9%3D1%25"
        );
    }

    proptest! {
        #[test]
        fn attribute_values_are_baggage_of_bounded_length(name in "\\PC{0,200}") {
            let encoded = percent_encoded(&name);
            prop_assert!(encoded.len() <= MAX_ATTRIBUTE_BYTES);
            prop_assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~%".contains(&b)));
            let bytes: Vec<u8> = encoded.split('%').enumerate().flat_map(|(i, part)| {
                let (hex, rest) = if i == 0 { ("", part) } else { part.split_at(2) };
                let byte = (i > 0).then(|| u8::from_str_radix(hex, 16).expect("hexadecimal digits"));
                byte.into_iter().chain(rest.bytes())
            }).collect();
            let decoded = String::from_utf8(bytes).expect("whole characters");
            prop_assert!(name.starts_with(&decoded));
        }
    }
}
