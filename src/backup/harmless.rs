//! The short list of files without which a backup is still whole, when the phone itself refuses to send them.
//!
//! Each was seen refused on phones whose backups are good. Whatever holds a person's own things is never on it, wherever
//! it lies: photos, messages, contacts, notes, health.

/// Paths that end so, in any domain. The first is refused by every iOS 17 (pymobiledevice3 #507, #755).
const ENDS: &[&str] = &["FileProvider/backup/backup_manifest.db"];
/// Folders whose content a phone makes anew.
const FOLDERS: &[&str] = &["/Caches/", "/tmp/", "/Logs/", "/CrashReporter/"];
/// Words that exclude everything above.
const PRECIOUS: &[&str] = &[
    "media/",
    "dcim",
    "photo",
    "sms",
    "message",
    "addressbook",
    "contact",
    "note",
    "health",
    "voicemail",
    "recording",
];

/// Whether the backup is whole without this file.
#[must_use]
pub fn is_harmless(domain: &str, path: &str) -> bool {
    let lower = path.to_lowercase();
    let domain_lower = domain.to_lowercase();
    let precious = domain == "CameraRollDomain"
        || domain == "MediaDomain"
        || domain == "HealthDomain"
        || PRECIOUS.iter().any(|word| lower.contains(word) || domain_lower.contains(word));
    let rooted = format!("/{path}");
    !precious
        && (ENDS.iter().any(|end| rooted.ends_with(&format!("/{end}")))
            || FOLDERS.iter().any(|folder| rooted.contains(folder)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nobody_misses_is_harmless() {
        let known = "Library/Application Support/FileProvider/backup/backup_manifest.db";
        assert!(is_harmless("HomeDomain", known));
        assert!(is_harmless("HomeDomain", "Library/Caches/com.apple.something/x.db"));
        for (domain, path) in [
            ("CameraRollDomain", "Media/DCIM/100APPLE/IMG_0001.HEIC"),
            ("CameraRollDomain", "Media/PhotoData/Caches/x"),
            ("HomeDomain", "Library/SMS/sms.db"),
            ("HomeDomain", "Library/SMS/Caches/x"),
            ("HomeDomain", "Library/AddressBook/AddressBook.sqlitedb"),
            ("AppDomainGroup-group.com.apple.notes", "Library/Caches/NoteStore.sqlite"),
            ("HealthDomain", "Health/Caches/healthdb.sqlite"),
            ("HomeDomain", "Library/Preferences/x.plist"),
            ("HomeDomain", "x/backup_manifest.db"),
        ] {
            assert!(!is_harmless(domain, path), "{domain} {path}");
        }
    }
}
