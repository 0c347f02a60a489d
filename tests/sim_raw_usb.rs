//! The simulated iPhone's USB level, with bytes written and read by hand as usbmuxd has them, not through the
//! project's own packets. The numbered traps are those in which a simulated phone is never listed, or loses streams.

use idevice_fix::sim::config::{Speed, Usb};
use idevice_fix::sim::usb::{
    Answer, CONNECTIONS_MAX, ConnectionId, Control, Input, Mux, Output, Setup, TRANSFER_BYTES_MAX,
};
use idevice_fix::usbmux::Udid;

#[path = "../fuzz/targets/mod.rs"]
mod targets;

const LOCKDOWN: u16 = 62078;
const WINDOW: u32 = 131_072;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;
const FIN: u8 = 0x01;
const VERSION: &str = "0000000000000014000000020000000000000000";
const SETUP: &str = "0000000200000011feedface0000ffff07";

/// A segment as it crosses the cable in version 2.
fn tcp(ports: (u16, u16), (seq, ack): (u32, u32), flags: u8, window: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = hex::decode("00000006").unwrap();
    bytes.extend(u32::try_from(36 + payload.len()).unwrap().to_be_bytes());
    bytes.extend(hex::decode("feedface0001ffff").unwrap());
    bytes.extend(ports.0.to_be_bytes());
    bytes.extend(ports.1.to_be_bytes());
    bytes.extend(seq.to_be_bytes());
    bytes.extend(ack.to_be_bytes());
    bytes.extend([0x50, flags]);
    bytes.extend(window.to_be_bytes());
    bytes.extend([0; 4]);
    bytes.extend(payload);
    bytes
}

/// A segment of the phone's, picked apart.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Heard {
    number: u16,
    seen: u16,
    ports: (u16, u16),
    seq: u32,
    ack: u32,
    flags: u8,
    window: u16,
    payload: Vec<u8>,
}

fn heard(bytes: &[u8]) -> Heard {
    let half = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    let word = |at: usize| u32::from(half(at)) << 16 | u32::from(half(at + 2));
    assert_eq!((word(0), word(4), word(8)), (6, u32::try_from(bytes.len()).unwrap(), 0xFEED_FACE));
    assert_eq!(bytes[28], 0x50, "no options");
    Heard {
        number: half(12),
        seen: half(14),
        ports: (half(16), half(18)),
        seq: word(20),
        ack: word(24),
        flags: bytes[29],
        window: half(30),
        payload: bytes[36..].to_vec(),
    }
}

fn drain(mux: &mut Mux) -> Vec<Output> {
    std::iter::from_fn(|| mux.poll()).collect()
}

/// What usbmuxd makes of the transfers: reads of 16384 bytes that end when full or with a short USB packet, and each
/// packet is as long as its header says. What does not fit it drops, and the stream with it.
fn as_usbmuxd_reads(transfers: &[Vec<u8>], unit: usize) -> Result<Vec<Vec<u8>>, String> {
    let (mut reads, mut open) = (Vec::new(), Vec::<u8>::new());
    for transfer in transfers {
        let packets = transfer.chunks(unit).map(<[u8]>::to_vec).chain(transfer.is_empty().then(Vec::new));
        for packet in packets {
            open.extend(&packet);
            if open.len() == 16384 || packet.len() < unit {
                reads.push(std::mem::take(&mut open));
            }
        }
    }
    if !open.is_empty() {
        return Err("a read is never finished".to_owned());
    }
    let (mut packets, mut kept) = (Vec::new(), Vec::new());
    for read in reads.into_iter().filter(|read| !read.is_empty()) {
        let short = read.len() < 16384;
        kept.extend(read);
        let announced = usize::try_from(u32::from_be_bytes(kept[4..8].try_into().unwrap())).unwrap();
        if kept.len() == announced {
            packets.push(std::mem::take(&mut kept));
        } else if short || kept.len() > announced {
            return Err(format!("{} bytes instead of {announced}", kept.len()));
        }
    }
    Ok(packets)
}

fn transfers(outputs: Vec<Output>) -> Vec<Vec<u8>> {
    let transfer = |output| if let Output::Transfer(bytes) = output { Some(bytes) } else { None };
    outputs.into_iter().filter_map(transfer).collect()
}

fn segments(mux: &mut Mux) -> Vec<Heard> {
    let packets = as_usbmuxd_reads(&transfers(drain(mux)), 512).unwrap();
    packets.iter().map(|packet| heard(packet)).collect()
}

fn give(mux: &mut Mux, bytes: &[u8]) {
    mux.handle(Input::Transfer(bytes));
    if bytes.len().is_multiple_of(512) {
        mux.handle(Input::Transfer(&[]));
    }
}

/// A phone that has heard VERSION and SETUP.
fn begun() -> Mux {
    let mut mux = Mux::new(512);
    give(&mut mux, &hex::decode(VERSION).unwrap());
    assert_eq!(transfers(drain(&mut mux)).len(), 1);
    give(&mut mux, &hex::decode(SETUP).unwrap());
    mux
}

/// With a connection from port `host` to lockdown.
fn connect(mux: &mut Mux, host: u16) -> ConnectionId {
    give(mux, &tcp((host, LOCKDOWN), (0, 0), SYN, 512, &[]));
    let Some(Output::Open { connection, port: LOCKDOWN }) = mux.poll() else { panic!("nothing is opened") };
    assert_eq!(mux.poll(), None, "nothing is granted before the port is open");
    mux.handle(Input::Opened(connection));
    let granted = segments(mux);
    assert_eq!(granted.len(), 1);
    assert_eq!(
        (granted[0].flags, granted[0].seq, granted[0].ack, granted[0].window, granted[0].ports),
        (0x12, 0, 1, 512, (LOCKDOWN, host))
    );
    give(mux, &tcp((host, LOCKDOWN), (1, 1), ACK, 512, &[]));
    connection
}

fn setup(bytes: &str) -> Setup {
    Setup::parse(hex::decode(bytes).unwrap().try_into().unwrap())
}

fn phone(speed: Speed) -> Control {
    let udid = Udid::parse("00008101-000000000000001E").unwrap();
    Control::new(&udid, &Usb { speed, ..Usb::default() })
}

#[test]
fn trap_1_version_is_answered_with_eight_byte_header() {
    let mut mux = Mux::new(512);
    give(&mut mux, &tcp((1, LOCKDOWN), (0, 0), SYN, 512, &[]));
    assert_eq!(mux.poll(), None, "nothing counts before VERSION");
    give(&mut mux, &hex::decode(VERSION).unwrap());
    assert_eq!(mux.poll(), Some(Output::Transfer(hex::decode(VERSION).unwrap())));
    give(&mut mux, &hex::decode(SETUP).unwrap());
    assert_eq!(mux.poll(), None, "SETUP has no answer");
    // A usbmuxd that was started anew says it again, and again it is 20 bytes.
    give(&mut mux, &hex::decode(VERSION).unwrap());
    assert_eq!(drain(&mut mux), [Output::Transfer(hex::decode(VERSION).unwrap())]);
    // The oldest ones speak version 1: short headers on everything.
    give(&mut mux, &hex::decode("0000000000000014000000010000000000000000").unwrap());
    let answer = Output::Transfer(hex::decode("0000000000000014000000010000000000000000").unwrap());
    assert_eq!(drain(&mut mux), [answer]);
    give(&mut mux, &hex::decode("000000060000001c00070008000000000000000050020200").unwrap());
    assert_eq!(mux.poll(), None, "cut short");
    give(&mut mux, &hex::decode("000000060000001c0007000800000000000000005002020000000000").unwrap());
    let Some(Output::Open { connection, port: 8 }) = mux.poll() else { panic!("nothing is opened") };
    mux.handle(Input::Refused(connection));
    let refusal = "000000060000001c0008000700000000000000015004020000000000";
    assert_eq!(drain(&mut mux), [Output::Transfer(hex::decode(refusal).unwrap())]);
}

#[test]
fn trap_2_a_full_last_usb_packet_is_followed_by_an_empty_one_and_a_transfer_is_one_packet() {
    for (unit, speed) in [(512, Speed::High), (1024, Speed::Super)] {
        assert_eq!(phone(speed).bulk_packet_bytes(), unit);
        let unit = usize::from(unit);
        let mut lost = 0;
        for total in [unit - 1, unit, unit + 1, 3 * unit, 16383, 16384, 16385, 16384 + unit, 31 * 1024, 32764]
        {
            let mut mux = Mux::new(u16::try_from(unit).unwrap());
            give(&mut mux, &hex::decode(VERSION).unwrap());
            let id = {
                give(&mut mux, &tcp((1, 2), (0, 0), SYN, 512, &[]));
                let opened = drain(&mut mux).into_iter().find_map(|output| match output {
                    Output::Open { connection, .. } => Some(connection),
                    _ => None,
                });
                opened.unwrap()
            };
            mux.handle(Input::Opened(id));
            drain(&mut mux);
            mux.handle(Input::Said(id, &vec![7; total - 36]));
            let mut sent = transfers(drain(&mut mux));
            assert_eq!(sent[0].len(), total);
            assert_eq!(sent.len(), if total % unit == 0 { 2 } else { 1 }, "{total} bytes, {unit} each");
            mux.handle(Input::Said(id, b"next"));
            sent.extend(transfers(drain(&mut mux)));
            let read = as_usbmuxd_reads(&sent, unit).unwrap();
            assert_eq!(read.iter().map(Vec::len).collect::<Vec<_>>(), [total, 40]);
            // Without the empty transfer usbmuxd would have lost the packet: the model can tell.
            sent.retain(|transfer| !transfer.is_empty());
            lost += usize::from(as_usbmuxd_reads(&sent, unit).is_err());
        }
        assert_eq!(lost, 4, "{unit}: all multiples but that of 16384");
    }
    // Much to say, in both directions at once: never two packets in a transfer, none too long.
    let mut mux = begun();
    let (first, second) = (connect(&mut mux, 1), connect(&mut mux, 2));
    for id in [first, second] {
        mux.handle(Input::Said(id, &vec![1; mux.room_bytes(id)]));
    }
    let sent = transfers(drain(&mut mux));
    assert!(sent.iter().all(|transfer| transfer.len() <= 32764 && TRANSFER_BYTES_MAX == 32764));
    let order: Vec<u16> = as_usbmuxd_reads(&sent, 512).unwrap().iter().map(|it| heard(it).ports.1).collect();
    assert_eq!(order[..4], [1, 2, 1, 2], "each has its turn");
}

#[test]
fn trap_3_flags_are_exactly_those_and_an_ack_is_never_acknowledged() {
    let mut mux = begun();
    let id = connect(&mut mux, 1);
    let pair = (1, LOCKDOWN);
    for _ in 0..100 {
        give(&mut mux, &tcp(pair, (1, 1), ACK, 512, &[]));
    }
    assert_eq!(mux.poll(), None, "an ACK is answered");
    // Data is acknowledged once it is taken, once.
    give(&mut mux, &tcp(pair, (1, 1), ACK, 512, b"question"));
    let Some(Output::Deliver { bytes, .. }) = mux.poll() else { panic!("nothing is delivered") };
    assert_eq!(bytes, b"question");
    mux.handle(Input::Took(id, 8));
    let acks = segments(&mut mux);
    assert_eq!((acks.len(), acks[0].flags, acks[0].seq, acks[0].ack), (1, ACK, 1, 9));
    give(&mut mux, &tcp(pair, (9, 1), ACK, 512, &[]));
    assert_eq!(mux.poll(), None);
    // Data has ACK alone; the end is RST, after the data, and no FIN.
    mux.handle(Input::Said(id, b"answer"));
    mux.handle(Input::Ended(id));
    let last = segments(&mut mux);
    let shape: Vec<_> = last.iter().map(|it| (it.flags, it.seq, it.ack, it.payload.as_slice())).collect();
    assert_eq!(shape, [(ACK, 1, 9, &b"answer"[..]), (RST, 7, 9, &b""[..])]);
    // What still comes belongs to no connection: RST with seq 0, and none in answer to an RST.
    give(&mut mux, &tcp(pair, (9, 7), ACK, 512, &[]));
    let stray = segments(&mut mux);
    assert_eq!((stray.len(), stray[0].flags, stray[0].seq, stray[0].ack), (1, RST, 0, 9));
    give(&mut mux, &tcp(pair, (9, 7), RST, 512, &[]));
    assert_eq!(mux.poll(), None);
    // A host that uses other flags is not understood.
    for flags in [ACK | PSH, ACK | FIN, FIN, SYN, 0] {
        let id = connect(&mut mux, 3);
        give(&mut mux, &tcp((3, LOCKDOWN), (1, 1), flags, 512, b"x"));
        let outputs = drain(&mut mux);
        assert_eq!(outputs[0], Output::Close(id), "{flags:#x}");
        assert_eq!(heard(&transfers(outputs)[0]).flags, RST);
    }
}

#[test]
fn trap_4_the_mode_is_told_by_a_phone_with_four_configurations() {
    for speed in [Speed::High, Speed::Super] {
        let mut phone = phone(speed);
        assert_eq!(phone.answer(&setup("c045000000000400")), Answer::Done(vec![3, 3, 3, 0]));
        let Answer::Done(device) = phone.answer(&setup("8006000100001200")) else { panic!("no descriptor") };
        assert_eq!((device.len(), device[17]), (18, 4), "bNumConfigurations");
        assert_eq!(hex::encode(&device[8..12]), "ac05a812");
        // Values are 1 to 4; the multiplexer is in the last two, with two bulk endpoints.
        for value in 1..=4_u8 {
            let ask = format!("8006{:02x}020000ff01", value - 1);
            let Answer::Done(bytes) = phone.answer(&setup(&ask)) else { panic!("no configuration {value}") };
            assert_eq!(bytes[5], value);
            let mux = hex::decode("0904010002fffe0200").unwrap();
            let at = bytes.windows(9).position(|part| part == mux);
            assert_eq!(at.is_some(), value >= 3, "configuration {value}");
            if let (Some(at), Speed::High) = (at, speed) {
                assert_eq!(hex::encode(&bytes[at + 9..at + 23]), "0705040200020007058502000200");
            }
            let set = phone.answer(&setup(&format!("0009{value:02x}0000000000")));
            assert_eq!(set, Answer::Configured(value));
            assert_eq!(phone.answer(&setup("8008000000000100")), Answer::Done(vec![value]));
            let endpoints = phone.mux_endpoints().map(|it| (it.out, it.input));
            assert_eq!(endpoints, (value >= 3).then_some((0x04, 0x85)));
        }
        // As udev's rule does first.
        assert_eq!(phone.answer(&setup("0009000000000000")), Answer::Configured(0));
        assert_eq!(phone.answer(&setup("0009050000000000")), Answer::Stall);
        assert_eq!(phone.mux_endpoints(), None);
        // Another mode is refused and the phone stays; its own means leaving the bus.
        assert_eq!(phone.answer(&setup("c052000003000100")), Answer::Done(vec![1]));
        assert_eq!(phone.answer(&setup("c052000001000100")), Answer::Leaves(vec![0]));
    }
}

#[test]
fn the_serial_number_is_padded_and_has_no_hyphen() {
    let mut phone = phone(Speed::High);
    assert_eq!(phone.answer(&setup("800600030000ff00")), Answer::Done(vec![4, 3, 9, 4]));
    let Answer::Done(bytes) = phone.answer(&setup("800603030904ff00")) else { panic!("no serial number") };
    assert_eq!((bytes.len(), bytes[0], bytes[1]), (82, 82, 3));
    let text: Vec<u8> = bytes[2..].chunks(2).map(|unit| unit[0]).collect();
    assert_eq!(text, [&b"00008101000000000000001E"[..], &[0; 16]].concat());
}

#[test]
fn a_question_is_asked_answered_and_the_host_hangs_up() {
    let question =
        b"\0\0\x01\x10<?xml version=\"1.0\"?><plist><dict><key>Request</key><string>QueryType</string>";
    let mut mux = begun();
    let id = connect(&mut mux, 1);
    let pair = (1, LOCKDOWN);
    give(&mut mux, &tcp(pair, (1, 1), ACK, 512, question));
    let Some(Output::Deliver { connection, bytes }) = mux.poll() else { panic!("nothing is delivered") };
    assert_eq!((connection, bytes.as_slice()), (id, &question[..]));
    mux.handle(Input::Took(id, bytes.len()));
    mux.handle(Input::Said(id, &bytes));
    let answer = segments(&mut mux);
    let end = 1 + u32::try_from(question.len()).unwrap();
    assert_eq!(answer.len(), 1, "the answer acknowledges, too");
    assert_eq!((answer[0].seq, answer[0].ack, answer[0].payload.as_slice()), (1, end, &question[..]));
    // The phone counts its packets from SETUP on, and names the host's last; the tests' host always says 1.
    assert_eq!((answer[0].number, answer[0].seen), (1, 1));
    give(&mut mux, &tcp(pair, (end, end), RST, 512, &[]));
    assert_eq!(drain(&mut mux), [Output::Close(id)]);
    // Late words of the stream change nothing.
    mux.handle(Input::Said(id, b"late"));
    mux.handle(Input::Took(id, 9999));
    mux.handle(Input::Ended(id));
    assert_eq!((mux.poll(), mux.held_bytes()), (None, 0));
    connect(&mut mux, 1);
}

#[test]
fn what_was_said_before_hanging_up_is_delivered() {
    let mut mux = begun();
    let id = connect(&mut mux, 1);
    give(&mut mux, &tcp((1, LOCKDOWN), (1, 1), ACK, 512, b"goodbye"));
    give(&mut mux, &tcp((1, LOCKDOWN), (8, 1), RST, 512, &[]));
    let goodbye = Output::Deliver { connection: id, bytes: b"goodbye".to_vec() };
    assert_eq!(drain(&mut mux), [goodbye, Output::Close(id)]);
}

#[test]
fn a_port_that_is_not_to_be_had_is_refused() {
    let mut mux = begun();
    give(&mut mux, &tcp((1, 9), (0, 0), SYN, 512, &[]));
    let Some(Output::Open { connection, port: 9 }) = mux.poll() else { panic!("nothing is opened") };
    mux.handle(Input::Refused(connection));
    let refusal = segments(&mut mux);
    assert_eq!((refusal.len(), refusal[0].flags, refusal[0].seq, refusal[0].ack), (1, RST, 0, 1));
    mux.handle(Input::Opened(connection));
    assert_eq!(mux.poll(), None);
}

#[test]
fn a_slow_host_is_never_sent_more_than_its_window() {
    let mut mux = begun();
    let id = connect(&mut mux, 1);
    let said: Vec<u8> = (0..600_000_u32).map(|n| (n % 251).to_le_bytes()[0]).collect();
    let (mut given, mut got, mut acked) = (0, Vec::new(), 0);
    while got.len() < said.len() {
        let room = mux.room_bytes(id).min(said.len() - given);
        mux.handle(Input::Said(id, &said[given..given + room]));
        given += room;
        assert!(mux.held_bytes() <= 131_072);
        for segment in segments(&mut mux) {
            assert_eq!(segment.seq, 1 + u32::try_from(got.len()).unwrap());
            got.extend(segment.payload);
        }
        let in_flight = u32::try_from(got.len()).unwrap() - acked;
        assert!(in_flight <= WINDOW, "{in_flight} bytes unacknowledged");
        assert!(in_flight == WINDOW || got.len() == said.len(), "the window is used");
        acked += in_flight.min(10_000);
        give(&mut mux, &tcp((1, LOCKDOWN), (1, 1 + acked), ACK, 512, &[]));
    }
    assert_eq!(got, said);
    // An acknowledgement of what was never sent is none, and a closed window is one.
    mux.handle(Input::Said(id, &[1; 300]));
    give(&mut mux, &tcp((1, LOCKDOWN), (1, acked + 5_000_000), ACK, 0, &[]));
    assert_eq!(mux.poll(), None);
    let end = 1 + u32::try_from(said.len()).unwrap();
    give(&mut mux, &tcp((1, LOCKDOWN), (1, end), ACK, 1, &[]));
    assert_eq!(segments(&mut mux).iter().map(|it| it.payload.len()).sum::<usize>(), 256);
}

#[test]
fn a_slow_stream_stops_the_host_and_one_that_goes_on_is_cut_off() {
    let mut mux = begun();
    let id = connect(&mut mux, 1);
    let pair = (1, LOCKDOWN);
    let piece = vec![5; 32_768];
    let mut seq = 1;
    for _ in 0..4 {
        give(&mut mux, &tcp(pair, (seq, 1), ACK, 512, &piece));
        seq += 32_768;
    }
    let outputs = drain(&mut mux);
    assert_eq!(outputs, [Output::Deliver { connection: id, bytes: vec![5; 131_072] }]);
    mux.handle(Input::Took(id, 100));
    assert_eq!(segments(&mut mux).iter().map(|it| it.ack).collect::<Vec<_>>(), [101]);
    give(&mut mux, &tcp(pair, (seq, 1), ACK, 512, &[5; 100]));
    assert!(matches!(mux.poll(), Some(Output::Deliver { bytes, .. }) if bytes.len() == 100));
    give(&mut mux, &tcp(pair, (seq + 100, 1), ACK, 512, &[5]));
    let outputs = drain(&mut mux);
    assert_eq!(outputs[0], Output::Close(id));
    assert_eq!(heard(&transfers(outputs)[0]).flags, RST);
}

#[test]
fn a_host_packet_that_comes_in_pieces_is_one() {
    for total in [49_152, 49_151, 16_384, 16_385, 2048] {
        let mut mux = begun();
        let id = connect(&mut mux, 1);
        let bytes = tcp((1, LOCKDOWN), (1, 1), ACK, 512, &vec![9; total - 36]);
        for piece in bytes.chunks(16_384) {
            assert_eq!(mux.poll(), None);
            mux.handle(Input::Transfer(piece));
        }
        mux.handle(Input::Transfer(&[]));
        assert_eq!(drain(&mut mux), [Output::Deliver { connection: id, bytes: vec![9; total - 36] }]);
    }
}

#[test]
fn a_host_that_was_killed_in_the_middle_of_a_packet_can_begin_anew() {
    let mut mux = begun();
    let id = connect(&mut mux, 1);
    let half = tcp((1, LOCKDOWN), (1, 1), ACK, 512, &[9; 5000])[..1024].to_vec();
    mux.handle(Input::Transfer(&half));
    assert_eq!((mux.poll(), mux.held_bytes()), (None, 1024));
    mux.handle(Input::Transfer(&hex::decode(VERSION).unwrap()));
    assert_eq!(drain(&mut mux), [Output::Close(id), Output::Transfer(hex::decode(VERSION).unwrap())]);
    assert_eq!(mux.held_bytes(), 0);
    give(&mut mux, &hex::decode(SETUP).unwrap());
    connect(&mut mux, 1);
    // Also when the phone is in the middle of dropping what did not fit.
    let rubbish = [&[0, 0, 0, 6, 0, 0, 0, 2][..], &[9; 504]].concat();
    mux.handle(Input::Transfer(&rubbish));
    mux.handle(Input::Transfer(&rubbish));
    mux.handle(Input::Transfer(&hex::decode(VERSION).unwrap()));
    let begins = drain(&mut mux);
    assert_eq!(begins.last(), Some(&Output::Transfer(hex::decode(VERSION).unwrap())), "{begins:?}");
    give(&mut mux, &hex::decode(SETUP).unwrap());
    connect(&mut mux, 1);
    // Any other end of a packet that does not fit is dropped with it.
    mux.handle(Input::Transfer(&half));
    mux.handle(Input::Transfer(&tcp((1, LOCKDOWN), (1, 1), ACK, 512, b"lost")));
    assert_eq!((mux.poll(), mux.held_bytes()), (None, 0));
}

#[test]
fn connections_have_a_bound_and_end_when_a_host_begins_anew() {
    let mut mux = begun();
    let ids: Vec<_> = (0..CONNECTIONS_MAX).map(|n| connect(&mut mux, u16::try_from(n).unwrap())).collect();
    give(&mut mux, &tcp((9999, LOCKDOWN), (0, 0), SYN, 512, &[]));
    let refused = segments(&mut mux);
    assert_eq!((refused.len(), refused[0].flags, refused[0].ports.1), (1, RST, 9999));
    give(&mut mux, &hex::decode(VERSION).unwrap());
    let mut outputs = drain(&mut mux);
    assert_eq!(outputs.pop(), Some(Output::Transfer(hex::decode(VERSION).unwrap())));
    assert_eq!(outputs, ids.into_iter().map(Output::Close).collect::<Vec<_>>());
    connect(&mut mux, 1);
}

/// SplitMix64, so that a failure can be seen again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(n).unwrap()).unwrap()
    }

    /// Half a host: segments that are almost right, on few ports.
    fn transfer(&mut self) -> Vec<u8> {
        let flags = [SYN, ACK, ACK, ACK, RST, FIN | ACK][self.below(6)];
        let ports = (u16::try_from(self.below(900)).unwrap(), LOCKDOWN);
        let numbers = if flags == SYN { (0, 0) } else { (1, 1) };
        let payload = vec![3; [0, 1, 476, 20_000][self.below(4)]];
        let mut bytes = tcp(ports, numbers, flags, 512, &payload);
        match self.below(40) {
            0 => bytes = hex::decode(VERSION).unwrap(),
            1 => bytes.truncate(self.below(60)),
            2 | 3 => {
                let at = self.below(bytes.len().min(40));
                bytes[at] = self.next().to_le_bytes()[0];
            }
            4 => bytes = (0..self.below(600)).map(|_| self.next().to_le_bytes()[0]).collect(),
            _ => {}
        }
        bytes
    }
}

/// A stream's side that is honest, and sometimes too busy.
fn attend(mux: &mut Mux, random: &mut Random, output: Output, delivered: &mut usize) {
    match output {
        Output::Open { connection, .. } if random.below(8) == 0 => mux.handle(Input::Refused(connection)),
        Output::Open { connection, .. } => mux.handle(Input::Opened(connection)),
        Output::Deliver { connection, bytes } => {
            *delivered += bytes.len();
            mux.handle(Input::Took(connection, random.below(bytes.len() + 1)));
            let room = mux.room_bytes(connection).min(bytes.len());
            mux.handle(Input::Said(connection, &bytes[..room]));
            if random.below(8) == 0 {
                mux.handle(Input::Ended(connection));
            }
        }
        Output::Close(_) => {}
        Output::Transfer(bytes) => assert!(bytes.len() <= TRANSFER_BYTES_MAX),
    }
}

#[test]
fn noise_never_panics_and_what_is_kept_is_bounded() {
    for seed in 0..4 {
        let (mut random, mut mux, mut delivered) = (Random(seed), begun(), 0);
        for round in 0..20_000 {
            give(&mut mux, &random.transfer());
            // Sometimes nobody looks for long.
            let busy = round / 2000 % 2 == 1;
            while let Some(output) = if busy { None } else { mux.poll() } {
                attend(&mut mux, &mut random, output, &mut delivered);
            }
            let bound = CONNECTIONS_MAX * 2 * 131_072 + 65_536;
            assert!(mux.held_bytes() <= bound, "seed {seed}, round {round}");
        }
        assert!(delivered > 0, "seed {seed}: the noise was only noise");
    }
}

#[test]
fn a_host_that_never_listens_fills_nothing() {
    let mut mux = begun();
    for n in 0..200_000_u32 {
        give(&mut mux, &tcp((u16::try_from(n % 65_521).unwrap(), 7), (n, 0), ACK, 512, &[]));
    }
    assert_eq!(segments(&mut mux).len(), 1024);
}

/// What a target was given: shown where it breaks it.
struct Tried {
    name: &'static str,
    bytes: Vec<u8>,
}

impl Drop for Tried {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{} breaks at {}", self.name, hex::encode(&self.bytes));
        }
    }
}

/// Each target of `fuzz/` takes its seeds, whole, cut and changed, and some noise. libFuzzer does this by the million;
/// here it is seen that they compile, and hold. `IDEVICE_FIX_FUZZ_RUNS` makes it longer.
#[test]
fn what_is_fuzzed_stands_its_seeds_and_some_noise() {
    let runs = std::env::var("IDEVICE_FIX_FUZZ_RUNS").ok().and_then(|told| told.parse().ok()).unwrap_or(60);
    for target in targets::TARGETS {
        let seeds = (target.seeds)();
        seeds.iter().for_each(|seed| (target.run)(seed));
        let mut state = 0x5eed_u64;
        let mut below = |most: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % most.max(1)
        };
        for run in 0..runs {
            let mut bytes = seeds[below(seeds.len())].clone();
            let noise: Vec<u8> = (0..below(64)).map(|_| below(256) as u8).collect();
            match run % 4 {
                0 => bytes.truncate(below(bytes.len())),
                1 => bytes.extend(noise),
                2 if !bytes.is_empty() => {
                    let at = below(bytes.len());
                    bytes[at] ^= 1 << below(8);
                }
                _ => bytes = noise,
            }
            let tried = Tried { name: target.name, bytes };
            (target.run)(&tried.bytes);
        }
    }
}
