//! The command tree and its options, as clap sees them. What they mean is decided in the commands' own files.

mod backup;
mod photos;
mod sim;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::usbmux::Address;

pub(crate) use backup::{
    Backup, BackupCommand, BackupExtract, BackupList, BackupPassword, BackupRestore, FilesOfBackup,
    NewPassword,
};
pub(crate) use photos::{Photos, PhotosStatus};
pub(crate) use sim::{Sim, SimJudge, SimNew, SimRun};

const AFTER_HELP: &str = "\
Without a command the whole visit is made: find the phone, read it, answer, ask once, copy the photos, back up, \
verify, give the verdict and the ladder of fixes, write the report. Nothing is copied without a yes.

Exit status: 0 done, 1 failed, 2 usage, 3 no device, 4 a person must act, 5 not enough space, 6 finished but something \
was skipped, 7 verification failed, 8 backup password, 9 several devices and none named, 10 the gate is closed, \
130 interrupted.

Environment: IDEVICE_FIX_UDID, USBMUXD_SOCKET_ADDRESS, BACKUP_PASSWORD, BACKUP_PASSWORD_NEW, NO_COLOR.";

/// The truth about the photos of a USB-connected iPhone or iPad, and their protection.
#[derive(Debug, Parser)]
#[command(name = "idevice-fix", version, about, after_help = AFTER_HELP, max_term_width = 80)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Option<Command>,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(crate) struct Global {
    /// The phone with this id (also from IDEVICE_FIX_UDID)
    #[arg(short, long, global = true, value_name = "UDID", env = "IDEVICE_FIX_UDID", hide_env = true)]
    pub(crate) udid: Option<String>,
    /// Where copies, backups and reports go [default: ~/idevice-fix]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) dest: Option<PathBuf>,
    /// Answers as JSON on stdout; long commands print one event a line and then their result
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// Never ask: do what protects, never what risks
    #[arg(short, long, global = true)]
    pub(crate) yes: bool,
    /// Say more on stderr (-vv: everything)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub(crate) verbose: u8,
    /// Say only what a person must do, and errors
    #[arg(short, long, global = true)]
    pub(crate) quiet: bool,
    /// How phones are reached: auto, usbmuxd (a running one), embedded (without one), or a socket's address
    #[arg(long, global = true, value_parser = mux_choice, default_value = "auto", value_name = "HOW")]
    pub(crate) mux: MuxChoice,
    /// A simulated phone out of this folder instead of USB
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) device: Option<PathBuf>,
    /// A built-in simulated phone in trouble, into a temporary folder
    #[arg(long, global = true, conflicts_with = "device")]
    pub(crate) demo: bool,
    /// What happens to the phone of --device stays in its folder
    #[arg(long, global = true, requires = "device")]
    pub(crate) device_keeps: bool,
    /// The backup password is the next line of this file descriptor
    #[arg(long, global = true, value_name = "FD")]
    pub(crate) password_fd: Option<u32>,
}

/// How phones are reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MuxChoice {
    /// Through a running usbmuxd, else through our own multiplexer.
    Auto,
    /// Through a running usbmuxd.
    Usbmuxd,
    /// Through our own multiplexer, whatever runs.
    Embedded,
    /// Through the usbmuxd at this address.
    At(Address),
}

fn mux_choice(text: &str) -> Result<MuxChoice, String> {
    match text {
        "auto" => Ok(MuxChoice::Auto),
        "usbmuxd" | "system" => Ok(MuxChoice::Usbmuxd),
        "embedded" | "own" => Ok(MuxChoice::Embedded),
        address => Address::parse(address)
            .map(MuxChoice::At)
            .map_err(|_| "want auto, usbmuxd, embedded, or UNIX:/path, /path or host:port".to_owned()),
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// The whole visit (this is what runs without a command)
    Fix,
    /// Go up the ladder of fixes rung by rung, without copying anything first; can be left and taken up again
    Climb,
    /// What is on the bus, also phones that are locked, untrusted, in recovery or not seen by usbmuxd
    Devices,
    /// Facts in plain words; with DOMAIN, what lockdown says there
    Info(Info),
    /// Facts, findings, ladder and verdict; changes nothing, copies nothing but what it must read
    Diagnose(Diagnose),
    /// The originals: where they are, copy them, check the copy
    #[command(subcommand)]
    Photos(Photos),
    /// Make and verify a local backup
    Backup(Backup),
    /// Exits 0 only while the verdict for a step is SAFE, 10 when it is not
    Gate(Gate),
    /// Restart the phone
    Restart,
    /// Turn the phone's iCloud Backup on or off
    CloudBackup(CloudBackup),
    /// The report of a visit again
    Report(Report),
    /// The recorded visits
    Jobs,
    /// Is this computer ready? Names what is in the way and the one command that mends it
    Doctor(Doctor),
    /// The repair bench: visit every phone that is plugged in, as far as the settings allow, until told to stop
    Serve(Serve),
    /// What this phone does that was only assumed so far: a file without a word of whose it is
    Conformance(Conformance),
    /// Our own usbmuxd for other programs: the same socket and the same words
    Mux(Mux),
    /// The simulated iPhone
    #[command(subcommand)]
    Sim(Sim),
    /// Completions for a shell, on stdout
    Completions { shell: Shell },
    /// The manual page, on stdout
    Man {
        /// The pages of all commands, as files in this folder
        #[arg(long, value_name = "DIR")]
        to: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Mux {
    /// Where programs find it [default: what USBMUXD_SOCKET_ADDRESS names, else /var/run/usbmuxd]
    #[arg(long, value_name = "PATH")]
    pub(crate) socket: Option<PathBuf>,
    /// The group whose members may use it
    #[arg(long, value_name = "NAME")]
    pub(crate) group: Option<String>,
    /// The socket's permissions; pair records are for root, its user and its group whatever they are
    #[arg(long, default_value = "0660", value_parser = permissions, value_name = "OCTAL")]
    pub(crate) mode: u32,
    /// Do not ask phones to trust this computer when they are plugged in
    #[arg(long)]
    pub(crate) no_preflight: bool,
    /// Keep pair records in this folder [default: /var/lib/lockdown, else the user's settings]
    #[arg(long, value_name = "DIR")]
    pub(crate) records: Option<PathBuf>,
}

fn permissions(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode @ 0..=0o777) => Ok(mode),
        _ => Err("want permissions such as 0660".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct Info {
    /// A lockdown domain, e.g. com.apple.mobile.battery ("" is the domain without a name)
    pub(crate) domain: Option<String>,
    /// One key of it: its value alone
    pub(crate) key: Option<String>,
    /// As the phone says it; without DOMAIN, every domain that is known
    #[arg(long)]
    pub(crate) raw: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Diagnose {
    /// Read again every so many seconds (300), and when the phone tells of news: is it moving, waiting or stuck?
    #[arg(
        long,
        value_name = "SECONDS",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "300",
        value_parser = clap::value_parser!(u64).range(5..=86_400)
    )]
    pub(crate) watch: Option<u64>,
    /// Stop watching after so many readings
    #[arg(long, value_name = "N", requires = "watch")]
    pub(crate) readings: Option<std::num::NonZeroU32>,
}

#[derive(Debug, Args)]
pub(crate) struct CloudBackup {
    /// on or off
    #[arg(value_enum, value_name = "SWITCH")]
    pub(crate) switch: Switch,
    /// Agree to off by name, instead of typing it: no-icloud-backup
    #[arg(long, value_name = "NAME")]
    pub(crate) accept: Vec<String>,
}

/// A switch of the phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    /// Turn it on
    On,
    /// Turn it off
    Off,
}

#[derive(Debug, Args)]
pub(crate) struct Gate {
    /// The step to be judged
    #[arg(value_enum, default_value = "erase")]
    pub(crate) step: GateStep,
    /// Accept, by name, what only the owner can: backup-age, unencrypted-backup, activation-lock
    #[arg(long, value_name = "NAME")]
    pub(crate) accept: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GateStep {
    /// Erase the phone and restore it
    Erase,
    /// Delete the photo library in iCloud
    DeleteIcloudLibrary,
    /// Turn iCloud Photos off and on
    ToggleIcloudPhotos,
}

#[derive(Debug, Args)]
pub(crate) struct Report {
    /// Which visit; the newest without it
    pub(crate) job: Option<String>,
    /// As HTML on stdout
    #[arg(long, conflicts_with = "json")]
    pub(crate) html: bool,
    /// Leave out what says whose phone it is: names, ids, folders, files
    #[arg(long)]
    pub(crate) redact: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// Let usbmuxd use this pair record, made where the phone was trusted: for a phone whose screen is broken
    #[arg(long, value_name = "FILE")]
    pub(crate) import_pair_record: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// The settings [default: ~/.config/idevice-fix/config.toml, else /etc/idevice-fix/config.toml]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Conformance {
    /// Also have the phone make a backup, which is thrown away: takes long, and asks first
    #[arg(long)]
    pub(crate) with_backup: bool,
    /// Where the file goes after it was shown
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Option<ConformanceCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConformanceCommand {
    /// Hold such a file against the simulated phone: what is assumed, and what the phone said
    Compare {
        /// A file that was saved by idevice-fix conformance
        file: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_tree_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn help_fits_a_terminal() {
        let mut command = Arguments::command();
        command = command.term_width(80);
        for line in command.render_long_help().to_string().lines() {
            assert!(line.chars().count() <= 80, "{line}");
        }
    }

    #[test]
    fn wrong_use_ends_with_two() {
        for wrong in [
            &["idevice-fix", "nonsense"][..],
            &["idevice-fix", "--nonsense"],
            &["idevice-fix", "gate", "everything"],
            &["idevice-fix", "--device", "x", "--demo"],
            &["idevice-fix", "--device-keeps"],
            &["idevice-fix", "sim", "run"],
            &["idevice-fix", "--mux", "nonsense"],
            &["idevice-fix", "mux", "--mode", "888"],
            &["idevice-fix", "backup", "verify", "--sample", "5"],
            &["idevice-fix", "backup", "verify", "--sample", "0%"],
            &["idevice-fix", "backup", "verify", "--sample", "NaN%"],
            &["idevice-fix", "backup", "verify", "--sample", "101%"],
            &["idevice-fix", "backup", "adopt"],
        ] {
            assert_eq!(Arguments::try_parse_from(wrong).unwrap_err().exit_code(), 2, "{wrong:?}");
        }
    }

    #[test]
    fn without_a_command_options_still_count() {
        let arguments = Arguments::try_parse_from(["idevice-fix", "-y", "--demo"]).unwrap();
        assert!(arguments.command.is_none() && arguments.global.yes && arguments.global.demo);
    }
}
