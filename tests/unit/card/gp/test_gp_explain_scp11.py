"""SCP11's commands in words."""

import pytest

from opentsm.card.gp.explain import Reading, explain


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (
            "802A031002 3000",
            ["PERFORM SECURITY OPERATION [verify certificate] (SCP11)", "identifier 10, version 03"],
        ),
        ("802A039002 3000", ["More certificates follow"]),
        ("8082031102 A600", ["MUTUAL AUTHENTICATE (SCP11a or c)", "identifier 11, version 03"]),
        ("8088031302 A600", ["INTERNAL AUTHENTICATE (SCP11b)", "identifier 13, version 03"]),
        ("8482330010" + "00" * 16, ["EXTERNAL AUTHENTICATE", "C-MAC, C-DECRYPTION, R-MAC, R-ENCRYPTION"]),
    ],
)
def test_explain_when_keys_are_agreed_then_command_and_key_are_named(command: str, words: list[str]) -> None:
    lines = "\n".join(explain(bytes.fromhex(command), Reading.COMMAND).note.lines())
    assert all(word in lines for word in words)
