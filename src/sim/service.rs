//! The services that the phone's lockdown starts: their names, what each needs, and who serves it.

use std::io;
use std::sync::Arc;

use plist::{Dictionary, Value};

use super::config::TlsServices;
use super::device::Device;
use super::faults::Faults;
use super::faulty::Faulty;
use super::healthy::dictionary;
use super::{
    afc, diagnostics_relay, house_arrest, installation_proxy, mcinstall, misagent, mobilebackup2,
    notification_proxy, os_trace_relay, small_services, springboard, syslog_relay,
};
use crate::frame::{self, Encoding};
use crate::usbmux::Stream;

/// A service that the phone offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Files below the media root.
    Afc,
    /// Local backups.
    MobileBackup2,
    /// Notifications, both ways.
    NotificationProxy,
    /// Notifications of pairing, for hosts that are not trusted.
    InsecureNotificationProxy,
    /// IORegistry, battery, restart.
    DiagnosticsRelay,
    /// What is installed.
    InstallationProxy,
    /// Icons and the home screen.
    Springboard,
    /// Marco — Polo.
    Heartbeat,
    /// Profiles and management.
    Profiles,
    /// Files of applications.
    HouseArrest,
    /// The log, as text.
    Syslog,
    /// The log, as records, and the list of processes.
    OsTrace,
    /// Provisioning profiles.
    Misagent,
    /// Keeps the phone awake.
    AssertionAgent,
    /// Whether the phone is activated.
    MobileActivation,
    /// Files of crash reports.
    CrashReports,
    /// Moves crash reports to where they can be read.
    CrashReportMover,
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

const fn offer(name: &'static str, service: Service, needs: Needs, encrypted: bool) -> Offer {
    Offer { name, service, needs, encrypted }
}

const OFFERS: &[Offer] = &[
    offer("com.apple.afc", Service::Afc, Needs::Unlocked, false),
    offer("com.apple.mobilebackup2", Service::MobileBackup2, Needs::Unlocked, true),
    offer("com.apple.mobile.notification_proxy", Service::NotificationProxy, Needs::Session, true),
    offer(
        "com.apple.mobile.insecure_notification_proxy",
        Service::InsecureNotificationProxy,
        Needs::Nothing,
        false,
    ),
    offer("com.apple.mobile.diagnostics_relay", Service::DiagnosticsRelay, Needs::Session, false),
    offer("com.apple.mobile.installation_proxy", Service::InstallationProxy, Needs::Unlocked, false),
    offer("com.apple.springboardservices", Service::Springboard, Needs::Unlocked, false),
    offer("com.apple.mobile.heartbeat", Service::Heartbeat, Needs::Session, false),
    offer("com.apple.mobile.MCInstall", Service::Profiles, Needs::Session, false),
    offer("com.apple.mobile.house_arrest", Service::HouseArrest, Needs::Unlocked, false),
    offer("com.apple.syslog_relay", Service::Syslog, Needs::Session, false),
    offer("com.apple.os_trace_relay", Service::OsTrace, Needs::Session, false),
    offer("com.apple.misagent", Service::Misagent, Needs::Unlocked, false),
    offer("com.apple.mobile.assertion_agent", Service::AssertionAgent, Needs::Session, false),
    offer("com.apple.mobileactivationd", Service::MobileActivation, Needs::Session, false),
    offer("com.apple.crashreportcopymobile", Service::CrashReports, Needs::Unlocked, false),
    offer("com.apple.crashreportmover", Service::CrashReportMover, Needs::Unlocked, false),
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
        let Some(messages) = self.messages_struck() else { return self.speak(stream, device).await };
        let faults = Faults::new(Arc::clone(&device), self.offer().name);
        let refusal = self.refusal().map(|no| frame::encode(&Value::Dictionary(no), Encoding::Xml));
        self.speak(Box::new(Faulty::new(stream, faults, refusal, messages)), device).await
    }

    /// How many messages of a connection faults may strike from outside; `None`: the service acts them out itself.
    fn messages_struck(self) -> Option<u64> {
        match self {
            Self::Afc | Self::MobileBackup2 | Self::CrashReports => None,
            // After its answer the connection speaks AFC.
            Self::HouseArrest => Some(1),
            _ => Some(u64::MAX),
        }
    }

    /// How the service says that something failed; `None`: it has no words for it and hangs up.
    fn refusal(self) -> Option<Dictionary> {
        match self {
            Self::DiagnosticsRelay => Some(dictionary! {"Status": "Failure"}),
            Self::InstallationProxy => {
                Some(dictionary! {"Error": "APIInternalError", "ErrorDescription": "The request failed"})
            }
            Self::Springboard | Self::HouseArrest => Some(dictionary! {"Error": "InternalError"}),
            Self::Profiles => Some(dictionary! {"Status": "Error", "ErrorChain": Value::Array(Vec::new())}),
            _ => None,
        }
    }

    async fn speak(self, stream: Stream, device: Arc<Device>) -> io::Result<()> {
        match self {
            Self::Afc => afc::serve(stream, device).await,
            Self::MobileBackup2 => mobilebackup2::serve(stream, device).await,
            Self::NotificationProxy => notification_proxy::serve(stream, device, true).await,
            Self::InsecureNotificationProxy => notification_proxy::serve(stream, device, false).await,
            Self::DiagnosticsRelay => diagnostics_relay::serve(stream, device).await,
            Self::InstallationProxy => installation_proxy::serve(stream, device).await,
            Self::Springboard => springboard::serve(stream, device).await,
            Self::Heartbeat => small_services::heartbeat(stream, small_services::BEAT).await,
            Self::Profiles => mcinstall::serve(stream, device).await,
            Self::HouseArrest => house_arrest::serve(stream, device).await,
            Self::Syslog => syslog_relay::serve(stream, device).await,
            Self::OsTrace => os_trace_relay::serve(stream, device).await,
            Self::Misagent => misagent::serve(stream, device).await,
            Self::AssertionAgent => small_services::assertions(stream).await,
            Self::MobileActivation => small_services::activation(stream, device).await,
            Self::CrashReports => afc::serve_crashes(stream, device).await,
            Self::CrashReportMover => small_services::crash_report_mover(stream).await,
        }
    }
}
