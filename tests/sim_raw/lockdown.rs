//! lockdownd, in plain text.

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use crate::wire::*;

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
