use super::*;

#[test]
fn a_phone_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let made =
        create(dir.path(), &NewOptions { media_bytes: Some(2_000_000), ..NewOptions::default() }).unwrap();
    assert_eq!(made.counts.assets, Some(120));
}
