"""The body of a request: JSON, and a clear refusal of anything else."""

from typing import Any

from litestar import Request
from litestar.exceptions import SerializationException


class JsonRequest(Request[Any, Any, Any]):
    """A request whose body, when it is asked for as JSON, is UTF-8 (RFC 8259 §8.1) or refused."""

    async def json(self) -> Any:
        """Return the body as JSON values.

        Raises:
            SerializationException: the body is no JSON, or not UTF-8.
        """
        try:
            return await super().json()
        except UnicodeDecodeError as error:
            # The error's own text would repeat bytes of the body, which may be a key.
            raise SerializationException("it is not UTF-8") from error
