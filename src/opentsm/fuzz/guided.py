"""One coverage-guided campaign, in a process of its own: `python -m opentsm.fuzz.guided TARGET …`.

atheris (PyPI, Apache-2.0) watches which lines an input reaches and keeps those that reach new ones; it takes
the process over and ends it, so the result goes to a file. Nothing of ours may be imported before it.
"""

import argparse
import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    """Run until the inputs are used up."""
    parser = argparse.ArgumentParser(prog="opentsm.fuzz.guided")
    parser.add_argument("target")
    parser.add_argument("--inputs", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--corpus", type=Path, required=True)
    wanted = parser.parse_args(arguments)

    import atheris

    with atheris.instrument_imports(include=["opentsm.card", "opentsm.vse", "opentsm.agent"]):
        from opentsm.fuzz.catalogue import TARGETS
    from random import Random
    from time import process_time

    from opentsm.fuzz.campaign import Probe, Result, watchdog
    from opentsm.fuzz.results import write_result

    target = TARGETS[wanted.target]
    seeds = target.seeds()
    for number, seed in enumerate(seeds):
        (wanted.corpus / f"seed-{number:03}").write_bytes(seed)
    probe, start = Probe(target.prepare()), process_time()

    def once(data: bytes) -> None:
        probe.try_input(data)
        if probe.inputs == wanted.inputs:
            seconds = process_time() - start
            findings = tuple(probe.findings.values())
            write_result(wanted.result, Result(target.name, probe.inputs, seconds, True, findings))

    def mutate(data: bytes, size: int, seed: int) -> bytes:
        # libFuzzer's own mutator reads beyond what is empty, or longer than it may become
        if seed % 4 == 0 and 0 < len(data) <= size:
            return bytes(atheris.Mutate(data, size))
        return target.mutate(Random(seed), data, seeds)[:size]  # noqa: S311 - repeatable on purpose

    options = [
        f"-runs={wanted.inputs}",
        f"-seed={wanted.seed}",
        "-timeout=0",
        "-max_len=4096",
        "-verbosity=0",
    ]
    with watchdog():
        atheris.Setup([sys.argv[0], *options, str(wanted.corpus)], once, custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
