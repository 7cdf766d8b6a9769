"""Cryptographic primitives on bytes; derivation constants live with the protocols that own them."""
