//! Serving simulated phones on sockets, where every client of usbmuxd finds them.

use std::sync::Arc;

use super::bus::Bus;
use crate::progress::CancellationToken;
use crate::usbmux::server::{self, Listener};

/// Serves the phones of `bus` on every one of `listeners` until `stop`.
pub async fn run(bus: Bus, listeners: Vec<Listener>, stop: CancellationToken) {
    let muxer = Arc::new(bus);
    let serving = listeners.into_iter().map(|listener| {
        let muxer: Arc<Bus> = Arc::clone(&muxer);
        tokio::spawn(server::serve(muxer, listener, stop.clone()))
    });
    for one in serving.collect::<Vec<_>>() {
        // A task that panicked has said so; the other sockets go on until told to stop.
        let _ = one.await;
    }
}
