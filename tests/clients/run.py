"""Real third-party programs against the simulated iPhone, and real readers on our backups.

Prints a table (client, check, ok or why not) and ends with the count; exits 1 when a check failed.
"""

import argparse
import json
import os
import pathlib
import plistlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time

import backups
from phone import Failed, Phone, Running, sha256, tree

CHECKS = []
BIG_BYTES = 64 << 20
DOMAINS = [
    "com.apple.disk_usage", "com.apple.mobile.battery", "com.apple.mobile.backup", "com.apple.mobile.iTunes",
    "com.apple.iTunes", "com.apple.international", "com.apple.fmip", "com.apple.purplebuddy",
    "com.apple.mobile.wireless_lockdown", "com.apple.mobile.data_sync", "com.apple.Accessibility",
    "com.apple.mobile.restriction", "com.apple.mobile.user_preferences", "com.apple.xcode.developerdomain",
]


def check(client, name):
    """Adds a function to the table; it gets the `World` and gives back a word for the table, or raises `Failed`."""

    def add(function):
        CHECKS.append((client, name, function))
        return function

    return add


class World:
    """What the checks share: the program, the peers, and the phones that are being served."""

    def __init__(self, program, peers, scratch):
        self.program = program.resolve()
        self.pmd3 = (peers / "pymobiledevice3/bin/pymobiledevice3").absolute()
        self.pmd3_python = (peers / "pymobiledevice3/bin/python").absolute()
        self.mvt = (peers / "mvt/bin/mvt-ios").absolute()
        self.scratch = scratch
        self.kind = self.phone("kind", "--temper", "kind")
        self.harsh = self.phone("harsh", "--temper", "harsh")
        big = self.kind.media / "Downloads/big.bin"
        big.parent.mkdir(exist_ok=True)
        big.write_bytes(random.Random(64).randbytes(BIG_BYTES))

    def phone(self, name, *options):
        seed = str(sum(name.encode()))
        return Phone(
            self.program, self.scratch / name, "--scenario", "healthy", "--ios", "18.4.1", "--photos", "60",
            "--seed", seed, *options,
        )

    def serve(self, phones, name):
        return Running(phones, self.scratch / f"home-{name}")


def udid_of(phone):
    return plistlib.loads((phone.folder / "lockdown.plist").read_bytes())[""]["UniqueDeviceID"]


def pair_with_idevicepair(running):
    deadline = time.monotonic() + 20
    while True:
        output = running.run("idevicepair", "pair", ok=(0, 1))
        if "SUCCESS" in output:
            return
        if time.monotonic() > deadline:
            raise Failed(f"idevicepair: {' '.join(output.split())}")
        time.sleep(0.5)


def compare_with_media(phone, got, may_be_refused):
    want = {path: value for path, value in tree(phone.media).items() if path.startswith("DCIM/")}
    if not want:
        raise Failed("the phone has no photos")
    wrong = sorted(path for path, value in want.items() if got.get(path) != value)
    if len(wrong) > may_be_refused:
        raise Failed(f"{len(wrong)} of {len(want)} files are not the phone's: {wrong[:3]}")
    if may_be_refused and len(wrong) != may_be_refused:
        raise Failed(f"a harsh phone refuses one original, {len(wrong)} were refused")
    return f"{len(want) - len(wrong)} of {len(want)} equal"


# -- libimobiledevice --

@check("libimobiledevice", "list, pair from nothing, info, every domain")
def lim_basics(world):
    with world.serve([world.kind], "lim-basics") as running:
        udid = udid_of(world.kind)
        if running.run("idevice_id", "-l").split() != [udid]:
            raise Failed("idevice_id -l does not list the phone alone")
        pair_with_idevicepair(running)
        running.run("idevicepair", "validate")
        info = plistlib.loads(running.run("ideviceinfo", "-x").encode())
        if info["UniqueDeviceID"] != udid or info["ProductVersion"] != "18.4.1":
            raise Failed("ideviceinfo shows another phone")
        for domain in DOMAINS:
            running.run("ideviceinfo", "-q", domain, "-x")
        battery = plistlib.loads(running.run("ideviceinfo", "-q", "com.apple.mobile.battery", "-x").encode())
        if not 0 <= battery["BatteryCurrentCapacity"] <= 100:
            raise Failed(f"battery {battery}")
        return f"{len(info)} values, {len(DOMAINS)} domains"


@check("libimobiledevice", "the same over the unix socket")
def lim_unix(world):
    with world.serve([world.kind], "lim-unix") as running:
        output = running.run("ideviceinfo", "-k", "ProductVersion", address=f"UNIX:{running.unix}", ok=(0, 255))
        if "18.4.1" not in output:
            time.sleep(2)
            output = running.run("ideviceinfo", "-k", "ProductVersion", address=f"UNIX:{running.unix}")
        if output.strip() != "18.4.1":
            raise Failed(output)


@check("libimobiledevice", "two phones at once")
def lim_two(world):
    with world.serve([world.kind, world.harsh], "lim-two") as running:
        listed = set(running.run("idevice_id", "-l").split())
        if listed != {udid_of(world.kind), udid_of(world.harsh)}:
            raise Failed(f"listed {listed}")


@check("libimobiledevice", "battery from IORegistry")
def lim_battery(world):
    with world.serve([world.kind], "lim-battery") as running:
        pair_with_idevicepair(running)
        output = running.run("idevicediagnostics", "ioregentry", "AppleSmartBattery")
        registry = plistlib.loads(output.encode())["IORegistry"]
        want = plistlib.loads((world.kind.folder / "ioregistry.plist").read_bytes())["AppleSmartBattery"]
        if registry["CycleCount"] != want["CycleCount"] or registry["DesignCapacity"] != want["DesignCapacity"]:
            raise Failed("other values than the phone's")
        return f"cycle count {registry['CycleCount']}"


def mounted_tree(world, phone, name):
    with world.serve([phone], name) as running:
        pair_with_idevicepair(running)
        mount = world.scratch / f"mnt-{name}"
        mount.mkdir()
        running.run("ifuse", str(mount))
        try:
            got = tree(mount)
            big = mount / "Downloads/big.bin"
            if (phone.media / "Downloads/big.bin").exists():
                if sha256(big) != sha256(phone.media / "Downloads/big.bin"):
                    raise Failed("the file of 64 MiB has other bytes")
        finally:
            subprocess.run(["fusermount3", "-u", str(mount)], check=False)
    return got


@check("ifuse", "kind phone: everything with equal hashes, a file of 64 MiB")
def ifuse_kind(world):
    return compare_with_media(world.kind, mounted_tree(world, world.kind, "ifuse-kind"), 0)


@check("ifuse", "harsh phone: all but the refused original")
def ifuse_harsh(world):
    return compare_with_media(world.harsh, mounted_tree(world, world.harsh, "ifuse-harsh"), 1)


# -- pymobiledevice3 --

def pmd3_paired(world, running):
    running.run(world.pmd3, "lockdown", "pair")


@check("pymobiledevice3", "list, pair from nothing, info, every domain")
def pmd3_basics(world):
    with world.serve([world.kind], "pmd3-basics") as running:
        listed = json.loads(running.run(world.pmd3, "usbmux", "list"))
        if [device["UniqueDeviceID"] for device in listed] != [udid_of(world.kind)]:
            raise Failed(f"listed {listed}")
        pmd3_paired(world, running)
        info = json.loads(running.run(world.pmd3, "lockdown", "info"))
        if info["UniqueDeviceID"] != udid_of(world.kind):
            raise Failed("another phone")
        for domain in DOMAINS[:6]:
            running.run(world.pmd3, "lockdown", "get", domain)
        return f"{len(info)} values"


@check("pymobiledevice3", "battery from IORegistry")
def pmd3_battery(world):
    with world.serve([world.kind], "pmd3-battery") as running:
        pmd3_paired(world, running)
        battery = json.loads(running.run(world.pmd3, "diagnostics", "battery", "single"))
        if "CurrentCapacity" not in battery:
            raise Failed(f"{list(battery)[:8]}")


@check("pymobiledevice3", "apps")
def pmd3_apps(world):
    with world.serve([world.kind], "pmd3-apps") as running:
        pmd3_paired(world, running)
        apps = json.loads(running.run(world.pmd3, "apps", "list"))
        want = plistlib.loads((world.kind.folder / "apps.plist").read_bytes())
        if set(apps) != {app["CFBundleIdentifier"] for app in want if app.get("ApplicationType") == "User"} and set(
            apps
        ) != {app["CFBundleIdentifier"] for app in want}:
            raise Failed(f"{sorted(apps)[:4]}")
        return f"{len(apps)} apps"


def pmd3_pulled(world, phone, name):
    with world.serve([phone], name) as running:
        pmd3_paired(world, running)
        listed = running.run(world.pmd3, "afc", "ls", "-r", "/DCIM")
        if "100APPLE" not in listed:
            raise Failed("afc ls shows no DCIM/100APPLE")
        out = world.scratch / f"pulled-{name}"
        out.mkdir()
        running.run(world.pmd3, "afc", "pull", "-i", "/DCIM", out)
        if (phone.media / "Downloads/big.bin").exists():
            running.run(world.pmd3, "afc", "pull", "/Downloads/big.bin", out / "big.bin")
            if sha256(out / "big.bin") != sha256(phone.media / "Downloads/big.bin"):
                raise Failed("the file of 64 MiB has other bytes")
        return tree(out)


@check("pymobiledevice3", "AFC listing and pull, kind phone: equal hashes, 64 MiB")
def pmd3_afc_kind(world):
    return compare_with_media(world.kind, pmd3_pulled(world, world.kind, "pmd3-kind"), 0)


@check("pymobiledevice3", "AFC listing and pull, harsh phone: all but the refused original")
def pmd3_afc_harsh(world):
    return compare_with_media(world.harsh, pmd3_pulled(world, world.harsh, "pmd3-harsh"), 1)


# -- backups --

def change_the_phone(phone):
    """What makes an incremental backup worth its name: a new photo, one gone, a changed settings file."""
    originals = sorted((phone.media / "DCIM/100APPLE").glob("*.JPG"))
    shutil.copyfile(originals[0], phone.media / "DCIM/100APPLE/IMG_9001.JPG")
    originals[-1].unlink()
    settings = phone.folder / "files/HomeDomain/Library/Preferences/com.example.incremental.plist"
    settings.parent.mkdir(parents=True, exist_ok=True)
    settings.write_bytes(plistlib.dumps({"Changed": True}))


def lim_backup(running, folder, *options):
    folder.mkdir(exist_ok=True)
    running.run("idevicebackup2", "backup", *options, folder, timeout=300)


def pmd3_backup(world, running, folder, *options):
    folder.mkdir(exist_ok=True)
    running.run(world.pmd3, "backup2", "backup", *options, folder, timeout=300)


def our_backup(world, running, folder):
    running.run(world.program, "backup", "-y", "--dest", folder, timeout=300)


def three_backups(world, temper):
    """The same phone backed up by three programs, full and then incremental, and compared after each."""
    phone = world.phone(f"backup-{temper}", "--temper", temper)
    udid = udid_of(phone)
    base = world.scratch / f"backups-{temper}"
    base.mkdir()
    folders = {
        "idevicebackup2": base / "lim" / udid,
        "pymobiledevice3": base / "pmd3" / udid,
        "idevice-fix": base / "ours" / udid / "backup" / udid,
    }
    said = []
    for turn in ("full", "incremental"):
        options = ("--full",) if turn == "full" else ()
        if turn == "incremental":
            change_the_phone(phone)
        with world.serve([phone], f"backup-{temper}") as running:
            pair_with_idevicepair(running)
            lim_backup(running, base / "lim", *options)
        with world.serve([phone], f"backup-{temper}-pmd3") as running:
            pmd3_paired(world, running)
            pmd3_backup(world, running, base / "pmd3", *options)
        with world.serve([phone], f"backup-{temper}-ours") as running:
            our_backup(world, running, base / "ours")
        found = {name: backups.rows(folder) for name, folder in folders.items()}
        missing = backups.holds_media(found["idevice-fix"], phone.media)
        if missing:
            raise Failed(f"{turn}: our backup lacks {missing[:3]}")
        backups.same(found["idevicebackup2"], found["idevice-fix"], ("idevicebackup2", "idevice-fix"))
        said.append(
            f"{turn}: " + backups.same(found["pymobiledevice3"], found["idevice-fix"], ("pymobiledevice3", "idevice-fix"))
        )
    world.our_backup = getattr(world, "our_backup", {})
    world.our_backup[temper] = (phone, folders)
    return ", ".join(said)


@check("idevicebackup2, pymobiledevice3", "backups, full and incremental, equal ours (kind phone)")
def backups_kind(world):
    return three_backups(world, "kind")


@check("idevicebackup2, pymobiledevice3", "backups, full and incremental, equal ours (harsh phone)")
def backups_harsh(world):
    return three_backups(world, "harsh")


# -- readers --

READ_WITH_PYIOSBACKUP = """
import sys
from pyiosbackup import Backup
backup = Backup.from_path(sys.argv[1], "")
print(backup.stats())
backup.unback(sys.argv[2])
"""


def our_backup_of(world, temper):
    made = getattr(world, "our_backup", {}).get(temper)
    if made is None:
        raise Failed("there is no backup to read: making it failed")
    return made


def read_with_pyiosbackup(world, temper):
    phone, folders = our_backup_of(world, temper)
    out = world.scratch / f"unback-{temper}"
    out.mkdir()
    done = subprocess.run(
        [str(world.pmd3_python), "-c", READ_WITH_PYIOSBACKUP, str(folders["idevice-fix"]), str(out)],
        capture_output=True, text=True, timeout=300,
    )
    if done.returncode != 0:
        raise Failed(f"pyiosbackup: {done.stderr.strip()[-300:]}")
    got = {}
    for path, value in tree(out).items():
        if "/Media/DCIM/" in f"/{path}":
            got["DCIM/" + path.split("/Media/DCIM/", 1)[-1].split("Media/DCIM/", 1)[-1]] = value
    return compare_with_media(phone, got, 0)


@check("pyiosbackup", "reads our backup (kind phone): DCIM byte by byte")
def pyiosbackup_kind(world):
    return read_with_pyiosbackup(world, "kind")


@check("pyiosbackup", "reads our backup (harsh phone): DCIM byte by byte")
def pyiosbackup_harsh(world):
    return read_with_pyiosbackup(world, "harsh")


def read_with_mvt(world, temper):
    phone, folders = our_backup_of(world, temper)
    out = world.scratch / f"mvt-{temper}"
    done = subprocess.run(
        [str(world.mvt), "--disable-update-check", "check-backup", "-o", str(out), str(folders["idevice-fix"])],
        capture_output=True, text=True, timeout=300, env={**os.environ, "HOME": str(world.scratch)},
    )
    manifest = out / "manifest.json"
    if not manifest.exists():
        raise Failed(f"mvt wrote no manifest.json: {(done.stdout + done.stderr)[-300:]}")
    said = re.search(r"Found (\d+) files listed in the manifest but", " ".join((done.stdout + done.stderr).split()))
    if said:
        raise Failed(f"mvt says that {said.group(1)} files of the manifest are missing")
    entries = json.loads(manifest.read_text())
    paths = {entry["relative_path"] for entry in entries}
    lacking = [p for p in tree(phone.media) if p.startswith("DCIM/") and f"Media/{p}" not in paths]
    if lacking:
        raise Failed(f"mvt does not see {lacking[:3]}")
    return f"{len(entries)} entries"


@check("mvt", "check-backup on our backup (kind phone)")
def mvt_kind(world):
    return read_with_mvt(world, "kind")


@check("mvt", "check-backup on our backup (harsh phone)")
def mvt_harsh(world):
    return read_with_mvt(world, "harsh")


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--program", type=pathlib.Path, required=True)
    arguments.add_argument("--peers", type=pathlib.Path, required=True)
    arguments.add_argument("--only", help="run only checks whose client or name contains this")
    arguments.add_argument("--keep", action="store_true", help="keep the scratch folder")
    options = arguments.parse_args()
    scratch = pathlib.Path(tempfile.mkdtemp(prefix="idevice-fix-clients-"))
    passed = failed = 0
    try:
        world = World(options.program, options.peers, scratch)
        for client, name, function in CHECKS:
            if options.only and options.only not in f"{client} {name}":
                continue
            began = time.monotonic()
            try:
                word = function(world) or ""
                passed += 1
                verdict = f"ok      {word}"
            except Failed as reason:
                failed += 1
                verdict = f"FAILED  {reason}"
            print(f"{client:32} {name:72} {verdict}  ({time.monotonic() - began:.1f} s)", flush=True)
    finally:
        if options.keep:
            print(f"kept: {scratch}")
        else:
            shutil.rmtree(scratch, ignore_errors=True)
    print(f"{passed} passed, {failed} failed")
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    sys.exit(main())
