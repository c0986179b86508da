//! Matches the path of a writing tool against a pattern such as `src/**`, in the syntax of claude's own rules.

use super::Directories;

/// Returns true if zen supports a file pattern: `*`, `**` and `?`, and nothing else of gitignore.
pub(super) fn is_understood(pattern: &str) -> bool {
    !pattern.is_empty() && !pattern.starts_with('!') && !pattern.contains(['[', ']', '\\', '{', '}'])
}

/// Returns true if a pattern covers a path, after all links are resolved.
///
/// A link below the pattern's directory therefore does not lead out of it. The directory itself may be a link, because
/// the pattern names it.
pub(super) fn covers(pattern: &str, path: &str, directories: &dyn Directories) -> bool {
    if !is_understood(pattern) {
        return false;
    }
    let Some(path) = directories.resolved(path) else { return false };
    // `//x` is absolute, `/x` and `x` are relative to the directory of the instance.
    let (base, relative) = if let Some(rest) = pattern.strip_prefix("//") {
        (Some("/".to_owned()), rest)
    } else if let Some(rest) = pattern.strip_prefix("~/") {
        (directories.home(), rest)
    } else {
        (directories.resolved("."), pattern.strip_prefix("./").unwrap_or(pattern))
    };
    let Some(base) = base else { return false };
    let is_anchored = relative.trim_end_matches('/').contains('/') || pattern.starts_with(['/', '~']);
    let parts: Vec<&str> = relative.trim_start_matches('/').split('/').collect();
    if parts.contains(&"..") {
        return false;
    }
    let plain = if is_anchored { plain_parts(&parts) } else { 0 };
    let directory = format!("{}/{}", base.trim_end_matches('/'), parts[..plain].join("/"));
    let Some(directory) = directories.resolved(directory.trim_end_matches('/')) else { return false };
    let Some(inside) = path.strip_prefix(directory.trim_end_matches('/')) else { return false };
    let Some(inside) = inside.strip_prefix('/') else { return false };
    let names: Vec<&str> = inside.split('/').collect();
    let mut pattern = parts[plain..].to_vec();
    pattern.retain(|part| !part.is_empty());
    if is_anchored {
        return covers_names(&pattern, &names);
    }
    (0..names.len()).any(|from| covers_names(&pattern, &names[from..]))
}

/// Returns the number of parts before the first with a wildcard, without the last part.
fn plain_parts(parts: &[&str]) -> usize {
    let first_wild = parts.iter().position(|part| part.contains(['*', '?']));
    first_wild.unwrap_or(parts.len()).min(parts.len() - 1)
}

/// Matches path components. A pattern that covers a directory covers everything below it.
fn covers_names(pattern: &[&str], names: &[&str]) -> bool {
    match (pattern, names) {
        ([], _) => true,
        (["**"], names) => !names.is_empty(),
        (["**", rest @ ..], names) => (0..=names.len()).any(|skipped| covers_names(rest, &names[skipped..])),
        ([first, rest @ ..], [name, names @ ..]) => covers_name(first, name) && covers_names(rest, names),
        (_, []) => false,
    }
}

fn covers_name(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    // Each row marks the lengths of the name that the pattern matches up to the current character.
    let mut covered = vec![false; name.len() + 1];
    covered[0] = true;
    for c in pattern {
        let mut next = vec![false; name.len() + 1];
        for length in 0..covered.len() {
            match c {
                _ if !covered[length] => {}
                '*' => next[length..].fill(true),
                '?' if length < name.len() => next[length + 1] = true,
                c if name.get(length) == Some(&c) => next[length + 1] = true,
                _ => {}
            }
        }
        covered = next;
    }
    covered[name.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Links;

    impl Directories for Links {
        /// `/w/named` is a link to `/data/named`, `/w/src/out` one to `/elsewhere`.
        fn resolved(&self, path: &str) -> Option<String> {
            let absolute = match path {
                "." => "/w".to_owned(),
                path if path.starts_with('/') => path.to_owned(),
                path => format!("/w/{path}"),
            };
            for (link, target) in [("/w/named", "/data/named"), ("/w/src/out", "/elsewhere")] {
                if let Some(rest) = absolute.strip_prefix(link).filter(|rest| rest.is_empty() || rest.starts_with('/'))
                {
                    return Some(format!("{target}{rest}"));
                }
            }
            Some(absolute)
        }
        fn home(&self) -> Option<String> {
            Some("/home/me".to_owned())
        }
    }

    #[test]
    fn pattern_covers_paths_as_in_gitignore() {
        for (pattern, path, expected) in [
            ("src/**", "/w/src/a.rs", true),
            ("src/**", "src/deep/a.rs", true),
            ("src/**", "/w/src", false),
            ("src/**", "/w/lib/src/a.rs", false),
            ("src", "/w/src/a.rs", true),
            ("./src/**", "/w/src/a.rs", true),
            ("/src/**", "/w/src/a.rs", true),
            ("src/*.rs", "/w/src/a.rs", true),
            ("src/*.rs", "/w/src/deep/a.rs", false),
            ("src/**/*.rs", "/w/src/deep/er/a.rs", true),
            ("*.md", "/w/a.md", true),
            ("*.md", "/w/deep/a.md", true),
            ("*.md", "/elsewhere/a.md", false),
            ("?.md", "/w/ab.md", false),
            ("**", "/w/anything", true),
            ("**", "/elsewhere", false),
            ("//tmp/x/**", "/tmp/x/y", true),
            ("//tmp/x/**", "/tmp/xy", false),
            ("~/notes/**", "/home/me/notes/a", true),
            ("~/notes/**", "/home/you/notes/a", false),
            ("src/../**", "/w/x", false),
        ] {
            assert_eq!(covers(pattern, path, &Links), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn link_leads_in_but_not_out() {
        assert!(covers("named/**", "/w/named/a", &Links), "the pattern names the link");
        assert!(covers("named/**", "/data/named/a", &Links));
        assert!(!covers("src/**", "/w/src/out/a", &Links), "a link below it leads out");
        assert!(!covers("**", "/w/src/out/a", &Links));
    }
}
