//! The project's own tools: `cargo xtask sim`, `cargo xtask tidy`.

mod campaign;
mod simulate;
mod tidy;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own tools.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, Subcommand)]
enum Tool {
    /// Run whole clusters under faults, each from one seed.
    Sim(simulate::Arguments),
    /// Check what the compiler does not: layers, file lengths, pages for error codes.
    Tidy,
}

fn main() -> ExitCode {
    match Arguments::parse().tool {
        Tool::Sim(arguments) => simulate::main(&arguments),
        Tool::Tidy => tidy::main(),
    }
}
