//! Starts the program; everything else is in the library, whose `lib.rs` is the map.

use std::process::ExitCode;

fn main() -> ExitCode {
    idevice_fix::cli::main()
}
