"""SCP81 framing: triggers, requests and responses of the administration protocol, chunks.

Vectors of 85, 8A, 8C: osmocom pySim pySim/global_platform/http.py.
"""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opentsm.card.codec.aid import Aid
from opentsm.card.codec.apdu import CommandApdu, ResponseApdu
from opentsm.card.codec.tlv import Tlv, encode_tlv
from opentsm.card.errors import OtaError
from opentsm.card.ota.remote_apdu import ExpandedResponse, ExpandedScript
from opentsm.card.ota.scp81 import (
    COMMAND_TYPE,
    PROTOCOL,
    RESPONSE_TYPE,
    AdminRequest,
    AdminResponse,
    Ending,
    ScriptStatus,
    aid_uri,
    decode_chunks,
    encode_chunks,
    parse_aid_uri,
)
from opentsm.card.ota.scp81_trigger import PskReference, RetryPolicy, SessionParameters

SCRIPT = ExpandedScript((CommandApdu(0x80, 0xCA, 0, 0xC1, ne=256),), indefinite=True)
ANSWER = ExpandedResponse((ResponseApdu(b"", 0x9000),), indefinite=True)
TARGET = Aid.from_hex("A000000151000000")
AGENT = "//se-id/CIN/0001;//aa-id/aid/A000000151/000000"


def test_security_parameters_when_encoded_are_the_published_ones() -> None:
    published = bytes.fromhex("850804deadbeef020040")
    reference = PskReference(bytes.fromhex("deadbeef"), 0x00, 0x40)
    assert encode_tlv(0x85, reference.to_bytes()) == published
    assert PskReference.parse(published[2:]) == reference


def test_trigger_when_it_holds_published_texts_reads_them() -> None:
    texts = bytes.fromhex("8a0a61646d696e2e686f73748c1668747470733a2f2f61646d696e2e686f73742f757269")
    trigger = encode_tlv(0x81, encode_tlv(0x83, encode_tlv(0x89, texts)))
    found = SessionParameters.parse(trigger)
    assert (found.host, found.uri, found.agent_id) == ("admin.host", "https://admin.host/uri", None)
    assert found.to_bytes() == trigger


def test_retry_policy_when_encoded_swaps_the_digits_of_the_timer() -> None:
    policy = RetryPolicy(3, 12 * 3600 + 34 * 60 + 56)
    assert policy.to_bytes() == bytes.fromhex("00032503214365")
    assert RetryPolicy.parse(policy.to_bytes()) == policy


def test_trigger_when_complete_comes_back_whole() -> None:
    parameters = SessionParameters(
        connection=bytes.fromhex("350103"),
        security=PskReference(b"card-1", 0x40, 0x01, 4),
        retry=RetryPolicy(1, 60, b"\x01"),
        host="ota.example.org",
        agent_id="agent",
        uri="/admin?c=1",
        other=(Tlv(0xB3, b"\xd6\x01a"),),
    )
    assert SessionParameters.parse(parameters.to_bytes()) == parameters


@pytest.mark.parametrize(
    "data",
    [
        "",
        "8200",
        "81028301",
        "810483028501",
        "8106830485020001",
        "810983078605000125031A",
        "8106830489028AFF",
    ],
)
def test_trigger_when_malformed_is_refused(data: str) -> None:
    with pytest.raises(OtaError):
        SessionParameters.parse(bytes.fromhex(data))


@pytest.mark.parametrize("text", ["a\r\nX-Admin-Next-URI: /evil", "a\nb", "a\0"])
def test_text_when_it_would_make_another_header_field_is_refused(text: str) -> None:
    with pytest.raises(OtaError):
        SessionParameters(host=text).to_bytes()
    with pytest.raises(OtaError):
        AdminResponse(next_uri=text).headers()
    with pytest.raises(OtaError):
        AdminRequest("/", text, AGENT).headers()


def test_request_when_first_has_no_body_and_no_status() -> None:
    request = AdminRequest("/admin", "ota.example.org", AGENT)
    assert request.body() == b""
    assert request.headers() == {
        "Host": "ota.example.org",
        "X-Admin-Protocol": PROTOCOL,
        "X-Admin-From": AGENT,
        "Content-Length": "0",
    }


@pytest.mark.parametrize(
    "request_",
    [
        AdminRequest("/admin", "h", AGENT),
        AdminRequest("/next", "h", AGENT, ScriptStatus.OK, ANSWER),
        AdminRequest("/next", "h", AGENT, ScriptStatus.SECURITY_ERROR),
        AdminRequest("/next", "h", AGENT, ScriptStatus.OK, ANSWER, resume=True),
    ],
)
def test_request_when_read_by_the_server_is_the_same(request_: AdminRequest) -> None:
    headers = {name.upper(): value for name, value in request_.headers().items()}
    assert AdminRequest.parse(request_.uri, headers, request_.body()) == request_


@pytest.mark.parametrize(
    ("response", "code", "ending"),
    [
        (AdminResponse(SCRIPT, "/2"), 200, Ending.RUN_AND_REPORT),
        (AdminResponse(SCRIPT, None, TARGET), 200, Ending.RUN_AND_END),
        (AdminResponse(None, "/2"), 204, Ending.CONTINUE),
        (AdminResponse(), 204, Ending.END),
    ],
)
def test_response_when_read_by_the_card_tells_what_comes_next(
    response: AdminResponse, code: int, ending: Ending
) -> None:
    assert (response.status_code, response.ending) == (code, ending)
    assert AdminResponse.parse(code, response.headers(), response.body()) == response


@pytest.mark.parametrize(
    ("code", "change"),
    [
        (500, {}),
        (204, {}),
        (200, {"X-Admin-Protocol": "other/1.0"}),
        (200, {"X-Admin-Protocol": "globalplatform-remote-admin/2.0"}),
        (200, {"X-Admin-Protocol": ""}),
        (200, {"Content-Type": RESPONSE_TYPE}),
        (200, {"X-Admin-Targeted-Application": "//aid/A000/00"}),
    ],
)
def test_response_when_it_does_not_fit_is_refused(code: int, change: dict[str, str]) -> None:
    response = AdminResponse(SCRIPT, "/2")
    with pytest.raises(OtaError):
        AdminResponse.parse(code, response.headers() | change, response.body())


@pytest.mark.parametrize(
    "change",
    [
        {"X-Admin-Script-Status": "fine"},
        {"X-Admin-From": ""},
        {"Host": ""},
        {"Content-Type": COMMAND_TYPE},
        {"X-Admin-Script-Status": "security-error"},
    ],
)
def test_request_when_it_does_not_fit_is_refused(change: dict[str, str]) -> None:
    request = AdminRequest("/next", "h", AGENT, ScriptStatus.OK, ANSWER)
    with pytest.raises(OtaError):
        AdminRequest.parse("/next", request.headers() | change, request.body())


def test_aid_when_written_as_uri_comes_back() -> None:
    assert aid_uri(TARGET) == "//aid/A000000151/000000"
    assert parse_aid_uri(aid_uri(TARGET)) == TARGET


@given(body=st.binary(max_size=300), size=st.integers(1, 80))
def test_chunks_when_decoded_are_the_body(body: bytes, size: int) -> None:
    assert decode_chunks(encode_chunks(body, size)) == body


@pytest.mark.parametrize(
    "data", [b"", b"5\r\nab", b"zz\r\n", b"-1\r\n\r\n", b"1\r\nab\r\n0\r\n\r\n", b"0\r\n"]
)
def test_chunks_when_malformed_are_refused(data: bytes) -> None:
    with pytest.raises(OtaError):
        decode_chunks(data)


@given(data=st.binary(max_size=80))
def test_trigger_and_chunks_when_random_raise_the_named_error_only(data: bytes) -> None:
    for read in (SessionParameters.parse, PskReference.parse, RetryPolicy.parse, decode_chunks):
        try:
            read(data)
        except OtaError:
            continue
