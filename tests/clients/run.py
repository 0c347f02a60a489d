"""Real third-party programs against the simulated iPhone, and real readers on its backups.

Prints a table (client, check, seconds, ok or why not) and ends with the count; exits 1 when a check failed.
Every check runs in a process of its own, with a folder of its own, and is ended after its time.
"""

import argparse
import dataclasses
import importlib
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback

from phone import Failed
from registry import CHECKS
from world import World

LOOK_EVERY_S = 0.02
RESULT = "result.json"
# More than can compute: every check also waits, for a phone that restarts or a person who takes a moment.
AT_A_TIME = min(2, os.cpu_count() or 1) + 2


@dataclasses.dataclass
class Under:
    """A check that is running."""

    check: object
    folder: pathlib.Path
    began: float
    process: int


def import_checks():
    """Every module of this folder: those with checks add them."""
    for path in sorted(pathlib.Path(__file__).parent.glob("*.py")):
        if path.stem != "run":
            importlib.import_module(path.stem)


def folder_name(number, check):
    # Short: it is in the names of unix sockets, which have little room.
    return f"{number}-{re.sub('[^a-z0-9]+', '-', check.client.lower())[:12]}"


def outcome(check, options, suite, name):
    """Runs a check to its end, in its own process: (passed, word)."""
    try:
        world = World(options.program, options.peers, suite, name)
        # What a program leaves behind when it is killed goes with the rest.
        os.environ["TMPDIR"] = str(world.scratch)
        return True, check.function(world) or ""
    except Failed as reason:
        return False, str(reason)
    except Exception as error:  # What a check did not foresee: an output of another shape, mostly.
        where = traceback.extract_tb(error.__traceback__)[-1]
        return False, f"{type(error).__name__}: {error} ({pathlib.Path(where.filename).name}:{where.lineno})"


def start(number, check, options, suite):
    name = folder_name(number, check)
    began = time.monotonic()
    process = os.fork()
    if process:
        return Under(check, suite / name, began, process)
    os.setsid()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    passed, word = outcome(check, options, suite, name)
    (suite / f"{name}.{RESULT}").write_text(json.dumps([passed, word]))
    os._exit(0)


def sweep(under, keep):
    """Ends what a check left behind: processes, mounts, files."""
    try:
        os.killpg(under.process, signal.SIGKILL)
    except ProcessLookupError:
        pass
    for line in pathlib.Path("/proc/mounts").read_text().splitlines():
        mount = line.split()[1]
        if mount.startswith(f"{under.folder}/"):
            subprocess.run(["fusermount3", "-uz", mount], check=False)
    if not keep:
        shutil.rmtree(under.folder, ignore_errors=True)


def ended(under):
    """Whether it has, by itself or because its time is over."""
    if os.waitpid(under.process, os.WNOHANG)[0]:
        return True
    if time.monotonic() - under.began < under.check.timeout:
        return False
    os.killpg(under.process, signal.SIGKILL)
    os.waitpid(under.process, 0)
    return True


def verdict(under, widths):
    result = under.folder.with_name(f"{under.folder.name}.{RESULT}")
    if result.exists():
        passed, word = json.loads(result.read_text())
    else:
        passed, word = False, f"not done within {under.check.timeout} s"
    seconds = time.monotonic() - under.began
    columns = [under.check.client.ljust(widths[0]), under.check.name.ljust(widths[1]), f"{seconds:6.1f} s"]
    columns.append(f"{'ok' if passed else 'FAILED'} {' '.join(word.split())}".strip())
    print(" | ".join(columns), flush=True)
    return passed


def free_to_run(waiting, running):
    shared = {under.check.shares for under in running} - {None}
    return next((one for one in waiting if one[1].shares not in shared), None)


def run_all(checks, options, suite):
    """Runs the checks, some at a time; gives the passed and the failed ones."""
    widths = [max(len(getattr(one, column)) for one in checks) for column in ("client", "name")]
    # Those that take longest first, so that none of them is alone at the end.
    waiting = sorted(enumerate(checks), key=lambda one: -one[1].timeout)
    running, passed, failed = [], [], []
    try:
        while waiting or running:
            while len(running) < options.jobs and (one := free_to_run(waiting, running)):
                waiting.remove(one)
                running.append(start(*one, options, suite))
            for under in [under for under in running if ended(under)]:
                running.remove(under)
                (passed if verdict(under, widths) else failed).append(under.check)
                sweep(under, options.keep)
            time.sleep(LOOK_EVERY_S)
    finally:
        for under in running:
            os.kill(under.process, signal.SIGKILL)
            sweep(under, options.keep)
    return passed, failed


def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--program", type=pathlib.Path, required=True)
    arguments.add_argument("--peers", type=pathlib.Path, required=True)
    arguments.add_argument("--only", help="run only checks whose module, client or name matches this expression")
    arguments.add_argument("--jobs", type=int, default=AT_A_TIME, help="checks at a time")
    arguments.add_argument("--keep", action="store_true", help="keep the scratch folder")
    arguments.add_argument("--list", action="store_true", help="only name the checks")
    options = arguments.parse_args()
    import_checks()
    checks = [
        one for one in CHECKS
        if not options.only or re.search(options.only, f"{one.function.__module__} {one.client} {one.name}")
    ]
    if options.list:
        for one in checks:
            print(f"{one.function.__module__:16} {one.client:32} {one.name}")
        return 0
    if not checks:
        print("no such check")
        return 2
    # Ended from outside, it still ends what it began.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    suite = pathlib.Path(tempfile.mkdtemp(prefix="idevice-fix-clients-"))
    began = time.monotonic()
    try:
        passed, failed = run_all(checks, options, suite)
    finally:
        if options.keep:
            print(f"kept: {suite}")
        else:
            shutil.rmtree(suite, ignore_errors=True)
    for one in failed:
        print(f"failed: {one.function.__module__}: {one.client}: {one.name}")
    computing = sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])
    print(
        f"{len(passed)} passed, {len(failed)} failed ({time.monotonic() - began:.0f} s, {options.jobs} at a time; "
        f"{computing:.0f} s of computing)"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
