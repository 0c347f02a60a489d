//! Raw bytes against the server: what a client of another make would send and expect.

use std::collections::HashMap;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use async_trait::async_trait;
use tokio::net::UnixStream;

use super::super::{Attached, DeviceId};
use super::*;

const UDID: &str = "00008101-000000000000001E";

/// A muxer with one phone whose port 7 sends back what it gets and whose port 8 says "bye" and hangs up.
#[derive(Debug, Default)]
struct OnePhone {
    records: Mutex<HashMap<Udid, Vec<u8>>>,
    listeners: Mutex<Vec<mpsc::Sender<Event>>>,
}

pub(crate) fn phone() -> Attached {
    Attached {
        id: DeviceId(3),
        udid: Udid::parse(UDID).unwrap(),
        product_id: 0x12a8,
        location_id: 0x1_0002,
        speed_bps: 480_000_000,
    }
}

impl OnePhone {
    async fn tell(&self, event: Event) {
        let listeners = self.listeners.lock().unwrap().clone();
        for listener in listeners {
            let _ = listener.send(event.clone()).await;
        }
    }
}

#[async_trait]
impl Muxer for OnePhone {
    async fn devices(&self) -> Result<Vec<Attached>, Error> {
        Ok(vec![phone()])
    }

    async fn listen(&self) -> Result<mpsc::Receiver<Event>, Error> {
        let (sender, receiver) = mpsc::channel(8);
        sender.send(Event::Attached(phone())).await.unwrap();
        self.listeners.lock().unwrap().push(sender);
        Ok(receiver)
    }

    async fn connect(&self, device: DeviceId, port: u16) -> Result<Stream, Error> {
        if device != DeviceId(3) {
            return Err(Error::NoSuchDevice);
        }
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        match port {
            7 => drop(tokio::spawn(async move {
                let (mut from, mut to) = tokio::io::split(theirs);
                tokio::io::copy(&mut from, &mut to).await
            })),
            8 => drop(tokio::spawn(async move {
                let mut theirs = theirs;
                theirs.write_all(b"bye").await
            })),
            port => return Err(Error::Refused(port)),
        }
        Ok(Box::new(ours))
    }

    async fn buid(&self) -> Result<String, Error> {
        Ok("THE-BUID".to_owned())
    }

    async fn pair_record(&self, udid: &Udid) -> Result<Option<Vec<u8>>, Error> {
        Ok(self.records.lock().unwrap().get(udid).cloned())
    }

    async fn save_pair_record(
        &self,
        udid: &Udid,
        device: Option<DeviceId>,
        record: &[u8],
    ) -> Result<(), Error> {
        self.records.lock().unwrap().insert(udid.clone(), record.to_owned());
        if let Some(device) = device {
            self.tell(Event::Paired(device)).await;
        }
        Ok(())
    }

    async fn delete_pair_record(&self, udid: &Udid) -> Result<(), Error> {
        self.records.lock().unwrap().remove(udid);
        Ok(())
    }
}

/// Waits for what comes about by itself within ten seconds.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..400 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("{what}");
}

pub(crate) struct Served {
    pub(crate) path: PathBuf,
    muxer: Arc<OnePhone>,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Served {
    pub(crate) fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self::at(folder.path().join("mux"), folder)
    }

    /// At a socket that is known before it is there.
    pub(crate) fn at(path: PathBuf, folder: tempfile::TempDir) -> Self {
        let listener = Listener::unix(&path, 0o600).unwrap();
        let (muxer, stop) = (Arc::new(OnePhone::default()), CancellationToken::new());
        let task = tokio::spawn(serve(muxer.clone(), listener, stop.clone()));
        Self { path, muxer, stop, task, _folder: folder }
    }

    pub(crate) async fn detach(&self) {
        self.muxer.tell(Event::Detached(DeviceId(3))).await;
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }

    async fn client(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.unwrap()
    }
}

/// Sends a property list as libusbmuxd does: version 1, kind 8.
async fn send(stream: &mut UnixStream, tag: u8, body: &str) {
    let body = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE plist PUBLIC \"-//Apple//DTD PLIST 1.0//EN\" \
         \"http://www.apple.com/DTDs/PropertyList-1.0.dtd\">\n<plist version=\"1.0\">\n<dict>{body}</dict>\n</plist>\n"
    );
    let mut bytes = u32::try_from(body.len() + 16).unwrap().to_le_bytes().to_vec();
    bytes.extend([1, 0, 0, 0, 8, 0, 0, 0, tag, 0, 0, 0]);
    bytes.extend(body.as_bytes());
    stream.write_all(&bytes).await.unwrap();
}

/// The next message: version, kind, tag, body.
async fn receive(stream: &mut UnixStream) -> (u8, u8, u8, Vec<u8>) {
    let mut header = [0; 16];
    stream.read_exact(&mut header).await.unwrap();
    let length = u32::from_le_bytes([header[0], header[1], header[2], header[3]]) as usize;
    let mut body = vec![0; length - 16];
    stream.read_exact(&mut body).await.unwrap();
    (header[4], header[8], header[12], body)
}

async fn receive_dict(stream: &mut UnixStream, tag: u8) -> Dictionary {
    let (version, kind, got, body) = receive(stream).await;
    assert_eq!((version, kind, got), (1, 8, tag));
    plist::from_bytes(&body).unwrap()
}

fn asks(kind: &str) -> String {
    format!("<key>MessageType</key><string>{kind}</string>")
}

#[tokio::test]
async fn devices_are_listed_as_usbmuxd_lists_them() {
    let served = Served::start();
    let mut client = served.client().await;
    send(&mut client, 5, &asks("ListDevices")).await;
    let reply = receive_dict(&mut client, 5).await;
    let entry = reply.array("DeviceList").unwrap()[0].as_dictionary().unwrap();
    let properties = entry.dict("Properties").unwrap();
    assert_eq!(entry.string("MessageType"), Some("Attached"));
    assert_eq!(entry.uint("DeviceID"), Some(3));
    assert_eq!(properties.string("SerialNumber"), Some(UDID));
    assert_eq!(properties.string("ConnectionType"), Some("USB"));
    assert_eq!(properties.uint("ProductID"), Some(0x12a8));
    assert_eq!(properties.uint("LocationID"), Some(0x1_0002));
}

#[tokio::test]
async fn one_socket_answers_several_requests_and_then_becomes_the_connection() {
    let served = Served::start();
    let mut client = served.client().await;
    send(&mut client, 1, &asks("ReadBUID")).await;
    assert_eq!(receive_dict(&mut client, 1).await.string("BUID"), Some("THE-BUID"));
    let connect = |port: u16| {
        let port = port.swap_bytes();
        format!(
            "{}<key>DeviceID</key><integer>3</integer><key>PortNumber</key><integer>{port}</integer>",
            asks("Connect")
        )
    };
    send(&mut client, 2, &connect(9)).await;
    assert_eq!(receive_dict(&mut client, 2).await.uint("Number"), Some(3));
    send(&mut client, 3, &connect(7)).await;
    assert_eq!(receive_dict(&mut client, 3).await.uint("Number"), Some(0));
    client.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    client.read_exact(&mut back).await.unwrap();
    assert_eq!(&back, b"ping");
}

#[tokio::test]
async fn a_megabyte_goes_through_and_the_end_of_the_device_is_the_end_of_the_client() {
    let served = Served::start();
    let mut client = served.client().await;
    client.write_all(&binary_connect(3, 7)).await.unwrap();
    assert_eq!(receive(&mut client).await, (0, 1, 9, vec![0; 4]));
    let sent: Vec<u8> = (0..1_u32 << 20).map(|n| n.to_le_bytes()[0] ^ n.to_le_bytes()[1]).collect();
    let (mut from, mut to) = client.into_split();
    let sender = {
        let sent = sent.clone();
        tokio::spawn(async move { to.write_all(&sent).await.map(|()| to) })
    };
    let mut back = vec![0; sent.len()];
    from.read_exact(&mut back).await.unwrap();
    assert!(back == sent);
    sender.await.unwrap().unwrap();

    let mut client = served.client().await;
    client.write_all(&binary_connect(3, 8)).await.unwrap();
    receive(&mut client).await;
    let mut rest = Vec::new();
    client.read_to_end(&mut rest).await.unwrap();
    assert_eq!(rest, b"bye");
}

fn binary_connect(device: u8, port: u8) -> [u8; 24] {
    [24, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 9, 0, 0, 0, device, 0, 0, 0, 0, port, 0, 0]
}

#[tokio::test]
async fn the_oldest_form_of_the_protocol_listens_and_connects() {
    let served = Served::start();
    let mut client = served.client().await;
    client.write_all(&binary_connect(99, 7)).await.unwrap();
    assert_eq!(receive(&mut client).await, (0, 1, 9, vec![2, 0, 0, 0]));
    client.write_all(&[16, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0]).await.unwrap();
    assert_eq!(receive(&mut client).await, (0, 1, 4, vec![0; 4]));
    let (version, kind, tag, body) = receive(&mut client).await;
    assert_eq!((version, kind, tag, body.len()), (0, 4, 0, 268));
    assert_eq!(&body[6..31], UDID.as_bytes());
    served.detach().await;
    assert_eq!(receive(&mut client).await, (0, 5, 0, vec![3, 0, 0, 0]));
}

#[tokio::test]
async fn a_listener_hears_what_changes_and_may_say_nothing_more() {
    let served = Served::start();
    let mut listener = served.client().await;
    send(&mut listener, 4, &format!("{}<key>ProgName</key><string>tool</string>", asks("Listen"))).await;
    assert_eq!(receive_dict(&mut listener, 4).await.uint("Number"), Some(0));
    assert_eq!(receive_dict(&mut listener, 0).await.string("MessageType"), Some("Attached"));

    let mut other = served.client().await;
    send(&mut other, 1, &asks("ListListeners")).await;
    let list = receive_dict(&mut other, 1).await;
    let entry = list.array("ListenerList").unwrap()[0].as_dictionary().unwrap().clone();
    assert_eq!(entry.string("ProgName"), Some("tool"));
    let record = format!(
        "{}<key>PairRecordID</key><string>{UDID}</string><key>DeviceID</key><integer>3</integer>\
         <key>PairRecordData</key><data>AAEC</data>",
        asks("SavePairRecord")
    );
    send(&mut other, 2, &record).await;
    assert_eq!(receive_dict(&mut other, 2).await.uint("Number"), Some(0));
    let paired = receive_dict(&mut listener, 0).await;
    assert_eq!((paired.string("MessageType"), paired.uint("DeviceID")), (Some("Paired"), Some(3)));

    send(&mut listener, 6, &asks("ListDevices")).await;
    assert_eq!(receive_dict(&mut listener, 4).await.uint("Number"), Some(1));
    assert_eq!(listener.read(&mut [0; 1]).await.unwrap_or(0), 0);
    send(&mut other, 3, &asks("ListListeners")).await;
    assert_eq!(receive_dict(&mut other, 3).await.array("ListenerList").unwrap().len(), 0);
}

#[tokio::test]
async fn pair_records_are_kept_and_their_names_checked() {
    let served = Served::start();
    let mut client = served.client().await;
    let about = |kind: &str, udid: &str, more: &str| {
        format!("{}<key>PairRecordID</key><string>{udid}</string>{more}", asks(kind))
    };
    send(&mut client, 1, &about("ReadPairRecord", UDID, "")).await;
    assert_eq!(receive_dict(&mut client, 1).await.uint("Number"), Some(2));
    for evil in ["../../etc/passwd", "", "..", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"] {
        send(&mut client, 1, &about("SavePairRecord", evil, "<key>PairRecordData</key><data>AAEC</data>"))
            .await;
        assert_eq!(receive_dict(&mut client, 1).await.uint("Number"), Some(22), "{evil}");
    }
    send(&mut client, 1, &about("SavePairRecord", UDID, "")).await;
    assert_eq!(receive_dict(&mut client, 1).await.uint("Number"), Some(22));
    send(&mut client, 2, &about("SavePairRecord", UDID, "<key>PairRecordData</key><data>AAEC</data>")).await;
    assert_eq!(receive_dict(&mut client, 2).await.uint("Number"), Some(0));
    send(&mut client, 3, &about("ReadPairRecord", UDID, "")).await;
    assert_eq!(receive_dict(&mut client, 3).await.data("PairRecordData"), Some(&[0, 1, 2][..]));
    send(&mut client, 4, &about("DeletePairRecord", UDID, "")).await;
    assert_eq!(receive_dict(&mut client, 4).await.uint("Number"), Some(0));
}

#[tokio::test]
async fn broken_requests_get_a_number_or_the_door_and_harm_nobody_else() {
    let served = Served::start();
    let mut client = served.client().await;
    send(&mut client, 1, &asks("Dance")).await;
    assert_eq!(receive_dict(&mut client, 1).await.uint("Number"), Some(1));
    client.write_all(&[19, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 2, 0, 0, 0, b'a', b'b', b'c']).await.unwrap();
    assert_eq!(receive_dict(&mut client, 2).await.uint("Number"), Some(1));
    client.write_all(&[16, 0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0]).await.unwrap();
    assert_eq!(receive(&mut client).await, (0, 1, 3, vec![6, 0, 0, 0]));
    for length in [0_u32, 15, 65_537, u32::MAX] {
        let mut client = served.client().await;
        let mut bytes = length.to_le_bytes().to_vec();
        bytes.extend([1, 0, 0, 0, 8, 0, 0, 0, 3, 0, 0, 0]);
        client.write_all(&bytes).await.unwrap();
        assert_eq!(client.read(&mut [0; 1]).await.unwrap_or(0), 0, "{length}");
    }
    send(&mut client, 4, &asks("ListDevices")).await;
    assert!(receive_dict(&mut client, 4).await.contains_key("DeviceList"));
}

#[tokio::test]
async fn the_socket_has_its_mode_replaces_a_dead_one_and_leaves_with_the_server() {
    let served = Served::start();
    let mode = std::fs::metadata(&served.path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let taken = Listener::unix(&served.path, 0o600).unwrap_err();
    assert_eq!(taken.kind(), io::ErrorKind::AddrInUse);
    served.stop.cancel();
    served.task.await.unwrap();
    assert!(!served.path.exists());

    drop(std::os::unix::net::UnixListener::bind(&served.path).unwrap());
    assert!(served.path.exists(), "a socket that nobody answers");
    drop(Listener::unix(&served.path, 0o666).unwrap());
    std::fs::write(&served.path, "a file").unwrap();
    assert!(Listener::unix(&served.path, 0o666).is_err());
    assert_eq!(std::fs::read(&served.path).unwrap(), b"a file");
}

#[test]
fn a_socket_whose_owner_accepts_nobody_is_somebodys_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mux");
    assert!(!is_served(&path));
    let socket = rustix::net::socket(rustix::net::AddressFamily::UNIX, rustix::net::SocketType::STREAM, None);
    let socket = socket.unwrap();
    rustix::net::bind(&socket, &rustix::net::SocketAddrUnix::new(&path).unwrap()).unwrap();
    assert!(!is_served(&path), "nobody listens yet");
    rustix::net::listen(&socket, 0).unwrap();
    // The row of those who wait is full at once: who connects now would wait without end.
    let _waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
    assert!(is_served(&path));
    assert_eq!(Listener::unix(&path, 0o600).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    drop(socket);
    assert!(!is_served(&path));
}

#[tokio::test]
async fn nothing_stays_beside_the_socket_and_a_link_of_its_name_is_not_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mux");
    std::fs::write(folder.path().join("other"), "").unwrap();
    let mode = |name: &str| std::fs::symlink_metadata(folder.path().join(name)).unwrap().permissions().mode();
    let before = mode("other");
    let listener = Listener::unix(&path, 0o666).unwrap();
    assert_eq!((mode("mux") & 0o777, mode("other")), (0o666, before));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    drop(listener);
    std::os::unix::fs::symlink("other", &path).unwrap();
    assert_eq!(Listener::unix(&path, 0o666).unwrap_err().kind(), io::ErrorKind::AddrInUse);
    assert_eq!(mode("other"), before);
    assert!(Listener::unix(&folder.path().join("nowhere/mux"), 0o600).is_err());
}

#[tokio::test]
async fn tcp_serves_as_well() {
    let listener = Listener::tcp("127.0.0.1:0").await.unwrap();
    let address = listener.address().unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(Arc::new(OnePhone::default()), listener, stop.clone()));
    let mut client = tokio::net::TcpStream::connect(&address).await.unwrap();
    client.write_all(&binary_connect(3, 8)).await.unwrap();
    let mut all = Vec::new();
    client.read_to_end(&mut all).await.unwrap();
    assert_eq!(&all[20..], b"bye");
    stop.cancel();
    task.await.unwrap();
}

#[test]
fn a_listener_with_an_endless_name_does_not_fill_the_list() {
    let listeners = Arc::new(Listeners::default());
    let mut said = Dictionary::new();
    said.insert("ProgName".into(), format!("a\u{1}b{}", "x".repeat(60_000)).into());
    said.insert("BundleID".into(), "y".repeat(60_000).into());
    let _entered = listeners.enter(&said);
    let list = frame::to_xml(&listeners.list());
    assert!(list.len() < 2048 && !list.contains(&1), "{} bytes", list.len());
}

#[tokio::test]
async fn clients_that_say_nothing_lock_nobody_out() {
    let served = Served::start();
    let most = clients_max();
    let mut silent = Vec::new();
    for n in 0..most + 20 {
        let mut client = served.client().await;
        if n % 2 == 1 {
            // Half a header, and never the rest.
            client.write_all(&[16, 0, 0, 0, 1]).await.unwrap();
        }
        silent.push(client);
    }
    let mut client = served.client().await;
    send(&mut client, 9, &asks("ListDevices")).await;
    let answered = tokio::time::timeout(Duration::from_secs(5), receive_dict(&mut client, 9)).await;
    assert!(answered.expect("others are served").array("DeviceList").is_some());
    // Those that came first had to go, those that came last are still there.
    assert_eq!(silent[0].read(&mut [0; 1]).await.unwrap_or(0), 0);
    let last = silent.last_mut().unwrap();
    let waits = tokio::time::timeout(Duration::from_millis(50), last.read(&mut [0; 1])).await;
    assert!(waits.is_err());
}

/// A connection of another user's, if this one may become another.
fn as_nobody(path: &std::path::Path) -> Option<UnixStream> {
    const NOBODY: u32 = 65_534;
    let path = path.to_owned();
    let connecting = std::thread::spawn(move || {
        // Only this thread is nobody from here on, and it ends.
        let nobody = rustix::thread::Uid::from_raw(NOBODY);
        rustix::thread::set_thread_res_uid(nobody, nobody, nobody).ok()?;
        Some(std::os::unix::net::UnixStream::connect(path).unwrap())
    });
    let stream = connecting.join().unwrap()?;
    stream.set_nonblocking(true).unwrap();
    Some(UnixStream::from_std(stream).unwrap())
}

#[tokio::test]
async fn pair_records_are_not_for_every_user_of_the_machine() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().join("mux");
    let listener = Listener::unix_for(&path, 0o666, Keyholders::new(None).unwrap()).unwrap();
    let stop = CancellationToken::new();
    let task = tokio::spawn(serve(Arc::new(OnePhone::default()), listener, stop.clone()));
    let about = |kind: &str, more: &str| {
        format!("{}<key>PairRecordID</key><string>{UDID}</string>{more}", asks(kind))
    };
    let save = about("SavePairRecord", "<key>PairRecordData</key><data>a2V5cw==</data>");
    let mut owner = UnixStream::connect(&path).await.unwrap();
    send(&mut owner, 1, &save).await;
    assert_eq!(receive_dict(&mut owner, 1).await.uint("Number"), Some(0));
    if let Some(mut nobody) = as_nobody(&path) {
        for request in [about("ReadPairRecord", ""), save, about("DeletePairRecord", "")] {
            send(&mut nobody, 2, &request).await;
            assert_eq!(receive_dict(&mut nobody, 2).await.uint("Number"), Some(13), "{request}");
        }
        // The phones themselves are for whoever may open the socket.
        send(&mut nobody, 3, &asks("ListDevices")).await;
        assert!(receive_dict(&mut nobody, 3).await.array("DeviceList").is_some());
    }
    send(&mut owner, 4, &about("ReadPairRecord", "")).await;
    assert_eq!(receive_dict(&mut owner, 4).await.data("PairRecordData"), Some(&b"keys"[..]));
    stop.cancel();
    task.await.unwrap();
}
