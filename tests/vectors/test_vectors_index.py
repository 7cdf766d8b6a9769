"""Every published vector by its id, and the test that compares its values.

The ids name the vectors of one collection of public test suites and card traces; each module says from which
of them its values are copied. What cannot be compared as it was published stands in `NOT_COMPARED`.
"""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SESSION = "test_session_gives_the_published_commands_and_answers"
SCP11 = "test_published_receipt_opens_the_session_and_its_messages_are_the_published_ones"
AGREED = "test_shared_secrets_and_session_keys_are_the_published_ones"
COMMAND = "test_command_packet_when_encoded_is_the_published_one"
RESPONSE = "test_response_when_a_real_card_made_it_is_read_and_rebuilt"
DAP = "test_dap_signature_verifies_and_a_changed_one_does_not"
TOKEN = "test_token_rsa1k_is_accepted_by_the_card_and_a_changed_one_is_not"


def pysim(vector: str) -> list[tuple[str, str, str]]:
    names = (SESSION, "test_initialize_update_is_the_published_command")
    return [("pysim", name, vector) for name in names]


def library(vector: str, *more: str) -> list[tuple[str, str, str]]:
    return [("globalplatform_c", name, vector) for name in (SESSION, *more)]


def pro(test: str, case: str = "") -> list[tuple[str, str, str]]:
    return [("globalplatformpro", test, case)]


def scp11(case: str) -> list[tuple[str, str, str]]:
    names = ("test_authenticate_command_is_the_published_one", SCP11, AGREED)
    return [("openscp_scp11", name, case) for name in names]


def packet(case: str, *, answered: bool = True) -> list[tuple[str, str, str]]:
    return [("scp80", name, case) for name in ((COMMAND, RESPONSE) if answered else (COMMAND,))]


def template(test: str) -> list[tuple[str, str, str]]:
    return [("gp_templates", test, "")]


# ids that are also names of cases
FAMILY = re.compile(r"scp0[23]-(pysim|gpshell)-.")
KEYS = "test_session_keys_are_the_published_ones"
CHALLENGE = "test_pseudo_random_challenge_is_the_published_one"
# id: module, test, and its case (a string of the module) where the test has several
INDEX: dict[str, list[tuple[str, str, str]]] = {
    "scp02-pysim-i15-cmac": pysim("scp02-pysim-i15-cmac"),
    "scp02-gpshell-i15-getstatus": library("scp02-gpshell-i15-getstatus"),
    "scp02-gpshell-i15-enc-install": library("scp02-gpshell-i15-enc-install"),
    "scp02-gppro-sessionkeys-seq0": pro("test_scp02_session_keys_of_counter_0"),
    "scp02-gppro-putkey-dek": pro("test_scp02_key_encryption_under_the_session_dek"),
    "scp01-gppro-putkey-dek": pro("test_scp01_key_encryption_under_the_static_dek"),
    "scp02-i55-realcard-jcop3-00c2": pro("test_scp02_real_card_challenge_and_cryptogram"),
    "div-gppro-emv": pro("test_diversification_with_triple_des", "0ef59fcbf8019b62e62af6ea20b8bf25"),
    "div-gppro-visa2": pro("test_diversification_with_triple_des", "8510fc973208218ca86888bcec203635"),
    "div-gppro-kdf3-aes128": pro("test_diversification_kdf3_with_aes_128"),
    "div-gppro-kdf3-external": pro("test_diversification_kdf3_with_aes_256"),
    "kcv-aes-pysim": [("pysim", "test_kcv_of_aes_keys", "")],
    "scp03-gppro-sessionkeys": pro("test_scp03_session_keys"),
    "scp03-pysim-aes128_11": pysim("scp03-pysim-aes128_11"),
    "scp03-pysim-aes128_03": pysim("scp03-pysim-aes128_03"),
    "scp03-pysim-aes128_33": pysim("scp03-pysim-aes128_33"),
    "scp03-pysim-aes192_11": pysim("scp03-pysim-aes192_11"),
    "scp03-pysim-aes192_03": pysim("scp03-pysim-aes192_03"),
    "scp03-pysim-aes192_33": pysim("scp03-pysim-aes192_33"),
    "scp03-pysim-aes256_11": pysim("scp03-pysim-aes256_11"),
    "scp03-pysim-aes256_03": pysim("scp03-pysim-aes256_03"),
    "scp03-pysim-aes256_33": pysim("scp03-pysim-aes256_33"),
    "scp03-gpshell-delete_application": library("scp03-gpshell-delete_application", KEYS, CHALLENGE),
    "scp03-gpshell-mutual_auth": library("scp03-gpshell-mutual_auth", KEYS, CHALLENGE),
    "scp03-gpshell-get_status": library("scp03-gpshell-get_status", CHALLENGE),
    "scp03-gpshell-get_status_enc_mac": library("scp03-gpshell-get_status_enc_mac", CHALLENGE),
    "scp03-gpshell-aes192-i10": library("scp03-gpshell-aes192-i10"),
    "scp03-gpshell-rmac-renc-applet": library("scp03-gpshell-rmac-renc-applet"),
    "scp11a-openscp-p256aes128s8": scp11("a-p256-aes128-s8"),
    "scp11a-openscp-p256aes128s16": scp11("a-p256-aes128-s16"),
    "scp11a-gpcert-openscp-gpp256aes128s8": scp11("a-gp-p256-aes128-s8"),
    "scp11c-openscp-p256aes128s8": scp11("c-p256-aes128-s8"),
    "scp80-pysim-3des-cmd-ciphered": packet("3des-ciphered", answered=False),
    "scp80-pysim-3des-cmd-signed": packet("3des-signed", answered=False),
    "scp80-pysim-3des-cmd-none": packet("3des-none", answered=False),
    "scp80-pysim-3des-ciphered-cc": packet("3des-cc-por-ciphered"),
    "scp80-pysim-3des-unciphered-por-cc": packet("3des-cc-por-signed"),
    "scp80-pysim-3des-por-nocc": packet("3des-cc-por-clear"),
    "scp80-pysim-aes128-ciphered-cc": packet("aes-cc"),
    "crc32-asterix": [("scp80", "test_redundancy_checks_when_computed_are_the_published_ones", "")],
    "storedata-keys-scp03-aes128": [
        ("globalplatform_c", "test_store_data_describes_and_carries_the_published_keys", ""),
        ("globalplatform_c", "test_store_data_key_values_are_the_published_ones", ""),
    ],
    "install-uicc-syspar": template("test_install_uicc_syspar"),
    "install-sim-params": template("test_install_sim_params"),
    "install-sd-params": template("test_install_sd_params"),
    "install-params-pysim": template("test_install_params_pysim"),
    "token-extradition-dtbs": [("gp_tokens", "test_token_extradition_dtbs", "")],
    "token-delete-dtbs": [("gp_tokens", "test_token_delete_dtbs", "")],
    "dap-aes": [("gp_dap", "test_dap_aes", ""), ("gp_dap", DAP, "aes")],
    "dap-rsa1k": [("gp_dap", DAP, "rsa1k")],
    "dap-ecc-p256": [("gp_dap", DAP, "ecc")],
    "token-rsa1k-load": [("gp_tokens", "test_token_rsa1k_load", ""), ("gp_tokens", TOKEN, "load")],
    "token-rsa1k-extradition": [
        ("gp_tokens", "test_token_rsa1k_extradition", ""),
        ("gp_tokens", TOKEN, "extradition"),
    ],
    "cmac-aes128-nist": [("globalplatform_c", "test_cmac_of_nist_examples", "")],
    "cmac-aes192-nist": [("globalplatform_c", "test_cmac_of_nist_examples", "")],
    "parse-card-data-2.2.1-scp02i15": template("test_parse_card_data_2_2_1_scp02i15"),
    "parse-card-data-scp03i70-scp80": template("test_parse_card_data_scp03i70_scp80"),
    "parse-isd": template("test_parse_isd"),
    "key-info-template-rsa": template("test_key_info_template_rsa"),
    "key-info-template-extended": template("test_key_info_template_extended"),
    "privileges-80c000": template("test_privileges_80c000"),
    "privileges-9efe80": template("test_privileges_9efe80"),
}
# What of a vector is compared otherwise than as published, and why.
NOT_COMPARED = {
    "dap-rsa1k": "only the public key is published: the signature is verified, not made",
    "dap-ecc-p256": "ECDSA is randomised and only the public key is published: verified, not made",
    "token-rsa1k-load": "the load file is named, not published; the token is verified, not made",
    "token-rsa1k-extradition": "only the public key is published: the token is verified, not made",
    "storedata-keys-scp03-aes128": "its control template puts shared tags in B7; compared tag by tag",
    "scp80-pysim-3des-ciphered-cc": "the input of the response's checksum is described in words",
    "scp80-pysim-3des-unciphered-por-cc": "the input of the response's checksum is described in words",
    "scp80-pysim-3des-por-nocc": "the input of the response's checksum is described in words",
    "scp80-pysim-aes128-ciphered-cc": "the input of the response's checksum is described in words",
}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse((HERE / f"test_vectors_{module}.py").read_text())


def functions_of(module: str) -> dict[str, ast.FunctionDef]:
    found = {node.name: node for node in tree(module).body if isinstance(node, ast.FunctionDef)}
    return {name: node for name, node in found.items() if name.startswith("test_")}


def strings_of(module: str) -> set[str]:
    nodes = ast.walk(tree(module))
    return {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}


@pytest.mark.parametrize("vector", INDEX)
def test_vector_when_it_is_listed_has_its_tests(vector: str) -> None:
    assert INDEX[vector]
    for module, name, case in INDEX[vector]:
        test = functions_of(module)[name]
        assert any(isinstance(node, ast.Assert) for node in ast.walk(test)) or "verify" in ast.unparse(test)
        assert not case or case in strings_of(module), f"{module} has no case {case}"


def test_vectors_when_they_are_counted_are_all_there() -> None:
    assert len(INDEX) == 61
    assert NOT_COMPARED.keys() <= INDEX.keys()
    modules = {path.stem.removeprefix("test_vectors_") for path in HERE.glob("test_vectors_*.py")} - {"index"}
    named = {name for module in modules for name in strings_of(module) if FAMILY.match(name)}
    assert named <= INDEX.keys()
