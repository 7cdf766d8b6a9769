"""A container with nothing in it: enough to make the application and read its description."""

from typing import Any, NoReturn


class BlankContainer:
    """Every attribute may be taken, none may be used."""

    def __getattr__(self, name: str) -> Any:
        return _Nothing(name)


class _Nothing:
    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> NoReturn:
        raise NotImplementedError(f"{self._name}.{name} was used without an application")
