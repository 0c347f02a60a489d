"""Listens for phones that come and go, with pymobiledevice3's own code: a line of JSON whenever the list changes."""

import asyncio
import json

from pymobiledevice3 import usbmux


async def main():
    mux = await usbmux.create_mux()
    await mux.listen()
    known = None
    while True:
        await mux.receive_device_state_update()
        listed = sorted([device.devid, device.serial, device.connection_type] for device in mux.devices)
        if listed != known:
            print(json.dumps(listed), flush=True)
        known = listed


asyncio.run(main())
