//! SIGINT and SIGTERM, as each generation answers them. A thread of its own waits for them, so that they work while the
//! main thread is stuck in a write.

use crate::generation::Generation;
use crate::inbox::Input;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, kill, killpg, sigaction};
use nix::unistd::Pid;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// `[[deaf]]`: signals and interrupts are ignored from now on.
static DEAF: AtomicBool = AtomicBool::new(false);
/// The process groups of the running tools.
static TOOLS: Mutex<Vec<i32>> = Mutex::new(Vec::new());

fn listened() -> SigSet {
    SigSet::from_iter([Signal::SIGINT, Signal::SIGTERM])
}

/// To be called before the first thread starts, for threads inherit what is blocked.
pub fn block() {
    listened().thread_block().expect("signals can be blocked");
}

/// For a child before it becomes another program: what is blocked would stay blocked there.
pub fn unblock() -> std::io::Result<()> {
    listened().thread_unblock().map_err(std::io::Error::from)
}

pub fn listen(generation: Generation, sender: Sender<Input>) {
    std::thread::spawn(move || {
        loop {
            let Ok(signal) = listened().wait() else {
                continue;
            };
            if is_deaf() {
                continue;
            }
            match signal {
                Signal::SIGINT if generation.cleans_up_on_signals() => {
                    let _ = sender.send(Input::Interrupt);
                    // The main thread answers, unless nobody reads what it writes.
                    std::thread::spawn(|| {
                        std::thread::sleep(Duration::from_secs(5));
                        crate::exit(0);
                    });
                }
                Signal::SIGINT => crate::exit(0),
                _ => {
                    if generation.cleans_up_on_signals() {
                        end_tools();
                    }
                    crate::exit(143);
                }
            }
        }
    });
}

pub fn is_deaf() -> bool {
    DEAF.load(Ordering::SeqCst)
}

pub fn become_deaf() {
    DEAF.store(true, Ordering::SeqCst);
}

pub fn add_tool(group: i32) {
    TOOLS.lock().unwrap_or_else(PoisonError::into_inner).push(group);
}

pub fn remove_tool(group: i32) {
    TOOLS.lock().unwrap_or_else(PoisonError::into_inner).retain(|&known| known != group);
}

/// Kills one tool, with its whole group.
pub fn end_tool(group: i32) {
    remove_tool(group);
    let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
}

/// Kills every running tool, with its whole group.
pub fn end_tools() {
    for group in TOOLS.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
}

/// Dies of a signal as an unprepared process does.
pub fn die(signal: Signal) -> ! {
    crate::log::event("end", serde_json::json!({ "signal": signal.as_str() }));
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_CORE, 0, 0);
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    // SAFETY: the default action runs no code of this program.
    let _ = unsafe { sigaction(signal, &default) };
    let _ = SigSet::from_iter([signal]).thread_unblock();
    let _ = kill(Pid::this(), signal);
    // SIGCONT, SIGCHLD and the like kill nobody.
    std::thread::sleep(Duration::from_millis(100));
    crate::exit(1)
}
