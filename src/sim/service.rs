//! The services that the phone's lockdown starts: their names, what each needs, and who serves it.

use std::io;
use std::sync::Arc;

use super::config::TlsServices;
use super::device::Device;
use super::{afc, notification_proxy};
use crate::usbmux::Stream;

/// A service that the phone offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Files below the media root.
    Afc,
    /// Notifications, both ways.
    NotificationProxy,
    /// Notifications of pairing, for hosts that are not trusted.
    InsecureNotificationProxy,
}

/// What lockdown knows of a service.
struct Offer {
    name: &'static str,
    service: Service,
    /// Who may start it.
    needs: Needs,
    /// It speaks TLS over USB where [`super::version::IosVersion::encrypts_sync_services`].
    encrypted: bool,
}

/// What a host must have to start a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Needs {
    /// Nothing.
    Nothing,
    /// A session.
    Session,
    /// A session, and the phone unlocked or the escrow bag.
    Unlocked,
}

const OFFERS: &[Offer] = &[
    Offer { name: "com.apple.afc", service: Service::Afc, needs: Needs::Unlocked, encrypted: false },
    Offer {
        name: "com.apple.mobile.notification_proxy",
        service: Service::NotificationProxy,
        needs: Needs::Session,
        encrypted: true,
    },
    Offer {
        name: "com.apple.mobile.insecure_notification_proxy",
        service: Service::InsecureNotificationProxy,
        needs: Needs::Nothing,
        encrypted: false,
    },
];

impl Service {
    /// The service of that name; `None` if this phone does not offer it.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        OFFERS.iter().find(|offer| offer.name == name).map(|offer| offer.service)
    }

    fn offer(self) -> &'static Offer {
        OFFERS.iter().find(|offer| offer.service == self).expect("every service is offered")
    }

    /// What a host must have to start it.
    pub(super) fn needs(self) -> Needs {
        self.offer().needs
    }

    /// Whether its connections speak TLS on `device`.
    pub(super) fn encrypted(self, device: &Device) -> bool {
        let offer = self.offer();
        match device.config().tls.services {
            TlsServices::All => offer.needs != Needs::Nothing,
            TlsServices::None => false,
            TlsServices::ByVersion => offer.encrypted && device.version().encrypts_sync_services(),
        }
    }

    /// Serves one connection (after TLS, where there is any) until either side ends it. A task of its own, which is
    /// dropped when the phone leaves the bus.
    ///
    /// # Errors
    /// How the connection broke, or what the host said wrong; only worth a line in the log.
    pub async fn serve(self, stream: Stream, device: Arc<Device>) -> io::Result<()> {
        match self {
            Self::Afc => afc::serve(stream, device).await,
            Self::NotificationProxy => notification_proxy::serve(stream, device, true).await,
            Self::InsecureNotificationProxy => notification_proxy::serve(stream, device, false).await,
        }
    }
}
