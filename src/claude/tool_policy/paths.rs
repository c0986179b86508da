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
    let (base, relative) = match (pattern.strip_prefix("//"), pattern.strip_prefix("~/")) {
        (Some(rest), _) => (Some("/".to_owned()), rest),
        (_, Some(rest)) => (directories.home(), rest),
        _ => (directories.resolved("."), pattern.strip_prefix("./").unwrap_or(pattern)),
    };
    let Some(base) = base else { return false };
    let is_anchored = relative.trim_end_matches('/').contains('/') || pattern.starts_with(['/', '~']);
    let relative = relative.trim_start_matches('/');
    if relative.split('/').any(|part| part == "..") {
        return false;
    }
    let parts: Vec<&str> = relative.split('/').collect();
    let plain = if is_anchored { parts.iter().take_while(|part| !part.contains(['*', '?'])).count() } else { 0 };
    let plain = plain.min(parts.len() - 1);
    let directory = format!("{}/{}", base.trim_end_matches('/'), parts[..plain].join("/"));
    let Some(directory) = directories.resolved(directory.trim_end_matches('/')) else { return false };
    let inside = match directory.as_str() {
        "/" | "" => path.strip_prefix('/'),
        directory => path.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/')),
    };
    let Some(inside) = inside else { return false };
    let names: Vec<&str> = inside.split('/').collect();
    let pattern = parts[plain..].iter().copied().filter(|part| !part.is_empty()).collect::<Vec<_>>();
    if is_anchored {
        covers_names(&pattern, &names)
    } else {
        (0..names.len()).any(|from| covers_names(&pattern, &names[from..]))
    }
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
        for (length, _) in covered.iter().enumerate().filter(|(_, is_covered)| **is_covered) {
            match c {
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
