"""The small services: log, profiles, provisioning, crash reports, application files, apps, diagnostics, supervision."""

import contextlib
import json
import plistlib
import re
import signal
import subprocess
import time

from peers import pair_with_idevicepair, pair_with_pymobiledevice3
from phone import Failed, tree
from registry import check

SHARING = "org.example.sharing"
DEVELOPED = "org.example.developed"
LINE = "Nov 22 05:30:00 iPhone SpringBoard(FrontBoard)[58] <Notice>: the first line of the log"
LATER = "Nov 22 05:30:01 iPhone backboardd[59] <Error>: a line that came later"
UUID = "6c2e6a0e-8c43-4a5c-9f6e-0d8f3a5b7c11"

SIGN = """
import datetime, sys
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder
key = rsa.generate_private_key(65537, 2048)
name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "developer")])
now = datetime.datetime.now(datetime.timezone.utc)
built = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
built = built.serial_number(1).not_valid_before(now).not_valid_after(now + datetime.timedelta(days=9))
certificate = built.sign(key, hashes.SHA256())
signed = PKCS7SignatureBuilder().set_data(open(sys.argv[1], "rb").read()).add_signer(certificate, key, hashes.SHA256())
open(sys.argv[2], "wb").write(signed.sign(Encoding.DER, [PKCS7Options.Binary]))
"""


def wants(condition, words):
    if not condition:
        raise Failed(words)


@contextlib.contextmanager
def live(running, *command):
    """A client that runs until it is interrupted; gives a function that waits for words in its output."""
    output = running.home / "live.log"
    with open(output, "w") as log:
        process = subprocess.Popen(
            ["stdbuf", "-o0", *map(str, command)], env={**running.environment(), "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
        )

    def heard(words, within=30):
        deadline = time.monotonic() + within
        while words not in output.read_text(errors="replace"):
            if time.monotonic() > deadline or process.poll() is not None:
                said = " ".join(output.read_text(errors="replace").split())
                raise Failed(f"{command[0]} said no {words!r}: {said[-300:]}")
            time.sleep(0.05)

    try:
        yield heard
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


# -- log --

def phone_with_log(world):
    phone = world.kind
    (phone.folder / "syslog.txt").write_text(LINE + "\n")
    return phone


def add_to_log(phone):
    with open(phone.folder / "syslog.txt", "a") as log:
        log.write(LATER + "\n")


@check("libimobiledevice", "the log, and what is added to it live")
def lim_syslog(world):
    phone = phone_with_log(world)
    with world.serve([phone], "syslog") as running:
        pair_with_idevicepair(running)
        with live(running, "idevicesyslog") as heard:
            heard("the first line of the log")
            add_to_log(phone)
            heard("a line that came later")


@check("pymobiledevice3", "the log as text and as records, the list of processes")
def pmd3_syslog(world):
    phone = phone_with_log(world)
    with world.serve([phone], "syslog") as running:
        pair_with_pymobiledevice3(world, running)
        with live(running, world.pmd3, "syslog", "live-old") as heard:
            heard("the first line of the log")
        with live(running, world.pmd3, "syslog", "live") as heard:
            heard("the first line of the log")
            add_to_log(phone)
            heard("a line that came later")
        listed = running.run(world.pmd3, "processes", "ps")
        wants("photolibraryd" in listed, f"processes: {listed[:200]}")


# -- profiles --

@check("pymobiledevice3", "configuration profiles are installed, listed and removed; the phone remembers")
def pmd3_profiles(world):
    phone = world.kind
    profile = world.scratch / "school.mobileconfig"
    profile.write_bytes(plistlib.dumps({
        "PayloadType": "Configuration", "PayloadIdentifier": "org.example.school", "PayloadUUID": UUID,
        "PayloadVersion": 1, "PayloadDisplayName": "School", "PayloadContent": [],
    }))
    with world.serve([phone], "profiles", keep=True) as running:
        pair_with_pymobiledevice3(world, running)
        running.run(world.pmd3, "profile", "install", profile)
    with world.serve([phone], "profiles-again", keep=True) as running:
        pair_with_pymobiledevice3(world, running)
        told = json.loads(running.run(world.pmd3, "profile", "list"))
        metadata = told["ProfileMetadata"].get("org.example.school", {})
        wants(metadata.get("PayloadDisplayName") == "School", f"listed {told}")
        running.run(world.pmd3, "profile", "remove", "org.example.school")
        told = json.loads(running.run(world.pmd3, "profile", "list"))
        wants("org.example.school" not in told["ProfileMetadata"], "it is still there")
        cloud = running.run(world.pmd3, "profile", "cloud-configuration")
        wants("IsSupervised" in cloud, cloud)


def supervised(world):
    """A phone whose supervisor's key is in the file that comes with it."""
    keybag = world.scratch / "keybag.pem"
    phone = world.kind
    with world.serve([phone], "keybag") as running:
        running.run(world.pmd3, "profile", "create-keybag", keybag, "Example School")
    pem = re.search("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", keybag.read_text(), re.S).group(0)
    der = subprocess.run(
        [str(world.pmd3_python), "-c", "import ssl, sys; sys.stdout.buffer.write(ssl.PEM_cert_to_DER_cert(sys.stdin.read()))"],
        input=pem.encode(), stdout=subprocess.PIPE, check=True,
    ).stdout
    path = phone.folder / "profiles.plist"
    told = plistlib.loads(path.read_bytes()) if path.exists() else {}
    told["GetCloudConfiguration"] = {
        "CloudConfiguration": {"IsSupervised": True, "AllowPairing": False, "SupervisorHostCertificates": [der]},
    }
    path.write_bytes(plistlib.dumps(told))
    phone.tell(trust={"state": "supervised"}, person={"trusts_after_ms": 0})
    return phone, keybag


@check("pymobiledevice3", "a supervised phone lets its supervisor in without a tap, and nobody else")
def pmd3_supervised(world):
    phone, keybag = supervised(world)
    other = world.scratch / "other.pem"
    with world.serve([phone], "supervised") as running:
        refused = running.run("idevicepair", "pair", ok=(1,))
        wants("SUCCESS" not in refused, refused)
        running.run(world.pmd3, "profile", "create-keybag", other, "Somebody else")
        running.run(world.pmd3, "lockdown", "pair-supervised", other, ok=(0, 1))
        said = running.run("idevicepair", "validate", ok=(0, 1))
        wants("SUCCESS" not in said, "somebody else was let in")
        running.run(world.pmd3, "lockdown", "pair-supervised", keybag)
        running.run("idevicepair", "validate")
        info = json.loads(running.run(world.pmd3, "lockdown", "info"))
        wants(info["UniqueDeviceID"] == phone.udid, "another phone")


# -- provisioning --

def provisioning_profile(world):
    inside, outside = world.scratch / "inside.plist", world.scratch / "developer.mobileprovision"
    inside.write_bytes(plistlib.dumps({"UUID": UUID, "Name": "Developer", "TeamName": "Example"}))
    subprocess.run([str(world.pmd3_python), "-c", SIGN, str(inside), str(outside)], check=True)
    return outside


@check("libimobiledevice", "provisioning profiles are installed, listed, copied byte by byte and removed")
def lim_provision(world):
    profile = provisioning_profile(world)
    copies = world.scratch / "copies"
    copies.mkdir()
    with world.serve([world.kind], "provision") as running:
        pair_with_idevicepair(running)
        running.run("ideviceprovision", "install", profile)
        listed = running.run("ideviceprovision", "list")
        wants(UUID in listed and "Developer" in listed, listed)
        running.run("ideviceprovision", "copy", copies)
        copied = [path.read_bytes() for path in copies.iterdir()]
        wants(copied == [profile.read_bytes()], "the copy differs")
        running.run("ideviceprovision", "remove", UUID)
        listed = running.run("ideviceprovision", "list")
        wants(UUID not in listed, listed)


@check("pymobiledevice3", "provisioning profiles are installed, listed and removed")
def pmd3_provision(world):
    profile = provisioning_profile(world)
    with world.serve([world.kind], "provision") as running:
        pair_with_pymobiledevice3(world, running)
        running.run(world.pmd3, "provision", "install", profile)
        wants(UUID in running.run(world.pmd3, "provision", "list"), "it is not listed")
        running.run(world.pmd3, "provision", "remove", UUID)
        wants(UUID not in running.run(world.pmd3, "provision", "list"), "it is still listed")


# -- crash reports --

def phone_with_crashes(world):
    phone = world.kind
    crashes = phone.folder / "crashes"
    (crashes / "Retired").mkdir(parents=True, exist_ok=True)
    (crashes / "panic-full-2026-11-20-101010.000.ips").write_text('{"bug_type":"210"}\n{"panicString":"x"}\n')
    (crashes / "Retired/Photos-2026-11-19-090909.ips").write_text('{"bug_type":"309"}\n{}\n')
    return phone


@check("libimobiledevice", "crash reports, equal hashes")
def lim_crashes(world):
    phone = phone_with_crashes(world)
    out = world.scratch / "reports"
    out.mkdir()
    with world.serve([phone], "crashes") as running:
        pair_with_idevicepair(running)
        running.run("idevicecrashreport", "-k", out)
    got, want = sorted(tree(out).values()), sorted(tree(phone.folder / "crashes").values())
    wants(got == want, f"{tree(out)}")
    return f"{len(got)} reports"


@check("pymobiledevice3", "crash reports: moved, listed, pulled with equal hashes, cleared")
def pmd3_crashes(world):
    phone = phone_with_crashes(world)
    out = world.scratch / "reports"
    out.mkdir()
    with world.serve([phone], "crashes") as running:
        pair_with_pymobiledevice3(world, running)
        running.run(world.pmd3, "crash", "flush")
        listed = running.run(world.pmd3, "crash", "ls")
        wants("panic-full" in listed, listed)
        running.run(world.pmd3, "crash", "pull", out)
        got, want = sorted(tree(out).values()), sorted(tree(phone.folder / "crashes").values())
        wants(got == want, f"{tree(out)}")
        running.run(world.pmd3, "crash", "clear")
        listed = running.run(world.pmd3, "crash", "ls")
        wants("panic-full" not in listed, listed)


# -- applications --

def phone_with_applications(world):
    phone = world.kind
    path = phone.folder / "apps.plist"
    apps = plistlib.loads(path.read_bytes()) if path.exists() else []
    about = {"ApplicationType": "User", "CFBundleVersion": "1", "CFBundleShortVersionString": "1.0"}
    apps += [
        {**about, "CFBundleIdentifier": SHARING, "CFBundleDisplayName": "Sharing", "UIFileSharingEnabled": True},
        {**about, "CFBundleIdentifier": DEVELOPED, "CFBundleDisplayName": "Developed", "Entitlements": {"get-task-allow": True}},
    ]
    path.write_bytes(plistlib.dumps(apps))
    for identifier in (SHARING, DEVELOPED):
        documents = phone.folder / f"files/AppDomain-{identifier}/Documents"
        documents.mkdir(parents=True)
        (documents / "note.txt").write_text(f"of {identifier}")
    return phone


@contextlib.contextmanager
def mounted_application(world, running, *options):
    mount = world.scratch / f"mnt{options[0]}"
    mount.mkdir()
    running.run("ifuse", *options, mount)
    try:
        yield mount
    finally:
        subprocess.run(["fusermount3", "-u", str(mount)], check=False)


@check("ifuse", "files of applications: documents, a whole container, and one that shares nothing")
def ifuse_applications(world):
    phone = phone_with_applications(world)
    with world.serve([phone], "ifuse-apps", keep=True) as running:
        pair_with_idevicepair(running)
        with mounted_application(world, running, "--documents", SHARING) as mount:
            found = sorted(mount.rglob("note.txt"))
            wants(found and found[0].read_text() == f"of {SHARING}", f"{list(mount.iterdir())}")
            found[0].with_name("new.txt").write_text("from the host")
        with mounted_application(world, running, "--container", DEVELOPED) as mount:
            wants((mount / "Documents/note.txt").read_text() == f"of {DEVELOPED}", "the note is not there")
        mount = world.scratch / "mnt-none"
        mount.mkdir()
        refused = running.run("ifuse", "--container", SHARING, mount, ok=(1, 255))
        wants("ERROR" in refused, refused)
    written = phone.folder / f"files/AppDomain-{SHARING}/Documents/new.txt"
    wants(written.read_text() == "from the host", "what was written is not on the phone")


@check("pymobiledevice3", "applications: asked by name, files pulled, pushed and removed")
def pmd3_applications(world):
    phone = phone_with_applications(world)
    with world.serve([phone], "pmd3-apps", keep=True) as running:
        pair_with_pymobiledevice3(world, running)
        told = json.loads(running.run(world.pmd3, "apps", "query", SHARING))
        wants(list(told) == [SHARING], f"{list(told)}")
        out = world.scratch / "note.txt"
        running.run(world.pmd3, "apps", "pull", "--documents", SHARING, "/Documents/note.txt", out)
        wants(out.read_text() == f"of {SHARING}", "other bytes")
        running.run(world.pmd3, "apps", "push", "--documents", SHARING, out, "/Documents/pushed.txt")
        pushed = phone.folder / f"files/AppDomain-{SHARING}/Documents/pushed.txt"
        wants(pushed.read_text() == f"of {SHARING}", "what was pushed is not on the phone")
        running.run(world.pmd3, "apps", "rm", "--documents", SHARING, "/Documents/pushed.txt")
        wants(not pushed.exists(), "it is still there")
        refused = running.run(world.pmd3, "apps", "pull", SHARING, "/Documents/note.txt", out, ok=(0, 1))
        wants("InstallationLookupFailed" in refused or "refused" in refused, refused[-300:])


@check("ideviceinstaller", "applications are listed")
def ideviceinstaller_list(world):
    phone = phone_with_applications(world)
    with world.serve([phone], "installer") as running:
        pair_with_idevicepair(running)
        listed = running.run("ideviceinstaller", "-l")
        wants(SHARING in listed and DEVELOPED in listed, listed)
        refused = running.run("ideviceinstaller", "-U", SHARING, ok=(1, 128, 255))
        wants("APIInternalError" in refused or "ERROR" in refused.upper(), refused)


# -- the phone itself --

@check("libimobiledevice", "diagnostics of every kind; asleep it is locked until somebody unlocks it")
def lim_diagnostics(world):
    phone = world.kind
    phone.tell(person={"unlocks_after_ms": 0})
    with world.serve([phone], "diagnostics") as running:
        pair_with_idevicepair(running)
        for kind in ("All", "WiFi", "GasGauge", "NAND"):
            told = plistlib.loads(running.run("idevicediagnostics", "diagnostics", kind).encode())
            wants(told, f"{kind}: {told}")
        running.run("idevicediagnostics", "sleep")
        locked = running.run("ideviceinfo", "-k", "PasswordProtected").strip()
        wants(locked == "true", f"PasswordProtected {locked}")
        running.run("ifuse", world.scratch, ok=(1, 255))
        phone.tell(person={"unlocks_after_ms": 10})
        time.sleep(0.5)
        wants(running.run("ideviceinfo", "-k", "PasswordProtected").strip() == "false", "it stays locked")


@check("libimobiledevice, pymobiledevice3", "the phone remembers its name; recovery mode takes it off the bus")
def lim_memory(world):
    with world.serve([world.kind], "memory", keep=True) as running:
        pair_with_idevicepair(running)
        running.run("idevicename", "Anna's phone")
    with world.serve([world.kind], "memory-again", keep=True) as running:
        pair_with_idevicepair(running)
        wants(running.run("idevicename").strip() == "Anna's phone", "the name is forgotten")
        # Without a session, as this one asks, it is refused since phones want one.
        running.run("ideviceenterrecovery", world.kind.udid)
        wants(running.run("idevice_id", "-l").strip(), "a stranger sent it to recovery")
        running.run(world.pmd3, "lockdown", "recovery")
        time.sleep(0.5)
        wants(not running.run("idevice_id", "-l", ok=(0, 255)).strip(), "it is still listed")


@check("pymobiledevice3", "heartbeat, icons, orientation, icon layout, unpair")
def pmd3_rest(world):
    phone = world.kind
    icon = world.scratch / "icon.png"
    with world.serve([phone], "rest") as running:
        pair_with_pymobiledevice3(world, running)
        with live(running, world.pmd3, "-vv", "lockdown", "heartbeat") as heard:
            heard("Marco")
        running.run(world.pmd3, "springboard", "icon", "com.apple.Preferences", icon)
        wants(icon.read_bytes().startswith(b"\x89PNG"), "no picture")
        wants(running.run(world.pmd3, "springboard", "orientation").strip(), "no orientation")
        running.run(world.pmd3, "springboard", "state", "get")
        running.run(world.pmd3, "lockdown", "unpair")
        said = running.run("idevicepair", "validate", ok=(0, 1))
        wants("SUCCESS" not in said, "it still trusts")


@check("libimobiledevice, pymobiledevice3", "sessions and services in TLS 1.3")
def newest_tls(world):
    phone = world.kind
    phone.tell(tls={"newest": "1.3", "services": "all"})
    with world.serve([phone], "tls") as running:
        pair_with_idevicepair(running)
        wants(running.run("ideviceinfo", "-k", "ProductVersion").strip() == "18.4.1", "another version")
        running.run("idevicediagnostics", "ioregentry", "AppleSmartBattery")
        running.run(world.pmd3, "lockdown", "info")
        running.run(world.pmd3, "diagnostics", "battery", "single")
