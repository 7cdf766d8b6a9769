"""What a campaign came to, as a document and as files of inputs."""

import hashlib
import json
from pathlib import Path

from opentsm.fuzz.campaign import Finding, Result


def document(result: Result) -> dict[str, object]:
    """Return the figures and findings for people and programs."""
    return {
        "target": result.target,
        "inputs": result.inputs,
        "inputs_per_s": round(result.inputs_per_s),
        "guided": result.guided,
        "findings": [{"place": one.place, "input": file_name(one)} for one in result.findings],
    }


def file_name(finding: Finding) -> str:
    """Name the file of an input after its content."""
    return f"{hashlib.sha256(finding.data).hexdigest()[:16]}.bin"


def save_findings(directory: Path, result: Result) -> None:
    """Write each input and its traceback, to be run again."""
    for finding in result.findings:
        place = directory / result.target
        place.mkdir(parents=True, exist_ok=True)
        path = place / file_name(finding)
        path.write_bytes(finding.data)
        path.with_suffix(".txt").write_text(finding.trace, "utf-8")


def write_result(path: Path, result: Result) -> None:
    """Write a result for `read_result`."""
    findings = [[one.place, one.data.hex(), one.trace] for one in result.findings]
    content = [result.target, result.inputs, result.seconds, result.guided, findings]
    path.write_text(json.dumps(content), "utf-8")


def read_result(path: Path) -> Result:
    """Read what `write_result` wrote.

    Raises:
        OSError: the campaign ended before its last input.
    """
    target, inputs, seconds, guided, findings = json.loads(path.read_text("utf-8"))
    found = tuple(Finding(place, bytes.fromhex(data), trace) for place, data, trace in findings)
    return Result(target, inputs, seconds, guided, found)
