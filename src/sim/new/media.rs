//! The files below `media/` that are photos or belong to one: originals, clips, RAWs, edits, sidecars, thumbnails.

use jiff::SignedDuration;
use plist::{Dictionary, Value};

use super::Error;
use super::assets::Asset;
use super::folder::{Folder, Times};
use super::kind::Kind;
use super::originals::{Made, Nowhere, Originals, measure};
use super::phone::Phone;
use super::pictures::{Sink, Studio};
use super::random::Random;
use super::sizes::Scale;
use crate::facts::{Owner, Place};

/// From this version on the edited version of a HEIC is one too.
const HEIC_EDITS_SINCE: u32 = 17;
/// Up to this version the edited version lies in the camera's folder as well, for whoever copies over USB.
const EDITS_IN_DCIM_UNTIL: u32 = 14;

/// Writes every file of every asset, and notes the sizes in `assets`.
///
/// What iCloud alone holds is made as well, so that the library states its true size and fingerprint, and written to
/// `originals` if there is one.
pub(super) fn write(
    phone: &Phone,
    assets: &mut [Asset],
    folder: &mut Folder,
    originals: &mut Option<Originals>,
) -> Result<(), Error> {
    let sizes = Random::new(phone.seed, "sizes");
    let mut scale = Scale::new(phone.sizes, phone.media_bytes, assets, sizes);
    let mut writer = Writer {
        phone,
        studio: studio(phone),
        random: Random::new(phone.seed, "media"),
        absent: Random::new(phone.seed, "absent"),
        folder,
    };
    writer.folder.directory("media/DCIM/100APPLE")?;
    let mut last = 0;
    for asset in assets.iter_mut() {
        asset.bytes = scale.original(asset.kind);
        asset.second_bytes = scale.second(asset.kind);
        asset.edit_bytes = scale.edit(asset.kind);
        if asset.expunged {
            continue;
        }
        let (bytes, fingerprint) = writer.original(asset, originals)?;
        (asset.bytes, asset.fingerprint) = (bytes, fingerprint);
        if let Some(extension) = asset.second_extension() {
            let (bytes, fingerprint) = writer.second(asset, extension, originals)?;
            (asset.second_bytes, asset.second_fingerprint) = (bytes, fingerprint);
        }
        if asset.edited {
            asset.edit_bytes = writer.edit(asset)?;
        } else if asset.kind == Kind::SlowMotion && asset.is_here() {
            writer.slow_motion(asset)?;
        }
        writer.thumbnail(asset)?;
        if let Some(number) = asset.stem.strip_prefix("IMG_").filter(|_| asset.owner == Owner::Own) {
            last = number.parse().unwrap_or(last);
        }
    }
    camera_counter(phone, assets, last, folder)
}

/// The phone's pictures.
pub(super) fn studio(phone: &Phone) -> Studio {
    Studio::new(phone.seed, if phone.ios.major == 13 { "iPhone 11" } else { "iPhone 12" }, phone.sparse)
}

struct Writer<'a> {
    phone: &'a Phone,
    studio: Studio,
    random: Random,
    /// Chooses the content of what is not here, so that it changes nothing of what is.
    absent: Random,
    folder: &'a mut Folder,
}

impl Writer<'_> {
    fn original(&mut self, asset: &Asset, originals: &mut Option<Originals>) -> Result<Made, Error> {
        let extension = asset.kind.extension();
        if !asset.is_here() {
            return self.elsewhere(asset, asset.place, extension, asset.bytes, originals);
        }
        let path = format!("media/{}", asset.path());
        self.fingerprinted(&path, times(asset), extension, asset, asset.bytes)
    }

    /// The clip of a Live Photo, or a RAW.
    fn second(
        &mut self,
        asset: &Asset,
        extension: &str,
        originals: &mut Option<Originals>,
    ) -> Result<Made, Error> {
        if !asset.second_is_here() {
            return self.elsewhere(asset, asset.clip_place, extension, asset.second_bytes, originals);
        }
        let path = format!("media/{}/{}.{extension}", asset.directory, asset.stem);
        self.fingerprinted(&path, times(asset), extension, asset, asset.second_bytes)
    }

    /// A file that is on no phone.
    fn elsewhere(
        &mut self,
        asset: &Asset,
        place: Place,
        extension: &str,
        bytes: u64,
        originals: &mut Option<Originals>,
    ) -> Result<Made, Error> {
        let (tag, studio) = (self.absent.next(), &self.studio);
        let write = |out: &mut dyn Sink| draw(studio, out, extension, tag, bytes, asset.created);
        match originals.as_mut().filter(|_| place == Place::OnlyInIcloud) {
            Some(originals) => originals.write(asset, extension, write),
            None => measure(&mut Nowhere, write).map_err(|error| Error::Io { path: "nowhere".into(), error }),
        }
    }

    fn fingerprinted(
        &mut self,
        path: &str,
        times: Times,
        extension: &str,
        asset: &Asset,
        bytes: u64,
    ) -> Result<Made, Error> {
        let (tag, studio) = (self.random.next(), &self.studio);
        let mut fingerprint = None;
        let length = self.folder.stream(path, times, |out| {
            let write = |out: &mut dyn Sink| draw(studio, out, extension, tag, bytes, asset.created);
            fingerprint = measure(out, write)?.1;
            Ok(())
        })?;
        Ok((length, fingerprint))
    }

    fn picture(
        &mut self,
        path: &str,
        times: Times,
        extension: &str,
        asset: &Asset,
        bytes: u64,
    ) -> Result<u64, Error> {
        let (tag, studio) = (self.random.next(), &self.studio);
        self.folder.stream(path, times, |out| draw(studio, out, extension, tag, bytes, asset.created))
    }

    /// The edited version and its recipe, and for every other one the sidecar that lies beside an original.
    fn edit(&mut self, asset: &Asset) -> Result<u64, Error> {
        let changed = edited_at(asset);
        let base = mutations(asset);
        let recipe = recipe(&mut self.random, "com.apple.photo", "1.5");
        self.folder.xml_plist(&format!("{base}/Adjustments.plist"), changed, &recipe)?;
        let extension = self.edited_extension(asset.kind);
        if asset.directory.starts_with("DCIM") && self.random.next() & 1 == 0 {
            let beside = format!("media/{}/{}", asset.directory, asset.stem);
            self.folder.xml_plist(&format!("{beside}.AAE"), changed, &recipe)?;
            if self.phone.ios.major <= EDITS_IN_DCIM_UNTIL && !asset.kind.is_video() {
                let path = format!("media/{}/{}.JPG", asset.directory, asset.stem.replace("IMG_", "IMG_E"));
                self.picture(&path, changed.into(), "JPG", asset, asset.edit_bytes)?;
            }
        }
        if asset.kind == Kind::Live {
            let path = format!("{base}/FullSizeRender.mov");
            self.picture(&path, changed.into(), "mov", asset, asset.second_bytes)?;
        }
        let path = format!("{base}/FullSizeRender.{extension}");
        self.picture(&path, changed.into(), extension, asset, asset.edit_bytes)
    }

    fn edited_extension(&self, kind: Kind) -> &'static str {
        match kind {
            kind if kind.is_video() => "mov",
            Kind::Heic | Kind::Live if self.phone.ios.major >= HEIC_EDITS_SINCE => "heic",
            _ => "jpg",
        }
    }

    /// How slow: a recipe without an edited version, since the phone plays it slowly by itself.
    fn slow_motion(&mut self, asset: &Asset) -> Result<(), Error> {
        let recipe = recipe(&mut self.random, "com.apple.video.slomo", "1.1");
        let path = format!("{}/Adjustments.plist", mutations(asset));
        self.folder.xml_plist(&path, times(asset), &recipe)
    }

    /// Also for originals that are not here: thumbnails stay.
    fn thumbnail(&mut self, asset: &Asset) -> Result<(), Error> {
        let (tag, studio) = (self.random.next(), &self.studio);
        let path = format!("media/PhotoData/Thumbnails/V2/{}/5005.JPG", asset.path());
        self.folder.stream(&path, asset.added, |out| studio.thumbnail(out, tag)).map(drop)
    }
}

/// A picture, clip or RAW of about `bytes`.
fn draw(
    studio: &Studio,
    out: &mut dyn Sink,
    extension: &str,
    tag: u64,
    bytes: u64,
    taken: jiff::Timestamp,
) -> std::io::Result<()> {
    match extension {
        "JPG" | "jpg" => studio.jpeg(out, tag, bytes, taken),
        "PNG" => studio.png(out, tag, bytes),
        "HEIC" | "heic" => studio.heic(out, tag, bytes),
        "DNG" => studio.dng(out, tag, bytes),
        _ => studio.clip(out, tag, bytes),
    }
}

fn mutations(asset: &Asset) -> String {
    format!("media/PhotoData/Mutations/{}/{}/Adjustments", asset.directory, asset.stem)
}

fn edited_at(asset: &Asset) -> jiff::Timestamp {
    asset.added.checked_add(SignedDuration::from_hours(5)).unwrap_or(asset.added)
}

fn times(asset: &Asset) -> Times {
    Times { born: asset.created, changed: asset.created }
}

/// What an edit did, as Photos notes it.
fn recipe(random: &mut Random, format: &str, version: &str) -> Value {
    let mut data = vec![0; 96];
    random.fill(&mut data);
    Value::Dictionary(Dictionary::from_iter([
        ("adjustmentBaseVersion", Value::from(0_u64)),
        ("adjustmentData", Value::Data(data)),
        ("adjustmentEditorBundleID", Value::from("com.apple.mobileslideshow")),
        ("adjustmentFormatIdentifier", Value::from(format)),
        ("adjustmentFormatVersion", Value::from(version)),
        ("adjustmentRenderTypes", Value::from(0_u64)),
    ]))
}

/// Where the camera stands.
fn camera_counter(phone: &Phone, assets: &[Asset], last: u32, folder: &mut Folder) -> Result<(), Error> {
    let own = assets.iter().filter(|asset| asset.directory.starts_with("DCIM/"));
    let directories = own.filter_map(|asset| asset.directory["DCIM/".len()..].strip_suffix("APPLE"));
    let directory: u64 = directories.filter_map(|number| number.parse().ok()).max().unwrap_or(100);
    let counter = Value::Dictionary(Dictionary::from_iter([
        ("DCIMLastDirectoryNumber", Value::from(directory)),
        ("DCIMLastFileNumber", Value::from(u64::from(last))),
    ]));
    let newest = assets.iter().map(|asset| asset.added).max().unwrap_or(phone.now);
    folder.binary_plist("media/PhotoData/MISC/DCIM_APPLE.plist", newest, &counter)
}
