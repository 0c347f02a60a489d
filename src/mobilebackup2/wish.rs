//! What a host wants done with a backup that it has: restored, described, listed, unpacked.
//!
//! The keys are those that libimobiledevice's `idevicebackup2.c` and pymobiledevice3's `mobilebackup2.py` send. Where one of
//! them leaves a key out, the value that the phone takes for it stands here.

use plist::{Dictionary, Value};

use super::Secret;
use super::message::Malformed;

/// Which backup on the host is meant, and for which device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// The device that is asked: its UDID.
    pub target: String,
    /// The folder of the backup: the UDID of the device that made it. One that is not sent is the target.
    pub source: String,
}

/// A restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restore {
    /// What is restored from where.
    pub subject: Subject,
    /// How.
    pub options: RestoreOptions,
    /// The password of an encrypted backup.
    pub password: Option<Secret>,
}

/// How a restore is done. The default is what a phone does when a host sends no option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RestoreOptions {
    /// Also what belongs to the system: preferences, accounts, messages.
    pub system_files: bool,
    /// The settings of the phone stay as they are.
    pub preserve_settings: bool,
    /// The phone restarts when it is done.
    pub reboot: bool,
    /// The host is not asked for a copy of the backup first.
    pub dont_copy_backup: bool,
    /// What the phone has and the backup has not is removed.
    pub remove_items_not_restored: bool,
}

impl Default for RestoreOptions {
    fn default() -> Self {
        Self {
            system_files: false,
            preserve_settings: true,
            reboot: true,
            dont_copy_backup: false,
            remove_items_not_restored: false,
        }
    }
}

/// What is to be told of a backup, or taken out of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Inspection {
    /// What the backup is.
    Info,
    /// Its files.
    List,
    /// All files into the folders that they have on the phone.
    Unback {
        /// The password of an encrypted backup.
        password: Option<Secret>,
    },
    /// One file.
    Extract {
        /// Its domain.
        domain: String,
        /// Its path below the domain.
        path: String,
        /// The password of an encrypted backup.
        password: Option<Secret>,
    },
}

impl Subject {
    /// Of the device's own backup.
    #[must_use]
    pub fn own(udid: &str) -> Self {
        Self { target: udid.to_owned(), source: udid.to_owned() }
    }

    pub(super) fn read(name: &str, body: &Dictionary) -> Result<Self, Malformed> {
        let want = || Malformed { message: name.into(), what: "no TargetIdentifier" };
        let target = text(body, "TargetIdentifier").ok_or_else(want)?;
        let source = text(body, "SourceIdentifier").unwrap_or_else(|| target.clone());
        Ok(Self { target, source })
    }

    pub(super) fn write(&self, body: &mut Dictionary) {
        body.insert("TargetIdentifier".into(), self.target.as_str().into());
        body.insert("SourceIdentifier".into(), self.source.as_str().into());
    }
}

impl Restore {
    pub(super) fn read(body: &Dictionary) -> Result<Self, Malformed> {
        let none = Dictionary::new();
        let given = body.get("Options").and_then(Value::as_dictionary).unwrap_or(&none);
        let told = |key: &str, else_: bool| given.get(key).and_then(Value::as_boolean).unwrap_or(else_);
        let usual = RestoreOptions::default();
        let options = RestoreOptions {
            system_files: told("RestoreSystemFiles", usual.system_files),
            preserve_settings: told("RestorePreserveSettings", usual.preserve_settings),
            reboot: told("RestoreShouldReboot", usual.reboot),
            dont_copy_backup: told("RestoreDontCopyBackup", usual.dont_copy_backup),
            remove_items_not_restored: told("RemoveItemsNotRestored", usual.remove_items_not_restored),
        };
        let password = password(given).or_else(|| password(body));
        Ok(Self { subject: Subject::read("Restore", body)?, options, password })
    }

    pub(super) fn write(&self, body: &mut Dictionary) {
        self.subject.write(body);
        let mut options: Dictionary = [
            ("RestoreSystemFiles", self.options.system_files),
            ("RestorePreserveSettings", self.options.preserve_settings),
            ("RestoreShouldReboot", self.options.reboot),
            ("RestoreDontCopyBackup", self.options.dont_copy_backup),
            ("RemoveItemsNotRestored", self.options.remove_items_not_restored),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), Value::Boolean(value)))
        .collect();
        put_password(&mut options, self.password.as_ref());
        body.insert("Options".into(), Value::Dictionary(options));
    }
}

impl Inspection {
    /// Its name on the wire.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Info => "Info",
            Self::List => "List",
            Self::Unback { .. } => "Unback",
            Self::Extract { .. } => "Extract",
        }
    }

    pub(super) fn has_password(&self) -> bool {
        matches!(self, Self::Unback { password: Some(_) } | Self::Extract { password: Some(_), .. })
    }

    /// Reads the one of that name; `None`: it is none.
    pub(super) fn read(name: &str, body: &Dictionary) -> Result<Option<Self>, Malformed> {
        let want = |what| Malformed { message: name.into(), what };
        Ok(Some(match name {
            "Info" => Self::Info,
            "List" => Self::List,
            "Unback" => Self::Unback { password: password(body) },
            "Extract" => Self::Extract {
                domain: text(body, "DomainName").ok_or_else(|| want("no DomainName"))?,
                path: text(body, "RelativePath").ok_or_else(|| want("no RelativePath"))?,
                password: password(body),
            },
            _ => return Ok(None),
        }))
    }

    pub(super) fn write(&self, body: &mut Dictionary) {
        match self {
            Self::Info | Self::List => {}
            Self::Unback { password } => put_password(body, password.as_ref()),
            Self::Extract { domain, path, password } => {
                body.insert("DomainName".into(), domain.as_str().into());
                body.insert("RelativePath".into(), path.as_str().into());
                put_password(body, password.as_ref());
            }
        }
    }
}

fn text(body: &Dictionary, key: &str) -> Option<String> {
    body.get(key).and_then(Value::as_string).map(str::to_owned)
}

/// libimobiledevice sends the password of an unpacking among the options, pymobiledevice3 beside them.
fn password(body: &Dictionary) -> Option<Secret> {
    let options = || body.get("Options").and_then(Value::as_dictionary);
    let given = text(body, "Password").or_else(|| text(options()?, "Password"));
    given.filter(|password| !password.is_empty()).map(Secret::new)
}

fn put_password(body: &mut Dictionary, password: Option<&Secret>) {
    if let Some(password) = password {
        let text = password.text().expect("whoever makes the request has seen that it is text");
        body.insert("Password".into(), text.into());
    }
}
