"""A server that is killed between commit and call, and in the middle of a call: the message still comes."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue

import httpx
from tests.e2e.demo_process import start

END_S = 120
ALLOWED = {"OPENTSM_DELIVERIES_ALLOW_HTTP": "true", "OPENTSM_DELIVERIES_ALLOWED_NETWORKS": "127.0.0.0/8"}


class Endpoint(ThreadingHTTPServer):
    """Notes the ids of messages; while `open` is not set it answers none."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Taking)
        self.ids: Queue[str] = Queue()
        self.open = threading.Event()


class Taking(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        """Take a message."""
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.ids.put(self.headers["webhook-id"])
        if self.server.open.wait(END_S):
            self.send_response(204)
            self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(directory: str, *, worker: bool) -> Iterator[httpx.Client]:
    """Serve, and end with kill -9: nothing is finished, nothing put in order."""
    environment = {**ALLOWED, "OPENTSM_SERVER_WORKER": str(worker).lower()}
    words = ("serve", "--port", "0", "--data-dir", f"{directory}/data", "--json")
    process = start(directory, *words, environment=environment)
    try:
        assert process.stdout is not None
        ready = json.loads(process.stdout.readline())
        token = Path(ready["operator_token_file"]).read_text("ascii").strip()
        headers = {"Authorization": f"Bearer {token}"}
        with httpx.Client(
            base_url=ready["base_url"], headers=headers, trust_env=False, timeout=END_S
        ) as client:
            yield client
    finally:
        process.kill()
        process.communicate(timeout=END_S)


def test_delivery_when_the_server_is_killed_before_and_in_the_call_then_sent_by_the_next(
    open_data_dir: str,
) -> None:
    endpoint = Endpoint()
    threading.Thread(target=endpoint.serve_forever, daemon=True).start()
    try:
        with serving(open_data_dir, worker=False) as client:  # commits, and sends nothing
            body = {"kind": "SERVICE_PROVIDER", "name": f"provider {os.getpid()}"}
            made = client.post("/v1/parties", json=body)
            assert made.status_code == 201, made.text
            owner = {"Authorization": f"Bearer {made.json()['token']}"}
            url = f"http://127.0.0.1:{endpoint.server_port}/"
            wanted = {"url": url, "events": ["operation.*"]}
            hook = client.post("/v1/webhooks", json=wanted, headers=owner)
            assert hook.status_code == 201, hook.text
            ping = client.post(f"/v1/webhooks/{hook.json()['id']}/pings", headers=owner).json()
        assert endpoint.ids.empty()
        with serving(open_data_dir, worker=True):  # killed while the endpoint has the message
            assert endpoint.ids.get(timeout=END_S) == ping["id"]
        endpoint.open.set()
        with serving(open_data_dir, worker=True) as client:
            assert endpoint.ids.get(timeout=END_S) == ping["id"]
            while True:
                found = client.get(f"/v1/deliveries/{ping['id']}", headers=owner).json()
                if found["state"] != "PENDING":
                    break
        assert (found["state"], found["attempts"][-1]["status"]) == ("SENT", 204)
    finally:
        endpoint.shutdown()
        endpoint.server_close()
