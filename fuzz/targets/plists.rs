//! Property lists, and what is made of those that reach usbmuxd's socket, lockdown, and the files of iCloud Photos.

use idevice_fix::frame::{self, Limits};
use idevice_fix::library::cpl;
use idevice_fix::lockdown::{PairRecord, message as lockdown_message, tls};
use idevice_fix::usbmux::message as mux_message;
use plist::{Dictionary, Value};

use super::grown;
use super::source::Source;

const LIMITS: Limits = Limits::LOCKDOWN_UNTRUSTED;

/// Both forms: what is taken can be written, and is the same when it is read again.
pub(crate) fn frames(bytes: &[u8]) {
    let Ok(value) = frame::parse(bytes, &LIMITS) else { return };
    let wide = Limits { bytes: 16 << 20, ..LIMITS };
    let binary = frame::to_binary(&value);
    let again = frame::parse(&binary, &wide).expect("what was written can be read");
    assert_eq!(frame::to_binary(&again), binary);
    let xml = frame::to_xml(&value);
    let again = frame::parse(&xml, &wide);
    // What XML cannot say (control characters) does not come back; what does is the same.
    if let Ok(again) = again {
        assert_eq!(frame::to_xml(&again), xml);
    }
}

/// Lists in both forms, and parts of some that were seen to be special.
pub(crate) fn seeds() -> Vec<Vec<u8>> {
    let mut inner = Dictionary::new();
    inner.insert("a".into(), Value::Array(vec![1.into(), Value::Real(0.5), Value::Data(vec![1, 2])]));
    inner.insert("b".into(), Value::Date(std::time::SystemTime::UNIX_EPOCH.into()));
    inner.insert("c".into(), "t\u{fc}r".into());
    inner.insert("d".into(), Value::Boolean(true));
    inner.insert("e".into(), Value::Uid(plist::Uid::new(7)));
    let value = Value::Dictionary(inner);
    vec![frame::to_xml(&value), frame::to_binary(&value), b"<plist><array/></plist>".to_vec()]
}

/// What clients and servers of usbmuxd's socket say.
pub(crate) fn usbmux(bytes: &[u8]) {
    const WORDS: &[&str] = &[
        "MessageType",
        "Listen",
        "ListDevices",
        "ListListeners",
        "Connect",
        "DeviceID",
        "PortNumber",
        "ReadBUID",
        "ReadPairRecord",
        "PairRecordID",
        "SavePairRecord",
        "PairRecordData",
        "DeletePairRecord",
        "Attached",
        "Detached",
        "Paired",
        "Properties",
        "SerialNumber",
        "ProductID",
        "LocationID",
        "ConnectionSpeed",
        "ConnectionType",
        "USB",
        "Network",
        "Result",
        "Number",
        "DeviceList",
        "00008101-000000000000001E",
    ];
    if let Some(header) = bytes.first_chunk::<{ mux_message::HEADER_BYTES }>() {
        let header = mux_message::Header::parse(header);
        let body = header.body_bytes(mux_message::REQUEST_BYTES_MAX);
        assert!(body.is_none_or(|body| body + mux_message::HEADER_BYTES <= mux_message::REQUEST_BYTES_MAX));
    }
    let mut source = Source::new(bytes);
    let kind = u32::from(source.byte());
    let _ = mux_message::Request::from_binary(kind, source.take(16));
    let grown = grown::dictionary(&mut Source::new(bytes), WORDS);
    for told in [Some(grown), frame::parse(bytes, &LIMITS).ok().and_then(Value::into_dictionary)]
        .into_iter()
        .flatten()
    {
        if let Ok(request) = mux_message::Request::from_dictionary(&told) {
            assert_eq!(mux_message::Request::from_dictionary(&request.to_dictionary()), Ok(request));
        }
        if let Some(attached) = mux_message::attached_from_dictionary(&told) {
            let again = mux_message::attached_to_dictionary(&attached);
            assert_eq!(mux_message::attached_from_dictionary(&again), Some(attached));
        }
        if let Some(event) = mux_message::event_from_dictionary(&told) {
            let _ = mux_message::event_to_binary(&event);
            let again = mux_message::event_to_dictionary(&event);
            assert_eq!(mux_message::event_from_dictionary(&again), Some(event));
        }
    }
}

/// Requests in both forms.
pub(crate) fn usbmux_seeds() -> Vec<Vec<u8>> {
    use mux_message::Request;
    let udid = "00008101-000000000000001E".to_owned();
    let requests = [
        Request::Listen,
        Request::ReadBuid,
        Request::ReadPairRecord { udid: udid.clone() },
        Request::SavePairRecord { udid, device: None, record: b"record".to_vec() },
    ];
    let mut seeds: Vec<Vec<u8>> =
        requests.iter().map(|request| frame::to_xml(&Value::Dictionary(request.to_dictionary()))).collect();
    seeds.push(mux_message::encode_plist(1, Request::Listen.to_dictionary()));
    seeds.push(vec![2, 1, 0, 0, 0, 0x7e, 0xf2, 0, 0]);
    seeds
}

/// What hosts ask of lockdown, what it answers, and pair records.
pub(crate) fn lockdown(bytes: &[u8]) {
    const WORDS: &[&str] = &[
        "Request",
        "QueryType",
        "GetValue",
        "SetValue",
        "RemoveValue",
        "Pair",
        "ValidatePair",
        "Unpair",
        "StartSession",
        "StopSession",
        "StartService",
        "EnterRecovery",
        "Goodbye",
        "Domain",
        "Key",
        "Value",
        "PairRecord",
        "PairingOptions",
        "HostID",
        "SystemBUID",
        "SessionID",
        "Service",
        "EscrowBag",
        "Error",
        "InvalidHostID",
        "PasswordProtected",
        "DeviceCertificate",
        "HostCertificate",
        "HostPrivateKey",
        "RootCertificate",
        "RootPrivateKey",
        "WiFiMACAddress",
        "Result",
        "Success",
    ];
    let grown = grown::dictionary(&mut Source::new(bytes), WORDS);
    for told in [Some(grown), frame::parse(bytes, &LIMITS).ok().and_then(Value::into_dictionary)]
        .into_iter()
        .flatten()
    {
        if let Some(request) = lockdown_message::Request::from_dictionary(&told) {
            let _ = (request.name().len(), request.to_dictionary());
        }
        if let Some(refusal) = lockdown_message::refusal_of(&told) {
            assert!(!refusal.name().is_empty());
        }
        if let Ok(record) = PairRecord::from_dictionary(told) {
            let again = PairRecord::from_plist(&record.to_plist());
            let _ = (again, record.public_part(), tls::client_config(&record).is_ok(), format!("{record:?}"));
        }
    }
}

/// A request and a record.
pub(crate) fn lockdown_seeds() -> Vec<Vec<u8>> {
    let mut asked = Dictionary::new();
    asked.insert("Request".into(), "GetValue".into());
    asked.insert("Domain".into(), "com.apple.mobile.battery".into());
    let mut record = Dictionary::new();
    for key in ["HostID", "SystemBUID"] {
        record.insert(key.into(), "30142955-444094379208051516".into());
    }
    for key in ["DeviceCertificate", "HostCertificate", "HostPrivateKey"] {
        record.insert(
            key.into(),
            Value::Data(b"-----BEGIN CERTIFICATE-----\nMAo=\n-----END CERTIFICATE-----\n".to_vec()),
        );
    }
    let binary = frame::to_binary(&Value::Dictionary(record.clone()));
    vec![frame::to_xml(&Value::Dictionary(asked)), frame::to_xml(&Value::Dictionary(record)), binary]
}

/// The files of the iCloud Photos engine.
pub(crate) fn cloud_photos(bytes: &[u8]) {
    const WORDS: &[&str] = &[
        "isExceedingQuota",
        "lastSuccessfulSyncDate",
        "iCloudLibraryExists",
        "isInLowPowerMode",
        "cloudAssetCountPerType",
        "hasBatteryBudget",
        "isConstrainedNetwork",
        "syncStatus",
        "engineStatus",
        "pauseReason",
        "date",
        "enabled",
        "public.image",
        "public.movie",
        "count",
        "NSPersistentStoreUIDKey",
        "$objects",
        "$top",
        "root",
    ];
    let grown = frame::to_binary(&grown::value(&mut Source::new(bytes), WORDS));
    for bytes in [bytes, &grown] {
        let _ = cpl::sync_status(bytes, None);
        let _ = cpl::marker(bytes);
        let _ = cpl::switchings(bytes).map(cpl::in_order);
        let _ = cpl::download_counts(bytes);
        let _ = cpl::server_configuration(bytes);
        let _ = cpl::pause(bytes);
        let _ = cpl::reset_pending(bytes);
        let _ = cpl::metrics(bytes);
    }
}
