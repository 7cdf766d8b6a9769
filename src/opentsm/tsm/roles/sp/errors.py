"""Refusals of the service provider's repository, in the words of BSI TR-03165 §4.1.5.2.

The guideline fixes a category and a text pattern for each; where it and its OpenAPI document differ, the
guideline's words stand. An answer carries exactly one of them.
"""

from enum import IntEnum

from opentsm.tsm.kernel.errors import CallerError
from opentsm.tsm.kernel.wording import quoted

MAX_MESSAGE = 255
_MAX_VALUE = 60


class Category(IntEnum):
    """Error categories of the guideline."""

    NOT_AUTHENTICATED = 1000
    AUTHENTICATION_FAILED = 1001
    INVALID_REQUEST = 1002
    ASSIGNED_ATTRIBUTE = 1003
    MISSING_ATTRIBUTE = 1004
    FIXED_ATTRIBUTE = 1005
    MISSING_ATTRIBUTE_IN_PUT = 1006
    UNKNOWN_ATTRIBUTE = 1007
    INVALID_FORMAT = 1008
    NOT_EXISTING = 1009
    STILL_REFERENCED = 1010
    MISSING_FILE = 1011
    TOO_MANY_FILES = 1012
    INVALID_FILE_TYPE = 1013
    FILE_TOO_LARGE = 1014
    ALREADY_PUBLISHED = 1015
    TECHNICAL_CONSTRAINTS = 1016
    INTERNAL = 2000


class CatalogueError(CallerError):
    """The repository of services refused."""

    code = "catalogue_refused"

    def __init__(self, category: Category, message: str) -> None:
        """Describe the refusal.

        Args:
            category: of the guideline.
            message: English; cut to the 255 characters that the guideline allows.
        """
        self.category = category
        super().__init__(message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…")


def not_authenticated() -> CatalogueError:
    """1000: no short-term token, or one that is not valid (any more)."""
    return CatalogueError(Category.NOT_AUTHENTICATED, "Not authenticated.")


def authentication_failed() -> CatalogueError:
    """1001: the long-term token is not valid."""
    return CatalogueError(Category.AUTHENTICATION_FAILED, "Authentication failed.")


def invalid_request(reason: str) -> CatalogueError:
    """1002: what no other category covers."""
    return CatalogueError(Category.INVALID_REQUEST, f"Invalid request: {reason}.")


def assigned(path: str) -> CatalogueError:
    """1003: the TSM assigns this attribute."""
    return CatalogueError(
        Category.ASSIGNED_ATTRIBUTE,
        f"Create failed: attribute {path} not allowed for POST. It is automatically assigned when created.",
    )


def missing(path: str, entity: str, *, modify: bool = False) -> CatalogueError:
    """1004 when something is created, 1006 when it is modified: a mandatory attribute is missing."""
    category = Category.MISSING_ATTRIBUTE_IN_PUT if modify else Category.MISSING_ATTRIBUTE
    verb = "Modify" if modify else "Create"
    return CatalogueError(
        category, f"{verb} failed: attribute {path} is missing, but it is mandatory for {entity}."
    )


def fixed(path: str) -> CatalogueError:
    """1005: the attribute cannot change."""
    return CatalogueError(
        Category.FIXED_ATTRIBUTE,
        f"Modify failed: attribute {path} not allowed for PUT. Attribute cannot be modified after creation.",
    )


def unknown(path: str) -> CatalogueError:
    """1007: no such attribute."""
    return CatalogueError(Category.UNKNOWN_ATTRIBUTE, f"Unknown: ‘{_short(path)}’ is not a valid attribute.")


def bad_format(value: object, path: str, supported: str) -> CatalogueError:
    """1008: the value does not have the attribute's format."""
    return CatalogueError(
        Category.INVALID_FORMAT,
        f"Invalid format ‘{_short(value)}’ for {path}. Supported format is {supported}.",
    )


def not_existing(entity: str, id_: object) -> CatalogueError:
    """1009: there is no such thing, or it belongs to somebody else."""
    return CatalogueError(
        Category.NOT_EXISTING, f"Not existing: {entity} with id ‘{_short(id_)}’ does not exist."
    )


def still_referenced(entity: str, where: str) -> CatalogueError:
    """1010: something else refers to it."""
    return CatalogueError(Category.STILL_REFERENCED, f"Delete failed: {entity} is referenced in {where}.")


def missing_file() -> CatalogueError:
    """1011: the upload holds no file."""
    return CatalogueError(Category.MISSING_FILE, "Upload failed: missing file.")


def too_many_files() -> CatalogueError:
    """1012: the upload holds several files."""
    return CatalogueError(
        Category.TOO_MANY_FILES,
        "Upload failed: too many files provided. Method supports uploading one file.",
    )


def invalid_file_type(supported: str, why: str) -> CatalogueError:
    """1013: the file cannot be read; `why` says what is wrong with it."""
    return CatalogueError(
        Category.INVALID_FILE_TYPE,
        f"Upload failed: invalid file type. Supported file types are {supported}. {why}",
    )


def file_too_large(size: int, limit: int) -> CatalogueError:
    """1014: the file has more bytes than are taken."""
    return CatalogueError(
        Category.FILE_TOO_LARGE,
        f"Upload failed: {size / 2**20:.1f}MB exceeds maximum upload file size of {limit / 2**20:g}MB.",
    )


def already_published(entity: str, flavor_id: str) -> CatalogueError:
    """1015: a published flavor holds it fast."""
    return CatalogueError(
        Category.ALREADY_PUBLISHED,
        f"Already Published: {entity} cannot be modified. It is already published via Flavor identifier"
        f" ‘{flavor_id}’.",
    )


def technical_constraints(requirement: str, detail: str) -> CatalogueError:
    """1016: a card profile lacks what a load file needs; `detail` names both."""
    return CatalogueError(
        Category.TECHNICAL_CONSTRAINTS,
        f"Technical constraints failed: minimal {requirement} version not supported by"
        f" SecureComponentProfile. {detail}",
    )


def _short(value: object) -> str:
    text = value if isinstance(value, str) else quoted(value)
    return text if len(text) <= _MAX_VALUE else text[: _MAX_VALUE - 1] + "…"
