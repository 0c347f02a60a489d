"""Readers of backups that know nothing of this project, on our own backups."""

import json
import os
import re
import subprocess

from peers import compare_with_media
from phone import Failed, tree
from registry import check
from three_backups import made_backups

READ_WITH_PYIOSBACKUP = """
import sys
from pyiosbackup import Backup
backup = Backup.from_path(sys.argv[1], "")
print(backup.stats())
backup.unback(sys.argv[2])
"""


def read_with_pyiosbackup(world, temper):
    phone, folders, _ = made_backups(world, temper)
    out = world.scratch / "unback"
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


@check("pyiosbackup", "reads our backup (kind phone): DCIM byte by byte", timeout=300, shares="backups-kind")
def pyiosbackup_kind(world):
    return read_with_pyiosbackup(world, "kind")


@check("pyiosbackup", "reads our backup (harsh phone): DCIM byte by byte", timeout=300, shares="backups-harsh")
def pyiosbackup_harsh(world):
    return read_with_pyiosbackup(world, "harsh")


def read_with_mvt(world, temper):
    phone, folders, _ = made_backups(world, temper)
    out = world.scratch / "mvt"
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


@check("mvt", "check-backup on our backup (kind phone)", timeout=300, shares="backups-kind")
def mvt_kind(world):
    return read_with_mvt(world, "kind")


@check("mvt", "check-backup on our backup (harsh phone)", timeout=300, shares="backups-harsh")
def mvt_harsh(world):
    return read_with_mvt(world, "harsh")
