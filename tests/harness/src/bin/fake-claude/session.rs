//! Conversations on disk, one file for each session and working directory. Like the real one it reads the file once, at
//! the start, and writes it whole: of two processes on one session, one loses its turn.

use crate::money::Totals;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub struct Session {
    pub id: String,
    /// Role and text, oldest first.
    pub conversation: Vec<(String, String)>,
    persists: bool,
}

impl Session {
    pub fn new(id: String, persists: bool) -> Session {
        Session { id, conversation: Vec::new(), persists }
    }

    /// The session of that id in this directory, with what it had cost, if there is one.
    pub fn load(id: &str, persists: bool) -> Option<(Session, Totals)> {
        let text = std::fs::read_to_string(path(id)).ok()?;
        let value: Value = serde_json::from_str(&text).ok()?;
        let line = |entry: &Value| {
            (entry[0].as_str().unwrap_or_default().to_owned(), entry[1].as_str().unwrap_or_default().to_owned())
        };
        let conversation = value["conversation"].as_array().into_iter().flatten().map(line).collect();
        let session = Session { id: id.to_owned(), conversation, persists };
        Some((session, Totals::from_json(&value["totals"])))
    }

    pub fn exists(id: &str) -> bool {
        path(id).exists()
    }

    /// What 2.0 leaves of a process that was told nothing: a session that is in use, and that cannot be gone on with.
    pub fn save_nothing(&self) {
        if self.persists && !Session::exists(&self.id) {
            let _ = std::fs::create_dir_all(directory()).and_then(|()| std::fs::write(path(&self.id), ""));
        }
    }

    /// The id of the session that was written last in this directory.
    pub fn last_id() -> Option<String> {
        let files = std::fs::read_dir(directory()).ok()?.flatten();
        let newest = files
            .filter(|file| file.path().extension().is_some_and(|extension| extension == "jsonl"))
            .max_by_key(|file| file.metadata().and_then(|data| data.modified()).ok())?;
        Some(newest.path().file_stem()?.to_string_lossy().into_owned())
    }

    pub fn add(&mut self, role: &str, text: &str) {
        self.conversation.push((role.to_owned(), text.to_owned()));
    }

    pub fn save(&self, totals: &Totals) {
        if !self.persists {
            return;
        }
        let value = json!({ "conversation": self.conversation, "totals": totals.to_json() });
        let path = path(&self.id);
        let temporary = path.with_extension(format!("{}.tmp", std::process::id()));
        let written = std::fs::create_dir_all(directory())
            .and_then(|()| std::fs::write(&temporary, value.to_string()))
            .and_then(|()| std::fs::rename(&temporary, &path));
        if let Err(error) = written {
            eprintln!("fake-claude: {}: {error}", path.display());
        }
    }
}

fn directory() -> PathBuf {
    let home = std::env::var_os("HOME").unwrap_or_else(|| "/".into());
    let cwd = std::env::current_dir().unwrap_or_default().to_string_lossy().into_owned();
    let mut name: String = cwd.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
    if name.len() > 200 {
        // A file name has at most 255 bytes; the end of a path tells more than its beginning.
        name = format!(
            "{:x}{}",
            cwd.bytes().fold(5381_u64, |hash, byte| hash.wrapping_mul(33) ^ u64::from(byte)),
            &name[name.len() - 180..]
        );
    }
    Path::new(&home).join(".claude/projects").join(name)
}

fn path(id: &str) -> PathBuf {
    directory().join(format!("{}.jsonl", id.to_ascii_lowercase()))
}

/// Whether the text is a UUID as `--session-id` wants it.
pub fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.char_indices().all(|(at, c)| match at {
            8 | 13 | 18 | 23 => c == '-',
            _ => c.is_ascii_hexdigit(),
        })
}

/// A random UUID, version 4.
pub fn new_uuid() -> String {
    let mut bytes = random_bytes::<16>();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex(&bytes);
    format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..])
}

/// An id as the API gives them to messages and tool calls.
pub fn new_id(prefix: &str) -> String {
    format!("{prefix}_{}", hex(&random_bytes::<12>()))
}

fn random_bytes<const N: usize>() -> [u8; N] {
    use std::io::Read;
    let mut bytes = [0; N];
    std::fs::File::open("/dev/urandom")
        .and_then(|mut file| file.read_exact(&mut bytes))
        .expect("/dev/urandom is readable");
    bytes
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
