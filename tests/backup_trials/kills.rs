//! The program is killed while it makes a backup.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use idevice_fix::progress::CancellationToken;
use idevice_fix::sim::{Bus, Device};
use idevice_fix::usbmux::server::{Listener, serve};

use super::desk::Desk;
use super::trials;

fn program(desk: &Desk, socket: &Path, full: bool) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_idevice-fix"));
    command.env("USBMUXD_SOCKET_ADDRESS", socket).env_remove("IDEVICE_FIX_UDID");
    command
        .env_remove("BACKUP_PASSWORD")
        .args(["backup", "--yes", "--quiet", "--dest"])
        .arg(desk.dest.path());
    command.args(full.then_some("--full")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

fn to_the_end(desk: &Desk, socket: &Path, full: bool) -> Duration {
    let began = Instant::now();
    let done = program(desk, socket, full).output().unwrap();
    assert!(done.status.success(), "{}: {}", done.status, String::from_utf8_lossy(&done.stderr));
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_costs_nothing() {
    let desk = Desk::new("");
    let device = Device::open(desk.phone.path(), true).unwrap();
    let socket = desk.phone.path().join("s");
    let listener = Listener::unix(&socket, 0o600).unwrap();
    let stop = CancellationToken::new();
    let serving = tokio::spawn(serve(Arc::new(Bus::new(vec![device])), listener, stop.clone()));
    // The first backup pairs, too, and takes a little longer.
    let mut takes = to_the_end(&desk, &socket, true);
    let points = trials(1, 320);
    if points > 10 {
        desk.change(10);
        takes = to_the_end(&desk, &socket, true);
    }
    let (mut killed, mut promoted) = (0, 0);
    for point in 0..points {
        let trial = format!("kill {point} of {points}");
        let old = desk.kept();
        desk.change(20 + 2 * point);
        let full = point % 2 == 0;
        let mut child = program(&desk, &socket, full).spawn().unwrap();
        // The first tenth of a run only reads the phone.
        let part = (point as f64 + 0.5) / points as f64;
        tokio::time::sleep(takes.mul_f64(0.1 + 0.9 * part)).await;
        if child.try_wait().unwrap().is_none() {
            child.kill().unwrap();
            killed += 1;
        }
        child.wait().unwrap();
        if desk.kept() == old {
            desk.stands(&old, &trial).await;
        } else {
            // It was killed after the new one had its place.
            desk.stands(&desk.photos(), &trial).await;
            promoted += 1;
        }
        to_the_end(&desk, &socket, false);
        assert!(desk.kept() == desk.photos(), "{trial}: the next backup holds other photos");
    }
    stop.cancel();
    let _ = serving.await;
    println!(
        "{killed} of {points} runs killed, {promoted} after the new backup had its place; each time a whole \
        backup proven, the next run finished"
    );
    assert!(points < 10 || killed * 10 >= points * 6, "only {killed} of {points} were killed");
}
