//! Labelled cases: phones, each with what must be found on it. A folder of them is judged with one call, through the
//! whole way from the wire to the verdict, as a visit does it.
//!
//! A case is a folder with an `expect.toml` (the label) and a phone: a `recipe.toml` (a scenario and changes to it), a
//! folder `device/`, or the files of a simulated device beside the label, so that a real dump needs nothing but a label.
//! Both files are described in the project's README.

mod label;
mod meeting;
mod recipe;

use std::path::{Path, PathBuf};

use futures_util::{StreamExt, stream};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::runtime::Handle;
use tokio::sync::oneshot;

use crate::progress::CancellationToken;
use crate::report::Diagnosed;
use label::Label;
use meeting::Meeting;
use recipe::Recipe;

/// A label or a recipe is a page.
const TOML_BYTES_MAX: u64 = 1 << 20;
/// The stack of a program's first thread on Linux.
const STACK_BYTES: usize = 8 << 20;
/// How deep cases are looked for.
const DEPTH_MAX: u32 = 4;

/// Why a case could not be judged at all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The label is none.
    #[error("its label: {0}")]
    Label(String),
    /// No phone could be made of the recipe.
    #[error("its recipe: {0}")]
    Recipe(String),
    /// Its folder is no simulated device.
    #[error(transparent)]
    Folder(#[from] super::FolderError),
    /// A file of it, or of this computer, could not be used.
    #[error("{path}: {error}")]
    Io {
        /// Which.
        path: String,
        /// Why.
        error: String,
    },
    /// The visit came to nothing.
    #[error("the visit came to nothing: {0}")]
    Visit(String),
}

impl Error {
    fn label(reason: impl Into<String>) -> Self {
        Self::Label(reason.into())
    }

    fn recipe(reason: impl Into<String>) -> Self {
        Self::Recipe(reason.into())
    }

    fn io(path: &Path, error: &std::io::Error) -> Self {
        Self::Io { path: path.display().to_string(), error: error.to_string() }
    }
}

/// A case after it was judged.
#[derive(Debug, Clone, Serialize)]
pub struct Judged {
    /// Its folder's name, with the folders above it up to the one that was given.
    pub name: String,
    /// The first finding, if anything was found.
    pub first: Option<String>,
    /// Where the judgement is not what the label says; empty when it is right.
    pub wrong: Vec<String>,
    /// What is said to be safe, or open, without the label saying so.
    pub falsely_safe: Vec<String>,
    /// The ids of all findings.
    pub findings: Vec<String>,
    /// The ids of all reasons that keep a verdict from being safe.
    pub reasons: Vec<String>,
    /// The phone's version of iOS.
    pub ios_version: Option<String>,
}

impl Judged {
    /// The judgement is what the label says.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.wrong.is_empty() && self.falsely_safe.is_empty()
    }

    fn new(name: String, label: &Label, judged: &Diagnosed) -> Self {
        let wrong = label.hold(judged);
        let findings: Vec<String> = judged.findings.iter().map(|finding| finding.id.clone()).collect();
        Self {
            name,
            first: findings.first().cloned(),
            wrong: wrong.complaints,
            falsely_safe: wrong.falsely_safe,
            findings,
            reasons: judged.verdict.reasons.iter().map(|reason| reason.id.clone()).collect(),
            ios_version: judged.device.as_ref().and_then(|device| device.ios_version.clone()),
        }
    }

    fn failed(name: String, error: &Error) -> Self {
        let (wrong, nothing) = (vec![error.to_string()], Vec::new);
        Self {
            name,
            first: None,
            wrong,
            falsely_safe: nothing(),
            findings: nothing(),
            reasons: nothing(),
            ios_version: None,
        }
    }
}

/// The cases below a folder, by name: every folder that holds a label. The folder itself may be one.
///
/// # Errors
/// It cannot be read.
pub fn find(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    look(folder, DEPTH_MAX, &mut found)?;
    found.sort();
    Ok(found)
}

fn look(folder: &Path, depth: u32, found: &mut Vec<PathBuf>) -> Result<(), Error> {
    if folder.join(label::FILE).is_file() {
        found.push(folder.to_owned());
        return Ok(());
    }
    let failed = |error: std::io::Error| Error::io(folder, &error);
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if depth > 0 && entry.file_type().map_err(failed)?.is_dir() {
            look(&entry.path(), depth - 1, found)?;
        }
    }
    Ok(())
}

/// Judges every case below `folder`, `at_once` of them at the same time, and tells each, in order, as soon as it can.
///
/// # Errors
/// The folder cannot be read. A case that cannot be judged is a wrong one, with the reason.
pub async fn judge(
    folder: &Path,
    at_once: usize,
    cancel: &CancellationToken,
    mut tell: impl FnMut(&Judged),
) -> Result<Vec<Judged>, Error> {
    let cases = find(folder)?.into_iter().map(|case| {
        let name = case.strip_prefix(folder).map_or_else(|_| case.clone(), Path::to_owned);
        let name = if name.as_os_str().is_empty() { case.file_name().map(PathBuf::from) } else { Some(name) };
        let name = name.unwrap_or_default().display().to_string();
        let cancel = cancel.clone();
        let runtime = Handle::current();
        // A visit stays on its thread, which is as large as the one of a program that makes one visit.
        let thread = std::thread::Builder::new().name(name.clone()).stack_size(STACK_BYTES);
        let (done, judged) = oneshot::channel();
        let started = thread.spawn(move || {
            // Nobody waits any more where the judging was stopped.
            let _ = done.send(runtime.block_on(one(name, &case, &cancel)));
        });
        async move {
            started.map_err(|error| Error::io(Path::new("a thread"), &error))?;
            Ok::<_, Error>(judged.await.expect("a case that panics ends the judging"))
        }
    });
    let mut judged = Vec::new();
    let mut running = stream::iter(cases).buffered(at_once.max(1));
    while let Some(done) = running.next().await {
        let one = done?;
        tell(&one);
        judged.push(one);
        if cancel.is_cancelled() {
            break;
        }
    }
    Ok(judged)
}

async fn one(name: String, case: &Path, cancel: &CancellationToken) -> Judged {
    let judged = async {
        let label = Label::read(case)?;
        let recipe = Recipe::read(case)?;
        let outcome = Meeting::prepare(case, recipe, &label.before, cancel).await?.judge().await?;
        Ok::<_, Error>((label, Diagnosed::of(&outcome)))
    };
    match judged.await {
        Ok((label, judged)) => Judged::new(name, &label, &judged),
        Err(error) => Judged::failed(name, &error),
    }
}

/// A file of a case; `None` if it is not there.
fn read_toml<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Error> {
    let failed = |error: std::io::Error| Error::io(path, &error);
    match std::fs::metadata(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
        Ok(metadata) if metadata.len() > TOML_BYTES_MAX => {
            return Err(Error::label(format!("{} is longer than a page", path.display())));
        }
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(path).map_err(failed)?;
    toml::from_str(&text).map(Some).map_err(|error| Error::label(format!("{}: {error}", path.display())))
}
