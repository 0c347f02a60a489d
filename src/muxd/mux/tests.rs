//! The host's state machine, with packets written and read by hand.

use super::*;

const VERSION: &str = "0000000000000014000000020000000000000000";
const SETUP: &str = "0000000200000011feedface0000ffff07";
const UNIT: u16 = 512;

fn written(mux: &mut Mux) -> Option<Vec<u8>> {
    match mux.transfer() {
        Some(Output::Write(bytes)) => Some(bytes),
        Some(other) => panic!("a transfer, not {other:?}"),
        None => None,
    }
}

/// A segment of the phone's as it crosses the cable in version 2.
fn says(host_port: u16, flags: u8, sequence: u32, acknowledged: u32, payload: &[u8]) -> Vec<u8> {
    let segment = Segment {
        source: 62078,
        destination: host_port,
        sequence,
        acknowledged,
        flags,
        window_bytes: WINDOW_BYTES,
        payload,
    };
    let numbers = Some(Numbers { sent: 9, seen: 4 });
    Packet { numbers, message: Message::Segment(segment) }.encode()
}

/// The numbers, ports and flags of a segment that was written.
fn segment(bytes: &[u8]) -> (Numbers, (u16, u16), u8, u32, u32) {
    let packet = Packet::parse(bytes, Version::Two).unwrap();
    let Message::Segment(segment) = packet.message else { panic!("a segment, not {packet:?}") };
    let ports = (segment.source, segment.destination);
    (packet.numbers.unwrap(), ports, segment.flags, segment.sequence, segment.acknowledged)
}

fn ready() -> Mux {
    let mut mux = Mux::new(UNIT);
    assert_eq!(hex::encode(written(&mut mux).unwrap()), VERSION);
    assert_eq!(mux.poll(), None, "nothing before the phone has answered");
    mux.handle(Input::Read(&hex::decode(VERSION).unwrap()));
    assert_eq!(mux.news(), Some(Output::Ready));
    assert_eq!(hex::encode(written(&mut mux).unwrap()), SETUP);
    mux
}

fn open(mux: &mut Mux) -> ConnectionId {
    let id = mux.open(62078).unwrap();
    let host_port = segment(&written(mux).unwrap()).1.0;
    mux.handle(Input::Read(&says(host_port, flags::SYN_ACK, 0, 1, b"")));
    assert_eq!(mux.news(), Some(Output::Opened(id)));
    assert_eq!(segment(&written(mux).unwrap()).2, flags::ACK);
    id
}

#[test]
fn the_first_words_are_those_of_usbmuxd() {
    let mut mux = ready();
    mux.open(62078).unwrap();
    let (numbers, ports, flags, sequence, acknowledged) = segment(&written(&mut mux).unwrap());
    assert_eq!((numbers.sent, numbers.seen), (1, NOTHING_SEEN));
    assert_eq!((ports, flags, sequence, acknowledged), ((1, 62078), flags::SYN, 0, 0));
    // The count that the phone sends back is sent back.
    mux.handle(Input::Read(&says(1, flags::SYN_ACK, 0, 1, b"")));
    assert_eq!(segment(&written(&mut mux).unwrap()).0, Numbers { sent: 2, seen: 4 });
}

#[test]
fn a_phone_of_version_one_has_short_headers_and_no_setup() {
    let mut mux = Mux::new(UNIT);
    mux.open(62078).unwrap();
    written(&mut mux).unwrap();
    mux.handle(Input::Read(
        &Packet { numbers: None, message: Message::Version { major: 1, minor: 0 } }.encode(),
    ));
    assert_eq!(mux.news(), Some(Output::Ready));
    let syn = written(&mut mux).unwrap();
    assert_eq!(syn.len(), SHORT_HEADER_BYTES + TCP_HEADER_BYTES);
    assert!(matches!(Packet::parse(&syn, Version::One).unwrap().message, Message::Segment(_)));
}

#[test]
fn a_phone_of_an_unknown_version_is_never_spoken_to_again() {
    let mut mux = Mux::new(UNIT);
    written(&mut mux).unwrap();
    mux.open(1).unwrap();
    mux.handle(Input::Read(
        &Packet { numbers: None, message: Message::Version { major: 3, minor: 0 } }.encode(),
    ));
    assert_eq!(mux.poll(), Some(Output::Incompatible(3)));
    mux.handle(Input::Read(&hex::decode(VERSION).unwrap()));
    assert_eq!(mux.poll(), None);
}

#[test]
fn a_refusal_is_told_once_and_the_port_is_free_again() {
    let mut mux = ready();
    let id = mux.open(1234).unwrap();
    let host_port = segment(&written(&mut mux).unwrap()).1.0;
    let mut no = says(host_port, flags::RST | flags::ACK, 0, 1, b"no\x1b[31m");
    no[16..18].copy_from_slice(&1234_u16.to_be_bytes());
    mux.handle(Input::Read(&no));
    assert_eq!(mux.poll(), Some(Output::Refused(id, "no\u{1b}[31m".to_owned())));
    assert_eq!((mux.poll(), mux.connections()), (None, 0));
}

#[test]
fn a_transfer_that_fills_its_last_packet_is_followed_by_an_empty_one() {
    let mut mux = ready();
    let id = open(&mut mux);
    mux.handle(Input::Said(id, &vec![1; usize::from(UNIT) - LONG_HEADER_BYTES - TCP_HEADER_BYTES]));
    assert_eq!(written(&mut mux).unwrap().len(), usize::from(UNIT));
    assert_eq!(written(&mut mux), Some(Vec::new()));
    assert_eq!(written(&mut mux), None);
}

#[test]
fn a_long_packet_is_put_together_from_its_reads() {
    let mut mux = ready();
    let id = open(&mut mux);
    let payload: Vec<u8> = (0..32_000_u32).map(|n| n.to_le_bytes()[0]).collect();
    let packet = says(1, flags::ACK, 1, 1, &payload);
    for read in packet.chunks(READ_BYTES) {
        assert_eq!(mux.news(), None);
        mux.handle(Input::Read(read));
    }
    assert_eq!(mux.news(), Some(Output::Deliver { connection: id, bytes: payload }));
}

#[test]
fn segments_of_no_connection_are_refused_and_never_more_than_a_few_wait() {
    let mut mux = ready();
    mux.handle(Input::Read(&says(77, flags::ACK, 5, 9, b"who?")));
    let (_, ports, flags, sequence, acknowledged) = segment(&written(&mut mux).unwrap());
    assert_eq!((ports, flags, sequence, acknowledged), ((77, 62078), flags::RST, 0, 5));
    mux.handle(Input::Read(&says(77, flags::RST, 5, 9, b"")));
    assert_eq!(mux.transfer(), None, "a refusal is not refused");
    for n in 0..10_000_u32 {
        mux.handle(Input::Read(&says(77, flags::ACK, n, 9, b"again")));
    }
    assert_eq!(std::iter::from_fn(|| mux.transfer()).count(), STRANGERS_MAX);
}

#[test]
fn another_phone_port_cannot_speak_for_a_connection() {
    let mut mux = ready();
    let id = open(&mut mux);
    let mut forged = says(1, flags::RST, 1, 1, b"");
    forged[16..18].copy_from_slice(&99_u16.to_be_bytes());
    mux.handle(Input::Read(&forged));
    assert_eq!((mux.poll(), mux.room_bytes(id) > 0), (None, true));
}

#[test]
fn connections_have_a_bound_and_ports_are_never_shared() {
    let mut mux = ready();
    let ids: Vec<_> = std::iter::from_fn(|| mux.open(62078)).collect();
    assert_eq!((ids.len(), mux.connections()), (CONNECTIONS_MAX, CONNECTIONS_MAX));
    let mut ports: Vec<u16> =
        std::iter::from_fn(|| written(&mut mux)).map(|bytes| segment(&bytes).1.0).collect();
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), CONNECTIONS_MAX);
    // The port counter goes round without meeting one that is in use, or 0.
    mux.handle(Input::Ended(ids[3]));
    written(&mut mux).unwrap();
    for _ in 0..70_000 {
        let id = mux.open(62078).unwrap();
        let port = segment(&written(&mut mux).unwrap()).1.0;
        assert!(port != 0 && (port == ports[3] || !ports.contains(&port)), "{port}");
        mux.handle(Input::Ended(id));
        assert_eq!(segment(&written(&mut mux).unwrap()).2, flags::RST);
    }
}

#[test]
fn remarks_are_told_and_do_not_pile_up() {
    let mut mux = ready();
    let numbers = Some(Numbers { sent: 0, seen: 0 });
    for n in 0..1000 {
        let text = format!("{n} {}", "x".repeat(2000));
        mux.handle(Input::Read(
            &Packet { numbers, message: Message::Control { kind: 3, text: text.as_bytes() } }.encode(),
        ));
    }
    let told: Vec<_> = std::iter::from_fn(|| mux.poll()).collect();
    assert!(
        matches!(&told[..], [Output::Remark { kind: 3, text }] if text.starts_with("999 x") && text.len() <= 1024)
    );
}

#[test]
fn random_reads_do_no_harm_and_keep_little() {
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for _ in 0..200 {
        let mut mux = ready();
        let id = open(&mut mux);
        for _ in 0..50 {
            let flag = [flags::ACK, flags::SYN_ACK, flags::RST, 0x18][random() as usize % 4];
            let mut bytes = says(1, flag, 1 + random() as u32 % 3, random() as u32 % 3, &[7; 40]);
            for _ in 0..random() % 3 {
                let at = random() as usize % bytes.len();
                bytes[at] = random().to_le_bytes()[0];
            }
            bytes.truncate(bytes.len() - (random() % 2 * (random() % 30)) as usize);
            mux.handle(Input::Read(&bytes));
            while let Some(told) = mux.poll() {
                if let Output::Deliver { bytes, .. } = told {
                    mux.handle(Input::Took(id, bytes.len()));
                }
            }
            assert!(mux.held_bytes() <= 3 * WINDOW_BYTES as usize);
        }
    }
}
