//! The releases of iOS that can be made, and the phones that run them.

use super::Error;

/// One release of iOS as far as the folder shows it.
#[derive(Debug, Clone)]
pub(super) struct Ios {
    /// e.g. 18.
    pub(super) major: u32,
    /// e.g. `18.4.1`.
    pub(super) version: String,
    /// e.g. `22E252`.
    pub(super) build: &'static str,
    /// `PLModelVersion` of its photo library.
    pub(super) library_model: i64,
    /// The phone that runs it.
    pub(super) hardware: &'static Hardware,
}

/// One phone model.
#[derive(Debug)]
pub(super) struct Hardware {
    pub(super) product_type: &'static str,
    pub(super) board: &'static str,
    pub(super) platform: &'static str,
    pub(super) chip_id: u32,
    pub(super) model_number: &'static str,
    pub(super) battery_mah: u32,
}

const IPHONE_11: Hardware = Hardware {
    product_type: "iPhone12,1",
    board: "N104AP",
    platform: "t8030",
    chip_id: 0x8030,
    model_number: "MWLT2",
    battery_mah: 3110,
};
const IPHONE_12: Hardware = Hardware {
    product_type: "iPhone13,2",
    board: "D53gAP",
    platform: "t8101",
    chip_id: 0x8101,
    model_number: "MGH93",
    battery_mah: 2815,
};

/// The version meant by a bare major number, its build, the library's model, the phone. A library's model changes
/// within a major version too; see [`Ios::of`].
const RELEASES: &[(u32, &str, &str, i64, &Hardware)] = &[
    (13, "13.7", "17H35", 13703, &IPHONE_11),
    (14, "14.8.1", "18H107", 14208, &IPHONE_12),
    (15, "15.8.3", "19H386", 15502, &IPHONE_12),
    (16, "16.7.10", "20H350", 16502, &IPHONE_12),
    (17, "17.7.2", "21H221", 17600, &IPHONE_12),
    (18, "18.4.1", "22E252", 18600, &IPHONE_12),
    (26, "26.1", "23B85", 19320, &IPHONE_12),
    (27, "27.0.1", "24A339", 270_008_501, &IPHONE_12),
];

impl Ios {
    /// The release that `text` names: `18` or `18.4.1`.
    ///
    /// # Errors
    /// [`Error::UnknownIos`] for a version of which we know no library.
    pub(super) fn of(text: &str) -> Result<Self, Error> {
        let unknown = || Error::UnknownIos(text.to_owned());
        let numbers: Vec<u32> =
            text.split('.').map(str::parse).collect::<Result<_, _>>().map_err(|_| unknown())?;
        let (major, minor) = (numbers[0], numbers.get(1).copied());
        let (_, version, build, model, hardware) =
            RELEASES.iter().find(|release| release.0 == major).ok_or_else(unknown)?;
        let version = if minor.is_some() { text } else { version };
        let library_model = match (major, minor) {
            (16, Some(0..=3)) => 16320,
            (17, Some(0..=4)) => 17120,
            _ => *model,
        };
        Ok(Self { major, version: version.to_owned(), build, library_model, hardware })
    }

    /// Every major version that can be made.
    #[cfg(test)]
    pub(super) fn majors() -> impl Iterator<Item = u32> {
        RELEASES.iter().map(|release| release.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_taken_by_major_number_or_in_full() {
        assert_eq!(Ios::of("18").unwrap().version, "18.4.1");
        assert_eq!(Ios::of("16.1.1").unwrap().library_model, 16320);
        assert_eq!(Ios::of("16").unwrap().library_model, 16502);
        for wrong in ["", "12", "x", "18.", "18.x", "-1"] {
            assert!(Ios::of(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn every_release_has_a_described_library() {
        let models = super::super::schema::Schema::models(super::super::schema::PHOTOS);
        for major in Ios::majors() {
            let ios = Ios::of(&major.to_string()).unwrap();
            assert!(models.contains(&ios.library_model), "{major}");
        }
    }
}
