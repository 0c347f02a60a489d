//! A phone that never ends, and one that falls silent.

use std::future::pending;
use std::time::Duration;

use idevice_fix::mobilebackup2::host::{Outcome, Patience};
use idevice_fix::mobilebackup2::message::{DeviceMessage, Response};

use super::scripted::{Phone, Place, UDID, peak_memory, words};

const MEMORY_MAX: u64 = 256 << 20;
const SHORT: Duration = Duration::from_millis(60);

#[tokio::test]
async fn messages_and_files_without_end_are_ended() {
    let patience = Patience { steps: 300, ..Patience::default() };
    let place = Place::new();
    let report = place.backup(patience, |mut phone| async move {
        loop {
            phone.say(DeviceMessage::FreeDiskSpace).await;
            if phone.hear().await.is_none() {
                break;
            }
        }
    });
    assert!(words(&report.await.outcome).contains("more than 300 messages"));
    let report = place.backup(patience, |mut phone| async move {
        phone.say(DeviceMessage::UploadFiles { progress: 0.0, total_bytes: 0 }).await;
        for number in 0..100_000 {
            phone.names(format!("{UDID}/{number}").as_bytes()).await;
            phone.raw(&[0, 0, 0, 1, 0]).await;
        }
    });
    let report = report.await;
    assert!(words(&report.outcome).contains("more than 300 files"), "{:?}", report.outcome);
}

#[tokio::test]
async fn a_file_without_end_that_has_no_place_is_ended() {
    let place = Place::new();
    let report = place.backup(Patience::default(), |mut phone| async move {
        phone.begins_file(b"../nowhere").await;
        let mut block = (1u32 << 20).to_be_bytes().to_vec();
        block.push(0x0C);
        block.resize(4 + (1 << 20), 7);
        for _ in 0..1000 {
            phone.raw(&block).await;
        }
        pending::<()>().await;
    });
    let report = report.await;
    let told = words(&report.outcome);
    assert!(told.contains("cannot be stored") && told.contains("../nowhere"), "{told}");
    assert!(report.stored.bytes < 400 << 20, "{}", report.stored.bytes);
    assert!(peak_memory() <= MEMORY_MAX, "{} MiB", peak_memory() >> 20);
}

/// Where a phone may fall silent, and what the error then says.
#[derive(Debug, Clone, Copy)]
enum Silent {
    AtOnce,
    AfterItsVersion,
    AfterItsReadiness,
    AfterTheRequest,
    InALength,
    InAMessage,
    BetweenMessages,
    BeforeAName,
    InAName,
    InABlock,
    BetweenBlocks,
    BeforeTheEndOfTheStream,
    NotReading,
}

const ALL: [(Silent, &str); 13] = [
    (Silent::AtOnce, "the version"),
    (Silent::AfterItsVersion, "its readiness"),
    (Silent::AfterItsReadiness, "the answer to the greeting"),
    (Silent::AfterTheRequest, "its next message"),
    (Silent::InALength, "its next message"),
    (Silent::InAMessage, "its next message"),
    (Silent::BetweenMessages, "its next message"),
    (Silent::BeforeAName, "the name of a file"),
    (Silent::InAName, "the name of a file"),
    (Silent::InABlock, "some-file"),
    (Silent::BetweenBlocks, "some-file"),
    (Silent::BeforeTheEndOfTheStream, "the name of a file"),
    (Silent::NotReading, "large"),
];

async fn until_silent(mut phone: Phone, silent: Silent) {
    if matches!(silent, Silent::AtOnce | Silent::AfterItsVersion | Silent::AfterItsReadiness) {
        if !matches!(silent, Silent::AtOnce) {
            phone.say(DeviceMessage::VersionExchange { major: 300, minor: 0 }).await;
            phone.hear().await;
        }
        if matches!(silent, Silent::AfterItsReadiness) {
            phone.say(DeviceMessage::Ready).await;
        }
        return pending::<()>().await;
    }
    phone.greets().await;
    let name = format!("{UDID}/some-file");
    let upload = DeviceMessage::UploadFiles { progress: 0.0, total_bytes: 0 };
    match silent {
        Silent::InALength => phone.raw(&[0, 0]).await,
        Silent::InAMessage => phone.raw(&[0, 0, 1, 0, b'b', b'p']).await,
        Silent::BetweenMessages => drop(phone.ask(DeviceMessage::FreeDiskSpace).await),
        Silent::BeforeAName => phone.say(upload).await,
        Silent::InAName => {
            phone.say(upload).await;
            phone.raw(&[0, 0, 0, 9, b'/', b'v']).await;
        }
        Silent::InABlock => {
            phone.begins_file(name.as_bytes()).await;
            phone.raw(&[0, 0, 1, 0, 0x0C, 7, 7]).await;
        }
        Silent::BetweenBlocks => {
            phone.begins_file(name.as_bytes()).await;
            phone.raw(&[0, 0, 0, 2, 0x0C, 7]).await;
        }
        Silent::BeforeTheEndOfTheStream => {
            phone.begins_file(name.as_bytes()).await;
            phone.raw(&[0, 0, 0, 1, 0]).await;
        }
        Silent::NotReading => {
            let paths = vec![format!("{UDID}/large")];
            phone.say(DeviceMessage::DownloadFiles { paths, progress: 0.0 }).await;
        }
        _ => {}
    }
    pending::<()>().await;
}

#[tokio::test]
async fn a_phone_that_falls_silent_anywhere_is_told_with_what_was_awaited() {
    let patience = Patience {
        greeting: SHORT,
        first_message: SHORT,
        message: SHORT,
        stream: SHORT,
        ..Patience::default()
    };
    for (silent, awaited) in ALL {
        let place = Place::new();
        std::fs::write(place.own("large"), vec![0; 4 << 20]).unwrap();
        let ended = place.unasked(patience, move |phone| until_silent(phone, silent)).await;
        let told = match ended {
            Ok(report) => {
                assert!(matches!(report.outcome, Outcome::Broken(_)), "{silent:?}: {:?}", report.outcome);
                words(&report.outcome)
            }
            Err(error) => error.to_string(),
        };
        assert!(told.contains("silent for") && told.contains(awaited), "{silent:?}: {told}");
    }
}

#[tokio::test]
async fn a_phone_that_refuses_the_greeting_is_told_apart() {
    let place = Place::new();
    let ended = place.unasked(Patience::default(), |mut phone| async move {
        phone.say(DeviceMessage::VersionExchange { major: 400, minor: 0 }).await;
        phone.hear().await;
        phone.say(DeviceMessage::Ready).await;
        phone.hear().await;
        phone.say(DeviceMessage::Response(Response { code: -5, ..Response::default() })).await;
    });
    assert!(ended.await.unwrap_err().to_string().contains("refused"));
}
