"""One boot of the machine whose power fails, inside it: what was verified before is verified, then the work goes on.

powerless.py PROGRAM pull|backup NUMBER; /out/verified.json is what was said to be verified, kept by the host.
"""

import hashlib
import json
import pathlib
import shutil
import subprocess
import sys

OUT = pathlib.Path("/out")
VERIFIED = OUT / "verified.json"
DISK = pathlib.Path("/mnt")
# The slower the phone, the more moments there are.
LINK = 'temper = "kind"\n[link]\nbytes_per_second = 1500000\n'


class Failed(Exception):
    """Something that was verified is not whole."""


def program(*arguments):
    return [sys.argv[1], "--dest", str(DISK / "dest"), *arguments]


def with_phone(*arguments):
    return program("--device", str(DISK / "phone"), "--device-keeps", "-y", "--json", *arguments)


def run(command, ok):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode not in ok:
        raise Failed(f"{command[3:]} exit {done.returncode}: {done.stdout[-1500:]} {done.stderr[-1500:]}")
    return done.stdout


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def copied():
    """The files of the copy, by path, with what they hold."""
    found = {}
    for photos in (DISK / "dest").glob("*/photos"):
        found |= {str(path): digest(path) for path in photos.rglob("*") if path.is_file()}
    return found


def check():
    known = json.loads(VERIFIED.read_text()) if VERIFIED.exists() else {"photos": {}, "backup": False}
    for path, content in known["photos"].items():
        if digest(pathlib.Path(path)) != content:
            raise Failed(f"{path} is not what was verified")
    if known["photos"]:
        # Files that came after what was verified may be missing from it, but nothing may be damaged.
        run(program("photos", "verify"), ok=(0,))
    if known["backup"]:
        run(program("backup", "verify"), ok=(0,))
    (OUT / "checked").write_text(json.dumps({"photos": len(known["photos"]), "backup": known["backup"]}))
    return known


def more_photos(number):
    """Something new to copy: the power fails in the middle of something."""
    folder = next((DISK / "phone/media/DCIM").iterdir())
    pictures = sorted(path for path in folder.iterdir() if path.suffix in (".JPG", ".HEIC"))[:20]
    for at, picture in enumerate(pictures):
        shutil.copy2(picture, folder / f"IMG_{5000 + number * 20 + at}{picture.suffix}")


def work(part, number, known):
    if part == "pull":
        more_photos(number)
        subprocess.run(["sync"], check=True)
    (OUT / "began").touch()
    if part == "pull":
        run(with_phone("photos", "pull"), ok=(0,))
        known["photos"] = copied()
    else:
        run(with_phone("backup", "--full"), ok=(0,))
        known["backup"] = True
    VERIFIED.write_text(json.dumps(known))


def main():
    subprocess.run(["mount", "/dev/vda", str(DISK)], check=True)
    (DISK / "phone/device.toml").write_text(LINK)
    try:
        work(sys.argv[2], int(sys.argv[3]), check())
    except Failed as failed:
        print(f"FAILED {failed}")
        return 1
    subprocess.run(["umount", str(DISK)], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
