//! What a USB host asks of a simulated phone: control transfers, and USB/IP.

use idevice_fix::fuzzed;
use idevice_fix::sim::config::Usb;
use idevice_fix::sim::usb::{Answer, Control, Setup};
use idevice_fix::usbmux::Udid;

/// Control transfers, one after the other. No answer is longer than was asked for.
pub(crate) fn control(bytes: &[u8]) {
    let udid = Udid::parse("00008101-000000000000001E").expect("well formed");
    let mut control = Control::new(&udid, &Usb::default());
    for setup in bytes.as_chunks::<8>().0 {
        let setup = Setup::parse(*setup);
        match control.answer(&setup) {
            Answer::Done(told) | Answer::Leaves(told) => assert!(told.len() <= usize::from(setup.length)),
            Answer::Configured(_) | Answer::Stall => {}
        }
        let _ = (control.mux_endpoints(), control.bulk_packet_bytes());
    }
}

/// What usbmuxd asks: descriptors, the mode, a configuration.
pub(crate) fn control_seeds() -> Vec<Vec<u8>> {
    let asked: [[u8; 8]; 6] = [
        [0x80, 6, 0, 1, 0, 0, 18, 0],
        [0x80, 6, 3, 2, 0, 0, 255, 0],
        [0x80, 6, 3, 3, 9, 4, 255, 0],
        [0xC0, 0x45, 0, 0, 0, 0, 4, 0],
        [0xC0, 0x52, 0, 0, 3, 0, 1, 0],
        [0x00, 9, 4, 0, 0, 0, 0, 0],
    ];
    vec![asked.concat(), asked[0].to_vec()]
}

/// A USB/IP host before and after it has a phone.
pub(crate) fn usbip(bytes: &[u8]) {
    fuzzed::usbip(bytes);
}

/// Both requests, and a transfer in each direction.
pub(crate) fn usbip_seeds() -> Vec<Vec<u8>> {
    let mut import = vec![0x01, 0x11, 0x80, 0x03, 0, 0, 0, 0];
    import.extend(b"1-1");
    import.resize(40, 0);
    let submit = |direction: u8, bytes: u8, endpoint: u8| {
        let mut command = vec![0; 48];
        (command[3], command[7], command[15], command[19], command[27]) = (1, 9, direction, endpoint, bytes);
        command
    };
    let read = submit(1, 64, 5);
    let write = [submit(0, 4, 4), b"data".to_vec()].concat();
    let mut unlink = vec![0; 48];
    (unlink[3], unlink[23]) = (2, 9);
    vec![vec![0x01, 0x11, 0x80, 0x05, 0, 0, 0, 0], import, [read, write, unlink].concat()]
}
