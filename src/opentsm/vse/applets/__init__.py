"""The applets that the virtual secure element can run."""
