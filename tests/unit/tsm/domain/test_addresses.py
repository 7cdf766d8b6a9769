"""Which addresses may be called: public ones, what the operator allows, and nothing by another name."""

from ipaddress import ip_network

import pytest

from opentsm.tsm.domain.addresses import may_call

# RFC 6890 and the registries that it began: addresses of special purpose
SPECIAL = (
    "0.0.0.0",  # noqa: S104  # not bound
    "10.1.2.3",
    "100.64.0.1",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.0.1",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "fd12::1",
    "ff02::1",
    "2001:db8::1",
    # other names of 127.0.0.1, 10.0.0.1 and 169.254.169.254
    "::ffff:127.0.0.1",
    "::ffff:10.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:1::a00:1",
    "2002:7f00:1::",
    "2002:a9fe:a9fe::1",
    "::127.0.0.1",
)
PUBLIC = ("8.8.8.8", "93.184.215.14", "2606:4700:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808")
NO_ADDRESSES = ("", "localhost", "example.com", "1.2.3", "0x7f.1", "2130706433", "1.2.3.4.5", "[::1]")


@pytest.mark.parametrize("address", SPECIAL)
def test_address_when_of_special_purpose_then_not_called(address: str) -> None:
    assert not may_call(address, ())


@pytest.mark.parametrize("address", PUBLIC)
def test_address_when_public_then_called(address: str) -> None:
    assert may_call(address, ())


@pytest.mark.parametrize("text", NO_ADDRESSES)
def test_text_when_no_address_then_not_called(text: str) -> None:
    assert not may_call(text, (ip_network("0.0.0.0/0"), ip_network("::/0")))


def test_address_when_its_network_is_allowed_then_called_and_its_neighbours_are_not() -> None:
    allowed = (ip_network("10.1.0.0/16"), ip_network("fd00:1::/32"))
    assert may_call("10.1.2.3", allowed)
    assert may_call("::ffff:10.1.2.3", allowed)
    assert may_call("fd00:1::5", allowed)
    assert not may_call("10.2.0.1", allowed)
    assert not may_call("fd00:2::5", allowed)
    assert not may_call("2002:a02:1::", allowed)  # 10.2.0.1 by another name
