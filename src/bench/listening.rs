//! Listening to a muxer that comes and goes: usbmuxd starts with the first phone and may end with the last one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use crate::collect::bus::Host;
use crate::usbmux::{Attached, DeviceId, Event, Muxer};

/// The first pause before a muxer that is gone is tried again.
const PAUSE_FIRST: Duration = Duration::from_millis(250);
/// The longest: a phone that is plugged in is to be seen within seconds.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// A muxer that stayed for so long is a good one.
const GOOD_AFTER: Duration = Duration::from_secs(10);
/// News that may wait.
const NEWS_MAX: usize = 64;

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

/// The bus may be slow to tell where a phone is; nobody but its own news waits for that.
async fn news(event: Event) -> News {
    match event {
        Event::Attached(attached) => {
            let udid = attached.udid.clone();
            let port = tokio::task::spawn_blocking(move || Host::system().port_of(&udid)).await;
            News::Attached { attached, port: port.unwrap_or_default() }
        }
        Event::Detached(id) => News::Detached(id),
        Event::Paired(id) => News::Paired(id),
    }
}

/// Passes events on until the muxer ends them; `None`: nobody listens any more.
async fn forward(mut events: mpsc::Receiver<Event>, sender: &mpsc::Sender<News>) -> Option<String> {
    sender.send(News::Back).await.ok()?;
    loop {
        let event = tokio::select! {
            () = sender.closed() => return None,
            event = events.recv() => event,
        };
        match event {
            Some(event) => sender.send(news(event).await).await.ok()?,
            None => return Some("it has closed the connection".to_owned()),
        }
    }
}
