//! What frames must survive: nesting, shared references, damage, cuts, and a guard between them and a careless reader.

use plist::{Dictionary, Value};

use super::*;

const SMALL: Limits = Limits { bytes: 1 << 20, depth: 32, nodes: 10_000 };

fn sample() -> Value {
    let mut inner = Dictionary::new();
    inner.insert("data".into(), Value::Data(vec![0, 1, 255]));
    inner.insert("negative".into(), Value::Integer((-5).into()));
    let mut dict = Dictionary::new();
    dict.insert("Request".into(), "GetValue".into());
    dict.insert("umlaut".into(), "Größe 🍎 <&>".into());
    dict.insert("yes".into(), Value::Boolean(true));
    dict.insert("list".into(), Value::Array(vec![1.into(), Value::Real(2.5), Value::Dictionary(inner)]));
    Value::Dictionary(dict)
}

fn nested_xml(levels: usize) -> Vec<u8> {
    let mut text = b"<?xml version=\"1.0\"?><plist version=\"1.0\">".to_vec();
    text.extend(std::iter::repeat_n(&b"<array>"[..], levels).flatten());
    text.extend(std::iter::repeat_n(&b"</array>"[..], levels).flatten());
    text.extend(b"</plist>");
    text
}

/// A binary list from objects given as bytes, one-byte offsets and references, the first object on top.
fn binary(objects: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = b"bplist00".to_vec();
    let mut offsets = Vec::new();
    for object in objects {
        offsets.push(u8::try_from(bytes.len()).unwrap());
        bytes.extend(object);
    }
    let table = bytes.len() as u64;
    bytes.extend(&offsets);
    bytes.extend([0, 0, 0, 0, 0, 0, 1, 1]);
    for word in [objects.len() as u64, 0, table] {
        bytes.extend(word.to_be_bytes());
    }
    bytes
}

/// Arrays of fourteen references to the next array, and a leaf: each level multiplies by fourteen.
fn reference_bomb(levels: u8) -> Vec<u8> {
    let mut objects: Vec<Vec<u8>> = (1..=levels).map(|next| [&[0xae][..], &[next; 14]].concat()).collect();
    objects.push(vec![0x51, b'x']);
    binary(&objects)
}

fn nested_binary(levels: usize) -> Vec<u8> {
    let mut bytes = b"bplist00".to_vec();
    let mut offsets = Vec::new();
    for level in 0..levels {
        offsets.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
        bytes.push(0xa1);
        bytes.extend((u32::try_from(level).unwrap() + 1).to_be_bytes());
    }
    offsets.extend(u32::try_from(bytes.len()).unwrap().to_be_bytes());
    bytes.push(0x09);
    let table = bytes.len() as u64;
    bytes.extend(offsets);
    bytes.extend([0, 0, 0, 0, 0, 0, 4, 4]);
    for word in [levels as u64 + 1, 0, table] {
        bytes.extend(word.to_be_bytes());
    }
    bytes
}

#[test]
fn both_encodings_come_back_as_they_went() {
    assert_eq!(parse(&to_xml(&sample()), &SMALL).unwrap(), sample());
    assert_eq!(parse(&to_binary(&sample()), &SMALL).unwrap(), sample());
}

#[test]
fn a_hundred_thousand_levels_are_refused_and_thirty_are_read() {
    assert!(matches!(parse(&nested_xml(100_000), &Limits::LOCKDOWN), Err(Error::TooDeep(64))));
    assert!(matches!(parse(&nested_binary(100_000), &Limits::LOCKDOWN), Err(Error::TooDeep(64))));
    assert!(parse(&nested_xml(30), &SMALL).is_ok());
    assert!(parse(&nested_binary(30), &SMALL).is_ok());
    assert!(matches!(parse(&nested_xml(40), &SMALL), Err(Error::TooDeep(32))));
    assert!(matches!(parse(&nested_binary(40), &SMALL), Err(Error::TooDeep(32))));
}

#[test]
fn shared_references_count_as_often_as_they_appear() {
    let bomb = reference_bomb(13);
    assert!(bomb.len() < 300, "{}", bomb.len());
    for limits in [Limits::LOCKDOWN_UNTRUSTED, Limits::LOCKDOWN, Limits::DEVICELINK, Limits::FILE] {
        assert!(matches!(parse(&bomb, &limits), Err(Error::TooMany(_))));
    }
    assert_eq!(parse(&reference_bomb(2), &SMALL).unwrap().as_array().unwrap().len(), 14);
}

#[test]
fn a_shared_long_string_counts_as_often_as_it_appears() {
    let long = [&[0x5f, 0x10, 200][..], &[b'x'; 200]].concat();
    let list = binary(&[vec![0xa3, 1, 1, 1], long]);
    assert!(parse(&list, &SMALL).is_ok());
    let tight = Limits { bytes: 500, ..SMALL };
    assert!(matches!(parse(&list, &tight), Err(Error::TooLong { .. })));
}

#[test]
fn a_circle_is_refused() {
    assert!(matches!(parse(&binary(&[vec![0xa1, 0]]), &SMALL), Err(Error::TooDeep(_))));
}

#[test]
fn xml_that_two_readers_could_see_differently_is_refused() {
    for bad in [
        "<plist><array><![CDATA[</array>]]></array></plist>",
        "<!DOCTYPE plist [<!ENTITY a \"b\">]><plist><true/></plist>",
        "<plist><!--> <array> --><true/></plist>",
        "<plist><!-- -- --><true/></plist>",
        "<plist a='>'><true/></plist>",
        "<plist><true/></plist></plist>",
        "<plist><dict></plist>",
        "{a = b;}",
        "",
        " ",
    ] {
        assert!(matches!(parse(bad.as_bytes(), &SMALL), Err(Error::Malformed(_))), "{bad}");
    }
}

#[test]
fn comments_byte_order_marks_and_document_types_are_fine() {
    let text = "\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
                \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<!-- made by hand -->\n<plist version=\"1.0\">\
                <dict><key>a</key><string/></dict></plist>\n";
    let parsed = parse(text.as_bytes(), &SMALL).unwrap();
    assert_eq!(parsed.as_dictionary().unwrap().string("a"), Some(""));
}

#[test]
fn cut_at_every_length_is_an_error_and_never_a_panic() {
    for whole in [to_xml(&sample()), to_binary(&sample())] {
        let needed = whole.trim_ascii_end().len();
        for length in 0..needed {
            assert!(parse(&whole[..length], &SMALL).is_err(), "cut at {length} of {needed}");
        }
    }
}

/// Numbers from a seed (splitmix64): the same on every machine.
fn random(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed;
    move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[test]
fn damaged_lists_never_panic() {
    let seeds = [to_xml(&sample()), to_binary(&sample()), reference_bomb(5), nested_binary(20)];
    let mut next = random(7);
    for round in 0..20_000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..=next() % 4 {
            let at = usize::try_from(next()).unwrap() % bytes.len();
            bytes[at] = next().to_be_bytes()[0];
        }
        let _ = parse(&bytes, &SMALL);
    }
    for _ in 0..5_000 {
        let length = next() % 300;
        let mut bytes = b"bplist00".to_vec();
        bytes.extend((0..length).map(|_| next().to_be_bytes()[0] & 0x1f));
        let _ = parse(&bytes, &SMALL);
    }
}

#[tokio::test]
async fn frames_are_read_one_after_the_other_until_the_stream_is_closed() {
    let mut bytes = encode(&sample(), Encoding::Xml);
    bytes.extend(encode(&sample(), Encoding::Binary));
    let mut stream = &bytes[..];
    assert_eq!(read(&mut stream, &SMALL).await.unwrap(), sample());
    assert_eq!(read(&mut stream, &SMALL).await.unwrap(), sample());
    assert!(matches!(read(&mut stream, &SMALL).await, Err(Error::Closed)));
}

#[tokio::test]
async fn a_frame_cut_short_or_too_long_is_an_error_before_memory_is_taken() {
    let bytes = encode(&sample(), Encoding::Xml);
    for length in 1..bytes.len() {
        assert!(matches!(read(&mut &bytes[..length], &SMALL).await, Err(Error::Cut)), "cut at {length}");
    }
    let lie = [0xff_u8, 0xff, 0xff, 0xff, b'<'];
    assert!(matches!(read(&mut &lie[..], &SMALL).await, Err(Error::TooLong { bytes: 0xffff_ffff, .. })));
}

#[tokio::test]
async fn the_guard_passes_good_frames_byte_by_byte_and_stops_at_a_bad_one() {
    let good = encode(&sample(), Encoding::Binary);
    let mut bad = u32::try_from(reference_bomb(13).len()).unwrap().to_be_bytes().to_vec();
    bad.extend(reference_bomb(13));
    let (ours, mut theirs) = tokio::io::duplex(16);
    let sent = [good.clone(), good.clone(), bad].concat();
    let writer = tokio::spawn(async move {
        let _ = theirs.write_all(&sent).await;
        theirs
    });
    let mut guard = Guard::new(ours, SMALL);
    let mut received = vec![0; good.len() * 2];
    for byte in received.chunks_mut(7) {
        guard.read_exact(byte).await.unwrap();
    }
    assert_eq!(received, [good.clone(), good].concat());
    for _ in 0..2 {
        let error = guard.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidData);
    }
    drop(guard);
    writer.await.unwrap();
}

#[test]
fn typed_looks_take_only_what_fits() {
    let mut dict = Dictionary::new();
    dict.insert("current".into(), Value::Integer(0xffff_ffff_ffff_fff6_u64.into()));
    dict.insert("flag".into(), Value::Integer(1.into()));
    dict.insert("text".into(), "7".into());
    dict.insert("when".into(), Value::Date(plist::Date::from_xml_format("2026-11-20T21:17:09Z").unwrap()));
    assert_eq!(dict.int("current"), Some(-10));
    assert_eq!(dict.boolean("flag"), Some(true));
    assert_eq!(dict.uint("text"), None);
    assert_eq!(dict.string("missing"), None);
    assert_eq!(dict.date("when").unwrap().to_string(), "2026-11-20T21:17:09Z");
}

#[test]
fn dates_in_xml_have_whole_seconds() {
    let date = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(1_700_000_000_750);
    let mut entries = plist::Dictionary::new();
    entries.insert("Last Backup Date".into(), Value::Array(vec![Value::Date(date.into())]));
    let text = String::from_utf8(to_xml(&Value::Dictionary(entries))).unwrap();
    assert!(text.contains("<date>2023-11-14T22:13:20Z</date>"), "{text}");
}

#[test]
fn a_date_that_no_calendar_holds_is_refused_and_not_a_panic() {
    for date in [
        "9999-12-31T23:59:59-01:00",
        "0000-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59<!-- -->-01:00",
        "9999-12-31T23:59:59&#45;01:00",
    ] {
        let text = format!("<plist version=\"1.0\"><date>{date}</date></plist>");
        assert!(matches!(parse(text.as_bytes(), &SMALL), Err(Error::Malformed(_))), "{date}");
    }
    for seconds in [-1e11, 1e12, f64::NAN, f64::INFINITY] {
        let bytes = binary(&[[&[0x33][..], &f64::to_be_bytes(seconds)].concat()]);
        assert!(matches!(parse(&bytes, &SMALL), Err(Error::Malformed(_))), "{seconds}");
    }
}

#[test]
fn every_date_that_is_read_can_be_written_again() {
    for text in
        ["0001-01-01T00:00:00Z", "4001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2024-02-29T12:00:00Z"]
    {
        let list = format!("<plist version=\"1.0\"><date>{text}</date></plist>");
        let value = parse(list.as_bytes(), &SMALL).unwrap();
        assert_eq!(parse(&to_binary(&value), &SMALL).unwrap(), value);
        assert_eq!(parse(&to_xml(&value), &SMALL).unwrap(), value);
    }
}

/// An archive's reference has no form of its own in XML.
#[test]
fn a_reference_of_an_archive_is_written_as_apple_writes_it() {
    let value = parse(&binary(&[vec![0xa1, 1], vec![0x80, 7]]), &SMALL).unwrap();
    let again = parse(&to_xml(&value), &SMALL).unwrap();
    let uid = again.as_array().unwrap()[0].as_dictionary().unwrap();
    assert_eq!(uid.uint("CF$UID"), Some(7));
}
