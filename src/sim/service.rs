//! The services that the phone's lockdown starts, and who serves each.

use std::io;
use std::sync::Arc;

use super::device::Device;
use crate::usbmux::Stream;

/// A service that the phone offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Notifications, both ways.
    NotificationProxy,
}

/// What lockdown knows of a service.
struct Offer {
    name: &'static str,
    service: Service,
}

const OFFERS: &[Offer] =
    &[Offer { name: "com.apple.mobile.notification_proxy", service: Service::NotificationProxy }];

impl Service {
    /// The service of that name; `None` if this phone does not offer it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        OFFERS.iter().find(|offer| offer.name == name).map(|offer| offer.service)
    }

    /// Serves one connection until either side ends it.
    ///
    /// # Errors
    /// How the connection broke, or what the host said wrong; only worth a line in the log.
    pub async fn serve(self, stream: Stream, device: Arc<Device>) -> io::Result<()> {
        let _ = (stream, device);
        match self {
            Service::NotificationProxy => Ok(()),
        }
    }
}
