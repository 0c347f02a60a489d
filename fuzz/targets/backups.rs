//! Backups: what phone and host say, the stream of files, and the keys and rows of one that lies in a folder.

use futures_util::FutureExt as _;
use idevice_fix::backup::Secret;
use idevice_fix::backup::keybag::{Keybag, Keys};
use idevice_fix::backup::mbfile::MbFile;
use idevice_fix::frame::{self, Limits};
use idevice_fix::mobilebackup2::folder::Place;
use idevice_fix::mobilebackup2::message::DeviceMessage;
use idevice_fix::mobilebackup2::request::HostMessage;
use idevice_fix::mobilebackup2::stream::{Piece, Reader, Writer};
use idevice_fix::usbmux::Udid;
use plist::{Dictionary, Value};

use super::grown;
use super::source::Source;

const UDID: &str = "00008101-000000000000001E";
const WORDS: &[&str] = &[
    "DLMessageVersionExchange",
    "DLMessageDeviceReady",
    "DLMessageProcessMessage",
    "DLMessageGetFreeDiskSpace",
    "DLMessagePurgeDiskSpace",
    "DLMessageCreateDirectory",
    "DLContentsOfDirectory",
    "DLMessageMoveItems",
    "DLMessageRemoveItems",
    "DLMessageCopyItem",
    "DLMessageDownloadFiles",
    "DLMessageUploadFiles",
    "DLMessageDisconnect",
    "DLMessageStatusResponse",
    "DLVersionsOk",
    "___EmptyParameterString___",
    "MessageName",
    "ErrorCode",
    "ErrorDescription",
    "ProtocolVersion",
    "Content",
    "Response",
    "Hello",
    "Backup",
    "Restore",
    "Info",
    "List",
    "Unback",
    "Extract",
    "ChangePassword",
    "EnableCloudBackup",
    "EraseDevice",
    "TargetIdentifier",
    "SourceIdentifier",
    "Options",
    "ForceFullBackup",
    "OldPassword",
    "NewPassword",
    "Password",
    "CloudBackupState",
    "SupportedProtocolVersions",
    "DomainName",
    "RelativePath",
    "RestoreSystemFiles",
    "RestoreShouldReboot",
    "00008101-000000000000001E/Manifest.db",
    "../../etc/passwd",
    "/",
    "",
];

/// What either side says: what is understood is understood again when it is said again.
pub(crate) fn messages(bytes: &[u8]) {
    let limits = Limits { bytes: 1 << 20, ..Limits::DEVICELINK };
    let mut source = Source::new(bytes);
    let mut elements = vec![grown::value(&mut source, WORDS)];
    for _ in 0..source.byte() % 6 {
        elements.push(grown::value(&mut source, WORDS));
    }
    let told = [Some(Value::Array(elements)), frame::parse(bytes, &limits).ok()];
    for value in told.into_iter().flatten() {
        if let Ok(message) = DeviceMessage::from_value(value.clone()) {
            places(&message);
            let again = message.to_value();
            let understood = DeviceMessage::from_value(again.clone()).expect("what was written is a message");
            assert_same(&understood.to_value(), &again);
        }
        if let Ok(message) = HostMessage::from_value(value) {
            let again = message.to_value();
            let understood = HostMessage::from_value(again.clone()).expect("what was written is a message");
            assert_same(&understood.to_value(), &again);
        }
    }
}

/// As bytes: a number that is none differs from itself.
fn assert_same(one: &Value, other: &Value) {
    assert_eq!(frame::to_binary(one), frame::to_binary(other), "{one:?}, {other:?}");
}

/// No path of a phone leaves its folder.
fn places(message: &DeviceMessage) {
    let udid = Udid::parse(UDID).expect("well formed");
    let paths: Vec<&String> = match message {
        DeviceMessage::MoveItems { items, .. } => items.iter().flat_map(|(from, to)| [from, to]).collect(),
        DeviceMessage::RemoveItems { paths, .. } | DeviceMessage::DownloadFiles { paths, .. } => {
            paths.iter().collect()
        }
        DeviceMessage::CreateDirectory { path } | DeviceMessage::ContentsOfDirectory { path } => vec![path],
        _ => return,
    };
    for place in paths.into_iter().filter_map(|path| Place::parse(&udid, path).ok()) {
        assert!(!place.relative().split('/').any(|part| part == ".." || part == "."));
        assert!(!place.relative().starts_with('/') && !place.relative().contains('\0'));
    }
}

/// A message of each side.
pub(crate) fn message_seeds() -> Vec<Vec<u8>> {
    let path = format!("{UDID}/Snapshot/a");
    let items = vec![(path.clone(), format!("{UDID}/ab/abcdef"))];
    let messages = [
        DeviceMessage::VersionExchange { major: 400, minor: 0 },
        DeviceMessage::MoveItems { items, progress: 5.0 },
        DeviceMessage::DownloadFiles { paths: vec![path], progress: 1.0 },
        DeviceMessage::UploadFiles { progress: 1.0, total_bytes: 9 },
    ];
    let mut seeds: Vec<Vec<u8>> =
        messages.iter().map(|message| frame::to_binary(&message.to_value())).collect();
    let versions = HostMessage::Hello { versions: vec![2.0, 2.1] };
    seeds.push(frame::to_binary(&versions.to_value()));
    seeds.push(frame::to_xml(&HostMessage::VersionOk { major: 400 }.to_value()));
    seeds
}

/// The stream of files that follows an upload message.
pub(crate) fn streams(bytes: &[u8]) {
    let mut stream = bytes;
    let taken = async {
        let mut reader = Reader::new(&mut stream);
        while let Ok(Some(_)) = reader.name().await {
            let _ = reader.name().await;
            loop {
                let mut piece = Vec::new();
                match reader.piece(&mut piece, 4096).await {
                    Ok(Piece::Data(taken)) => assert!(taken == piece.len() && taken <= 4096),
                    Ok(Piece::End(_)) => break,
                    Err(_) => return,
                }
            }
        }
    };
    taken.now_or_never().expect("bytes that are there are not waited for");
}

/// Two files, one of which the phone refuses.
pub(crate) fn stream_seeds() -> Vec<Vec<u8>> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    let written = async {
        let mut writer = Writer::new(&mut bytes);
        for (content, code) in [(&b"content"[..], 0), (b"", 6)] {
            writer.name(b"/var/a").await?;
            writer.name(b"U/a").await?;
            writer.data(content).await?;
            writer.end(code, "why").await?;
        }
        writer.finish().await
    };
    written.now_or_never().expect("memory is not waited for").expect("memory takes everything");
    vec![bytes.into_inner()]
}

/// The keybag of an encrypted backup, and keys that it wraps.
pub(crate) fn keybag(bytes: &[u8]) {
    let _ = Keybag::parse(bytes);
    let mut source = Source::new(bytes);
    let keys = Keys::of([(1, Secret::new(source.take(32).to_vec())), (3, Secret::new(vec![7; 32]))]);
    let _ = keys.unwrap(source.take(64));
}

/// A small bag, as the format's describers show it.
pub(crate) fn keybag_seeds() -> Vec<Vec<u8>> {
    let tag = |name: &[u8; 4], value: &[u8]| {
        let length = u32::try_from(value.len()).expect("short");
        [&name[..], &length.to_be_bytes(), value].concat()
    };
    let number = |name, value: u32| tag(name, &value.to_be_bytes());
    let head = [
        number(b"VERS", 4),
        number(b"TYPE", 1),
        tag(b"UUID", &[1; 16]),
        tag(b"SALT", &[2; 20]),
        number(b"ITER", 10),
        tag(b"DPSL", &[3; 20]),
        number(b"DPIC", 10),
    ];
    let class = [
        tag(b"UUID", &[4; 16]),
        number(b"CLAS", 3),
        number(b"WRAP", 2),
        number(b"KTYP", 0),
        tag(b"WPKY", &[5; 40]),
    ];
    vec![[head.concat(), class.concat()].concat(), head.concat()]
}

/// A row's archive.
pub(crate) fn manifest(bytes: &[u8]) {
    const NAMES: &[&str] = &[
        "$objects",
        "$top",
        "root",
        "$null",
        "RelativePath",
        "Size",
        "Mode",
        "Target",
        "EncryptionKey",
        "NS.data",
        "CF$UID",
        "Flags",
        "InodeNumber",
        "LastModified",
        "Birth",
    ];
    let mut grown = Dictionary::new();
    let mut source = Source::new(bytes);
    let mut top = Dictionary::new();
    top.insert("root".into(), Value::Uid(plist::Uid::new(source.byte().into())));
    grown.insert("$top".into(), Value::Dictionary(top));
    let count = source.byte() % 8;
    grown.insert(
        "$objects".into(),
        Value::Array((0..count).map(|_| grown::value(&mut source, NAMES)).collect()),
    );
    for bytes in [bytes, &frame::to_binary(&Value::Dictionary(grown))] {
        if let Ok(file) = MbFile::parse(bytes) {
            let again = MbFile::parse(&file.to_archive()).expect("what was written can be read");
            assert_eq!(again.size, file.size);
        }
    }
}

/// The archive of a file.
pub(crate) fn manifest_seeds() -> Vec<Vec<u8>> {
    let mut objects = vec![Value::from("$null")];
    let mut root = Dictionary::new();
    root.insert("Size".into(), 7.into());
    root.insert("RelativePath".into(), Value::Uid(plist::Uid::new(2)));
    objects.extend([Value::Dictionary(root), "Media/DCIM/a".into()]);
    let mut top = Dictionary::new();
    top.insert("root".into(), Value::Uid(plist::Uid::new(1)));
    let mut archive = Dictionary::new();
    archive.insert("$objects".into(), Value::Array(objects));
    archive.insert("$top".into(), Value::Dictionary(top));
    vec![frame::to_binary(&Value::Dictionary(archive))]
}
