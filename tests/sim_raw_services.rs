//! Raw bytes against the simulated iPhone's sessions and small services: requests are written by hand and TLS is
//! rustls alone, so that an error made alike on both sides of the project shows. Only keys and certificates are made
//! with the project's own code.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use idevice_fix::lockdown::certs::{DeviceKey, HostKeys, certificate, new_record, private_key};
use idevice_fix::progress::CancellationToken;
use idevice_fix::sim::{self, Bus, Device};
use idevice_fix::usbmux::server::Listener;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, ProtocolVersion, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

const LOCKDOWN: u16 = 62078;
const PATIENCE: Duration = Duration::from_secs(20);
const QUICK: &str = "[person]\ntrusts_after_ms = 20\nunlocks_after_ms = 0\n";
const TRUSTS_LATER: &str = "[person]\ntrusts_after_ms = 400\n";

/// Sets the clock to the ninth of September 2001.
const CLOCK: &str =
    "<key>Key</key><string>TimeIntervalSince1970</string><key>Value</key><real>1000000000</real>";

// -- the phone --

/// A simulated phone on a unix socket, for as long as this lives.
struct Simulator {
    folder: tempfile::TempDir,
    stop: CancellationToken,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Simulator {
    fn start(device_toml: &str) -> Self {
        Self::prepared(device_toml, |_| {})
    }

    /// With more in its folder.
    fn prepared(device_toml: &str, fill: impl FnOnce(&Path)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let phone = folder.path().join("phone");
        std::fs::create_dir(&phone).unwrap();
        std::fs::write(phone.join("device.toml"), device_toml).unwrap();
        fill(&phone);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let stop = CancellationToken::new();
        let device = Device::open(&phone, false).unwrap();
        runtime.block_on(async {
            let listener = Listener::unix(&folder.path().join("socket"), 0o600).unwrap();
            tokio::spawn(sim::run(Bus::new(vec![device]), vec![listener], stop.clone()));
        });
        Self { folder, stop, runtime: Some(runtime) }
    }

    fn phone(&self) -> PathBuf {
        self.folder.path().join("phone")
    }

    fn becomes(&self, device_toml: &str) {
        let beside = self.folder.path().join("beside");
        std::fs::write(&beside, device_toml).unwrap();
        std::fs::rename(beside, self.phone().join("device.toml")).unwrap();
        std::thread::sleep(Duration::from_millis(30));
    }

    fn devices(&self) -> String {
        mux(&mut self.socket(), "<key>MessageType</key><string>ListDevices</string>")
    }

    fn socket(&self) -> UnixStream {
        let stream = UnixStream::connect(self.folder.path().join("socket")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    fn port(&self, port: u16) -> UnixStream {
        let id = value(&self.devices(), "DeviceID").expect("the phone is on the bus");
        let mut stream = self.socket();
        let body = format!(
            "<key>MessageType</key><string>Connect</string><key>DeviceID</key><integer>{id}</integer>\
             <key>PortNumber</key><integer>{}</integer>",
            port.to_be()
        );
        let reply = mux(&mut stream, &body);
        assert_eq!(value(&reply, "Number").as_deref(), Some("0"), "port {port}");
        stream
    }

    fn lockdown(&self) -> UnixStream {
        self.port(LOCKDOWN)
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}

/// `lockdown.plist` with these keys in the null domain.
fn lockdown_plist(phone: &Path, null_domain: &str) {
    let text = format!("<plist version=\"1.0\"><dict><key></key><dict>{null_domain}</dict></dict></plist>");
    std::fs::write(phone.join("lockdown.plist"), text).unwrap();
}

// -- messages --

fn xml(body: &str) -> Vec<u8> {
    format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?><plist version=\"1.0\"><dict>{body}</dict></plist>")
        .into_bytes()
}

fn mux(stream: &mut UnixStream, body: &str) -> String {
    let body = xml(body);
    let mut request = Vec::new();
    for word in [16 + body.len() as u32, 1, 8, 9] {
        request.extend(word.to_le_bytes());
    }
    request.extend(&body);
    stream.write_all(&request).unwrap();
    let mut header = [0; 16];
    stream.read_exact(&mut header).unwrap();
    let length = u32::from_le_bytes(header[..4].try_into().unwrap());
    let mut reply = vec![0; length as usize - 16];
    stream.read_exact(&mut reply).unwrap();
    String::from_utf8(reply).unwrap()
}

fn send(stream: &mut impl Write, body: &str) {
    let body = xml(body);
    let frame = [&(body.len() as u32).to_be_bytes()[..], &body].concat();
    stream.write_all(&frame).unwrap();
    stream.flush().unwrap();
}

fn receive_bytes(stream: &mut impl Read) -> Vec<u8> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut reply = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut reply).unwrap();
    reply
}

/// A message as XML text, whatever its form.
fn receive(stream: &mut impl Read) -> String {
    let bytes = receive_bytes(stream);
    if bytes.starts_with(b"<?xml") {
        return String::from_utf8(bytes).unwrap();
    }
    let mut text = Vec::new();
    plist::Value::from_reader(std::io::Cursor::new(bytes)).unwrap().to_writer_xml(&mut text).unwrap();
    String::from_utf8(text).unwrap()
}

fn ask(stream: &mut (impl Read + Write), request: &str, more: &str) -> String {
    send(stream, &format!("<key>Request</key><string>{request}</string>{more}"));
    let reply = receive(stream);
    assert_eq!(value(&reply, "Request").as_deref(), Some(request));
    reply
}

fn get(stream: &mut (impl Read + Write), key: &str) -> String {
    ask(stream, "GetValue", &format!("<key>Key</key><string>{key}</string>"))
}

fn error(reply: &str) -> Option<String> {
    value(reply, "Error")
}

/// The text of the value after a key.
fn value(reply: &str, key: &str) -> Option<String> {
    let (_, after) = reply.split_once(&format!("<key>{key}</key>"))?;
    let (_, after) = after.split_once('>')?;
    Some(after.split_once('<')?.0.to_owned())
}

fn data(reply: &str, key: &str) -> Option<Vec<u8>> {
    let text: String = value(reply, key)?.split_whitespace().collect();
    Some(STANDARD.decode(text).unwrap())
}

fn is_closed(stream: &mut impl Read) -> bool {
    match stream.read(&mut [0; 64]) {
        Ok(n) => n == 0,
        Err(error) => !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut),
    }
}

// -- a host --

/// A host's keys for one phone.
struct Host {
    record: plist::Dictionary,
    escrow_bag: Vec<u8>,
}

fn text(data: &str) -> String {
    format!("<string>{data}</string>")
}

fn bytes(data: &[u8]) -> String {
    format!("<data>{}</data>", STANDARD.encode(data))
}

impl Host {
    /// Makes its keys after asking the phone for its own.
    fn new(lockdown: &mut UnixStream, id: &str) -> Self {
        let key = data(&get(lockdown, "DevicePublicKey"), "Value").unwrap();
        let key = DeviceKey::from_pem(&key).unwrap();
        let record = new_record(&HostKeys::generate(), &key, id, "BUID").unwrap().to_plist();
        let record = plist::Value::from_reader(std::io::Cursor::new(record)).unwrap();
        Self { record: record.into_dictionary().unwrap(), escrow_bag: Vec::new() }
    }

    fn part(&self, key: &str) -> &[u8] {
        self.record[key].as_data().unwrap()
    }

    /// What is said in Pair. The keys that do not belong there are there with one client.
    fn pair_record(&self) -> String {
        let mut record = String::new();
        for key in ["DeviceCertificate", "HostCertificate", "RootCertificate", "RootPrivateKey"] {
            record += &format!("<key>{key}</key>{}", bytes(self.part(key)));
        }
        let id = self.record["HostID"].as_string().unwrap();
        record += &format!("<key>HostID</key>{}<key>SystemBUID</key>{}", text(id), text("BUID"));
        format!("<key>PairRecord</key><dict>{record}</dict>")
    }

    fn pair(&self, lockdown: &mut UnixStream) -> String {
        let options = "<key>PairingOptions</key><dict><key>ExtendedPairingErrors</key><true/></dict>\
                       <key>ProtocolVersion</key><string>2</string>";
        ask(lockdown, "Pair", &(self.pair_record() + options))
    }

    /// Asks until the person has tapped.
    fn trusted(simulator: &Simulator, id: &str) -> Self {
        let mut lockdown = simulator.lockdown();
        let mut host = Self::new(&mut lockdown, id);
        let began = Instant::now();
        loop {
            let reply = host.pair(&mut lockdown);
            match error(&reply).as_deref() {
                None => {
                    host.escrow_bag = data(&reply, "EscrowBag").unwrap();
                    return host;
                }
                Some("PairingDialogResponsePending") => assert!(began.elapsed() < PATIENCE),
                Some(other) => panic!("{other}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn start_session(&self, lockdown: &mut UnixStream) -> String {
        let id = self.record["HostID"].as_string().unwrap();
        ask(
            lockdown,
            "StartSession",
            &format!("<key>HostID</key>{}<key>SystemBUID</key><string>BUID</string>", text(id)),
        )
    }

    /// TLS with one of the host's certificates.
    fn encrypted<S: Read + Write>(&self, stream: S, certificate: &str, key: &str) -> Tls<S> {
        Tls::begin(stream, self.part(certificate), self.part(key)).unwrap()
    }

    fn session(&self, simulator: &Simulator) -> Tls<UnixStream> {
        let mut lockdown = simulator.lockdown();
        let reply = self.start_session(&mut lockdown);
        assert!(reply.contains("<key>EnableSessionSSL</key>\n\t<true/>"), "{reply}");
        self.encrypted(lockdown, "HostCertificate", "HostPrivateKey")
    }

    /// Starts a service and connects to it.
    fn service(&self, simulator: &Simulator, name: &str) -> Box<dyn ReadWrite> {
        let reply = start_service(&mut self.session(simulator), name, "");
        let stream = simulator.port(value(&reply, "Port").expect(&reply).parse().unwrap());
        if reply.contains("EnableServiceSSL") {
            Box::new(self.encrypted(stream, "HostCertificate", "HostPrivateKey"))
        } else {
            Box::new(stream)
        }
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

fn start_service(session: &mut (impl Read + Write), name: &str, more: &str) -> String {
    ask(session, "StartService", &format!("<key>Service</key>{}{more}", text(name)))
}

/// rustls that believes everybody, as most hosts do.
struct Tls<S: Read + Write>(rustls::StreamOwned<ClientConnection, S>);

impl<S: Read + Write> Tls<S> {
    fn begin(stream: S, cert: &[u8], key: &[u8]) -> std::io::Result<Self> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody))
            .with_client_auth_cert(
                vec![certificate("HostCertificate", cert).unwrap()],
                private_key("HostPrivateKey", key).unwrap(),
            )
            .unwrap();
        let name = ServerName::try_from("device.invalid").unwrap();
        let connection = ClientConnection::new(Arc::new(config), name).unwrap();
        let mut stream = rustls::StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Self(stream))
    }

    /// Says goodbye inside TLS, hears the other's goodbye, and gives the stream back.
    fn end(mut self) -> S {
        self.0.conn.send_close_notify();
        self.0.flush().unwrap();
        assert_eq!(self.0.read(&mut [0; 16]).unwrap(), 0, "the phone has more to say");
        let (_, stream) = (self.0.conn, self.0.sock);
        stream
    }
}

impl<S: Read + Write> Read for Tls<S> {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buf)
    }
}

impl<S: Read + Write> Write for Tls<S> {
    fn write(&mut self, buf: &[u8]) -> std::io::Result<usize> {
        self.0.write(buf)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[derive(Debug)]
struct Anybody;

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![
            SignatureScheme::RSA_PSS_SHA256,
            SignatureScheme::RSA_PSS_SHA512,
            SignatureScheme::RSA_PKCS1_SHA256,
        ]
    }
}

// -- plug-in, pairing, sessions --

/// What usbmuxd does when a phone that it does not know is plugged in.
#[test]
fn a_phone_that_is_plugged_in_passes_the_preflight_of_usbmuxd() {
    let simulator = Simulator::start(TRUSTS_LATER);
    let mut lockdown = simulator.lockdown();
    assert_eq!(
        value(&ask(&mut lockdown, "QueryType", ""), "Type").as_deref(),
        Some("com.apple.mobile.lockdown")
    );
    for key in ["ProductVersion", "DeviceClass", "WiFiAddress"] {
        assert!(value(&get(&mut lockdown, key), "Value").is_some_and(|value| !value.is_empty()), "{key}");
    }
    let buid = "<key>Key</key><string>UntrustedHostBUID</string><key>Value</key><string>BUID</string>";
    assert_eq!(error(&ask(&mut lockdown, "SetValue", buid)), None);
    let host = Host::new(&mut lockdown, "HOST");
    assert_eq!(error(&host.pair(&mut lockdown)).as_deref(), Some("PairingDialogResponsePending"));
    let reply = start_service(&mut lockdown, "com.apple.mobile.insecure_notification_proxy", "");
    assert!(!reply.contains("EnableServiceSSL"));
    let mut proxy = simulator.port(value(&reply, "Port").unwrap().parse().unwrap());
    for name in ["request_pair", "request_host_buid"] {
        let name = text(&format!("com.apple.mobile.lockdown.{name}"));
        send(
            &mut proxy,
            &format!("<key>Command</key><string>ObserveNotification</string><key>Name</key>{name}"),
        );
    }
    let told = receive(&mut proxy);
    assert_eq!(value(&told, "Command").as_deref(), Some("RelayNotification"));
    assert_eq!(value(&told, "Name").as_deref(), Some("com.apple.mobile.lockdown.request_pair"));
    let paired = host.pair(&mut lockdown);
    assert_eq!(error(&paired), None);
    assert_eq!(data(&paired, "EscrowBag").unwrap().len(), 32);
    drop(host.session(&simulator));
}

/// Trap 5: any chain verifier fails on one of these.
#[test]
fn a_host_shows_its_own_certificate_or_its_root_and_nobody_else_gets_in() {
    let simulator = Simulator::start(QUICK);
    let host = Host::trusted(&simulator, "HOST");
    for (certificate, key) in [("RootCertificate", "RootPrivateKey"), ("HostCertificate", "HostPrivateKey")] {
        let mut lockdown = simulator.lockdown();
        host.start_session(&mut lockdown);
        let mut session = host.encrypted(lockdown, certificate, key);
        assert!(value(&get(&mut session, "SerialNumber"), "Value").is_some(), "{certificate}");
    }
    let stranger = Host::new(&mut simulator.lockdown(), "STRANGER");
    let mut lockdown = simulator.lockdown();
    host.start_session(&mut lockdown);
    let refused = Tls::begin(lockdown, stranger.part("HostCertificate"), stranger.part("HostPrivateKey"))
        .map(|mut session| session.write_all(b"\0\0\0\0").and_then(|()| session.read_exact(&mut [0; 4])));
    assert!(!matches!(refused, Ok(Ok(()))));
    drop(host.session(&simulator));
}

/// Trap 6.
#[test]
fn a_phone_names_its_key_as_hosts_can_read_it() {
    let simulator = Simulator::start("");
    let pem = data(&get(&mut simulator.lockdown(), "DevicePublicKey"), "Value").unwrap();
    let pem = String::from_utf8(pem).unwrap();
    assert!(pem.starts_with("-----BEGIN RSA PUBLIC KEY-----\n"));
    assert!(pem.ends_with("\n-----END RSA PUBLIC KEY-----\n"));
}

#[test]
fn a_session_ends_and_the_same_stream_goes_on_in_plain_text() {
    for (newest, version) in [("1.2", ProtocolVersion::TLSv1_2), ("1.3", ProtocolVersion::TLSv1_3)] {
        let simulator = Simulator::start(&format!("{QUICK}[tls]\nnewest = \"{newest}\"\n"));
        let host = Host::trusted(&simulator, "HOST");
        let mut lockdown = simulator.lockdown();
        for _ in 0..2 {
            let begun = host.start_session(&mut lockdown);
            let id = value(&begun, "SessionID").unwrap();
            assert_eq!(id, id.to_uppercase());
            let mut session = host.encrypted(lockdown, "HostCertificate", "HostPrivateKey");
            assert_eq!(session.0.conn.protocol_version(), Some(version));
            assert!(get(&mut session, "PasswordProtected").contains("<false/>"));
            let again = ask(&mut session, "StartSession", "<key>HostID</key><string>HOST</string>");
            assert_eq!(error(&again).as_deref(), Some("SessionActive"));
            for (more, refusal) in
                [("", "MissingSessionID"), ("<key>SessionID</key><string>x</string>", "InvalidSessionID")]
            {
                assert_eq!(error(&ask(&mut session, "StopSession", more)).as_deref(), Some(refusal));
            }
            let stopped = ask(&mut session, "StopSession", &format!("<key>SessionID</key>{}", text(&id)));
            assert_eq!(value(&stopped, "Result").as_deref(), Some("Success"));
            lockdown = session.end();
            assert_eq!(error(&get(&mut lockdown, "SerialNumber")).as_deref(), Some("GetProhibited"));
            assert_eq!(
                error(&start_service(&mut lockdown, "com.apple.afc", "")).as_deref(),
                Some("SessionInactive")
            );
        }
    }
}

/// Trap 10: idevicebackup2 has seven at a time.
#[test]
fn many_sessions_go_on_side_by_side() {
    let simulator = Simulator::start(QUICK);
    let host = Host::trusted(&simulator, "HOST");
    let mut sessions: Vec<_> = (0..8).map(|_| host.session(&simulator)).collect();
    for session in &mut sessions {
        assert!(value(&get(session, "SerialNumber"), "Value").is_some());
    }
}

#[test]
fn who_was_unpaired_is_not_known_any_more() {
    let simulator = Simulator::start(QUICK);
    let (host, other) = (Host::trusted(&simulator, "HOST"), Host::trusted(&simulator, "OTHER"));
    let mut lockdown = simulator.lockdown();
    assert_eq!(error(&ask(&mut lockdown, "ValidatePair", &host.pair_record())), None);
    assert_eq!(error(&ask(&mut lockdown, "Unpair", &host.pair_record())), None);
    for request in ["ValidatePair", "Unpair"] {
        let reply = ask(&mut lockdown, request, &host.pair_record());
        assert_eq!(error(&reply).as_deref(), Some("InvalidHostID"), "{request}");
    }
    assert_eq!(error(&host.start_session(&mut lockdown)).as_deref(), Some("InvalidHostID"));
    let mut session = other.session(&simulator);
    assert_eq!(error(&ask(&mut session, "ResetPairing", "<key>FullReset</key><true/>")), None);
    assert_eq!(error(&other.start_session(&mut lockdown)).as_deref(), Some("InvalidHostID"));
}

#[test]
fn a_phone_that_is_being_set_up_trusts_without_asking_and_forgets_the_oldest_host() {
    let setup = "<key>com.apple.PurpleBuddy</key><dict><key>SetupDone</key><false/></dict>";
    let simulator = Simulator::prepared("[person]\ntrusts_after_ms = 0\n", |phone| {
        let text = format!("<plist version=\"1.0\"><dict>{setup}</dict></plist>");
        std::fs::write(phone.join("lockdown.plist"), text).unwrap();
    });
    let mut lockdown = simulator.lockdown();
    let mut host = Host::new(&mut lockdown, "0");
    for n in 0..40 {
        host.record.insert("HostID".to_owned(), n.to_string().into());
        assert_eq!(error(&host.pair(&mut lockdown)), None);
    }
    let known = |lockdown: &mut UnixStream, n: u32| {
        let id = format!("<key>PairRecord</key><dict><key>HostID</key><string>{n}</string></dict>");
        error(&ask(lockdown, "ValidatePair", &id)).is_none()
    };
    assert!(!known(&mut lockdown, 0) && known(&mut lockdown, 39));
}

#[test]
fn a_pair_request_that_is_wrong_is_named() {
    let simulator = Simulator::start("");
    let mut lockdown = simulator.lockdown();
    let host = Host::new(&mut lockdown, "HOST");
    let without = |key: &str| {
        let record = host.pair_record();
        let (before, after) = record.split_once(&format!("<key>{key}</key>")).unwrap();
        let end = after.find("</").unwrap();
        let end = end + after[end..].find('>').unwrap() + 1;
        format!("{before}{}", &after[end..])
    };
    for (record, refusal) in [
        (String::new(), "MissingPairRecord"),
        (without("HostID"), "MissingHostID"),
        (without("HostCertificate"), "InvalidPairRecord"),
        (without("DeviceCertificate"), "InvalidPairRecord"),
        (host.pair_record().replace("LS0tLS1CRUdJTi", "AAAAAAAAAAAAAA"), "InvalidPairRecord"),
    ] {
        assert_eq!(error(&ask(&mut lockdown, "Pair", &record)).as_deref(), Some(refusal));
    }
}

#[test]
fn what_a_host_may_set_is_set_told_and_removed() {
    let simulator = Simulator::start(QUICK);
    let host = Host::trusted(&simulator, "HOST");
    let mut session = host.session(&simulator);
    let mut proxy = host.service(&simulator, "com.apple.mobile.notification_proxy");
    let name = text("com.apple.mobile.lockdown.device_name_changed");
    send(&mut proxy, &format!("<key>Command</key><string>ObserveNotification</string><key>Name</key>{name}"));
    std::thread::sleep(Duration::from_millis(300));
    let set = "<key>Key</key><string>DeviceName</string><key>Value</key><string>Anna</string>";
    assert_eq!(error(&ask(&mut session, "SetValue", set)), None);
    assert!(receive(&mut proxy).contains("device_name_changed"));
    assert_eq!(value(&get(&mut session, "DeviceName"), "Value").as_deref(), Some("Anna"));
    assert_eq!(value(&get(&mut simulator.lockdown(), "DeviceName"), "Value").as_deref(), Some("Anna"));
    for (more, refusal) in [
        ("<key>Key</key><string>SerialNumber</string><key>Value</key><string>x</string>", "ImmutableValue"),
        ("<key>Key</key><string>DeviceName</string>", "MissingValue"),
        ("<key>Value</key><string>x</string>", "MissingKey"),
        (
            "<key>Domain</key><string>com.apple.mobile.battery</string><key>Key</key><string>HasBattery</string>\
             <key>Value</key><false/>",
            "SetProhibited",
        ),
    ] {
        assert_eq!(error(&ask(&mut session, "SetValue", more)).as_deref(), Some(refusal), "{more}");
    }
    let wifi = "<key>Domain</key><string>com.apple.mobile.wireless_lockdown</string><key>Key</key>\
                <string>EnableWifiConnections</string>";
    assert_eq!(error(&ask(&mut session, "SetValue", &format!("{wifi}<key>Value</key><true/>"))), None);
    assert_eq!(error(&ask(&mut session, "RemoveValue", wifi)), None);
    assert_eq!(error(&ask(&mut session, "GetValue", wifi)).as_deref(), Some("MissingValue"));
    assert_eq!(error(&ask(&mut session, "SetValue", CLOCK)).as_deref(), Some("SetProhibited"));
}

/// As idevicedate says: since iOS 6 only in the setup.
#[test]
fn the_clock_is_set_only_while_a_phone_is_set_up() {
    let simulator = Simulator::prepared(QUICK, |phone| {
        lockdown_plist(phone, "<key>ActivationState</key><string>Unactivated</string>");
    });
    let host = Host::trusted(&simulator, "HOST");
    let mut session = host.session(&simulator);
    assert_eq!(error(&ask(&mut session, "SetValue", CLOCK)), None);
    let now: f64 = value(&get(&mut session, "TimeIntervalSince1970"), "Value").unwrap().parse().unwrap();
    assert!((1_000_000_000.0..1_000_000_060.0).contains(&now), "{now}");
}

#[test]
fn activation_cannot_be_had_from_a_host_and_can_be_taken() {
    let simulator = Simulator::start(QUICK);
    let host = Host::trusted(&simulator, "HOST");
    assert_eq!(error(&ask(&mut simulator.lockdown(), "Deactivate", "")).as_deref(), Some("SessionInactive"));
    let mut session = host.session(&simulator);
    assert_eq!(error(&ask(&mut session, "Activate", "")).as_deref(), Some("MissingActivationRecord"));
    let record = "<key>ActivationRecord</key><dict/>";
    assert_eq!(error(&ask(&mut session, "Activate", record)).as_deref(), Some("InvalidActivationRecord"));
    assert_eq!(error(&ask(&mut session, "Deactivate", "")), None);
    assert_eq!(value(&get(&mut session, "ActivationState"), "Value").as_deref(), Some("Unactivated"));
}

#[test]
fn a_phone_sent_to_recovery_leaves_the_bus() {
    let simulator = Simulator::start(QUICK);
    let mut session = Host::trusted(&simulator, "HOST").session(&simulator);
    assert_eq!(error(&ask(&mut session, "EnterRecovery", "")), None);
    let began = Instant::now();
    while simulator.devices().contains("SerialNumber") {
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
}

// -- services --

#[test]
fn services_are_encrypted_by_version_all_or_none() {
    let services = [
        "com.apple.mobilebackup2",
        "com.apple.mobile.notification_proxy",
        "com.apple.afc",
        "com.apple.syslog_relay",
    ];
    for (version, toml, expected) in [
        ("11.4.1", "", [false; 4]),
        ("12.5.7", "", [true, true, false, false]),
        ("26.1", "", [true, true, false, false]),
        ("18.4.1", "[tls]\nservices = \"all\"\n", [true; 4]),
        ("18.4.1", "[tls]\nservices = \"none\"\n", [false; 4]),
    ] {
        let simulator = Simulator::prepared(&format!("{QUICK}{toml}"), |phone| {
            lockdown_plist(phone, &format!("<key>ProductVersion</key>{}", text(version)));
        });
        let host = Host::trusted(&simulator, "HOST");
        let mut session = host.session(&simulator);
        for (name, encrypted) in services.into_iter().zip(expected) {
            let reply = start_service(&mut session, name, "");
            assert_eq!(reply.contains("EnableServiceSSL"), encrypted, "{version} {toml} {name}");
            let port: u16 = value(&reply, "Port").unwrap().parse().unwrap();
            assert!(port >= 49152);
            assert_eq!(value(&reply, "Service").as_deref(), Some(name));
        }
        let reply = start_service(&mut session, "com.apple.instruments.remoteserver", "");
        assert_eq!(error(&reply).as_deref(), Some("InvalidService"));
    }
}

#[test]
fn a_locked_phone_opens_its_data_only_to_the_right_escrow_bag() {
    let simulator = Simulator::start(QUICK);
    let host = Host::trusted(&simulator, "HOST");
    let mut session = host.session(&simulator);
    let bag = format!("<key>EscrowBag</key>{}", bytes(&host.escrow_bag));
    let wrong = format!("<key>EscrowBag</key>{}", bytes(&[7; 32]));
    simulator.becomes(&format!("{QUICK}[lock]\nstate = \"locked\"\n"));
    for name in
        ["com.apple.afc", "com.apple.mobile.house_arrest", "com.apple.misagent", "com.apple.mobilebackup2"]
    {
        assert_eq!(
            error(&start_service(&mut session, name, "")).as_deref(),
            Some("PasswordProtected"),
            "{name}"
        );
        assert_eq!(
            error(&start_service(&mut session, name, &wrong)).as_deref(),
            Some("EscrowLocked"),
            "{name}"
        );
        assert_eq!(error(&start_service(&mut session, name, &bag)), None, "{name}");
    }
    assert_eq!(error(&start_service(&mut session, "com.apple.mobile.diagnostics_relay", "")), None);
    let stranger = Host::new(&mut simulator.lockdown(), "STRANGER");
    assert_eq!(error(&stranger.pair(&mut simulator.lockdown())).as_deref(), Some("PasswordProtected"));
}

/// The phone waits for the host to leave when it is told to, leaves the bus, and comes back sealed.
#[test]
fn a_restart_leaves_the_bus_and_comes_back_before_the_first_unlock() {
    let simulator = Simulator::start(QUICK);
    let host = Host::trusted(&simulator, "HOST");
    let before = value(&simulator.devices(), "DeviceID").unwrap();
    let mut relay = host.service(&simulator, "com.apple.mobile.diagnostics_relay");
    send(
        &mut relay,
        "<key>Request</key><string>Restart</string><key>WaitForDisconnect</key><true/><key>DisplayPass</key><true/>",
    );
    assert_eq!(value(&receive(&mut relay), "Status").as_deref(), Some("Success"));
    std::thread::sleep(Duration::from_millis(400));
    assert_eq!(value(&simulator.devices(), "DeviceID"), Some(before.clone()), "it did not wait");
    drop(relay);
    let began = Instant::now();
    let mut was_gone = false;
    loop {
        assert!(began.elapsed() < PATIENCE);
        match value(&simulator.devices(), "DeviceID") {
            None => was_gone = true,
            Some(id) if id != before => break,
            Some(_) => {}
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(was_gone);
    let mut session = host.session(&simulator);
    let bag = format!("<key>EscrowBag</key>{}", bytes(&host.escrow_bag));
    assert_eq!(error(&start_service(&mut session, "com.apple.afc", &bag)).as_deref(), Some("EscrowLocked"));
}

#[test]
fn the_diagnostics_relay_answers_every_request_and_says_goodbye() {
    let simulator = Simulator::start(QUICK);
    let host = Host::trusted(&simulator, "HOST");
    let mut relay = host.service(&simulator, "com.apple.mobile.diagnostics_relay");
    for (request, status) in [
        ("All", "Success"),
        ("GasGauge", "Success"),
        ("WiFi", "Success"),
        ("NAND", "Success"),
        ("HDMI", "Success"),
        ("IORegistry", "Success"),
        ("Dance", "UnknownRequest"),
        ("Sleep", "Success"),
        ("Goodbye", "Success"),
    ] {
        send(
            &mut relay,
            &format!(
                "<key>Request</key>{}<key>EntryName</key><string>AppleSmartBattery</string>",
                text(request)
            ),
        );
        let told = receive(&mut relay);
        assert_eq!(
            told.contains("<key>Diagnostics</key>"),
            !["Dance", "Sleep", "Goodbye"].contains(&request)
        );
        let last = told.rsplit("<key>Status</key>").next().unwrap();
        assert!(last.contains(status), "{request}: {told}");
    }
    assert!(is_closed(&mut relay));
    let mut session = host.session(&simulator);
    assert_eq!(
        error(&start_service(&mut session, "com.apple.afc", "")).as_deref(),
        Some("PasswordProtected")
    );
}

/// Trap 10: libimobiledevice waits for ProxyDeath.
#[test]
fn the_notification_proxy_answers_shutdown_with_its_death() {
    for services in ["all", "none"] {
        let simulator = Simulator::start(&format!("{QUICK}[tls]\nservices = \"{services}\"\n"));
        let host = Host::trusted(&simulator, "HOST");
        let mut proxy = host.service(&simulator, "com.apple.mobile.notification_proxy");
        let name = "<key>Name</key><string>com.example</string>";
        send(&mut proxy, &format!("<key>Command</key><string>ObserveNotification</string>{name}"));
        send(&mut proxy, &format!("<key>Command</key><string>PostNotification</string>{name}"));
        assert_eq!(value(&receive(&mut proxy), "Name").as_deref(), Some("com.example"));
        send(&mut proxy, "<key>Command</key><string>Shutdown</string>");
        assert_eq!(value(&receive(&mut proxy), "Command").as_deref(), Some("ProxyDeath"));
        assert!(is_closed(&mut proxy));
    }
}

/// Traps 7: the handle stands in the parameters, and the number of the request comes back.
#[test]
fn application_files_are_afc_on_the_same_stream() {
    let simulator = Simulator::prepared(QUICK, |phone| {
        let app = "<dict><key>CFBundleIdentifier</key><string>org.example.notes</string><key>UIFileSharingEnabled</key><true/></dict>";
        std::fs::write(
            phone.join("apps.plist"),
            format!("<plist version=\"1.0\"><array>{app}</array></plist>"),
        )
        .unwrap();
        let documents = phone.join("files/AppDomain-org.example.notes/Documents");
        std::fs::create_dir_all(&documents).unwrap();
        std::fs::write(documents.join("note"), "hello").unwrap();
    });
    let host = Host::trusted(&simulator, "HOST");
    let mut arrest = host.service(&simulator, "com.apple.mobile.house_arrest");
    for (command, id, told) in [
        ("VendDocuments", "org.example.none", "ApplicationLookupFailed"),
        ("VendContainer", "org.example.notes", "InstallationLookupFailed"),
        ("VendDocuments", "org.example.notes", "Complete"),
    ] {
        send(&mut arrest, &format!("<key>Command</key>{}<key>Identifier</key>{}", text(command), text(id)));
        let reply = receive(&mut arrest);
        assert_eq!(value(&reply, "Error").or(value(&reply, "Status")).as_deref(), Some(told));
    }
    let mut afc = |number: u64, operation: u64, params: &[u8]| {
        let length = 40 + params.len() as u64;
        let mut packet = b"CFA6LPAA".to_vec();
        for word in [length, length, number, operation] {
            packet.extend(word.to_le_bytes());
        }
        packet.extend(params);
        arrest.write_all(&packet).unwrap();
        arrest.flush().unwrap();
        let mut header = [0; 40];
        arrest.read_exact(&mut header).unwrap();
        let word = |at: usize| u64::from_le_bytes(header[at..at + 8].try_into().unwrap());
        let mut rest = vec![0; word(8) as usize - 40];
        arrest.read_exact(&mut rest).unwrap();
        assert_eq!(word(24), number);
        (word(32), word(16), rest)
    };
    let (operation, this, handle) = afc(1, 0x0d, b"\x01\0\0\0\0\0\0\0/Documents/note\0");
    assert_eq!((operation, this, handle.len()), (0x0e, 48, 8));
    let read = [&handle[..], &100_u64.to_le_bytes()].concat();
    assert_eq!(afc(2, 0x0f, &read), (0x02, 40, b"hello".to_vec()));
    let (operation, _, listed) = afc(3, 0x03, b"Documents");
    assert_eq!((operation, &listed[..]), (0x02, &b".\0..\0note\0"[..]));
    for closed in ["/", "/Library", "../AppDomain-other"] {
        assert_eq!(afc(4, 0x03, closed.as_bytes()), (0x01, 48, 10_u64.to_le_bytes().to_vec()), "{closed}");
    }
}

#[test]
fn the_log_comes_as_text_and_as_records() {
    let line = "Nov 22 05:30:00 h SpringBoard(FrontBoard)[58] <Error>: out of ideas";
    let simulator = Simulator::prepared(QUICK, |phone| {
        std::fs::write(phone.join("syslog.txt"), format!("{line}\n")).unwrap();
    });
    let host = Host::trusted(&simulator, "HOST");
    let mut relay = host.service(&simulator, "com.apple.syslog_relay");
    let mut said = vec![0; line.len() + 2];
    relay.read_exact(&mut said).unwrap();
    assert_eq!(said, format!("{line}\n\0").into_bytes());
    // What is written to the file comes live.
    std::fs::write(simulator.phone().join("syslog.txt"), format!("{line}\nmore\n")).unwrap();
    let mut more = [0; 6];
    relay.read_exact(&mut more).unwrap();
    assert_eq!(&more, b"more\n\0");

    let mut trace = host.service(&simulator, "com.apple.os_trace_relay");
    send(
        &mut trace,
        "<key>Request</key><string>StartActivity</string><key>Pid</key><integer>58</integer>\
                      <key>MessageFilter</key><integer>65535</integer><key>StreamFlags</key><integer>60</integer>",
    );
    // One client reads a byte and a big-endian length, another a little-endian count of length bytes and those.
    let mut header = [0; 5];
    trace.read_exact(&mut header).unwrap();
    assert_eq!(header[..4], [1, 0, 0, 0]);
    let mut answer = vec![0; usize::from(header[4])];
    trace.read_exact(&mut answer).unwrap();
    assert!(answer.starts_with(b"bplist00"));
    trace.read_exact(&mut header).unwrap();
    assert_eq!(header[0], 2);
    let mut record = vec![0; u32::from_le_bytes(header[1..].try_into().unwrap()) as usize];
    trace.read_exact(&mut record).unwrap();
    assert_eq!((u32::from_le_bytes(record[9..13].try_into().unwrap()), record[68]), (58, 16));
    assert_eq!(&record[129..], b"/usr/libexec/SpringBoard\0FrontBoard\0out of ideas\0");
}

#[test]
fn profiles_provisioning_crash_reports_and_heartbeat() {
    let simulator = Simulator::prepared(QUICK, |phone| {
        std::fs::create_dir(phone.join("crashes")).unwrap();
        std::fs::write(phone.join("crashes/panic-full.ips"), "{}").unwrap();
    });
    let host = Host::trusted(&simulator, "HOST");
    let mut profiles = host.service(&simulator, "com.apple.mobile.MCInstall");
    let profile = xml("<key>PayloadIdentifier</key><string>org.example.school</string>");
    for (request, more, told) in [
        ("HelloHostIdentifier", String::new(), "Acknowledged"),
        ("Flush", String::new(), "Acknowledged"),
        ("InstallProfile", format!("<key>Payload</key>{}", bytes(&profile)), "Acknowledged"),
        ("GetProfileList", String::new(), "org.example.school"),
        ("GetCloudConfiguration", String::new(), "IsSupervised"),
        ("RemoveProfile", format!("<key>ProfileIdentifier</key>{}", bytes(&profile)), "Acknowledged"),
        ("EraseDevice", String::new(), "ErrorChain"),
    ] {
        send(&mut profiles, &format!("<key>RequestType</key>{}{more}", text(request)));
        let reply = receive(&mut profiles);
        assert!(reply.contains(told) && reply.contains("<key>Status</key>"), "{request}: {reply}");
    }
    let mut misagent = host.service(&simulator, "com.apple.misagent");
    let provision = [b"0\x80", &xml("<key>UUID</key><string>U-1</string>")[..], b"\0\0"].concat();
    for (kind, more, status) in [
        ("Install", format!("<key>Profile</key>{}", bytes(&provision)), "0"),
        ("CopyAll", String::new(), "0"),
        ("Remove", "<key>ProfileID</key><string>U-1</string>".to_owned(), "0"),
    ] {
        send(
            &mut misagent,
            &format!(
                "<key>MessageType</key>{}<key>ProfileType</key><string>Provisioning</string>{more}",
                text(kind)
            ),
        );
        let reply = receive(&mut misagent);
        assert_eq!(value(&reply, "Status").as_deref(), Some(status), "{kind}");
        assert_eq!(data(&reply.replace("<array>", ""), "Payload").is_some(), kind == "CopyAll");
    }
    let mut mover = host.service(&simulator, "com.apple.crashreportmover");
    let mut said = Vec::new();
    mover.read_to_end(&mut said).unwrap();
    assert_eq!(said, b"ping\0");
    let mut heart = host.service(&simulator, "com.apple.mobile.heartbeat");
    let marco = receive(&mut heart);
    assert_eq!(
        (value(&marco, "Command").as_deref(), value(&marco, "Interval").as_deref()),
        (Some("Marco"), Some("10"))
    );
    send(&mut heart, "<key>Command</key><string>SleepyTime</string>");
    assert!(is_closed(&mut heart));
}

/// Every small service.
const SERVICES: &[&str] = &[
    "com.apple.afc",
    "com.apple.crashreportcopymobile",
    "com.apple.crashreportmover",
    "com.apple.misagent",
    "com.apple.mobile.MCInstall",
    "com.apple.mobile.assertion_agent",
    "com.apple.mobile.diagnostics_relay",
    "com.apple.mobile.heartbeat",
    "com.apple.mobile.house_arrest",
    "com.apple.mobile.insecure_notification_proxy",
    "com.apple.mobile.installation_proxy",
    "com.apple.mobile.notification_proxy",
    "com.apple.mobileactivationd",
    "com.apple.os_trace_relay",
    "com.apple.springboardservices",
    "com.apple.syslog_relay",
];
/// What a request may hold, and with what a fool may fill it.
const KEYS: &[&str] = &[
    "Command",
    "Request",
    "RequestType",
    "MessageType",
    "command",
    "Name",
    "Identifier",
    "ClientOptions",
    "Pid",
    "Payload",
    "ProfileType",
    "EntryName",
    "MobileGestaltKeys",
    "iconState",
    "CommandKey",
    "PackagePath",
];
const VALUES: &[&str] = &[
    "<true/>",
    "<integer>-1</integer>",
    "<string>Browse</string>",
    "<string>../../etc</string>",
    "<array/>",
    "<dict/>",
    "<data>AAAA</data>",
    "<string></string>",
    "<string>getIconState</string>",
    "<real>1e300</real>",
    "<string>InstallProfile</string>",
    "<string>StartActivity</string>",
    "<string>VendContainer</string>",
];

/// Random bytes, frames of noise, and lists of another shape.
#[test]
fn nonsense_ends_a_connection_and_not_the_phone() {
    let simulator = Simulator::start(&format!("{QUICK}[tls]\nservices = \"none\"\n"));
    let host = Host::trusted(&simulator, "HOST");
    let mut session = host.session(&simulator);
    let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    for name in SERVICES {
        for round in 0..6 {
            let reply = start_service(&mut session, name, "");
            let mut stream = simulator.port(value(&reply, "Port").expect(name).parse().unwrap());
            for _ in 0..8 {
                let noise: Vec<u8> = (0..random(200)).map(|_| random(256) as u8).collect();
                let bytes = match round % 3 {
                    0 => noise,
                    1 => [&(noise.len() as u32).to_be_bytes()[..], &noise].concat(),
                    _ => {
                        let entry = |_| {
                            format!("<key>{}</key>{}", KEYS[random(KEYS.len())], VALUES[random(VALUES.len())])
                        };
                        let body = xml(&(0..4).map(entry).collect::<String>());
                        [&(body.len() as u32).to_be_bytes()[..], &body].concat()
                    }
                };
                // The phone may have hung up already.
                let _ = stream.write_all(&bytes);
            }
            let _ = stream.shutdown(std::net::Shutdown::Both);
        }
        assert!(value(&get(&mut session, "SerialNumber"), "Value").is_some(), "after {name}");
    }
}
