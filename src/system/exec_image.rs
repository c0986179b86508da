//! Arguments of execve(2), prepared before fork(2): a forked child must not allocate.

use std::collections::BTreeMap;
use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::ptr;

use nix::errno::Errno;
use nix::libc::{self, c_char};

use super::child::SpawnSpec;

const SHELL: &std::ffi::CStr = c"/bin/sh";

/// Program, arguments and environment as execve(2) takes them.
pub struct ExecImage {
    program: CString,
    /// Pointers to [`SHELL`], the program and its arguments, and a null pointer.
    arguments: Vec<*const c_char>,
    /// Pointers to `NAME=VALUE`, and a null pointer.
    environment: Vec<*const c_char>,
    /// Owner of the strings that the pointers refer to.
    _strings: Vec<CString>,
}

// SAFETY: the pointers refer to strings that this value owns and never changes.
unsafe impl Send for ExecImage {}
// SAFETY: as above.
unsafe impl Sync for ExecImage {}

impl ExecImage {
    /// Creates the image of a program with zen's environment and the changes of `spec`.
    ///
    /// # Errors
    /// Returns `InvalidInput` if a string contains a zero byte.
    pub fn new(spec: &SpawnSpec) -> io::Result<Self> {
        let program = CString::new(spec.program.as_os_str().as_bytes())?;
        let mut strings = Vec::new();
        let mut arguments = vec![SHELL.as_ptr(), program.as_ptr()];
        for argument in &spec.arguments {
            arguments.push(push(&mut strings, argument.as_bytes().to_vec())?);
        }
        arguments.push(ptr::null());
        let mut environment = Vec::new();
        for (name, value) in variables(spec) {
            let mut line = name.into_vec();
            line.push(b'=');
            line.extend_from_slice(value.as_bytes());
            environment.push(push(&mut strings, line)?);
        }
        environment.push(ptr::null());
        Ok(ExecImage { program, arguments, environment, _strings: strings })
    }

    /// Replaces this process by the program. Returns only if that fails.
    ///
    /// Like execvp(3), runs a file without a `#!` line by the shell.
    pub fn exec(&self) -> Errno {
        let (by_shell, environment) = (self.arguments.as_ptr(), self.environment.as_ptr());
        // SAFETY: both lists end with a null pointer, and their strings live as long as this value.
        unsafe {
            libc::execve(self.program.as_ptr(), by_shell.add(1), environment);
            if Errno::last() == Errno::ENOEXEC {
                libc::execve(SHELL.as_ptr(), by_shell, environment);
            }
        }
        Errno::last()
    }
}

/// Adds a string to the list. Returns its address, which does not change when the list grows.
fn push(strings: &mut Vec<CString>, bytes: Vec<u8>) -> io::Result<*const c_char> {
    let string = CString::new(bytes)?;
    let address = string.as_ptr();
    strings.push(string);
    Ok(address)
}

/// Returns zen's environment with the changes of `spec`, in their order.
fn variables(spec: &SpawnSpec) -> BTreeMap<OsString, OsString> {
    let mut variables: BTreeMap<OsString, OsString> = std::env::vars_os().collect();
    for (name, value) in &spec.variables {
        match value {
            Some(value) => variables.insert(name.clone(), value.clone()),
            None => variables.remove(name),
        };
    }
    variables
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn spec(variables: &[(&str, Option<&str>)]) -> SpawnSpec {
        let variables = variables.iter().map(|(name, value)| (OsString::from(name), value.map(OsString::from)));
        SpawnSpec {
            program: PathBuf::from("/bin/true"),
            arguments: vec!["a".into(), "b c".into()],
            cwd: PathBuf::from("/"),
            variables: variables.collect(),
        }
    }

    #[test]
    fn last_change_of_a_variable_counts() {
        let spec = spec(&[("NEW", Some("1")), ("HOME", Some("/a")), ("HOME", Some("/b")), ("PATH", None)]);
        let variables = variables(&spec);
        let value =
            |name: &str| variables.get(std::ffi::OsStr::new(name)).map(|value| value.to_string_lossy().into_owned());
        assert_eq!((value("NEW").as_deref(), value("HOME").as_deref(), value("PATH")), (Some("1"), Some("/b"), None));
    }

    #[test]
    fn lists_end_with_a_null_pointer_and_zero_bytes_are_refused() {
        let image = ExecImage::new(&spec(&[("NEW", Some("1"))])).expect("no zero byte");
        assert_eq!(image.arguments.len(), 5);
        assert!(image.arguments.last().is_some_and(|last| last.is_null()));
        assert!(image.environment.last().is_some_and(|last| last.is_null()));
        let error = ExecImage::new(&spec(&[("NEW", Some("a\0b"))])).err().expect("a zero byte");
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }
}
