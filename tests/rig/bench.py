"""What is tried with the installed package in a booted system, inside the virtual machine.

bench.py first|second DEB: the second boot begins with what the first one left behind.
"""

import contextlib
import json
import os
import pathlib
import pwd
import subprocess
import sys
import time

PORT = 3240
# The machine is emulated, and maybe one of several things that its host is at.
WAIT_S = 240
LOOK_EVERY_S = 0.3
STATE = pathlib.Path("/var/lib/idevice-fix")
KEPT = pathlib.Path("/out/state.tar")


class Failed(Exception):
    """Something that did not hold."""


def run(*command, ok=(0,), within=WAIT_S):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=within)
    if ok and done.returncode not in ok:
        raise Failed(f"{' '.join(command[:3])} exit {done.returncode}: {done.stdout.strip()[-800:]}")
    return done.stdout


def install(deb):
    """Other packages' triggers, an index of all manuals for one, take an emulated machine longer than all the rest."""
    began = time.monotonic()
    run("dpkg", "--force-unsafe-io", "--no-triggers", "-i", deb, within=600)
    print(f"     installed in {time.monotonic() - began:.0f} s", flush=True)


def wait_for(what, look):
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(LOOK_EVERY_S)
    raise Failed(f"{what} did not come about in {WAIT_S} s")


def expect(what, holds):
    if not holds:
        raise Failed(what)
    print(f"ok   {what}", flush=True)


@contextlib.contextmanager
def phone():
    """A simulated phone that can be plugged in."""
    folder = "/tmp/phone"
    run("idevice-fix", "sim", "new", folder, "--photos", "6", "--temper", "kind", "--seed", "5")
    with open("/tmp/sim.log", "w") as log:
        served = subprocess.Popen(
            ["idevice-fix", "sim", "run", folder, "--usbip", f"127.0.0.1:{PORT}"], stdout=log, stderr=log
        )
    try:
        wait_for("the simulated phone", lambda: "USB devices" in pathlib.Path("/tmp/sim.log").read_text())
        yield
    finally:
        served.terminate()
        served.wait(timeout=30)


def plug_in():
    run("usbip", "attach", "-r", "127.0.0.1", "-b", "1-1")


def pull_out():
    run("usbip", "detach", "-p", "0")


def visits():
    said = run("idevice-fix", "jobs", "--json", "--dest", str(STATE))
    return json.loads(said)["jobs"]


def done(count):
    """So many visits, the newest of which is done and open."""
    found = visits() if (STATE / "idevice-fix.db").exists() else []
    return found if len(found) == count and found[0]["exit_status"] is not None else None


def is_active():
    return run("systemctl", "is-active", "idevice-fix", ok=()).strip() == "active"


def journal():
    return run("journalctl", "-u", "idevice-fix", "-o", "cat", "--no-pager", ok=())


def node():
    for entry in pathlib.Path("/sys/bus/usb/devices").iterdir():
        vendor = entry / "idVendor"
        if vendor.exists() and vendor.read_text().strip() == "05ac":
            bus, address = (int((entry / name).read_text()) for name in ("busnum", "devnum"))
            return pathlib.Path(f"/dev/bus/usb/{bus:03}/{address:03}"), entry.name
    return None


def first(deb):
    install(deb)
    expect("the service waits for a phone", not is_active())
    with phone():
        plug_in()
        wait_for("the service, started by the plug", is_active)
        rows = wait_for("a visit", lambda: done(1))
        expect(f"the plug began a visit: {rows[0]['sentence']}", rows[0]["ended_at"] is None)
        path, port = node()
        expect(f"its socket is recorded: {port}", rows[0]["port"] == port)
        expect("its node is the service's group's", path.group() == "idevice-fix" and path.stat().st_mode & 0o060 == 0o060)
        properties = run("udevadm", "info", str(path))
        expect("udev knows its place", "ID_PATH=" in properties and f"IDEVICE_FIX_PORT={port}" in properties)
        configuration = pathlib.Path(f"/sys/bus/usb/devices/{port}/bConfigurationValue").read_text().strip()
        expect("usbmuxd chose the configuration, not the rule", configuration in ("3", "4"))

        pull_out()
        began = time.monotonic()
        wait_for("the end of the visit", lambda: visits()[0]["ended_at"])
        expect(f"the unplug ended it, within {time.monotonic() - began:.1f} s", is_active())

        plug_in()
        wait_for("a second visit", lambda: done(2))
        run("systemctl", "restart", "idevice-fix")
        wait_for("the service", is_active)
        wait_for("the phone again", lambda: journal().count("Plugged in") >= 3)
        expect("a restart of the service goes on with it", len(visits()) == 2 and visits()[0]["ended_at"] is None)
        run("systemctl", "restart", "usbmuxd")
        wait_for("the phone again", lambda: journal().count("Plugged in") >= 4)
        expect("a restart of usbmuxd as well", len(visits()) == 2 and visits()[0]["ended_at"] is None)
        began = time.monotonic()
        run("systemctl", "stop", "idevice-fix")
        expect(f"it stops cleanly, in {time.monotonic() - began:.1f} s", "failed" not in run("systemctl", "is-failed", "idevice-fix", ok=()))
        owner = pwd.getpwuid(STATE.stat().st_uid).pw_name
        expect("what it keeps is its own", owner == "idevice-fix" and STATE.stat().st_mode & 0o077 == 0)
    run("tar", "-C", str(STATE.parent), "-cf", str(KEPT), STATE.name)


def second(deb):
    # Nothing that was installed is left in the machine: until it is again, the program is one that is not installed.
    run("dpkg-deb", "-x", deb, "/tmp/program")
    os.environ["PATH"] = f"/tmp/program/usr/bin:{os.environ['PATH']}"
    run("tar", "-C", str(STATE.parent), "-xf", str(KEPT))
    before = visits()
    expect("the visit was open when the machine went down", before[0]["ended_at"] is None)
    run("chmod", "700", str(STATE))
    with phone():
        plug_in()
        install(deb)
        run("chown", "-R", "idevice-fix:idevice-fix", str(STATE))
        # The package has udev look again at what is plugged in.
        wait_for("the service, started for what is there", is_active)
        wait_for("the phone", lambda: "Plugged in" in journal())
        time.sleep(3)
        after = visits()
        expect("after a reboot the same visit goes on", [row["job"] for row in after] == [row["job"] for row in before])
        expect("and is open", after[0]["ended_at"] is None)
        pull_out()
        wait_for("the end of the visit", lambda: visits()[0]["ended_at"])
        expect("until the unplug", len(visits()) == len(before))
        run("systemctl", "stop", "idevice-fix")
    run("dpkg", "--force-unsafe-io", "--no-triggers", "-P", "idevice-fix")
    expect("a purge leaves what was kept", (STATE / "idevice-fix.db").exists())


def main():
    try:
        {"first": first, "second": second}[sys.argv[1]](sys.argv[2])
    except (Failed, OSError, subprocess.SubprocessError) as error:
        print(f"FAILED {error}", flush=True)
        print(journal()[-4000:])
        for look in ("journalctl -u usbmuxd -o cat --no-pager -n 30", "idevice_id -l", "usbip port", "ls -l /var/run/usbmuxd"):
            print(f"-- {look}\n{run(*look.split(), ok=())}")
        if found := node():
            print(run("udevadm", "info", str(found[0])), run("ls", "-l", str(found[0])))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
