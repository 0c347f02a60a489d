//! `sim` and its parts, as clap sees them.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::sim::new::Sizes;

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
    /// Be the USB device of this mounted FunctionFS; with one phone
    #[arg(long, value_name = "MOUNT")]
    pub(crate) functionfs: Option<PathBuf>,
    /// What happens to the phones stays in their folders
    #[arg(long)]
    pub(crate) keep: bool,
}
