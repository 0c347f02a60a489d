//! `backup restore`: a proven backup back onto a phone that is empty, or for which the gate for an erase is open.

use std::sync::Arc;

use serde_json::{Value, json};

use super::arguments::BackupRestore;
use super::phones::Phones;
use super::run::{Both, Run};
use super::visits::{Recorded, Recorder, begin, consent, ended, print_failure};
use super::{owner, secrets, terminal};
use crate::backup::restore::{RestoreOptions, Restored};
use crate::facts::Reach;
use crate::progress::Observer;
use crate::remedy::{Accept, Consent};
use crate::usbmux::Udid;
use crate::visit::{Outcome, Permission, RestorePlan, RestoreSource, Standing, Stop, Trouble, Visit, words};

const SCHEMA: &str = "backup-restore";

/// Restores.
pub(super) async fn restore(run: &Run, arguments: &BackupRestore) -> Result<(), Stop> {
    restored(run, arguments).await.map_err(|stop| print_failure(run, SCHEMA, stop))
}

async fn restored(run: &Run, arguments: &BackupRestore) -> Result<(), Stop> {
    let consent = consent(&arguments.accept)?;
    let phones = Phones::open(run)?;
    let recorder = Arc::new(Recorder::default());
    let watch: Arc<dyn Observer> = Arc::new(Both(run.watch(), Arc::clone(&recorder) as Arc<dyn Observer>));
    let begun = begin(run, &phones, consent.clone(), watch).await;
    let mut visit = begun.map_err(|unreached| unreached.stop)?;
    let source = source(run, arguments, &visit).await?;
    run.screen.say(&format!("\n{}", about(&source.plan)));
    // What speaks against it is known within seconds; only then minutes are spent on the proof.
    let first = visit.first_look().await?;
    visit.can_restore(&first, &source.plan)?;
    if first.reach == Reach::Trusted {
        visit.prove_source(&source).await?;
    }
    let mut outcome = visit.diagnose().await?;
    ended(&outcome)?;
    visit.can_restore(&outcome.facts, &source.plan)?;
    let kept = visit.kept().await?;
    let permission = visit.may_replace(&outcome.facts, &kept).await?;
    run.screen.say(permission.sentence());
    agree(run, &mut visit, &consent).await?;
    let recorded = Arc::new(Recorded::begin(visit.dest(), &visit, &outcome, "backup restore")?);
    recorder.keep_in(&recorded);
    let mut accepted = consent;
    accepted.accepted.insert(Accept::ReplaceContent);
    recorded.accepted(&accepted)?;
    let plan = source.plan.clone();
    let done = give(&visit, permission, source, arguments).await;
    outcome.stops.extend(done.as_ref().err().cloned());
    let kept_record = recorded.end(&mut outcome).map(drop);
    let restored = done?;
    kept_record?;
    tell(run, arguments, &plan, &restored, &outcome);
    Ok(())
}

/// The backup that is meant: in the named folder, else the newest of the named phone, else the newest of this one.
async fn source(run: &Run, arguments: &BackupRestore, visit: &Visit) -> Result<RestoreSource, Stop> {
    let of = match &arguments.of {
        Some(named) => Udid::parse(named)
            .ok_or_else(|| Stop::new(Trouble::Usage, format!("{named:?} is no id of a device."), ""))?,
        None => visit.udid().clone(),
    };
    let standing = match &arguments.from {
        Some(folder) => Standing::at(folder).await?,
        None => Standing::newest(visit.dest(), &of).await?,
    };
    let password = match standing.udid() {
        Some(udid) if standing.encrypted() => {
            Some(secrets::needed(run, &udid, standing.lock().as_ref()).await?)
        }
        _ if standing.encrypted() => secrets::given(run)?,
        _ => None,
    };
    RestoreSource::open(standing, password).await
}

fn about(plan: &RestorePlan) -> String {
    let zone = terminal::stdout_style().zone;
    let made = plan.made_at.map_or_else(|| "at an unknown time".to_owned(), |at| words::moment(at, &zone));
    let by = plan.made_by.as_deref().unwrap_or("a phone");
    let system = plan.ios_version.as_ref().map_or_else(String::new, |version| format!(" (iOS {version})"));
    let left_out = match plan.encrypted {
        true => "",
        false => "\n  It is not encrypted: saved passwords, Health data and Wi-Fi networks are not in it.",
    };
    format!(
        "To be restored: the backup of {by}{system},\n  made {made}, {}, in\n  {}{left_out}",
        words::bytes(plan.bytes),
        plan.folder.display()
    )
}

/// The statement that what is on the phone is replaced: by name on the command line, or typed. A yes to everything is none.
async fn agree(run: &Run, visit: &mut Visit, consent: &Consent) -> Result<(), Stop> {
    const WHAT: Accept = Accept::ReplaceContent;
    if consent.has(WHAT) {
        return Ok(());
    }
    let nobody = || {
        Stop::new(
            Trouble::PersonNeeded,
            "Nothing was restored: what is on the phone would be replaced, and nobody said that it may be.",
            format!("Say it by name: --accept {WHAT}."),
        )
    };
    // Who is not shown what is lost cannot agree to it.
    if run.global.yes || run.global.quiet || run.global.json || !terminal::can_ask() {
        return Err(nobody());
    }
    run.screen.say(&format!("\n  {}", WHAT.statement()));
    if owner::types(run, WHAT.as_str()).await {
        visit.accept(WHAT);
        return Ok(());
    }
    if run.cancel.is_cancelled() { Err(Stop::interrupted()) } else { Err(nobody()) }
}

async fn give(
    visit: &Visit,
    permission: Permission,
    source: RestoreSource,
    arguments: &BackupRestore,
) -> Result<Restored, Stop> {
    let options = RestoreOptions {
        system_files: !arguments.no_system,
        preserve_settings: arguments.keep_settings,
        reboot: !arguments.no_reboot,
        dont_copy_backup: true,
        remove_items_not_restored: !arguments.keep_others,
    };
    visit.restore(permission, source, options, !arguments.no_apps).await
}

fn tell(run: &Run, arguments: &BackupRestore, plan: &RestorePlan, restored: &Restored, outcome: &Outcome) {
    if run.global.json {
        let result: Value = json!({
            "event": "result", "schema": format!("idevice-fix/{SCHEMA}/1"), "exit_status": 0, "backup": plan,
            "sent_bytes": restored.sent_bytes, "apps": restored.apps, "restarts": !arguments.no_reboot,
            "notes": restored.notes, "job": outcome.job,
        });
        terminal::print_json(&result);
    }
    run.screen.say(&format!("The phone has taken {}.", words::bytes(restored.sent_bytes)));
    run.screen.say(if arguments.no_reboot { NOT_RESTARTED } else { RESTARTS });
    if restored.apps > 0 {
        let apps = words::counted(restored.apps as u64, "app", "apps");
        run.screen.say(&format!("It was told of {apps}, which it loads from the App Store again."));
    }
}

const NOT_RESTARTED: &str = "It puts everything in place when it is restarted: idevice-fix restart.";
const RESTARTS: &str = "It restarts now and puts everything in place; that takes minutes. Unlock it then and
look through it. What is in iCloud comes back from there when its owner signs in.
Then: idevice-fix diagnose.";
