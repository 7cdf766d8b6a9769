"""`python -m opentsm.cli`: the command line, for child processes of the same Python."""

from opentsm.cli.main import main

main()
