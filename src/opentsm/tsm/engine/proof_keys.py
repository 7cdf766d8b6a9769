"""The keys for tokens and receipts of the domain that verifies and confirms: which are missing. Pure.

GPCS 2.3.1 §9.1.3.1, §9.1.3.6, §C.1: without a token key every delegated command fails, without a receipt key
every command whose receipt is due.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from opentsm.card.codec.aid import Aid
from opentsm.tsm.domain.card_content import ObservedContent
from opentsm.tsm.domain.delegation import ProofScheme, ProofUse
from opentsm.tsm.engine import steps as s


@dataclass(frozen=True, slots=True)
class Proofs:
    """The keys for tokens and receipts that a card is to have.

    Args:
        schemes: what this kind of card verifies and confirms with; empty: nobody works with tokens there.
        number: the card's, for which symmetric keys are derived.
    """

    schemes: Mapping[ProofUse, ProofScheme] = field(default_factory=dict)
    number: bytes = b""


NO_PROOFS = Proofs()


def missing(observed: ObservedContent, domain: Aid, proofs: Proofs) -> list[s.Step]:
    """Return the steps that put what a domain has not; a key of another origin is replaced.

    Args:
        observed: what is known of the card; the domain's key versions must be.
        domain: that verifies tokens, or makes receipts, or both.
        proofs: what it is to have.
    """
    present = observed.keys.get(domain.hex().upper(), ())
    return [
        s.PutProofKey(
            domain=domain,
            use=use,
            scheme=scheme,
            number=proofs.number,
            replaces=use.value in present,
        )
        for use, scheme in proofs.schemes.items()
        if use.value not in observed.proof_keys
    ]


def to_be_probed(observed: ObservedContent, domain: Aid, proofs: Proofs) -> bool:
    """Say whether the domain's key versions must be known before its proof keys can be put."""
    wanted = any(use.value not in observed.proof_keys for use in proofs.schemes)
    return wanted and domain.hex().upper() not in observed.keys
