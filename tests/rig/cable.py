"""Our own multiplexer on the virtual USB bus: no usbmuxd has the phone, or it loses it."""

import json
import os
import pathlib
import re
import statistics
import subprocess
import time

import packets
from tools import (
    HOME, USBMUXD, Failed, LeftOut, Listener, Mux, answers, cpu_s, listed, phones_on_bus, plug_in, plug_in_directly, pull_out, run,
    running, same_photos, wait_for,
)

SOCKET = HOME / "mux"
# One second, on a machine that is not emulated and does nothing else: here the figure is told, and this much too late.
LISTED_WITHIN_S = 4.0
ROUNDS = 3


def ours(program, *more):
    """Our multiplexer in usbmuxd's place, on a socket of its own."""
    return running("mux", program, "mux", "-vv", "--socket", str(SOCKET), "--records", str(HOME / "records"), *more)


def at_ours(**more):
    return {**os.environ, "USBMUXD_SOCKET_ADDRESS": f"UNIX:{SOCKET}", **more}


def trusted(env):
    """Multiplexers ask a phone for trust by themselves; where that takes them too long, it is asked for here."""
    wait_for("trust", lambda: any("SUCCESS" in run("idevicepair", how, ok=(), within=300, env=env) for how in ("validate", "pair")))


def begun(copy, least):
    """Whether a pull has copied so many files."""
    return lambda: sum(1 for path in copy.rglob("*") if path.is_file() and path.suffix != ".partial") >= least


def in_usbmuxds_place(program, phone):
    """Other programs find the phone through our socket, quickly, and udev's configuration 0 does not hold it up."""
    with ours(program) as (log, process):
        wait_for("the socket", SOCKET.exists)
        listener = Listener(SOCKET)
        took = []
        for count in (1, 2, 3):
            plug_in()
            after, _, event = listener.wait("Attached", count)
            took.append(after or 0)
            if count < 3:
                pull_out()
                listener.wait("Detached", count)
        # The first is the kernel's and the simulator's time; what lies between the others is ours, and udev's.
        for line in log.read_text().splitlines():
            if step := re.search(r"(after=|plugged_for=Some\()([0-9.]+m?s)", line):
                print(f"  {step[1][:5]:5} {step[2]:>8} {line.split('muxd::')[-1].split(step[1])[0]}", flush=True)
        udid = event["Properties"]["SerialNumber"]
        env = at_ours()
        if listed(env=env) != [udid]:
            raise Failed("idevice_id lists something else")
        trusted(env)
        if run("ideviceinfo", "-k", "UniqueDeviceID", env=env).strip() != udid:
            raise Failed("ideviceinfo names another phone")
        # A configuration that somebody sets under our hands, as udev did: the phone comes back by itself.
        run("udevadm", "settle")
        gone, back = listener.count("Detached"), listener.count("Attached")
        (phones_on_bus()[0] / "bConfigurationValue").write_text("0")
        listener.wait("Detached", gone + 1)
        listener.wait("Attached", back + 1)
        wait_for("a valid pairing", lambda: "SUCCESS" in run("idevicepair", "validate", ok=(), env=env))
        gone = listener.count("Detached")
        pull_out()
        listener.wait("Detached", gone + 1)
        process.terminate()
        if process.wait(timeout=30) != 0 or SOCKET.exists():
            raise Failed("it does not end well when it is asked to")
    if min(took) > LISTED_WITHIN_S:
        raise Failed(f"listed after {took} s")
    return "listed " + ", ".join(f"{s:.2f} s" for s in took) + " after the plug"


def through_our_own(program, phone):
    """The program alone reads and pulls; a phone that is pulled out in the middle goes on when it is back."""
    plug_in()
    copy = HOME / "own"
    command = [program, "--mux", "own", "photos", "pull", "-y", "--dest", str(copy)]
    with open(HOME / "pull.log", "w") as log:
        pull = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    wait_for("the first photos", begun(copy, 4))
    pull_out()
    time.sleep(1)
    plug_in()
    status = pull.wait(timeout=180)
    if status != 0:
        raise Failed(f"exit {status} after the phone was plugged in again: {(HOME / 'pull.log').read_text()[-800:]}")
    udid = next(path.name for path in copy.iterdir() if path.is_dir() and (path / "photos").exists())
    photos = same_photos(phone / "media" / "DCIM", copy / udid / "photos" / "DCIM")
    pull_out()
    return f"{photos} photos, pulled out once in between"


def three_at_once(program, _phone):
    for port, number in enumerate((1, 2, 3)):
        plug_in_directly(number, port)
    ids = wait_for("three phones", lambda: (found := said_ids(program)) and len(set(found)) == 3 and found)
    for port in (0, 1, 2):
        pull_out(port)
    return f"{len(ids)} phones"


def said_ids(program):
    said = run(program, "--mux", "own", "devices", ok=(0, 3, 4))
    return [line.split()[0] for line in said.splitlines() if line.startswith("0000")]


def when_usbmuxd_dies(program, phone):
    """The usbmuxd through which photos are pulled is killed: our own multiplexer goes on."""
    copy = HOME / "auto"
    with running("usbmuxd", "usbmuxd", "-f") as (_, usbmuxd):
        wait_for("usbmuxd", lambda: answers(USBMUXD))
        plug_in()
        udid = wait_for("the phone in usbmuxd's list", listed)[0]
        trusted(dict(os.environ))
        command = [program, "-v", "photos", "pull", "-y", "--dest", str(copy)]
        with open(HOME / "pull.log", "w") as log:
            pull = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        wait_for("the first photos", begun(copy, 4))
        usbmuxd.kill()
        usbmuxd.wait()
        status = pull.wait(timeout=180)
    said = (HOME / "pull.log").read_text()
    if status != 0 or "our own multiplexer has" not in said:
        raise Failed(f"exit {status} after usbmuxd was killed: {said[-800:]}")
    photos = same_photos(phone / "media" / "DCIM", copy / udid / "photos" / "DCIM")
    pull_out()
    return f"{photos} photos"


def at_the_cable(which, muxer=None):
    """What benches/usb.rs says of a way to the phone: microseconds a question, MB/s, processor seconds a GB."""
    before = cpu_s(muxer) if muxer else 0
    said = json.loads(run(os.environ["CABLE_BENCH"], which, os.environ.get("CABLE_BYTES", "48000000"), within=600))
    processor = said["processor_seconds"] + (cpu_s(muxer) - before if muxer else 0)
    return said["us"], said["bytes"] / said["seconds"] / 1e6, processor / said["bytes"] * 1e9


def cable_through_usbmuxd(_program):
    with running("usbmuxd", "usbmuxd", "-f") as (_, usbmuxd):
        wait_for("usbmuxd", lambda: answers(USBMUXD))
        wait_for("the phone in usbmuxd's list", listed)
        trusted(dict(os.environ))
        return at_the_cable(str(USBMUXD), usbmuxd)


def cable_through_our_socket(program):
    with running("mux", program, "mux", "--socket", str(SOCKET), "--records", str(HOME / "records")) as (_, mux):
        wait_for("the phone in our list", lambda: answers(SOCKET) and Mux(SOCKET).ask(MessageType="ListDevices")["DeviceList"])
        trusted(at_ours())
        return at_the_cable(str(SOCKET), mux)


def cable_through_our_own(_program):
    return at_the_cable("own")


def as_fast_as_usbmuxd(program, _phone):
    """The same phone and the same transfer through Debian's usbmuxd, through our multiplexer in its place, and through our
    own within one process, in turn; prints, and judges nothing: an emulated machine that others share has no constant
    speed. Needs what `cargo bench --no-run --bench usb` makes, named by CABLE_BENCH."""
    if not os.environ.get("CABLE_BENCH"):
        raise LeftOut("CABLE_BENCH names no program (cargo bench --no-run --bench usb)")
    plug_in(3)
    ways = (cable_through_usbmuxd, cable_through_our_socket, cable_through_our_own)
    found = {way: [] for way in ways}
    for number in range(ROUNDS):
        for way in ways:
            found[way].append(way(program))
            latency, speed, processor = found[way][-1]
            print(
                f"  {number} {way.__name__:26} {speed:.2f} MB/s, {latency:.0f} us a question, "
                f"{processor:.0f} s of processor a GB",
                flush=True,
            )
    pull_out()
    theirs, socket, own = ([statistics.median(one) for one in zip(*found[way], strict=True)] for way in ways)
    told = []
    for name, mine in (("our socket", socket), ("our own", own)):
        latency, speed, processor = (ours / other for ours, other in zip(mine, theirs, strict=True))
        told.append(f"{name}: throughput {speed:.2f} x, latency {latency:.2f} x, processor a GB {processor:.2f} x")
    return "; ".join(told)


def through_ifuse(program, phone):
    """A file manager's way: the phone mounted through our multiplexer."""
    run("modprobe", "fuse")
    env, mount = at_ours(), HOME / "mount"
    mount.mkdir()
    with ours(program):
        wait_for("our socket", lambda: answers(SOCKET))
        plug_in()
        wait_for("the phone in our list", lambda: "0000" in run("idevice_id", "-l", ok=(), env=env))
        trusted(env)
        run("ifuse", str(mount), env=env)
        photos = same_photos(phone / "media" / "DCIM", mount / "DCIM")
        run("umount", str(mount))
        pull_out()
    return f"{photos} photos"


def through_pymobiledevice3(program, phone):
    """Python's implementation, which has its own idea of everything, through our multiplexer."""
    theirs = pathlib.Path(os.environ.get("PYMOBILEDEVICE3") or "target/peers/pymobiledevice3/bin/pymobiledevice3")
    if not theirs.exists():
        raise Failed(f"{theirs} is missing: tests/run installs it")
    python = lambda *arguments: run(str(theirs), *arguments, within=600, env=at_ours(USBMUXD_SOCKET_ADDRESS=str(SOCKET)))
    copy = HOME / "python"
    copy.mkdir()
    with ours(program):
        wait_for("our socket", lambda: answers(SOCKET))
        plug_in()
        wait_for("the phone in our list", lambda: "0000" in run("idevice_id", "-l", ok=(), env=at_ours()))
        if '"ConnectionType": "USB"' not in python("usbmux", "list"):
            raise Failed("it lists no phone at a cable")
        python("lockdown", "pair")
        python("afc", "pull", "-i", "/DCIM", str(copy))
        pull_out()
    return f"{same_photos(phone / 'media' / 'DCIM', next(copy.rglob('100APPLE')).parent)} photos"


def packets_of_both(program, _phone):
    """The same deeds through usbmuxd and through our own: what goes over the cable is the same, but for what is explained."""
    run("modprobe", "usbmon")
    # What they ask of a phone by themselves takes its time, and would come in between.
    with running("usbmuxd", "usbmuxd", "-f", "--no-preflight"):
        wait_for("usbmuxd", lambda: answers(USBMUXD))
        theirs = packets.portrait(*packets.record(USBMUXD))
    with ours(program, "--no-preflight"):
        wait_for("our socket", lambda: answers(SOCKET))
        own = packets.portrait(*packets.record(SOCKET))
    lines, explained = packets.differences(theirs, own)
    for line in lines:
        print(f"  {line}", flush=True)
    if not explained:
        raise Failed(f"they are not the same:\n{theirs}\n{own}")
    return f"{len(theirs)} traits, {len(lines)} differ"


CHECKS = (
    in_usbmuxds_place, through_our_own, three_at_once, when_usbmuxd_dies, packets_of_both, through_ifuse,
    through_pymobiledevice3, as_fast_as_usbmuxd,
)
