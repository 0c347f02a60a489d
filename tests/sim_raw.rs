//! Raw bytes against the simulated iPhone's socket and its lockdown: our own client has no part in it, so that an
//! error made alike on both sides of the project shows.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use idevice_fix::progress::CancellationToken;
use idevice_fix::sim::{self, Bus, Device};
use idevice_fix::usbmux::server::Listener;

/// 62078 in network byte order, read as a little-endian number.
const LOCKDOWN_PORT: u16 = 32498;
const PATIENCE: Duration = Duration::from_secs(10);

/// A simulated phone on a unix socket, for as long as this lives.
struct Simulator {
    socket: PathBuf,
    stop: CancellationToken,
    runtime: Option<tokio::runtime::Runtime>,
    _folder: tempfile::TempDir,
}

impl Simulator {
    fn start(device_toml: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let phone = folder.path().join("phone");
        std::fs::create_dir(&phone).unwrap();
        std::fs::write(phone.join("device.toml"), device_toml).unwrap();
        let socket = folder.path().join("socket");
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let stop = CancellationToken::new();
        let device = Device::open(&phone, false).unwrap();
        runtime.block_on(async {
            let listener = Listener::unix(&socket, 0o600).unwrap();
            tokio::spawn(sim::run(Bus::new(vec![device]), vec![listener], stop.clone()));
        });
        Self { socket, stop, runtime: Some(runtime), _folder: folder }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn mux(&self, body: &str) -> String {
        mux(&mut self.connect(), body)
    }

    /// A connection to a port, given as the protocol wants it; the number of the result otherwise.
    fn port(&self, swapped: u16) -> Result<UnixStream, String> {
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

    fn lockdown(&self) -> UnixStream {
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

fn xml(body: &str) -> Vec<u8> {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><plist version=\"1.0\"><dict>{body}</dict></plist>")
        .into_bytes()
}

/// One request on usbmuxd's socket, and its reply.
fn mux(stream: &mut UnixStream, body: &str) -> String {
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

fn send(stream: &mut UnixStream, body: &[u8]) {
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend(body);
    stream.write_all(&frame).unwrap();
}

fn receive(stream: &mut UnixStream) -> String {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut reply = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut reply).unwrap();
    String::from_utf8(reply).unwrap()
}

/// One lockdown request, and its reply.
fn ask(stream: &mut UnixStream, request: &str, more: &str) -> String {
    send(stream, &xml(&format!("<key>Request</key><string>{request}</string>{more}")));
    receive(stream)
}

/// The text of the value after a key.
fn value(reply: &str, key: &str) -> Option<String> {
    let (_, after) = reply.split_once(&format!("<key>{key}</key>"))?;
    let (_, after) = after.split_once('>')?;
    Some(after.split_once('<')?.0.to_owned())
}

/// True when the other side has closed the connection.
fn is_closed(stream: &mut UnixStream) -> bool {
    let mut rest = Vec::new();
    match stream.read_to_end(&mut rest) {
        Ok(_) => true,
        Err(error) => matches!(error.kind(), ErrorKind::ConnectionReset | ErrorKind::BrokenPipe),
    }
}

/// The phone still answers a new client.
fn still_answers(simulator: &Simulator) {
    let reply = ask(&mut simulator.lockdown(), "QueryType", "");
    assert_eq!(value(&reply, "Type").as_deref(), Some("com.apple.mobile.lockdown"));
}

#[test]
fn the_socket_lists_the_phone_as_usbmuxd_does() {
    let simulator = Simulator::start("[usb]\nproduct_id = 0x12ab\nspeed = \"super\"");
    let reply = simulator.mux("<key>MessageType</key><string>ListDevices</string>");
    assert_eq!(value(&reply, "ConnectionType").as_deref(), Some("USB"));
    assert_eq!(value(&reply, "ProductID").as_deref(), Some("4779"));
    assert_eq!(value(&reply, "ConnectionSpeed").as_deref(), Some("5000000000"));
    let serial = value(&reply, "SerialNumber").unwrap();
    assert!(serial.len() == 25 && serial.as_bytes()[8] == b'-', "{serial}");
    let mut lockdown = simulator.lockdown();
    let udid = ask(&mut lockdown, "GetValue", "<key>Key</key><string>UniqueDeviceID</string>");
    assert_eq!(value(&udid, "Value"), Some(serial));
}

#[test]
fn lockdown_answers_as_phones_do() {
    let simulator = Simulator::start("");
    let mut lockdown = simulator.lockdown();
    let reply = ask(&mut lockdown, "QueryType", "<key>Label</key><string>raw</string>");
    assert!(
        reply.starts_with("<?xml") && reply.contains("\n\t<key>Request</key>\n\t<string>QueryType</string>"),
        "{reply}"
    );
    let key = |lockdown: &mut UnixStream, key: &str| {
        ask(lockdown, "GetValue", &format!("<key>Key</key><string>{key}</string>"))
    };
    assert_eq!(value(&key(&mut lockdown, "ProductVersion"), "Value").as_deref(), Some("18.4.1"));
    assert_eq!(value(&key(&mut lockdown, "SerialNumber"), "Error").as_deref(), Some("GetProhibited"));
    let all = ask(&mut lockdown, "GetValue", "");
    assert!(all.contains("<key>DevicePublicKey</key>") && !all.contains("SerialNumber"));
    for (request, more, error) in [
        ("StartSession", "", "MissingHostID"),
        ("StartSession", "<key>HostID</key><string>nobody</string>", "InvalidHostID"),
        ("StopSession", "<key>SessionID</key><string>x</string>", "SessionInactive"),
        ("StartService", "", "MissingService"),
        ("StartService", "<key>Service</key><string>com.example</string>", "InvalidService"),
        ("StartService", "<key>Service</key><string>com.apple.afc</string>", "SessionInactive"),
        ("Pair", "", "MissingPairRecord"),
        ("EnterRecovery", "", "SessionInactive"),
        ("RemoveValue", "<key>Key</key><string>DeviceName</string>", "SetProhibited"),
        ("Dance", "", "MalformedCommand"),
    ] {
        let reply = ask(&mut lockdown, request, more);
        assert_eq!(value(&reply, "Request").as_deref(), Some(request));
        assert_eq!(value(&reply, "Error").as_deref(), Some(error), "{request} {more}");
    }
    assert_eq!(value(&ask(&mut lockdown, "Goodbye", ""), "Result").as_deref(), Some("Success"));
    assert!(is_closed(&mut lockdown));
}

#[test]
fn a_request_in_the_binary_form_is_understood() {
    let simulator = Simulator::start("");
    let mut lockdown = simulator.lockdown();
    // {"Request": "QueryType"}
    let mut body = b"bplist00\xd1\x01\x02\x57Request\x59QueryType\x08\x0b\x13".to_vec();
    body.extend([0, 0, 0, 0, 0, 0, 1, 1]);
    body.extend(3_u64.to_be_bytes());
    body.extend(0_u64.to_be_bytes());
    body.extend(29_u64.to_be_bytes());
    send(&mut lockdown, &body);
    assert_eq!(value(&receive(&mut lockdown), "Type").as_deref(), Some("com.apple.mobile.lockdown"));
}

#[test]
fn a_service_port_is_good_for_one_connection() {
    let simulator = Simulator::start("");
    let mut lockdown = simulator.lockdown();
    let name = "<key>Service</key><string>com.apple.mobile.insecure_notification_proxy</string>";
    let reply = ask(&mut lockdown, "StartService", name);
    let port: u16 = value(&reply, "Port").unwrap().parse().unwrap();
    assert!(port >= 49152);
    assert!(!reply.contains("EnableServiceSSL"));
    let mut service = simulator.port(port.to_be()).unwrap();
    send(&mut service, &xml("<key>Command</key><string>Shutdown</string>"));
    let mut answer = Vec::new();
    service.read_to_end(&mut answer).unwrap();
    assert!(answer.windows(10).any(|window| window == b"ProxyDeath"));
    let refused = simulator.port(port.to_be()).unwrap_err();
    assert_eq!(value(&refused, "Number").as_deref(), Some("3"));
    assert!(simulator.port(1_u16.to_be()).is_err());
}

#[test]
fn a_hostile_client_is_cut_off_and_the_phone_goes_on() {
    let simulator = Simulator::start("");
    let deep =
        format!("<plist version=\"1.0\">{}{}</plist>", "<array>".repeat(5000), "</array>".repeat(5000));
    for frame in [
        u32::MAX.to_be_bytes().to_vec(),
        (1_u32 << 20).to_be_bytes().to_vec(),
        [&4_u32.to_be_bytes()[..], b"junk"].concat(),
        [&0_u32.to_be_bytes()[..], &0_u32.to_be_bytes()].concat(),
        [&(deep.len() as u32).to_be_bytes()[..], deep.as_bytes()].concat(),
    ] {
        let mut lockdown = simulator.lockdown();
        lockdown.write_all(&frame).unwrap();
        assert!(is_closed(&mut lockdown), "{} bytes", frame.len());
    }
    still_answers(&simulator);
}

#[test]
fn a_request_cut_at_any_length_harms_nobody() {
    let simulator = Simulator::start("");
    let body = xml("<key>Request</key><string>StartSession</string><key>HostID</key><string>x</string>");
    let mut frame = (body.len() as u32).to_be_bytes().to_vec();
    frame.extend(&body);
    for cut in 0..frame.len() {
        let mut lockdown = simulator.lockdown();
        lockdown.write_all(&frame[..cut]).unwrap();
        lockdown.shutdown(std::net::Shutdown::Write).unwrap();
        assert!(is_closed(&mut lockdown), "cut at {cut}");
    }
    still_answers(&simulator);
}

#[test]
fn random_bytes_harm_nobody() {
    let simulator = Simulator::start("");
    let mut seed = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    for round in 0..60 {
        let bytes: Vec<u8> = (0..random() % 300).map(|_| random() as u8).collect();
        let mut stream = if round % 2 == 0 { simulator.lockdown() } else { simulator.connect() };
        // The other side may close before everything is written.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        assert!(is_closed(&mut stream), "round {round}");
    }
    still_answers(&simulator);
}

#[test]
fn a_reply_is_broken_as_the_faults_say() {
    let fault = |kind: &str| format!("[[fault]]\nat = \"lockdown\"\nafter_messages = 1\nkind = \"{kind}\"");
    for kind in ["short", "lie-about-length", "corrupt", "refuse", "unplug"] {
        let simulator = Simulator::start(&fault(kind));
        let mut lockdown = simulator.lockdown();
        assert_eq!(value(&ask(&mut lockdown, "QueryType", ""), "Error"), None);
        send(&mut lockdown, &xml("<key>Request</key><string>QueryType</string>"));
        // A phone that still waits to be asked says nothing more.
        lockdown.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut rest = Vec::new();
        let ended = lockdown.read_to_end(&mut rest);
        let announced = rest.first_chunk().map(|length| u32::from_be_bytes(*length) as usize + 4);
        let text = String::from_utf8_lossy(&rest);
        match kind {
            "short" | "lie-about-length" => assert!(announced > Some(rest.len()), "{kind}"),
            "corrupt" => assert!(announced == Some(rest.len()) && !text.contains("</plist>")),
            "refuse" => assert_eq!(value(&text, "Error").as_deref(), Some("InternalError")),
            _ => {
                let timed_out = ended.is_err_and(|error| error.kind() == ErrorKind::WouldBlock);
                assert!(rest.is_empty() && !timed_out, "the connection did not die");
                let devices = simulator.mux("<key>MessageType</key><string>ListDevices</string>");
                assert!(!devices.contains("SerialNumber"), "the phone did not leave");
            }
        }
    }
}
