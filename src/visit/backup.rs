//! The backup's part of a visit.

use std::sync::Arc;

use cap_std::fs::Dir;

use super::Visit;
use super::carry::Failed;
use super::kept::Kept;
use super::photos::Copying;
use super::protect::{Protected, Wish};
use super::stop::Stop;
use crate::facts::Facts;
use crate::lockdown::Session;
use crate::photos::Store;
use crate::progress::{CancellationToken, Observer};

/// A backup while it is made.
#[derive(Debug, Default)]
pub(super) struct Backing {}

impl Backing {
    pub(super) fn new(_visit: &Visit, _wish: Wish) -> Result<Self, Stop> {
        Ok(Self {})
    }
}

pub(super) async fn back_up_once(
    _session: Arc<Session>,
    _backing: &mut Backing,
    _observer: &Arc<dyn Observer>,
    _cancel: &CancellationToken,
) -> Result<(), Failed> {
    Ok(())
}

impl Visit {
    pub(super) async fn prove_backup(
        &self,
        _backing: &mut Backing,
        _wish: Wish,
        _protected: &mut Protected,
    ) -> Result<(), Stop> {
        Ok(())
    }

    pub(super) async fn take_from_backup(
        &self,
        _store: &Store,
        _facts: &Facts,
        _copying: &mut Copying,
        _backing: &Backing,
        _kept: &mut Kept,
    ) -> Result<(), Stop> {
        Ok(())
    }
}

#[expect(clippy::too_many_arguments, reason = "x")]
pub(super) async fn prove_again(
    _folder: Dir,
    _udid: &crate::usbmux::Udid,
    _depth: crate::photos::verify::Depth,
    _password: Option<&crate::backup::Secret>,
    _kept: &mut Kept,
    _observer: &dyn Observer,
    _cancel: &CancellationToken,
) -> Result<(), Stop> {
    Ok(())
}
