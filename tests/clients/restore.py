"""Backups that go back: restores by real programs, and what they have the phone tell and unpack of a backup.

After a restore the phone's folder must be what it was, byte by byte, links and dates included.
"""

import csv
import io
import os
import pathlib
import plistlib
import shutil
import time

import backups
from peers import pair_with_idevicepair, pair_with_pymobiledevice3
from phone import Failed, sha256
from registry import check

RESTART_S = 40
PASSWORD = "correct horse"
# What hosts themselves leave in the media folder: a lock, and the apps that a phone is to install after a restore.
OF_THE_HOST = ("media/com.apple.itunes.lock_sync", "media/iTunesRestore")


def everything(phone):
    """Every file, folder and link of the phone: content or target, and the date to the second."""
    found = {}
    for part in ("media", "files"):
        for root, folders, files in os.walk(phone.folder / part):
            for name in folders + files:
                path = pathlib.Path(root) / name
                relative = str(path.relative_to(phone.folder))
                if relative.startswith(OF_THE_HOST):
                    continue
                if path.is_symlink():
                    found[relative] = ("link", os.readlink(path), int(path.lstat().st_mtime))
                elif path.is_dir():
                    found[relative] = ("folder",)
                else:
                    found[relative] = ("file", sha256(path), int(path.stat().st_mtime))
    return found


def must_be_equal(before, after, what):
    gone = sorted(set(before) - set(after))
    new = sorted(set(after) - set(before))
    other = sorted(path for path in set(before) & set(after) if before[path] != after[path])
    if gone or new or other:
        example = [(path, before[path], after[path]) for path in other[:1]]
        raise Failed(
            f"{what}: {len(gone)} gone {gone[:2]}, {len(new)} new {new[:2]}, {len(other)} other {example}"
        )


def wait_until(holds, what):
    deadline = time.monotonic() + RESTART_S
    while not holds():
        if time.monotonic() > deadline:
            raise Failed(f"{what} did not happen within {RESTART_S} s")
        time.sleep(0.2)


def set_find_my(phone, on):
    path = phone.folder / "lockdown.plist"
    values = plistlib.loads(path.read_bytes())
    values["com.apple.fmip"] = {"IsAssociated": on}
    path.write_bytes(plistlib.dumps(values))


def a_phone(world, temper="kind", **told):
    phone = world.phone(f"restore-{temper}", "--temper", temper, "--photos", "24", **told)
    set_find_my(phone, False)
    (phone.media / "DCIM/100APPLE/a link").symlink_to("IMG_0001.HEIC")
    (phone.media / "Downloads/empty folder").mkdir(parents=True)
    return phone


def change(phone):
    """A photo that is new, one that is gone, one with other bytes, messages that are others, settings that are new."""
    originals = sorted((phone.media / "DCIM/100APPLE").glob("*.JPG"))
    shutil.copyfile(originals[0], phone.media / "DCIM/100APPLE/IMG_9001.JPG")
    originals[-1].unlink()
    originals[1].write_bytes(b"other bytes")
    (phone.folder / "files/HomeDomain/Library/SMS/sms.db").write_bytes(b"other messages")
    settings = phone.folder / "files/HomeDomain/Library/Preferences/com.example.new.plist"
    settings.write_bytes(plistlib.dumps({"New": True}))


def back_up(world, phone, folder, client):
    folder.mkdir()
    with world.serve([phone], f"backup-{client}") as running:
        if client == "lim":
            pair_with_idevicepair(running)
            running.run("idevicebackup2", "backup", "--full", folder)
        else:
            pair_with_pymobiledevice3(world, running)
            running.run(world.pmd3, "backup2", "backup", "--full", folder)


def goes_back(world, phone, client, restore):
    """Backed up, changed, restored by `restore(running, folder)`: as it was."""
    before = everything(phone)
    folder = world.scratch / "backup"
    back_up(world, phone, folder, client)
    change(phone)
    with world.serve([phone], f"restore-{client}", keep=True) as running:
        (pair_with_idevicepair if client == "lim" else lambda one: pair_with_pymobiledevice3(world, one))(running)
        restore(running, folder)
        wait_until(lambda: not (phone.folder / "state/restore.waiting").exists(), "the restart")
        wait_until(lambda: running.run("idevice_id", "-l").split() == [phone.udid], "the phone's return")
    must_be_equal(before, everything(phone), "after the restore")
    if (phone.media / "iTunesRestore").exists():
        raise Failed("the list of apps to install is still there")
    return f"{len(before)} files, folders and links equal"


@check("idevicebackup2", "restore --system --settings --remove: the phone is as it was, after its restart")
def lim_restore(world):
    def restore(running, folder):
        said = running.run("idevicebackup2", "restore", "--system", "--settings", "--remove", folder)
        if "Restore Successful" not in said:
            raise Failed(said[-300:])

    return goes_back(world, a_phone(world), "lim", restore)


@check("idevicebackup2", "restore of a harsh phone, and with --copy a copy of the backup beside it")
def lim_restore_harsh(world):
    copies = []

    def restore(running, folder):
        running.run("idevicebackup2", "restore", "--system", "--settings", "--remove", "--copy", folder)
        copies.extend(path.name for path in folder.iterdir() if path.name.startswith(f"{phone.udid}-"))

    phone = a_phone(world, "harsh")
    word = goes_back(world, phone, "lim", restore)
    if len(copies) != 1:
        raise Failed(f"copies of the backup: {copies}")
    return word


@check("idevicebackup2", "restore of an encrypted backup; a wrong password is error 207")
def lim_restore_encrypted(world):
    def restore(running, folder):
        options = ["restore", "--system", "--settings", "--remove", "--password"]
        said = running.run("idevicebackup2", *options, "wrong", folder, ok=(256 - 207,))
        if "ErrorCode 207" not in said:
            raise Failed(said[-300:])
        running.run("idevicebackup2", *options, PASSWORD, folder)

    phone = a_phone(world, backup={"password": PASSWORD, "dpic": 100, "iter": 10})
    return goes_back(world, phone, "lim", restore)


@check("idevicebackup2", "restore --no-reboot waits for a restart; a second one before it is error 102")
def lim_no_reboot(world):
    def restore(running, folder):
        changed = everything(phone)
        options = ["restore", "--system", "--settings", "--remove", "--no-reboot", folder]
        running.run("idevicebackup2", *options)
        must_be_equal(changed, everything(phone), "before the restart")
        said = running.run("idevicebackup2", *options, ok=(256 - 102,))
        if "/var/.backup.i" not in said:
            raise Failed(said[-300:])
        running.run("idevicediagnostics", "restart")

    phone = a_phone(world)
    return goes_back(world, phone, "lim", restore)


@check("idevicebackup2", "restore without options: photos come back, messages, settings and new files stay")
def lim_restore_little(world):
    phone = a_phone(world)
    before = everything(phone)
    folder = world.scratch / "backup"
    back_up(world, phone, folder, "lim")
    change(phone)
    with world.serve([phone], "restore", keep=True) as running:
        pair_with_idevicepair(running)
        running.run("idevicebackup2", "restore", folder)
        wait_until(lambda: not (phone.folder / "state/restore.waiting").exists(), "the restart")
    after = everything(phone)
    lost = [path for path in before if path.startswith("media/DCIM/") and after.get(path) != before[path]]
    if lost:
        raise Failed(f"not restored: {lost[:3]}")
    for path in ("media/DCIM/100APPLE/IMG_9001.JPG", "files/HomeDomain/Library/Preferences/com.example.new.plist"):
        if path not in after:
            raise Failed(f"{path} was removed")
    messages = "files/HomeDomain/Library/SMS/sms.db"
    if after[messages] == before[messages]:
        raise Failed("the messages came back without --system")


@check("idevicebackup2", "restore while Find My is on is error 211 and changes nothing")
def lim_find_my(world):
    phone = a_phone(world)
    folder = world.scratch / "backup"
    back_up(world, phone, folder, "lim")
    set_find_my(phone, True)
    before = everything(phone)
    with world.serve([phone], "restore", keep=True) as running:
        pair_with_idevicepair(running)
        said = running.run("idevicebackup2", "restore", "--system", folder, ok=(256 - 211,))
    if "Find My iPhone must be disabled before restoring (MBErrorDomain/211)" not in said:
        raise Failed(said[-300:])
    must_be_equal(before, everything(phone), "after the refusal")


@check("pymobiledevice3", "restore with system, settings and removal: the phone is as it was, after its restart")
def pmd3_restore(world):
    def restore(running, folder):
        # Its --settings means that the phone's own are kept.
        options = ["--system", "--no-settings", "--remove"]
        running.run(world.pmd3, "backup2", "restore", *options, folder)

    return goes_back(world, a_phone(world), "pmd3", restore)


@check("pymobiledevice3", "restore of an encrypted backup, with a copy of it beside")
def pmd3_restore_encrypted(world):
    def restore(running, folder):
        options = ["--system", "--no-settings", "--remove", "--copy", "--password", PASSWORD]
        running.run(world.pmd3, "backup2", "restore", *options, folder)

    phone = a_phone(world, backup={"password": PASSWORD, "dpic": 100, "iter": 10})
    return goes_back(world, phone, "pmd3", restore)


def unpacked_is_the_media(phone, folder):
    """The camera roll that was unpacked is the phone's."""
    out = folder / "_unback_" / phone.udid / "var/mobile/Media/DCIM"
    want = {path.relative_to(phone.media / "DCIM"): path for path in (phone.media / "DCIM").rglob("*")}
    files = {name: path for name, path in want.items() if path.is_file() and not path.is_symlink()}
    wrong = [str(name) for name, path in files.items() if not (out / name).is_file() or sha256(out / name) != sha256(path)]
    if not files or wrong:
        raise Failed(f"{len(wrong)} of {len(files)} files are not the phone's: {wrong[:3]}")
    return f"{len(files)} photos"


def listed(phone, text):
    rows = list(csv.DictReader(io.StringIO(text)))
    files = {row["Path"]: row for row in rows if row["Kind"] == "file" and row["Domain"] == "CameraRollDomain"}
    for path in (phone.media / "DCIM").rglob("*"):
        if path.is_file() and not path.is_symlink():
            row = files.get(f"Media/{path.relative_to(phone.media)}")
            if row is None or int(row["Size"]) != path.stat().st_size:
                raise Failed(f"{path.name}: {row}")
    return f"{len(rows)} rows"


@check("idevicebackup2", "info, list, unback, cloud off and on")
def lim_inspects(world):
    phone = a_phone(world)
    folder = world.scratch / "backup"
    back_up(world, phone, folder, "lim")
    with world.serve([phone], "inspect") as running:
        pair_with_idevicepair(running)
        if f"Unique Identifier: {phone.udid}" not in running.run("idevicebackup2", "info", folder):
            raise Failed("info does not name the phone")
        rows = listed(phone, running.run("idevicebackup2", "list", folder, errors=False))
        running.run("idevicebackup2", "unback", folder)
        photos = unpacked_is_the_media(phone, folder)
        for state, told in (("off", "false"), ("on", "true")):
            running.run("idevicebackup2", "cloud", state)
            said = running.run("ideviceinfo", "-q", "com.apple.mobile.backup", "-k", "CloudBackupEnabled")
            if said.strip() != told:
                raise Failed(f"cloud {state}: {said}")
    return f"{rows}, {photos}"


@check("idevicebackup2", "list on a harsh phone fails as on real ones since iOS 10: no Manifest.mbdb")
def lim_list_harsh(world):
    phone = a_phone(world, "harsh")
    folder = world.scratch / "backup"
    back_up(world, phone, folder, "lim")
    with world.serve([phone], "inspect") as running:
        pair_with_idevicepair(running)
        said = running.run("idevicebackup2", "list", folder, ok=(256 - 205,))
        if f'"{phone.udid}/Manifest.mbdb" (MBErrorDomain/4)' not in said:
            raise Failed(said)


def pmd3_inspects(world, phone, *password):
    folder = world.scratch / "backup"
    back_up(world, phone, folder, "pmd3")
    with world.serve([phone], "inspect") as running:
        pair_with_pymobiledevice3(world, running)
        words = "no list without a password"
        if not password:
            if phone.udid not in running.run(world.pmd3, "backup2", "info", folder, errors=False):
                raise Failed("info does not name the phone")
            words = listed(phone, running.run(world.pmd3, "backup2", "list", folder, errors=False))
        running.run(world.pmd3, "backup2", "unback", *password, folder)
        photos = unpacked_is_the_media(phone, folder)
        shutil.rmtree(folder / "_unback_")
        running.run(
            world.pmd3, "backup2", "extract", *password, "HomeDomain", "Library/SMS/sms.db", folder,
        )
        one = [path for path in (folder / "_unback_").rglob("*") if path.is_file()]
        messages = phone.folder / "files/HomeDomain/Library/SMS/sms.db"
        if len(one) != 1 or sha256(one[0]) != sha256(messages):
            raise Failed(f"extracted: {one}")
    return f"{words}, {photos}"


@check("pymobiledevice3", "info, list, unback, extract")
def pmd3_inspects_plain(world):
    return pmd3_inspects(world, a_phone(world))


@check("pymobiledevice3", "unback and extract of an encrypted backup")
def pmd3_inspects_encrypted(world):
    phone = a_phone(world, backup={"password": PASSWORD, "dpic": 100, "iter": 10})
    return pmd3_inspects(world, phone, "--password", PASSWORD)


@check("pymobiledevice3", "erase-device: refused by Find My and by the folder, done where it is allowed")
def pmd3_erase(world):
    phone = a_phone(world)
    before = everything(phone)
    with world.serve([phone], "refused", keep=True) as running:
        pair_with_pymobiledevice3(world, running)
        said = running.run(world.pmd3, "backup2", "erase-device", world.scratch, ok=(0, 1))
        if "Erasing is not allowed" not in said:
            raise Failed(said[-300:])
    must_be_equal(before, everything(phone), "after the refusal")
    phone.tell(erase={"allowed": True})
    with world.serve([phone], "erased", keep=True) as running:
        pair_with_pymobiledevice3(world, running)
        running.run(world.pmd3, "backup2", "erase-device", world.scratch)
        wait_until(lambda: not everything(phone), "the erasing")
        wait_until(lambda: running.run("idevice_id", "-l").split() == [phone.udid], "the phone's return")
        said = running.run("idevicepair", "validate", ok=(0, 1))
        if "SUCCESS" in said:
            raise Failed("the erased phone still trusts the host")


def stored_names(folder):
    return {path.name for path in folder.rglob("*") if len(path.name) == 40}


@check("pymobiledevice3", "a backup that a pulled cable interrupts goes on with what is there, and is whole", timeout=300)
def pmd3_goes_on(world):
    phone = world.phone("goes-on", "--temper", "kind", "--photos", "250")
    total = sum(path.stat().st_size for path in phone.folder.rglob("*") if path.is_file() and not path.is_symlink())
    folder = world.scratch / "backup"
    folder.mkdir()
    snapshot = folder / phone.udid / "Snapshot"
    with world.serve([phone], "goes-on", keep=True) as running:
        pair_with_pymobiledevice3(world, running)
        phone.tell(fault=[{"at": "backup-upload", "after_bytes": total * 3 // 4, "kind": "unplug"}])
        running.run(world.pmd3, "backup2", "backup", folder, ok=(1,))
        before = {name: (snapshot / name[:2] / name).stat().st_mtime_ns for name in stored_names(snapshot)}
        phone.tell(fault=[])
        wait_until(lambda: running.run("idevice_id", "-l").split() == [phone.udid], "the phone's return")
        running.run(world.pmd3, "backup2", "backup", folder)
    own = folder / phone.udid
    kept = [name for name, written in before.items() if (own / name[:2] / name).stat().st_mtime_ns == written]
    if len(kept) < 200:
        raise Failed(f"{len(kept)} of {len(before)} files were not sent again")
    missing = backups.holds_media(backups.rows(own), phone.media)
    if missing:
        raise Failed(f"missing: {missing[:3]}")
    return f"{len(kept)} of {len(before)} files were not sent again"
