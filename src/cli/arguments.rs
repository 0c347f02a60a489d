//! The command tree and its options, as clap sees them. What they mean is decided in the commands' own files.

use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

use crate::photos::layout::Layout;
use crate::sim::new::Sizes;
use crate::usbmux::Address;
use crate::visit::lists::List;

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
    Doctor,
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
    Man,
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

#[derive(Debug, Subcommand)]
pub(crate) enum Photos {
    /// Where every original is: counts, then lists
    Status(PhotosStatus),
    /// Copy all originals, edits and sidecars; goes on where it stopped
    Pull(PhotosPull),
    /// Check the copy against its manifest
    Verify,
    /// Arrange the copy that is there, without the phone: folders of links beside it
    Layout {
        /// by-date, by-album, recently-deleted
        #[arg(required = true, value_name = "LAYOUT", value_parser = layouts())]
        layouts: Vec<Layout>,
    },
    /// Take in originals that were downloaded elsewhere (icloud.com, privacy.apple.com, a Mac)
    Adopt {
        /// The folder that the download was unpacked into; nothing in it is changed
        dir: PathBuf,
    },
    /// Make the contact sheet of the copy again, without the phone
    Gallery,
    /// Export the pictures of the copy into a folder, HEIC as JPEG; the copy stays as it is
    Export {
        /// The folder; what is there already is never replaced
        #[arg(long, value_name = "DIR")]
        jpeg: PathBuf,
    },
}

/// Every list by its name.
fn lists() -> impl TypedValueParser<Value = List> {
    PossibleValuesParser::new(List::ALL.map(List::as_str)).map(|name| {
        let found = List::ALL.into_iter().find(|list| list.as_str() == name);
        found.expect("only these names are possible")
    })
}

/// Every arrangement by its name.
fn layouts() -> impl TypedValueParser<Value = Layout> {
    PossibleValuesParser::new(Layout::ALL.map(Layout::as_str)).map(|name| {
        let found = Layout::ALL.into_iter().find(|layout| layout.as_str() == name);
        found.expect("only these names are possible")
    })
}

#[derive(Debug, Args)]
pub(crate) struct PhotosStatus {
    /// List them, newest first: several separated by commas, or the option again
    #[arg(long, value_name = "LIST", value_delimiter = ',', value_parser = lists())]
    pub(crate) list: Vec<List>,
    /// The lists (without --list: everything) as CSV on stdout
    #[arg(long, conflicts_with = "json")]
    pub(crate) csv: bool,
}

#[derive(Debug, Args)]
pub(crate) struct PhotosPull {
    /// Then arrange the copy: folders of links beside it, never second copies
    #[arg(long, value_name = "LAYOUT", value_delimiter = ',', value_parser = layouts())]
    pub(crate) layout: Vec<Layout>,
    /// Read each file twice and keep it only when both readings agree
    #[arg(long)]
    pub(crate) paranoid: bool,
    /// Also make a contact sheet of the copy: one page, photos.html
    #[arg(long)]
    pub(crate) gallery: bool,
    /// Show the Hidden album on the contact sheet as well
    #[arg(long, requires = "gallery")]
    pub(crate) hidden: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Backup {
    /// A full backup, even where an earlier one could be built upon
    #[arg(long)]
    pub(crate) full: bool,
    #[command(subcommand)]
    pub(crate) command: Option<BackupCommand>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum BackupCommand {
    /// The backups kept under DEST, or what is in one
    List(BackupList),
    /// Read the newest backup again and prove it
    Verify {
        /// Read only so much of it, drawn anew each time: that proves nothing (exit status 6)
        #[arg(long, value_name = "PERCENT", value_parser = share)]
        sample: Option<u32>,
    },
    /// Take in a backup that Finder, iTunes, Apple Devices, idevicebackup2 or pymobiledevice3 made: it is copied, proven and
    /// becomes the newest one
    Adopt {
        /// The folder with Manifest.db in it, or the one above
        dir: PathBuf,
    },
    /// Take files out of a backup, without touching the phone
    Extract(BackupExtract),
    /// Restore a proven backup onto a phone that is empty, or may be erased
    Restore(BackupRestore),
    /// Set, change or remove the password that encrypts the phone's backups
    #[command(subcommand)]
    Password(BackupPassword),
}

/// Which files of which backup.
#[derive(Debug, Args)]
pub(crate) struct FilesOfBackup {
    /// The backup in this folder, whoever made it [default: the newest one kept of the phone]
    #[arg(long, value_name = "DIR")]
    pub(crate) from: Option<PathBuf>,
    /// Files of this domain (with * and ?), e.g. HomeDomain or 'AppDomain-*'
    #[arg(long, value_name = "NAME")]
    pub(crate) domain: Vec<String>,
    /// Files with this path (with *, ** and ?), e.g. 'Library/SMS/**' or '*.sqlite'
    #[arg(long, value_name = "GLOB")]
    pub(crate) path: Vec<String>,
}

impl FilesOfBackup {
    /// Something is chosen.
    pub(crate) fn chooses(&self) -> bool {
        self.from.is_some() || !self.domain.is_empty() || !self.path.is_empty()
    }
}

#[derive(Debug, Args)]
pub(crate) struct BackupList {
    /// The files of one backup
    #[arg(long)]
    pub(crate) files: bool,
    /// The domains of one backup, with the number and size of their files
    #[arg(long, conflicts_with = "files")]
    pub(crate) domains: bool,
    #[command(flatten)]
    pub(crate) which: FilesOfBackup,
}

#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("wanted").required(true).multiple(true).args(["photos", "all", "domain", "path"]))]
pub(crate) struct BackupExtract {
    /// The folder to make; it must not be there yet
    #[arg(value_name = "OUT")]
    pub(crate) out: PathBuf,
    /// Photos and videos by month, with their names, dates and albums
    #[arg(long, conflicts_with_all = ["all", "domain", "path"])]
    pub(crate) photos: bool,
    /// Everything, by domain
    #[arg(long, conflicts_with_all = ["domain", "path"])]
    pub(crate) all: bool,
    #[command(flatten)]
    pub(crate) which: FilesOfBackup,
}

#[derive(Debug, Args)]
#[expect(clippy::struct_excessive_bools, reason = "switches of a command line")]
pub(crate) struct BackupRestore {
    /// The backup in this folder of DEST [default: the newest one kept of the phone]
    #[arg(long, value_name = "DIR", conflicts_with = "of")]
    pub(crate) from: Option<PathBuf>,
    /// The newest backup of another phone, by its id: to move to a new phone
    #[arg(long, value_name = "UDID")]
    pub(crate) of: Option<String>,
    /// Leave out what belongs to the system: accounts, messages, settings
    #[arg(long)]
    pub(crate) no_system: bool,
    /// The phone keeps its settings
    #[arg(long)]
    pub(crate) keep_settings: bool,
    /// Do not have the phone install the apps that the backup knows
    #[arg(long)]
    pub(crate) no_apps: bool,
    /// What the phone has and the backup has not stays
    #[arg(long)]
    pub(crate) keep_others: bool,
    /// Do not restart the phone afterwards; only its restart puts everything in place
    #[arg(long)]
    pub(crate) no_reboot: bool,
    /// Agree by name, instead of typing it: replace-content; also what the gate takes (see gate --help)
    #[arg(long, value_name = "NAME")]
    pub(crate) accept: Vec<String>,
}

/// Passwords come from a file descriptor, the environment, the desktop's keyring or a person at the terminal, in this order:
/// never from the command line.
#[derive(Debug, Subcommand)]
pub(crate) enum BackupPassword {
    /// Encrypt backups from now on (BACKUP_PASSWORD_NEW)
    Set(NewPassword),
    /// Replace the password (BACKUP_PASSWORD by BACKUP_PASSWORD_NEW)
    Change(NewPassword),
    /// Encrypt backups no more (BACKUP_PASSWORD)
    Off,
    /// Keep the password (BACKUP_PASSWORD) in this desktop's keyring, where it is looked up
    Keep,
    /// Remove the password from this desktop's keyring
    Forget,
}

#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct NewPassword {
    /// The new password is the next line of this file descriptor
    #[arg(long, value_name = "FD")]
    pub(crate) new_password_fd: Option<u32>,
    /// Also keep it in this desktop's keyring, where it is looked up
    #[arg(long)]
    pub(crate) keep_in_keyring: bool,
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

#[derive(Debug, Subcommand)]
pub(crate) enum Sim {
    /// Write a simulated phone's folder
    New(SimNew),
    /// Serve simulated phones as usbmuxd does
    Run(SimRun),
    /// Judge labelled cases: phones, each with what must be found on it
    Judge(SimJudge),
}

#[derive(Debug, Args)]
pub(crate) struct SimJudge {
    /// Folders of cases, or single cases
    #[arg(required = true)]
    pub(crate) dirs: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct SimNew {
    /// The folder to make
    #[arg(required_unless_present = "list")]
    pub(crate) dir: Option<PathBuf>,
    /// Name the scenarios and what each is
    #[arg(long)]
    pub(crate) list: bool,
    /// What is the matter with it
    #[arg(long, default_value = "healthy", value_name = "NAME")]
    pub(crate) scenario: String,
    /// Its version of iOS
    #[arg(long, default_value = "18.4.1", value_name = "VERSION")]
    pub(crate) ios: String,
    /// How many photos it holds
    #[arg(long, value_name = "N")]
    pub(crate) photos: Option<u32>,
    /// The same seed makes the same phone
    #[arg(long, default_value_t = 1, value_name = "N")]
    pub(crate) seed: u64,
    /// kind: as the protocols say; harsh: as real phones were seen to make it
    #[arg(long, default_value = "harsh", value_parser = ["harsh", "kind"], value_name = "TEMPER")]
    pub(crate) temper: String,
    /// Its owner's name for it
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,
    /// About how many bytes all originals together have
    #[arg(long, value_name = "BYTES", conflicts_with = "sizes")]
    pub(crate) media_bytes: Option<u64>,
    /// How large each file is: real (as an iPhone's camera makes them, about 2 GB for 750 photos), or so many bytes
    #[arg(long, value_name = "real|BYTES", value_parser = sizes)]
    pub(crate) sizes: Option<Sizes>,
    /// Let what only fills files up take no place on the disk (always so above 4 GiB)
    #[arg(long)]
    pub(crate) sparse: bool,
    /// Also write the originals that are only in iCloud here, as they are downloaded from there
    #[arg(long, value_name = "DIR")]
    pub(crate) originals: Option<PathBuf>,
}

fn sizes(text: &str) -> Result<Sizes, String> {
    match text {
        "real" => Ok(Sizes::Real),
        bytes => bytes.parse().map(Sizes::Each).map_err(|_| "real, or a number of bytes".to_owned()),
    }
}

/// A share in percent, as parts of a million.
fn share(text: &str) -> Result<u32, String> {
    let wanted = "a share such as 5%";
    let percent: f64 = text.strip_suffix('%').ok_or(wanted)?.parse().map_err(|_| wanted)?;
    if !(0.0001..=100.0).contains(&percent) {
        return Err("more than nothing and at most 100%".to_owned());
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 1 and a million")]
    Ok((percent * 10_000.0).round() as u32)
}

#[derive(Debug, Args)]
pub(crate) struct SimRun {
    /// The phones' folders
    #[arg(required = true)]
    pub(crate) dirs: Vec<PathBuf>,
    /// Listen on this unix socket
    #[arg(long, value_name = "PATH")]
    pub(crate) unix: Option<PathBuf>,
    /// Listen on this address
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) tcp: Option<std::net::SocketAddr>,
    /// Offer the phones as USB devices on this address: `usbip attach` plugs one in
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) usbip: Option<std::net::SocketAddr>,
    /// What happens to the phones stays in their folders
    #[arg(long)]
    pub(crate) keep: bool,
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
