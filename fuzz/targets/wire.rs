//! Packets: of the mux protocol, and of AFC.

use idevice_fix::afc::info::{DeviceInfo, Directory, FileInfo};
use idevice_fix::afc::packet::{HEADER_BYTES, Header};
use idevice_fix::afc::{Kind, Operation, Request};
use idevice_fix::usbmux::packet::{
    Assembler, Message, Numbers, PACKET_BYTES_MAX, Packet, Segment, Version, WINDOW_BYTES, flags,
};

use super::source::Source;

/// Packets that were put together from pieces: what is taken is written as it came.
pub(crate) fn mux_packets(bytes: &[u8]) {
    for version in [Version::One, Version::Two] {
        if let Ok(packet) = Packet::parse(bytes, version) {
            let again = packet.encode();
            assert_eq!(Packet::parse(&again, version), Ok(packet));
            assert_eq!(again.len(), bytes.len());
        }
    }
    let mut source = Source::new(bytes);
    let mut pieces = Assembler::new([512, 64, 16 << 10, 1][source.below(4)]);
    while !source.is_empty() {
        let most = source.below(600);
        if let Ok(Some(packet)) = pieces.push(source.take(most)) {
            assert!(packet.len() <= PACKET_BYTES_MAX);
        }
        assert!(pieces.held_bytes() <= PACKET_BYTES_MAX);
    }
}

/// One of each.
pub(crate) fn mux_packet_seeds() -> Vec<Vec<u8>> {
    let segment = Segment {
        source: 1,
        destination: 62078,
        sequence: 0,
        acknowledged: 0,
        flags: flags::SYN,
        window_bytes: WINDOW_BYTES,
        payload: b"word",
    };
    let numbers = Some(Numbers { sent: 1, seen: 2 });
    let messages = [
        Message::Version { major: 2, minor: 0 },
        Message::Control { kind: 3, text: b"no" },
        Message::Setup,
        Message::Segment(segment),
    ];
    messages
        .iter()
        .flat_map(|message| [None, numbers].map(|numbers| Packet { numbers, message: *message }.encode()))
        .collect()
}

/// What a host asks, and what a phone tells of files, folders and itself.
pub(crate) fn afc(bytes: &[u8]) {
    if let Some(head) = bytes.first_chunk::<HEADER_BYTES>()
        && let Ok(header) = Header::parse(head)
    {
        assert_eq!(header.encode()[8..], head[8..]);
        let _ = header.body();
        let params = usize::try_from(header.params).unwrap_or(usize::MAX);
        let rest = &bytes[HEADER_BYTES..];
        asked(header.operation, &rest[..params.min(rest.len())]);
    }
    let (first, rest) = bytes.split_first().unwrap_or((&0, &[]));
    asked(u64::from(*first), rest);
    if let Some(info) = FileInfo::parse(bytes) {
        let again = FileInfo::parse(&info.encode()).expect("what was written can be read");
        assert!(again.size == info.size && (again.kind == info.kind));
    }
    if let Some(info) = DeviceInfo::parse(bytes) {
        let _ = info.encode();
    }
    let folder = Directory::parse(bytes);
    let _ = format!("{folder:?}").len();
}

fn asked(operation: u64, params: &[u8]) {
    let Ok(request) = Request::parse(operation, params) else { return };
    assert_eq!(Some(request.operation()), Operation::from_raw(operation));
    if let Ok(packet) = request.encode(7, b"") {
        let again = Request::parse(operation, &packet[HEADER_BYTES..]).expect("what was written can be read");
        assert_eq!(again, request);
    }
}

/// Requests of several forms, and replies.
pub(crate) fn afc_seeds() -> Vec<Vec<u8>> {
    let path = || "/DCIM/100APPLE/IMG_0001.HEIC".to_owned();
    let requests = [
        Request::ReadDir { path: path() },
        Request::FileRead { handle: 1, count: 65536 },
        Request::RenamePath { from: path(), to: path() },
        Request::Truncate { size: 7, path: path() },
    ];
    let mut seeds: Vec<Vec<u8>> =
        requests.iter().map(|request| request.encode(1, b"data").expect("a path like any")).collect();
    let info = FileInfo {
        kind: Kind::Link,
        size: 3,
        blocks: 8,
        links: 1,
        mtime_ns: 1,
        birthtime_ns: 1,
        link_target: Some("/x".into()),
    };
    seeds.push(info.encode());
    seeds.push(Directory::encode([".", "..", "DCIM"]));
    seeds
}
