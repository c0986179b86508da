//! Sessions: `session_id` is any name in zen, and a UUID in claude.
//!
//! A session is a sequence of conversations, each with a UUID of its own; the last one is resumed, and `/clear` starts
//! the next. This behaves the same on all generations: only 2.1 has a `/clear`, and that uses a random id. The files of
//! claude usually show which conversations exist, but only claude itself knows.

use crate::base::sha256;

/// A named session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Session {
    /// Name in the config.
    pub name: String,
    /// UUID of the first conversation.
    pub uuid: String,
}

/// Returns the UUID of a session's first conversation.
///
/// A UUID is used as it is. Any other name is mapped to one UUID per directory, so that the next run resumes the
/// conversation.
#[must_use]
pub fn uuid(name: &str, directory: &str) -> String {
    if is_uuid(name) { name.to_ascii_lowercase() } else { derive_uuid(&format!("zen session\0{directory}\0{name}")) }
}

/// Returns the UUID of conversation number `conversation`, counted from 0. `uuid` is that of the first.
#[must_use]
pub fn conversation_uuid(uuid: &str, conversation: u32) -> String {
    if conversation == 0 { uuid.to_owned() } else { derive_uuid(&format!("zen conversation\0{uuid}\0{conversation}")) }
}

/// Returns the last conversation for which `is_there` is true. claude deletes old ones, so the numbers have gaps.
#[must_use]
pub fn last_conversation(uuid: &str, is_there: impl Fn(&str) -> bool) -> Option<u32> {
    const MAX_GAP: u32 = 4096;
    let (mut last, mut next) = (None, 0);
    let mut end = MAX_GAP;
    while next < end {
        if is_there(&conversation_uuid(uuid, next)) {
            last = Some(next);
            end = next + 1 + MAX_GAP;
        }
        next += 1;
    }
    last
}

/// Conversation that a process opens, and the mode in which it opens it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionEntry {
    /// Number of the conversation in the session, from 0.
    pub conversation: u32,
    /// Expectation about its existence.
    pub open_mode: OpenMode,
}

/// Expectation about the existence of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Existing conversation, to be resumed.
    Resume,
    /// New conversation; resumed if it exists after all.
    CreateOrResume,
    /// New conversation in any case.
    Create,
}

impl SessionEntry {
    /// Returns the entry into a session with the last conversation `last`, or into the next one if it is cleared.
    #[must_use]
    pub fn open(last: Option<u32>, is_cleared: bool) -> Self {
        match (last, is_cleared) {
            (Some(last), true) => SessionEntry { conversation: last, open_mode: OpenMode::Resume }.next_conversation(),
            (Some(last), false) => SessionEntry { conversation: last, open_mode: OpenMode::Resume },
            (None, true) => SessionEntry { conversation: 0, open_mode: OpenMode::Create },
            (None, false) => SessionEntry { conversation: 0, open_mode: OpenMode::CreateOrResume },
        }
    }

    /// Returns the entry into the conversation after this one.
    #[must_use]
    pub fn next_conversation(self) -> Self {
        SessionEntry { conversation: self.conversation + 1, open_mode: OpenMode::Create }
    }

    /// Returns the entry to retry with if claude reports that the conversation exists, or that it does not.
    ///
    /// `None` if that was expected. A process of 2.0 that received no message leaves a conversation that exists and
    /// cannot be resumed.
    #[must_use]
    pub fn fallback(self, is_there: bool) -> Option<Self> {
        match (self.open_mode, is_there) {
            (OpenMode::Resume, false) => Some(SessionEntry { open_mode: OpenMode::Create, ..self }),
            (OpenMode::CreateOrResume, true) => Some(SessionEntry { open_mode: OpenMode::Resume, ..self }),
            (OpenMode::Create, true) => Some(self.next_conversation()),
            (OpenMode::Resume, true) | (OpenMode::CreateOrResume | OpenMode::Create, false) => None,
        }
    }
}

fn derive_uuid(text: &str) -> String {
    let mut bytes = sha256::sha256(text.as_bytes());
    bytes[6] = bytes[6] & 0x0f | 0x80; // version 8: custom (RFC 9562)
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let hex = sha256::hex(&bytes[..16]);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

fn is_uuid(name: &str) -> bool {
    name.len() == 36
        && name.bytes().enumerate().all(|(i, b)| match i {
            8 | 13 | 18 | 23 => b == b'-',
            _ => b.is_ascii_hexdigit(),
        })
}

/// Returns true if claude exited without an answer because the session already exists.
#[must_use]
pub fn is_in_use(stderr: &str) -> bool {
    stderr.contains("is already in use")
}

/// Returns true if claude exited without an answer because the session does not exist.
#[must_use]
pub fn is_missing(stderr: &str) -> bool {
    stderr.contains("No conversation found with session ID")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_has_one_uuid_in_a_directory() {
        let uuid_of_a = uuid("analysis", "/a");
        assert!(is_uuid(&uuid_of_a), "{uuid_of_a}");
        assert_eq!(&uuid_of_a[14..15], "8");
        assert_eq!(uuid("analysis", "/a"), uuid_of_a);
        assert_ne!(uuid("analysis", "/b"), uuid_of_a);
        assert_ne!(uuid("analysis-2", "/a"), uuid_of_a);
    }

    #[test]
    fn uuid_is_kept() {
        let name = "3F2504E0-4F89-41D3-9A0C-0305E82C3301";
        assert_eq!(uuid(name, "/a"), name.to_ascii_lowercase());
    }

    #[test]
    fn cleared_session_continues_in_the_next_conversation() {
        let uuid = uuid("analysis", "/a");
        let there = |numbers: &'static [u32]| {
            let uuids: Vec<String> = numbers.iter().map(|&n| conversation_uuid(&uuid, n)).collect();
            last_conversation(&uuid, move |wanted| uuids.iter().any(|known| known == wanted))
        };
        assert_eq!(conversation_uuid(&uuid, 0), uuid);
        assert!(is_uuid(&conversation_uuid(&uuid, 1)) && conversation_uuid(&uuid, 1) != conversation_uuid(&uuid, 2));
        for (numbers, last) in [(&[][..], None), (&[0], Some(0)), (&[0, 1, 2], Some(2)), (&[900], Some(900))] {
            assert_eq!(there(numbers), last);
        }
        let entry = |conversation, open_mode| SessionEntry { conversation, open_mode };
        for (last, is_cleared, expected) in [
            (None, false, entry(0, OpenMode::CreateOrResume)),
            (None, true, entry(0, OpenMode::Create)),
            (Some(3), false, entry(3, OpenMode::Resume)),
            (Some(3), true, entry(4, OpenMode::Create)),
        ] {
            assert_eq!(SessionEntry::open(last, is_cleared), expected);
        }
    }

    #[test]
    fn claude_decides_which_conversations_exist() {
        let entry = |conversation, open_mode| SessionEntry { conversation, open_mode };
        let mut tried = vec![entry(1, OpenMode::CreateOrResume)];
        for is_there in [true, false, true, true] {
            tried.extend(tried[tried.len() - 1].fallback(is_there));
        }
        let expected = [
            entry(1, OpenMode::CreateOrResume),
            entry(1, OpenMode::Resume),
            entry(1, OpenMode::Create),
            entry(2, OpenMode::Create),
            entry(3, OpenMode::Create),
        ];
        assert_eq!(tried, expected);
        assert_eq!(entry(1, OpenMode::Resume).fallback(true), None);
        assert_eq!(entry(1, OpenMode::Create).fallback(false), None);
    }
}
