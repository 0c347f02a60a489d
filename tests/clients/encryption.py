"""Encrypted backups by other programs: the password set, changed and removed, backups made, and read by real readers."""

import os
import plistlib
import pty
import re
import select
import subprocess
import termios
import time

import backups
from peers import compare_with_media, pair_with_idevicepair, pair_with_pymobiledevice3
from phone import Failed, Phone, sha256, tree
from registry import check
from three_backups import change_the_phone, lim_backup, pmd3_backup

FIRST, SECOND = "correct horse", "бухта 42"
# A derivation that nobody waits for; one check takes a real phone's instead.
QUICK = {"dpic": 20_000, "iter": 100}
TERMINAL_S = 60
LIM, PMD3, OURS = "idevicebackup2", "pymobiledevice3", "idevice-fix"


def will_encrypt(running):
    said = running.run("ideviceinfo", "-q", "com.apple.mobile.backup", "-k", "WillEncrypt").strip()
    return {"true": True, "false": False, "": False}[said]


def expect(running, state, after):
    if will_encrypt(running) != state:
        raise Failed(f"after {after} WillEncrypt is {not state}")


def manifest(folder):
    return plistlib.loads((folder / "Manifest.plist").read_bytes())


def was_full(folder):
    return plistlib.loads((folder / "Status.plist").read_bytes())["IsFullBackup"]


def payload(folder):
    """Every file of a backup below its folders, as it is stored: name -> SHA-256."""
    return {path: value for path, value in tree(folder).items() if re.fullmatch("[0-9a-f]{2}/[0-9a-f]{40}", path)}


def refused(running, *command, words="password"):
    """A command that the phone must refuse because of the password."""
    output = running.run(*command, ok=range(1, 256))
    if words not in output.lower():
        raise Failed(f"refused without a word of the password: {' '.join(output.split())[-200:]}")


# -- readers --

READ_WITH_PYIOSBACKUP = """
import pathlib, sys
from pyiosbackup import Backup
backup = Backup.from_path(sys.argv[1], sys.argv[2])
assert backup.is_encrypted
for entry in backup.iter_files():
    # Entry by entry: its unback() ends at the first empty file, which has no key in an encrypted backup.
    if entry.relative_path.startswith("Media/DCIM/"):
        out = pathlib.Path(sys.argv[3]) / entry.relative_path
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_bytes(entry.read_bytes())
"""

READ_WITH_IPHONE_BACKUP_DECRYPT = """
import sys
from iphone_backup_decrypt import EncryptedBackup
backup = EncryptedBackup(backup_directory=sys.argv[1], passphrase=sys.argv[2])
backup.extract_files(
    relative_paths_like="Media/DCIM/%", domain_like="CameraRollDomain", output_folder=sys.argv[3], preserve_folders=True
)
"""


def reader(world, *command, **environment):
    """Runs a reader to its end: its exit status and what it said."""
    env = {**os.environ, "HOME": str(world.scratch), **environment}
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=170, env=env, errors="replace"
    )
    return done.returncode, f"{done.stdout} {done.stderr}"


def with_script(python, script):
    def read(world, folder, password, out):
        status, said = reader(world, python(world), "-c", script, folder, password, out)
        if status != 0:
            raise Failed(said.strip()[-300:])
        return {path.removeprefix("Media/"): value for path, value in tree(out).items()}

    return read


def with_mvt(world, folder, password, out):
    status, said = reader(
        world, world.mvt, "--disable-update-check", "decrypt-backup", "-d", out, folder,
        MVT_IOS_BACKUP_PASSWORD=password,
    )
    if status != 0 or "Failed to decrypt" in said or not (out / "Manifest.db").exists():
        raise Failed(" ".join(said.split())[-300:])
    rows = backups.rows(out)
    prefix = "Media/"
    return {path.removeprefix(prefix): value for (domain, path), value in rows.items() if domain == "CameraRollDomain"}


with_pyiosbackup = with_script(lambda world: world.pmd3_python, READ_WITH_PYIOSBACKUP)
with_iphone_backup_decrypt = with_script(lambda world: world.mvt.parent / "python", READ_WITH_IPHONE_BACKUP_DECRYPT)


def read_encrypted(world, phone, read, folder, password=FIRST):
    """A reader gives the camera roll back byte by byte with the password, and nothing with another."""
    out = world.scratch / "clear"
    out.mkdir(exist_ok=True)
    word = compare_with_media(phone, read(world, folder, password, out), 0)
    other = world.scratch / "not-clear"
    other.mkdir()
    try:
        read(world, folder, password + "x", other)
    except Failed:
        return word
    raise Failed("another password opened it as well")


# -- idevicebackup2 --

def lim_encrypted(world, base):
    """A phone and its encrypted backup by idevicebackup2, full and then incremental; made once."""
    phone = world.phone("encrypted", "--temper", "kind", folder=base / "phone", backup=QUICK)
    with world.serve([phone], "lim", keep=True) as running:
        pair_with_idevicepair(running)
        expect(running, False, "nothing")
        lim_backup(running, base / "lim", "--full")
        folder = base / "lim" / phone.udid
        plain = payload(folder)
        running.run("idevicebackup2", "encryption", "on", FIRST)
        expect(running, True, "encryption on")
        refused(running, "idevicebackup2", "changepw", "wrong", SECOND)
        lim_backup(running, base / "lim")
        full = payload(folder)
        if not manifest(folder)["IsEncrypted"] or not was_full(folder):
            raise Failed("the backup after it is not a full, encrypted one")
        same = [path for path in plain if full.get(path) == plain[path] and (folder / path).stat().st_size]
        if same:
            raise Failed(f"{len(same)} files are still in the clear: {same[:2]}")
        change_the_phone(phone)
        lim_backup(running, base / "lim")
        incremental = payload(folder)
        again = [path for path in incremental if path in full and full[path] != incremental[path]]
        if was_full(folder) or len(again) > 3:
            raise Failed(f"not incremental: {len(again)} of {len(full)} files have other bytes")
    return {"phone": str(phone.folder), "folder": str(folder), "files": len(incremental), "again": len(again)}


def made(world):
    once = world.once("encrypted", lambda base: lim_encrypted(world, base))
    return Phone(world.program, once["phone"]), world.suite / once["folder"], once


@check(LIM, "encryption on, encrypted backup, full and incremental", timeout=300, shares="encrypted")
def lim_on(world):
    _, _, once = made(world)
    return f"{once['files']} files, {once['again']} sent anew"


@check("pyiosbackup", "reads an encrypted backup by idevicebackup2: DCIM byte by byte", timeout=300, shares="encrypted")
def pyiosbackup_lim(world):
    phone, folder, _ = made(world)
    return read_encrypted(world, phone, with_pyiosbackup, folder)


@check(
    "iphone_backup_decrypt", "reads an encrypted backup by idevicebackup2: DCIM byte by byte",
    timeout=300, shares="encrypted",
)
def iphone_backup_decrypt_lim(world):
    phone, folder, _ = made(world)
    return read_encrypted(world, phone, with_iphone_backup_decrypt, folder)


@check("mvt", "decrypt-backup on an encrypted backup by idevicebackup2: DCIM byte by byte", timeout=300, shares="encrypted")
def mvt_lim(world):
    phone, folder, _ = made(world)
    return read_encrypted(world, phone, with_mvt, folder)


@check(LIM, "changepw, then encryption off: the next backups follow")
def lim_change(world):
    phone = world.phone("changed", "--temper", "kind", backup={**QUICK, "password": FIRST})
    folder = world.scratch / "lim" / phone.udid
    with world.serve([phone], "lim") as running:
        pair_with_idevicepair(running)
        expect(running, True, "nothing")
        refused(running, "idevicebackup2", "encryption", "off", SECOND)
        running.run("idevicebackup2", "changepw", FIRST, SECOND)
        expect(running, True, "changepw")
        lim_backup(running, folder.parent, "--full")
        word = read_encrypted(world, phone, with_pyiosbackup, folder, SECOND)
        refused(running, "idevicebackup2", "encryption", "off", FIRST)
        running.run("idevicebackup2", "encryption", "off", SECOND)
        expect(running, False, "encryption off")
        lim_backup(running, folder.parent)
        if manifest(folder)["IsEncrypted"]:
            raise Failed("the backup after it is still encrypted")
        missing = backups.holds_media(backups.rows(folder), phone.media)
        if missing:
            raise Failed(f"the plain backup lacks {missing[:3]}")
        return word


def at_a_terminal(running, answers, *command, status=0, echoes=False):
    """Runs a command as a person at a terminal does: each answer is given when its question has been asked.

    `echoes`: afterwards the terminal shows again what is typed.
    """
    process, terminal = pty.fork()
    if process == 0:
        os.execvpe(str(command[0]), [str(part) for part in command], running.environment())
    said, waiting, deadline = "", list(answers), time.monotonic() + TERMINAL_S
    while time.monotonic() < deadline:
        if not select.select([terminal], [], [], 0.1)[0]:
            if waiting and re.search(waiting[0][0], said.rsplit("\n", 1)[-1]):
                answer = waiting.pop(0)[1]
                os.write(terminal, answer.encode() + (b"" if answer == "\x03" else b"\n"))
                said += "\n"
            continue
        try:
            said += os.read(terminal, 4096).decode(errors="replace")
        except OSError:  # The other end is closed.
            break
    else:
        os.kill(process, 9)
    ended = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    shown = termios.tcgetattr(terminal)[3] & termios.ECHO
    os.close(terminal)
    if echoes and not shown:
        raise Failed("the terminal no longer shows what is typed")
    if ended != status or waiting:
        raise Failed(f"exit {ended}, unasked {len(waiting)}: {' '.join(said.split())[-300:]}")
    if any(password in said for _, password in answers):
        raise Failed("a password was shown on the terminal")
    return said


@check(LIM, "encryption on, changepw, encryption off at a terminal (-i)")
def lim_interactive(world):
    phone = world.phone("interactive", "--temper", "kind", backup=QUICK)
    with world.serve([phone], "lim") as running:
        pair_with_idevicepair(running)
        new = [("[Nn]ew backup password", SECOND), ("[Rr]epeat|[Aa]gain", SECOND)]
        at_a_terminal(running, new, "idevicebackup2", "-i", "encryption", "on")
        expect(running, True, "encryption on")
        newer = [("new backup password", FIRST), ("[Rr]epeat|[Aa]gain", FIRST)]
        at_a_terminal(running, [("old backup password", SECOND), *newer], "idevicebackup2", "-i", "changepw")
        expect(running, True, "changepw")
        at_a_terminal(running, [("backup password", FIRST)], "idevicebackup2", "-i", "encryption", "off")
        expect(running, False, "encryption off")


@check(OURS, "backup password set, change, off at a terminal; Ctrl-C leaves it as it was")
def our_interactive(world):
    phone = world.phone("ours", "--temper", "kind", backup=QUICK)
    with world.serve([phone], "ours") as running:
        pair_with_idevicepair(running)
        command = (world.program, "--dest", world.scratch / "dest", "backup", "password")
        twice = [("new backup password:", FIRST), ("once more:", FIRST)]
        at_a_terminal(running, twice, *command, "set")
        expect(running, True, "set")
        # One that opens nothing is asked for again; who types the same twice is told what it is.
        ours = (world.program, "--dest", world.scratch / "dest")
        running.run(*ours, "-y", "backup")
        question, listing = "The backup password:", (*ours, "backup", "list", "--files")
        at_a_terminal(running, [(question, SECOND), (question, FIRST)], *listing)
        at_a_terminal(running, [(question, SECOND), (question, SECOND)], *listing, status=8, echoes=True)
        # Other two passwords than the same one are asked for again.
        differ = [("The backup password:", FIRST), ("new backup password:", SECOND), ("once more:", "another")]
        at_a_terminal(running, [*differ, ("new backup password:", SECOND), ("once more:", SECOND)], *command, "change")
        expect(running, True, "change")
        at_a_terminal(running, [("The backup password:", "\x03")], *command, "off", status=130, echoes=True)
        expect(running, True, "Ctrl-C")
        at_a_terminal(running, [("The backup password:", SECOND)], *command, "off")
        expect(running, False, "off")


@check(LIM, "encrypted backup of a harsh phone, encryption off", timeout=300)
def lim_harsh(world):
    phone = world.phone("harsh", "--temper", "harsh", backup={**QUICK, "password": FIRST})
    folder = world.scratch / "lim" / phone.udid
    with world.serve([phone], "lim") as running:
        pair_with_idevicepair(running)
        lim_backup(running, folder.parent, "--full")
        word = read_encrypted(world, phone, with_iphone_backup_decrypt, folder)
        running.run("idevicebackup2", "encryption", "off", FIRST)
        expect(running, False, "encryption off")
        return word


# -- pymobiledevice3 --

@check(PMD3, "encryption on, backup full and incremental, change-password, encryption off", timeout=300)
def pmd3_all(world):
    phone = world.phone("encrypted", "--temper", "kind", backup=QUICK)
    folder = world.scratch / "pmd3" / phone.udid
    folder.parent.mkdir()
    with world.serve([phone], "pmd3") as running:
        pair_with_pymobiledevice3(world, running)
        backup2 = (world.pmd3, "backup2")
        running.run(*backup2, "encryption", "on", FIRST)
        expect(running, True, "encryption on")
        pmd3_backup(world, running, folder.parent, "--full")
        full = payload(folder)
        change_the_phone(phone)
        pmd3_backup(world, running, folder.parent)
        again = [path for path, value in payload(folder).items() if path in full and full[path] != value]
        if was_full(folder) or len(again) > 3 or not manifest(folder)["IsEncrypted"]:
            raise Failed(f"not an encrypted incremental one: {len(again)} of {len(full)} files have other bytes")
        word = read_encrypted(world, phone, with_mvt, folder)
        # It says nothing of a refusal by its exit status: what counts is what the phone does then.
        running.run(*backup2, "change-password", SECOND, FIRST, ok=range(256))
        running.run(*backup2, "encryption", "off", SECOND, ok=range(256))
        expect(running, True, "a wrong password")
        running.run(*backup2, "change-password", FIRST, SECOND)
        running.run(*backup2, "encryption", "off", SECOND)
        expect(running, False, "encryption off")
        return word


# -- a real phone's derivation --

@check("pyiosbackup", "opens a backup with ten million iterations, as real phones have them", timeout=300)
def real_iterations(world):
    phone = world.phone("iterations", "--temper", "kind", "--photos", "6", backup={"password": FIRST})
    folder = world.scratch / "lim" / phone.udid
    with world.serve([phone], "lim") as running:
        pair_with_idevicepair(running)
        lim_backup(running, folder.parent, "--full")
    began = time.monotonic()
    out = world.scratch / "clear"
    out.mkdir()
    word = compare_with_media(phone, with_pyiosbackup(world, folder, FIRST, out), 0)
    return f"{word}, opened in {time.monotonic() - began:.1f} s"
