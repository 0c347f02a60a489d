"""What the phone tells without being asked, its name and its clock."""

import datetime
import queue
import subprocess
import threading
import time

from peers import pair_with_idevicepair, pair_with_pymobiledevice3
from phone import Failed
from registry import check

NAME_CHANGED = "com.apple.mobile.lockdown.device_name_changed"
OURS = "com.example.something"
HEARD_S = 40
# The clients ask over a link that has no delay, on a computer that may be busy.
CLOCK_S = 30
AHEAD_S = 7200


class Observer:
    """A client that listens, for a `with` block; gives its lines as they come."""

    def __init__(self, running, *command):
        env = {**running.environment(), "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            [str(part) for part in command], env=env, text=True, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )
        self.lines = queue.Queue()

    def __enter__(self):
        def read():
            for line in self.process.stdout:
                self.lines.put(line)

        threading.Thread(target=read, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def hears(self, name, provoke):
        """`provoke` is called until a line names the notification: when the observer is ready is not to be seen."""
        deadline = time.monotonic() + HEARD_S
        while time.monotonic() < deadline:
            provoke()
            try:
                while True:
                    line = self.lines.get(timeout=1.5)
                    if name in line and "observing" not in line:
                        return
            except queue.Empty:
                pass
        raise Failed(f"{name} was not heard")

    def heard(self):
        """All lines that have come so far."""
        return "".join(self.lines.get() for _ in range(self.lines.qsize()))


def phone(world, **told):
    return world.phone("phone", "--photos", "4", "--temper", "kind", "--name", "Anna’s 📱", **told)


@check("idevicenotificationproxy, idevicename", "observes what others post, and that the phone's name changes")
def observes(world):
    with world.serve([phone(world)], "np") as running:
        pair_with_idevicepair(running)
        names = [OURS, NAME_CHANGED]
        with Observer(running, "stdbuf", "-oL", "idevicenotificationproxy", "observe", *names) as observer:
            observer.hears(OURS, lambda: running.run("idevicenotificationproxy", "post", OURS, "com.example.other"))
            observer.hears(NAME_CHANGED, lambda: running.run("idevicename", "Bob’s"))
            if "com.example.other" in observer.heard():
                raise Failed("was told of something it does not observe")
        if running.run("idevicename").strip() != "Bob’s":
            raise Failed("the name was not kept")


@check("pymobiledevice3", "observes what idevicenotificationproxy posts, and the reverse")
def pmd3_observes(world):
    with world.serve([phone(world)], "np") as running:
        pair_with_pymobiledevice3(world, running)
        with Observer(running, world.pmd3, "notification", "observe", OURS) as observer:
            observer.hears(OURS, lambda: running.run("idevicenotificationproxy", "post", OURS))
        with Observer(running, "stdbuf", "-oL", "idevicenotificationproxy", "observe", OURS) as observer:
            observer.hears(OURS, lambda: running.run(world.pmd3, "notification", "post", OURS))


@check("pymobiledevice3", "TLS on all services and on none: notifications arrive")
def pmd3_tls(world):
    for services in ("all", "none"):
        one = world.phone(f"phone-{services}", "--photos", "4", "--temper", "kind", tls={"services": services})
        with world.serve([one], services) as running:
            pair_with_pymobiledevice3(world, running)
            with Observer(running, world.pmd3, "notification", "observe", OURS) as observer:
                observer.hears(OURS, lambda: running.run("idevicenotificationproxy", "post", OURS))


@check("idevicename, pymobiledevice3", "the name: read, changed, read by the other one; kept in the folder when told to")
def device_name(world):
    one = phone(world)
    with world.serve([one], "name", keep=True) as running:
        pair_with_idevicepair(running)
        if running.run("idevicename").strip() != "Anna’s 📱":
            raise Failed(f"the name is {running.run('idevicename').strip()!r}")
        running.run("idevicename", "Neu & <schön>")
        if "Neu & <schön>" not in running.run(world.pmd3, "lockdown", "device-name"):
            raise Failed("pymobiledevice3 reads another name")
    with world.serve([one], "again", keep=True) as running:
        if running.run("ideviceinfo", "-s", "-k", "DeviceName").strip() != "Neu & <schön>":
            raise Failed("served again, the phone has its old name")


@check("idevicedate, pymobiledevice3", "the clock, also of a phone whose clock is wrong")
def clock(world):
    one = phone(world)
    with world.serve([one], "clock") as running:
        pair_with_idevicepair(running)
        for ahead in (0, AHEAD_S, -AHEAD_S):
            one.tell(clock={"offset_seconds": ahead})
            says(running.run("idevicedate").strip(), "%a %b %d %H:%M:%S %Z %Y", ahead)
        says(running.run(world.pmd3, "lockdown", "date").strip().splitlines()[-1], "%Y-%m-%d %H:%M:%S.%f", -AHEAD_S)


def says(text, form, ahead):
    try:
        told = datetime.datetime.strptime(text, form)
    except ValueError:
        told = datetime.datetime.fromisoformat(text)
    off = (told - datetime.datetime.now()).total_seconds() - ahead
    if abs(off) > CLOCK_S:
        raise Failed(f"the clock is {off:.0f} s off: {text}")
