"""Conversations: providers' own TSMs send scripts to secure elements; services as GP Messaging names them."""
