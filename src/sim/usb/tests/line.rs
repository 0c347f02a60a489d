//! A line and its clients at their ends: who leaves, who is left, and what was said before.

use std::time::Instant;

use super::*;

/// A phone that grants every connection and takes nothing that is said on one.
struct Stubborn {
    mux: mux::Mux,
    reads: mpsc::Sender<Vec<u8>>,
    writes: mpsc::Receiver<Vec<u8>>,
    granted: Option<mux::ConnectionId>,
}

impl Stubborn {
    fn new() -> (Bulk, Self) {
        let (reads_in, reads) = mpsc::channel(64);
        let (writes, writes_out) = mpsc::channel(WRITES_MAX);
        let phone = Self { mux: mux::Mux::new(UNIT), reads: reads_in, writes: writes_out, granted: None };
        (Bulk { reads, writes, packet_bytes: UNIT }, phone)
    }

    /// Goes on until it is to do something that is enough, or the host is gone.
    async fn until(&mut self, enough: impl Fn(&mux::Output) -> bool) {
        loop {
            self.say().await;
            while let Some(deed) = self.mux.deed() {
                if let mux::Output::Open { connection, .. } = deed {
                    self.mux.handle(mux::Input::Opened(connection));
                    self.granted = Some(connection);
                }
                if enough(&deed) {
                    return self.say().await;
                }
            }
            self.say().await;
            match self.writes.recv().await {
                Some(transfer) if transfer.is_empty() => self.mux.handle(mux::Input::Transfer(&[])),
                Some(transfer) => {
                    for piece in transfer.chunks(UNIT.into()) {
                        self.mux.handle(mux::Input::Transfer(piece));
                    }
                }
                None => return,
            }
        }
    }

    async fn say(&mut self) {
        while let Some(mux::Output::Transfer(bytes)) = self.mux.transfer() {
            for read in bytes.chunks(READ_BYTES) {
                self.reads.send(read.to_vec()).await.unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_line_that_is_dropped_cuts_its_clients() {
    let (_folder, bus) = phone_folder(10);
    let (bulk, _plugged) = cable(&bus).await;
    let line = Line::open(bulk).await.unwrap();
    let mut client = line.connect(lockdown::PORT).await.unwrap();
    drop(line);
    let cut = tokio::time::timeout(Duration::from_secs(5), client.read_u8()).await.unwrap();
    assert_eq!(cut.unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
    assert!(client.write_all(b"x").await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_nothing_more_to_say_reads_the_end() {
    let (_folder, bus) = phone_folder(10);
    let (bulk, _plugged) = cable(&bus).await;
    let line = Line::open(bulk).await.unwrap();
    let mut client = line.connect(lockdown::PORT).await.unwrap();
    client.shutdown().await.unwrap();
    let read = tokio::time::timeout(Duration::from_secs(5), client.read(&mut [0; 8])).await.unwrap();
    assert_eq!(read.unwrap(), 0);
    assert_eq!(client.write_all(b"x").await.unwrap_err().kind(), std::io::ErrorKind::BrokenPipe);
    line.connect(lockdown::PORT).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_phone_said_before_it_was_pulled_out_is_read() {
    let (bulk, mut phone) = Stubborn::new();
    let phone = tokio::spawn(async move {
        phone.until(|deed| matches!(deed, mux::Output::Deliver { .. })).await;
        let granted = phone.granted.unwrap();
        phone.mux.handle(mux::Input::Said(granted, b"last words"));
        phone.say().await;
    });
    let line = Line::open(bulk).await.unwrap();
    let mut client = line.connect(7).await.unwrap();
    client.write_all(b"anything?").await.unwrap();
    phone.await.unwrap();
    line.gone().await;
    let mut words = [0; 10];
    client.read_exact(&mut words).await.unwrap();
    assert_eq!(&words, b"last words");
    assert!(client.read_u8().await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_phone_has_five_seconds_to_take_the_words_of_a_client_that_left() {
    let (bulk, mut phone) = Stubborn::new();
    let phone = tokio::spawn(async move {
        phone.until(|deed| matches!(deed, mux::Output::Close(_))).await;
    });
    let line = Line::open(bulk).await.unwrap();
    let mut client = line.connect(7).await.unwrap();
    // More than the window: the rest waits for a phone that takes nothing.
    client.write_all(&vec![1; 200 << 10]).await.unwrap();
    let left = Instant::now();
    drop(client);
    tokio::time::timeout(Duration::from_secs(20), phone).await.unwrap().unwrap();
    let waited = left.elapsed();
    assert!((Duration::from_secs(4)..Duration::from_secs(9)).contains(&waited), "{waited:?}");
}
