//! Packets: whole, cut at each length, with lengths that lie, in pieces, and noise.

use super::*;

fn samples() -> Vec<(Version, Packet<'static>)> {
    let numbers = Some(Numbers { sent: 0x0102, seen: 0xFFFF });
    let segment = Segment {
        source: 1,
        destination: 62078,
        sequence: 0x0102_0304,
        acknowledged: 5,
        flags: flags::ACK,
        window_bytes: WINDOW_BYTES,
        payload: b"payload",
    };
    let messages = [
        Message::Control { kind: 7, text: b"hello" },
        Message::Setup,
        Message::Segment(segment),
        Message::Segment(Segment { flags: flags::SYN, payload: b"", ..segment }),
    ];
    let version = Packet { numbers: None, message: Message::Version { major: 2, minor: 0 } };
    let one = messages.map(|message| (Version::One, Packet { numbers: None, message }));
    let two = messages.map(|message| (Version::Two, Packet { numbers, message }));
    [(Version::One, version), (Version::Two, version)].into_iter().chain(one).chain(two).collect()
}

#[test]
fn bytes_are_those_that_usbmuxd_sends() {
    let version = Packet { numbers: None, message: Message::Version { major: 2, minor: 0 } };
    assert_eq!(hex::encode(version.encode()), "0000000000000014000000020000000000000000");
    let setup = Packet { numbers: Some(Numbers { sent: 0, seen: 0xFFFF }), message: Message::Setup };
    assert_eq!(hex::encode(setup.encode()), "0000000200000011feedface0000ffff07");
    let syn = Segment {
        source: 1,
        destination: 62078,
        sequence: 0,
        acknowledged: 0,
        flags: flags::SYN,
        window_bytes: WINDOW_BYTES,
        payload: b"",
    };
    assert_eq!(hex::encode(syn.encode()), "0001f27e00000000000000005002020000000000");
}

#[test]
fn what_is_encoded_is_read_back_and_no_cut_of_it_is() {
    for (version, packet) in samples() {
        let bytes = packet.encode();
        assert_eq!(Packet::parse(&bytes, version), Ok(packet));
        for cut in 0..bytes.len() {
            assert!(Packet::parse(&bytes[..cut], version).is_err(), "{packet:?} cut at {cut}");
            if cut < SHORT_HEADER_BYTES {
                continue;
            }
            // Cut short by a sender that says so.
            let mut honest = bytes[..cut].to_vec();
            honest[4..8].copy_from_slice(&u32::try_from(cut).unwrap().to_be_bytes());
            match Packet::parse(&honest, version) {
                Ok(shorter) => assert!(
                    matches!(shorter.message, Message::Segment(_) | Message::Control { .. }),
                    "{packet:?} cut at {cut}"
                ),
                Err(error) => assert!(
                    matches!(error, Error::Malformed(_) | Error::Short(_)),
                    "{packet:?} cut at {cut}: {error}"
                ),
            }
        }
    }
}

#[test]
fn version_has_the_short_header_in_both_versions() {
    let with_long_header = hex::decode("000000000000001cfeedface00000000000000020000000000000000").unwrap();
    for version in [Version::One, Version::Two] {
        assert_eq!(Packet::parse(&with_long_header, version), Err(Error::Malformed("VERSION")));
    }
}

#[test]
fn a_wrong_mark_kind_or_offset_is_named() {
    let (version, packet) = samples().pop().unwrap();
    let mut bytes = packet.encode();
    bytes[11] ^= 1;
    assert_eq!(Packet::parse(&bytes, version), Err(Error::Magic(MAGIC ^ 1)));
    let mut bytes = packet.encode();
    bytes[3] = 9;
    assert_eq!(Packet::parse(&bytes, version), Err(Error::Kind(9)));
    let mut bytes = packet.encode();
    bytes[LONG_HEADER_BYTES + 12] = 0x60;
    assert_eq!(Packet::parse(&bytes, version), Err(Error::Malformed("TCP")));
}

#[test]
fn a_length_that_lies_is_no_packet() {
    for (version, packet) in samples() {
        let whole = packet.encode();
        let length = u32::try_from(whole.len()).unwrap();
        for lie in [0, 7, length - 1, length + 1, 65537, u32::MAX] {
            let mut bytes = whole.clone();
            bytes[4..8].copy_from_slice(&lie.to_be_bytes());
            assert!(
                matches!(Packet::parse(&bytes, version), Err(Error::Announced(_) | Error::Length { .. })),
                "{packet:?} as {lie} bytes"
            );
        }
    }
}

fn long_packet(payload_bytes: usize) -> Vec<u8> {
    let payload: Vec<u8> = (0_u8..=255).cycle().take(payload_bytes).collect();
    let segment = Segment {
        source: 62078,
        destination: 1,
        sequence: 1,
        acknowledged: 1,
        flags: flags::ACK,
        window_bytes: WINDOW_BYTES,
        payload: &payload,
    };
    let numbers = Some(Numbers { sent: 1, seen: 1 });
    Packet { numbers, message: Message::Segment(segment) }.encode()
}

#[test]
fn pieces_become_the_packet_that_they_were() {
    for payload in [0, READ_BYTES - 36, READ_BYTES - 35, 32728, PACKET_BYTES_MAX - 36] {
        let bytes = long_packet(payload);
        let mut assembler = Assembler::new(READ_BYTES);
        let mut whole = Vec::new();
        for piece in bytes.chunks(READ_BYTES) {
            assert!(whole.is_empty());
            whole.extend(assembler.push(piece).unwrap());
        }
        assert_eq!(whole, [bytes]);
        assert_eq!((assembler.push(&[]), assembler.held_bytes()), (Ok(None), 0));
    }
}

#[test]
fn pieces_that_do_not_fit_are_dropped_up_to_the_end_of_their_transfer() {
    let bytes = long_packet(40_000);
    let short = &bytes[..READ_BYTES];
    let mut assembler = Assembler::new(READ_BYTES);
    // The transfer ends before the packet does.
    assert_eq!(assembler.push(short), Ok(None));
    assert!(matches!(assembler.push(&bytes[READ_BYTES..READ_BYTES + 5]), Err(Error::Length { .. })));
    // It goes on after the packet.
    assert_eq!(assembler.push(short), Ok(None));
    assert_eq!(assembler.push(short), Ok(None));
    assert!(matches!(assembler.push(short), Err(Error::Length { .. })));
    assert_eq!((assembler.push(short), assembler.push(&[1])), (Ok(None), Ok(None)));
    // More than a packet may have.
    assert_eq!(assembler.push(&[0xFF; READ_BYTES]), Err(Error::Announced(u32::MAX)));
    assert_eq!((assembler.push(&[]), assembler.held_bytes()), (Ok(None), 0));
    // And then one that is whole.
    let whole = long_packet(1);
    assert_eq!(assembler.push(&whole), Ok(Some(whole)));
    // Too short for a header.
    assert_eq!(assembler.push(&[0; 7]), Err(Error::Short(7)));
}

/// SplitMix64, so that a failure can be seen again.
fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

#[test]
fn noise_is_never_more_than_an_error() {
    let mut next = random(0x5EED);
    let samples = samples();
    let mut assembler = Assembler::new(64);
    for _ in 0..20_000 {
        let (version, packet) = samples[usize::try_from(next() % 10).unwrap()];
        let mut bytes = packet.encode();
        for _ in 0..next() % 4 {
            let at = usize::try_from(next()).unwrap_or(0) % bytes.len();
            bytes[at] = next().to_le_bytes()[0];
        }
        bytes.resize(usize::try_from(next() % 160).unwrap(), 0);
        // What is taken says the same when it is written again, apart from the fields that are not looked at.
        if let Ok(packet) = Packet::parse(&bytes, version) {
            assert_eq!(Packet::parse(&packet.encode(), version), Ok(packet));
        }
        let _ = assembler.push(&bytes);
        assert!(assembler.held_bytes() <= PACKET_BYTES_MAX);
    }
}
