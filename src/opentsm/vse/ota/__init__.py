"""Messages over the air as the card reads them: short messages, secured packets, remote APDUs.

Written from the specifications on its own; nothing is shared with `opentsm.card.ota`.
"""
