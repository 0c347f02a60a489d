//! What is fuzzed: the two ends of the mux protocol, and every parser of bytes that a phone, a host or a damaged folder
//! has a say in. Each target takes any bytes and never panics, unless it has found something.
//!
//! Whoever runs them brings the bytes: libFuzzer does it by the million (`fuzz/README.md`), and the project's tests give
//! each a few of its seeds and some noise, so that what stands here compiles and holds.

mod backups;
mod cable;
mod grown;
mod mux_host;
mod mux_phone;
mod plists;
mod records;
mod source;
mod usb;
mod wire;

/// Something to be fuzzed.
pub(crate) struct Target {
    /// How it is asked for.
    pub(crate) name: &'static str,
    /// Takes any bytes. A panic is a finding.
    pub(crate) run: fn(&[u8]),
    /// Bytes to begin with: what is well formed.
    pub(crate) seeds: fn() -> Vec<Vec<u8>>,
}

/// All of them.
pub(crate) const TARGETS: &[Target] = &[
    Target { name: "mux-host", run: mux_host::run, seeds: mux_host::seeds },
    Target { name: "mux-phone", run: mux_phone::run, seeds: mux_phone::seeds },
    Target { name: "mux-cable", run: cable::run, seeds: cable::seeds },
    Target { name: "mux-packets", run: wire::mux_packets, seeds: wire::mux_packet_seeds },
    Target { name: "plist", run: plists::frames, seeds: plists::seeds },
    Target { name: "usbmux", run: plists::usbmux, seeds: plists::usbmux_seeds },
    Target { name: "lockdown", run: plists::lockdown, seeds: plists::lockdown_seeds },
    Target { name: "cloud-photos", run: plists::cloud_photos, seeds: plists::seeds },
    Target { name: "afc", run: wire::afc, seeds: wire::afc_seeds },
    Target { name: "backup-messages", run: backups::messages, seeds: backups::message_seeds },
    Target { name: "backup-streams", run: backups::streams, seeds: backups::stream_seeds },
    Target { name: "keybag", run: backups::keybag, seeds: backups::keybag_seeds },
    Target { name: "manifest", run: backups::manifest, seeds: backups::manifest_seeds },
    Target { name: "usb", run: usb::control, seeds: usb::control_seeds },
    Target { name: "usbip", run: usb::usbip, seeds: usb::usbip_seeds },
    Target { name: "certificates", run: records::certificates, seeds: records::certificate_seeds },
    Target { name: "pictures", run: records::pictures, seeds: records::picture_seeds },
];
