//! Listening to a muxer that comes and goes: usbmuxd starts with the first phone and may end with the last one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::collect::bus::Host;
use crate::usbmux::{Attached, DeviceId, Event, Muxer, Udid};

/// The first pause before a muxer that is gone is tried again.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
/// The longest: a phone that is plugged in is to be seen within seconds.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A muxer that stayed for so long is a good one.
const GOOD_AFTER: Duration = Duration::from_secs(10);
/// News that may wait.
const NEWS_MAX: usize = 64;
/// The longest wait for the kernel's word where a phone is plugged in.
const PORT_WAIT: Duration = Duration::from_secs(2);
/// The kernel forgets a phone that is pulled out a moment after programs lose it.
const FORGOTTEN_AFTER: Duration = Duration::from_millis(500);
/// Phones whose numbers are remembered at most; of more it is not known whether they are still plugged in.
const KNOWN_MAX: usize = 1024;

/// What is heard.
#[derive(Debug)]
pub(super) enum News {
    /// The muxer is there; what is plugged in follows.
    Back,
    /// A phone is there.
    Attached {
        attached: Attached,
        /// Its USB port, as the kernel names it, where that can be seen.
        port: Option<String>,
    },
    /// One left.
    Detached(DeviceId),
    /// The kernel still has one in its port that the muxer let go of.
    StillPluggedIn(Udid),
    /// Somebody paired with one.
    Paired(DeviceId),
    /// The muxer is not there, and why. Told once until it is back.
    Lost(String),
}

/// News of a muxer, for ever; dropping the receiver ends it.
pub(super) fn listen(muxer: Arc<dyn Muxer>) -> mpsc::Receiver<News> {
    let (sender, receiver) = mpsc::channel(NEWS_MAX);
    tokio::spawn(async move {
        let mut pause = PAUSE_FIRST;
        let mut lost = false;
        loop {
            let began = Instant::now();
            let why = match muxer.listen().await {
                Ok(events) => {
                    lost = false;
                    match forward(events, &sender).await {
                        Some(why) => why,
                        None => return,
                    }
                }
                Err(error) => error.to_string(),
            };
            if !lost && sender.send(News::Lost(why)).await.is_err() {
                return;
            }
            lost = true;
            if began.elapsed() >= GOOD_AFTER {
                pause = PAUSE_FIRST;
            }
            tokio::select! {
                () = sender.closed() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    });
    receiver
}

/// Where a phone is plugged in, if that can be seen soon: while the kernel tries to get an answer from a device, its hub
/// may say nothing for many seconds, and no other phone's news wait so long.
async fn port(udid: &Udid) -> Option<String> {
    let udid = udid.clone();
    let looked = tokio::task::spawn_blocking(move || Host::system().port_of(&udid));
    tokio::time::timeout(PORT_WAIT, looked).await.ok()?.unwrap_or_default()
}

/// Tells if a phone is still in its port a moment after the muxer has let go of it; other news do not wait for that.
fn look_whether_it_is_still_there(udid: Udid, sender: mpsc::Sender<News>) {
    tokio::spawn(async move {
        tokio::time::sleep(FORGOTTEN_AFTER).await;
        if port(&udid).await.is_some() {
            let _ = sender.send(News::StillPluggedIn(udid)).await;
        }
    });
}

async fn news(event: Event, known: &mut HashMap<DeviceId, Udid>, sender: &mpsc::Sender<News>) -> News {
    match event {
        Event::Attached(attached) => {
            if known.len() < KNOWN_MAX {
                known.insert(attached.id, attached.udid.clone());
            }
            let port = port(&attached.udid).await;
            News::Attached { attached, port }
        }
        Event::Detached(id) => {
            if let Some(udid) = known.remove(&id) {
                look_whether_it_is_still_there(udid, sender.clone());
            }
            News::Detached(id)
        }
        Event::Paired(id) => News::Paired(id),
    }
}

/// Passes events on until the muxer ends them; `None`: nobody listens any more.
async fn forward(mut events: mpsc::Receiver<Event>, sender: &mpsc::Sender<News>) -> Option<String> {
    sender.send(News::Back).await.ok()?;
    let mut known = HashMap::new();
    loop {
        let event = tokio::select! {
            () = sender.closed() => return None,
            event = events.recv() => event,
        };
        match event {
            Some(event) => sender.send(news(event, &mut known, sender).await).await.ok()?,
            None => return Some("it has closed the connection".to_owned()),
        }
    }
}
