//! `restart`: restarts the phone, which clears states that are stuck in its memory.

use super::phones::Phones;
use super::run::Run;
use super::visits::begin;
use crate::remedy::Consent;
use crate::visit::Stop;

/// Restarts the phone.
pub(super) async fn restart(run: &Run) -> Result<(), Stop> {
    asked(run).await.map_err(|stop| run.explain("restart", stop))
}

async fn asked(run: &Run) -> Result<(), Stop> {
    let phones = Phones::open(run)?;
    let begun = begin(run, &phones, Consent::default(), run.watch_query()).await;
    let visit = begun.map_err(|unreached| unreached.stop)?;
    visit.ask_to_restart().await?;
    if run.global.json {
        super::terminal::print_json(&serde_json::json!({
            "schema": "idevice-fix/restart/1", "udid": visit.udid().as_str(), "restarting": true,
        }));
    }
    run.screen
        .say("The phone restarts. Unlock it afterwards, then run idevice-fix diagnose to see what changed.");
    Ok(())
}
