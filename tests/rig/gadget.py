"""The simulated iPhone behind a device controller, with dummy_hcd as both ends of the cable: there a transfer is cut
into packets and ends as on a real one, so that a missing empty packet is noticed."""

import contextlib
import pathlib

import packets
from cable import SOCKET, at_ours, ours, trusted
from tools import HOME, USBMUXD, Failed, answers, listed, phones_on_bus, run, running, same_photos, wait_for

GADGETS = pathlib.Path("/sys/kernel/config/usb_gadget")
FOLDER = HOME / "phone4"
MOUNT = HOME / "functionfs"


def describe(gadget, serial):
    """What configfs is told of the device; the multiplexer's interface is the simulator's."""
    for what, value in {"idVendor": "0x05ac", "idProduct": "0x12a8", "bcdDevice": "0x1502"}.items():
        (gadget / what).write_text(value)
    for folder in ("strings/0x409", "functions/ffs.mux", "configs/c.1"):
        (gadget / folder).mkdir()
    for what, value in {"manufacturer": "Apple Inc.", "product": "iPhone", "serialnumber": serial}.items():
        (gadget / "strings/0x409" / what).write_text(value)
    (gadget / "configs/c.1/ffs.mux").symlink_to(gadget / "functions/ffs.mux")


@contextlib.contextmanager
def offered(program):
    """The phone, ready to be plugged in; what plugs it in and what pulls it out."""
    for module in ("dummy_hcd", "libcomposite", "usb_f_fs"):
        run("modprobe", module)
    if not GADGETS.exists():
        run("mount", "-t", "configfs", "configfs", str(GADGETS.parent))
    gadget = GADGETS / "phone"
    gadget.mkdir()
    serial = run(program, "--device", str(FOLDER), "devices").split()[0]
    describe(gadget, serial.replace("-", ""))
    MOUNT.mkdir()
    run("mount", "-t", "functionfs", "mux", str(MOUNT))
    with running("gadget", program, "-vv", "sim", "run", str(FOLDER), "--functionfs", str(MOUNT)) as (log, _):
        wait_for("the endpoints", lambda: (MOUNT / "ep2").exists())
        controller = next(pathlib.Path("/sys/class/udc").iterdir()).name
        yield serial, lambda: (gadget / "UDC").write_text(controller), lambda: (gadget / "UDC").write_text("\n")


def as_a_gadget(program, _phone):
    """Both multiplexers find the phone there, everything that a client can make them send arrives, and photos are whole."""
    with offered(program) as (udid, plug_in, pull_out):
        theirs = running("usbmuxd", "usbmuxd", "-f", "-v")
        for name, multiplexer, socket in (("ours", ours(program), SOCKET), ("usbmuxd", theirs, USBMUXD)):
            with multiplexer:
                wait_for(name, lambda: answers(socket))
                plug_in()
                wait_for("the phone on the bus", phones_on_bus)
                env = at_ours(USBMUXD_SOCKET_ADDRESS=f"UNIX:{socket}")
                if wait_for("the phone in the list", lambda: listed(env=env, ok=(0, 255))) != [udid]:
                    raise Failed(f"{name} lists another phone")
                packets.deeds(socket)
                print(f"  {name}: transfers of every length arrived", flush=True)
                trusted(env)
                if run("ideviceinfo", "-k", "UniqueDeviceID", env=env).strip() != udid:
                    raise Failed("ideviceinfo names another phone")
                pull_out()
                wait_for("an empty list", lambda: not listed(env=env, ok=(0, 255)))
        plug_in()
        wait_for("the phone on the bus", phones_on_bus)
        copy = HOME / "gadget"
        run(program, "--mux", "own", "photos", "pull", "-y", "--dest", str(copy))
        photos = same_photos(FOLDER / "media" / "DCIM", copy / udid / "photos" / "DCIM")
        pull_out()
    return f"{photos} photos"


CHECKS = (as_a_gadget,)
