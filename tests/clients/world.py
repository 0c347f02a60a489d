"""What a check gets: the program, the other programs, a folder of its own, and phones."""

import functools
import json
import pathlib

from phone import Phone, Running


class World:
    """One check's own world. Nothing in it is shared with another check, except what `once` makes."""

    def __init__(self, program, peers, suite, name):
        self.program = program.resolve()
        self.pmd3 = (peers / "pymobiledevice3/bin/pymobiledevice3").absolute()
        self.pmd3_python = (peers / "pymobiledevice3/bin/python").absolute()
        self.mvt = (peers / "mvt/bin/mvt-ios").absolute()
        self.suite = pathlib.Path(suite)
        self.scratch = self.suite / name
        self.scratch.mkdir()

    @functools.cached_property
    def kind(self):
        """A healthy, kind phone."""
        return self.phone("kind", "--temper", "kind")

    @functools.cached_property
    def harsh(self):
        """A healthy, harsh phone: another one than `kind`."""
        return self.phone("harsh", "--temper", "harsh")

    def phone(self, name, *options, folder=None, **told):
        """A new phone: `options` for `sim new`, each with its value; sections of `device.toml` by name."""
        values = {
            "--scenario": "healthy", "--ios": "18.4.1", "--photos": "60", "--seed": str(sum(name.encode())),
            **dict(zip(options[::2], options[1::2], strict=True)),
        }
        words = [word for pair in values.items() for word in pair]
        phone = Phone.made(self.program, folder or self.scratch / name, *words)
        if told:
            phone.tell(**told)
        return phone

    def serve(self, phones, name, keep=False):
        """The running simulator with these phones, for a `with` block. `keep`: what happens stays in the folders."""
        return Running(phones, self.scratch / f"home-{name}", keep)

    def once(self, key, make):
        """What `make(folder)` gives back (of JSON's types), made once for all checks that `share` the same thing."""
        folder = self.suite / f"once-{key}"
        made = self.suite / f"once-{key}.json"
        if not made.exists():
            # An empty folder again, should another check have failed in the middle.
            number = len(list(self.suite.glob(f"once-{key}.*")))
            folder = folder.with_suffix(f".{number}")
            folder.mkdir()
            made.write_text(json.dumps(make(folder)))
        return json.loads(made.read_text())
