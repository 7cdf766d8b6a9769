"""The open loop: arrivals that do not wait, times from the intended moment, every answer counted."""

import asyncio

import pytest

from opentsm.bench.open_loop import Connections, Times, arrivals, drive, quantile


def test_arrivals_then_in_order_inside_the_time_and_about_as_many_as_wanted() -> None:
    moments = arrivals(200, 50, seed=1)
    assert moments == sorted(moments)
    assert moments[0] > 0
    assert moments[-1] < 50
    assert 9_600 < len(moments) < 10_400  # four standard deviations of a Poisson count of 10,000
    assert arrivals(200, 50, seed=1) == moments
    assert arrivals(200, 50, seed=2) != moments


@pytest.mark.parametrize(
    ("share", "expected"), [(0.01, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100), (0.0, 1)]
)
def test_quantile_then_the_smallest_value_that_the_share_does_not_exceed(share: float, expected: int) -> None:
    assert quantile([float(value) for value in range(100, 0, -1)], share) == expected


def test_quantile_when_there_is_nothing_then_refused() -> None:
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


async def test_drive_when_the_first_answer_waits_for_the_last_request_then_all_are_sent() -> None:
    """A loop that waited for answers would never end here."""
    asked: list[str] = []
    all_asked = asyncio.Event()

    async def send(path: str) -> int:
        asked.append(path)
        if len(asked) == 5:
            all_asked.set()
        await all_asked.wait()
        return 404 if path == "b" else 200

    times = Times()
    await asyncio.wait_for(drive(send, ["a", "b"], [0.0, 0.0, 0.001, 0.001, 0.002], times), 60)
    assert asked == ["a", "b", "a", "b", "a"]
    assert (len(times.taken), len(times.late), times.refused) == (5, 5, 2)
    # whoever was to be sent first has waited for the last, which was to be sent 2 ms later
    assert max(times.taken) >= 0.002


async def test_connections_when_the_server_ended_one_then_another_is_opened() -> None:
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    connections = Connections("127.0.0.1", port, "the-token")
    assert [await connections.get("/x") for _ in range(3)] == [200, 200, 200]
    await connections.close()
    server.close()
    assert len(seen) == 3
    assert all(b"GET /x HTTP/1.1\r\n" in one and b"Bearer the-token" in one for one in seen)
