//! What of a backup comes back to the phone, and where each thing belongs.
//!
//! Hosts choose by options whose exact meaning Apple does not publish. What is known: without `RestoreSystemFiles` accounts
//! and the like stay away, the data of an app comes back only if the app is there or the host has it installed
//! (pymobiledevice3 #1053, libimobiledevice #668), and with `RemoveItemsNotRestored` the phone is set up anew from the
//! backup, apps included (#1664). Where the sources end, the words of idevicebackup2's help are taken at their face value.

use std::collections::BTreeSet;
use std::path::PathBuf;

use super::catalog::{CAMERA_ROLL, UNSENDABLE};
use crate::mobilebackup2::wish::RestoreOptions;
use crate::sim::device::Device;
use crate::sim::tree::Tree;

/// Domains of the owner's own things, which are no part of the system.
const OWNERS: &[&str] = &[CAMERA_ROLL, "MediaDomain", "BooksDomain", "TonesDomain"];
const APP: &str = "AppDomain-";
const APP_GROUP: &str = "AppDomainGroup-";
const APP_PLUGIN: &str = "AppDomainPlugin-";
/// Domains that hold nothing but settings.
const SETTINGS: &[&str] = &["SystemPreferencesDomain", "ManagedPreferencesDomain"];
/// The folder of settings in any other domain of the system.
const PREFERENCES: &str = "Library/Preferences";
/// The camera roll's folder, which is `media/` here.
const MEDIA: &str = "Media";

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    pub(super) options: RestoreOptions,
    /// Apps that are there, or that the host has installed.
    pub(super) apps: BTreeSet<String>,
}

impl Policy {
    /// Whether this comes back; also whether it is removed when the backup has not got it.
    pub(super) fn takes(&self, domain: &str, path: &str) -> bool {
        if (domain, path) == UNSENDABLE {
            return false;
        }
        if let Some(app) = domain.strip_prefix(APP) {
            return self.options.remove_items_not_restored || self.apps.contains(app);
        }
        if let Some(plugin) = domain.strip_prefix(APP_PLUGIN) {
            let its_app =
                |app: &String| plugin.strip_prefix(app.as_str()).is_some_and(|rest| rest.starts_with('.'));
            return self.options.remove_items_not_restored || self.apps.iter().any(its_app);
        }
        if OWNERS.contains(&domain) || domain.starts_with(APP_GROUP) {
            return true;
        }
        self.options.system_files && !(self.options.preserve_settings && is_setting(domain, path))
    }
}

fn is_setting(domain: &str, path: &str) -> bool {
    let below = |rest: &str| rest.is_empty() || rest.starts_with('/');
    SETTINGS.contains(&domain) || path.strip_prefix(PREFERENCES).is_some_and(below)
}

/// Where a thing of a backup belongs on the phone: in which of its folders, and where there.
pub(super) fn place<'a>(device: &'a Device, domain: &str, path: &str) -> (&'a Tree, PathBuf) {
    let media = path.strip_prefix(MEDIA).filter(|_| domain == CAMERA_ROLL);
    match media {
        Some("") => (device.media(), PathBuf::from(".")),
        Some(rest) if rest.starts_with('/') => (device.media(), PathBuf::from(&rest[1..])),
        _ if path.is_empty() => (device.files(), PathBuf::from(domain)),
        _ => (device.files(), PathBuf::from(domain).join(path)),
    }
}

/// Where a thing of a backup belongs in the phone's own file system, as far as published descriptions of iOS tell.
pub(super) fn on_the_phone(domain: &str, path: &str) -> String {
    let (prefix, name) = domain.split_once('-').unwrap_or((domain, ""));
    let root = match prefix {
        "AppDomain" => format!("var/mobile/Containers/Data/Application/{name}"),
        "AppDomainGroup" => format!("var/mobile/Containers/Shared/AppGroup/{name}"),
        "AppDomainPlugin" => format!("var/mobile/Containers/Data/PluginKitPlugin/{name}"),
        "SysContainerDomain" => format!("var/containers/Data/System/{name}"),
        "SysSharedContainerDomain" => format!("var/containers/Shared/SystemGroup/{name}"),
        "RootDomain" => "var/root".to_owned(),
        "SystemPreferencesDomain" => "var/preferences".to_owned(),
        "ManagedPreferencesDomain" => "var/Managed Preferences".to_owned(),
        "WirelessDomain" => "var/wireless".to_owned(),
        "KeychainDomain" => "var/Keychains".to_owned(),
        "DatabaseDomain" => "var/db".to_owned(),
        "MobileDeviceDomain" => "var/MobileDevice".to_owned(),
        "InstallDomain" => "var/installd".to_owned(),
        "NetworkDomain" => "var/networkd".to_owned(),
        "ProtectedDomain" => "var/protected".to_owned(),
        CAMERA_ROLL | "HomeDomain" | "MediaDomain" | "BooksDomain" | "TonesDomain" => "var/mobile".to_owned(),
        _ => format!("var/mobile/{domain}"),
    };
    if path.is_empty() { root } else { format!("{root}/{path}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn takes(change: impl FnOnce(&mut RestoreOptions), domain: &str, path: &str) -> bool {
        let mut options = RestoreOptions::default();
        change(&mut options);
        Policy { options, apps: BTreeSet::from(["org.example.notes".to_owned()]) }.takes(domain, path)
    }

    #[test]
    fn the_system_its_settings_and_apps_each_have_their_option() {
        let (system, settings) = ("Library/SMS/sms.db", "Library/Preferences/com.apple.x.plist");
        assert!(takes(|_| {}, CAMERA_ROLL, "Media/DCIM/x"));
        assert!(!takes(|_| {}, "HomeDomain", system));
        assert!(takes(|o| o.system_files = true, "HomeDomain", system));
        assert!(!takes(|o| o.system_files = true, "HomeDomain", settings));
        assert!(!takes(|o| o.system_files = true, "HomeDomain", "Library/Preferences"));
        assert!(takes(|o| o.system_files = true, "HomeDomain", "Library/PreferencesOfMine"));
        let all = |o: &mut RestoreOptions| (o.system_files, o.preserve_settings) = (true, false);
        assert!(takes(all, "HomeDomain", settings));
        assert!(!takes(all, UNSENDABLE.0, UNSENDABLE.1));

        assert!(takes(|_| {}, "AppDomain-org.example.notes", "Documents/x"));
        assert!(takes(|_| {}, "AppDomainPlugin-org.example.notes.widget", "x"));
        assert!(!takes(|_| {}, "AppDomainPlugin-org.example.notesy", "x"));
        assert!(!takes(all, "AppDomain-org.example.gone", "Documents/x"));
        assert!(takes(|o| o.remove_items_not_restored = true, "AppDomain-org.example.gone", "Documents/x"));
    }

    #[test]
    fn things_have_the_place_that_traces_show() {
        let at = "var/root/Library/Preferences/com.apple.tailspin.plist";
        assert_eq!(on_the_phone("RootDomain", "Library/Preferences/com.apple.tailspin.plist"), at);
        assert_eq!(on_the_phone(CAMERA_ROLL, "Media/DCIM"), "var/mobile/Media/DCIM");
        assert_eq!(on_the_phone("AppDomain-a.b", ""), "var/mobile/Containers/Data/Application/a.b");
    }
}
