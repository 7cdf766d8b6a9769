"""Byte formats: BER-TLV, APDU, AID, DGI."""
