//! Replies of a real iPhone, as others recorded them, go through our parsers; so do replies made for the project in the
//! same form, which need no files.
//!
//! The recordings are those of appium-ios-device's tests. They are read where `IDEVICE_FIX_FIXTURES` names the folder
//! that holds them, in `wire/appium`.

use std::path::PathBuf;

use idevice_fix::afc::packet::{HEADER_BYTES, Header, Operation};
use idevice_fix::frame::{self, DictExt, Encoding, Limits};
use idevice_fix::lockdown::message;
use idevice_fix::usbmux::message as mux;
use plist::{Dictionary, Value};

/// A recorded file, or a printed line that it was not there.
fn recorded(name: &str) -> Option<Vec<u8>> {
    let Some(fixtures) = std::env::var_os("IDEVICE_FIX_FIXTURES") else {
        eprintln!("skipped {name}: IDEVICE_FIX_FIXTURES names no folder");
        return None;
    };
    let path = PathBuf::from(fixtures).join("wire/appium").join(name);
    Some(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

fn dict<const N: usize>(entries: [(&str, Value); N]) -> Dictionary {
    entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// All frames of a conversation; the last must end where the bytes end.
async fn frames(mut bytes: &[u8]) -> Vec<Dictionary> {
    let mut all = Vec::new();
    loop {
        match frame::read(&mut bytes, &Limits::LOCKDOWN).await {
            Ok(value) => all.push(value.into_dictionary().unwrap()),
            Err(frame::Error::Closed) => return all,
            Err(error) => panic!("{error}"),
        }
    }
}

fn framed(replies: &[Dictionary], encoding: Encoding) -> Vec<u8> {
    replies.iter().flat_map(|reply| frame::encode(&Value::Dictionary(reply.clone()), encoding)).collect()
}

/// One message of the socket's protocol, and what follows it.
fn mux_message(bytes: &[u8]) -> (Dictionary, &[u8]) {
    let header = mux::Header::parse(bytes.first_chunk().unwrap());
    assert_eq!((header.version, header.kind), (1, mux::kind::PLIST));
    let end = mux::HEADER_BYTES + header.body_bytes(mux::REPLY_BYTES_MAX).unwrap();
    let body = frame::parse(&bytes[mux::HEADER_BYTES..end], &Limits::LOCKDOWN_UNTRUSTED).unwrap();
    (body.into_dictionary().unwrap(), &bytes[end..])
}

fn a_listed_phone(bytes: &[u8]) {
    let (reply, rest) = mux_message(bytes);
    assert!(rest.is_empty());
    let list = reply.array("DeviceList").unwrap();
    let phones: Vec<_> =
        list.iter().map(|entry| mux::attached_from_dictionary(entry.as_dictionary().unwrap())).collect();
    assert_eq!(phones.len(), 1);
    let phone = phones[0].as_ref().unwrap();
    assert!((0x1290..=0x12af).contains(&phone.product_id));
    assert_eq!(phone.speed_bps, 480_000_000);
    assert_eq!(phone.udid.as_str().len(), 40);
}

#[test]
fn lists_of_devices() {
    let phone = idevice_fix::usbmux::Attached {
        id: idevice_fix::usbmux::DeviceId(1),
        udid: idevice_fix::usbmux::Udid::parse("0123456789abcdef0123456789abcdef01234567").unwrap(),
        product_id: 0x12a8,
        location_id: 0x1442_0000,
        speed_bps: 480_000_000,
    };
    let entry = Value::Dictionary(mux::attached_to_dictionary(&phone));
    a_listed_phone(&mux::encode_plist(0, dict([("DeviceList", Value::Array(vec![entry]))])));
    for name in ["usbmuxlistdevicemessage.bin", "usbmuxlistdevicemessage2.bin"] {
        recorded(name).as_deref().map(a_listed_phone);
    }
}

fn a_value(key: &str) -> impl Fn(&[Dictionary]) + '_ {
    move |replies| {
        let [reply] = replies else { panic!("{} replies", replies.len()) };
        assert_eq!(message::refusal_of(reply), None);
        assert_eq!((reply.string("Request"), reply.string("Key")), (Some("GetValue"), Some(key)));
        assert!(reply.contains_key("Value"));
    }
}

#[tokio::test]
async fn values_of_lockdown() {
    let mut made = message::reply("GetValue");
    made.extend(dict([("Key", "ProductVersion".into()), ("Value", "18.4.1".into())]));
    for encoding in [Encoding::Xml, Encoding::Binary] {
        a_value("ProductVersion")(&frames(&framed(&[made.clone()], encoding)).await);
    }
    if let Some(bytes) = recorded("lockdowngetvaluemessage.bin") {
        a_value("ProductVersion")(&frames(&bytes).await);
    }
    if let Some(bytes) = recorded("lockdowngettimemessage.bin") {
        let replies = frames(&bytes).await;
        a_value("TimeIntervalSince1970")(&replies);
        assert!(replies[0].real("Value").unwrap() > 1_500_000_000.0);
    }
    if let Some(bytes) = recorded("lockdownquerytypemessage.bin") {
        assert_eq!(frames(&bytes).await[0].string("Type"), Some(message::TYPE));
    }
}

/// After a Connect that succeeded the socket carries lockdown's own frames.
async fn a_connection_to_lockdown(bytes: &[u8]) {
    let (result, rest) = mux_message(bytes);
    assert_eq!(result.string("MessageType"), Some("Result"));
    assert_eq!(result.uint("Number"), Some(0));
    assert!(!frames(rest).await.is_empty());
}

#[tokio::test]
async fn a_socket_that_becomes_a_connection() {
    let mut made = mux::encode_plist(1, mux::result(mux::ResultCode::OK));
    made.extend(framed(&[message::reply("QueryType")], Encoding::Xml));
    a_connection_to_lockdown(&made).await;
    if let Some(bytes) = recorded("usbmuxconnectandlockdown.bin") {
        a_connection_to_lockdown(&bytes).await;
    }
    if let Some(bytes) = recorded("usbmuxconnectmessage.bin") {
        assert_eq!(mux_message(&bytes).0.uint("Number"), Some(0));
    }
}

fn pages_of_apps(pages: &[Dictionary]) {
    let (last, lists) = pages.split_last().unwrap();
    assert_eq!(last.string("Status"), Some("Complete"));
    let apps = lists.iter().flat_map(|page| page.array("CurrentList").unwrap());
    for app in apps {
        assert!(app.as_dictionary().unwrap().string("CFBundleIdentifier").is_some());
    }
}

#[tokio::test]
async fn lists_of_apps() {
    let app = Value::Dictionary(dict([("CFBundleIdentifier", "com.example.app".into())]));
    let page = dict([("Status", "BrowsingApplications".into()), ("CurrentList", Value::Array(vec![app]))]);
    let made = framed(&[page, dict([("Status", "Complete".into())])], Encoding::Binary);
    pages_of_apps(&frames(&made).await);
    if let Some(bytes) = recorded("installationproxylistmessage.bin") {
        pages_of_apps(&frames(&bytes).await);
    }
    if let Some(bytes) = recorded("installationproxyinstallmessage.bin") {
        assert_eq!(frames(&bytes).await.last().unwrap().string("Status"), Some("Complete"));
    }
}

#[test]
fn headers_of_the_file_service() {
    for (name, operation) in [
        ("afcfileinforesponse.bin", Operation::Data),
        ("afclistdirresponse.bin", Operation::Data),
        ("afcsuccessresponse.bin", Operation::Status),
    ] {
        let Some(bytes) = recorded(name) else { continue };
        let header = Header::parse(bytes.first_chunk::<HEADER_BYTES>().unwrap()).unwrap();
        assert_eq!(Operation::from_raw(header.operation), Some(operation), "{name}");
        assert_eq!(header.body() as usize + HEADER_BYTES, bytes.len(), "{name}");
    }
}
