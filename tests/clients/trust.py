"""Pairing as it goes wrong: nobody answers, "Don't Trust", a locked screen, a record that the phone has forgotten."""

import subprocess
import time

from peers import pair_with_idevicepair, pair_with_pymobiledevice3
from phone import Failed
from registry import check

NEVER = {"trusts_after_ms": 0, "unlocks_after_ms": 0, "enters_passcode_after_ms": 0}
# Some tries, a moment apart: an answer that only comes once would be no state.
TRIES = 3
# A phone that was just plugged in may be protected for a moment, whatever its state.
HARSH_MOMENT_S = 0.6
PENDING_S = 4


def phone(world, *options, **told):
    return world.phone("phone", "--photos", "4", "--temper", "kind", *options, **told)


def idevicepair_says(running, words):
    """idevicepair refuses to pair with these words, again and again."""
    for _ in range(TRIES):
        output = running.run("idevicepair", "pair", ok=(1,))
        if words not in output:
            raise Failed(f"idevicepair does not say {words!r}: {' '.join(output.split())}")


def validated(running):
    output = running.run("idevicepair", "validate")
    if "SUCCESS" not in output:
        raise Failed(f"idevicepair validate: {output.strip()}")


def not_paired(running):
    """Validating does not succeed. Where there is no record idevicepair asks for trust at once: any refusal will do."""
    output = running.run("idevicepair", "validate", ok=(1,))
    if not output.startswith("ERROR: Device") and not output.startswith("ERROR: Please accept"):
        raise Failed(f"idevicepair validate: {output.strip()}")


def pmd3_refused(world, running, words, command=("lockdown", "pair")):
    output = running.run(world.pmd3, *command, ok=(1,))
    if words not in " ".join(output.split()):
        raise Failed(f"pymobiledevice3 does not say {words!r}: {' '.join(output.split())[-300:]}")


class Waiting:
    """`pymobiledevice3 lockdown pair`, which waits for the person by itself."""

    def __init__(self, world, running):
        self.process = subprocess.Popen(
            [str(world.pmd3), "lockdown", "pair"], env=running.environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )

    def still_waits(self, seconds):
        try:
            output, _ = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            return
        raise Failed(f"pymobiledevice3 did not wait for the person: {' '.join(output.split())[-300:]}")

    def succeeds(self):
        output, _ = self.process.communicate(timeout=30)
        if self.process.returncode != 0:
            raise Failed(f"pymobiledevice3 lockdown pair: {' '.join(output.split())[-300:]}")

    def is_ended(self):
        self.process.kill()
        self.process.communicate()


# -- Don't Trust --

@check("idevicepair", "the owner taps Don't Trust, then trusts after all")
def denied(world):
    one = phone(world, trust={"state": "denied"})
    with world.serve([one], "denied") as running:
        idevicepair_says(running, "said that the user denied the trust dialog")
        not_paired(running)
        one.tell(trust={"state": "paired-on-request"})
        pair_with_idevicepair(running)
        validated(running)


@check("pymobiledevice3", "the owner taps Don't Trust, then trusts after all")
def pmd3_denied(world):
    one = phone(world, trust={"state": "denied"})
    with world.serve([one], "denied") as running:
        pmd3_refused(world, running, "refused to trust this computer")
        one.tell(trust={"state": "paired-on-request"})
        pair_with_pymobiledevice3(world, running)


# -- nobody answers --

@check("idevicepair", "nobody answers the dialog; then it is accepted")
def pending(world):
    one = phone(world, person=NEVER)
    with world.serve([one], "pending") as running:
        idevicepair_says(running, "Please accept the trust dialog")
        not_paired(running)
        one.tell(person={"trusts_after_ms": 1})
        pair_with_idevicepair(running)
        validated(running)


@check("idevicepair", "the dialog that nobody can answer")
def pending_for_ever(world):
    with world.serve([phone(world, trust={"state": "pending"})], "pending") as running:
        idevicepair_says(running, "Please accept the trust dialog")
        not_paired(running)


@check("pymobiledevice3", "nobody answers the dialog; then it is accepted")
def pmd3_pending(world):
    one = phone(world, person=NEVER)
    with world.serve([one], "pending") as running:
        pair = Waiting(world, running)
        pair.still_waits(PENDING_S)
        one.tell(person={"trusts_after_ms": 1})
        pair.succeeds()
        running.run(world.pmd3, "lockdown", "get", "", "ProductVersion")


@check("pymobiledevice3", "the dialog that nobody can answer")
def pmd3_pending_for_ever(world):
    with world.serve([phone(world, trust={"state": "pending"})], "pending") as running:
        pair = Waiting(world, running)
        pair.still_waits(PENDING_S)
        pair.is_ended()
        not_paired(running)


# -- locked --

def locked_then_unlocked(world, state, refused):
    one = phone(world, lock={"state": state}, person=NEVER)
    with world.serve([one], state) as running:
        refused(running)
        one.tell(lock={"state": "unlocked"}, person={"trusts_after_ms": 300})
        pair_with_idevicepair(running)
        validated(running)


def says_passcode(running):
    idevicepair_says(running, "because a passcode is set")


@check("idevicepair", "a locked phone asks for the passcode; then it is unlocked")
def locked(world):
    locked_then_unlocked(world, "locked", says_passcode)


@check("idevicepair", "before the first unlock the phone asks for the passcode; then it is unlocked")
def before_first_unlock(world):
    locked_then_unlocked(world, "before-first-unlock", says_passcode)


@check("pymobiledevice3", "a locked phone asks for the passcode")
def pmd3_locked(world):
    locked_then_unlocked(world, "locked", lambda running: pmd3_refused(world, running, "Please unlock and retry"))


@check("pymobiledevice3", "before the first unlock the phone asks for the passcode")
def pmd3_before_first_unlock(world):
    locked_then_unlocked(
        world, "before-first-unlock", lambda running: pmd3_refused(world, running, "Please unlock and retry"),
    )


def paired_but(world, state):
    """A paired phone in that state of its screen lock: what is open still answers, files do not; unlocked, they do."""
    one = phone(world, person=NEVER | {"trusts_after_ms": 300})
    with world.serve([one], state) as running:
        pair_with_idevicepair(running)
        one.tell(lock={"state": state})
        validated(running)
        if running.run("ideviceinfo", "-k", "PasswordProtected").strip() != "true":
            raise Failed("a locked phone does not say that it is")
        mount = world.scratch / "mount"
        mount.mkdir()
        output = running.run("ifuse", str(mount), ok=(1, 255))
        output += running.run(world.pmd3, "afc", "ls", "/", ok=(1,))
        if "PasswordProtected" not in output and "unlock" not in output:
            raise Failed(f"AFC is refused with other words: {' '.join(output.split())}")
        one.tell(lock={"state": "unlocked"})
        if "DCIM" not in running.run(world.pmd3, "afc", "ls", "/"):
            raise Failed("unlocked, the phone does not list its files")


@check("ifuse, pymobiledevice3", "a paired phone that is locked gives no files, and does when it is unlocked")
def paired_and_locked(world):
    paired_but(world, "locked")


@check("ifuse, pymobiledevice3", "a paired phone before its first unlock gives no files, and does afterwards")
def paired_and_sealed(world):
    paired_but(world, "before-first-unlock")


# -- records --

@check("idevicepair", "a record that the phone has forgotten; then it is paired again")
def stale(world):
    one = phone(world)
    with world.serve([one], "stale") as running:
        pair_with_idevicepair(running)
        validated(running)
        one.tell(trust={"state": "stale"}, person=NEVER)
        not_paired(running)
        idevicepair_says(running, "Please accept the trust dialog")
        one.tell(person={"trusts_after_ms": 1})
        pair_with_idevicepair(running)
        validated(running)


@check("pymobiledevice3", "a record that the phone has forgotten; then it is paired again")
def pmd3_stale(world):
    one = phone(world)
    with world.serve([one], "stale") as running:
        pair_with_pymobiledevice3(world, running)
        one.tell(trust={"state": "stale"})
        not_paired(running)
        # It notices by itself that the phone knows its record no more, and asks again.
        running.run(world.pmd3, "afc", "ls", "/")
        validated(running)


@check("idevicepair", "unpair: the record is gone on both sides")
def unpaired(world):
    with world.serve([phone(world)], "unpair") as running:
        pair_with_idevicepair(running)
        running.run("idevicepair", "unpair")
        not_paired(running)
        running.run("idevicepair", "unpair", ok=(1,))
        pair_with_idevicepair(running)
        validated(running)


@check("pymobiledevice3", "unpair; the record that is left is worth nothing")
def pmd3_unpaired(world):
    with world.serve([phone(world)], "unpair") as running:
        pair_with_pymobiledevice3(world, running)
        running.run(world.pmd3, "lockdown", "unpair")
        not_paired(running)
        pair_with_pymobiledevice3(world, running)
        validated(running)


@check("idevicepair", "a harsh phone, which may be protected for a moment after it was plugged in")
def harsh_moment(world):
    one = phone(world, "--temper", "harsh")
    with world.serve([one], "harsh") as running:
        first = running.run("idevicepair", "pair", ok=(0, 1))
        time.sleep(HARSH_MOMENT_S)
        pair_with_idevicepair(running)
        validated(running)
    return "protected at first" if "passcode" in first else "was too late to see it protected"


@check("pymobiledevice3", "a phone that was paired once knows the host when it is served again")
def remembered(world):
    one = phone(world)
    with world.serve([one], "home", keep=True) as running:
        pair_with_pymobiledevice3(world, running)
    kept = [path for path in (one.folder / "state").rglob("*") if path.is_file()]
    if not kept:
        raise Failed("the phone remembers nothing")
    for path in kept:
        if path.stat().st_mode & 0o077:
            raise Failed(f"others on this computer can read {path.name}")
    # Nobody taps Trust now: only the record in pymobiledevice3's own folder can open a session.
    one.tell(person=NEVER)
    with world.serve([one], "home", keep=True) as running:
        running.run(world.pmd3, "afc", "ls", "/", timeout=30)
