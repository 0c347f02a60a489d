//! `device.toml`: what is not data on a phone — its mood, its person, its trust, its link and its faults.
//!
//! Knows the keys and their bounds; knows nothing of what they do.

mod fault;

use serde::Deserialize;

pub use fault::{At, Fault, FaultKind, FaultPlan};

/// The file's name in a simulated device's folder.
pub const FILE: &str = "device.toml";
/// What readers accept (iphone_backup_decrypt).
const DPIC_MAX: u32 = 20_000_000;
const ITER_MAX: u32 = 1_000_000;
/// A minute: no cable is that long.
const ROUND_TRIP_US_MAX: u64 = 60_000_000;

/// How hard the phone makes the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Temper {
    /// As easy as a phone can be.
    #[default]
    Kind,
    /// As hard as real phones were seen to be.
    Harsh,
}

/// How fast the phone's USB port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Speed {
    /// USB 2, 480 Mbit/s.
    #[default]
    High,
    /// USB 3, 5 Gbit/s.
    Super,
}

/// How the phone shows itself on the bus.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Usb {
    /// USB product id.
    pub product_id: u16,
    /// Speed of the port.
    pub speed: Speed,
}

impl Default for Usb {
    fn default() -> Self {
        Self { product_id: 0x12a8, speed: Speed::High }
    }
}

/// Whether the screen is locked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Lock {
    /// In use.
    #[default]
    Unlocked,
    /// Locked, but the passcode was entered since it started: its data can be read with an escrow bag.
    Locked,
    /// Not unlocked since it started: its data is sealed.
    BeforeFirstUnlock,
}

/// The screen lock.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LockConfig {
    /// The state that the file puts the phone in, when it is opened and whenever this value changes.
    pub state: Lock,
    /// Whether a backup asks for the passcode where the iOS version does (16.1 and later).
    pub passcode_for_backup: bool,
}

impl Default for LockConfig {
    fn default() -> Self {
        Self { state: Lock::Unlocked, passcode_for_backup: true }
    }
}

/// The person who holds the phone. Milliseconds after being asked; 0 = never.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Person {
    /// Taps Trust.
    pub trusts_after_ms: u64,
    /// Enters the passcode that a backup asks for.
    pub enters_passcode_after_ms: u64,
    /// Unlocks the screen.
    pub unlocks_after_ms: u64,
}

impl Default for Person {
    fn default() -> Self {
        Self { trusts_after_ms: 300, enters_passcode_after_ms: 300, unlocks_after_ms: 500 }
    }
}

/// What the phone answers to a host that wants to pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trust {
    /// Shows the dialog, and the person trusts.
    #[default]
    PairedOnRequest,
    /// The person tapped "Don't Trust".
    Denied,
    /// The dialog is up and nobody answers it.
    Pending,
    /// Wants a supervising host's certificate.
    Supervised,
    /// Has forgotten every host: records made before get `InvalidHostID`.
    Stale,
}

/// Trust.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrustConfig {
    /// The state.
    pub state: Trust,
}

/// What is answered with the device's own refusal.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Refuse {
    /// Lockdown domains that get `GetProhibited`.
    pub lockdown_domains: Vec<String>,
    /// Services that get `ServiceProhibited`.
    pub services: Vec<String>,
    /// Paths below `media/` that get AFC status 10.
    pub afc_paths: Vec<String>,
}

/// Local backups.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BackupConfig {
    /// The password that encrypts backups, until another one is set over the wire; none: they are not encrypted.
    pub password: Option<String>,
    /// Iterations of the first derivation in a keybag that the phone makes (its tag DPIC). A real phone's are the default
    /// and take seconds, on the phone once for each password and on every reader.
    pub dpic: u32,
    /// Iterations of the second derivation (its tag ITER).
    pub iter: u32,
}

impl Default for BackupConfig {
    fn default() -> Self {
        Self { password: None, dpic: 10_000_000, iter: 10_000 }
    }
}

impl std::fmt::Debug for BackupConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let password = self.password.as_ref().map(|_| "(not shown)");
        f.debug_struct("BackupConfig")
            .field("password", &password)
            .field("dpic", &self.dpic)
            .field("iter", &self.iter)
            .finish()
    }
}

/// Erasing. A folder loses everything by it, so it must be allowed there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EraseConfig {
    /// A host may erase the phone, if Find My is off.
    pub allowed: bool,
}

/// Which services speak TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TlsServices {
    /// Those that do on the phone's iOS version.
    #[default]
    ByVersion,
    /// Every one that needs a session.
    All,
    /// None.
    None,
}

/// The newest version of TLS that the phone speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub enum TlsNewest {
    /// What every phone was seen to speak.
    #[default]
    #[serde(rename = "1.2")]
    Tls12,
    /// Spoken by all clients, and never seen from a phone.
    #[serde(rename = "1.3")]
    Tls13,
}

/// TLS.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TlsConfig {
    /// On services.
    pub services: TlsServices,
    /// In sessions and on services.
    pub newest: TlsNewest,
}

/// The cable. Absent values cost nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LinkConfig {
    /// Bytes a second in each direction, all connections together.
    pub bytes_per_second: Option<u64>,
    /// The time from a request to its answer, in microseconds.
    pub round_trip_us: Option<u64>,
}

/// The phone's clock.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClockConfig {
    /// How far it is ahead of this computer's.
    pub offset_seconds: i64,
}

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `temper`
    pub temper: Temper,
    /// `[usb]`
    pub usb: Usb,
    /// `[lock]`
    pub lock: LockConfig,
    /// `[person]`
    pub person: Person,
    /// `[trust]`
    pub trust: TrustConfig,
    /// `[refuse]`
    pub refuse: Refuse,
    /// `[backup]`
    pub backup: BackupConfig,
    /// `[erase]`
    pub erase: EraseConfig,
    /// `[tls]`
    pub tls: TlsConfig,
    /// `[link]`
    pub link: LinkConfig,
    /// `[clock]`
    pub clock: ClockConfig,
    /// `[[fault]]`
    pub fault: Vec<Fault>,
    /// `[faults]`
    pub faults: Option<FaultPlan>,
}

impl Config {
    /// Reads the text of a `device.toml`.
    ///
    /// # Errors
    /// A sentence that names the line and the key that is unknown or has a wrong type or value.
    pub fn parse(text: &str) -> Result<Self, String> {
        let config: Self = toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        for (i, fault) in config.fault.iter().enumerate() {
            if fault.after_bytes.is_some() == fault.after_messages.is_some() {
                return Err(format!(
                    "the {}. [[fault]] wants either `after_bytes` or `after_messages`",
                    i + 1
                ));
            }
        }
        if let Some(plan) = &config.faults {
            plan.check()?;
        }
        for (key, count, most) in
            [("dpic", config.backup.dpic, DPIC_MAX), ("iter", config.backup.iter, ITER_MAX)]
        {
            if !(1..=most).contains(&count) {
                return Err(format!("`backup.{key}` must be from 1 to {most}"));
            }
        }
        if config.backup.password.as_deref() == Some("") {
            return Err("`backup.password` must not be empty: leave it out for plain backups".to_owned());
        }
        if config.link.round_trip_us.is_some_and(|us| us > ROUND_TRIP_US_MAX) {
            return Err(format!("`link.round_trip_us` must be at most {ROUND_TRIP_US_MAX}"));
        }
        if config.link.bytes_per_second == Some(0) {
            return Err("`link.bytes_per_second` must not be 0".to_owned());
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_file_is_a_kind_healthy_phone() {
        let config = Config::parse("").unwrap();
        assert_eq!(config, Config::default());
        assert_eq!(config.usb.product_id, 0x12a8);
        assert!(config.lock.passcode_for_backup);
        assert_eq!(config.person.unlocks_after_ms, 500);
    }

    #[test]
    fn every_key_of_the_contract_is_known() {
        let text = r#"
            temper = "harsh"
            [usb]
            product_id = 0x12ab
            speed = "super"
            [lock]
            state = "before-first-unlock"
            passcode_for_backup = false
            [person]
            trusts_after_ms = 0
            enters_passcode_after_ms = 1
            unlocks_after_ms = 2
            [trust]
            state = "stale"
            [refuse]
            lockdown_domains = ["com.apple.fmip"]
            services = ["com.apple.afc"]
            afc_paths = ["/PhotoData"]
            [backup]
            password = "secret"
            [erase]
            allowed = true
            [tls]
            services = "all"
            newest = "1.3"
            [link]
            bytes_per_second = 40000000
            round_trip_us = 1000
            [clock]
            offset_seconds = -300
            [[fault]]
            at = "backup-upload"
            after_bytes = 5
            kind = "lie-about-length"
            [[fault]]
            at = "any"
            after_messages = 1
            kind = "unplug"
            times = 3
            [faults]
            seed = 7
            mean_bytes = 1000000
            mean_messages = 200
            at = ["afc-read", "afc-write", "lockdown", "backup-upload", "backup-message", "any"]
            kinds = ["unplug", "stall", "refuse", "corrupt", "short", "lie-about-length"]
            times = 9
        "#;
        let config = Config::parse(text).unwrap();
        assert_eq!(config.temper, Temper::Harsh);
        assert_eq!(config.fault[1].times, 3);
        assert_eq!(config.fault[0].times, 1);
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn the_readme_shows_every_section_as_it_is() {
        let readme = include_str!("../../README.md");
        let blocks = readme.split("```toml\n").skip(1).filter_map(|rest| rest.split("```").next());
        let block =
            blocks.into_iter().find(|block| block.contains("temper")).expect("the README shows the file");
        let shown = Config::parse(block).unwrap();
        let Config {
            temper,
            usb,
            lock,
            person,
            trust,
            refuse,
            backup,
            erase,
            tls,
            link,
            clock,
            fault,
            faults,
        } = shown;
        // Where it shows a default, it is the default.
        let plain = Config::default();
        assert_eq!((temper, &usb, &lock, &person), (plain.temper, &plain.usb, &plain.lock, &plain.person));
        assert_eq!((&trust, &refuse, &erase), (&plain.trust, &plain.refuse, &plain.erase));
        assert_eq!((&tls, &clock), (&plain.tls, &plain.clock));
        assert_eq!((backup.dpic, backup.iter), (plain.backup.dpic, plain.backup.iter));
        assert!(backup.password.is_some() && link.round_trip_us.is_some() && faults.is_some());
        assert_eq!(fault.len(), 1);
    }

    #[test]
    fn a_wrong_key_is_named() {
        for (text, named) in [
            ("[lock]\nstat = \"locked\"", "stat"),
            ("tempers = \"kind\"", "tempers"),
            ("[person]\nunlocks_after_ms = \"soon\"", "unlocks_after_ms"),
            ("[trust]\nstate = \"maybe\"", "maybe"),
            ("[[fault]]\nat = \"any\"\nkind = \"stall\"", "after_bytes"),
            ("[backup]\ndpic = 0", "dpic"),
            ("[backup]\niter = 1000001", "iter"),
            ("[backup]\npassword = \"\"", "password"),
            ("[link]\nbytes_per_second = 0", "bytes_per_second"),
            ("[link]\nround_trip_us = 60000001", "round_trip_us"),
            ("[faults]\nseed = 1", "mean_bytes"),
            ("[faults]\nseed = 1\nmean_messages = 0", "mean_messages"),
            ("[faults]\nseed = 1\nmean_bytes = 1\nkinds = []", "kinds"),
            ("[faults]\nmean_bytes = 1", "seed"),
        ] {
            let error = Config::parse(text).unwrap_err();
            assert!(error.contains(named), "{text:?}: {error}");
        }
    }
}
