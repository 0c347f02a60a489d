"""How the other programs are asked for what several checks need."""

import time

from phone import Failed, tree

PAIRING_S = 20
# The person of a simulated phone trusts 0.3 s after being asked; every try makes the program new keys.
BETWEEN_TRIES_S = 0.4
DOMAINS = [
    "com.apple.disk_usage", "com.apple.mobile.battery", "com.apple.mobile.backup", "com.apple.mobile.iTunes",
    "com.apple.iTunes", "com.apple.international", "com.apple.fmip", "com.apple.purplebuddy",
    "com.apple.mobile.wireless_lockdown", "com.apple.mobile.data_sync", "com.apple.Accessibility",
    "com.apple.mobile.restriction", "com.apple.mobile.user_preferences", "com.apple.xcode.developerdomain",
]


def pair_with_idevicepair(running, *options):
    """Pairs as a person would with idevicepair: again and again until it says that it is done."""
    deadline = time.monotonic() + PAIRING_S
    while True:
        output = running.run("idevicepair", *options, "pair", ok=(0, 1))
        if "SUCCESS" in output:
            return
        if time.monotonic() > deadline:
            raise Failed(f"idevicepair: {' '.join(output.split())}")
        time.sleep(BETWEEN_TRIES_S)


def pair_with_pymobiledevice3(world, running):
    """Pairs; it waits for the person by itself."""
    running.run(world.pmd3, "lockdown", "pair")


def compare_with_media(phone, got, may_be_refused):
    want = {path: value for path, value in tree(phone.media).items() if path.startswith("DCIM/")}
    if not want:
        raise Failed("the phone has no photos")
    wrong = sorted(path for path, value in want.items() if got.get(path) != value)
    if len(wrong) > may_be_refused:
        raise Failed(f"{len(wrong)} of {len(want)} files are not the phone's: {wrong[:3]}")
    if may_be_refused and len(wrong) != may_be_refused:
        raise Failed(f"a harsh phone refuses one original, {len(wrong)} were refused")
    return f"{len(want) - len(wrong)} of {len(want)} equal"
