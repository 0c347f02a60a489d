"""Our own multiplexer on the virtual USB bus: no usbmuxd has the phone, or it loses it."""

import os
import pathlib
import resource
import statistics
import subprocess
import time

from tools import HOME, Failed, Listener, Mux, cpu_s, listed, plug_in, pull_out, run, running, same_photos, wait_for

SOCKET = HOME / "mux"
# One second, on a machine that is not emulated and does nothing else: here the figure is told, and this much too late.
LISTED_WITHIN_S = 4.0
ROUND_TRIPS = 200


def ours(program, *more):
    """Our multiplexer in usbmuxd's place, on a socket of its own."""
    return running("mux", program, "mux", "-vv", "--socket", str(SOCKET), "--records", str(HOME / "records"), *more)


def at_ours(**more):
    return {**os.environ, "USBMUXD_SOCKET_ADDRESS": f"UNIX:{SOCKET}", **more}


def trusted(env):
    wait_for("trust", lambda: "SUCCESS" in run("idevicepair", "pair", ok=(), env=env))


def begun(copy, least):
    """Whether a pull has copied so many files."""
    return lambda: sum(1 for path in copy.rglob("*") if path.is_file() and path.suffix != ".partial") >= least


def in_usbmuxds_place(program, phone):
    """Other programs find the phone through our socket, quickly, and udev's configuration 0 does not hold it up."""
    with ours(program) as (_, process):
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
        udid = event["Properties"]["SerialNumber"]
        env = at_ours()
        if listed(env=env) != [udid]:
            raise Failed("idevice_id lists something else")
        trusted(env)
        if run("ideviceinfo", "-k", "UniqueDeviceID", env=env).strip() != udid:
            raise Failed("ideviceinfo names another phone")
        # A configuration that somebody sets under our hands: the phone comes back by itself.
        vendors = pathlib.Path("/sys/bus/usb/devices").glob("*/idVendor")
        device = next(vendor.parent for vendor in vendors if vendor.read_text().strip() == "05ac")
        (device / "bConfigurationValue").write_text("0")
        listener.wait("Detached", 3)
        listener.wait("Attached", 4)
        run("idevicepair", "validate", env=env)
        pull_out()
        listener.wait("Detached", 4)
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
    for number in (1, 2, 3):
        plug_in(number)
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
        wait_for("usbmuxd", lambda: pathlib.Path("/var/run/usbmuxd").exists())
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


def latency_us(path):
    """The median time of a question to lockdownd that needs no trust."""
    device = Mux(path).ask(MessageType="ListDevices")["DeviceList"][0]["DeviceID"]
    lockdown = Mux(path)
    lockdown.connect(device, 62078)
    times = []
    for _ in range(ROUND_TRIPS):
        began = time.monotonic()
        lockdown.exchange({"Request": "QueryType", "Label": "rig"})
        times.append(time.monotonic() - began)
    return statistics.median(times) * 1e6


def pulled(program, how, copy, muxer=None):
    """Bytes, seconds, and processor seconds of the host's side."""
    before, muxer_before = resource.getrusage(resource.RUSAGE_CHILDREN), cpu_s(muxer) if muxer else 0
    began = time.monotonic()
    run(program, "--mux", how, "photos", "pull", "-y", "--dest", str(copy))
    took = time.monotonic() - began
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    size = sum(path.stat().st_size for path in copy.rglob("DCIM/*/*") if path.is_file())
    return size, took, cpu + (cpu_s(muxer) - muxer_before if muxer else 0)


def as_fast_as_usbmuxd(program, _phone):
    """The same phone and the same transfer through Debian's usbmuxd and through our own; prints, and judges nothing:
    an emulated machine that others share has no constant speed."""
    figures = {}
    with running("usbmuxd", "usbmuxd", "-f") as (_, usbmuxd):
        wait_for("usbmuxd", lambda: pathlib.Path("/var/run/usbmuxd").exists())
        plug_in(2)
        wait_for("the phone in usbmuxd's list", listed)
        trusted(dict(os.environ))
        latency = latency_us("/var/run/usbmuxd")
        figures["usbmuxd"] = (latency, *pulled(program, "usbmuxd", HOME / "fast1", usbmuxd))
    with ours(program, "--no-preflight"):
        wait_for("the phone in our list", lambda: SOCKET.exists() and Mux(SOCKET).ask(MessageType="ListDevices")["DeviceList"])
        latency = latency_us(SOCKET)
    figures["ours"] = (latency, *pulled(program, "own", HOME / "fast2"))
    pull_out()
    for name, (latency, size, took, cpu) in figures.items():
        print(
            f"  {name:8} {size / 1e6:.0f} MB in {took:.1f} s: {size / took / 1e6:.1f} MB/s, {latency:.0f} us a question, "
            f"{cpu / size * 1e9:.0f} s of processor a GB",
            flush=True,
        )
    (latency, _, took, cpu), (our_latency, _, our_took, our_cpu) = figures["usbmuxd"], figures["ours"]
    return f"throughput {took / our_took:.2f} x, latency {our_latency / latency:.2f} x, processor {our_cpu / cpu:.2f} x"


CHECKS = (in_usbmuxds_place, through_our_own, three_at_once, when_usbmuxd_dies, as_fast_as_usbmuxd)
