//! `` !`bash` `` lines of a command, run before the model is asked. One that fails, is refused or is interrupted ends the
//! turn with a success of 0 tokens; only 2.1 says why (measured on 2.1.332, 2.0.76 and 1.0.128).

use crate::{Claude, Stop};
use std::process::{Command, Stdio};
use std::time::Duration;

impl Claude {
    /// Runs the lines of an expanded command; returns why the turn ends there, if it does.
    pub fn run_shell_lines(&mut self, text: &str) -> Option<String> {
        for command in shell_lines(text) {
            let pattern = format!("for pattern \"!`{command}`\": ");
            if !self.permissions.offers("Bash") {
                let why = "Permission to use Bash has been denied.";
                return Some(format!("Shell command permission check failed {pattern}{why}"));
            }
            match self.run_shell_line(command) {
                Ok(true) => {}
                Ok(false) => return Some(format!("Shell command failed {pattern}")),
                Err(_) => return Some(format!("Shell command interrupted {pattern}[Command interrupted]")),
            }
        }
        None
    }

    fn run_shell_line(&mut self, command: &str) -> Result<bool, Stop> {
        let mut bash = Command::new("bash");
        bash.args(["-c", command]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let Ok(mut child) = bash.spawn() else { return Ok(false) };
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return Ok(status.success());
            }
            if let Err(stop) = self.pause(Duration::from_millis(10)) {
                let _ = child.kill();
                let _ = child.wait();
                return Err(stop);
            }
        }
    }

    /// Ends a turn with a success that the model had no part in.
    pub fn end_without_model(&mut self, why: &str, command: &str) {
        let is_newest = self.generation == crate::generation::Generation::V2_1;
        self.answer_locally(command, is_newest.then(|| why.to_owned()));
    }
}

fn shell_lines(text: &str) -> Vec<&str> {
    text.split("!`").skip(1).filter_map(|rest| Some(rest.split_once('`')?.0)).collect()
}
