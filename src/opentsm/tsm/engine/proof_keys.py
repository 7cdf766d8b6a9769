"""The keys for tokens and receipts of the domain that verifies and confirms: which are missing. Pure.

GPCS 2.3.1 §9.1.3.1, §9.1.3.6, §C.1: without a token key every delegated command fails, without a receipt key
every command whose receipt is due.
"""

from collections.abc import Mapping

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import ObservedContent
from opentsm.tsm.domain.delegation import ProofScheme, ProofUse
from opentsm.tsm.engine import steps as s


def missing(
    observed: ObservedContent, domain: Aid, schemes: Mapping[ProofUse, ProofScheme], number: bytes
) -> list[s.Step]:
    """Return the steps that put what is missing; a key of another origin is replaced.

    Args:
        observed: what is known of the card; the domain's key versions must be.
        domain: that verifies tokens and makes receipts.
        schemes: what this kind of card verifies and confirms with; empty: no domain works with tokens.
        number: the card's, for which symmetric keys are derived.
    """
    present = observed.keys.get(domain.hex().upper(), ())
    return [
        s.PutProofKey(domain=domain, use=use, scheme=scheme, number=number, replaces=use.value in present)
        for use, scheme in schemes.items()
        if use.value not in observed.proof_keys
    ]


def to_be_probed(observed: ObservedContent, domain: Aid, schemes: Mapping[ProofUse, ProofScheme]) -> bool:
    """Say whether the domain's key versions must be known before its proof keys can be put."""
    wanted = any(use.value not in observed.proof_keys for use in schemes)
    return wanted and domain.hex().upper() not in observed.keys
