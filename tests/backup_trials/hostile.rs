//! A phone that means harm: bad paths in every message, bad lengths, bad property lists, bad codes.

use idevice_fix::frame;
use idevice_fix::mobilebackup2::host::{Outcome, Patience};
use idevice_fix::mobilebackup2::message::DeviceMessage;
use idevice_fix::mobilebackup2::stream::{Piece, Reader};
use plist::{Dictionary, Value};

use super::scripted::{OTHER, Phone, Place, UDID, peak_memory, words};

const MEMORY_MAX: u64 = 256 << 20;

/// What a phone may not name.
fn bad_paths() -> Vec<String> {
    let mut bad: Vec<String> = [
        "",
        "/",
        "//",
        ".",
        "..",
        "./",
        "../",
        "../x",
        "../../x",
        "/etc/passwd",
        "/etc/cron.d/x",
        "~/x",
        "\\",
        "..\\x",
        "C:\\x",
        "incoming",
        "incoming/0",
        "\0",
        " ",
        "\n",
        "x",
        OTHER,
    ]
    .map(str::to_owned)
    .into();
    bad.extend([
        format!("{OTHER}/Manifest.db"),
        format!("{UDID}/../{OTHER}/Manifest.db"),
        format!("{UDID}/.."),
        format!("{UDID}/../"),
        format!("{UDID}/../../outside/secret"),
        format!("{UDID}/."),
        format!("{UDID}/./x"),
        format!("{UDID}//x"),
        format!("{UDID}/x/"),
        format!("{UDID}/x/../../x"),
        format!("{UDID}/ab/../../{OTHER}/x"),
        format!("{UDID}/a\0b"),
        format!("../root/{UDID}/x"),
        format!("//{UDID}/x"),
        format!("{UDID}\\x"),
        format!("{UDID}x/x"),
        UDID.to_lowercase() + "/x",
        format!("{UDID}/{}", "d/".repeat(16) + "x"),
        format!("{UDID}/{}", "n".repeat(4096 - UDID.len() - 1)),
        format!("{UDID}/folder-link/new"),
        format!("{UDID}/folder-link/secret"),
        format!("{UDID}/Manifest.db/below-a-file"),
    ]);
    bad
}

/// Every message that names a path, with this one.
fn naming(path: &str) -> Vec<DeviceMessage> {
    let (bad, good) = (path.to_owned(), format!("{UDID}/Manifest.db"));
    vec![
        DeviceMessage::CreateDirectory { path: bad.clone() },
        DeviceMessage::ContentsOfDirectory { path: bad.clone() },
        DeviceMessage::MoveItems { items: vec![(bad.clone(), good.clone())], progress: 0.0 },
        DeviceMessage::MoveItems { items: vec![(good.clone(), bad.clone())], progress: 0.0 },
        DeviceMessage::RemoveItems { paths: vec![bad.clone()], progress: 0.0 },
        DeviceMessage::CopyItem { from: bad.clone(), to: format!("{UDID}/copy") },
        DeviceMessage::CopyItem { from: good, to: bad },
    ]
}

/// Wants a file back; gives what came of it.
async fn download(phone: &mut Phone, path: &str) -> (Vec<u8>, i64) {
    phone.say(DeviceMessage::DownloadFiles { paths: vec![path.to_owned()], progress: 0.0 }).await;
    let mut got = Vec::new();
    let mut reader = Reader::new(&mut phone.0);
    while reader.name().await.unwrap().is_some() {
        while let Piece::Data(_) = reader.piece(&mut got, 1 << 16).await.unwrap() {}
    }
    (got, phone.status().await.code)
}

#[tokio::test]
async fn no_bad_path_in_any_message_reaches_anything() {
    let place = Place::new();
    let report = place.backup(Patience::default(), |mut phone| async move {
        for path in bad_paths() {
            for message in naming(&path) {
                let shown = format!("{message:?}");
                assert!(phone.ask(message).await.code < 0, "{shown}");
            }
            assert_eq!(download(&mut phone, &path).await, (Vec::new(), -13), "{path:?} was given away");
            if !path.is_empty() {
                assert_eq!(phone.upload(path.as_bytes(), b"evil").await.code, -13, "{path:?}");
            }
        }
        for bytes in [&b"\xff\xfe"[..], b"00008101-000000000000001E/\xc3\x28"] {
            assert_eq!(phone.upload(bytes, b"evil").await.code, -13, "{bytes:?}");
        }
        phone.done(1).await;
    });
    let report = report.await;
    assert!(
        matches!(report.outcome, Outcome::HostError(_) | Outcome::DeviceError { .. }),
        "{:?}",
        report.outcome
    );
    assert!(report.notes.len() > 100, "refusals are noted");
    assert_eq!(std::fs::read(place.own("Manifest.db")).unwrap(), b"own");
}

#[tokio::test]
async fn the_whole_folder_can_be_listed_and_nothing_else_done_to_it() {
    let place = Place::new();
    let report = place.backup(Patience::default(), |mut phone| async move {
        for path in [UDID.to_owned(), format!("/{UDID}")] {
            for message in naming(&path) {
                let allowed = matches!(
                    message,
                    DeviceMessage::CreateDirectory { .. } | DeviceMessage::ContentsOfDirectory { .. }
                );
                let shown = format!("{message:?}");
                assert_eq!(phone.ask(message).await.code == 0, allowed, "{shown}");
            }
            assert_eq!(phone.upload(path.as_bytes(), b"evil").await.code, -13);
        }
        phone.done(1).await;
    });
    assert!(matches!(report.await.outcome, Outcome::DeviceError { code: 1, .. }));
    assert_eq!(std::fs::read(place.own("Manifest.db")).unwrap(), b"own");
}

#[tokio::test]
async fn links_folders_and_files_in_each_others_place() {
    let place = Place::new();
    let report = place.backup(Patience::default(), |mut phone| async move {
        let at = |name: &str| format!("{UDID}/{name}");
        // A file takes the place of a link, not of what it points to; nothing is made below one.
        assert_eq!(phone.upload(at("file-link").as_bytes(), b"new").await.code, 0);
        assert_eq!(phone.upload(at("folder-link/x").as_bytes(), b"evil").await.code, -13);
        assert!(phone.ask(DeviceMessage::CreateDirectory { path: at("folder-link") }).await.code < 0);
        let items = vec![(at("Manifest.db"), at("folder-link/x"))];
        assert!(phone.ask(DeviceMessage::MoveItems { items, progress: 0.0 }).await.code < 0);
        // The same file twice: the later one stands.
        assert_eq!(phone.upload(at("twice").as_bytes(), b"first").await.code, 0);
        assert_eq!(phone.upload(at("twice").as_bytes(), b"second").await.code, 0);
        // A file, then a folder of its name; a folder, then a file.
        assert!(phone.ask(DeviceMessage::CreateDirectory { path: at("twice") }).await.code < 0);
        assert!(phone.ask(DeviceMessage::CreateDirectory { path: at("twice/below") }).await.code < 0);
        assert_eq!(phone.upload(at("ab").as_bytes(), b"a file").await.code, -13);
        // On Unix a backslash is a letter, and so is a name in another case.
        assert_eq!(phone.upload(at("a\\..\\b").as_bytes(), b"plain").await.code, 0);
        assert_eq!(phone.upload(at("TWICE").as_bytes(), b"other").await.code, 0);
        phone.done(1).await;
    });
    report.await;
    assert_eq!(std::fs::read(place.own("file-link")).unwrap(), b"new");
    assert_eq!(std::fs::read(place.own("twice")).unwrap(), b"second");
    assert!(place.own("ab").is_dir() && place.own("folder-link").is_symlink());
    assert_eq!(std::fs::read(place.own("a\\..\\b")).unwrap(), b"plain");
}

/// A phone that says these bytes where a message is due: at the greeting, and after the request. Tells the words of each.
async fn instead_of_a_message(bytes: Vec<u8>) -> [String; 2] {
    let said = bytes.clone();
    let place = Place::new();
    let greeting = place.unasked(Patience::default(), |mut phone| async move {
        phone.raw(&said).await;
    });
    let greeting = greeting.await.unwrap_err().to_string();
    let report = place.backup(Patience::default(), |mut phone| async move {
        phone.raw(&bytes).await;
    });
    [greeting, words(&report.await.outcome)]
}

#[tokio::test]
async fn no_length_and_no_property_list_takes_memory_and_each_is_told_with_its_message() {
    let framed = |body: &[u8]| [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat();
    let nested = |open: &str, close: &str| {
        let text =
            format!("<plist version=\"1.0\">{}{}</plist>", open.repeat(100_000), close.repeat(100_000));
        framed(text.as_bytes())
    };
    let mut bad = vec![
        framed(b"no property list"),
        nested("<array>", "</array>"),
        nested("<dict><key>k</key>", "</dict>"),
        // A binary list whose only object says that it has 2^60 elements, and one that holds itself.
        framed(b"bplist00\xaf\x13\x10\x00\x00\x00\x00\x00\x00\x00\x08\0\0\0\0\0\0\x01\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x12"),
        framed(b"bplist00\xa1\x00\x08\0\0\0\0\0\0\x01\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x0a"),
    ];
    bad.extend([0u32, 1, 1 << 26, 1 << 31, u32::MAX].map(|length| length.to_be_bytes().to_vec()));
    for bytes in bad {
        let shown = bytes[..bytes.len().min(40)].to_vec();
        let [greeting, later] = instead_of_a_message(bytes).await;
        assert!(greeting.contains("the version"), "{shown:?}: {greeting}");
        assert!(later.contains("its next message"), "{shown:?}: {later}");
    }
    assert!(peak_memory() <= MEMORY_MAX, "{} MiB", peak_memory() >> 20);
}

#[tokio::test]
async fn no_length_in_a_stream_takes_memory_and_each_is_told_with_its_file() {
    for length in [0u32, 1 << 31, u32::MAX] {
        let place = Place::new();
        let name = place.backup(Patience::default(), move |mut phone| async move {
            phone.say(DeviceMessage::UploadFiles { progress: 0.0, total_bytes: 0 }).await;
            phone.raw(&length.to_be_bytes()).await;
            phone.hear().await;
        });
        let told = words(&name.await.outcome);
        // No name ends the stream: then the next message is due.
        let due = if length == 0 { "its next message" } else { "the name of a file" };
        assert!(told.contains(due), "{length}: {told}");
        for code in [0x0C, 0x0B, 0x00] {
            let block = place.backup(Patience::default(), move |mut phone| async move {
                phone.begins_file(format!("{UDID}/some-file").as_bytes()).await;
                phone.raw(&length.to_be_bytes()).await;
                phone.raw(&[code]).await;
                phone.raw(&[7; 100_000]).await;
            });
            let told = words(&block.await.outcome);
            assert!(told.contains("some-file"), "{length} {code}: {told}");
        }
    }
    assert!(peak_memory() <= MEMORY_MAX, "{} MiB", peak_memory() >> 20);
}

#[tokio::test]
async fn no_code_but_zero_is_a_success_however_it_is_written() {
    let codes = [
        Value::from(-1i64),
        Value::from(u64::MAX),
        Value::from(0xFFFF_FFFFu64),
        Value::from(i64::MIN),
        Value::Real(-1.0),
        Value::from("-1"),
        Value::from("0"),
        Value::Boolean(false),
        Value::Data(vec![0]),
    ];
    for code in codes.into_iter().map(Some).chain([None]) {
        let shown = format!("{code:?}");
        let mut body = Dictionary::new();
        body.insert("MessageName".into(), "Response".into());
        body.extend(code.map(|code| ("ErrorCode".to_owned(), code)));
        let message = Value::Array(vec!["DLMessageProcessMessage".into(), Value::Dictionary(body)]);
        let xml = frame::to_xml(&message);
        let binary = frame::to_binary(&message);
        for bytes in [xml, binary] {
            let place = Place::new();
            let report = place.backup(Patience::default(), |mut phone| async move {
                let status = [("SnapshotState".to_owned(), Value::from("finished"))];
                let status = frame::to_binary(&Value::Dictionary(status.into_iter().collect()));
                phone.upload(format!("{UDID}/Status.plist").as_bytes(), &status).await;
                phone.raw(&u32::try_from(bytes.len()).unwrap().to_be_bytes()).await;
                phone.raw(&bytes).await;
                phone.hear().await;
            });
            let outcome = report.await.outcome;
            assert!(
                matches!(outcome, Outcome::DeviceError { code, .. } if code != 0),
                "{shown}: {outcome:?}"
            );
        }
    }
}
