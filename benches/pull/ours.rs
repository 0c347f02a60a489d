//! This program's own engine, as `photos pull` uses it: walk, plan, pull.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use idevice_fix::afc::Pacing;
use idevice_fix::durable;
use idevice_fix::lockdown::Session;
use idevice_fix::photos::{Ended, Store, pull, walk_anew};
use idevice_fix::progress::{CancellationToken, Silent};
use serde_json::{Value, json};

/// Copies everything into `to`.
pub(crate) async fn copy(session: &Session, to: &Path) -> Value {
    let never = CancellationToken::new();
    let started = Instant::now();
    let listing =
        walk_anew(session, &Arc::new(Pacing::default()), &never).await.expect("the phone is walked");
    let walked = started.elapsed();
    let dir = durable::open_or_create_private(to).expect("the folder is there");
    let store = Store::open(dir, session.phone().attached.udid.clone()).expect("the copy opens");
    let plan = store.plan(&listing, None).expect("the copy is looked at");
    let planned = started.elapsed();
    let seen = listing.files.len();
    drop(listing);
    let pulled = pull(session, &store, &plan, &Silent, &never, None).await.expect("everything is copied");
    let seconds = started.elapsed().as_secs_f64();
    assert_eq!((pulled.ended, pulled.left), (Ended::Complete, 0));
    json!({
        "seen": seen, "files": pulled.files, "bytes": pulled.bytes, "refused": pulled.refused.len(), "seconds": seconds,
        "walk_seconds": walked.as_secs_f64(), "plan_seconds": (planned - walked).as_secs_f64(),
        "peak_kib": crate::program::memory_kib(std::process::id(), "VmHWM:"),
    })
}
