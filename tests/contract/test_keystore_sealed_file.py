"""The sealed file of the software keystore: opened by its passphrase only, changed by nobody else."""

import asyncio
import base64
import json
import os
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.keywrap import aes_key_wrap
from tests.contract.key_forms import forms

from opentsm.card.crypto.secret import Secret
from opentsm.tsm.adapters.keystores.sealed_file import KeyFile, Passphrase, SealedFile
from opentsm.tsm.adapters.keystores.software import SoftwareKeystore
from opentsm.tsm.domain.secure_element import WrappedKeys
from opentsm.tsm.kernel.errors import KeystoreError
from opentsm.tsm.kernel.ids import KeyHandle, TenantId

PLACE = "keyset:se/A000000151000000/48"
PARTY, HANDLE = TenantId("issuer"), KeyHandle("master")
KEY_FILE = KeyFile(Secret(bytes(range(32))))
KEY = bytes.fromhex("000102030405060708090a0b0c0d0e0f00f1f2f3f4f5f6f7f8f9fafbfcfdfeff")


async def made(path: Path) -> SoftwareKeystore:
    keystore = await SoftwareKeystore.create(path, PARTY, KEY_FILE)
    await keystore.import_key(HANDLE, Secret(KEY))
    return keystore


async def opened(path: Path, unlock: KeyFile | Passphrase = KEY_FILE) -> SoftwareKeystore:
    return await SoftwareKeystore.from_file(path, PARTY, unlock)


def files_in(directory: Path) -> list[Path]:
    return list(directory.iterdir())


async def test_keystore_when_opened_again_then_everything_is_there(tmp_path: Path) -> None:
    path = tmp_path / "keystore.json"
    before = await made(path)
    key_set = await before.generate_key_set(scp=3, key_length=16, context=PLACE)
    sealed = await before.seal(b"data", context="c")
    after = await opened(path)
    assert await after.has(HANDLE)
    assert await after.key_check_values(key_set.bound, scp=3) == key_set.kcvs
    assert await after.open(sealed, context="c") == b"data"
    assert repr(after) == repr(before)


async def test_keystore_when_opened_or_created_then_one_of_both(tmp_path: Path) -> None:
    path = tmp_path / "keystore.json"
    first = await SoftwareKeystore.from_file_or_create(path, PARTY, KEY_FILE)
    await first.generate(HANDLE)
    assert await (await SoftwareKeystore.from_file_or_create(path, PARTY, KEY_FILE)).has(HANDLE)


async def test_passphrase_when_right_then_opens_and_when_wrong_then_says_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "keystore.json"
    right, wrong = Passphrase(Secret(b"correct horse")), Passphrase(Secret(b"wrong donkey"))
    await SoftwareKeystore.create(path, PARTY, right)
    await opened(path, right)
    with pytest.raises(
        KeystoreError, match=r"does not open with this passphrase.*Set the passphrase"
    ) as caught:
        await opened(path, wrong)
    assert "donkey" not in str(caught.value)
    with pytest.raises(KeystoreError, match="was not made with a key file"):
        await opened(path, KEY_FILE)


async def test_key_file_when_another_or_too_short_then_refused(tmp_path: Path) -> None:
    path = tmp_path / "keystore.json"
    await made(path)
    with pytest.raises(KeystoreError, match="does not open with this key file"):
        await opened(path, KeyFile(Secret(bytes(32))))
    with pytest.raises(KeystoreError, match="was not made with a passphrase"):
        await opened(path, Passphrase(Secret(bytes(32))))
    with pytest.raises(KeystoreError, match="fewer than 32 bytes"):
        KeyFile(Secret(bytes(31)))


async def test_file_when_any_field_is_changed_then_refused(tmp_path: Path) -> None:
    path = tmp_path / "keystore.json"
    await made(path)
    good = json.loads(path.read_text())
    changes: list[tuple[tuple[str, ...], object]] = [
        (("header", "party"), "another"),
        (("header", "format"), "opentsm-keystore-2"),
        (("header", "derivation", "type"), "scrypt"),
        (("header", "derivation", "salt"), base64.b64encode(bytes(16)).decode()),
        (("header", "check"), base64.b64encode(bytes(16)).decode()),
        (("header", "more"), 1),
        (("nonce",), base64.b64encode(bytes(12)).decode()),
        (("nonce",), ""),
        (("content",), ""),
        (("content",), good["content"][:-8]),
    ]
    for place, value in changes:
        bad = json.loads(json.dumps(good))
        parent = bad
        for name in place[:-1]:
            parent = parent[name]
        parent[place[-1]] = value
        path.write_text(json.dumps(bad))
        with pytest.raises(KeystoreError):
            await opened(path)
    path.write_text(json.dumps(good))
    await opened(path)


async def test_file_when_any_byte_is_changed_then_refused(tmp_path: Path) -> None:
    path = tmp_path / "keystore.json"
    await made(path)
    good = path.read_bytes()
    for position in range(len(good) - 1):  # the last is the end of the line
        path.write_bytes(good[:position] + bytes((good[position] ^ 1,)) + good[position + 1 :])
        with pytest.raises(KeystoreError):
            await opened(path)


async def test_scrypt_parameters_when_absurd_then_refused_before_the_work(tmp_path: Path) -> None:
    path = tmp_path / "keystore.json"
    await SoftwareKeystore.create(path, PARTY, Passphrase(Secret(b"p")))
    good = json.loads(path.read_text())
    for name, value in (("n", 2**40), ("r", 2**30), ("n", 3), ("n", 0), ("p", -1)):
        bad = json.loads(json.dumps(good))
        bad["header"]["derivation"][name] = value
        path.write_text(json.dumps(bad))
        with pytest.raises(KeystoreError):
            await opened(path, Passphrase(Secret(b"p")))


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b"null", b"not json"])
async def test_file_when_it_is_no_keystore_then_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "keystore.json"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeystoreError, match="damaged, or not a keystore"):
        await opened(path)


async def test_file_when_missing_then_the_path_is_told(tmp_path: Path) -> None:
    with pytest.raises(KeystoreError, match=r"nowhere\.json cannot be read"):
        await opened(tmp_path / "nowhere.json")
    with pytest.raises(KeystoreError, match="cannot be written"):
        await made(tmp_path / "no" / "such" / "directory.json")


async def test_file_when_it_exists_then_not_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "keystore.json"
    await made(path)
    before = path.read_bytes()
    with pytest.raises(KeystoreError, match="exists already"):
        await SoftwareKeystore.create(path, PARTY, KEY_FILE)
    assert path.read_bytes() == before


async def test_file_then_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "keystore.json"
    await made(path)
    modes = [stat.S_IMODE(file.stat().st_mode) for file in files_in(tmp_path)]
    assert modes == [0o600] * 2  # the keystore and its lock; no temporary file stays
    path.chmod(0o640)
    with pytest.raises(KeystoreError, match="chmod 600"):
        await opened(path)


async def test_file_when_two_processes_change_it_then_no_key_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "keystore.json"
    one, other = await made(path), await opened(path)
    handles = [KeyHandle(f"key-{number}") for number in range(10)]
    await asyncio.gather(*(store.generate(handle) for handle in handles for store in (one, other)))
    for handle in handles:
        keys = [await store.derive_application_key(handle, b"x") for store in (one, other)]
        assert keys[0] == keys[1]
    await one.generate(KeyHandle("late"))
    assert await other.has(KeyHandle("late"))


async def test_file_when_the_change_fails_half_way_then_the_old_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "keystore.json"
    keystore = await made(path)

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeystoreError, match="No space left"):
        await keystore.generate(KeyHandle("new"))
    monkeypatch.undo()
    assert not await keystore.has(KeyHandle("new"))
    assert await (await opened(path)).has(HANDLE)
    assert len(files_in(tmp_path)) == 2


async def test_files_then_hold_no_key_in_any_form(tmp_path: Path) -> None:
    path = tmp_path / "keystore.json"
    keystore = await made(path)
    await keystore.import_key(KeyHandle("transport"), Secret(bytes(range(32, 64))))
    blob = aes_key_wrap(bytes(range(32, 64)), bytes(range(64, 112)))
    source = WrappedKeys(transport=KeyHandle("transport"), blob=blob)
    made_set = await keystore.generate_key_set(scp=3, key_length=16, context=PLACE)
    await keystore.generate(KeyHandle("generated"))
    held = [secret.reveal() for secret in (*keystore._keys.values(), keystore._root)]
    exported = await keystore.export_key_set(source, KeyHandle("transport"))
    written = b"".join(file.read_bytes() for file in files_in(tmp_path))
    written += made_set.source.blob + exported.blob + await keystore.seal(b"x", context="y")
    assert len(held) == 4
    for key in (*held, KEY_FILE.value.reveal(), bytes(range(64, 112))):
        assert not any(form in written for form in forms(key))
    told = repr(keystore) + repr(SealedFile.open(path, PARTY, KEY_FILE)) + repr(KEY_FILE)
    for key in (*held, KEY_FILE.value.reveal()):
        assert key.hex() not in told.lower()
        assert repr(key)[2:-1] not in told
