"""`opentsm card token`: the token of a delegated-management command, made offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from opentsm.card.codec.apdu import CommandApdu
from opentsm.card.crypto.secret import Secret
from opentsm.card.crypto.signature import Curve, EcSigningKey, RsaSigningKey, Signer
from opentsm.card.errors import CardError
from opentsm.card.gp.tokens import sign_combined, sign_command, split_token, token_input
from opentsm.cli.exit_codes import ExitCode
from opentsm.cli.output import CliError, JsonOption, print_json, say

_MAX_KEY_FILE_BYTES = 16384
_COMBINED = 2


def token_command(
    apdus: Annotated[
        list[str],
        typer.Argument(
            help="INSTALL or DELETE without token, hex; both INSTALL commands of the combined process.",
            metavar="APDU...",
        ),
    ],
    key: Annotated[Path, typer.Option(help="Private token key: RSA or elliptic curve, PEM.")],
    as_json: JsonOption = False,
) -> None:
    """Make the token of a command without a card: what `--token` of `load`, `install` and `delete` takes."""
    try:
        commands = [CommandApdu.parse(bytes.fromhex(apdu)) for apdu in apdus]
        document = _document(commands, _signer(key))
    except (CardError, ValueError) as problem:
        error = CliError(f"no token: {problem}", code=ExitCode.BAD_INPUT)
        if as_json:
            print_json({"error": error.document()})
        say(f"error: {error.what}")
        raise typer.Exit(error.code) from None
    if as_json:
        print_json(document)
    else:
        typer.echo(document["token"])


def _document(commands: list[CommandApdu], signer: Signer) -> dict[str, str]:
    if len(commands) > _COMBINED:
        raise ValueError("one command, or the two INSTALL commands of the combined process")
    signed = (
        sign_combined(commands[0], commands[1], signer)
        if len(commands) == _COMBINED
        else sign_command(commands[0], signer)
    )
    return {
        "token": split_token(signed)[1].hex(),
        "signs": token_input(*commands).hex(),
        "command": signed.to_bytes().hex(),
    }


def _signer(path: Path) -> Signer:
    """Read the key; its kind and length choose the scheme.

    Raises:
        ValueError: the file cannot be read, or holds no such key.
    """
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_KEY_FILE_BYTES)
        native = load_pem_private_key(content, None)
    except OSError as problem:
        raise ValueError(f"{path}: {problem.strerror}") from None
    except (TypeError, ValueError, UnsupportedAlgorithm):
        raise ValueError(f"{path}: no private key in PEM without a password") from None
    if isinstance(native, rsa.RSAPrivateKey):
        return RsaSigningKey(native)
    curves = {curve.value: curve for curve in Curve}
    if isinstance(native, ec.EllipticCurvePrivateKey) and native.curve.name in curves:
        curve = curves[native.curve.name]
        number = native.private_numbers().private_value
        return EcSigningKey(curve, Secret(number.to_bytes(curve.length, "big")))
    raise ValueError(f"{path}: a token key is an RSA key, or one of {', '.join(curves)}")
