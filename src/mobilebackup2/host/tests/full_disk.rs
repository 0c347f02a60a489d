//! Disks that are full.

use std::path::Path;

use super::*;

/// A small file system of its own, if this user may mount one.
fn tiny_disk(at: &Path) -> bool {
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(at)
        .stderr(std::process::Stdio::null())
        .status();
    mount.is_ok_and(|status| status.success())
}

#[tokio::test]
async fn a_full_disk_is_told_to_the_phone_and_to_the_person() {
    let bench = Bench::new();
    if !tiny_disk(bench.temp.path()) {
        return;
    }
    let report = bench
        .run(Patience::default(), |mut phone| async move {
            let status = phone
                .upload(&[
                    (&format!("{UDID}/big"), &vec![1; 4 << 20], 0),
                    (&format!("{UDID}/small"), b"s", 0),
                ])
                .await;
            assert_eq!(status.code, codes::NO_SPACE);
            phone.done(104).await;
        })
        .await;
    let unmounted = std::process::Command::new("umount").arg(bench.temp.path()).status().unwrap();
    assert!(unmounted.success());
    let Outcome::HostError(error) = report.outcome else { panic!("{:?}", report.outcome) };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
}

/// A ledger whose disk is full after so many batches.
#[derive(Debug)]
struct FullAfter(usize);

impl Ledger for FullAfter {
    fn keep(&mut self, _: &[Entry]) -> std::io::Result<()> {
        self.0 = self.0.checked_sub(1).ok_or(std::io::ErrorKind::StorageFull)?;
        Ok(())
    }
}

#[tokio::test]
async fn a_disk_that_is_full_when_files_are_put_in_their_places_has_its_own_name() {
    let report = Bench::new()
        .run_with(Patience::default(), Box::new(FullAfter(0)), |mut phone| async move {
            let make = DeviceMessage::CreateDirectory { path: format!("{UDID}/Snapshot") };
            assert_eq!(phone.ask(make).await.code, 0);
            for n in 0..3 {
                assert_eq!(phone.upload(&[(&format!("{UDID}/Snapshot/{n}"), b"new", 0)]).await.code, 0);
            }
            let items =
                (0..3).map(|n| (format!("{UDID}/Snapshot/{n}"), format!("{UDID}/{n}"))).collect::<Vec<_>>();
            let status = phone.ask(DeviceMessage::MoveItems { items, progress: 1.0 }).await;
            assert_eq!(status.code, codes::NO_SPACE, "{:?}", status.text);
            phone.done(104).await;
        })
        .await;
    let Outcome::HostError(error) = report.outcome else { panic!("{:?}", report.outcome) };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull, "{error}");
}
