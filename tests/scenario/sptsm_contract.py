"""schemathesis with all its checks over the published document: requests one by one and in sequences."""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import schemathesis
from schemathesis import engine
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import Failure
from schemathesis.engine.events import FatalError, NonFatalError, PhaseFinished, ScenarioFinished
from schemathesis.openapi.checks import RejectedPositiveData
from tests.scenario.sptsm_document import Json, Refusals, mended, refusals
from tests.scenario.sptsm_scene import Stage
from tests.scenario.sptsm_server import Served

from opentsm.api.sptsm.routes import PATH

SEED = 3165
INVALID_REQUEST = 1002  # of any request that is none, whatever the operation lists
BAD_FORMAT = 1008


@dataclass(slots=True)
class Report:
    """What was sent and what was found."""

    statuses: defaultdict[str, Counter[int]] = field(default_factory=lambda: defaultdict(Counter))
    checks: Counter[str] = field(default_factory=Counter)
    phases: dict[str, str] = field(default_factory=dict)
    transitions: Counter[str] = field(default_factory=Counter)
    findings: dict[str, str] = field(default_factory=dict)

    @property
    def requests(self) -> int:
        """How many requests were answered."""
        return sum(counter.total() for counter in self.statuses.values())

    def note(self, event: object) -> None:
        """Take what an event of the engine tells."""
        if isinstance(event, NonFatalError):
            self.findings[f"error: {event.label}"] = f"{event.value}"
        elif isinstance(event, FatalError):
            self.findings["error"] = repr(event.exception)
        elif isinstance(event, PhaseFinished):
            self.phases[event.phase.name.value] = event.status.value
        elif isinstance(event, ScenarioFinished):
            self._note_scenario(event.recorder)

    def _note_scenario(self, recorder: Any) -> None:
        for id_, interaction in recorder.interactions.items():
            node = recorder.cases[id_]
            label = f"{node.value.method.upper()} {node.value.operation.path}"
            if interaction.response is not None and label == node.value.operation.label:
                self.statuses[label][interaction.response.status_code] += 1
            if node.transition is not None and node.is_transition_applied:
                self.transitions[node.transition.id] += 1
        for id_, nodes in recorder.checks.items():
            for node in nodes:
                self.checks[node.name] += 1
                if node.failure_info is not None:
                    self._note_failure(node, recorder.interactions[id_].response)

    def _note_failure(self, node: Any, response: Any) -> None:
        failure = node.failure_info.failure
        category = _category(response)
        title = f"{node.name} of {failure.operation}: {failure.title} ({response.status_code} {category})"
        answer = response.content[:300].decode("utf-8", "replace")
        self.findings.setdefault(title, f"{failure.message}\n{node.failure_info.code_sample}\n{answer}")


class Contract:
    """One run against one server, as a provider of its own."""

    def __init__(self, served: Served, document: Path) -> None:
        self._url = f"{served.url}{PATH}"
        self._document = mended(document)
        self._refusals = refusals(self._document)
        registered = asyncio.run_coroutine_threadsafe(_provider(served), served.loop)
        self._long_term = registered.result()
        headers = {"Authorization": self._long_term}
        self._short_term = httpx.post(f"{self._url}/auth", headers=headers).json()
        self._stage = Stage.build(self._url, self._short_term)

    def run(self, *, examples: int, sequences: int, seed: int = SEED) -> Report:
        """Send requests of all kinds.

        Args:
            examples: drawn requests an operation, beside those of its examples and of its boundaries.
            sequences: of requests that use each other's answers.
            seed: of the draws.
        """
        load_all_checks()
        settings = self._settings(examples, sequences, seed)
        schema = schemathesis.openapi.from_dict(self._document, config=SchemathesisConfig.from_dict(settings))
        report = Report()
        with self._hooks():
            for event in engine.from_schema(schema).execute():
                report.note(event)
        return report

    def _settings(self, examples: int, sequences: int, seed: int) -> Json:
        tokens = {"LongtermToken": self._long_term, "authToken": self._short_term}
        return {
            "seed": seed,
            "base-url": self._url,
            "continue-on-failure": True,
            "generation": {
                "deterministic": True,
                "max-examples": examples,
                "no-shrink": True,
                "allow-x00": True,
            },
            "phases": {"stateful": {"generation": {"max-examples": sequences}}},
            "auth": {"openapi": {name: {"bearer": token} for name, token in tokens.items()}},
            "checks": {"enabled": True},
        }

    @contextmanager
    def _hooks(self) -> Iterator[None]:
        def before_call(context: Any, case: Any, kwargs: Json) -> None:
            self._put_real_ones(case)

        def filter_failure(context: Any, failure: Failure, case: Any, response: Any) -> bool:
            return not self._is_meant(failure, case, response)

        def refusal_is_listed(context: Any, response: Any, case: Any) -> None:
            self._check_refusal(response, case)

        schemathesis.hook(before_call)
        schemathesis.hook(filter_failure)
        schemathesis.check(refusal_is_listed)
        try:
            yield
        finally:
            schemathesis.hooks.unregister(before_call)
            schemathesis.hooks.unregister(filter_failure)
            CHECKS.unregister(refusal_is_listed.__name__)

    def _put_real_ones(self, case: Any) -> None:
        """Put ids and files that exist into a request; schemathesis judges the ids anew by the schema."""
        if case.path_parameters:
            case.path_parameters = self._stage.ids(case.path_parameters, case.operation.label)
        if case.meta is None or not case.meta.generation.mode.is_positive:
            return
        service = (case.path_parameters or {}).get("serviceId")
        case.body = self._stage.body(case.body, case.operation.label, service)
        if case.meta.generation.mode.is_positive and case.media_type == "multipart/form-data":
            case.body = self._stage.files(case.body)
            case._record_starting_state()  # bytes in place of bytes: its validator cannot judge them

    def _is_meant(self, failure: Failure, case: Any, response: Any) -> bool:
        """Tell whether a valid request met a refusal that the standard, or PostgreSQL, has for it."""
        if not isinstance(failure, RejectedPositiveData) or response.status_code != 400:
            return False
        error = response.json()
        if _has_nul(case.body):  # docs/reference/divergences.md
            return bool(error["errorCategory"] == BAD_FORMAT)
        return self._of(case).may_meet_valid(error["errorCategory"], error["errorMessage"])

    def _check_refusal(self, response: Any, case: Any) -> None:
        """Check that a 400 has a category that the operation lists."""
        if response.status_code != 400 or case.method.upper() != case.operation.method.upper():
            return
        listed = self._of(case).listed | {INVALID_REQUEST}
        assert _category(response) in listed, f"{_category(response)} is not among {sorted(listed)}"

    def _of(self, case: Any) -> Refusals:
        return self._refusals[case.operation.label]


def _has_nul(value: Any) -> bool:
    """Tell whether a text of a body has U+0000."""
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, dict):
        return any(_has_nul(one) for member in value.items() for one in member)
    return isinstance(value, list) and any(map(_has_nul, value))


def _category(response: Any) -> int | None:
    try:
        found = json.loads(response.content)
    except ValueError:
        return None
    return found.get("errorCategory") if isinstance(found, dict) else None


async def _provider(served: Served) -> str:
    operator = await served.container.onboarding.issue_operator_token("contract")
    async with httpx.AsyncClient(headers={"Authorization": f"Bearer {operator}"}) as client:
        body = {"kind": "SERVICE_PROVIDER", "name": "contract"}
        answer = await client.post(f"{served.url}/v1/parties", json=body)
    return str(answer.json()["token"])
