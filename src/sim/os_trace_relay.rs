//! `com.apple.os_trace_relay`: the list of processes, and the log as records. Requests and records as in
//! libimobiledevice ostrace.c and pymobiledevice3 os_trace.py.
//!
//! Archives of the log are refused: their format is Apple's own.

use std::io;
use std::sync::Arc;

use plist::{Dictionary, Value};
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};

use super::device::Device;
use super::healthy::dictionary;
use super::log::{Entry, Follow, PROCESSES};
use super::plists::request;
use crate::frame::{self, DictExt};
use crate::usbmux::Stream;

/// What stands before an answer, and before each record.
const ANSWER: u8 = 1;
const RECORD: u8 = 2;
/// Bytes of a record before its texts.
const HEADER_BYTES: usize = 129;
/// The texts' lengths are written with 16 bits, and count a NUL.
const TEXT_BYTES_MAX: usize = u16::MAX as usize - 1;
/// "All processes", as hosts write it.
const ALL: [i64; 2] = [-1, 0xffff_ffff];

/// Serves one connection.
pub(super) async fn serve(mut stream: Stream, device: Arc<Device>) -> io::Result<()> {
    while let Some(asked) = request(&mut stream).await? {
        match asked.string("Request") {
            Some("PidList") => {
                let payload = Value::Dictionary(processes());
                let list = dictionary! {"Status": "RequestSuccessful", "Payload": payload};
                answer(&mut stream, list).await?;
            }
            Some("StartActivity") => {
                answer(&mut stream, dictionary! {"Status": "RequestSuccessful"}).await?;
                let pid = asked.int("Pid").filter(|pid| !ALL.contains(pid));
                let (reader, writer) = tokio::io::split(stream);
                return activity(reader, writer, device, pid).await;
            }
            Some("CreateArchive") => answer(&mut stream, dictionary! {"Status": "RequestFailed"}).await?,
            _ => answer(&mut stream, dictionary! {"Status": "InvalidRequest"}).await?,
        }
    }
    Ok(())
}

/// In binary: clients differ in how they read the length, and agree below 256 bytes.
async fn answer(stream: &mut Stream, answer: Dictionary) -> io::Result<()> {
    let body = frame::to_binary(&Value::Dictionary(answer));
    let length = u32::try_from(body.len()).expect("our own answers are far below 4 GiB");
    stream.write_all(&[&[ANSWER][..], &length.to_be_bytes(), &body].concat()).await?;
    stream.flush().await
}

fn processes() -> Dictionary {
    let process = |name: &str| Value::Dictionary(dictionary! {"ProcessName": name});
    PROCESSES.iter().map(|(pid, name)| (pid.to_string(), process(name))).collect()
}

async fn activity(
    mut reader: ReadHalf<Stream>,
    mut writer: WriteHalf<Stream>,
    device: Arc<Device>,
    pid: Option<i64>,
) -> io::Result<()> {
    let mut log = Follow::new(Arc::clone(&device));
    let telling = async {
        loop {
            let entry = Entry::parse(&log.next().await?, device.clock());
            if pid.is_some_and(|pid| pid != i64::from(entry.pid)) {
                continue;
            }
            let record = record(&entry);
            let length = u32::try_from(record.len()).expect("texts are cut to 64 KiB");
            writer.write_all(&[&[RECORD][..], &length.to_le_bytes(), &record].concat()).await?;
            writer.flush().await?;
        }
    };
    let mut said = [0; 256];
    let host_left = async {
        while reader.read(&mut said).await? > 0 {}
        Ok(())
    };
    tokio::select! {
        told = telling => told,
        left = host_left => left,
    }
}

/// One entry as a record; what no client reads is zero.
fn record(entry: &Entry) -> Vec<u8> {
    let mut record = vec![0; HEADER_BYTES];
    let mut put = |at: usize, bytes: &[u8]| record[at..at + bytes.len()].copy_from_slice(bytes);
    let process = format!("/usr/libexec/{}", entry.process);
    let (image, message) = (cut(&entry.image), cut(&entry.message));
    let with_nul = |text: &str| u16::try_from(text.len() + 1).expect("it was cut").to_le_bytes();
    let seconds = u32::try_from(entry.time.as_second()).unwrap_or_default();
    let micros = u32::try_from(entry.time.subsec_microsecond()).unwrap_or_default();
    put(9, &entry.pid.to_le_bytes());
    put(13, &u64::from(entry.pid).to_le_bytes());
    put(55, &seconds.to_le_bytes());
    put(63, &micros.to_le_bytes());
    put(68, &[entry.level as u8]);
    put(107, &with_nul(image));
    put(109, &with_nul(message));
    for text in [cut(&process), image, message] {
        record.extend(text.as_bytes());
        record.push(0);
    }
    record
}

/// The beginning of a text that fits, in whole characters.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Encoding, Limits};

    async fn heard(host: &mut tokio::io::DuplexStream, little: bool) -> (u8, Vec<u8>) {
        let mut header = [0; 5];
        host.read_exact(&mut header).await.unwrap();
        let length: [u8; 4] = header[1..].try_into().unwrap();
        let length = if little { u32::from_le_bytes(length) } else { u32::from_be_bytes(length) };
        let mut body = vec![0; length as usize];
        host.read_exact(&mut body).await.unwrap();
        (header[0], body)
    }

    #[tokio::test]
    async fn processes_are_listed_and_entries_come_as_records() {
        let folder = tempfile::tempdir().unwrap();
        let log =
            "Nov 22 05:30:00 h lockdownd[34] <Error>: no\nNov 22 05:30:01 h backboardd[59] <Notice>: yes\n";
        std::fs::write(folder.path().join("syslog.txt"), log).unwrap();
        let device = Device::open(folder.path(), false).unwrap();
        let (mut host, phone) = tokio::io::duplex(1 << 16);
        tokio::spawn(serve(Box::new(phone), device));
        let mut ask = async |asked: Dictionary| {
            frame::write(&mut host, &Value::Dictionary(asked), Encoding::Xml).await.unwrap();
            let (kind, body) = heard(&mut host, false).await;
            assert_eq!(kind, ANSWER);
            let told = frame::parse(&body, &Limits::LOCKDOWN).unwrap().into_dictionary().unwrap();
            (body.len(), told)
        };
        let (_, list) = ask(dictionary! {"Request": "PidList"}).await;
        let lockdownd = list.dict("Payload").and_then(|all| all.dict("34")).unwrap();
        assert_eq!(lockdownd.string("ProcessName"), Some("lockdownd"));
        let (_, refused) = ask(dictionary! {"Request": "CreateArchive"}).await;
        assert_ne!(refused.string("Status"), Some("RequestSuccessful"));
        let (bytes, begun) = ask(dictionary! {"Request": "StartActivity", "Pid": 59}).await;
        assert_eq!(begun.string("Status"), Some("RequestSuccessful"));
        // Clients read this length in two ways, which agree below 256.
        assert!(bytes < 256);
        let (kind, record) = heard(&mut host, true).await;
        assert_eq!((kind, record[9], record[68]), (RECORD, 59, 0));
        assert_eq!(&record[HEADER_BYTES..], b"/usr/libexec/backboardd\0backboardd\0yes\0");
        assert_eq!((record[107], record[109]), (11, 4));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        assert_eq!(cut("short"), "short");
        let long = "\u{20ac}".repeat(30_000);
        let short = cut(&long);
        assert!(short.len() <= TEXT_BYTES_MAX && short.len() > TEXT_BYTES_MAX - 3);
    }
}
