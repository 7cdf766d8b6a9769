"""Exit codes of every command, documented in `docs/reference/cli.md`."""

from enum import IntEnum


class ExitCode(IntEnum):
    """What the process tells its caller; the comment of each is its row in the reference."""

    OK = 0
    FAILED = 1
    USAGE = 2
    CONFIGURATION = 3
    UNAVAILABLE = 4
    REFUSED = 5
    IN_DOUBT = 6
    SCHEMA = 7
    BAD_INPUT = 8
    WRONG_CRYPTOGRAM = 9
    NO_DATABASE = 10
    INTERNAL = 70
    INTERRUPTED = 130


MEANINGS: dict[ExitCode, str] = {
    ExitCode.OK: "everything asked for was done and verified",
    ExitCode.FAILED: "it ran, and the result is a failure: a check, a test or an operation failed",
    ExitCode.USAGE: "the command line is wrong: an unknown option, a missing or malformed argument",
    ExitCode.CONFIGURATION: "a setting has a bad value, or the machine lacks something; the message names it",
    ExitCode.UNAVAILABLE: "a server, database or reader could not be reached",
    ExitCode.REFUSED: "the other side understood the request and refused it",
    ExitCode.IN_DOUBT: "an answer was lost: the next contact with the card resolves the operation",
    ExitCode.SCHEMA: "the database schema does not fit this release",
    ExitCode.BAD_INPUT: "a value or file that was given is damaged or not what the command takes",
    ExitCode.WRONG_CRYPTOGRAM: "a cryptogram or MAC of the card is wrong: other keys, or a changed answer",
    ExitCode.NO_DATABASE: "there is no database yet; nothing is wrong, and nothing was made",
    ExitCode.INTERNAL: "a fault of OpenTSM itself",
    ExitCode.INTERRUPTED: "ended by Ctrl-C",
}
