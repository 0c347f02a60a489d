"""Phones on the bus: several at once, over both sockets, coming and going, and those that are not on the cable."""

import concurrent.futures
import json
import pathlib
import plistlib
import queue
import subprocess
import threading
import time

from afc import mounted
from network_mux import NetworkMux
from peers import pair_with_idevicepair, pair_with_pymobiledevice3
from phone import Failed, tree
from registry import check

EVENTS = pathlib.Path(__file__).parent / "programs/usbmux_events.py"
# A phone that left is back on the bus after 2 s; a busy computer may need longer to notice.
BACK_S = 30
STAYS_AWAY_S = 4
# idevicediagnostics waits half a minute for the phone's goodbye; one that says it needs none of that.
GOODBYE_S = 25
AT_ONCE = 8
NOBODYS_UDID = "00008101-000FFFFFFFFFFFFF"


def small(world, name, *options, **told):
    return world.phone(name, "--photos", "8", "--temper", "kind", *options, **told)


def listed(running, address=None):
    return sorted(running.run("idevice_id", "-l", address=address).split())


def wait_until(what, condition, seconds=BACK_S):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{what} did not happen within {seconds} s")
        time.sleep(0.1)


# -- two phones --

@check("libimobiledevice, ifuse", "two phones: each is addressed by its udid, both mounted at once")
def two_phones(world):
    phones = [small(world, "one", "--name", "One"), small(world, "two", "--name", "Two", "--ios", "15.8.3")]
    with world.serve(phones, "two") as running:
        if listed(running) != sorted(phone.udid for phone in phones):
            raise Failed(f"listed {listed(running)}")
        for phone, name in zip(phones, ["One", "Two"]):
            pair_with_idevicepair(running, "-u", phone.udid)
            if running.run("idevicename", "-u", phone.udid).strip() != name:
                raise Failed("another phone answered")
        with mounted(world, running, phones[0]) as one, mounted(world, running, phones[1]) as two:
            for phone, mount in zip(phones, [one, two]):
                if tree(mount / "DCIM") != tree(phone.media / "DCIM"):
                    raise Failed(f"{mount.name} holds another phone's files")
        running.run("ideviceinfo", "-u", NOBODYS_UDID, ok=(1, 255))


@check("pymobiledevice3", "two phones: each is addressed by its udid")
def pmd3_two_phones(world):
    phones = [small(world, "one", "--name", "One"), small(world, "two", "--name", "Two")]
    with world.serve(phones, "two") as running:
        simple = json.loads(running.run(world.pmd3, "usbmux", "list", "--simple"))
        if sorted(simple) != sorted(phone.udid for phone in phones):
            raise Failed(f"listed {simple}")
        for phone, name in zip(phones, ["One", "Two"]):
            info = json.loads(running.run(world.pmd3, "lockdown", "info", "--udid", phone.udid, errors=False))
            if (info["UniqueDeviceID"], info["DeviceName"]) != (phone.udid, name):
                raise Failed("another phone answered")
        running.run(world.pmd3, "lockdown", "info", "--udid", NOBODYS_UDID, ok=(1, 2))


@check("libimobiledevice", "eight clients at once on one phone")
def many_clients(world):
    phone = small(world, "phone")
    with world.serve([phone], "many") as running:
        pair_with_idevicepair(running)
        ask = ["ideviceinfo", "-x"], ["idevicediagnostics", "ioregentry", "AppleSmartBattery"]
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            answers = list(pool.map(lambda number: running.run(*ask[number % 2]), range(2 * AT_ONCE)))
    for answer in answers:
        plistlib.loads(answer.encode())
    return f"{len(answers)} answers"


# -- the sockets --

@check("pymobiledevice3", "the unix socket: list, pair, files")
def pmd3_unix(world):
    phone = small(world, "phone")
    with world.serve([phone], "unix") as running:
        address = str(running.unix)
        if json.loads(running.run(world.pmd3, "usbmux", "list", "--simple", address=address)) != [phone.udid]:
            raise Failed("the phone is not listed")
        running.run(world.pmd3, "lockdown", "pair", address=address)
        out = world.scratch / "out"
        out.mkdir()
        running.run(world.pmd3, "afc", "pull", "/DCIM", out, address=address)
    if tree(out / "DCIM") != tree(phone.media / "DCIM"):
        raise Failed("other files than the phone's")
    return f"{len(tree(out))} files"


@check("libimobiledevice, ifuse", "both sockets at once: paired over one, read over the other")
def both_sockets(world):
    phone = small(world, "phone")
    with world.serve([phone], "both") as running:
        unix = f"UNIX:{running.unix}"
        pair_with_idevicepair(running)
        running.run("idevicepair", "validate", address=unix)
        if listed(running, unix) != [phone.udid]:
            raise Failed("the phone is not listed over the unix socket")
        mode = running.unix.stat().st_mode & 0o777
        if mode & 0o077:
            raise Failed(f"others on this computer can use the socket: mode {mode:o}")
        mount = world.scratch / "mount"
        mount.mkdir()
        running.run("ifuse", str(mount), address=unix)
        try:
            got = tree(mount / "DCIM")
        finally:
            subprocess.run(["fusermount3", "-u", str(mount)], check=False)
    if got != tree(phone.media / "DCIM"):
        raise Failed("other files than the phone's")


# -- coming and going --

class Events:
    """pymobiledevice3 listening, for a `with` block."""

    def __init__(self, world, running):
        self.process = subprocess.Popen(
            [str(world.pmd3_python), str(EVENTS)], env=running.environment(), text=True,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        self.lines = queue.Queue()

    def __enter__(self):
        def read():
            for line in self.process.stdout:
                self.lines.put(json.loads(line))

        threading.Thread(target=read, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def next(self):
        """The list after the next change."""
        try:
            return self.lines.get(timeout=BACK_S)
        except queue.Empty:
            raise Failed("nothing was told of a phone that came or went") from None


@check("idevicediagnostics, pymobiledevice3", "restart: gone, back with another id, sealed until it is unlocked")
def restart(world):
    phone = small(world, "phone")
    with world.serve([phone], "restart") as running, Events(world, running) as events:
        pair_with_idevicepair(running)
        [[before, udid, kind]] = events.next()
        if (udid, kind) != (phone.udid, "USB"):
            raise Failed(f"told of {udid} by {kind}")
        phone.tell(person={"unlocks_after_ms": 0})
        running.run("idevicediagnostics", "restart", timeout=GOODBYE_S)
        if events.next() != []:
            raise Failed("the phone did not leave")
        [[after, udid, _]] = events.next()
        if after == before or udid != phone.udid:
            raise Failed("the phone came back with the same id")
        wait_until("the return to the list", lambda: listed(running) == [phone.udid])
        if "unlock" not in running.run(world.pmd3, "afc", "ls", "/", ok=(1,)):
            raise Failed("before its first unlock the phone gives its files")
        phone.tell(person={"unlocks_after_ms": 1})
        wait_until("AFC after the unlock", lambda: "DCIM" in running.run(world.pmd3, "afc", "ls", "/", ok=(0, 1)))
        running.run("idevicepair", "validate")


@check("pymobiledevice3", "diagnostics restart --reconnect waits for the phone to come back")
def pmd3_restart(world):
    phone = small(world, "phone")
    with world.serve([phone], "restart") as running:
        pair_with_pymobiledevice3(world, running)
        running.run(world.pmd3, "diagnostics", "restart", "--reconnect", timeout=60)
        if listed(running) != [phone.udid]:
            raise Failed("the phone is not back")


@check("idevicediagnostics", "shutdown: the phone leaves and stays away; the other one does not notice")
def shutdown(world):
    phones = [small(world, "one"), small(world, "two")]
    with world.serve(phones, "shutdown") as running:
        for phone in phones:
            pair_with_idevicepair(running, "-u", phone.udid)
        with mounted(world, running, phones[1]) as mount:
            running.run("idevicediagnostics", "-u", phones[0].udid, "shutdown", timeout=GOODBYE_S)
            wait_until("the departure", lambda: listed(running) == [phones[1].udid])
            deadline = time.monotonic() + STAYS_AWAY_S
            while time.monotonic() < deadline:
                if listed(running) != [phones[1].udid]:
                    raise Failed("it came back by itself")
                time.sleep(0.5)
            if tree(mount / "DCIM") != tree(phones[1].media / "DCIM"):
                raise Failed("the other phone's files are not whole")


@check("libimobiledevice, pymobiledevice3", "the cable is pulled in the middle of a command, and put back")
def unplugged(world):
    phone = small(world, "phone", fault=[{"at": "lockdown", "after_messages": 6, "kind": "unplug", "times": 1}])
    with world.serve([phone], "unplug") as running, Events(world, running) as events:
        [[before, *_]] = events.next()
        failures = 0
        for _ in range(4):
            failures += "UniqueDeviceID" not in running.run("ideviceinfo", "-s", ok=(0, 1, 255))
            failures += phone.udid not in running.run("ideviceinfo", "-s", "-k", "UniqueDeviceID", ok=(0, 1, 255))
        if not failures:
            raise Failed("no command noticed that the cable was pulled")
        if events.next() != []:
            raise Failed("the phone did not leave")
        [[after, *_]] = events.next()
        if after == before:
            raise Failed("the phone came back with the same id")
        wait_until("the return to the list", lambda: listed(running) == [phone.udid])
        running.run("ideviceinfo", "-s")


# -- phones that are not on the cable --

@check("libimobiledevice, pymobiledevice3, ours", "a phone that usbmuxd sees over the network is left alone by us")
def network(world):
    phone = small(world, "phone")
    with world.serve([phone], "network") as running, NetworkMux(running.port, NOBODYS_UDID) as address:
        if listed(running, address) != [phone.udid]:
            raise Failed(f"idevice_id -l lists {listed(running, address)}")
        if running.run("idevice_id", "-n", address=address).split() != [NOBODYS_UDID]:
            raise Failed("idevice_id -n does not list the phone on the network: the check proves nothing")
        seen = json.loads(running.run(world.pmd3, "usbmux", "list", "--simple", address=address))
        if sorted(seen) != sorted([phone.udid, NOBODYS_UDID]):
            raise Failed(f"pymobiledevice3 lists {seen}")
        ours = running.run(world.program, "devices", "--json", "--mux", "usbmuxd", address=address, errors=False)
        if [one["udid"] for one in json.loads(ours)["devices"]] != [phone.udid]:
            raise Failed(f"idevice-fix lists {ours}")
        # With one phone on the cable nobody has to name it.
        running.run(world.program, "info", "--mux", "usbmuxd", "-y", address=address)


@check("libimobiledevice, ours", "a phone that is on the cable and on the network is one phone, on the cable")
def cable_and_network(world):
    phone = small(world, "phone")
    with world.serve([phone], "network") as running, NetworkMux(running.port, phone.udid) as address:
        ours = running.run(world.program, "devices", "--json", "--mux", "usbmuxd", address=address, errors=False)
        if [one["udid"] for one in json.loads(ours)["devices"]] != [phone.udid]:
            raise Failed(f"idevice-fix lists {ours}")
        running.run(world.program, "info", "--mux", "usbmuxd", "-y", address=address)
        running.run("ideviceinfo", "-s", address=address)
