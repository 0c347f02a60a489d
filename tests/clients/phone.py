"""A simulated iPhone for the real clients: its folder, and the running simulator that serves it."""

import hashlib
import os
import pathlib
import socket
import subprocess
import time


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


class Phone:
    """A device folder made by `sim new`."""

    def __init__(self, program, folder, *options):
        self.program = str(program)
        self.folder = pathlib.Path(folder)
        subprocess.run([self.program, "sim", "new", str(folder), *options], check=True, stdout=subprocess.DEVNULL)
        self.media = self.folder / "media"


class Running:
    """`sim run` over device folders, on TCP (the one form that every client understands) and on a unix socket."""

    def __init__(self, phones, home):
        self.phones = phones
        self.home = pathlib.Path(home)
        self.home.mkdir(parents=True, exist_ok=True)
        self.unix = self.home / "usbmuxd"
        self.port = free_port()
        self.log = self.home / "simulator.log"

    def __enter__(self):
        program = self.phones[0].program
        folders = [str(phone.folder) for phone in self.phones]
        command = [program, "sim", "run", *folders, "--tcp", f"127.0.0.1:{self.port}", "--unix", str(self.unix)]
        self.process = subprocess.Popen(command, stdout=open(self.log, "w"), stderr=subprocess.STDOUT)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise Failed(f"the simulator ended: {self.log.read_text()[-400:]}")
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                time.sleep(0.05)
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

    def run(self, *command, timeout=180, ok=(0,), address=None, stdin=None):
        """Runs a client to its end and gives back its output; another exit status than `ok` is a failed check."""
        command = [str(part) for part in command]
        try:
            done = subprocess.run(
                command, env=self.environment(address), timeout=timeout, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, stdin=stdin or subprocess.DEVNULL, text=True, errors="replace",
            )
        except subprocess.TimeoutExpired:
            raise Failed(f"{pathlib.Path(command[0]).name} did not end within {timeout} s") from None
        if done.returncode not in ok:
            words = " ".join(done.stdout.split())[-300:]
            raise Failed(f"{pathlib.Path(command[0]).name} exit {done.returncode}: {words}")
        return done.stdout
