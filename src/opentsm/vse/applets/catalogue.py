"""Which applet class runs which module: those of this package by module AID, an opaque one for the rest."""

import importlib
import inspect
import pkgutil
from functools import cache

import opentsm.vse.applets as package
from opentsm.vse.applets.base import Applet
from opentsm.vse.applets.opaque import OpaqueApplet


@cache
def applet_classes() -> dict[bytes, type[Applet]]:
    """Return the applet classes of this package, keyed by module AID."""
    classes: dict[bytes, type[Applet]] = {}
    for entry in pkgutil.iter_modules(package.__path__, prefix=f"{package.__name__}."):
        module = importlib.import_module(entry.name)
        for _, found in inspect.getmembers(module, inspect.isclass):
            if issubclass(found, Applet) and found.__module__ == entry.name and hasattr(found, "MODULE_AID"):
                classes[bytes(found.MODULE_AID)] = found
    return classes


def applet_class(module: bytes) -> type[Applet]:
    """Return the class that runs the module with this AID."""
    return applet_classes().get(module, OpaqueApplet)
