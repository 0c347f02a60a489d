//! What the photo library and the iCloud Photos engine's files are made of, and whether what they say fits together.
//! Tables, columns, keys and states; never a row.

use std::collections::BTreeMap;
use std::path::Path;

use super::node::{Node, Section};
use super::reason;
use super::shape;
use super::word::{Word, shape as shape_of};
use crate::afc::{Afc, Kind, Status};
use crate::collect;
use crate::facts::{Asset, Library, Owner, Place};
use crate::frame::{self, DictExt, Limits};
use crate::library::census::{Census, State, States};
use crate::library::cpl;
use crate::progress::{CancellationToken, Silent};

/// The engine's files.
const ENGINE_FILES: &[&str] = &[
    cpl::STATUS_PATH,
    cpl::PAUSE_PATH,
    cpl::DOWNLOAD_COUNTS_PATH,
    cpl::SERVER_CONFIGURATION_PATH,
    cpl::SWITCHINGS_PATHS[0],
    cpl::SWITCHINGS_PATHS[1],
    cpl::SWITCHINGS_PATHS[2],
    "PhotoData/CPL/metrics.plist",
    "PhotoData/CPL/mobileCPL.plist",
    "PhotoData/CPL/resetevents.plist",
    "PhotoData/MISC/DCIM_APPLE.plist",
];
/// The longest of them that is read, in bytes.
const ENGINE_FILE_BYTES_MAX: u64 = 1 << 20;
/// What one of them may hold.
const LIMITS: Limits = Limits { bytes: ENGINE_FILE_BYTES_MAX as usize, depth: 32, nodes: 50_000 };
/// Tables of which the columns are named; of the others they are counted.
const READ_TABLES: [&str; 5] =
    ["ZASSET", "ZGENERICASSET", "ZADDITIONALASSETATTRIBUTES", "ZCLOUDMASTER", "ZINTERNALRESOURCE"];
/// Assets whose files are looked at.
const SAMPLE: usize = 60;
/// The largest model version that is shown whole. That of iOS 27 has nine digits, which could be anything: of such a
/// one the first two are shown.
const MODEL_VERSION_MAX: u64 = 99_999;

/// The engine's files: which are there, their keys and kinds. Gives the server's count of assets, if it is told.
pub(super) async fn engine(afc: &Afc, into: &mut Section) -> Option<u64> {
    let mut on_server = None;
    for path in ENGINE_FILES {
        let told = match afc.read_file(path, ENGINE_FILE_BYTES_MAX).await {
            Err(error) => Node::Word(reason::of_afc(&error)),
            Ok(bytes) => match frame::parse(&bytes, &LIMITS) {
                Err(error) => Node::Word(reason::of_wire(&error)),
                Ok(value) => {
                    if *path == cpl::STATUS_PATH {
                        on_server = server_count(&value);
                    }
                    match value.as_array().and_then(|items| items.first()) {
                        Some(first) => shape::of(first),
                        None => shape::of(&value),
                    }
                }
            },
        };
        into.put(path, told);
        if afc.is_dead() {
            break;
        }
    }
    on_server
}

fn server_count(status: &plist::Value) -> Option<u64> {
    let counts = status.as_dictionary()?.dict("cloudAssetCountPerType")?;
    counts
        .keys()
        .map(|kind| counts.uint(kind))
        .try_fold(0, |sum, count| count.map(|count| sum + count.min(1 << 40)))
}

/// The database. `Ok(None)`: we were asked to stop.
pub(super) async fn database(
    afc: &Afc,
    scratch: &Path,
    cancel: &CancellationToken,
    into: &mut Section,
) -> Result<Option<Census>, Word> {
    let census = match collect::census(afc, scratch, &Silent, cancel).await {
        Ok(Some(census)) => census,
        Ok(None) => return Ok(None),
        Err(_) => return Err(Word::own("the database could not be copied or read")),
    };
    tell(&census, into);
    Ok(Some(census))
}

fn tell(census: &Census, into: &mut Section) {
    let version = census.model_version.and_then(|version| u64::try_from(version).ok());
    into.put(
        "model version",
        match version {
            None => Node::own("not told"),
            Some(version) if version > MODEL_VERSION_MAX => Node::figure(version),
            Some(version) => Word::number_up_to(version, MODEL_VERSION_MAX).into(),
        },
    );
    let mut hidden: BTreeMap<Word, u64> = BTreeMap::new();
    for table in &census.tables {
        let Some(name) = Word::library_name(&table.table) else {
            *hidden.entry(shape_of(&table.table)).or_default() += 1;
            continue;
        };
        let columns = if READ_TABLES.contains(&table.table.as_str()) {
            columns(&table.columns)
        } else {
            Word::number_up_to(table.columns.len() as u64, 999).into()
        };
        into.section(Word::own("tables")).insert(name, columns);
    }
    let other = hidden.into_iter().map(|(shape, count)| (shape, Word::about(count).into())).collect();
    into.put("other tables", Node::Map(other));
    for states in &census.states {
        let entries = into.section(Word::own("states"));
        let table = entries.entry(Word::own(states.table)).or_insert_with(|| Node::Map(BTreeMap::new()));
        if let Node::Map(table) = table {
            table.insert(Word::own(states.column), histogram(states));
        }
    }
    into.put("can be read", census.library.is_some());
}

fn columns(names: &[String]) -> Node {
    let mut shown = BTreeMap::new();
    let mut hidden = 0;
    for name in names {
        match Word::library_name(name) {
            Some(name) => {
                shown.insert(name, Node::own("there"));
            }
            None => hidden += 1,
        }
    }
    if hidden > 0 {
        shown.insert(Word::own("(not shown)"), Word::about(hidden).into());
    }
    Node::Map(shown)
}

fn histogram(states: &States) -> Node {
    let mut counts: BTreeMap<Word, u64> = BTreeMap::new();
    for (state, count) in &states.counts {
        let word = match state {
            State::Null => Word::own("null"),
            State::Number(number) => Word::state(*number),
            State::NoNumber => Word::own("no number"),
            State::Further => Word::own("further numbers"),
        };
        *counts.entry(word).or_default() += count;
    }
    Node::Map(counts.into_iter().map(|(state, count)| (state, Word::about(count).into())).collect())
}

/// Do two ways of counting agree?
pub(super) async fn cross_check(afc: &Afc, library: &Library, on_server: Option<u64>, into: &mut Section) {
    let counts = &library.counts;
    let sum =
        |parts: &[Option<u64>]| parts.iter().copied().try_fold(0, |sum, part| part.map(|part| sum + part));
    let agree = |one: Option<u64>, other: Option<u64>| match (one, other) {
        (Some(one), Some(other)) if one == other => Word::own("agree"),
        (Some(_), Some(_)) => Word::own("differ"),
        _ => Word::own("cannot be told"),
    };
    let uploads = [counts.uploaded, counts.waiting, counts.failed, counts.never_queued];
    into.put("assets by the state of their upload", agree(counts.assets, sum(&uploads)));
    let places = [
        counts.originals_here_and_in_icloud,
        counts.originals_only_here,
        counts.originals_only_in_icloud,
        counts.originals_in_neither,
        counts.originals_place_unknown,
    ];
    into.put("assets by the place of their originals", agree(counts.assets, sum(&places)));
    let server = match (agree(counts.uploaded, on_server), agree(library.uploaded_with_trashed, on_server)) {
        (with, _) if with.as_str() == "agree" => Word::own("agree, without what is in Recently Deleted"),
        (_, with) if with.as_str() == "agree" => Word::own("agree, with what is in Recently Deleted"),
        (other, _) => other,
    };
    into.put("uploaded here and counted by the server", server);
    into.put("states that are not known", Word::about(library.unknown_states.len() as u64));
    files(afc, library.assets.as_deref().unwrap_or_default(), into).await;
}

/// Looks at the files of some assets: are those there that should be, and no others? With the stated sizes?
async fn files(afc: &Afc, assets: &[Asset], into: &mut Section) {
    let own: Vec<&Asset> =
        assets.iter().filter(|asset| asset.owner == Owner::Own && !asset.path.is_empty()).collect();
    let here = |asset: &&&Asset| matches!(asset.place, Place::HereAndInIcloud | Place::OnlyHere);
    let away = |asset: &&&Asset| asset.place == Place::OnlyInIcloud;
    let mut sizes = Tally::default();
    let mut present = Tally::default();
    for asset in spread(own.iter().filter(here).copied().collect()) {
        let resource = asset.resources.iter().find(|resource| resource.path.as_ref() == Some(&asset.path));
        match afc.file_info(&asset.path).await {
            Ok(info) => {
                present.count(info.kind == Kind::File);
                if let Some(stated) = resource.and_then(|resource| resource.stated_bytes) {
                    sizes.count(stated == info.size);
                }
            }
            Err(error) if error.status() == Some(Status::NotFound) => present.count(false),
            Err(error) if error.status().is_some() => {}
            Err(_) => break,
        }
    }
    let mut absent = Tally::default();
    for asset in spread(own.iter().filter(away).copied().collect()) {
        match afc.file_info(&asset.path).await {
            Ok(_) => absent.count(false),
            Err(error) if error.status() == Some(Status::NotFound) => absent.count(true),
            Err(error) if error.status().is_some() => {}
            Err(_) => break,
        }
    }
    into.put("originals that are here have a file", present.word());
    into.put("originals that are only in iCloud have none", absent.word());
    into.put("files have the stated sizes", sizes.word());
}

/// Some of many, from everywhere among them.
fn spread(all: Vec<&Asset>) -> Vec<&Asset> {
    let step = all.len().div_ceil(SAMPLE).max(1);
    all.into_iter().step_by(step).collect()
}

#[derive(Default)]
struct Tally {
    yes: usize,
    no: usize,
}

impl Tally {
    fn count(&mut self, yes: bool) {
        self.yes += usize::from(yes);
        self.no += usize::from(!yes);
    }

    fn word(&self) -> Word {
        Word::own(match (self.yes, self.no) {
            (0, 0) => "none was looked at",
            (_, 0) => "agree",
            (0, _) => "differ, all of them",
            (yes, no) if yes > no => "differ, the fewer of them",
            _ => "differ, the most of them",
        })
    }
}
