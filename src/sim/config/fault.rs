//! `[[fault]]` and `[faults]`: what goes wrong, where and when.

use serde::Deserialize;

/// Where a fault strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum At {
    /// What AFC reads: bytes of replies with data, and requests.
    AfcRead,
    /// What AFC writes: bytes of a write's payload, and requests that change something.
    AfcWrite,
    /// Lockdown replies.
    Lockdown,
    /// Bytes of files that a backup sends; a file is a message.
    BackupUpload,
    /// DeviceLink messages that a backup sends.
    BackupMessage,
    /// All of them together, and the replies of every other service.
    Any,
}

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FaultKind {
    /// The device leaves the bus for 2 s.
    Unplug,
    /// The connection stays open and says nothing more.
    Stall,
    /// The device refuses with the protocol's own error.
    Refuse,
    /// Bytes change on their way.
    Corrupt,
    /// Less is delivered than promised.
    Short,
    /// A length field states something else than what follows.
    LieAboutLength,
}

/// One fault: after so many bytes or messages, so many times.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Where.
    pub at: At,
    /// Strikes when so many bytes have passed since it was armed.
    pub after_bytes: Option<u64>,
    /// Strikes at the message after so many.
    pub after_messages: Option<u64>,
    /// What.
    pub kind: FaultKind,
    /// How often; after each it is armed anew.
    #[serde(default = "once")]
    pub times: u32,
}

fn once() -> u32 {
    1
}

/// A plan of faults that a seed draws: `[faults]`. The same plan strikes the same traffic in the same way each time,
/// whatever else happens on other connections: what strikes a connection depends on the seed, its service, its number
/// among that service's connections, and on what has passed over it.
///
/// ```toml
/// [faults]
/// seed = 7
/// mean_bytes = 1000000          # a strike about every million bytes: each distance is drawn between 1 and twice it
/// mean_messages = 200           # and about every 200 messages; one of the two may be absent
/// at = ["afc-read", "lockdown"] # absent: everywhere
/// kinds = ["stall", "unplug"]   # absent: all six
/// times = 3                     # at most so many on one connection; absent: no bound
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultPlan {
    /// Decides everything that is drawn.
    pub seed: u64,
    /// Bytes between two strikes at one place, on average.
    pub mean_bytes: Option<u64>,
    /// Messages between two strikes at one place, on average.
    pub mean_messages: Option<u64>,
    /// Where.
    #[serde(default = "everywhere")]
    pub at: Vec<At>,
    /// What, each as likely.
    #[serde(default = "every_kind")]
    pub kinds: Vec<FaultKind>,
    /// Strikes on one connection at most.
    #[serde(default = "without_bound")]
    pub times: u32,
}

fn everywhere() -> Vec<At> {
    vec![At::Any]
}

fn every_kind() -> Vec<FaultKind> {
    use FaultKind as K;
    vec![K::Unplug, K::Stall, K::Refuse, K::Corrupt, K::Short, K::LieAboutLength]
}

fn without_bound() -> u32 {
    u32::MAX
}

impl FaultPlan {
    pub(super) fn check(&self) -> Result<(), String> {
        let means = [self.mean_bytes, self.mean_messages];
        if means == [None, None] || means.contains(&Some(0)) {
            return Err("`[faults]` wants `mean_bytes` or `mean_messages`, above 0".to_owned());
        }
        if self.at.is_empty() || self.kinds.is_empty() {
            return Err("`faults.at` and `faults.kinds` must not be empty".to_owned());
        }
        Ok(())
    }
}
