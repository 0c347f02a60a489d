//! usbmuxd's socket.

use crate::wire::*;

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
