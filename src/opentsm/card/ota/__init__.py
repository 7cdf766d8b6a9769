"""Over the air: secured packets (SCP80), short messages, remote APDUs, administration over HTTP (SCP81)."""
