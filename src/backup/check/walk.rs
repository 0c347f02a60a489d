//! Walks the rows of the manifest and hands out every file that is to be read.

use std::sync::atomic::Ordering;
use std::sync::mpsc;

use super::super::harmless::is_harmless;
use super::super::manifest::{Database, Row};
use super::super::mbfile::MbFile;
use super::super::verify::Refused;
use super::{Job, JobRow, RECORDS, Subject, Told, Watch};

/// Where rows of the camera roll begin.
const MEDIA_PREFIX: &str = "Media/";

/// The walk, and whom it tells.
pub(super) struct Walk<'a> {
    pub(super) subject: &'a Subject,
    pub(super) jobs: mpsc::SyncSender<Job>,
    pub(super) told: mpsc::SyncSender<Told>,
    pub(super) watch: &'a Watch,
    /// Some of the files were taken from another program's backup.
    pub(super) adopts: bool,
}

impl Walk<'_> {
    /// Hands out every file that the rows name, or without rows every file that was received.
    pub(super) fn all(self, database: Option<Database>) {
        for name in RECORDS {
            match self.subject.record.file(name) {
                Some(known) => drop(self.send(Job { stored: name.to_owned(), known, row: None })),
                None => self.damaged(name, "there is no record of receiving it"),
            }
        }
        let Some(database) = database else {
            let files = self.subject.record.files().filter(|(stored, _)| !RECORDS.contains(&stored.as_str()));
            let _ = files.map(|(stored, known)| Job { stored, known, row: None }).all(|job| self.send(job));
            return;
        };
        let mut rows = 0u64;
        let walked = database.rows(|row| {
            rows += 1;
            let job = if row.is_file() { self.job_of(&row) } else { None };
            job.is_none_or(|job| self.send(job)) && !self.watch.stop.load(Ordering::Relaxed)
        });
        match walked {
            Err(error) => self.damaged("Manifest.db", error.to_string()),
            Ok(()) if rows == 0 => self.damaged("Manifest.db", "it names no files at all"),
            Ok(()) => {}
        }
    }

    fn send(&self, job: Job) -> bool {
        !self.watch.stop.load(Ordering::Relaxed) && self.jobs.send(job).is_ok()
    }

    fn tell(&self, told: Told) {
        // Whoever listens does so until the last thread has ended.
        let _ = self.told.send(told);
    }

    fn damaged(&self, path: &str, what: impl Into<String>) {
        self.tell(Told::Damaged(path.to_owned(), what.into()));
    }

    /// What is to be read for a row; `None` where there is nothing to read, and why is told.
    fn job_of(&self, row: &Row) -> Option<Job> {
        let record = &self.subject.record;
        let name = format!("{}::{}", row.domain, row.path);
        let Some(stored) = row.stored() else {
            self.damaged("Manifest.db", format!("{name}: its row has the wrong file name {:?}", row.id));
            return None;
        };
        let file = MbFile::parse(&row.archive).unwrap_or_else(|what| {
            self.damaged("Manifest.db", format!("{name}: its description is damaged: {what}"));
            MbFile::default()
        });
        let known = record.file(&stored);
        let code = known.map_or(0, |known| known.code);
        // What came later has taken a refusal out of the record: one that is there is the last word, and what stands is
        // older.
        let mut refused = if code != 0 { Some(code) } else { record.refused(&row.id) };
        let harmless = is_harmless(&row.domain, &row.path);
        let empty = known.is_none_or(|known| known.adopted && known.bytes == 0 && file.size > 0);
        if self.adopts && harmless && empty && refused.is_none() {
            // Another program may have kept no code of what the phone refused to it.
            refused = Some(0);
        }
        if let Some(code) = refused {
            let (domain, path) = (row.domain.clone(), row.path.clone());
            self.tell(Told::Refused(Refused { domain, path, code, harmless }));
        }
        let Some(known) = known else {
            let there = self.subject.own.symlink_metadata(&stored).is_ok();
            if there {
                self.tell(Told::Stands);
            }
            if refused.is_none() {
                let what = if there { "there is no record of receiving it" } else { "it is missing" };
                self.damaged(&stored, format!("{name}: {what}"));
            }
            return None;
        };
        let media = row.path.strip_prefix(MEDIA_PREFIX).filter(|_| row.domain == "CameraRollDomain");
        let media = media.filter(|_| refused.is_none()).map(str::to_owned);
        Some(Job { stored, known, row: Some(JobRow { name, media, file, refused: refused.is_some() }) })
    }
}

#[cfg(test)]
mod tests {
    use cap_std::fs::Dir;

    use super::super::super::manifest::file_id;
    use super::super::super::record::{Journal, Record};
    use super::*;
    use crate::mobilebackup2::ledger::{Entry, Ledger, Received};

    #[test]
    fn a_file_that_the_phone_refused_anew_is_told_although_an_older_one_stands() {
        let temp = tempfile::tempdir().unwrap();
        let root = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
        root.create_dir("own").unwrap();
        let (domain, path) = ("HomeDomain".to_owned(), "Library/SMS/sms.db".to_owned());
        let id = file_id(&domain, &path);
        let row = Row { id, domain, path, flags: 1, archive: Vec::new() };
        let stored = row.stored().unwrap();
        let received = |path: String, bytes, code| {
            Entry::Received(Received { path, device_path: String::new(), bytes, sha256: [0; 32], code })
        };
        let anew = format!("Snapshot/{stored}");
        let mut journal = Journal::open(&root).unwrap();
        let older = received(stored.clone(), 3, 0);
        let moved = Entry::Moved { from: anew.clone(), to: stored };
        journal.keep(&[older, received(anew, 0, 0x0B), moved]).unwrap();
        let (own, record) = (root.open_dir("own").unwrap(), Record::load(&root).unwrap());
        let subject = Subject { root, own, record, before: None, sample: None };
        let ((jobs, _waiting), (tell, told)) = (mpsc::sync_channel(9), mpsc::sync_channel(9));
        let watch = Watch::default();
        Walk { subject: &subject, jobs, told: tell, watch: &watch, adopts: false }.job_of(&row);
        let refused: Vec<Refused> = told
            .iter()
            .filter_map(|told| match told {
                Told::Refused(refused) => Some(refused),
                _ => None,
            })
            .collect();
        let [refused] = &refused[..] else { panic!("{refused:?}") };
        assert_eq!((refused.code, refused.harmless), (0x0B, false));
    }
}
