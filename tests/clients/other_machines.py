"""Backups between machines: ours restored and read by others, theirs adopted, extended and restored by us."""

import json
import os
import plistlib
import subprocess

from encryption import FIRST, QUICK, read_encrypted, with_iphone_backup_decrypt, with_mvt, with_pyiosbackup
from peers import pair_with_idevicepair, pair_with_pymobiledevice3
from phone import Failed, Phone
from registry import check
from restore import PASSWORD, a_phone, change, everything, must_be_equal, wait_until
from three_backups import lim_backup, pmd3_backup


def our_program(world, *words, **environment):
    """Our program without any phone; gives its result."""
    env = {**os.environ, "HOME": str(world.scratch), **environment}
    command = [str(word) for word in (world.program, *words, "--json")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=170, env=env)
    if done.returncode != 0:
        raise Failed(f"{words[1]} exit {done.returncode}: {' '.join(done.stderr.split())[-300:]}")
    return json.loads(done.stdout.splitlines()[-1])


def our_backup(world, running, dest, *words):
    """Our program's backup of the phone that is there; its result."""
    said = running.run(world.program, "backup", "-y", "--json", "--dest", dest, *words, timeout=170, errors=False)
    return json.loads(said.splitlines()[-1])


def returned(running, phone):
    """The phone has restarted with what was restored."""
    wait_until(lambda: not (phone.folder / "state/restore.waiting").exists(), "the restart")
    wait_until(lambda: running.run("idevice_id", "-l").split() == [phone.udid], "the phone's return")


def an_empty_phone(world, like):
    """A phone of the same system without photos and apps, that was never seen before."""
    folder = world.scratch / "another phone"
    folder.mkdir()
    values = plistlib.loads((like.folder / "lockdown.plist").read_bytes())[""]
    system = {key: values[key] for key in ("ProductVersion", "BuildVersion") if key in values}
    udid = "00008101-00000000000000AB"
    lockdown = {"": {"UniqueDeviceID": udid, **system}, "com.apple.fmip": {"IsAssociated": False}}
    (folder / "lockdown.plist").write_bytes(plistlib.dumps(lockdown))
    (folder / "apps.plist").write_bytes(plistlib.dumps([]))
    (folder / "device.toml").write_text('temper = "kind"\n[lock]\npasscode_for_backup = false\n')
    return Phone(world.program, folder)


def adopted_extended_restored(world, client, **told):
    """Another program's full backup becomes ours, is built upon, and goes onto another phone."""
    phone, dest, folder = a_phone(world, **told), world.scratch / "dest", world.scratch / "backup"
    secret = {"BACKUP_PASSWORD": PASSWORD} if told else {}
    folder.mkdir()
    # What happens stays on the phone: its keys too, without which it would send everything again.
    with world.serve([phone], client, keep=True) as running:
        if client == "lim":
            pair_with_idevicepair(running)
            lim_backup(running, folder, "--full")
        else:
            pair_with_pymobiledevice3(world, running)
            pmd3_backup(world, running, folder, "--full")
    adopted = our_program(world, "backup", "adopt", folder, "--dest", dest, **secret)
    if not adopted["backup"]["adopted_files"]:
        raise Failed("nothing was adopted")
    first = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    change(phone)
    os.environ.update(secret)
    with world.serve([phone], "extended", keep=True) as running:
        received = find(our_backup(world, running, dest), "received_bytes")
    if received * 2 > first:
        raise Failed(f"{received} bytes came for a few changes, {first} were there")
    our_program(world, "backup", "verify", "--dest", dest, **secret)
    another = an_empty_phone(world, phone)
    with world.serve([another], "another", keep=True) as running:
        agreed = ["--of", phone.udid, "--accept", "replace-content"]
        running.run(world.program, "backup", "restore", *agreed, "--dest", dest, timeout=170)
        returned(running, another)
    must_be_equal(content(phone, bool(told)), content(another, bool(told)), "on another phone")
    return f"{adopted['backup']['adopted_files']} files adopted, {received} bytes more, restored equal"


def content(phone, encrypted):
    """Everything on the phone that a backup holds, without dates: those of files that the check itself wrote are told by
    `media.times`, not by the disk. Calls leave a phone only encrypted."""
    calls = "files/HomeDomain/Library/CallHistoryDB"
    found = {path: value[:2] for path, value in everything(phone).items()}
    return {path: value for path, value in found.items() if encrypted or not path.startswith(calls)}


def find(value, key):
    """The first value of this key, however deep."""
    if isinstance(value, dict):
        if key in value:
            return value[key]
        value = list(value.values())
    if isinstance(value, list):
        return next((found for one in value if (found := find(one, key)) is not None), None)
    return None


@check("idevicebackup2", "its backup is adopted, extended and restored by us", timeout=300)
def lim_adopted(world):
    return adopted_extended_restored(world, "lim")


@check("pymobiledevice3", "its backup is adopted, extended and restored by us", timeout=300)
def pmd3_adopted(world):
    return adopted_extended_restored(world, "pmd3")


@check("idevicebackup2", "its encrypted backup is adopted, extended and restored by us", timeout=300)
def lim_adopted_encrypted(world):
    return adopted_extended_restored(world, "lim", backup={"password": PASSWORD, "dpic": 100, "iter": 10})


def our_full_backup(world, phone):
    dest = world.scratch / "dest"
    with world.serve([phone], "ours") as running:
        our_backup(world, running, dest)
    return dest / phone.udid / "backup"


def lim_restores_ours(world, *password, **told):
    phone = a_phone(world, **told)
    before = everything(phone)
    folder = our_full_backup(world, phone)
    change(phone)
    with world.serve([phone], "restore", keep=True) as running:
        pair_with_idevicepair(running)
        options = ["--system", "--settings", "--remove", *password]
        said = running.run("idevicebackup2", "restore", *options, folder)
        if "Restore Successful" not in said:
            raise Failed(said[-300:])
        returned(running, phone)
    must_be_equal(before, everything(phone), "after the restore")
    our_program(world, "backup", "verify", "--dest", world.scratch / "dest")
    return f"{len(before)} files, folders and links equal; ours still proven"


@check("idevicebackup2", "restore of our backup: the phone is as it was")
def lim_restores_plain(world):
    return lim_restores_ours(world)


@check("idevicebackup2", "restore of our encrypted backup: the phone is as it was")
def lim_restores_encrypted(world):
    return lim_restores_ours(world, "--password", PASSWORD, backup={"password": PASSWORD, "dpic": 100, "iter": 10})


@check("pyiosbackup, iphone_backup_decrypt, mvt", "read our encrypted backup: DCIM byte by byte", timeout=300)
def readers_of_ours(world):
    phone = world.phone("ours-encrypted", "--temper", "kind", backup={"password": FIRST, **QUICK})
    folder = our_full_backup(world, phone) / phone.udid
    word = ""
    for read in (with_pyiosbackup, with_iphone_backup_decrypt, with_mvt):
        word = read_encrypted(world, phone, read, folder)
        for name in ("clear", "not-clear"):
            subprocess.run(["rm", "-rf", str(world.scratch / name)], check=True)
    return word
