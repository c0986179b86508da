//! Measures the prose of comments: which words they use, and how doc comments open.

use crate::Source;

/// Words of a dialect that the project has given up, apart from those that have a figure of their own.
const DIALECT: &[&str] = &[
    "nobody",
    "somebody",
    "everybody",
    "anybody",
    "whoever",
    "reckon",
    "reckoned",
    "reckons",
    "lest",
    "afresh",
    "mended",
    "mend",
    "mends",
    "goes on",
    "go on",
    "gone on",
    "going on",
    "for ever",
    "slip of the pen",
    "had better",
    "let go",
    "lets go",
    "is to be",
    "are to be",
    "is to have",
    "is to stay",
];

const TELL: &[&str] = &["tell", "tells", "told", "say", "says", "said"];
const WHO: &[&str] = &["who", "whom", "whose"];
const RETURNS: &[&str] = &["return", "returns"];

/// First words that put a pronoun where a doc comment's verb or noun belongs.
const PRONOUNS: &[&str] = &[
    "what", "whether", "which", "who", "whom", "whose", "how", "its", "it", "those", "these", "this", "that", "they",
    "where", "when", "why",
];

/// Frequencies per 1,000 comment words, unless the name gives another unit.
pub struct Prose {
    pub tell: f64,
    pub who: f64,
    pub returns: f64,
    pub dialect: f64,
    pub what_openers: f64,
    /// Percent of all doc blocks.
    pub pronoun_openers: f64,
}

/// Measures all comments of these files.
pub fn measure(sources: &[Source]) -> Prose {
    let blocks: Vec<Block> = sources.iter().flat_map(|source| blocks(&source.text)).collect();
    let words: Vec<String> = blocks.iter().flat_map(|block| words(&block.text)).collect();
    let count = |list: &[&str]| words.iter().filter(|word| list.contains(&word.as_str())).count();
    let per_thousand = |count: usize| count as f64 * 1000.0 / words.len() as f64;
    let openers: Vec<String> = blocks.iter().filter(|block| block.is_doc).filter_map(Block::opener).collect();
    let opening = |list: &[&str]| openers.iter().filter(|word| list.contains(&word.as_str())).count();
    let joined = format!(" {} ", words.join(" "));
    let dialect = DIALECT.iter().map(|phrase| joined.matches(&format!(" {phrase} ")).count()).sum();
    Prose {
        tell: per_thousand(count(TELL)),
        who: per_thousand(count(WHO)),
        returns: per_thousand(count(RETURNS)),
        dialect: per_thousand(dialect),
        what_openers: per_thousand(opening(&["what"])),
        pronoun_openers: opening(PRONOUNS) as f64 * 100.0 / openers.len() as f64,
    }
}

/// Consecutive comment lines of one kind.
struct Block {
    is_doc: bool,
    text: String,
}

impl Block {
    fn opener(&self) -> Option<String> {
        words(&self.text).into_iter().next()
    }
}

fn blocks(source: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut last_marker = None;
    for line in source.lines() {
        let line = line.trim_start();
        let marker = ["///", "//!", "//"].into_iter().find(|marker| line.starts_with(marker));
        if let Some(marker) = marker {
            let text = &line[marker.len()..];
            match blocks.last_mut().filter(|_| last_marker == Some(marker)) {
                Some(block) => block.text += text,
                None => blocks.push(Block { is_doc: marker != "//", text: text.to_owned() }),
            }
            if let Some(block) = blocks.last_mut() {
                block.text.push('\n');
            }
        }
        last_marker = marker;
    }
    blocks
}

/// Returns the words in lower case, without inline code.
fn words(text: &str) -> Vec<String> {
    let prose: String = text.split('`').step_by(2).collect::<Vec<_>>().join(" code ");
    prose
        .split(|c: char| !c.is_alphabetic() && c != '\'')
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase)
        .collect()
}

#[test]
fn comment_blocks_and_openers_are_found() {
    let source = "//! Module.\n\n/// What `x` says\n/// on two lines.\nfn f() {\n    // Why, not how.\n}\n";
    let found: Vec<(bool, String)> =
        blocks(source).iter().map(|block| (block.is_doc, block.opener().unwrap_or_default())).collect();
    let expected = [(true, "module"), (true, "what"), (false, "why")].map(|(is_doc, word)| (is_doc, word.to_owned()));
    assert_eq!(found, expected);
    assert_eq!(words("Returns `told` words."), ["returns", "code", "words"]);
}
