"""What can go wrong in the demo.

DemoError
├── ApiError            the server refused a request
├── ChildError          a child process did not start, or ended
└── VerificationError   the card does not hold what it should
"""


class DemoError(Exception):
    """A step of the demo failed.

    Args:
        why: what was expected and what was found.
        advice: what to do about it.
    """

    def __init__(self, why: str, *, advice: str = "") -> None:
        super().__init__(why)
        self.why = why
        self.advice = advice
        self.step = ""


class ApiError(DemoError):
    """The server refused a request.

    Args:
        request: method and path.
        status: HTTP status, 0 when there was no answer.
        code: the problem's stable code.
        detail: the problem's text.
    """

    def __init__(self, request: str, status: int, code: str, detail: str, *, advice: str = "") -> None:
        super().__init__(f"{request} was answered {status} {code}: {detail}", advice=advice)
        self.status = status
        self.code = code
        self.detail = detail


class ChildError(DemoError):
    """A child process did not start, or ended before its time."""


class VerificationError(DemoError):
    """The card does not hold what it should, or the server's picture of it differs."""
