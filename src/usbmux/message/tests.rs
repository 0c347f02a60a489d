//! Messages there and back, and what is broken in them.

use super::*;

fn phone() -> Attached {
    Attached {
        id: DeviceId(7),
        udid: Udid::parse("00008101-000000000000001E").unwrap(),
        product_id: 0x12a8,
        location_id: 0x1_0002,
        speed_bps: 480_000_000,
    }
}

#[test]
fn requests_come_back_as_they_went() {
    let udid = || "00008101-000000000000001E".to_owned();
    for request in [
        Request::Listen,
        Request::ListDevices,
        Request::ListListeners,
        Request::Connect { device: DeviceId(3), port: 62078 },
        Request::ReadBuid,
        Request::ReadPairRecord { udid: udid() },
        Request::SavePairRecord { udid: udid(), device: Some(DeviceId(3)), record: vec![1, 2] },
        Request::SavePairRecord { udid: udid(), device: None, record: vec![] },
        Request::DeletePairRecord { udid: udid() },
    ] {
        assert_eq!(Request::from_dictionary(&request.to_dictionary()), Ok(request));
    }
}

#[test]
fn the_port_travels_in_network_byte_order() {
    let dict = Request::Connect { device: DeviceId(1), port: 62078 }.to_dictionary();
    assert_eq!(dict.uint("PortNumber"), Some(32498));
    let body = [1, 0, 0, 0, 0xf2, 0x7e, 0, 0];
    let request = Request::from_binary(kind::CONNECT, &body);
    assert_eq!(request, Ok(Request::Connect { device: DeviceId(1), port: 62078 }));
}

#[test]
fn a_broken_request_is_answered_with_a_number() {
    let mut dict = message("Connect");
    assert_eq!(Request::from_dictionary(&dict), Err(ResultCode::BAD_DEVICE));
    dict.insert("DeviceID".into(), 1.into());
    dict.insert("PortNumber".into(), 70_000.into());
    assert_eq!(Request::from_dictionary(&dict), Err(ResultCode::BAD_COMMAND));
    assert_eq!(Request::from_dictionary(&message("ReadPairRecord")), Err(ResultCode::INVALID));
    assert_eq!(Request::from_dictionary(&message("Dance")), Err(ResultCode::BAD_COMMAND));
    assert_eq!(Request::from_dictionary(&Dictionary::new()), Err(ResultCode::BAD_COMMAND));
    assert_eq!(Request::from_binary(kind::CONNECT, &[1, 0, 0, 0, 0xf2]), Err(ResultCode::BAD_COMMAND));
}

#[test]
fn events_come_back_as_they_went_and_strangers_are_left_out() {
    for event in [Event::Attached(phone()), Event::Detached(DeviceId(7)), Event::Paired(DeviceId(7))] {
        assert_eq!(event_from_dictionary(&event_to_dictionary(&event)), Some(event));
    }
    let mut network = attached_to_dictionary(&phone());
    let properties = network.get_mut("Properties").and_then(Value::as_dictionary_mut).unwrap();
    properties.insert("ConnectionType".into(), "Network".into());
    assert_eq!(attached_from_dictionary(&network), None);
    let mut nameless = attached_to_dictionary(&phone());
    let properties = nameless.get_mut("Properties").and_then(Value::as_dictionary_mut).unwrap();
    properties.insert("SerialNumber".into(), "../../etc".into());
    assert_eq!(attached_from_dictionary(&nameless), None);
}

#[test]
fn the_old_form_of_an_attached_device_has_its_fixed_size() {
    let (kind, body) = event_to_binary(&Event::Attached(phone()));
    assert_eq!((kind, body.len()), (kind::DEVICE_ADD, 4 + 2 + 256 + 2 + 4));
    assert_eq!(&body[6..31], b"00008101-000000000000001E");
    assert_eq!(&body[264..], &0x1_0002_u32.to_le_bytes());
}

#[test]
fn a_header_is_little_endian_and_its_length_is_checked() {
    let bytes = encode(Version::Plist, kind::PLIST, 9, b"abc");
    assert_eq!(bytes[..4], [19, 0, 0, 0]);
    let header = Header::parse(bytes.first_chunk().unwrap());
    assert_eq!(header, Header { length: 19, version: 1, kind: 8, tag: 9 });
    assert_eq!(header.body_bytes(REPLY_BYTES_MAX), Some(3));
    assert_eq!(Header { length: 15, ..header }.body_bytes(REPLY_BYTES_MAX), None);
    assert_eq!(Header { length: u32::MAX, ..header }.body_bytes(REPLY_BYTES_MAX), None);
}
