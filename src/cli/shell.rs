//! `completions` and `man`: what packages and shells want to know about the command tree.

use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use super::arguments::Arguments;
use super::terminal;
use crate::visit::{Stop, Trouble};

/// The completions for a shell.
#[expect(clippy::unnecessary_wraps, reason = "every command returns how it ended")]
pub(super) fn completions(shell: Shell) -> Result<(), Stop> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "idevice-fix", &mut out);
    terminal::print(&String::from_utf8_lossy(&out));
    Ok(())
}

/// The manual page; with `folder`, those of all commands, as files in there.
pub(super) fn man(folder: Option<&Path>) -> Result<(), Stop> {
    let failed = |error: std::io::Error| {
        Stop::new(Trouble::Failed, format!("The manual page could not be made: {error}."), "")
    };
    if let Some(folder) = folder {
        std::fs::create_dir_all(folder).map_err(failed)?;
        return clap_mangen::generate_to(Arguments::command(), folder).map_err(failed);
    }
    let mut out = Vec::new();
    clap_mangen::Man::new(Arguments::command()).render(&mut out).map_err(failed)?;
    terminal::print(&String::from_utf8_lossy(&out));
    Ok(())
}
