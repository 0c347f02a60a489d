//! What a phone may and may not do in its folder.

use super::*;

const UDID: &str = "00008101-000000000000001E";

fn folder() -> (tempfile::TempDir, Folder) {
    let temp = tempfile::tempdir().unwrap();
    let root = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
    let folder = Folder::open(root, Udid::parse(UDID).unwrap(), 0).unwrap();
    (temp, folder)
}

fn put(folder: &mut Folder, path: &str, bytes: &[u8]) -> Result<(), Denied> {
    let place = folder.place_inside(path)?;
    let mut incoming = folder.begin()?;
    incoming.file.write_all(bytes)?;
    Ok(folder.place_file(incoming, &place)?)
}

#[test]
fn hostile_paths_are_refused() {
    let (_temp, folder) = folder();
    let long = format!("{UDID}/{}", "a/".repeat(3000));
    let deep = format!("{UDID}{}", "/a".repeat(17));
    for bad in [
        "",
        "/",
        ".",
        "..",
        "//",
        "/etc/passwd",
        "../x",
        &format!("{UDID}/.."),
        &format!("{UDID}/../x"),
        &format!("{UDID}/./x"),
        &format!("{UDID}//x"),
        &format!("{UDID}/x/"),
        &format!("{UDID}/"),
        &format!("//{UDID}/x"),
        &format!("{UDID}/a\0b"),
        &format!("{UDID}x/a"),
        &format!("x/{UDID}/a"),
        "incoming/0",
        "incoming",
        "00008101-000000000000001F/Manifest.db",
        &UDID.to_lowercase(),
        &long,
        &deep,
    ] {
        assert!(matches!(folder.place(bad), Err(Denied::Path { .. })), "{bad:?}");
    }
    assert!(folder.place(UDID).is_ok());
    assert!(folder.place_inside(UDID).is_err());
    assert_eq!(folder.place(&format!("/{UDID}/a/b")).unwrap().relative(), "a/b");
}

#[test]
fn no_link_is_followed() {
    let (temp, mut folder) = folder();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), b"secret").unwrap();
    let own = temp.path().join(UDID);
    std::os::unix::fs::symlink(outside.path(), own.join("dir")).unwrap();
    std::os::unix::fs::symlink(outside.path().join("secret"), own.join("file")).unwrap();

    assert!(put(&mut folder, &format!("{UDID}/dir/new"), b"x").is_err());
    assert!(folder.open_file(&format!("{UDID}/file")).is_err());
    assert!(folder.open_file(&format!("{UDID}/dir/secret")).is_err());
    assert!(folder.list(&format!("{UDID}/dir")).is_err());
    assert!(folder.create_directory(&format!("{UDID}/dir/sub")).is_err());
    let place = |path: &str| Place::parse(&Udid::parse(UDID).unwrap(), &format!("{UDID}/{path}")).unwrap();
    assert!(folder.remove(&place("dir/secret")).is_err());
    // What comes in replaces the link, not what it points to.
    put(&mut folder, &format!("{UDID}/file"), b"new").unwrap();
    folder.remove(&place("dir")).unwrap();
    assert_eq!(std::fs::read(outside.path().join("secret")).unwrap(), b"secret");
    assert_eq!(std::fs::read(own.join("file")).unwrap(), b"new");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
}

#[test]
fn a_copy_ends_when_that_is_wished_and_leaves_nothing() {
    let (temp, mut folder) = folder();
    put(&mut folder, &format!("{UDID}/a"), &vec![1; 3 << 20]).unwrap();
    let (from, to) = (
        folder.place_inside(&format!("{UDID}/a")).unwrap(),
        folder.place_inside(&format!("{UDID}/b")).unwrap(),
    );
    let stop = CancellationToken::new();
    folder.stop_with(stop.clone());
    folder.copy(&from, &to).unwrap();
    stop.cancel();
    folder.remove(&to).unwrap();
    assert!(folder.copy(&from, &to).is_err());
    assert!(!folder.stands(&to));
    assert_eq!(std::fs::read_dir(temp.path().join(INCOMING)).unwrap().count(), 0);
}

#[test]
fn a_hard_linked_older_copy_never_changes() {
    let (temp, mut folder) = folder();
    put(&mut folder, &format!("{UDID}/a"), b"old").unwrap();
    std::fs::hard_link(temp.path().join(UDID).join("a"), temp.path().join("older")).unwrap();
    put(&mut folder, &format!("{UDID}/a"), b"new").unwrap();
    put(&mut folder, &format!("{UDID}/b"), b"moved").unwrap();
    let place = |path: &str| folder.place_inside(&format!("{UDID}/{path}")).unwrap();
    folder.rename(&place("b"), &place("a")).unwrap();
    assert_eq!(std::fs::read(temp.path().join("older")).unwrap(), b"old");
    assert_eq!(std::fs::read(temp.path().join(UDID).join("a")).unwrap(), b"moved");
}

#[test]
fn folders_are_made_listed_moved_copied_and_removed() {
    let (temp, mut folder) = folder();
    folder.create_directory(&format!("{UDID}/Snapshot/ab")).unwrap();
    folder.create_directory(&format!("{UDID}/Snapshot/ab")).unwrap();
    put(&mut folder, &format!("{UDID}/Snapshot/ab/abcd"), b"12345").unwrap();
    let listing = folder.list(&format!("{UDID}/Snapshot/ab")).unwrap();
    let entry = listing["abcd"].as_dictionary().unwrap();
    assert_eq!(entry["DLFileSize"].as_unsigned_integer(), Some(5));
    assert_eq!(entry["DLFileType"].as_string(), Some("DLFileTypeRegular"));
    assert!(folder.list(&format!("{UDID}/nothing")).unwrap().is_empty());

    let place = |path: &str| Place::parse(&Udid::parse(UDID).unwrap(), &format!("{UDID}/{path}")).unwrap();
    folder.copy(&place("Snapshot"), &place("Copy")).unwrap();
    assert!(folder.copy(&place("Copy"), &place("Copy/inside")).is_err());
    folder.create_directory(&format!("{UDID}/ab/left over")).unwrap();
    folder.rename(&place("Snapshot/ab"), &place("ab")).unwrap();
    assert!(folder.rename(&place("ab"), &place("ab/x")).is_err());
    let own = temp.path().join(UDID);
    assert_eq!(std::fs::read(own.join("ab/abcd")).unwrap(), b"12345");
    assert_eq!(std::fs::read(own.join("Copy/ab/abcd")).unwrap(), b"12345");
    folder.remove(&place("Copy")).unwrap();
    folder.remove(&place("Copy")).unwrap();
    assert!(!own.join("Copy").exists());
    assert!(put(&mut folder, &format!("{UDID}/ab"), b"a file where a folder is").is_err());
    assert!(put(&mut folder, &format!("{UDID}/missing/a"), b"").is_err());
    assert_eq!(std::fs::read_dir(temp.path().join(INCOMING)).unwrap().count(), 0);
}

#[test]
fn a_folder_that_is_only_read_changes_in_nothing() {
    let (temp, mut folder) = folder();
    put(&mut folder, &format!("{UDID}/a"), b"kept").unwrap();
    let root = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
    let mut read = Folder::open_read_only(root, Udid::parse(UDID).unwrap()).unwrap();
    let a = format!("{UDID}/a");
    assert!(read.open_file(&a).is_ok());
    assert_eq!(read.list(UDID).unwrap().len(), 1);
    assert!(read.free_bytes().unwrap() > 0);
    assert!(matches!(read.place_to_change(&a), Err(Denied::Path { .. })));
    assert!(matches!(read.create_directory(&format!("{UDID}/b")), Err(Denied::Path { .. })));
    assert!(put(&mut read, &a, b"other").is_err());
    assert_eq!(std::fs::read(temp.path().join(UDID).join("a")).unwrap(), b"kept");
    let missing = Udid::parse("00008101-00000000000000FF").unwrap();
    let root = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
    assert!(Folder::open_read_only(root, missing).is_err());
}

#[test]
fn the_reserve_is_not_offered() {
    let (temp, folder) = folder();
    let root = Dir::open_ambient_dir(temp.path(), cap_std::ambient_authority()).unwrap();
    let all = folder.free_bytes().unwrap();
    let less = Folder::open(root, Udid::parse(UDID).unwrap(), u64::MAX).unwrap();
    assert!(all > 0);
    assert_eq!(less.free_bytes().unwrap(), 0);
    folder.sync_handle().unwrap().sync().unwrap();
}
