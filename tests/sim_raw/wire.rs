//! What raw tests stand on: a simulated phone behind a unix socket, and bytes to and from it that no code of the
//! project has made or read.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use idevice_fix::progress::CancellationToken;
use idevice_fix::sim::{self, Bus, Device, Service};
use idevice_fix::usbmux::server::Listener;

/// 62078 in network byte order, read as a little-endian number.
pub(crate) const LOCKDOWN_PORT: u16 = 32498;
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A simulated phone on a unix socket, for as long as this lives.
pub(crate) struct Simulator {
    socket: PathBuf,
    stop: CancellationToken,
    runtime: Option<tokio::runtime::Runtime>,
    device: Arc<Device>,
    folder: tempfile::TempDir,
}

impl Simulator {
    pub(crate) fn start(device_toml: &str) -> Self {
        Self::start_with(device_toml, |_| {})
    }

    /// `fill` puts into the phone's folder what the test needs.
    pub(crate) fn start_with(device_toml: &str, fill: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let phone = folder.path().join("phone");
        std::fs::create_dir(&phone).unwrap();
        std::fs::write(phone.join("device.toml"), device_toml).unwrap();
        fill(&phone);
        let socket = folder.path().join("socket");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let stop = CancellationToken::new();
        let device = Device::open(&phone, false).unwrap();
        runtime.block_on(async {
            let listener = Listener::unix(&socket, 0o600).unwrap();
            tokio::spawn(sim::run(Bus::new(vec![Arc::clone(&device)]), vec![listener], stop.clone()));
        });
        Self { socket, stop, runtime: Some(runtime), device, folder }
    }

    /// The phone's folder.
    pub(crate) fn phone(&self) -> PathBuf {
        self.folder.path().join("phone")
    }

    /// A connection to a service, past lockdown and TLS.
    pub(crate) fn service(&self, service: Service) -> UnixStream {
        let (host, phone) = UnixStream::pair().unwrap();
        host.set_read_timeout(Some(PATIENCE)).unwrap();
        phone.set_nonblocking(true).unwrap();
        let runtime = self.runtime.as_ref().unwrap();
        let _entered = runtime.enter();
        let phone = tokio::net::UnixStream::from_std(phone).unwrap();
        runtime.spawn(service.serve(Box::new(phone), Arc::clone(&self.device)));
        host
    }

    pub(crate) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    pub(crate) fn mux(&self, body: &str) -> String {
        mux(&mut self.connect(), body)
    }

    /// A connection to a port, given as the protocol wants it; the number of the result otherwise.
    pub(crate) fn port(&self, swapped: u16) -> Result<UnixStream, String> {
        let devices = self.mux("<key>MessageType</key><string>ListDevices</string>");
        let id = value(&devices, "DeviceID").expect("the phone is on the bus");
        let mut stream = self.connect();
        let body = format!(
            "<key>MessageType</key><string>Connect</string><key>DeviceID</key><integer>{id}</integer>\
             <key>PortNumber</key><integer>{swapped}</integer>"
        );
        let reply = mux(&mut stream, &body);
        match value(&reply, "Number").as_deref() {
            Some("0") => Ok(stream),
            _ => Err(reply),
        }
    }

    pub(crate) fn lockdown(&self) -> UnixStream {
        self.port(LOCKDOWN_PORT).unwrap()
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            // The phone's temporary folder goes with its last connection.
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

pub(crate) fn xml(body: &str) -> Vec<u8> {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><plist version=\"1.0\"><dict>{body}</dict></plist>")
        .into_bytes()
}

/// One request on usbmuxd's socket, and its reply.
pub(crate) fn mux(stream: &mut UnixStream, body: &str) -> String {
    let body = xml(body);
    let mut request = Vec::new();
    for word in [16 + body.len() as u32, 1, 8, 77] {
        request.extend(word.to_le_bytes());
    }
    request.extend(&body);
    stream.write_all(&request).unwrap();
    let mut header = [0; 16];
    stream.read_exact(&mut header).unwrap();
    let word = |at: usize| u32::from_le_bytes(header[at..at + 4].try_into().unwrap());
    assert_eq!((word(4), word(8), word(12)), (1, 8, 77), "version, message and tag of a reply");
    let mut reply = vec![0; word(0) as usize - 16];
    stream.read_exact(&mut reply).unwrap();
    String::from_utf8(reply).unwrap()
}

pub(crate) fn send(stream: &mut UnixStream, body: &[u8]) {
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend(body);
    stream.write_all(&frame).unwrap();
}

pub(crate) fn receive(stream: &mut UnixStream) -> String {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut reply = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut reply).unwrap();
    String::from_utf8(reply).unwrap()
}

/// One lockdown request, and its reply.
pub(crate) fn ask(stream: &mut UnixStream, request: &str, more: &str) -> String {
    send(stream, &xml(&format!("<key>Request</key><string>{request}</string>{more}")));
    receive(stream)
}

/// The text of the value after a key.
pub(crate) fn value(reply: &str, key: &str) -> Option<String> {
    let (_, after) = reply.split_once(&format!("<key>{key}</key>"))?;
    let (_, after) = after.split_once('>')?;
    Some(after.split_once('<')?.0.to_owned())
}

/// True when the other side has closed the connection.
pub(crate) fn is_closed(stream: &mut UnixStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
    }
}

/// The phone still answers a new client.
pub(crate) fn still_answers(simulator: &Simulator) {
    let reply = ask(&mut simulator.lockdown(), "QueryType", "");
    assert_eq!(value(&reply, "Type").as_deref(), Some("com.apple.mobile.lockdown"));
}
