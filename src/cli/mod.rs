//! The command line: one file per command.

use std::process::ExitCode;

/// Reads the arguments, does what they say, and returns the exit status.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
