"""What is tried on a virtual USB bus, inside the virtual machine: Debian's usbmuxd and libimobiledevice, and this
project's own program, with simulated iPhones that are plugged in and out.

checks.py PROGRAM PHONES [CHECK...]: PHONES is a folder with those that tests/rig/run has made.
"""

import contextlib
import shutil
import subprocess
import sys
import time

import cable
import gadget
from tools import HOME, PORT, Failed, LeftOut, listed, plug_in, pull_out, run, running, same_photos, wait_for


def through_usbmuxd(program, phone):
    """usbmuxd finds the phone, pairs, and carries a pull; then the phone is pulled out."""
    with running("usbmuxd", "usbmuxd", "-f", "-v") as (log, _):
        wait_for("usbmuxd", lambda: "Initialization complete" in log.read_text())
        plug_in()
        udid = wait_for("the phone in usbmuxd's list", listed)[0]
        wait_for("trust", lambda: "SUCCESS" in run("idevicepair", "pair", ok=()))
        if run("ideviceinfo", "-k", "UniqueDeviceID").strip() != udid:
            raise Failed("ideviceinfo names another phone")
        run(program, "photos", "pull", "--dest", str(HOME / "copy"), "--udid", udid)
        photos = same_photos(phone / "media" / "DCIM", HOME / "copy" / udid / "photos" / "DCIM")
        pull_out()
        wait_for("an empty list", lambda: not listed())
        plug_in()
        if wait_for("the phone, plugged in again", listed)[0] != udid:
            raise Failed("another phone came back")
        # So slow a machine may take longer for TLS than the phone waits: then usbmuxd pairs anew.
        wait_for("a valid pairing", lambda: "SUCCESS" in run("idevicepair", "validate", ok=()))
        pull_out()
        wait_for("an empty list", lambda: not listed())
    return f"{photos} photos"


def without_usbmuxd(program, _phone):
    """The bus is looked at without any usbmuxd, and the phone is named as the system knows it."""
    plug_in()
    seen = wait_for("the phone on the bus", lambda: run("lsusb", "-d", "05ac:", ok=(0, 1)))
    if "iPhone" not in seen:
        raise Failed(seen)
    said = run(program, "doctor", ok=())
    if "iPhone" not in said and "usbmuxd" not in said:
        raise Failed(f"doctor says nothing of it: {said}")
    pull_out()


CHECKS = (through_usbmuxd, without_usbmuxd, *cable.CHECKS, *gadget.CHECKS)


def tried(check, program, phone):
    """Whether it held, `None` if it was not made; says so."""
    began = time.monotonic()
    try:
        verdict, held = f"ok {check(program, phone) or ''}", True
    except LeftOut as why:
        verdict, held = f"LEFT OUT {why}", None
    except (Failed, OSError, subprocess.SubprocessError) as error:
        verdict, held = f"FAILED {error}", False
        for port in (0, 1, 2):
            pull_out(port, ok=())
        # What it said is told where it was started; a pull is not always waited for.
        with contextlib.suppress(OSError):
            print((HOME / "pull.log").read_text()[-3000:])
    print(f"{check.__name__:20} | {time.monotonic() - began:6.1f} s | {verdict}", flush=True)
    return held


def main():
    program, made, *chosen = sys.argv[1:]
    shutil.copytree(made, HOME)
    phones = [HOME / f"phone{number}" for number in (1, 2, 3)]
    folders = [str(phone) for phone in phones]
    checks = [check for check in CHECKS if not chosen or check.__name__ in chosen]
    with running("simulator", program, "sim", "run", *folders, "--usbip", f"127.0.0.1:{PORT}") as (log, _):
        wait_for("the simulator", lambda: "USB devices" in log.read_text())
        held = [tried(check, program, phones[0]) for check in checks]
    told = ((True, "held"), (False, "failed"), (None, "left out"))
    print(", ".join(f"{held.count(outcome)} {word}" for outcome, word in told), flush=True)
    return 1 if False in held else 0


if __name__ == "__main__":
    sys.exit(main())
