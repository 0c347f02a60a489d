//! The engine's own store, `PhotoData/CPL/storage/store.cloudphotodb`: what waits to go up, and why items failed.
//!
//! Apple's, undescribed; table and column names as real libraries have them. A part that is missing counts as empty
//! only when its table is there; a store without the table of outgoing files is none that we know.

use std::collections::HashMap;
use std::path::Path;

use super::Unreadable;
use super::untrusted::Untrusted;
use crate::facts::text::plain;
use crate::facts::{Backlog, Scope};

/// The store's name in the folder that [`read_backlog`] is given.
pub const STORE_NAME: &str = "store.cloudphotodb";
/// Where the store is below the media root.
pub const STORE_FOLDER: &str = "PhotoData/CPL/storage";
/// More rows than any store has.
const ROWS_MAX: usize = 10_000_000;
/// Different reasons that are listed.
const REASONS_MAX: usize = 50;
/// More libraries than anybody shares.
const SCOPES_MAX: usize = 1_000;

/// Reads what waits from `dir`, which holds copies of `store.cloudphotodb` and its `-wal`, if there is one.
///
/// # Errors
/// As [`super::read_database`].
pub fn read_backlog(dir: &Path) -> Result<Backlog, Unreadable> {
    let store = Untrusted::open(dir, STORE_NAME)?;
    let outgoing = store.table("outgoingResources")?.ok_or_else(|| store.no_table("outgoingResources"))?;
    let mut backlog = Backlog::default();
    store.scan(&outgoing, &["fileSize"], ROWS_MAX, |cells| {
        backlog.outgoing_files += 1;
        backlog.outgoing_bytes = backlog.outgoing_bytes.saturating_add(cells.bytes(0).unwrap_or(0));
        Ok(())
    })?;
    if let Some(changes) = store.table("pushRepository")? {
        store.scan(&changes, &[], ROWS_MAX, |_| {
            backlog.outgoing_changes += 1;
            Ok(())
        })?;
    }
    backlog.quarantined = quarantined(&store)?;
    // What waits is worth more than which libraries there are.
    match scopes(&store) {
        Ok(scopes) => backlog.scopes = scopes,
        Err(unreadable) => backlog.scopes_unread = Some(plain(&unreadable.to_string())),
    }
    Ok(backlog)
}

/// The libraries that the store keeps in step; columns that a version does not have are what it has not noted.
fn scopes(store: &Untrusted) -> Result<Vec<Scope>, Unreadable> {
    const COLUMNS: [&str; 8] = [
        "scopeIdentifier",
        "estimatedAssetCount",
        "estimatedSize",
        "initialSyncDate",
        "pullFromTransportLastCompletionDate",
        "disabledDate",
        "deleteDate",
        "droppedSomeRecords",
    ];
    let Some(table) = store.table("scopes")? else { return Ok(Vec::new()) };
    let mut scopes = Vec::new();
    store.scan(&table, &COLUMNS, SCOPES_MAX, |cells| {
        scopes.push(Scope {
            identifier: cells.text(0).map(plain),
            estimated_assets: cells.bytes(1),
            estimated_bytes: cells.bytes(2),
            initial_sync: cells.time(3),
            last_pull: cells.time(4),
            disabled_at: cells.time(5),
            delete_at: cells.time(6),
            dropped_some_records: cells.whole(7).map(|number| number != 0),
        });
        Ok(())
    })?;
    Ok(scopes)
}

fn quarantined(store: &Untrusted) -> Result<Vec<(String, u64)>, Unreadable> {
    let Some(table) = store.table("quarantinedRecords")? else { return Ok(Vec::new()) };
    let mut reasons: HashMap<String, u64> = HashMap::new();
    store.scan(&table, &["reason"], ROWS_MAX, |cells| {
        let reason = plain(cells.text(0).unwrap_or_default());
        let room = reasons.len() < REASONS_MAX || reasons.contains_key(&reason);
        *reasons.entry(if room { reason } else { String::new() }).or_default() += 1;
        Ok(())
    })?;
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok(reasons)
}
