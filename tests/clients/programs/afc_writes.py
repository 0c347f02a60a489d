"""Everything that pymobiledevice3 can do to files over AFC, on each phone named on the command line.

Run by pymobiledevice3's own Python. Asserts what it sees over AFC; prints, as JSON, what every file must hold by UDID.
"""

import asyncio
import hashlib
import json
import os
import random
import struct
import sys
import time

from pymobiledevice3.exceptions import AfcException, AfcFileNotFoundError
from pymobiledevice3.lockdown import create_using_usbmux
from pymobiledevice3.services import afc as wire

BASE = "/Written"
AT_ONCE = 64
WHEN_NS = 1_600_000_000_123_456_789


async def refused(status, awaitable):
    try:
        await awaitable
    except AfcException as error:
        assert error.status == status, f"status {error.status} instead of {status}"
    else:
        raise AssertionError(f"was not refused with {status}")


async def whole_files(afc, data):
    await afc.makedirs(f"{BASE}/deep/deeper")
    await afc.makedirs(f"{BASE}/deep/deeper")
    await afc.set_file_contents(f"{BASE}/a.bin", data)
    assert await afc.get_file_contents(f"{BASE}/a.bin") == data
    await afc.set_file_contents(f"{BASE}/empty", b"")
    assert (await afc.stat(f"{BASE}/empty"))["st_size"] == 0
    await afc.set_file_contents(f"{BASE}/Zoë’s 🐈 photo.txt", b"names")
    assert "Zoë’s 🐈 photo.txt" in await afc.listdir(BASE)
    await afc.set_file_contents(f"{BASE}/empty", b"less")
    await afc.set_file_contents(f"{BASE}/empty", b"")
    await refused(9, afc.fopen(f"{BASE}/deep", "r"))
    await refused(8, afc.fopen(f"{BASE}/missing", "r"))


async def pieces(afc, data):
    """Append, overwrite in the middle, seek, read and write on one handle, truncate by path and by handle."""
    handle = await afc.fopen(f"{BASE}/a.bin", "a")
    await afc.fwrite(handle, b"tail")
    await afc.fclose(handle)
    handle = await afc.fopen(f"{BASE}/a.bin", "r+")
    await afc.fseek(handle, 10)
    await afc.fwrite(handle, b"middle")
    await afc.fseek(handle, -4, os.SEEK_END)
    assert await afc.fread(handle, 100) == b"tail"
    await afc.fseek(handle, 8)
    await afc.fseek(handle, 2, os.SEEK_CUR)
    assert await afc.fread(handle, 6) == b"middle"
    tell = await afc._do_operation(wire.AfcOpcode.FILE_TELL, struct.pack("<Q", handle))
    assert struct.unpack("<Q", tell) == (16,), tell
    await afc.fseek(handle, 1 << 40)
    assert await afc.fread(handle, 10) == b""
    await afc.fclose(handle)
    await refused(7, afc.fread(handle, 1))
    want = data[:10] + b"middle" + data[16:] + b"tail"
    assert await afc.get_file_contents(f"{BASE}/a.bin") == want
    path = f"{BASE}/a.bin".encode() + b"\0"
    await afc._do_operation(wire.AfcOpcode.TRUNCATE, struct.pack("<Q", 5000) + path)
    handle = await afc.fopen(f"{BASE}/a.bin", "r+")
    await afc._do_operation(wire.AfcOpcode.FILE_SET_SIZE, struct.pack("<QQ", handle, 6000))
    await afc.fclose(handle)
    want = want[:5000] + bytes(1000)
    assert await afc.get_file_contents(f"{BASE}/a.bin") == want
    await afc._do_operation(wire.AfcOpcode.SET_FILE_TIME, struct.pack("<Q", WHEN_NS) + path)
    assert abs((await afc.stat(f"{BASE}/a.bin"))["st_mtime"].timestamp() - WHEN_NS / 1e9) < 1e-3
    return want


async def names(afc):
    """Rename of files and folders, links of both kinds, links that lead out."""
    await afc.rename(f"{BASE}/a.bin", f"{BASE}/deep/b.bin")
    assert not await afc.exists(f"{BASE}/a.bin")
    await afc.rename(f"{BASE}/deep", f"{BASE}/moved")
    assert (await afc.stat(f"{BASE}/moved/b.bin"))["st_size"] == 6000
    try:
        await afc.rename(f"{BASE}/missing", f"{BASE}/elsewhere")
        raise AssertionError("a file that is not there was renamed")
    except AfcFileNotFoundError:
        pass
    await afc.link(f"{BASE}/moved/b.bin", f"{BASE}/hard.bin", wire.AfcLinkType.HARDLINK)
    assert (await afc.stat(f"{BASE}/hard.bin"))["st_nlink"] == 2
    await afc.link("moved/b.bin", f"{BASE}/soft.bin", wire.AfcLinkType.SYMLINK)
    link = await afc.stat(f"{BASE}/soft.bin")
    assert (link["st_ifmt"], link["LinkTarget"]) == ("S_IFLNK", "moved/b.bin"), link
    assert len(await afc.get_file_contents(f"{BASE}/soft.bin")) == 6000
    for number, target in enumerate(["../../../../../../../../etc/passwd", "/etc/passwd"]):
        # A phone lets nobody out; whether it minds the link itself or only following it, nothing may be read.
        try:
            await afc.link(target, f"{BASE}/out{number}", wire.AfcLinkType.SYMLINK)
            handle = await afc.fopen(f"{BASE}/out{number}", "r")
            text = await afc.fread(handle, 4096)
        except AfcException:
            continue
        assert b"root:" not in text, "a file of the host was read through a link"
    await refused(10, afc.fopen("/../../../etc/passwd", "r"))


async def locks(afc, other):
    first = await afc.fopen(f"{BASE}/hard.bin", "r+")
    second = await other.fopen(f"{BASE}/hard.bin", "r+")
    await afc.lock(first, wire.AFC_LOCK_EX)
    await refused(19, other.lock(second, wire.AFC_LOCK_EX))
    await afc.lock(first, wire.AFC_LOCK_UN)
    await other.lock(second, wire.AFC_LOCK_EX)
    await other.fclose(second)
    await afc.lock(first, wire.AFC_LOCK_EX)
    await afc.fclose(first)


async def removing(afc):
    await afc.makedirs(f"{BASE}/gone/two")
    await afc.set_file_contents(f"{BASE}/gone/one", b"1")
    assert not await afc.rm_single(f"{BASE}/gone", force=True), "a folder with something in it was removed"
    assert await afc.rm(f"{BASE}/gone") == []
    assert not await afc.exists(f"{BASE}/gone")
    await refused(8, afc.rm_single(f"{BASE}/gone"))
    for number in range(2):
        await afc.rm_single(f"{BASE}/out{number}", force=True)


async def many_at_once(afc):
    """Requests in flight, which are answered in order and with their numbers."""
    await afc.makedirs(f"{BASE}/many")
    paths = [f"{BASE}/many/{number}" for number in range(AT_ONCE)]
    for path in paths:
        await afc.set_file_contents(path, path.encode())
    sizes = await asyncio.gather(*(afc.stat(path) for path in paths))
    assert [size["st_size"] for size in sizes] == [len(path) for path in paths]


async def on_phone(udid):
    async with await create_using_usbmux(serial=udid, pair_timeout=20) as lockdown:
        data = random.Random(udid).randbytes(300_000)
        async with wire.AfcService(lockdown) as afc:
            await whole_files(afc, data)
            want = await pieces(afc, data)
            await names(afc)
            async with wire.AfcService(lockdown) as other:
                await locks(afc, other)
            await removing(afc)
            await many_at_once(afc)
            info = await afc.get_device_info()
            assert int(info["FSFreeBytes"]) <= int(info["FSTotalBytes"]) and info["Model"], info
            found = {}
            async for folder, _, files in afc.walk(BASE):
                for name in files:
                    bytes_ = await afc.get_file_contents(f"{folder}/{name}")
                    found[f"{folder}/{name}"] = hashlib.sha256(bytes_).hexdigest()
    digest = hashlib.sha256(want).hexdigest()
    for name in ("moved/b.bin", "hard.bin", "soft.bin"):
        assert found[f"{BASE}/{name}"] == digest, f"{name} has other bytes"
    return found


async def main():
    found = {}
    for udid in sys.argv[1:]:
        began = time.monotonic()
        try:
            # A harsh phone that was just plugged in wants a moment.
            await asyncio.sleep(0.5)
            found[udid] = await on_phone(udid)
        except Exception as error:
            raise RuntimeError(f"{udid}: {type(error).__name__}: {error}") from error
        print(f"{udid}: {time.monotonic() - began:.1f} s", file=sys.stderr)
    json.dump(found, sys.stdout)


asyncio.run(main())
