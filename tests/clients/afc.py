"""Files over AFC: ifuse and pymobiledevice3."""

import contextlib
import random
import subprocess

from peers import compare_with_media, pair_with_idevicepair, pair_with_pymobiledevice3
from phone import Failed, sha256, tree
from registry import check

BIG_BYTES = 64 << 20


def big_file(phone):
    """A file of 64 MiB on the phone; gives its path there."""
    big = phone.media / "PublicStaging/big.bin"
    big.parent.mkdir(exist_ok=True)
    big.write_bytes(random.Random(64).randbytes(BIG_BYTES))
    return "PublicStaging/big.bin"


@contextlib.contextmanager
def mounted(world, running, phone):
    """The phone's media root, mounted by ifuse for a `with` block."""
    mount = world.scratch / f"mount-{phone.udid}"
    mount.mkdir()
    running.run("ifuse", "-u", phone.udid, str(mount))
    try:
        yield mount
    finally:
        subprocess.run(["fusermount3", "-u", str(mount)], check=False)
        mount.rmdir()


def mounted_tree(world, phone):
    big = big_file(phone)
    with world.serve([phone], "ifuse") as running:
        pair_with_idevicepair(running)
        with mounted(world, running, phone) as mount:
            got = tree(mount)
    if got[big] != sha256(phone.media / big):
        raise Failed("the file of 64 MiB has other bytes")
    return got


@check("ifuse", "kind phone: everything with equal hashes, a file of 64 MiB")
def ifuse_kind(world):
    return compare_with_media(world.kind, mounted_tree(world, world.kind), 0)


@check("ifuse", "harsh phone: all but the refused original")
def ifuse_harsh(world):
    return compare_with_media(world.harsh, mounted_tree(world, world.harsh), 1)


def pulled(world, phone):
    big = big_file(phone)
    with world.serve([phone], "pull") as running:
        pair_with_pymobiledevice3(world, running)
        listed = running.run(world.pmd3, "afc", "ls", "-r", "/DCIM")
        if "100APPLE" not in listed:
            raise Failed("afc ls shows no DCIM/100APPLE")
        out = world.scratch / "pulled"
        out.mkdir()
        running.run(world.pmd3, "afc", "pull", "-i", "/DCIM", out)
        running.run(world.pmd3, "afc", "pull", f"/{big}", out / "big.bin")
    if sha256(out / "big.bin") != sha256(phone.media / big):
        raise Failed("the file of 64 MiB has other bytes")
    return tree(out)


@check("pymobiledevice3", "AFC listing and pull, kind phone: equal hashes, 64 MiB")
def pmd3_afc_kind(world):
    return compare_with_media(world.kind, pulled(world, world.kind), 0)


@check("pymobiledevice3", "AFC listing and pull, harsh phone: all but the refused original")
def pmd3_afc_harsh(world):
    return compare_with_media(world.harsh, pulled(world, world.harsh), 1)
