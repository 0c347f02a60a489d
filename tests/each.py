"""The project's own tests: every test binary that cargo has built, several beside each other.

Reads what `cargo test --no-run --message-format=json` says on its standard input. `cargo test` would run one binary after
the other, and each waits somewhere for its slowest test. Prints what each binary printed as it ends, then a table of their
times; exits 1 when one failed.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

CORES = os.cpu_count() or 1
# No more than can compute: some of their tests say how long something may take.
AT_A_TIME = CORES
# Those that take longest begin first, so that none of them is alone at the end.
LONGEST = ["cli", "judgement", "conformance", "lib", "sim_raw", "backup", "encrypted", "photos", "collect", "backup_trials"]
# Tests that mostly wait, for phones that stall, leave or are slow: so many of them beside each other.
THREADS = {"cli": 2 * CORES}
LOOK_EVERY_S = 0.05


def built(lines):
    """(name, binary) of each test binary, in the order in which they are to begin."""
    found = []
    for line in lines:
        if not line.startswith("{"):
            continue
        told = json.loads(line)
        if told.get("reason") == "compiler-artifact" and told["profile"]["test"] and told["executable"]:
            kind = told["target"]["kind"][0]
            found.append((kind if kind in ("lib", "bin") else told["target"]["name"], told["executable"]))
    return sorted(found, key=lambda one: LONGEST.index(one[0]) if one[0] in LONGEST else len(LONGEST))


class Running:
    def __init__(self, name, binary):
        self.name = name
        self.began = time.monotonic()
        self.output = tempfile.TemporaryFile()
        environment = {**os.environ, "RUST_TEST_THREADS": str(THREADS.get(name, CORES))}
        environment["CARGO_MANIFEST_DIR"] = os.getcwd()
        self.process = subprocess.Popen([binary], stdout=self.output, stderr=subprocess.STDOUT, env=environment)

    def ended(self):
        """(name, seconds, seconds of computing, whether all passed), when it has."""
        ended, status, used = os.wait4(self.process.pid, os.WNOHANG)
        if not ended:
            return None
        self.process.returncode = os.waitstatus_to_exitcode(status)
        seconds = time.monotonic() - self.began
        self.output.seek(0)
        print(f"\n-- {self.name}", self.output.read().decode(errors="replace"), flush=True)
        return self.name, seconds, used.ru_utime + used.ru_stime, self.process.returncode == 0


def main():
    waiting = built(sys.stdin)
    if not waiting:
        print("cargo has built no tests")
        return 1
    running, done = [], []
    began = time.monotonic()
    try:
        while waiting or running:
            while waiting and len(running) < AT_A_TIME:
                running.append(Running(*waiting.pop(0)))
            for one in list(running):
                if result := one.ended():
                    running.remove(one)
                    done.append(result)
            time.sleep(LOOK_EVERY_S)
    finally:
        for one in running:
            one.process.kill()
            one.process.wait()
    for name, seconds, computed, passed in sorted(done, key=lambda one: -one[1]):
        print(f"{name:24} {seconds:7.1f} s, {computed:7.1f} s of computing, {'ok' if passed else 'FAILED'}")
    failed = [name for name, *_, passed in done if not passed]
    computed = sum(result[2] for result in done)
    print(f"{len(done)} binaries, {len(failed)} failed ({time.monotonic() - began:.0f} s; {computed:.0f} s of computing)")
    for name in failed:
        print(f"failed: {name}: see above")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
