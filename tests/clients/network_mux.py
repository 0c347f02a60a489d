"""A usbmuxd that also sees a phone over the network: in front of the simulator's, it adds one to every list."""

import plistlib
import socket
import struct
import threading

HEADER = struct.Struct("<IIII")
PLIST = 8
# 192.0.2.1, an address that is nobody's.
ADDRESS = struct.pack("<BBH4s120x", 16, 2, 0, bytes([192, 0, 2, 1]))
DEVICE_ID = 4711


def network_phone(udid):
    properties = {
        "ConnectionType": "Network", "DeviceID": DEVICE_ID, "SerialNumber": udid, "NetworkAddress": ADDRESS,
        "EscapedFullServiceName": "aa:bb:cc:dd:ee:ff@fe80::1._apple-mobdev2._tcp.local.", "InterfaceIndex": 1,
    }
    return {"MessageType": "Attached", "DeviceID": DEVICE_ID, "Properties": properties}


def receive(stream):
    """A message, its tag; None at the end of the stream."""
    header = stream.recv(HEADER.size, socket.MSG_WAITALL)
    if len(header) < HEADER.size:
        return None, 0
    length, _, _, tag = HEADER.unpack(header)
    return plistlib.loads(stream.recv(length - HEADER.size, socket.MSG_WAITALL)), tag


def send(stream, message, tag):
    body = plistlib.dumps(message)
    stream.sendall(HEADER.pack(HEADER.size + len(body), 1, PLIST, tag) + body)


def pump(source, sink):
    try:
        while block := source.recv(1 << 16):
            sink.sendall(block)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        pass


class NetworkMux:
    """For a `with` block; gives the address to use instead of the simulator's."""

    def __init__(self, port, udid):
        self.upstream = ("127.0.0.1", port)
        self.udid = udid

    def __enter__(self):
        self.listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self.accept, daemon=True).start()
        return f"127.0.0.1:{self.listener.getsockname()[1]}"

    def __exit__(self, *_):
        self.listener.close()

    def accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with client, socket.create_connection(self.upstream) as simulator:
            try:
                while self.relay(client, simulator):
                    pass
            except OSError:
                pass

    def relay(self, client, simulator):
        """One request and its answer; False when the connection is over."""
        request, tag = receive(client)
        if request is None:
            return False
        send(simulator, request, tag)
        answer, tag = receive(simulator)
        if answer is None:
            return False
        asked = request["MessageType"]
        if asked == "ListDevices":
            answer["DeviceList"].insert(0, network_phone(self.udid))
        send(client, answer, tag)
        if asked == "Listen":
            send(client, network_phone(self.udid), 0)
        if asked == "Listen" or (asked == "Connect" and answer["Number"] == 0):
            back = threading.Thread(target=pump, args=(simulator, client), daemon=True)
            back.start()
            pump(client, simulator)
            back.join()
            return False
        return True
