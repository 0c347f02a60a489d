"""A simulated iPhone for the real clients: its folder, and the running simulator that serves it."""

import hashlib
import json
import os
import pathlib
import plistlib
import socket
import subprocess
import time
import tomllib

START_S = 20


class Failed(Exception):
    """A check that did not hold; its text is the reason that the table shows."""


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def tree(folder):
    """Every regular file below a folder: relative path -> SHA-256; a file that cannot be read -> the error's name."""
    found = {}
    folder = pathlib.Path(folder)
    for root, _, names in os.walk(folder):
        for name in names:
            path = pathlib.Path(root) / name
            try:
                found[str(path.relative_to(folder))] = sha256(path)
            except OSError as error:
                found[str(path.relative_to(folder))] = f"error {error.errno}"
    return found


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def toml(value):
    """A value of `device.toml`, on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key} = {toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value)


class Phone:
    """A device folder."""

    def __init__(self, program, folder):
        self.program = str(program)
        self.folder = pathlib.Path(folder)
        self.media = self.folder / "media"

    @classmethod
    def made(cls, program, folder, *options):
        """A folder made by `sim new`."""
        command = [str(program), "sim", "new", str(folder), *options]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise Failed(f"sim new: {done.stdout.strip()}")
        return cls(program, folder)

    @property
    def udid(self):
        return plistlib.loads((self.folder / "lockdown.plist").read_bytes())[""]["UniqueDeviceID"]

    def tell(self, **sections):
        """Lays values over those in `device.toml`, also of a running phone: `tell(lock={"state": "locked"})`."""
        path = self.folder / "device.toml"
        now = tomllib.loads(path.read_text())
        for name, value in sections.items():
            now[name] = {**now.get(name, {}), **value} if isinstance(value, dict) else value
        beside = path.with_suffix(".new")
        beside.write_text("".join(f"{name} = {toml(value)}\n" for name, value in now.items()))
        beside.replace(path)


class Running:
    """`sim run` over device folders, on TCP (the one form that every client understands) and on a unix socket."""

    def __init__(self, phones, home, keep=False):
        self.phones = phones
        self.home = pathlib.Path(home)
        self.home.mkdir(parents=True, exist_ok=True)
        self.unix = self.home / "usbmuxd"
        self.log = self.home / "simulator.log"
        self.keep = keep

    def __enter__(self):
        deadline = time.monotonic() + START_S
        while not self.started(deadline):
            # Somebody else took the port in the meantime.
            if "cannot be listened on" not in self.log.read_text():
                raise Failed(f"the simulator ended: {self.log.read_text()[-400:]}")
        return self

    def started(self, deadline):
        """Whether it listens; False: it ended instead."""
        self.port = free_port()
        folders = [str(phone.folder) for phone in self.phones]
        options = ["--keep"] if self.keep else []
        command = [self.phones[0].program, "sim", "run", *folders, "--tcp", f"127.0.0.1:{self.port}", "--unix", str(self.unix)]
        with open(self.log, "w") as log:
            self.process = subprocess.Popen([*command, *options], stdout=log, stderr=subprocess.STDOUT)
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                return False
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            except OSError:
                time.sleep(0.02)
        raise Failed("the simulator did not begin to listen")

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def environment(self, address=None):
        env = dict(os.environ)
        env["USBMUXD_SOCKET_ADDRESS"] = address or f"127.0.0.1:{self.port}"
        # A home of its own: some clients keep pair records there, and an old one must not leak in.
        env["HOME"] = str(self.home)
        env["XDG_DATA_HOME"] = str(self.home / "share")
        env.pop("PYMOBILEDEVICE3_USBMUX", None)
        env["NO_COLOR"] = "1"
        return env

    def run(self, *command, timeout=180, ok=(0,), address=None, stdin=None, errors=True):
        """Runs a client to its end and gives back its output, with `errors` its stderr too.

        Another exit status than `ok` is a failed check.
        """
        command = [str(part) for part in command]
        try:
            done = subprocess.run(
                command, env=self.environment(address), timeout=timeout, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT if errors else subprocess.PIPE, stdin=stdin or subprocess.DEVNULL,
                text=True, errors="replace",
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"{pathlib.Path(command[0]).name} did not end within {timeout} s") from None
        if done.returncode not in ok:
            words = " ".join(f"{done.stdout} {done.stderr or ''}".split())[-300:]
            raise Failed(f"{pathlib.Path(command[0]).name} exit {done.returncode}: {words}")
        return done.stdout
