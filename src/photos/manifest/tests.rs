//! What a manifest says after it was written, torn, changed or made up.

use cap_std::fs::{Dir, OpenOptions};

use super::*;
use crate::facts::ResourceKind;

const UDID: &str = "00008101-000000000000001E";

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn open(&self) -> Result<Manifest, Unusable> {
        let dir = Dir::open_ambient_dir(self.0.path(), cap_std::ambient_authority()).unwrap();
        let file = dir.open_with("m", OpenOptions::new().read(true).write(true).create(true)).unwrap();
        Manifest::open(file, &Udid::parse(UDID).unwrap(), true, &Known::default())
    }

    fn bytes(&self) -> Vec<u8> {
        std::fs::read(self.0.path().join("m")).unwrap()
    }
}

fn entry(n: u8) -> Entry {
    Entry {
        size: 5,
        sha256: [n; 32],
        mtime_ns: -3,
        birthtime_ns: 4,
        source: Source::Afc,
        whole: true,
        asset: Some("A".into()),
        part: Some(ResourceKind::LiveVideo),
        damaged: None,
        trashed: Some(None),
        stored_as: Some("a%~1".into()),
    }
}

#[test]
fn a_later_line_wins_and_everything_comes_back() {
    let place = Place::new();
    let mut manifest = place.open().unwrap();
    manifest.add(vec![Note::Refused("b".into(), "no".into())]).unwrap();
    manifest
        .add(vec![
            Note::Copied("a".into(), entry(1)),
            Note::Copied("a".into(), entry(2)),
            Note::Copied("b".into(), entry(3)),
            Note::Copied("c".into(), entry(4)),
            Note::Damaged("c".into(), "gone".into()),
        ])
        .unwrap();
    let mut again = place.open().unwrap();
    assert_eq!(again.entries().len(), 3);
    assert_eq!(*again.entries()["a"], entry(2));
    assert_eq!(again.entries()["c"].damaged.as_deref(), Some("gone"));
    assert!(again.refused().is_empty(), "what was copied later is refused no more");
    assert_eq!(again.sha256().unwrap(), manifest.sha256().unwrap());
}

#[test]
fn a_manifest_torn_at_any_byte_keeps_all_lines_before() {
    let place = Place::new();
    place.open().unwrap().add(vec![Note::Copied("a".into(), entry(1))]).unwrap();
    let before = place.bytes().len();
    place.open().unwrap().add(vec![Note::Copied("b".into(), entry(2))]).unwrap();
    let bytes = place.bytes();
    for cut in before..bytes.len() {
        std::fs::write(place.0.path().join("m"), &bytes[..cut]).unwrap();
        let mut manifest = place.open().unwrap();
        assert_eq!(manifest.entries().len(), 1, "cut at {cut}");
        manifest.add(vec![Note::Copied("c".into(), entry(3))]).unwrap();
        assert_eq!(place.open().unwrap().entries().len(), 2, "cut at {cut}");
    }
    for cut in 0..=40 {
        std::fs::write(place.0.path().join("m"), &bytes[..cut]).unwrap();
        assert!(place.open().unwrap().entries().is_empty());
    }
}

#[test]
fn a_line_too_long_names_nothing_and_what_follows_counts() {
    let place = Place::new();
    place.open().unwrap().add(vec![Note::Copied("a".into(), entry(1))]).unwrap();
    let whole = place.bytes();
    let again = String::from_utf8(whole.clone()).unwrap().lines().last().unwrap().replace("\"a\"", "\"b\"");
    // Its last piece alone would be a line.
    let most = usize::try_from(LINE_BYTES_MAX).unwrap();
    for more in [0, 1, most] {
        let long = [&vec![b' '; most + more][..], again.as_bytes(), b"\n"].concat();
        let last = format!("{}\n", again.replace("\"b\"", "\"c\""));
        let bytes = [&whole[..], &long, last.as_bytes()].concat();
        std::fs::write(place.0.path().join("m"), &bytes).unwrap();
        let manifest = place.open().unwrap();
        let mut names: Vec<_> = manifest.entries().keys().map(|path| path.to_string()).collect();
        names.sort();
        assert_eq!((names, manifest.unreadable_lines()), (vec!["a".to_owned(), "c".to_owned()], 1));
        assert_eq!(place.bytes().len(), bytes.len());
    }
}

#[test]
fn anothers_manifest_is_refused_and_damage_in_the_middle_is_counted() {
    let place = Place::new();
    let first = format!("{{\"schema\":\"{SCHEMA}\",\"udid\":\"{UDID}\"}}\n");
    let hostile = "{\"path\":\"../x\",\"size\":1,\"sha256\":\"00\"}\nnoise\n";
    std::fs::write(place.0.path().join("m"), format!("{first}{hostile}")).unwrap();
    assert_eq!(place.open().unwrap().unreadable_lines(), 2);
    for bad in [first.replace("1E", "2E"), first.replace("manifest/1", "manifest/9"), "{}\n".to_owned()] {
        std::fs::write(place.0.path().join("m"), bad).unwrap();
        assert!(matches!(place.open(), Err(Unusable::Foreign(_))));
    }
}
