//! The parts that zen's test suites share: sandboxes in which zen runs, the script language of the tests, and the two programs
//! that obey it, the fake claude and the loopback API.

pub mod loopback;
pub mod processes;
pub mod programs;
pub mod random;
pub mod sandbox;
pub mod script;
pub mod waiting;

pub use processes::{exists, is_alive, processes_with};
pub use programs::{fake_claude, fixture, repository, zen_binary};
pub use random::Random;
pub use sandbox::{
    RunOutput, Running, Sandbox, TEST_VARIABLE, copy_program, terminal, with_default_signals, write_program,
};
pub use waiting::{MAX_WAIT, wait_for, wait_until, wait_within};
