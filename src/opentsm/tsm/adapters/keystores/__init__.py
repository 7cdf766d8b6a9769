"""Places where static keys live, behind the keystore port."""
