//! The files below `media/` that are photos or belong to one: originals, clips, RAWs, edits, sidecars, thumbnails.

use std::io::Write;

use jiff::SignedDuration;
use plist::{Dictionary, Value};

use super::Error;
use super::assets::Asset;
use super::folder::{Folder, Times};
use super::kind::Kind;
use super::phone::Phone;
use super::pictures::Studio;
use super::random::Random;
use crate::facts::Owner;

/// Writes every file of every asset, and notes the sizes in `assets`.
pub(super) fn write(phone: &Phone, assets: &mut [Asset], folder: &mut Folder) -> Result<(), Error> {
    let camera = if phone.ios.major == 13 { "iPhone 11" } else { "iPhone 12" };
    let studio = Studio::new(phone.seed, camera);
    let mut random = Random::new(phone.seed, "media");
    let mean = phone.media_bytes / weight(assets).max(1);
    folder.directory("media/DCIM/100APPLE")?;
    let mut last = 0;
    for asset in assets.iter_mut() {
        asset.bytes = varied(&mut random, mean * share(asset.kind));
        asset.second_bytes = varied(&mut random, mean * second_share(asset.kind));
        asset.edit_bytes = varied(&mut random, mean * 3);
        if asset.is_here() {
            asset.bytes = original(asset, &studio, &mut random, folder)?;
        }
        if let Some(extension) = asset.second_extension().filter(|_| asset.second_is_here()) {
            asset.second_bytes = second(asset, extension, &studio, &mut random, folder)?;
        }
        if asset.edited {
            asset.edit_bytes = edit(asset, &studio, &mut random, folder)?;
        }
        thumbnail(asset, &studio, &mut random, folder)?;
        if let Some(number) = asset.stem.strip_prefix("IMG_").filter(|_| asset.owner == Owner::Own) {
            last = number.parse().unwrap_or(last);
        }
    }
    camera_counter(phone, assets, last, folder)
}

/// How heavy an original of a kind is, in fifths of a JPEG.
fn share(kind: Kind) -> u64 {
    match kind {
        Kind::Jpeg | Kind::RawPair => 5,
        Kind::Heic | Kind::Live => 4,
        Kind::Screenshot => 2,
        Kind::Panorama => 9,
        Kind::Video | Kind::SlowMotion => 22,
        Kind::ScreenRecording => 14,
    }
}

/// How heavy the clip or RAW beside it is.
fn second_share(kind: Kind) -> u64 {
    match kind {
        Kind::Live => 5,
        Kind::RawPair => 20,
        _ => 0,
    }
}

/// All shares together.
fn weight(assets: &[Asset]) -> u64 {
    assets
        .iter()
        .map(|asset| share(asset.kind) + second_share(asset.kind) + 3 * u64::from(asset.edited))
        .sum()
}

/// From three to five quarters of `bytes`.
fn varied(random: &mut Random, bytes: u64) -> u64 {
    bytes * random.between(75, 125) / 100
}

fn times(asset: &Asset) -> Times {
    Times { born: asset.created, changed: asset.created }
}

fn original(asset: &Asset, studio: &Studio, random: &mut Random, folder: &mut Folder) -> Result<u64, Error> {
    let tag = random.next();
    folder.stream(&format!("media/{}", asset.path()), times(asset), |out| match asset.kind.extension() {
        "JPG" => studio.jpeg(out, tag, asset.bytes, asset.created),
        "PNG" => studio.png(out, tag, asset.bytes),
        "HEIC" => studio.heic(out, tag, asset.bytes),
        _ => studio.clip(out, tag, asset.bytes),
    })
}

fn second(
    asset: &Asset,
    extension: &str,
    studio: &Studio,
    random: &mut Random,
    folder: &mut Folder,
) -> Result<u64, Error> {
    let tag = random.next();
    let path = format!("media/{}/{}.{extension}", asset.directory, asset.stem);
    folder.stream(&path, times(asset), |out| match extension {
        "DNG" => studio.dng(out, tag, asset.second_bytes),
        _ => studio.clip(out, tag, asset.second_bytes),
    })
}

/// The edited version and its recipe, and for every other one the sidecar that lies beside an original.
fn edit(asset: &Asset, studio: &Studio, random: &mut Random, folder: &mut Folder) -> Result<u64, Error> {
    let tag = random.next();
    let changed = asset.added.checked_add(SignedDuration::from_hours(5)).unwrap_or(asset.added);
    let base = format!("media/PhotoData/Mutations/{}/{}/Adjustments", asset.directory, asset.stem);
    let recipe = recipe(random);
    folder.xml_plist(&format!("{base}/Adjustments.plist"), changed, &recipe)?;
    if asset.directory.starts_with("DCIM") && tag & 1 == 0 {
        folder.xml_plist(&format!("media/{}/{}.AAE", asset.directory, asset.stem), changed, &recipe)?;
    }
    folder.stream(&format!("{base}/FullSizeRender.jpg"), changed, |out| {
        studio.jpeg(out, tag, asset.edit_bytes, asset.created)
    })
}

/// What an edit did, as Photos notes it.
fn recipe(random: &mut Random) -> Value {
    let mut data = vec![0; 96];
    random.fill(&mut data);
    Value::Dictionary(Dictionary::from_iter([
        ("adjustmentBaseVersion", Value::from(0_u64)),
        ("adjustmentData", Value::Data(data)),
        ("adjustmentEditorBundleID", Value::from("com.apple.mobileslideshow")),
        ("adjustmentFormatIdentifier", Value::from("com.apple.photo")),
        ("adjustmentFormatVersion", Value::from("1.5")),
        ("adjustmentRenderTypes", Value::from(0_u64)),
    ]))
}

/// Also for originals that are not here: thumbnails stay.
fn thumbnail(asset: &Asset, studio: &Studio, random: &mut Random, folder: &mut Folder) -> Result<(), Error> {
    let tag = random.next();
    let path = format!("media/PhotoData/Thumbnails/V2/{}/5005.JPG", asset.path());
    folder.stream(&path, asset.added, |out: &mut dyn Write| studio.thumbnail(out, tag)).map(drop)
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
