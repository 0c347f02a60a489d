"""The list of all checks. A module adds its own with the decorator; `run.py` imports every module of this folder."""

import dataclasses
import typing

CHECKS = []
TIMEOUT_S = 180


@dataclasses.dataclass(frozen=True)
class Check:
    """One line of the table."""

    client: str
    name: str
    function: typing.Callable
    timeout: float
    shares: str | None


def check(client, name, timeout=TIMEOUT_S, shares=None):
    """Adds a function to the table; it gets a `World` and gives back a word for the table, or raises `Failed`.

    Every check runs in a process of its own, beside others. It is ended after `timeout` seconds. Checks that name the
    same thing in `shares` never run at the same time, and run in the order in which they were added.
    """

    def add(function):
        CHECKS.append(Check(client, name, function, timeout, shares))
        return function

    return add
