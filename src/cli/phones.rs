//! Where phones come from in this run: a running usbmuxd, our own multiplexer, a simulated phone out of a folder, or the demo's.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::arguments::MuxChoice;
use super::run::Run;
use crate::durable;
use crate::muxd::usb::{self, OnBus};
use crate::muxd::{Auto, Manners, Muxd, Records, Usb};
use crate::sim::{self, Bus, Device, FolderError};
use crate::usbmux::address::SYSTEM_SOCKET;
use crate::usbmux::client::Usbmuxd;
use crate::usbmux::server::is_served;
use crate::usbmux::{self, Address, Muxer};
use crate::visit::{Stop, Trouble, reach};

/// The demo's phone: iCloud storage is full, photos wait, some failed.
const DEMO_SCENARIO: &str = "demo";
/// The folder of the demo's phone below its temporary folder.
const DEMO_PHONE: &str = "phone";
/// The folder of the demo's copies below its temporary folder.
const DEMO_DEST: &str = "idevice-fix";
/// Where a kept simulated phone's pair records are, below its folder.
const KEPT_RECORDS: &str = "state/host-pair-records";

/// How phones are reached.
pub(super) struct Phones {
    /// Through which.
    pub(super) muxer: Arc<dyn Muxer>,
    /// The phone is a simulated one in this process.
    pub(super) simulated: bool,
    /// The demo's temporary folder, which is kept.
    pub(super) demo: Option<PathBuf>,
}

impl Phones {
    /// As the options say. Nothing is asked of a phone yet.
    pub(super) fn open(run: &Run) -> Result<Self, Stop> {
        if run.global.demo {
            return Self::demo(run);
        }
        if let Some(folder) = &run.global.device {
            let keep = run.global.device_keeps;
            let device = Device::open(folder, keep).map_err(|error| folder_stop(&error))?;
            let bus = if keep {
                let records =
                    durable::open_or_create_private(&folder.join(KEPT_RECORDS)).map_err(|error| {
                        Stop::new(
                            Trouble::Failed,
                            format!("{} cannot be written: {error}.", folder.display()),
                            "",
                        )
                    })?;
                Bus::with_records(vec![device], records)
            } else {
                Bus::new(vec![device])
            };
            return Ok(Self { muxer: Arc::new(bus), simulated: true, demo: None });
        }
        let muxer = muxer(&run.global.mux).map_err(|error| reach::no_muxer(&error, &[]).stop)?;
        Ok(Self { muxer, simulated: false, demo: None })
    }

    fn demo(run: &Run) -> Result<Self, Stop> {
        let failed = |error: &dyn std::fmt::Display| {
            Stop::new(Trouble::Failed, format!("The demo's phone could not be made: {error}."), "")
        };
        let folder = tempfile::Builder::new()
            .prefix("idevice-fix-demo-")
            .tempdir()
            .map_err(|error| failed(&error))?
            .keep();
        run.screen.say("Making a simulated iPhone in trouble (no real phone is touched) ...");
        let options =
            sim::new::NewOptions { scenario: DEMO_SCENARIO.to_owned(), ..sim::new::NewOptions::default() };
        sim::new::create(&folder.join(DEMO_PHONE), &options).map_err(|error| failed(&error))?;
        let device = Device::open(&folder.join(DEMO_PHONE), false).map_err(|error| failed(&error))?;
        Ok(Self { muxer: Arc::new(Bus::new(vec![device])), simulated: true, demo: Some(folder) })
    }

    /// DEST: as said, else the demo's, else the user's.
    pub(super) fn dest(&self, run: &Run) -> Result<PathBuf, Stop> {
        match (&run.global.dest, &self.demo) {
            (None, Some(demo)) => Ok(demo.join(DEMO_DEST)),
            _ => run.dest(),
        }
    }

    /// What the USB bus itself shows; nothing for a simulated phone.
    pub(super) async fn on_bus(&self) -> Vec<OnBus> {
        if self.simulated { Vec::new() } else { look_at_usb().await }
    }
}

/// The muxer that was chosen.
fn muxer(choice: &MuxChoice) -> Result<Arc<dyn Muxer>, usbmux::Error> {
    let address = match choice {
        MuxChoice::Embedded => {
            tracing::info!("phones are reached through our own multiplexer, as asked");
            let bus = Arc::new(Usb::system());
            return Ok(Arc::new(Muxd::start(bus, Records::system(), Manners::default())));
        }
        MuxChoice::Auto if !Address::is_in_env() => {
            let bus = Arc::new(Usb::system());
            return Ok(Arc::new(Auto::start(Path::new(SYSTEM_SOCKET), bus, Records::system())));
        }
        MuxChoice::Auto | MuxChoice::Usbmuxd => Address::from_env()?,
        MuxChoice::At(address) => address.clone(),
    };
    tracing::info!("phones are reached through the usbmuxd at {address}");
    Ok(Arc::new(Usbmuxd::at(address)))
}

/// Whether phones are reached through our own multiplexer now.
pub(super) fn is_own(run: &Run) -> bool {
    let is_simulated = run.global.demo || run.global.device.is_some();
    !is_simulated
        && match &run.global.mux {
            MuxChoice::Embedded => true,
            MuxChoice::Auto => !Address::is_in_env() && !is_served(Path::new(SYSTEM_SOCKET)),
            MuxChoice::Usbmuxd | MuxChoice::At(_) => false,
        }
}

/// Looks at the USB bus; libusb blocks, so in a thread of its own.
pub(super) async fn look_at_usb() -> Vec<OnBus> {
    tokio::task::spawn_blocking(usb::list).await.unwrap_or_default()
}

/// A folder that is no simulated phone. A parser's picture of the place in the file is left out: it names line and
/// column in words too.
pub(super) fn folder_stop(error: &FolderError) -> Stop {
    let said = error.to_string();
    let words: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).starts_with('|'))
        .collect();
    let cause = words.join(": ");
    Stop::new(
        Trouble::Usage,
        format!("{}.", cause.trim_end_matches('.')),
        "A whole one is made by: idevice-fix sim new DIR.",
    )
}
