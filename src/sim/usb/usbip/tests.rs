//! A host of the simulated USB bus, with the words of USB/IP written and read by hand.

use tokio::io::AsyncReadExt;

use super::*;
use crate::lockdown;
use crate::lockdown::connection::Connection;
use crate::muxd::{Bulk, Line, WRITES_MAX};
use crate::usbmux::packet::READ_BYTES;

/// A phone on loopback.
struct Bench {
    folder: tempfile::TempDir,
    address: std::net::SocketAddr,
    bus: Bus,
    device: Arc<Device>,
    stop: CancellationToken,
}

impl Drop for Bench {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Bench {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let device = Device::open(folder.path(), false).unwrap();
        let bus = Bus::new(vec![Arc::clone(&device)]);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        tokio::spawn(run(bus.clone(), vec![Arc::clone(&device)], listener, stop.clone()));
        Self { folder, address, bus, device, stop }
    }

    async fn host(&self) -> Host {
        Host { stream: TcpStream::connect(self.address).await.unwrap(), number: 0 }
    }

    /// Imports the phone.
    async fn importing(&self) -> (Host, u32) {
        let mut host = self.host().await;
        let mut request = vec![1, 0x11, 0x80, 3, 0, 0, 0, 0];
        request.extend(b"1-1");
        request.resize(8 + 32, 0);
        host.stream.write_all(&request).await.unwrap();
        assert_eq!(host.stream.read_u32().await.unwrap(), 0x0111_0003);
        let status = host.stream.read_u32().await.unwrap();
        if status == 0 {
            host.stream.read_exact(&mut [0; 312]).await.unwrap();
        }
        (host, status)
    }
}

/// The other side of a connection.
struct Host {
    stream: TcpStream,
    number: u32,
}

fn submit(number: u32, endpoint: u32, to_host: bool, length: usize, setup: [u8; 8], data: &[u8]) -> Vec<u8> {
    let words = [1, number, 0, u32::from(to_host), endpoint, 0, u32::try_from(length).unwrap(), 0, 0, 0];
    [&words.map(u32::to_be_bytes).concat()[..], &setup, data].concat()
}

/// Number, status or kind, and data of the next reply; data only follows what was sent to the host.
async fn reply(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> (u32, u32, i32, usize) {
    let mut head = [0; 48];
    stream.read_exact(&mut head).await.unwrap();
    let word = |at: usize| u32::from_be_bytes(head[at..at + 4].try_into().unwrap());
    (word(0), word(4), word(20).cast_signed(), usize::try_from(word(24)).unwrap())
}

impl Host {
    async fn control(&mut self, setup: [u8; 8]) -> Result<Vec<u8>, i32> {
        self.number += 1;
        let length = usize::from(u16::from_le_bytes([setup[6], setup[7]]));
        let to_host = setup[0] & 0x80 != 0;
        self.stream.write_all(&submit(self.number, 0, to_host, length, setup, &[])).await.unwrap();
        let (kind, number, status, actual) = reply(&mut self.stream).await;
        assert_eq!((kind, number), (3, self.number));
        let mut data = vec![0; if to_host { actual } else { 0 }];
        self.stream.read_exact(&mut data).await.unwrap();
        if status == 0 { Ok(data) } else { Err(status) }
    }

    async fn configure(&mut self) {
        assert_eq!(self.control([0, 9, 4, 0, 0, 0, 0, 0]).await, Ok(Vec::new()));
    }

    /// The bulk endpoints as a host's driver works them: three reads are always under way.
    fn bulk(self) -> Bulk {
        let (reads_in, reads) = mpsc::channel(4);
        let (writes, mut writes_out) = mpsc::channel::<Vec<u8>>(WRITES_MAX);
        let (mut from_phone, mut to_phone) = self.stream.into_split();
        tokio::spawn(async move {
            let (again, mut wanted) = mpsc::unbounded_channel();
            let receiving = async move {
                loop {
                    let (kind, number, status, actual) = reply(&mut from_phone).await;
                    assert_eq!((kind, status), (3, 0));
                    // Writes have even numbers.
                    if number % 2 == 0 {
                        continue;
                    }
                    let mut data = vec![0; actual];
                    from_phone.read_exact(&mut data).await.unwrap();
                    if again.send(()).is_err() || reads_in.send(data).await.is_err() {
                        return;
                    }
                }
            };
            let sending = async move {
                let (mut read, mut written) = (1001, 1000);
                let want = |number| submit(number, 5, true, READ_BYTES, [0; 8], &[]);
                for _ in 0..3 {
                    to_phone.write_all(&want(read)).await.unwrap();
                    read += 2;
                }
                loop {
                    let command = tokio::select! {
                        Some(()) = wanted.recv() => {
                            read += 2;
                            want(read)
                        }
                        write = writes_out.recv() => {
                            let Some(bytes) = write else { return };
                            written += 2;
                            submit(written, 4, false, bytes.len(), [0; 8], &bytes)
                        }
                    };
                    if to_phone.write_all(&command).await.is_err() {
                        return;
                    }
                }
            };
            tokio::select! {
                () = receiving => {}
                () = sending => {}
            }
        });
        Bulk { reads, writes, packet_bytes: 512 }
    }
}

#[tokio::test]
async fn a_phone_is_listed_as_what_it_says_of_itself() {
    let bench = Bench::new().await;
    let mut host = bench.host().await;
    host.stream.write_all(&[1, 0x11, 0x80, 5, 0, 0, 0, 0]).await.unwrap();
    let mut list = Vec::new();
    host.stream.read_to_end(&mut list).await.unwrap();
    assert_eq!(list[..12], [1, 0x11, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1]);
    let record = &list[12..];
    assert_eq!(&record[256..260], b"1-1\0");
    assert_eq!(hex::encode(&record[288..304]), "00000001000000020000000305ac12a8");
    // Class, first configuration of four, one interface: the camera.
    assert_eq!(hex::encode(&record[306..]), "0000000104010601".to_owned() + "0100");
}

#[tokio::test]
async fn one_host_has_a_phone_at_a_time_and_none_has_one_that_is_not_there() {
    let bench = Bench::new().await;
    let mut stranger = bench.host().await;
    let mut request = vec![1, 0x11, 0x80, 3, 0, 0, 0, 0];
    request.extend(b"9-9");
    request.resize(8 + 32, 0);
    stranger.stream.write_all(&request).await.unwrap();
    stranger.stream.read_u32().await.unwrap();
    assert_eq!(stranger.stream.read_u32().await.unwrap(), 1);
    let (first, status) = bench.importing().await;
    assert_eq!(status, 0);
    assert_eq!(bench.importing().await.1, 1);
    drop(first);
    for _ in 0..100 {
        if bench.importing().await.1 == 0 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the phone was not given back");
}

#[tokio::test]
async fn control_transfers_are_answered_and_stalls_told() {
    let bench = Bench::new().await;
    let (mut host, _) = bench.importing().await;
    let descriptor = host.control([0x80, 6, 0, 1, 0, 0, 18, 0]).await.unwrap();
    assert_eq!(descriptor[8..12], [0xac, 0x05, 0xa8, 0x12]);
    assert_eq!(host.control([0x80, 6, 0, 0x77, 0, 0, 18, 0]).await, Err(STALLED));
    host.configure().await;
    assert_eq!(host.control([0x80, 8, 0, 0, 0, 0, 1, 0]).await, Ok(vec![4]));
}

const STALLED: i32 = -32;

#[tokio::test]
async fn a_read_that_waits_is_taken_back_and_one_that_is_done_is_not() {
    let bench = Bench::new().await;
    let (mut host, _) = bench.importing().await;
    host.configure().await;
    host.stream.write_all(&submit(70, 5, true, 16384, [0; 8], &[])).await.unwrap();
    let unlink = |number: u32, which: u32| {
        let mut bytes = [2, number, 0, 0, 0, which].map(u32::to_be_bytes).concat();
        bytes.resize(48, 0);
        bytes
    };
    host.stream.write_all(&unlink(71, 70)).await.unwrap();
    assert_eq!(reply(&mut host.stream).await, (4, 71, -104, 0));
    host.stream.write_all(&unlink(72, 70)).await.unwrap();
    assert_eq!(reply(&mut host.stream).await, (4, 72, 0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn lockdown_answers_over_the_bus_and_a_phone_that_is_pulled_out_is_gone() {
    let bench = Bench::new().await;
    let (mut host, _) = bench.importing().await;
    host.configure().await;
    let line = Line::open(host.bulk()).await.unwrap();
    let stream = line.connect(lockdown::PORT).await.unwrap();
    let mut lockdown = Connection::over(stream);
    let public = lockdown.value(None, None).await.unwrap().into_dictionary().unwrap();
    assert_eq!(public["UniqueDeviceID"].as_string(), Some(bench.device.udid().as_str()));
    bench.device.leave(crate::sim::Departure::Off);
    line.gone().await;
    assert!(bench.bus.devices().await.unwrap().is_empty() && bench.folder.path().exists());
}

#[tokio::test]
async fn hosts_that_make_no_sense_are_left() {
    let bench = Bench::new().await;
    for nonsense in [&[0xff; 200][..], &[1, 0x11, 0x12, 0x34, 0, 0, 0, 0]] {
        let mut host = bench.host().await;
        host.stream.write_all(nonsense).await.unwrap();
        assert!(!matches!(host.stream.read(&mut [0; 9]).await, Ok(1..)));
    }
    let huge = submit(1, 5, true, usize::try_from(u32::MAX).unwrap(), [0; 8], &[]);
    let far = submit(1, 99, true, 10, [0; 8], &[]);
    for command in [&huge[..], &far, &[9; 48]] {
        let (mut host, status) = loop {
            let imported = bench.importing().await;
            if imported.1 == 0 {
                break imported;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(status, 0);
        host.stream.write_all(command).await.unwrap();
        assert!(!matches!(host.stream.read(&mut [0; 9]).await, Ok(1..)));
    }
    // So many reads that no driver would have them under way.
    let (mut host, _) = loop {
        let imported = bench.importing().await;
        if imported.1 == 0 {
            break imported;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    for number in 0..1100 {
        if host.stream.write_all(&submit(number, 1, true, 10, [0; 8], &[])).await.is_err() {
            return;
        }
    }
    assert!(!matches!(host.stream.read(&mut [0; 9]).await, Ok(1..)));
}
