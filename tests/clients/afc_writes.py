"""Files written over AFC by ifuse and pymobiledevice3, on many phones: the folder of the phone must be equal."""

import json
import os
import pathlib
import random
import subprocess

from afc import BIG_BYTES, mounted
from peers import pair_with_idevicepair, pair_with_pymobiledevice3
from phone import Failed, sha256, tree
from registry import check

IOS = ["13.7", "15.8.3", "18.4.1", "26.1"]
TLS = ["by-version", "all", "none"]
TEMPERS = ["kind", "harsh"]
PROGRAM = pathlib.Path(__file__).parent / "programs/afc_writes.py"
WHEN_NS = 1_500_000_000_000_000_000
MANY = 10_000


def phones(world, ios):
    """One phone of that iOS for each way of TLS, by a name that says which; every other one is harsh, and those are
    other ones in the next version, so that all pairs are met."""
    made = {}
    for number, tls in enumerate(TLS):
        temper = TEMPERS[(number + IOS.index(ios)) % 2]
        made[f"{temper}, TLS {tls}"] = world.phone(
            f"p{number}", "--ios", ios, "--temper", temper, "--photos", "4", "--seed", f"{number + 1}",
            tls={"services": tls},
        )
    return made


def pmd3_writes(world, ios):
    made = phones(world, ios)
    with world.serve(list(made.values()), "writes", keep=True) as running:
        output = running.run(world.pmd3_python, PROGRAM, *(phone.udid for phone in made.values()), errors=False)
    found = json.loads(output)
    for name, phone in made.items():
        on_disk = {f"/Written/{path}": value for path, value in tree(phone.media / "Written").items()}
        if on_disk != found[phone.udid]:
            differ = {path for path, _ in set(on_disk.items()) ^ set(found[phone.udid].items())}
            raise Failed(f"{name}: the phone's folder holds something else: {sorted(differ)[:3]}")
        linked = (phone.media / "Written/hard.bin").stat()
        if linked.st_nlink != 2 or os.readlink(phone.media / "Written/soft.bin") != "moved/b.bin":
            raise Failed(f"{name}: the links are no links in the phone's folder")
    return f"{len(made)} phones, {len(on_disk)} files on each"


def write_through_mount(mount, data):
    """What programs do to a mounted folder; gives what must be there afterwards."""
    base = mount / "Written"
    (base / "deep/deeper").mkdir(parents=True)
    (base / "a.bin").write_bytes(data)
    with open(base / "a.bin", "r+b") as file:
        file.seek(10)
        file.write(b"middle")
        file.seek(0, os.SEEK_END)
        file.write(b"tail")
    want = data[:10] + b"middle" + data[16:] + b"tail"
    if (base / "a.bin").read_bytes() != want:
        raise Failed("read back through the mount, the bytes differ")
    os.truncate(base / "a.bin", 5000)
    os.truncate(base / "a.bin", 6000)
    want = want[:5000] + bytes(1000)
    (base / "a.bin").rename(base / "deep/b.bin")
    (base / "deep").rename(base / "moved")
    os.link(base / "moved/b.bin", base / "hard.bin")
    os.symlink("moved/b.bin", base / "soft.bin")
    if os.readlink(base / "soft.bin") != "moved/b.bin" or (base / "soft.bin").read_bytes() != want:
        raise Failed("the symbolic link does not lead to the file")
    (base / "Zoë’s 🐈.txt").write_text("names")
    (base / "moved/deeper/one").write_text("1")
    refuses(OSError, (base / "moved/deeper").rmdir)
    (base / "moved/deeper/one").unlink()
    (base / "moved/deeper").rmdir()
    refuses(FileNotFoundError, (base / "missing").unlink)
    os.utime(base / "hard.bin", ns=(WHEN_NS, WHEN_NS))
    os.statvfs(mount)
    return want


def refuses(error, act):
    try:
        act()
    except error:
        return
    raise Failed(f"{act.__qualname__} was not refused")


def ifuse_writes(world, ios):
    made = phones(world, ios)
    data = random.Random(ios).randbytes(300_000)
    with world.serve(list(made.values()), "writes", keep=True) as running:
        for name, phone in made.items():
            pair_with_idevicepair(running, "-u", phone.udid)
            with mounted(world, running, phone) as mount:
                try:
                    want = write_through_mount(mount, data)
                except OSError as error:
                    raise Failed(f"{name}: {error}") from None
            base = phone.media / "Written"
            if (base / "moved/b.bin").read_bytes() != want or (base / "hard.bin").stat().st_nlink != 2:
                raise Failed(f"{name}: the phone's folder holds something else")
            if sorted(tree(base)) != ["Zoë’s 🐈.txt", "hard.bin", "moved/b.bin", "soft.bin"]:
                raise Failed(f"{name}: the phone's folder holds {sorted(tree(base))}")
            if (base / "hard.bin").stat().st_mtime_ns != WHEN_NS:
                raise Failed(f"{name}: the time did not arrive: {(base / 'hard.bin').stat().st_mtime_ns}")
    return f"{len(made)} phones"


def add_checks(ios):
    about = f"iOS {ios}: writes, renames, links, truncates (TLS by version, all, none; kind, harsh)"

    @check("pymobiledevice3", about)
    def pmd3(world):
        return pmd3_writes(world, ios)

    @check("ifuse", about)
    def ifuse(world):
        return ifuse_writes(world, ios)


for version in IOS:
    add_checks(version)


def big_both_ways(world, phone):
    """64 MiB to the phone and back, by both programs; each reads what the other wrote."""
    data = world.scratch / "big.bin"
    data.write_bytes(random.Random(7).randbytes(BIG_BYTES))
    want = sha256(data)
    back = world.scratch / "back.bin"
    with world.serve([phone], "big", keep=True) as running:
        pair_with_idevicepair(running)
        running.run(world.pmd3, "afc", "push", data, "/pushed.bin")
        with mounted(world, running, phone) as mount:
            if sha256(mount / "pushed.bin") != want:
                raise Failed("what pymobiledevice3 pushed is read otherwise by ifuse")
            subprocess.run(["cp", str(data), str(mount / "copied.bin")], check=True)
        running.run(world.pmd3, "afc", "pull", "/copied.bin", back)
        running.run(world.pmd3, "afc", "rm", "/pushed.bin")
    if sha256(back) != want or sha256(phone.media / "copied.bin") != want:
        raise Failed("what ifuse wrote is read otherwise")
    if (phone.media / "pushed.bin").exists():
        raise Failed("afc rm left the file")
    return f"{2 * BIG_BYTES >> 20} MiB each way"


@check("ifuse, pymobiledevice3", "64 MiB to a kind phone and back, equal hashes")
def big_kind(world):
    return big_both_ways(world, world.kind)


@check("ifuse, pymobiledevice3", "64 MiB to a harsh phone and back, equal hashes, TLS on everything")
def big_harsh(world):
    world.harsh.tell(tls={"services": "all"})
    return big_both_ways(world, world.harsh)


def many_entries(world, temper):
    phone = world.phone("many", "--temper", temper, "--photos", "4")
    folder = phone.media / "DCIM/199APPLE"
    folder.mkdir()
    names = {f"IMG_{number:05}.JPG" for number in range(MANY)}
    for name in names:
        (folder / name).touch()
    with world.serve([phone], "many") as running:
        pair_with_pymobiledevice3(world, running)
        listed = running.run(world.pmd3, "afc", "ls", "/DCIM/199APPLE").splitlines()
        if {line.rsplit("/", 1)[-1] for line in listed} - {"199APPLE"} != names:
            raise Failed(f"pymobiledevice3 lists {len(listed)} lines")
        with mounted(world, running, phone) as mount:
            seen = set(os.listdir(mount / "DCIM/199APPLE"))
    if seen != names:
        raise Failed(f"ifuse lists {len(seen)} names")
    return f"{len(names)} names"


@check("ifuse, pymobiledevice3", "a folder with 10,000 entries, kind phone")
def many_kind(world):
    return many_entries(world, "kind")


@check("ifuse, pymobiledevice3", "a folder with 10,000 entries, harsh phone")
def many_harsh(world):
    return many_entries(world, "harsh")
