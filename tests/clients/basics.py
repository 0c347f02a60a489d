"""What every client does first: list, pair, ask for values, over both kinds of socket."""

import json
import pathlib
import plistlib
import time

from peers import DOMAINS, pair_with_idevicepair, pair_with_pymobiledevice3
from phone import Failed
from registry import check

DOMAINS_PROGRAM = pathlib.Path(__file__).parent / "programs/domains.py"


@check("libimobiledevice", "list, pair from nothing, info, every domain")
def lim_basics(world):
    with world.serve([world.kind], "lim-basics") as running:
        udid = world.kind.udid
        if running.run("idevice_id", "-l").split() != [udid]:
            raise Failed("idevice_id -l does not list the phone alone")
        pair_with_idevicepair(running)
        running.run("idevicepair", "validate")
        info = plistlib.loads(running.run("ideviceinfo", "-x").encode())
        if info["UniqueDeviceID"] != udid or info["ProductVersion"] != "18.4.1":
            raise Failed("ideviceinfo shows another phone")
        for domain in DOMAINS:
            running.run("ideviceinfo", "-q", domain, "-x")
        battery = plistlib.loads(running.run("ideviceinfo", "-q", "com.apple.mobile.battery", "-x").encode())
        if not 0 <= battery["BatteryCurrentCapacity"] <= 100:
            raise Failed(f"battery {battery}")
        return f"{len(info)} values, {len(DOMAINS)} domains"


@check("libimobiledevice", "the same over the unix socket")
def lim_unix(world):
    with world.serve([world.kind], "lim-unix") as running:
        output = running.run("ideviceinfo", "-k", "ProductVersion", address=f"UNIX:{running.unix}", ok=(0, 255))
        if "18.4.1" not in output:
            time.sleep(2)
            output = running.run("ideviceinfo", "-k", "ProductVersion", address=f"UNIX:{running.unix}")
        if output.strip() != "18.4.1":
            raise Failed(output)


@check("libimobiledevice", "battery from IORegistry")
def lim_battery(world):
    with world.serve([world.kind], "lim-battery") as running:
        pair_with_idevicepair(running)
        output = running.run("idevicediagnostics", "ioregentry", "AppleSmartBattery")
        registry = plistlib.loads(output.encode())["IORegistry"]
        want = plistlib.loads((world.kind.folder / "ioregistry.plist").read_bytes())["AppleSmartBattery"]
        if registry["CycleCount"] != want["CycleCount"] or registry["DesignCapacity"] != want["DesignCapacity"]:
            raise Failed("other values than the phone's")
        return f"cycle count {registry['CycleCount']}"


@check("pymobiledevice3", "list, pair from nothing, info, every domain")
def pmd3_basics(world):
    with world.serve([world.kind], "pmd3-basics") as running:
        listed = json.loads(running.run(world.pmd3, "usbmux", "list"))
        if [device["UniqueDeviceID"] for device in listed] != [world.kind.udid]:
            raise Failed(f"listed {listed}")
        pair_with_pymobiledevice3(world, running)
        info = json.loads(running.run(world.pmd3, "lockdown", "info"))
        if info["UniqueDeviceID"] != world.kind.udid:
            raise Failed("another phone")
        battery = json.loads(running.run(world.pmd3, "lockdown", "get", "com.apple.mobile.battery"))
        if not 0 <= battery["BatteryCurrentCapacity"] <= 100:
            raise Failed(f"battery {battery}")
        domains = json.loads(running.run(world.pmd3_python, DOMAINS_PROGRAM, *DOMAINS, errors=False))
        if domains["com.apple.mobile.battery"] != len(battery):
            raise Failed(f"domains {domains}")
        return f"{len(info)} values, {len(domains)} domains"


@check("pymobiledevice3", "battery from IORegistry")
def pmd3_battery(world):
    with world.serve([world.kind], "pmd3-battery") as running:
        pair_with_pymobiledevice3(world, running)
        battery = json.loads(running.run(world.pmd3, "diagnostics", "battery", "single"))
        if "CurrentCapacity" not in battery:
            raise Failed(f"{list(battery)[:8]}")


@check("pymobiledevice3", "apps")
def pmd3_apps(world):
    with world.serve([world.kind], "pmd3-apps") as running:
        pair_with_pymobiledevice3(world, running)
        apps = json.loads(running.run(world.pmd3, "apps", "list"))
        want = plistlib.loads((world.kind.folder / "apps.plist").read_bytes())
        if set(apps) != {app["CFBundleIdentifier"] for app in want if app.get("ApplicationType") == "User"} and set(
            apps
        ) != {app["CFBundleIdentifier"] for app in want}:
            raise Failed(f"{sorted(apps)[:4]}")
        return f"{len(apps)} apps"
