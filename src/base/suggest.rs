//! Suggests known names for a mistyped one.

/// Returns the known name that begins with `mistyped`, or else the one with the fewest edits, if few for its length.
#[must_use]
pub fn closest_match<'a>(mistyped: &str, known: impl IntoIterator<Item = &'a str> + Clone) -> Option<&'a str> {
    const MIN_BEGINNING_BYTES: usize = 2;
    const MAX_BYTES: usize = 100;
    if mistyped.len() >= MIN_BEGINNING_BYTES {
        for name in known.clone() {
            if name.starts_with(mistyped) {
                return Some(name);
            }
        }
    }
    // Text longer than any name is no typo, and its edit distance is slow to compute.
    if mistyped.len() > MAX_BYTES {
        return None;
    }
    let mistyped: Vec<char> = mistyped.chars().collect();
    let max_edits = 1 + mistyped.len() / 4;
    let mut nearest: Option<(usize, &str)> = None;
    for name in known {
        let distance = if name.len() <= 2 * MAX_BYTES { edits(&mistyped, name) } else { usize::MAX };
        if nearest.is_none_or(|(least, _)| distance < least) {
            nearest = Some((distance, name));
        }
    }
    let (distance, name) = nearest?;
    // If every character would be replaced, the names are unrelated.
    let is_similar = distance <= max_edits && distance < mistyped.len().max(name.chars().count());
    is_similar.then_some(name)
}

/// Returns up to `max` such names, the nearest first.
#[must_use]
pub fn nearest_few<'a>(mistyped: &str, known: impl IntoIterator<Item = &'a str>, max: usize) -> Vec<&'a str> {
    let mut known: Vec<&str> = known.into_iter().collect();
    let mut few = Vec::new();
    while few.len() < max
        && let Some(name) = closest_match(mistyped, known.iter().copied())
    {
        known.retain(|other| *other != name);
        few.push(name);
    }
    few
}

/// Returns the edit distance (insertions, deletions, replacements), ignoring ASCII case.
fn edits(mistyped: &[char], name: &str) -> usize {
    let mut row: Vec<usize> = (0..=mistyped.len()).collect();
    for (i, expected) in name.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, found) in mistyped.iter().enumerate() {
            let replaced = diagonal + usize::from(!found.eq_ignore_ascii_case(&expected));
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[mistyped.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 5] = ["config", "timeout", "idle-timeout", "max-parallel", "max-console-lines"];

    #[test]
    fn typo_is_recognized() {
        for (mistyped, meant) in [
            ("confg", "config"),
            ("CONFIG", "config"),
            ("timeuot", "timeout"),
            ("max_parallel", "max-parallel"),
            ("idletimeout", "idle-timeout"),
        ] {
            assert_eq!(closest_match(mistyped, KNOWN), Some(meant));
        }
    }

    #[test]
    fn prefix_is_recognized() {
        assert_eq!(closest_match("idle", KNOWN), Some("idle-timeout"));
        assert_eq!(closest_match("max-c", KNOWN), Some("max-console-lines"));
    }

    #[test]
    fn nearest_names_come_first_and_once() {
        assert_eq!(nearest_few("timeot", KNOWN, 3), ["timeout"]);
        assert_eq!(nearest_few("max", KNOWN, 3), ["max-parallel", "max-console-lines"]);
        assert_eq!(nearest_few("ax", ["ab", "a", "abc", "ab", "axe"], 2), ["axe", "ab"]);
        assert_eq!(nearest_few("x", KNOWN, 3), Vec::<&str>::new());
    }

    #[test]
    fn unrelated_text_has_no_suggestion() {
        for unlike in ["", "x", "verbose", "parallel-jobs"] {
            assert_eq!(closest_match(unlike, KNOWN), None, "{unlike}");
        }
    }

    #[test]
    fn edits_are_counted() {
        let count = |from: &str, to| edits(&from.chars().collect::<Vec<_>>(), to);
        assert_eq!(count("kitten", "sitting"), 3);
        assert_eq!(count("", "abc"), 3);
        assert_eq!(count("abc", ""), 3);
        assert_eq!(count("Bash", "bash"), 0);
    }
}
