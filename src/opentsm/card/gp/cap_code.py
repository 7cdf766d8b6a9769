"""The code part of a CAP file made by `cap_builder`: classes, methods, constant pool, references, descriptor.

Each applet class is, in Java: `class X extends Applet { X() { register(); }
public static void install(byte[] b, short o, byte l) { new X(); }
public void process(APDU a) { ISOException.throwIt((short) 0x6D00); } }`.
Specification: Java Card Virtual Machine Specification 2.2.2, §6.8 to §6.14 and chapter 7 (instructions).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

MAX_APPLETS = 8
MAX_CODE_BYTES = 60_000

# Instructions (JCVM chapter 7).
_SSPUSH, _ALOAD_0, _POP, _DUP = 0x11, 0x18, 0x3B, 0x3D
_RETURN, _INVOKEVIRTUAL, _INVOKESPECIAL, _INVOKESTATIC, _NEW = 0x7A, 0x8B, 0x8C, 0x8D, 0x8F
# Tokens of javacard.framework: class Applet 3 (constructor 0, register 1, process 7), ISOException 7
# (throwIt 1).
_APPLET, _CONSTRUCTOR, _REGISTER, _PROCESS = 3, 0, 1, 7
_ISO_EXCEPTION, _THROW_IT = 7, 1
_CLASS_REF, _VIRTUAL_METHOD_REF, _STATIC_METHOD_REF = 1, 3, 6
_EXTERNAL = 0x80
_PUBLIC, _PRIVATE, _PROTECTED, _STATIC, _INIT = 0x01, 0x02, 0x04, 0x08, 0x80
_NO_TOKEN = 0xFF
_FILLER_BYTES = 512

# Method types, four bits an element: void 1, byte 3, short 4, reference 6 + package + class, byte[] B.
_TYPE_VOID = "1"
_TYPE_INSTALL = "B431"
_TYPE_SHORT = "41"
_NO_TYPE = 0xFFFF
_SHARED_ENTRIES = 3


@dataclass(frozen=True, slots=True)
class Code:
    """Component bodies, and where each applet's install method is."""

    classes: bytes
    methods: bytes
    constant_pool: bytes
    ref_location: bytes
    descriptor: bytes
    install_offsets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Method:
    """One method: header, instructions, and where (from its start) they name the constant pool."""

    max_stack: int
    arguments: int
    locals: int
    instructions: bytes
    references: tuple[int, ...]
    token: int
    access: int
    type_index: int

    @property
    def code(self) -> bytes:
        return bytes((self.max_stack, self.arguments << 4 | self.locals)) + self.instructions


def make_code(*, applets: int, framework: int, code_bytes: int, signature_pool: bool) -> Code:
    """Make the code of a package.

    Args:
        applets: how many applet classes.
        framework: index of javacard.framework among the imports.
        code_bytes: least size of the Method component's body.
        signature_pool: whether the Class component begins with a signature pool (format 2.2).
    """
    class_offsets = [(2 if signature_pool else 0) + _CLASS_BYTES * number for number in range(applets)]
    own = [_methods(number) for number in range(applets)]
    applet_methods = [method for methods in own for method in methods]
    fillers = _fillers(code_bytes - _positions(applet_methods)[-1])
    every = applet_methods + fillers
    positions = _positions(every)
    starts = [positions[3 * number : 3 * number + 3] for number in range(applets)]
    return Code(
        classes=(bytes(2) if signature_pool else b"") + b"".join(_class(framework, s[2]) for s in starts),
        methods=b"\x00" + b"".join(method.code for method in every),
        constant_pool=_constant_pool(framework, class_offsets, [s[0] for s in starts]),
        ref_location=_ref_location(every, positions),
        descriptor=_descriptor(framework, class_offsets, own, fillers, positions),
        install_offsets=tuple(s[1] for s in starts),
    )


def _positions(methods: Iterable[_Method]) -> list[int]:
    """Return where each method begins in the Method component, and at the end where the last one ends."""
    return list(accumulate((len(method.code) for method in methods), initial=1))  # 1: handler count


def _ref(index: int) -> bytes:
    return index.to_bytes(2, "big")


# Constant pool: 0 Applet.<init>, 1 Applet.register, 2 ISOException.throwIt, then class and <init> per applet.
def _methods(number: int) -> list[_Method]:
    own_class, own_constructor = 3 + 2 * number, 4 + 2 * number
    constructor = bytes((_ALOAD_0, _INVOKESPECIAL)) + _ref(0)
    constructor += bytes((_ALOAD_0, _INVOKEVIRTUAL)) + _ref(1) + bytes((_RETURN,))
    # `new X()` leaves one reference for the constructor and one that nobody keeps.
    install = bytes((_NEW,)) + _ref(own_class) + bytes((_DUP, _INVOKESPECIAL)) + _ref(own_constructor)
    install += bytes((_POP, _RETURN))
    process = bytes((_SSPUSH, 0x6D, 0x00, _INVOKESTATIC)) + _ref(2) + bytes((_RETURN,))
    return [
        _Method(1, 1, 0, constructor, (4, 8), 0, _PROTECTED | _INIT, 0),
        _Method(2, 3, 0, install, (3, 7), 1, _PUBLIC | _STATIC, 1),
        _Method(1, 2, 0, process, (6,), _PROCESS, _PUBLIC, 2),
    ]


def _fillers(missing: int) -> list[_Method]:
    """Make static methods that do nothing, of `missing` bytes together, but at least three."""
    methods: list[_Method] = []
    while missing > 0:
        size = max(min(missing, _FILLER_BYTES), 3)
        # Never leave a rest that is too small for a method of its own.
        size += missing - size if 0 < missing - size < 3 else 0
        instructions = bytes(size - 3) + bytes((_RETURN,))
        methods.append(_Method(0, 0, 0, instructions, (), _NO_TOKEN, _PRIVATE | _STATIC, 0))
        missing -= size
    return methods


_CLASS_BYTES = 12


def _class(framework: int, process: int) -> bytes:
    """A class_info: flags, super class, no fields, one public virtual method: process."""
    super_class = bytes((_EXTERNAL | framework, _APPLET))
    fields = bytes((0, 0xFF, 0))
    return b"\x00" + super_class + fields + bytes((_PROCESS, 1, 0, 0)) + _ref(process)


def _constant_pool(framework: int, classes: Sequence[int], constructors: Sequence[int]) -> bytes:
    package = _EXTERNAL | framework
    entries = [
        bytes((_STATIC_METHOD_REF, package, _APPLET, _CONSTRUCTOR)),
        bytes((_VIRTUAL_METHOD_REF, package, _APPLET, _REGISTER)),
        bytes((_STATIC_METHOD_REF, package, _ISO_EXCEPTION, _THROW_IT)),
    ]
    for class_offset, constructor in zip(classes, constructors, strict=True):
        entries.append(bytes((_CLASS_REF,)) + _ref(class_offset) + b"\x00")
        entries.append(bytes((_STATIC_METHOD_REF, 0)) + _ref(constructor))
    return _ref(len(entries)) + b"".join(entries)


def _ref_location(methods: Sequence[_Method], positions: Sequence[int]) -> bytes:
    """List where the Method component names the constant pool with two bytes, as distances."""
    places = [
        start + at for method, start in zip(methods, positions, strict=False) for at in method.references
    ]
    distances = bytearray()
    for earlier, later in pairwise([0, *places]):
        full, rest = divmod(later - earlier, 255)
        distances += b"\xff" * full + bytes((rest,))
    return bytes(2) + _ref(len(distances)) + bytes(distances)


def _descriptor(
    framework: int,
    classes: Sequence[int],
    own: Sequence[Sequence[_Method]],
    fillers: Sequence[_Method],
    positions: Sequence[int],
) -> bytes:
    types = _TypeTable(framework, len(classes))
    starts = iter(positions)
    body = bytes((len(classes),))
    for number, class_offset in enumerate(classes):
        # The fillers belong to the last class, behind all other methods.
        methods = [*own[number], *(fillers if number == len(classes) - 1 else ())]
        body += bytes((number, _PUBLIC)) + _ref(class_offset) + b"\x00" + _ref(0) + _ref(len(methods))
        body += b"".join(_method_descriptor(method, next(starts), types) for method in methods)
    return body + types.table(len(classes))


def _method_descriptor(method: _Method, start: int, types: _TypeTable) -> bytes:
    head = bytes((method.token, method.access)) + _ref(start) + _ref(types.offsets[method.type_index])
    return head + _ref(len(method.instructions)) + bytes(4)


class _TypeTable:
    """Type descriptors of the methods, and the type of every constant pool entry."""

    def __init__(self, framework: int, applets: int) -> None:
        # process(APDU): class APDU has token 10.
        process = f"6{_EXTERNAL | framework:02X}0A1"
        self._descriptors = [_type_descriptor(t) for t in (_TYPE_VOID, _TYPE_INSTALL, process, _TYPE_SHORT)]
        first = 2 + 2 * (_SHARED_ENTRIES + 2 * applets)
        sizes = accumulate((len(one) for one in self._descriptors), initial=first)
        self.offsets = tuple(sizes)[:-1]

    def table(self, applets: int) -> bytes:
        """Return the types of all constant pool entries, then the descriptors."""
        void, _, _, short = self.offsets
        pool = [void, void, short, *([_NO_TYPE, void] * applets)]
        return _ref(len(pool)) + b"".join(_ref(one) for one in pool) + b"".join(self._descriptors)


def _type_descriptor(nibbles: str) -> bytes:
    return bytes((len(nibbles),)) + bytes.fromhex(nibbles + "0" * (len(nibbles) % 2))
