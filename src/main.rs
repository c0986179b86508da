//! The zen program.

fn main() -> std::process::ExitCode {
    zen::app::main()
}
