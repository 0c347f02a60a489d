"""Lockdown domains named on the command line, read whole by pymobiledevice3's own code: JSON of how many keys each has."""

import asyncio
import json
import sys

from pymobiledevice3.lockdown import create_using_usbmux


async def main():
    async with await create_using_usbmux() as lockdown:
        values = {domain: await lockdown.get_value(domain=domain) for domain in sys.argv[1:]}
    json.dump({domain: len(value) for domain, value in values.items()}, sys.stdout)


asyncio.run(main())
