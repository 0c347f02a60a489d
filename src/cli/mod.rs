//! The command line: reads the arguments, makes one call, prints what it gave, and ends with its exit status.
//!
//! One file per command. Nothing is decided here that a second door (the bench) would have to decide again: that is
//! in `visit`. Data goes to stdout, talk to stderr.

mod arguments;
mod backup;
mod backup_extract;
mod backup_list;
mod backup_password;
mod backup_restore;
mod climb;
mod cloud_backup;
mod conformance;
mod devices;
mod diagnose;
mod doctor;
mod events;
mod fix;
mod info;
mod jobs;
mod keyring;
mod language;
mod logging;
mod mux;
mod owner;
mod pair_record;
mod phones;
mod photos;
mod photos_adopt;
mod photos_layout;
mod photos_export;
mod photos_gallery;
mod reports;
mod restart;
mod run;
mod screen;
mod secrets;
mod serve;
mod shell;
mod sim;
mod terminal;
mod visits;
mod watch;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
use run::Run;

use crate::visit::Stop;

/// Reads the arguments, does what they say, and returns the exit status.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are an answer (0, stdout), anything else is wrong use (2, stderr).
            let _ = error.print();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let global = &arguments.global;
    logging::start(global.verbose, global.quiet, terminal::stderr_colour());
    language::choose();
    // A multiplexer only passes on: on one thread nobody has to be woken for it.
    let mut runtime = match &arguments.command {
        Some(Command::Mux(_)) => tokio::runtime::Builder::new_current_thread(),
        _ => tokio::runtime::Builder::new_multi_thread(),
    };
    let runtime = match runtime.enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            terminal::say(&format!("idevice-fix: this computer gives no threads: {error}"));
            return ExitCode::from(1);
        }
    };
    let status = runtime.block_on(async {
        let run = Run::new(arguments.global);
        run.stop_on_signals();
        let ended = dispatch(&run, arguments.command).await;
        run.end(ended)
    });
    // A thread that still waits for a dead disk or device must not keep the program.
    runtime.shutdown_background();
    ExitCode::from(status)
}

async fn dispatch(run: &Run, command: Option<Command>) -> Result<(), Stop> {
    match command.unwrap_or(Command::Fix) {
        Command::Fix => fix::fix(run).await,
        Command::Climb => climb::climb(run).await,
        Command::Devices => devices::devices(run).await,
        Command::Info(arguments) => info::info(run, &arguments).await,
        Command::Diagnose(arguments) => diagnose::diagnose(run, &arguments).await,
        Command::Photos(command) => photos::photos(run, &command).await,
        Command::Backup(arguments) => backup::backup(run, &arguments).await,
        Command::Gate(arguments) => diagnose::gate(run, &arguments).await,
        Command::Restart => restart::restart(run).await,
        Command::CloudBackup(arguments) => cloud_backup::cloud_backup(run, &arguments).await,
        Command::Report(arguments) => reports::report(run, &arguments),
        Command::Jobs => jobs::jobs(run),
        Command::Doctor(arguments) => doctor::doctor(run, &arguments).await,
        Command::Serve(arguments) => serve::serve(run, &arguments).await,
        Command::Conformance(arguments) => conformance::conformance(run, &arguments).await,
        Command::Mux(arguments) => mux::mux(run, &arguments).await,
        Command::Sim(command) => sim::sim(run, &command).await,
        Command::Completions { shell } => shell::completions(shell),
        Command::Man { to } => shell::man(to.as_deref()),
    }
}
