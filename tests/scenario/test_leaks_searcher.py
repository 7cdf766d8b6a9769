"""The searcher of the leak tests finds what was planted, in every form, and tells no value."""

import base64
import json
import random

import pytest
from tests.scenario.leak_search import (
    PAGE,
    Canary,
    Place,
    TooShortError,
    base64_inside,
    different_pages,
    search,
    text_canary,
)

KEY = Canary("a key", bytes.fromhex("FBEFBEFF0012A7C3D4E5F60718293A4B"))
PAN = text_canary("the PAN", "4929123456789017")
ODD = text_canary("a number of odd length", "492912345678901")
TRACK = text_canary("track 2", "4929123456789017D30122010000000000")
NAME = text_canary("the name", "ZEBEDEE/QUILLFEATHER")
ALL = (KEY, PAN, ODD, TRACK, NAME)
NOISE = random.Random(7).randbytes(3000)


@pytest.mark.parametrize("canary", ALL, ids=lambda canary: canary.name)
def test_search_when_a_form_is_planted_finds_it_and_shows_no_value(canary: Canary) -> None:
    for form, needle in canary.forms:
        planted = [needle, needle.upper()] if form.endswith("*") else [needle]
        for content in planted:
            (first, *_) = search([Place("here", NOISE + content + NOISE)], [canary])
            assert first.startswith(f"here: {canary.name} (")
            assert all(shown not in first.encode() for _, shown in canary.forms)


@pytest.mark.parametrize("canary", ALL, ids=lambda canary: canary.name)
def test_search_when_nothing_is_planted_finds_nothing(canary: Canary) -> None:
    texts = base64.b64encode(NOISE) + NOISE.hex().encode() + NOISE
    assert search([Place("here", texts)], [canary]) == []


@pytest.mark.parametrize("offset", range(9))
def test_base64_when_a_value_begins_anywhere_is_found(offset: int) -> None:
    for tail in range(3):
        packed = NOISE[:offset] + KEY.value + NOISE[:tail]
        for text in (base64.b64encode(packed), base64.urlsafe_b64encode(packed)):
            assert search([Place("here", text)], [KEY]), (offset, tail)
            inside = base64_inside(KEY.value, offset % 3)
            assert inside in text.translate(bytes.maketrans(b"-_", b"+/"))


@pytest.mark.parametrize(
    "pack",
    [
        lambda inner: base64.b64encode(json.dumps({"blob": base64.b64encode(inner).decode()}).encode()),
        lambda inner: json.dumps({"apdu": ("80E28800" + inner.hex()).upper()}).encode(),
        lambda inner: base64.urlsafe_b64encode(inner.hex().encode()).rstrip(b"="),
        lambda inner: base64.b64encode(inner).hex().encode(),
    ],
)
def test_search_when_a_value_is_packed_twice_unpacks_it(pack: object) -> None:
    assert callable(pack)
    assert search([Place("here", NOISE[:20] + b'"' + pack(KEY.value) + b'"')], [KEY])


def test_search_when_a_pan_is_bcd_on_a_track_finds_it() -> None:
    track = bytes.fromhex("5711" + "4929123456789017D3012201000000000F")
    assert search([Place("here", track)], [PAN]) == ["here: the PAN (BCD raw)"]
    assert search([Place("here", track.hex().encode())], [PAN])


def test_search_when_a_secret_is_there_on_purpose_reports_only_others() -> None:
    both = KEY.value + PAN.value
    found = search([Place("here", both, frozenset({"a key"}))], ALL)
    assert found and all("a key" not in line for line in found)


def test_canary_when_too_short_is_refused() -> None:
    with pytest.raises(TooShortError):
        text_canary("a PIN", "1234")


def test_different_pages_when_a_page_is_repeated_keeps_it_once() -> None:
    page, other = NOISE.ljust(PAGE, b"."), b"x" * 10
    kept = list(different_pages([("a", bytes(PAGE) + page), ("b", page), ("c", page + other)]))
    assert kept == [("a", page), ("c", other)]


def test_canary_when_shown_hides_its_value() -> None:
    for canary in ALL:
        assert search([Place("repr", repr(canary).encode())], [canary]) == []
