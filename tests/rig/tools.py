"""What the checks on the virtual USB bus have in common: programs that run, phones that are plugged in and out."""

import contextlib
import pathlib
import plistlib
import socket
import struct
import subprocess
import threading
import time

HOME = pathlib.Path("/tmp/rig")
PORT = 3240
VHCI = pathlib.Path("/sys/devices/platform/vhci_hcd.0")
USBMUXD = pathlib.Path("/var/run/usbmuxd")
# The machine is emulated, and the program a debug build: making a key takes seconds here.
WAIT_S = 90
LOOK_EVERY_S = 0.3


class Failed(Exception):
    """A check that did not hold."""


class LeftOut(Exception):
    """A check that was not made, and why."""


def run(*command, ok=(0,), within=WAIT_S, **more):
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=within, **more
    )
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
def running(name, *command, **more):
    """A program in the background, and what it says. It has to end well when it is asked to."""
    said = HOME / f"{name}.log"
    with open(said, "w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, **more)
    try:
        yield said, process
    except BaseException:
        print(f"-- {name}\n{said.read_text()[-3000:]}", flush=True)
        raise
    finally:
        process.terminate()
        process.wait(timeout=WAIT_S)


def plug_in(number=1):
    """As anybody does it. The kernel looks at the phone after that: it is waited for."""
    before = plugged()
    run("usbip", "attach", "-r", "127.0.0.1", "-b", f"1-{number}")
    wait_for("the phone on the bus", lambda: plugged() - before)


def plug_in_directly(number, port):
    """Without any tool: the simulator is asked for a phone by hand, and the kernel is given the connection."""
    before = plugged()
    with socket.create_connection(("127.0.0.1", PORT), timeout=WAIT_S) as line:
        line.sendall(struct.pack(">HHI32s", 0x0111, 0x8003, 0, f"1-{number}".encode()))
        code, status = struct.unpack(">2xHI", exactly(line, 8))
        if (code, status) != (0x0003, 0):
            raise Failed(f"phone {number} cannot be imported: {code:#x} {status}")
        bus, address, speed = struct.unpack(">288x3I12x", exactly(line, 312))
        line.settimeout(None)
        (VHCI / "attach").write_text(f"{port} {line.fileno()} {bus << 16 | address} {speed}")
    wait_for("the phone on the bus", lambda: plugged() - before)


def pull_out(port=0, ok=(0,)):
    before = plugged()
    run("usbip", "detach", "-p", str(port), ok=ok)
    if before and 0 in ok and len(ok) == 1:
        wait_for("an empty socket", lambda: before - plugged())


def phones_on_bus():
    """The kernel's folders of the phones that are plugged in."""
    found = []
    for vendor in pathlib.Path("/sys/bus/usb/devices").glob("*/idVendor"):
        with contextlib.suppress(OSError):
            if vendor.read_text().strip() == "05ac":
                found.append(vendor.parent)
    return found


def plugged():
    """Addresses of the phones on the bus."""
    found = set()
    for phone in phones_on_bus():
        with contextlib.suppress(OSError):
            found.add(((phone / "busnum").read_text(), (phone / "devnum").read_text()))
    return found


def exactly(line, count):
    data = b""
    while len(data) < count:
        more = line.recv(count - len(data))
        if not more:
            raise Failed("the other side hung up")
        data += more
    return data


def answers(path):
    """Whether somebody listens at a socket; one that ended may have left its file behind."""
    with socket.socket(socket.AF_UNIX) as tried, contextlib.suppress(OSError):
        tried.connect(str(path))
        return True
    return False


def listed(**more):
    """The phones that libimobiledevice is told of."""
    return [word for word in run("idevice_id", "-l", **more).split() if word.startswith("0000")]


def same_photos(folder, copy):
    wanted = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    if not wanted:
        raise Failed("the phone has no photos")
    for path, content in wanted.items():
        if (copy / path).read_bytes() != content:
            raise Failed(f"{path} is not the phone's")
    return len(wanted)


def cpu_s(process):
    """Processor time of a running process."""
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100


def plugged_for_s():
    """How long the phone has been plugged in, as the kernel counts."""
    for phone in phones_on_bus():
        with contextlib.suppress(OSError, ValueError):
            return int((phone / "power/connected_duration").read_text()) / 1000
    return None


class Mux:
    """A client of usbmuxd's socket, by hand."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(WAIT_S)
        self.socket.connect(str(path))

    def ask(self, **request):
        body = plistlib.dumps(request)
        self.socket.sendall(struct.pack("<4I", 16 + len(body), 1, 8, 1) + body)
        return self.hear()

    def hear(self):
        length = struct.unpack("<4I", exactly(self.socket, 16))[0]
        return plistlib.loads(exactly(self.socket, length - 16))

    def connect(self, device, port):
        answer = self.ask(MessageType="Connect", DeviceID=device, PortNumber=socket.htons(port))
        if answer["Number"] != 0:
            raise Failed(f"no connection: {answer}")

    def exchange(self, message):
        """One question to lockdownd, and its answer."""
        body = plistlib.dumps(message)
        self.socket.sendall(struct.pack(">I", len(body)) + body)
        return exactly(self.socket, struct.unpack(">I", exactly(self.socket, 4))[0])


class Listener:
    """Hears what happens on a multiplexer, and how long the phone had been plugged in by then."""

    def __init__(self, path):
        self.mux = Mux(path)
        self.events = []
        if self.mux.ask(MessageType="Listen")["Number"] != 0:
            raise Failed("nobody may listen")
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self):
        with contextlib.suppress(Failed, OSError):
            while True:
                event = self.mux.hear()
                self.events.append((plugged_for_s(), event["MessageType"], event))

    def wait(self, kind, count=1):
        return wait_for(f"{count} x {kind}", lambda: [it for it in self.events if it[1] == kind][count - 1 : count])[0]

    def count(self, kind):
        """How often that has happened."""
        return sum(1 for event in self.events if event[1] == kind)
