"""What a multiplexer sends over the cable, by the kernel's own record (usbmon): usbmuxd's and ours held side by side.

The layout of a record is that of the kernel's Documentation/usb/usbmon.rst, that of the packets usbmuxd's device.c.
"""

import collections
import os
import plistlib
import socket
import struct
import threading
import time

from tools import Failed, Listener, Mux, plug_in, pull_out

RECORD = struct.Struct("<QBBBBHccqiiII8s")
CONTROL, BULK = 2, 3
TO_HOST = 0x80
GET_DESCRIPTOR = 6
LOCKDOWN = 62078
# Nobody serves it.
CLOSED = 7
VERSION, SETUP, TCP = 0, 2, 6
SYN, RST, ACK = 0x02, 0x04, 0x10
HEADERS_BYTES = 36
PACKET_BYTES = 512
READ_BYTES = 16_384
MAGIC = b"\xfe\xed\xfa\xce"
LONG_BYTES = 60_000
# What a phone was seen to take at once.
TRANSFER_BYTES_MAX = 49_152
# By then a multiplexer has said all it has to say.
QUIET_S = 2

Transfer = collections.namedtuple("Transfer", "is_begin number kind endpoint setup length data")


class Recorded:
    """Every transfer on the buses while this is open."""

    def __enter__(self):
        self.transfers = []
        self._file = os.open("/dev/usbmon0", os.O_RDONLY)
        self._over = False
        threading.Thread(target=self._read, daemon=True).start()
        return self

    def __exit__(self, *_):
        # Whoever reads closes it, with the next event: its number must not become another file's before that.
        self._over = True

    def _exactly(self, count):
        data = b""
        while len(data) < count:
            data += os.read(self._file, count - len(data))
        return data

    def _read(self):
        while not self._over:
            number, event, kind, endpoint, _, _, setup_flag, _, _, _, _, length, kept, setup = RECORD.unpack(
                self._exactly(RECORD.size)
            )
            data = self._exactly(kept)
            setup = setup if setup_flag == b"\0" else b""
            self.transfers.append(Transfer(event == ord("S"), number, kind, endpoint, setup, length, data))
        os.close(self._file)


def parse(data):
    """A packet of the second version of the protocol."""
    protocol, length, magic, sent, seen = struct.unpack(">IIIHH", data[:16])
    if (length, magic) != (len(data), 0xFEEDFACE):
        raise Failed(f"a transfer that is no packet: {data[:20].hex()}, {len(data)} bytes")
    said = {"protocol": protocol, "sent": sent, "seen": seen, "length": length}
    if protocol == TCP:
        names = ("source", "destination", "sequence", "acknowledged", "offset", "flags", "window", "sum", "urgent")
        said |= dict(zip(names, struct.unpack(">HHIIBBHHH", data[16:HEADERS_BYTES]), strict=True))
        said["payload"] = data[HEADERS_BYTES:]
    return said


def padded(bytes_):
    """A question to lockdownd that is so long altogether."""
    question = {"Request": "QueryType", "Label": ""}
    question["Label"] = "x" * (bytes_ - 4 - len(plistlib.dumps(question)))
    return question


def deeds(path):
    """The same for every multiplexer: what a client can make it send."""
    device = Mux(path).ask(MessageType="ListDevices")["DeviceList"][0]["DeviceID"]
    one, other = Mux(path), Mux(path)
    one.connect(device, LOCKDOWN)
    one.exchange(padded(400))
    other.connect(device, LOCKDOWN)
    # Fills its last USB packet; then one that takes more than one transfer.
    other.exchange(padded(3 * PACKET_BYTES - HEADERS_BYTES))
    one.exchange(padded(LONG_BYTES))
    refused = Mux(path).ask(MessageType="Connect", DeviceID=device, PortNumber=socket.htons(CLOSED))
    if refused["Number"] != 3:
        raise Failed(f"a port that nobody serves: {refused}")
    one.socket.close()
    other.socket.close()


def record(path):
    """What goes over the cable from the plug to the unplug; where the client's deeds begin and end in it."""
    with Recorded() as recorded:
        listener = Listener(path)
        plug_in()
        listener.wait("Attached")
        time.sleep(QUIET_S)
        begin = len(recorded.transfers)
        deeds(path)
        time.sleep(QUIET_S)
        end = len(recorded.transfers)
        pull_out()
        listener.wait("Detached")
    if not recorded.transfers:
        raise Failed("the kernel recorded nothing")
    return recorded.transfers, begin, end


def control_requests(transfers):
    """What was asked on the control endpoint but for descriptors, which the kernel asks for as well, in order."""
    found = []
    for transfer in transfers:
        if transfer.is_begin and transfer.kind == CONTROL and len(transfer.setup) == 8:
            request_type, request, value, index, _ = struct.unpack("<BBHHH", transfer.setup)
            # Questions to the hub in between are the kernel's.
            if request_type in (0x00, 0x01, 0xC0, 0x40) and index < 0x100 and request != 5:
                found.append(f"{request_type:02x} {request:02x} value {value} index {index}")
    return found


def reads_outstanding(transfers):
    """How many reads were under way at the same time, and their lengths."""
    under_way, most, lengths = set(), 0, set()
    for transfer in transfers:
        if transfer.kind == BULK and transfer.endpoint & TO_HOST:
            if transfer.is_begin:
                under_way.add(transfer.number)
                lengths.add(transfer.length)
            else:
                under_way.discard(transfer.number)
            most = max(most, len(under_way))
    return most, sorted(lengths)


def portrait(transfers, begin, end):
    """What is characteristic of a multiplexer's end of the protocol."""
    sent = [it for it in transfers if it.is_begin and it.kind == BULK and not it.endpoint & TO_HOST]
    while_deeds = [it for it in transfers[begin:end] if it.is_begin and it.kind == BULK and not it.endpoint & TO_HOST]
    heard = [it for it in transfers[:end] if not it.is_begin and it.kind == BULK and it.endpoint & TO_HOST]
    packets = [parse(it.data) for it in while_deeds if it.length]
    # Not the rest of a packet that took more than one read.
    answers = [parse(it.data) for it in heard if it.data[8:12] == MAGIC and len(it.data) < READ_BYTES]
    numbers = [parse(it.data)["sent"] for it in sent[2:] if it.length]
    segments = [it for it in packets if it["protocol"] == TCP]
    full = [at for at, it in enumerate(while_deeds) if it.length and it.length % PACKET_BYTES == 0]
    ended = [at for at in full if at + 1 < len(while_deeds) and while_deeds[at + 1].length == 0]
    by_flags = collections.Counter(f"{it['flags']:02x}{' with bytes' if it['payload'] else ''}" for it in segments)
    first = {flags: next((it for it in segments if it["flags"] == flags), None) for flags in (SYN, ACK, RST)}
    told = lambda it: it and {key: it[key] for key in ("sequence", "acknowledged", "offset", "window", "sum", "urgent")}
    speakers = {it["source"] for it in segments}
    refused = {it["destination"] for it in answers if it["protocol"] == TCP and it["flags"] & RST}
    most, lengths = reads_outstanding(transfers)
    return {
        "control requests": control_requests(transfers),
        "reads under way": most,
        "length of a read": lengths,
        "VERSION": sent[0].data.hex(),
        "SETUP": sent[1].data.hex(),
        "SYN": told(first[SYN]),
        "the first ACK": told(first[ACK]),
        "segments by flags": sorted(by_flags),
        "acknowledgements alone": by_flags["10"],
        "numbers count on": numbers == [numbers[0] + at for at in range(len(numbers))],
        "the phone's count is sent back": {it["seen"] for it in segments} <= {it["seen"] for it in answers},
        "no transfer is too long": max(it.length for it in while_deeds) <= TRANSFER_BYTES_MAX,
        "full transfers are ended by empty ones": bool(full) and full == ended,
        "payloads": sum(len(it["payload"]) for it in segments),
        "connections": len(speakers),
        "ports count up": sorted(speakers) == list(range(min(speakers), min(speakers) + len(speakers))),
        "after a refusal": sum(1 for it in segments if it["source"] in refused and it["flags"] != SYN),
        "asked for": by_flags["02"],
        "resets": by_flags["04"],
    }


# What may differ, and why.
EXPLAINED = {
    "reads under way": "usbmuxd has 3; more of them let the phone go on while we look at what it said",
    "acknowledgements alone": "usbmuxd acknowledges every packet at once; we do when the client has taken the bytes",
    "control requests": "usbmuxd reads the language and the serial number, which the kernel has read already",
}


def differences(theirs, ours):
    """Lines about what is not the same; and whether all of it is explained."""
    lines, explained = [], True
    for what in theirs:
        if theirs[what] != ours[what]:
            reason = EXPLAINED.get(what)
            explained &= reason is not None
            lines.append(f"{what}: usbmuxd {theirs[what]}, ours {ours[what]} ({reason or 'NOT EXPLAINED'})")
    return lines, explained
