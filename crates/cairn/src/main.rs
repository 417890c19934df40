//! The program `cairn`: all of it is in the library beside it.

fn main() -> std::process::ExitCode {
    cairn::run()
}
