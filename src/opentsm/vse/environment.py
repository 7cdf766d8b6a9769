"""The GlobalPlatform Environment (OPEN): the card's state, its memory and its applets, without any command.

One environment is one power-up: it is made from the saved image and thrown away when the power goes.
"""

from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.vse import contactless, memory, services
from opentsm.vse.applets.base import Applet, SecureChannelService
from opentsm.vse.applets.catalogue import applet_class
from opentsm.vse.authority import Authority
from opentsm.vse.certificates import ChainInProgress, SetupInProgress, VerifiedPeer
from opentsm.vse.nvm import Nvm
from opentsm.vse.profiles import VseProfile
from opentsm.vse.scp import SecureSession, StartedSession
from opentsm.vse.state import CardImage, Instance, LoadFile, encode_image
from opentsm.vse.status import SW_CONDITIONS, SW_NO_MEMORY, StatusError


@dataclass(slots=True)
class LoadSession:
    """A load that INSTALL [for load] has begun.

    Args:
        aid: of the load file.
        sd: the security domain that it is to belong to.
        digest: load file data block hash; may be empty.
        provider: application provider identifier.
        combined: what a token signs of this INSTALL, when load, install and make selectable are one process.
        authority: why the load may happen.
        received: the blocks so far.
        next_block: number of the next one.
    """

    aid: bytes
    sd: bytes
    digest: bytes
    provider: bytes
    combined: bytes = b""
    authority: Authority = field(default_factory=Authority)
    received: bytearray = field(default_factory=bytearray)
    next_block: int = 0


@dataclass(frozen=True, slots=True)
class PendingContent:
    """A load file that waits for the last command of the combined process (§9.3.8).

    Args:
        load_file: its registry entry to be.
        digest: load file data block hash; may be empty.
        signed: what a token signs of the first command.
    """

    load_file: LoadFile
    digest: bytes
    signed: bytes


@dataclass(slots=True)
class CommandChain:
    """Commands of a series (P1 bit 8) that were received, without the last (§11.1.5.1).

    Args:
        header: that all have, with bit 8 of P1 clear.
        parts: how many.
        data: their data fields.
    """

    header: bytes
    parts: int = 0
    data: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class LogicalChannel:
    """What one logical channel remembers until its application session ends (all of it volatile)."""

    number: int
    selected: Instance
    started: StartedSession | None = None
    session: SecureSession | None = None
    aborted: bool = False
    chain: ChainInProgress | None = None
    peer: VerifiedPeer | None = None
    setup: SetupInProgress | None = None
    load: LoadSession | None = None
    combined: PendingContent | None = None
    personalizing: Instance | None = None
    store_block: int = 0
    store_data: bytearray = field(default_factory=bytearray)
    status_rest: dict[int, list[bytes]] = field(default_factory=dict)
    series: CommandChain | None = None

    def end_secure_channel(self) -> None:
        """Forget keys, levels and what a secure channel protected."""
        self.started = self.session = None
        self.aborted = False
        self.end_personalization()

    def end_personalization(self) -> None:
        """Send STORE DATA to the security domain again, from block 0 on."""
        self.personalizing = self.setup = None
        self.reset_store_data()

    def reset_store_data(self) -> None:
        """Start a new series of STORE DATA blocks."""
        self.store_block = 0
        self.store_data.clear()

    def end_application_session(self) -> None:
        """Forget everything: another application is selected (GPCS §10.2.3, §11.11.1)."""
        self.end_secure_channel()
        self.chain = self.peer = self.series = None
        self.load = self.combined = None
        self.status_rest.clear()


class Toolkit(Protocol):
    """Takes the commands of the card application toolkit, on cards that have one."""

    def takes(self, command: CommandApdu) -> bool:
        """Tell whether a command is one of the toolkit's."""

    def answer(self, command: CommandApdu) -> ResponseApdu:
        """Answer it.

        Raises:
            StatusError: it is refused.
        """


class Environment:
    """State, services and memory of a powered card.

    Args:
        image: the content of the non-volatile memory; changed in place.
        profile: the kind of card.
        nvm: where `commit` saves to.
        random: the card's random number generator.
    """

    def __init__(
        self, image: CardImage, profile: VseProfile, nvm: Nvm, random: Callable[[int], bytes]
    ) -> None:
        self.image = image
        self.profile = profile
        self.random = random
        self._nvm = nvm
        self._dirty = False
        self._used = memory.used(image)
        self._applets: dict[bytes, Applet] = {}
        self.channels: dict[int, LogicalChannel] = {}
        self.toolkit: Toolkit | None = None
        self.volatile_priority = b""
        # The channel of the command in work, and who serves applets there: set by the dispatcher.
        self.active: LogicalChannel | None = None
        # What the applet that is being installed may see of its INSTALL command.
        self.installing = b""
        self.secure_channel: Callable[[LogicalChannel, Instance], SecureChannelService] | None = None

    def is_selected(self, entry: Instance | LoadFile, *, beside: "LogicalChannel | None" = None) -> bool:
        """Tell whether an instance is selected on any open channel, or on any `beside` this one."""
        return any(open_.selected is entry for open_ in self.channels.values() if open_ is not beside)

    def close_channel(self, number: int) -> None:
        """End the application session on a supplementary channel, and close it."""
        channel = self.channels.pop(number)
        self.leave(channel)

    def leave(self, channel: "LogicalChannel") -> None:
        """End the application session on a channel; an applet that is selected nowhere else hears of it."""
        selected = channel.selected
        known = self.image.instance(selected.aid) is selected
        if selected.domain is None and known and not self.is_selected(selected, beside=channel):
            self.applet(selected).deselect()
        channel.end_application_session()

    def touch(self) -> None:
        """Note that the image differs from the saved one and that its cost may have changed."""
        self._dirty = True
        self._used = -1

    def commit(self) -> None:
        """Save the image if it changed."""
        if self._dirty:
            self._nvm.save(encode_image(self.image))
            self._dirty = False

    @contextmanager
    def all_or_nothing(self) -> Iterator[None]:
        """Take back the note of a change when what is inside is refused; it has undone its changes itself."""
        dirty = self._dirty
        try:
            yield
        except StatusError:
            self._dirty, self._used = dirty, -1
            raise

    @property
    def free_memory(self) -> int:
        """Bytes of non-volatile memory that are free."""
        if self._used < 0:
            self._used = memory.used(self.image)
        return self.profile.memory - self._used

    def require_memory(self, length: int) -> None:
        """Refuse what does not fit.

        Raises:
            StatusError: 6A84.
        """
        if length > self.free_memory:
            raise StatusError(SW_NO_MEMORY)

    def require_growth(self, entry: Instance, held: int, growth: int) -> None:
        """Refuse more data for an instance than its quota, its reserved and the free memory allow (§9.7).

        Args:
            entry: whose data grow.
            held: bytes that they take now.
            growth: bytes more.

        Raises:
            StatusError: 6A84.
        """
        if growth <= 0:
            return
        if entry.quota is not None and held + growth > entry.quota:
            raise StatusError(SW_NO_MEMORY)
        self.require_memory(held + growth - max(entry.reserved, held))

    @property
    def free_volatile(self) -> int:
        """Bytes of volatile memory that nobody has reserved."""
        return self.profile.ram - sum(entry.volatile_reserved for entry in self.image.instances)

    def require_volatile(self, length: int) -> None:
        """Refuse what does not fit into the volatile memory.

        Raises:
            StatusError: 6A84.
        """
        if length > self.free_volatile:
            raise StatusError(SW_NO_MEMORY)

    def applet(self, instance: Instance) -> Applet:
        """Return the running applet of an instance that is no security domain."""
        running = self._applets.get(instance.aid)
        if running is None:
            running = self.new_applet(instance)
            self._applets[instance.aid] = running
        return running

    def new_applet(self, instance: Instance) -> Applet:
        """Make the applet of an instance, without keeping it."""
        return applet_class(instance.module)(_Store(self, instance), _Services(self, instance))

    def forget_applet(self, aid: bytes) -> None:
        """Drop the running applet of a deleted instance."""
        self._applets.pop(aid, None)

    def proximity_applets(self) -> tuple[Applet, ...]:
        """Return the applets that a contactless terminal can reach now, by priority."""
        return tuple(map(self.applet, contactless.available(self)))


class _Services:
    """The card as one applet instance sees it."""

    __slots__ = ("_environment", "_instance")

    def __init__(self, environment: Environment, instance: Instance) -> None:
        self._environment = environment
        self._instance = instance

    @property
    def instance_aid(self) -> Aid:
        return Aid(self._instance.aid)

    def random(self, length: int) -> bytes:
        return self._environment.random(length)

    def commit(self) -> None:
        self._environment.commit()

    def proximity_applets(self) -> tuple[Applet, ...]:
        return self._environment.proximity_applets()

    @property
    def priority_is_set(self) -> bool:
        return contactless.order_is_set(self._environment)

    def contactless_registry(self) -> contactless.ContactlessRegistry:
        return contactless.ContactlessRegistry(self._environment, self._instance)

    def set_contactless_state(self, state: int) -> None:
        contactless.set_own_state(self._environment, self._instance, state)

    def register_service(self, name: bytes) -> None:
        services.register_unique(self._environment, self._instance, name)

    def deregister_service(self, name: bytes) -> None:
        services.deregister_unique(self._environment, self._instance, name)

    def cvm(self, identifier: int) -> services.CvmHandle:
        return services.find_cvm(self._environment, self._instance, identifier)

    @property
    def installation(self) -> bytes:
        return self._environment.installing

    @property
    def secure_channel(self) -> SecureChannelService:
        environment = self._environment
        if environment.active is None or environment.secure_channel is None:
            raise StatusError(SW_CONDITIONS)
        return environment.secure_channel(environment.active, self._instance)


class _Store(MutableMapping[str, bytes]):
    """An applet's data; what does not fit is refused at once with 6A84."""

    __slots__ = ("_environment", "_instance")

    def __init__(self, environment: Environment, instance: Instance) -> None:
        self._environment = environment
        self._instance = instance

    def __getitem__(self, key: str) -> bytes:
        return self._instance.store[key]

    def __setitem__(self, key: str, value: bytes) -> None:
        old = self._instance.store.get(key)
        if old == value:
            return
        growth = len(value) - len(old) if old is not None else len(key) + len(value)
        self._require(growth)
        self._instance.store[key] = bytes(value)
        self._environment.touch()

    def __delitem__(self, key: str) -> None:
        del self._instance.store[key]
        self._environment.touch()

    def __iter__(self) -> Iterator[str]:
        return iter(self._instance.store)

    def __len__(self) -> int:
        return len(self._instance.store)

    def _require(self, growth: int) -> None:
        held = memory.stored_cost(self._instance.store.items())
        self._environment.require_growth(self._instance, held, growth)
