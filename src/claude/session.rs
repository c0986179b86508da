//! Sessions: `session_id` is any name to zen, and a UUID to claude.

use crate::sha256;

/// The UUID that claude is told. A UUID stands for itself; any other name becomes one for this workspace, always the
/// same, so that the next run goes on with the conversation.
#[must_use]
pub fn uuid(name: &str, workspace: &str) -> String {
    if is_uuid(name) {
        return name.to_ascii_lowercase();
    }
    let mut bytes = sha256::sha256(format!("zen session\0{workspace}\0{name}").as_bytes());
    bytes[6] = bytes[6] & 0x0f | 0x80; // version 8: made by a rule of one's own (RFC 9562)
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

/// Whether claude, ending before it answered anything, said that this session is there already.
#[must_use]
pub fn is_in_use(stderr: &str) -> bool {
    stderr.contains("is already in use")
}

/// Whether claude, ending before it answered anything, said that there is no such session.
#[must_use]
pub fn is_missing(stderr: &str) -> bool {
    stderr.contains("No conversation found with session ID")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_uuid_for_one_workspace() {
        let uuid_of_a = uuid("analysis", "/a");
        assert!(is_uuid(&uuid_of_a), "{uuid_of_a}");
        assert_eq!(&uuid_of_a[14..15], "8");
        assert_eq!(uuid("analysis", "/a"), uuid_of_a);
        assert_ne!(uuid("analysis", "/b"), uuid_of_a);
        assert_ne!(uuid("analysis-2", "/a"), uuid_of_a);
    }

    #[test]
    fn a_uuid_stands_for_itself() {
        let given = "3F2504E0-4F89-41D3-9A0C-0305E82C3301";
        assert_eq!(uuid(given, "/a"), given.to_ascii_lowercase());
    }
}
