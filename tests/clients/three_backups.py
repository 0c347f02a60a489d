"""The same phone backed up by three programs, full and then incremental, and compared after each."""

import pathlib
import plistlib
import shutil

import backups
from peers import pair_with_idevicepair, pair_with_pymobiledevice3
from phone import Failed, Phone
from registry import check


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


def folders_of(base, udid):
    """Where each program keeps its backup."""
    return {
        "idevicebackup2": base / "lim" / udid,
        "pymobiledevice3": base / "pmd3" / udid,
        "idevice-fix": base / "ours" / udid / "backup" / udid,
    }


def one_turn(world, phone, base, *options):
    """Backs the phone up with each program; gives the rows of each."""
    with world.serve([phone], f"lim-{len(options)}") as running:
        pair_with_idevicepair(running)
        lim_backup(running, base / "lim", *options)
    with world.serve([phone], f"pmd3-{len(options)}") as running:
        pair_with_pymobiledevice3(world, running)
        pmd3_backup(world, running, base / "pmd3", *options)
    with world.serve([phone], f"ours-{len(options)}") as running:
        our_backup(world, running, base / "ours")
    return {name: backups.rows(folder) for name, folder in folders_of(base, phone.udid).items()}


def three_backups(world, temper, base):
    phone = world.phone(f"backup-{temper}", "--temper", temper, folder=base / "phone")
    said = []
    for turn in ("full", "incremental"):
        if turn == "incremental":
            change_the_phone(phone)
        found = one_turn(world, phone, base, *(("--full",) if turn == "full" else ()))
        missing = backups.holds_media(found["idevice-fix"], phone.media)
        if missing:
            raise Failed(f"{turn}: our backup lacks {missing[:3]}")
        backups.same(found["idevicebackup2"], found["idevice-fix"], ("idevicebackup2", "idevice-fix"))
        names = ("pymobiledevice3", "idevice-fix")
        said.append(f"{turn}: {backups.same(found[names[0]], found[names[1]], names)}")
    folders = {name: str(folder) for name, folder in folders_of(base, phone.udid).items()}
    return {"said": ", ".join(said), "phone": str(phone.folder), "folders": folders}


def made_backups(world, temper):
    """The phone, and the folder of each program's backup of it; made once."""
    made = world.once(f"backups-{temper}", lambda base: three_backups(world, temper, base))
    folders = {name: pathlib.Path(folder) for name, folder in made["folders"].items()}
    return Phone(world.program, made["phone"]), folders, made["said"]


@check(
    "idevicebackup2, pymobiledevice3", "backups, full and incremental, equal ours (kind phone)",
    timeout=300, shares="backups-kind",
)
def backups_kind(world):
    return made_backups(world, "kind")[2]


@check(
    "idevicebackup2, pymobiledevice3", "backups, full and incremental, equal ours (harsh phone)",
    timeout=300, shares="backups-harsh",
)
def backups_harsh(world):
    return made_backups(world, "harsh")[2]
