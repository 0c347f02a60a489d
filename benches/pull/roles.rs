//! The roles that this program takes on as a process of its own. Each connects, does its one thing, and prints what it
//! found out as one JSON object; the time before it is connected does not count.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use idevice_fix::lockdown::{Phone, Session, pairing};
use idevice_fix::progress::{CancellationToken, Silent};
use idevice_fix::usbmux::client::Usbmuxd;
use idevice_fix::usbmux::{Address, Muxer};

use crate::{cable, ours, peers, sink};

/// Plays `role`. The first argument is the phone's unix socket.
pub(crate) fn play(role: &str, arguments: &[String]) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    let said = runtime.block_on(async {
        let paths: Vec<PathBuf> = arguments.iter().map(PathBuf::from).collect();
        match (role, &paths[..]) {
            ("cable", [socket]) => cable::measure(&session(socket).await).await,
            ("ours", [socket, to]) => ours::copy(&session(socket).await, to).await,
            ("sink", [socket, media, to]) => sink::copy(&session(socket).await, media, to).await,
            ("idevice", [socket, folder, to]) => {
                // Its own pairing is not measured, and not needed: the record is with the muxer.
                drop(session(socket).await);
                peers::idevice_crate(socket, folder, to).await
            }
            _ => panic!("there is no role {role} with {arguments:?}"),
        }
    });
    println!("{said}");
}

async fn session(socket: &Path) -> Session {
    let muxer: Arc<dyn Muxer> = Arc::new(Usbmuxd::at(Address::Unix(socket.to_owned())));
    let attached = muxer.devices().await.expect("the bus answers").remove(0);
    let phone = Phone { muxer, attached };
    pairing::establish(&phone, Duration::from_secs(20), &Silent, &CancellationToken::new())
        .await
        .expect("the phone trusts us")
}
