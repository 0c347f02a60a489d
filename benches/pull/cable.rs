//! AFC without a client: packets, and what the cable gives to somebody who throws everything away.

use std::time::{Duration, Instant};

use idevice_fix::lockdown::Session;
use idevice_fix::usbmux::Stream;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::phone::LARGE_FILE;

pub(crate) const FILE_OPEN: u64 = 0x0d;
pub(crate) const FILE_READ: u64 = 0x0f;
pub(crate) const FILE_CLOSE: u64 = 0x14;
/// An operation that no phone knows: asking for it costs nothing but the way.
const UNKNOWN: u64 = 0x7fff;

/// The largest read that phones were seen to answer.
pub(crate) const READ_BYTES: u64 = 4 << 20;

const ROUND_TRIPS: usize = 300;
/// The cable is measured for so long, or until the large file ends.
const MEASURE: Duration = Duration::from_secs(2);
/// The first bytes are not counted: sockets fill, a runtime warms up.
const WARM_UP_BYTES: u64 = 8 << 20;

/// A packet of a host.
pub(crate) fn packet(operation: u64, numbers: &[u64], path: &str) -> Vec<u8> {
    let this = 40 + 8 * numbers.len() as u64 + if path.is_empty() { 0 } else { path.len() as u64 + 1 };
    let mut bytes = b"CFA6LPAA".to_vec();
    for word in [this, this, 1, operation].iter().chain(numbers) {
        bytes.extend(word.to_le_bytes());
    }
    if !path.is_empty() {
        bytes.extend(path.as_bytes());
        bytes.push(0);
    }
    bytes
}

/// The header of a reply: what kind it is, and how many bytes follow.
pub(crate) async fn reply(stream: &mut Stream) -> (u64, u64) {
    let mut header = [0; 40];
    stream.read_exact(&mut header).await.expect("the phone answers");
    let word = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().expect("eight bytes"));
    (word(32), word(8) - 40)
}

/// A reply of one number.
pub(crate) async fn number(stream: &mut Stream) -> u64 {
    let (_, length) = reply(stream).await;
    assert_eq!(length, 8, "a reply of one number");
    stream.read_u64_le().await.expect("the phone answers")
}

/// Rate and round trip.
pub(crate) async fn measure(session: &Session) -> Value {
    let mut stream = session.start_service("com.apple.afc").await.expect("AFC starts");
    let round_trip = round_trip(&mut stream).await;
    json!({"round_trip_us": round_trip.as_secs_f64() * 1e6, "bytes_per_second": rate(&mut stream).await})
}

async fn round_trip(stream: &mut Stream) -> Duration {
    let request = packet(UNKNOWN, &[], "");
    let mut times = Vec::new();
    for _ in 0..ROUND_TRIPS {
        let started = Instant::now();
        stream.write_all(&request).await.expect("bytes go");
        number(stream).await;
        times.push(started.elapsed());
    }
    times.sort_unstable();
    times[times.len() / 2]
}

async fn rate(stream: &mut Stream) -> f64 {
    const IN_FLIGHT: usize = 4;
    stream.write_all(&packet(FILE_OPEN, &[1], &format!("/{LARGE_FILE}"))).await.expect("bytes go");
    let read = packet(FILE_READ, &[number(stream).await, READ_BYTES], "");
    stream.write_all(&read.repeat(IN_FLIGHT)).await.expect("bytes go");
    let mut buffer = vec![0; 1 << 20];
    let (mut got, mut begun) = (0, None);
    loop {
        let (_, mut left) = reply(stream).await;
        stream.write_all(&read).await.expect("bytes go");
        if left == 0 {
            break;
        }
        while left > 0 {
            let most = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let read = stream.read(&mut buffer[..most]).await.expect("the phone goes on");
            assert!(read > 0, "the phone hung up");
            left -= read as u64;
            got += read as u64;
        }
        if begun.is_none() && got >= WARM_UP_BYTES {
            begun = Some((Instant::now(), got));
        }
        if begun.is_some_and(|(since, _)| since.elapsed() >= MEASURE) {
            break;
        }
    }
    let (since, before) = begun.expect("the file is larger than that");
    (got - before) as f64 / since.elapsed().as_secs_f64()
}
