"""What is tried on a virtual USB bus, inside the virtual machine: Debian's usbmuxd and libimobiledevice, and this
project's own program, with a simulated iPhone that is plugged in and out.

checks.py PROGRAM
"""

import contextlib
import pathlib
import subprocess
import sys
import time

HOME = pathlib.Path("/tmp/rig")
PORT = 3240
# The machine is emulated, and the program a debug build: making a key takes seconds here.
WAIT_S = 90
LOOK_EVERY_S = 0.3


class Failed(Exception):
    """A check that did not hold."""


def run(*command, ok=(0,)):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=WAIT_S)
    if ok and done.returncode not in ok:
        raise Failed(f"{pathlib.Path(command[0]).name} {command[1]} exit {done.returncode}: {done.stdout.strip()[-500:]}")
    return done.stdout


def wait_for(what, look):
    """Looks until there is something."""
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(LOOK_EVERY_S)
    raise Failed(f"{what} did not come about in {WAIT_S} s")


@contextlib.contextmanager
def running(name, *command):
    """A program in the background, and what it says."""
    said = HOME / f"{name}.log"
    with open(said, "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        yield said
    finally:
        process.terminate()
        process.wait(timeout=WAIT_S)


def plug_in():
    run("usbip", "attach", "-r", "127.0.0.1", "-b", "1-1")


def pull_out():
    run("usbip", "detach", "-p", "0")


def listed():
    return run("idevice_id", "-l").split()


def same_photos(folder, copy):
    wanted = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    if not wanted:
        raise Failed("the phone has no photos")
    for path, content in wanted.items():
        if (copy / path).read_bytes() != content:
            raise Failed(f"{path} is not the phone's")
    return len(wanted)


def through_usbmuxd(program, phone):
    """usbmuxd finds the phone, pairs, and carries a pull; then the phone is pulled out."""
    with running("usbmuxd", "usbmuxd", "-f", "-v") as log:
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


def main():
    program = sys.argv[1]
    HOME.mkdir()
    phone = HOME / "phone"
    run(program, "sim", "new", str(phone), "--photos", "12", "--temper", "kind")
    failed = 0
    with running("simulator", program, "sim", "run", str(phone), "--usbip", f"127.0.0.1:{PORT}") as log:
        wait_for("the simulator", lambda: "USB devices" in log.read_text())
        for check in (through_usbmuxd, without_usbmuxd):
            began = time.monotonic()
            try:
                verdict = f"ok {check(program, phone) or ''}"
            except (Failed, OSError, subprocess.SubprocessError) as error:
                verdict = f"FAILED {error}"
                failed += 1
                run("usbip", "detach", "-p", "0", ok=())
            print(f"{check.__name__:20} | {time.monotonic() - began:6.1f} s | {verdict}", flush=True)
    if failed:
        for said in HOME.glob("*.log"):
            print(f"-- {said.name}\n{said.read_text()[-5000:]}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
