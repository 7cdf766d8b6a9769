"""Words of a recipe for the end user, in several languages: titles of fields and choices, messages."""

import re
from collections.abc import Mapping
from typing import Final

from opentsm.tsm.kernel.wording import quoted
from opentsm.tsm.roles.sp.recipe_values import RecipeError, members_of

MAX_LANGUAGES: Final = 50
MAX_WORDS: Final = 500
OUTCOMES: Final = ("success", "failure")
# RFC 5646 §2.1, without extensions and private use: language, script, region
_LANGUAGE: Final = re.compile(r"[a-z]{2,3}(-[A-Z][a-z]{3})?(-([A-Z]{2}|[0-9]{3}))?")

Words = Mapping[str, str]


def words_of(value: object, path: str) -> Words:
    """Return a text in several languages by language tag; English is there, for whoever has none of them.

    Raises:
        RecipeError: a tag or a text is not possible, or English is missing.
    """
    if not isinstance(value, dict) or len(value) > MAX_LANGUAGES:
        raise RecipeError(f"{path}: must be an object of language tags and texts")
    for tag, text in value.items():
        if not _LANGUAGE.fullmatch(tag):
            raise RecipeError(f"{path}: {quoted(tag[:64])} is no language tag like en, de or zh-Hans")
        if not isinstance(text, str) or not 1 <= len(text) <= MAX_WORDS or not text.isprintable():
            raise RecipeError(f"{path}.{tag}: must be 1 to {MAX_WORDS} printable characters")
    if "en" not in value:
        raise RecipeError(f"{path}: en is missing")
    return {str(tag): str(text) for tag, text in value.items()}


def messages_of(value: object) -> Mapping[str, Words]:
    """Return what the end user is told at the end, by outcome."""
    found = members_of({} if value is None else value, "messages", set(OUTCOMES))
    return {outcome: words_of(words, f"messages.{outcome}") for outcome, words in found.items()}
