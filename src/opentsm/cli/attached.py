"""For commands that another process starts: they end when their standard input closes."""

import asyncio
import os
import sys
from collections.abc import Callable
from typing import Annotated

import typer

AttachedOption = Annotated[
    bool, typer.Option("--attached", help="End also when standard input closes.", hidden=True)
]


def when_input_ends(leave: Callable[[], None]) -> None:
    """Call `leave` when standard input closes: whoever started this process has gone, in whatever way."""
    descriptor = sys.stdin.fileno()
    loop = asyncio.get_running_loop()

    def readable() -> None:
        if not os.read(descriptor, 4096):
            loop.remove_reader(descriptor)
            leave()

    loop.add_reader(descriptor, readable)
