//! Splits a shell command into simple commands and matches each against the patterns of Bash. Denies what it cannot
//! decide.

use crate::claude::tools::prefix_of_pattern;

/// Programs that only read and run no other program.
///
/// Inside the workspace claude prompts for none of them, so its own rules decide about these. Excluded are all programs
/// that write by an operand or an option, and `test -v` and `printf -v`, which evaluate an array's index.
const READERS: &[&str] = &[
    "basename", "cat", "cmp", "comm", "cut", "df", "dirname", "du", "echo", "false", "fold", "grep", "head", "id",
    "ls", "nl", "paste", "pwd", "readlink", "realpath", "rev", "seq", "stat", "tac", "tail", "tr", "true", "uname",
    "wc", "which", "whoami",
];

/// Characters that end a word of the shell.
const END_OF_WORD: [char; 10] = [' ', '\t', '\n', ';', '|', '&', '<', '>', '(', ')'];

/// Redirection targets that change nothing.
const HARMLESS_TARGETS: &[&str] = &["/dev/null", "/dev/stdout", "/dev/stderr"];

/// Returns the reason why the patterns do not cover a command, or `None` if they cover each simple command in it.
///
/// `resolve` returns a path with its links resolved. `cd` must stay inside the directory that `.` resolves to.
pub(super) fn denial(patterns: &[&str], command: &str, resolve: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    if patterns.contains(&"*") {
        return None;
    }
    let simple = match split(command) {
        Ok(simple) if simple.is_empty() => return Some("allowed_tools covers no empty command".to_owned()),
        Ok(simple) => simple,
        Err(construct) => {
            return Some(format!("allowed_tools restricts Bash to patterns, and {construct} hides what would run"));
        }
    };
    for command in simple {
        let inner = without_timeout(&command);
        let is_covered = patterns.iter().any(|pattern| covers(pattern, inner));
        if !is_covered && !only_reads(inner) && !stays_inside(inner, resolve) {
            return Some(format!("allowed_tools does not cover the command '{command}'"));
        }
    }
    None
}

/// Returns true if a pattern covers a simple command.
fn covers(pattern: &str, command: &str) -> bool {
    match prefix_of_pattern(pattern) {
        Some(prefix) if !prefix.contains('*') => begins_with_words(command, prefix),
        Some(prefix) => matches(prefix, command) || matches(&format!("{prefix} *"), command),
        None => matches(pattern, command),
    }
}

/// Returns true if a command is `prefix`, or begins with it and a blank.
pub(super) fn begins_with_words(command: &str, prefix: &str) -> bool {
    match command.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || rest.starts_with(' '),
        None => false,
    }
}

/// Returns true if a pattern matches the whole text; `*` matches any text.
pub(super) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Strips `timeout DURATION`, so that `timeout 60 make test` counts as `make test`.
fn without_timeout(command: &str) -> &str {
    let Some((duration, rest)) = command.strip_prefix("timeout ").and_then(|rest| rest.split_once(' ')) else {
        return command;
    };
    let digits = duration.trim_end_matches(['s', 'm', 'h']);
    let is_duration = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_duration { rest } else { command }
}

fn only_reads(command: &str) -> bool {
    let program = command.split(' ').next().unwrap_or_default();
    READERS.contains(&program)
}

/// Returns true for a `cd` into a directory inside the current one.
fn stays_inside(command: &str, resolve: &dyn Fn(&str) -> Option<String>) -> bool {
    let Some(target) = command.strip_prefix("cd ") else { return false };
    let target = target.trim_matches(['"', '\'']);
    if target.is_empty()
        || target.starts_with(['-', '~'])
        || target.contains(['"', '\'', '\\', '$', '*', '?', '[', '{'])
    {
        return false;
    }
    let (Some(target), Some(inside)) = (resolve(target), resolve(".")) else { return false };
    target == inside || target.starts_with(&format!("{inside}/"))
}

/// Splits a command at its operators.
///
/// Each simple command keeps its quotes and has single blanks. Harmless redirections are dropped.
///
/// # Errors
/// The construct that could run another command.
fn split(command: &str) -> Result<Vec<String>, &'static str> {
    let mut splitter = Splitter { rest: command, simple: Vec::new(), current: String::new() };
    splitter.run()?;
    splitter.end_simple();
    Ok(splitter.simple)
}

struct Splitter<'a> {
    rest: &'a str,
    simple: Vec<String>,
    current: String,
}

impl Splitter<'_> {
    fn run(&mut self) -> Result<(), &'static str> {
        while let Some(next) = self.next() {
            match next {
                '\\' => match self.next() {
                    Some('\n') => {}
                    Some(escaped) => self.current.extend(['\\', escaped]),
                    None => return Err("a backslash at the end"),
                },
                '\'' => self.single_quoted()?,
                '"' => self.double_quoted()?,
                ' ' | '\t' => self.blank(),
                '\n' | ';' | '|' => self.end_simple(),
                '&' if self.rest.starts_with('>') => {
                    self.next();
                    self.redirection()?;
                }
                '&' => self.end_simple(),
                '>' | '<' => {
                    if next == '<' && self.rest.starts_with(['<', '>', '(', '&']) {
                        return Err("a here-document or a substitution");
                    }
                    self.redirection()?;
                }
                '`' => return Err("a substitution"),
                '(' | ')' => return Err("a parenthesis"),
                '#' if self.current.is_empty() || self.current.ends_with(' ') => return Err("a comment"),
                '$' => self.expansion()?,
                next if next.is_control() => return Err("a control character"),
                next => self.current.push(next),
            }
        }
        Ok(())
    }

    fn next(&mut self) -> Option<char> {
        let next = self.rest.chars().next()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    fn blank(&mut self) {
        if !self.current.is_empty() && !self.current.ends_with(' ') {
            self.current.push(' ');
        }
    }

    fn end_simple(&mut self) {
        let simple = std::mem::take(&mut self.current);
        let simple = simple.trim_end();
        if !simple.is_empty() {
            self.simple.push(simple.to_owned());
        }
    }

    fn single_quoted(&mut self) -> Result<(), &'static str> {
        let Some(end) = self.rest.find('\'') else { return Err("a quote without an end") };
        self.current.push('\'');
        self.current.push_str(&self.rest[..=end]);
        self.rest = &self.rest[end + 1..];
        Ok(())
    }

    fn double_quoted(&mut self) -> Result<(), &'static str> {
        self.current.push('"');
        loop {
            match self.next().ok_or("a quote without an end")? {
                '"' => {
                    self.current.push('"');
                    return Ok(());
                }
                '\\' => {
                    let escaped = self.next().ok_or("a quote without an end")?;
                    self.current.extend(['\\', escaped]);
                }
                '`' => return Err("a substitution"),
                '$' if self.quoted_text() => {}
                '$' => self.expansion()?,
                next if next.is_control() && !matches!(next, '\n' | '\t') => return Err("a control character"),
                next => self.current.push(next),
            }
        }
    }

    /// Skips `$(cat <<'END' ... END)`, in which nothing is expanded: claude writes commit messages in this form.
    fn quoted_text(&mut self) -> bool {
        let Some(rest) = self.rest.strip_prefix("(cat <<'") else { return false };
        let Some((word, rest)) = rest.split_once("'\n") else { return false };
        if word.is_empty() || !word.chars().all(is_name_character) {
            return false;
        }
        let Some((_, rest)) = rest.split_once(&format!("\n{word}\n")) else { return false };
        let Some(rest) = rest.trim_start_matches([' ', '\n']).strip_prefix(')') else { return false };
        self.rest = rest;
        true
    }

    /// Reads an expansion. `$NAME` and `${NAME}` only insert a value; every other form may run a command.
    fn expansion(&mut self) -> Result<(), &'static str> {
        let (braced, rest) = match self.rest.strip_prefix('{') {
            Some(rest) => (true, rest),
            None => (false, self.rest),
        };
        let end = rest.find(|c| !is_name_character(c)).unwrap_or(rest.len());
        let has_end = !braced || rest[end..].starts_with('}');
        if end == 0 && !braced && !rest.starts_with(['(', '\'', '"', '[']) {
            self.current.push('$');
            return Ok(());
        }
        if end == 0 || !has_end {
            return Err("a substitution");
        }
        self.current.push('$');
        self.current.push_str(&self.rest[..end + 2 * usize::from(braced)]);
        self.rest = &self.rest[end + 2 * usize::from(braced)..];
        Ok(())
    }

    /// Reads the target of a redirection, after its operator.
    fn redirection(&mut self) -> Result<(), &'static str> {
        // A descriptor number belongs to the operator.
        let number = self.current.trim_end_matches(|c: char| c.is_ascii_digit()).len();
        if number == 0 || self.current[..number].ends_with(' ') {
            self.current.truncate(number);
        }
        let rest = self.rest.strip_prefix('>').unwrap_or(self.rest);
        if let Some(descriptor) = rest.strip_prefix('&') {
            let end = descriptor.find(|c: char| !c.is_ascii_digit()).unwrap_or(descriptor.len());
            // A word that only begins with digits is the name of a file.
            if end == 0 || !descriptor[end..].is_empty() && !descriptor[end..].starts_with(END_OF_WORD) {
                return Err("a redirection");
            }
            self.rest = &descriptor[end..];
            return Ok(());
        }
        let target = rest.trim_start_matches([' ', '\t']);
        let end = target.find(END_OF_WORD).unwrap_or(target.len());
        if !HARMLESS_TARGETS.contains(&&target[..end]) {
            return Err("a redirection");
        }
        self.rest = &target[end..];
        self.blank();
        Ok(())
    }
}

/// Returns true for a character of a variable's name.
fn is_name_character(character: char) -> bool {
    character.is_ascii_alphanumeric() || character == '_'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn is_covered(patterns: &[&str], command: &str) -> bool {
        let resolve = |path: &str| match path {
            "." => Some("/w".to_owned()),
            path if path.starts_with('/') => Some(path.to_owned()),
            path => Some(format!("/w/{path}")),
        };
        denial(patterns, command, &resolve).is_none()
    }

    #[test]
    fn command_that_a_pattern_covers_is_not_denied() {
        for command in [
            "git log",
            "git  log --oneline -5",
            "git log && git log -2",
            "git log | head -5 | wc -l",
            "git log 2>/dev/null; git log 2>&1",
            "git log --format='%h $(x) `y`; z'",
            "git log \"$HOME\" ${BRANCH}",
            "git log \\\n  --oneline",
            "timeout 60 git log",
            "cd sub && git log",
            "cd /w/sub && git log",
            "ls -la",
            "git log --grep \"$(cat <<'EOF'\n`rm x`; $(y)\nEOF\n)\"",
        ] {
            assert!(is_covered(&["git log *"], command), "{command}");
        }
        for (pattern, command, expected) in [
            ("git log:*", "git log -1", true),
            ("git log", "git log", true),
            ("git log", "git log -1", false),
            ("git*", "gitk", true),
            ("git * main", "git push origin main", true),
            ("git * main", "git push origin other", false),
            ("npm run *", "npm run", true),
            ("*", "rm -r x; $(y)", true),
            ("make test", "make test; make test", true),
        ] {
            assert_eq!(is_covered(&[pattern], command), expected, "{pattern}: {command}");
        }
    }

    #[test]
    fn command_that_hides_another_is_denied() {
        for command in [
            "",
            "git push",
            "git logs",
            "git log''x",
            "git log && rm x",
            "git log; ./mk.sh",
            "git log\n./mk.sh",
            "git log & ./mk.sh",
            "git log | ./mk.sh",
            "git log $(./mk.sh)",
            "git log `./mk.sh`",
            "git log \"$(./mk.sh)\"",
            "git log \"`./mk.sh`\"",
            "git log <(./mk.sh)",
            "git log > made",
            "git log >> made",
            "git log >| made",
            "git log &> made",
            "git log 2> made",
            "git log >&made",
            "git log >&2made",
            "git log >&1/made",
            "git log >&2$x",
            "git log >&2-",
            "git log <> made",
            "git log < /etc/passwd",
            "git log <<EOF\n$(./mk.sh)\nEOF",
            "git log \"$(cat <<EOF\n$(./mk.sh)\nEOF\n)\"",
            "git log \"$(cat <<'EOF'\nx\nEOF\n./mk.sh)\"",
            "git log ${x:-$(./mk.sh)}",
            "git log ${x@P}",
            "git log $'x'",
            "git log $((x[$(./mk.sh)]))",
            "git log #'\n./mk.sh #'",
            "(git log; ./mk.sh)",
            "X=1 ./mk.sh",
            "GIT_PAGER=./mk.sh git log",
            "if git log; then ./mk.sh; fi",
            "git log 'x",
            "git log \"x",
            "git log \\",
            "git log \r./mk.sh",
            "cd /elsewhere && git log",
            "cd $HOME && git log",
            "cd",
            "timeout -s KILL ./mk.sh",
            "echo x > made",
            "cat x | tee made",
        ] {
            assert!(!is_covered(&["git log *"], command), "{command:?}");
        }
    }

    proptest! {
        #[test]
        fn no_command_panics(command in "[a-z$(){}'\"`;&|<>#\\\\ \\n0-9@*é]{0,24}") {
            let _ = is_covered(&["a *", "*b", "a*c"], &command);
        }

        /// If a command is covered, the shell runs only the covered program.
        #[test]
        fn shell_runs_nothing_else(command in "(good|evil|'|\"|`|\\$|\\(|\\)|;|&|\\||<|>|#|\\\\|\n| |x|\\{|\\}){1,12}") {
            if is_covered(&["good *"], &command) {
                let script = format!("good() {{ :; }}; evil() {{ echo EVIL >&3; }}; exec 3>&1 >/dev/null 2>&1; {command}");
                let output = std::process::Command::new("bash").args(["-c", &script]).output();
                let printed = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
                prop_assert!(!printed.contains("EVIL"), "{command:?}");
            }
        }
    }
}
