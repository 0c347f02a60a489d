//! The client against devices that behave, and devices that do not.

use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use super::packet::{HEADER_BYTES, Header, Operation, Status, data_header, number_reply, status_reply};
use super::request::{OpenMode, Request};
use super::{Afc, Cause, Error, FileInfo, Kind, Pacing, Settings};

/// The next request with its number; `None` when the client is gone.
async fn request(stream: &mut DuplexStream) -> Option<(u64, Request)> {
    let mut head = [0; HEADER_BYTES];
    stream.read_exact(&mut head).await.ok()?;
    let header = Header::parse(&head).unwrap();
    let mut body = vec![0; usize::try_from(header.body()).unwrap()];
    stream.read_exact(&mut body).await.ok()?;
    Some((header.number, Request::parse(header.operation, &body).unwrap()))
}

fn data(number: u64, bytes: &[u8]) -> Vec<u8> {
    [&data_header(number, bytes.len() as u64)[..], bytes].concat()
}

fn info(size: u64) -> Vec<u8> {
    FileInfo { kind: Kind::File, size, blocks: 8, links: 1, mtime_ns: 5, birthtime_ns: 4, link_target: None }
        .encode()
}

/// A phone with one file, `content`, under every path. `answer` may change or withhold a reply.
fn phone(
    content: Vec<u8>,
    mut answer: impl FnMut(u64, &Request, Vec<u8>) -> Vec<u8> + Send + 'static,
) -> DuplexStream {
    let (here, mut there) = tokio::io::duplex(1 << 20);
    tokio::spawn(async move {
        let mut at = 0;
        while let Some((number, request)) = request(&mut there).await {
            let reply = match &request {
                Request::FileInfo { .. } => data(number, &info(content.len() as u64)),
                Request::FileOpen { .. } => number_reply(number, Operation::FileOpenResult, 7).to_vec(),
                Request::FileRead { count, .. } => {
                    let end = content.len().min(at + usize::try_from(*count).unwrap());
                    let piece = data(number, &content[at..end]);
                    at = end;
                    piece
                }
                Request::FileTell { .. } => {
                    number_reply(number, Operation::FileTellResult, at as u64).to_vec()
                }
                Request::ReadDir { .. } => data(number, b".\0..\0a\0"),
                _ => status_reply(number, Status::Success).to_vec(),
            };
            let reply = answer(number, &request, reply);
            if there.write_all(&reply).await.is_err() {
                break;
            }
        }
    });
    here
}

fn honest(content: Vec<u8>) -> Afc {
    Afc::over(Box::new(phone(content, |_, _, reply| reply)))
}

fn settings(limit_ms: u64) -> Settings {
    Settings { limit: Duration::from_millis(limit_ms), pacing: Arc::default() }
}

fn cause(error: &Error) -> &Cause {
    error.broken().unwrap_or_else(|| panic!("the connection lives: {error}"))
}

#[tokio::test]
async fn a_file_is_read_in_order_with_reads_in_flight() {
    let content: Vec<u8> = (0..5_000_001_u32).map(|n| (n / 7) as u8).collect();
    let afc = honest(content.clone());
    assert_eq!(afc.read_file("a", 1 << 30).await.unwrap(), content);
    assert!(matches!(afc.read_file("a", 5_000_000).await, Err(Error::TooLarge { size: 5_000_001, .. })));
}

#[tokio::test]
async fn the_window_begins_at_one_and_grows() {
    let afc = honest(vec![1]);
    assert_eq!(afc.window(), 1);
    let asked = (0..500).map(|_| afc.file_info("x"));
    for answer in futures_util::future::join_all(asked).await {
        assert_eq!(answer.unwrap().size, 1);
    }
    assert_eq!(afc.window(), 128);
}

#[tokio::test]
async fn a_refusal_leaves_the_connection_alive() {
    let afc = Afc::over(Box::new(phone(vec![1], |number, request, reply| match request {
        Request::FileOpen { .. } => status_reply(number, Status::PermissionDenied).to_vec(),
        _ => reply,
    })));
    let error = afc.open_file("x", OpenMode::Read).await.unwrap_err();
    assert_eq!(error.status(), Some(Status::PermissionDenied));
    assert_eq!(afc.read_dir("/").await.unwrap().names, ["a"]);
}

/// Asks two things at once of a phone that answers the third request in its own way.
async fn third_reply(odd: impl Fn(u64) -> Vec<u8> + Send + 'static) -> (Error, Arc<Pacing>) {
    let settings = settings(300);
    let pacing = Arc::clone(&settings.pacing);
    let stream = phone(vec![1], move |number, _, reply| if number == 3 { odd(number) } else { reply });
    let afc = Afc::over_with(Box::new(stream), settings);
    afc.file_info("1").await.unwrap();
    afc.file_info("2").await.unwrap();
    let (third, fourth) = tokio::join!(afc.file_info("3"), afc.file_info("4"));
    let error = third.unwrap_err();
    assert!(fourth.unwrap_err().broken().is_some(), "what was in flight dies with it");
    assert!(afc.is_dead() && afc.file_info("5").await.unwrap_err().broken().is_some());
    (error, pacing)
}

#[tokio::test]
async fn a_wrong_number_ends_the_connection_and_the_depth() {
    let (error, pacing) = third_reply(|number| data(number + 1, &info(1))).await;
    assert!(matches!(cause(&error), Cause::WrongNumber { wanted: 3, got: 4 }));
    assert_eq!(pacing.ceiling(), 1);
}

#[tokio::test]
async fn a_doubled_reply_ends_the_connection() {
    let (error, _) = third_reply(|number| data(number - 1, &info(1))).await;
    assert!(matches!(cause(&error), Cause::WrongNumber { wanted: 3, got: 2 }));
}

#[tokio::test]
async fn a_reply_of_another_operation_ends_the_connection() {
    let (error, _) = third_reply(|number| number_reply(number, Operation::FileOpenResult, 1).to_vec()).await;
    assert!(matches!(cause(&error), Cause::WrongReply { asked: Operation::FileInfo, got: 0x0E }));
    let (error, _) = third_reply(|number| status_reply(number, Status::Success).to_vec()).await;
    assert!(matches!(cause(&error), Cause::WrongReply { .. }));
}

#[tokio::test]
async fn noise_ends_the_connection() {
    let (error, _) = third_reply(|_| vec![b'x'; 48]).await;
    assert!(matches!(cause(&error), Cause::Header(_)));
}

#[tokio::test]
async fn more_than_was_asked_is_never_taken() {
    let (error, _) = third_reply(|number| data_header(number, 1 << 62).to_vec()).await;
    assert!(matches!(cause(&error), Cause::TooLong { most: 65_536, .. }));
}

#[tokio::test]
async fn silence_ends_the_connection_in_time() {
    let (error, pacing) = third_reply(|_| Vec::new()).await;
    // The fourth reply comes where the third was due.
    assert!(matches!(cause(&error), Cause::WrongNumber { wanted: 3, got: 4 }));
    assert_eq!(pacing.ceiling(), 1);
    let stream = phone(vec![1], |_, _, _| Vec::new());
    let error = Afc::over_with(Box::new(stream), settings(50)).file_info("a").await.unwrap_err();
    assert!(matches!(cause(&error), Cause::Timeout(_)));
    // A header, and then nothing of the body that it promised.
    let stream = phone(vec![1], |number, _, _| data_header(number, 100).to_vec());
    let error = Afc::over_with(Box::new(stream), settings(50)).file_info("a").await.unwrap_err();
    assert!(matches!(cause(&error), Cause::Timeout(_)));
}

#[tokio::test]
async fn silence_ends_also_what_waits_for_its_turn() {
    // One request at a time, and a file is asked for ahead: whoever reads it waits for a turn, and not for an answer.
    let settings = settings(50);
    settings.pacing.fall_back();
    let stream = phone(vec![9; 3 << 20], |_, request, reply| match request {
        Request::FileRead { .. } => Vec::new(),
        _ => reply,
    });
    let afc = Afc::over_with(Box::new(stream), settings);
    let read = tokio::time::timeout(Duration::from_secs(20), afc.read_file("a", u64::MAX));
    let error = read.await.expect("it ends by itself").unwrap_err();
    assert!(matches!(cause(&error), Cause::Timeout(_)));
}

#[tokio::test]
async fn a_phone_that_leaves_is_closed_at_every_length_of_a_reply() {
    let whole = data(1, &info(1));
    for cut in 0..whole.len() {
        let (here, mut there) = tokio::io::duplex(4096);
        let piece = whole[..cut].to_vec();
        tokio::spawn(async move {
            request(&mut there).await;
            there.write_all(&piece).await.unwrap();
        });
        let error = Afc::over(Box::new(here)).file_info("a").await.unwrap_err();
        assert!(matches!(cause(&error), Cause::Closed), "cut at {cut}: {error}");
    }
}

#[tokio::test]
async fn a_short_read_that_is_not_the_last_is_an_error() {
    let stream = phone(vec![9; 3 << 20], |number, request, reply| match request {
        Request::FileRead { .. } => data(number, &reply[HEADER_BYTES..HEADER_BYTES + 1000]),
        _ => reply,
    });
    let error = Afc::over(Box::new(stream)).read_file("a", u64::MAX).await.unwrap_err();
    assert!(matches!(error, Error::ShortRead { offset: 0, wanted: 1_048_576, got: 1000, .. }));
}

#[tokio::test]
async fn a_file_that_nobody_closes_is_closed_on_the_device() {
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    let stream = phone(vec![1], move |_, request, reply| {
        if let Request::FileClose { handle } = request {
            tell.send(*handle).unwrap();
        }
        reply
    });
    let afc = Afc::over(Box::new(stream));
    drop(afc.open_file("a", OpenMode::Read).await.unwrap());
    assert_eq!(told.recv().await, Some(7));
    // More files than may be open at once, one after the other: each place comes back.
    for _ in 0..40 {
        drop(afc.open_file("a", OpenMode::Read).await.unwrap());
    }
}

#[tokio::test]
async fn fewer_handles_than_we_like_are_borne() {
    let open = Arc::new(std::sync::atomic::AtomicI64::new(0));
    let stream = phone(vec![1], move |number, request, reply| {
        use std::sync::atomic::Ordering::Relaxed;
        match request {
            Request::FileOpen { .. } if open.load(Relaxed) == 3 => {
                return status_reply(number, Status::NoResources).to_vec();
            }
            Request::FileOpen { .. } => open.fetch_add(1, Relaxed),
            Request::FileClose { .. } => open.fetch_sub(1, Relaxed),
            _ => 0,
        };
        reply
    });
    let afc = Afc::over(Box::new(stream));
    let deeds = (0..100).map(|_| async {
        let file = afc.open_file("a", OpenMode::Read).await?;
        tokio::task::yield_now().await;
        file.close().await
    });
    for done in futures_util::future::join_all(deeds).await {
        done.unwrap();
    }
}

#[tokio::test]
async fn a_path_with_nul_is_never_sent() {
    let afc = honest(vec![1]);
    assert!(matches!(afc.file_info("a\0b").await, Err(Error::UnsendablePath { .. })));
    assert!(afc.file_info("a").await.is_ok());
}

#[tokio::test]
async fn whoever_stops_waiting_disturbs_nobody() {
    let afc = honest(vec![1]);
    for _ in 0..20 {
        let gone = tokio::time::timeout(Duration::ZERO, afc.file_info("a")).await;
        drop(gone);
        assert_eq!(afc.file_info("b").await.unwrap().size, 1);
    }
}

#[tokio::test]
async fn long_lists_wait_for_whoever_asked_and_nothing_gets_stuck() {
    let list = b"0123456789abcde\0".repeat(100_000);
    let device = phone(Vec::new(), move |number, request, honest| match request {
        Request::ReadDir { .. } => data(number, &list),
        _ => honest,
    });
    let afc = Afc::over(Box::new(device));
    // The window opens.
    for _ in 0..40 {
        let (a, b) = tokio::join!(afc.file_info("x"), afc.file_info("y"));
        a.and(b).unwrap();
    }
    let asked = futures_util::future::join_all((0..8).map(|_| afc.read_dir("x")));
    let abandoned = tokio::time::timeout(Duration::from_millis(1), afc.read_dir("x"));
    let (listings, _) = tokio::join!(asked, abandoned);
    for listing in listings {
        assert_eq!(listing.unwrap().names.len(), 100_000);
    }
    // None of those that nobody takes keeps the connection from going on.
    assert_eq!(afc.file_info("x").await.unwrap().size, 0);
}
