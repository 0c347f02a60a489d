"""Reading the folders of backups, without any of the project's own code."""

import pathlib
import plistlib
import sqlite3

from phone import Failed, sha256


def rows(folder):
    """Every row of the manifest: (domain, path) -> SHA-256 of its file; folders and links by what they are."""
    folder = pathlib.Path(folder)
    status = plistlib.loads((folder / "Status.plist").read_bytes())
    if status["SnapshotState"] != "finished":
        raise Failed(f"SnapshotState is {status['SnapshotState']}")
    found = {}
    database = sqlite3.connect(f"file:{folder / 'Manifest.db'}?mode=ro&immutable=1", uri=True)
    for file_id, domain, path, flags in database.execute("SELECT fileID, domain, relativePath, flags FROM Files"):
        if flags == 1:
            stored = folder / file_id[:2] / file_id
            found[domain, path] = sha256(stored) if stored.exists() else "no file"
        else:
            found[domain, path] = f"flags {flags}"
    database.close()
    if not found:
        raise Failed("the manifest has no rows")
    return found


def same(left, right, names):
    """Two backups hold the same rows with the same content."""
    only_left = sorted(set(left) - set(right))
    only_right = sorted(set(right) - set(left))
    differ = sorted(key for key in set(left) & set(right) if left[key] != right[key])
    if only_left or only_right or differ:
        raise Failed(
            f"{names[0]} and {names[1]} differ: {len(only_left)} rows only in the first {only_left[:2]}, "
            f"{len(only_right)} only in the second {only_right[:2]}, {len(differ)} with other content {differ[:2]}"
        )
    return f"{len(left)} rows equal"


def holds_media(found, media):
    """The camera roll in a backup is the phone's, byte by byte; gives the paths that have no file (refused rows)."""
    missing = []
    checked = 0
    for path in sorted(p for p in media.rglob("*") if p.is_file()):
        relative = str(path.relative_to(media))
        if not relative.startswith("DCIM/"):
            continue
        stored = found.get(("CameraRollDomain", f"Media/{relative}"))
        if stored is None or stored == "no file":
            missing.append(relative)
        elif stored != sha256(path):
            raise Failed(f"{relative} has other bytes in the backup")
        checked += 1
    if checked == 0:
        raise Failed("the phone has no photos")
    return missing
