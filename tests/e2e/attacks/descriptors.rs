//! Descriptors that zen inherited must not reach an instance.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;

use nix::fcntl::{FcntlArg, FdFlag, Flock, FlockArg, fcntl};
use serde_json::json;

use harness::{Sandbox, wait_for, wait_until};

/// As `flock -n lock zen …` does it from cron: what an instance holds would keep the lock.
#[test]
fn a_lock_that_zen_inherited_does_not_reach_a_tool() {
    let sandbox = Sandbox::new();
    let (path, list) = (sandbox.path("cron.lock"), sandbox.path("descriptors"));
    let lock = Flock::lock(File::create(&path).expect("a file"), FlockArg::LockExclusiveNonblock).expect("it is free");
    let fd = lock.as_raw_fd();
    let command = format!("ls -l /proc/$PPID/fd /proc/$$/fd > {0}.new; mv {0}.new {0}", list.display());
    let prompt = format!("[[tool Bash {}]] {} [[say Done.]]", json!({ "command": command }), sandbox.gate("gate"));
    let mut command = sandbox.zen_on(&sandbox.prompts(&[&prompt]), &[]);
    // SAFETY: fcntl is async-signal-safe.
    unsafe {
        command.pre_exec(move || {
            let lock = std::os::fd::BorrowedFd::borrow_raw(fd);
            fcntl(lock, FcntlArg::F_SETFD(FdFlag::empty()))?;
            Ok(())
        })
    };
    let zen = sandbox.started(&mut command);
    let list = wait_for("the list", || fs::read_to_string(&list).ok());
    let inherited: Vec<String> = fs::read_dir(format!("/proc/{}/fd", zen.pid()))
        .expect("zen lives")
        .filter_map(|fd| Some(fs::read_link(fd.ok()?.path()).ok()?.display().to_string()))
        .collect();
    assert!(inherited.contains(&path.display().to_string()), "zen did not inherit the lock: {inherited:?}");
    assert!(!list.contains("cron.lock"), "{list}");
    // With zen dead and its parent's copy closed, the lock is free although the instance may still be ending.
    drop(lock);
    zen.kill();
    let is_free = || Flock::lock(File::open(&path).expect("a file"), FlockArg::LockExclusiveNonblock).is_ok();
    wait_until("the lock", is_free);
    wait_until("the end of the run", || sandbox.survivors().is_empty());
}
