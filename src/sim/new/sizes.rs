//! How large the files of pictures are.

use super::assets::Asset;
use super::kind::Kind;
use super::random::Random;

/// How large the files of pictures are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sizes {
    /// In a camera's proportions, as large as [`NewOptions::media_bytes`] has room for.
    ///
    /// [`NewOptions::media_bytes`]: super::NewOptions::media_bytes
    #[default]
    Proportional,
    /// As an iPhone's camera makes them: stills of 0.8 to 3 MB, the clips of Live Photos of 2 MB, videos of up to
    /// 40 MB, screenshots of 0.3 MB, sidecars of 1 KB. 750 photos make some 1,250 files and about 2 GB.
    Real,
    /// Each of about so many bytes; never less than the smallest picture of its kind (up to 3 KB).
    Each(u64),
}

/// What one file may have: so many bytes at least, so many at most, and how rare the large ones are.
#[derive(Debug, Clone, Copy)]
struct Range {
    from: u64,
    to: u64,
    rarity: i32,
}

const fn range(from: u64, to: u64, rarity: i32) -> Range {
    Range { from, to, rarity }
}

const STILL: Range = range(800_000, 3_000_000, 4);
const LIVE_CLIP: Range = range(2_000_000, 2_200_000, 1);
const VIDEO: Range = range(2_000_000, 40_000_000, 9);
const SCREENSHOT: Range = range(200_000, 400_000, 1);
const PANORAMA: Range = range(4_000_000, 12_000_000, 2);
const RAW: Range = range(8_000_000, 12_000_000, 1);

/// Decides sizes.
pub(super) struct Scale {
    sizes: Sizes,
    /// Bytes of a share, for [`Sizes::Proportional`].
    mean: u64,
    random: Random,
}

impl Scale {
    /// For all `assets`, which have `media_bytes` together if sizes are proportional.
    pub(super) fn new(sizes: Sizes, media_bytes: u64, assets: &[Asset], random: Random) -> Self {
        Self { sizes, mean: media_bytes / weight(assets).max(1), random }
    }

    /// The original.
    pub(super) fn original(&mut self, kind: Kind) -> u64 {
        let range = match kind {
            Kind::Screenshot => SCREENSHOT,
            Kind::Panorama => PANORAMA,
            Kind::Video | Kind::SlowMotion | Kind::ScreenRecording => VIDEO,
            _ => STILL,
        };
        self.size(range, share(kind))
    }

    /// The clip or RAW beside it.
    pub(super) fn second(&mut self, kind: Kind) -> u64 {
        let range = if kind == Kind::RawPair { RAW } else { LIVE_CLIP };
        self.size(range, second_share(kind))
    }

    /// An edited version.
    pub(super) fn edit(&mut self, kind: Kind) -> u64 {
        self.size(if kind.is_video() { VIDEO } else { STILL }, EDIT_SHARE)
    }

    fn size(&mut self, range: Range, share: u64) -> u64 {
        match self.sizes {
            // From three to five quarters.
            Sizes::Proportional => self.mean * share * self.random.between(75, 125) / 100,
            Sizes::Real => {
                let part = self.random.fraction().powi(range.rarity);
                range.from + ((range.to - range.from) as f64 * part) as u64
            }
            Sizes::Each(bytes) => bytes,
        }
    }
}

/// How heavy an edited version is, in fifths of a JPEG.
const EDIT_SHARE: u64 = 3;

/// How heavy an original of a kind is.
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
        .map(|asset| share(asset.kind) + second_share(asset.kind) + EDIT_SHARE * u64::from(asset.edited))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scale(sizes: Sizes) -> Scale {
        Scale::new(sizes, 1_000_000, &[], Random::new(1, "sizes"))
    }

    #[test]
    fn real_sizes_are_a_cameras() {
        let mut scale = scale(Sizes::Real);
        let (mut stills, mut videos) = (0, 0);
        for _ in 0..1000 {
            let still = scale.original(Kind::Heic);
            assert!((800_000..=3_000_000).contains(&still));
            stills += still;
            let video = scale.original(Kind::Video);
            assert!((2_000_000..=40_000_000).contains(&video));
            videos += video;
        }
        assert!((1_100_000_000..1_400_000_000).contains(&stills), "{stills}");
        assert!((4_500_000_000..7_500_000_000).contains(&videos), "{videos}");
    }

    #[test]
    fn each_file_has_the_bytes_asked_for() {
        let mut scale = scale(Sizes::Each(20_000));
        assert_eq!((scale.original(Kind::Jpeg), scale.second(Kind::Live)), (20_000, 20_000));
        assert_eq!(scale.edit(Kind::Video), 20_000);
    }
}
