//! The client against our own server, and against answers outside of the protocol.

use tokio::net::UnixListener;

use super::super::server::tests::Served;
use super::*;

fn at(path: &std::path::Path) -> Usbmuxd {
    Usbmuxd::at(Address::Unix(path.to_owned()))
}

#[tokio::test]
async fn our_own_server_is_understood() {
    let served = Served::start();
    let muxer = at(&served.path);
    let phone = muxer.devices().await.unwrap().remove(0);
    assert_eq!(phone.product_id, 0x12a8);
    assert_eq!(muxer.buid().await.unwrap(), "THE-BUID");

    let mut events = muxer.listen().await.unwrap();
    assert_eq!(events.recv().await, Some(Event::Attached(phone.clone())));
    assert_eq!(muxer.pair_record(&phone.udid).await.unwrap(), None);
    muxer.save_pair_record(&phone.udid, Some(phone.id), b"record").await.unwrap();
    assert_eq!(events.recv().await, Some(Event::Paired(phone.id)));
    assert_eq!(muxer.pair_record(&phone.udid).await.unwrap().as_deref(), Some(&b"record"[..]));
    muxer.delete_pair_record(&phone.udid).await.unwrap();
    assert_eq!(muxer.pair_record(&phone.udid).await.unwrap(), None);
    served.detach().await;
    assert_eq!(events.recv().await, Some(Event::Detached(phone.id)));

    let mut stream = muxer.connect(phone.id, 7).await.unwrap();
    stream.write_all(b"ping").await.unwrap();
    let mut back = [0; 4];
    stream.read_exact(&mut back).await.unwrap();
    assert!(matches!(muxer.connect(phone.id, 9).await, Err(Error::Refused(9))));
    assert!(matches!(muxer.connect(DeviceId(99), 7).await, Err(Error::NoSuchDevice)));
}

#[tokio::test]
async fn no_muxer_and_no_permission_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = at(&folder.path().join("mux"));
    assert!(matches!(nobody.devices().await, Err(Error::NotRunning(_))));
    drop(UnixListener::bind(folder.path().join("dead")).unwrap());
    assert!(matches!(at(&folder.path().join("dead")).devices().await, Err(Error::NotRunning(_))));
    let closed = Usbmuxd::at(Address::Tcp("127.0.0.1:1".into()));
    assert!(matches!(closed.devices().await, Err(Error::NotRunning(_))));
    let error = nobody.why_not_open("ListDevices", io::ErrorKind::PermissionDenied.into());
    assert!(matches!(error, Error::NoPermission(_)));
}

/// A usbmuxd that answers every request with `reply`, and with nothing more.
async fn answering(reply: Vec<u8>) -> (tempfile::TempDir, Usbmuxd) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mux");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = vec![0; 4096];
            let _ = stream.read(&mut request).await;
            let _ = stream.write_all(&reply).await;
        }
    });
    let muxer = at(&path);
    (folder, muxer)
}

fn plist_message(text: &str) -> Vec<u8> {
    message::encode(message::Version::Plist, message::kind::PLIST, 1, text.as_bytes())
}

#[tokio::test]
async fn one_bad_entry_and_a_phone_on_the_network_do_not_spoil_the_list() {
    let entry = |kind: &str, id: u32, serial: &str| {
        format!(
            "<dict><key>DeviceID</key><integer>{id}</integer><key>Properties</key><dict><key>ConnectionType</key>\
             <string>{kind}</string><key>DeviceID</key><integer>{id}</integer><key>SerialNumber</key>\
             <string>{serial}</string></dict></dict>"
        )
    };
    let list = [
        "<true/>".to_owned(),
        "<dict><key>Properties</key><array/></dict>".to_owned(),
        entry("USB", 1, "../../../../../../../../etc/passwd"),
        entry("Network", 2, "00008101000000000000001E"),
        entry("USB", 3, "00008101000000000000001E"),
    ];
    let text = format!("<plist><dict><key>DeviceList</key><array>{}</array></dict></plist>", list.concat());
    let (_folder, muxer) = answering(plist_message(&text)).await;
    let devices = muxer.devices().await.unwrap();
    assert_eq!(devices.len(), 1);
    assert_eq!(devices[0].udid.as_str(), "00008101-000000000000001E");
    assert_eq!((devices[0].id, devices[0].speed_bps), (DeviceId(3), 0));
}

#[tokio::test]
async fn an_answer_outside_of_the_protocol_is_an_error_with_the_requests_name() {
    let deep = format!("<plist>{}{}</plist>", "<array>".repeat(1000), "</array>".repeat(1000));
    let answers = [
        plist_message("<plist><dict/></plist>"),
        plist_message("<plist><array/></plist>"),
        plist_message("hello"),
        plist_message(&deep),
        message::encode(message::Version::Plist, 99, 1, b""),
        vec![0xff; 16],
        vec![0; 16],
    ];
    for answer in answers {
        let (_folder, muxer) = answering(answer.clone()).await;
        let error = muxer.devices().await.unwrap_err();
        assert!(matches!(error, Error::Protocol { request: "ListDevices", .. }), "{error} to {answer:?}");
    }
    let (_folder, muxer) = answering(b"short".to_vec()).await;
    assert!(matches!(muxer.devices().await, Err(Error::Io { .. })));
}

#[tokio::test]
async fn a_silent_muxer_is_a_timeout() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("mux");
    let _listener = UnixListener::bind(&path).unwrap();
    let asked = at(&path).ask(&Request::ListDevices, Duration::from_millis(20)).await;
    assert!(matches!(asked, Err(Error::Timeout("ListDevices"))));
}
