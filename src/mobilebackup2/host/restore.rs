//! The host's side of a restore: the phone takes what it wants from a backup, and the backup stays as it is.

use super::{
    CancellationToken, Disk, Error, Folder, Host, Observer, Outcome, Phase, Progress, Report, Run, Talk,
};
use crate::mobilebackup2::Secret;
use crate::mobilebackup2::request::Request;
use crate::mobilebackup2::wish::{Restore, RestoreOptions, Subject};

/// What is restored, and how.
#[derive(Debug)]
pub struct Wish<'a> {
    /// The device that is restored: its UDID. The backup may be another device's.
    pub target: &'a str,
    /// How. [`RestoreOptions::dont_copy_backup`] is set in any case: the phone has no say in what else lies here.
    pub options: RestoreOptions,
    /// The password of an encrypted backup.
    pub password: Option<Secret>,
}

impl Host {
    /// Has the device restore itself from the backup in `folder`, which must be one that may only be read
    /// ([`Folder::open_read_only`]): whatever the phone asks for, nothing here changes. [`Outcome::Finished`] means that
    /// the phone has everything; most of it is in place only after its restart.
    ///
    /// # Panics
    /// When the folder could be changed.
    pub async fn restore(
        self,
        wish: Wish<'_>,
        folder: Folder,
        observer: &dyn Observer,
        cancel: &CancellationToken,
    ) -> Report {
        assert!(folder.is_read_only(), "a backup that is restored must not change");
        if wish.password.as_ref().is_some_and(|password| password.text().is_none()) {
            return Run::report_of(Outcome::Broken(Error::PasswordNoText));
        }
        let subject = Subject { target: wish.target.to_owned(), source: folder.udid().as_str().to_owned() };
        let options = RestoreOptions { dont_copy_backup: true, ..wish.options };
        let request = Request::Restore(Restore { subject, options, password: wish.password });
        let mut stream = self.stream;
        let mut run = match Disk::start(folder, Box::new(Vec::new())) {
            Ok(disk) => Run::new(disk, Progress::new(observer, Phase::Restore)),
            Err(error) => return Run::report_of(Outcome::HostError(error)),
        };
        run.wants_all = true;
        let mut talk = Talk::new(&mut stream, self.patience, cancel);
        let ended = run.serve(&mut talk, request).await;
        if !matches!(
            ended,
            Err(Error::Broken { .. } | Error::Stream { .. } | Error::Endless { .. } | Error::Cancelled)
        ) {
            talk.leave().await;
        }
        run.finish(ended.unwrap_or_else(Outcome::Broken)).await
    }
}

#[cfg(test)]
mod tests;
