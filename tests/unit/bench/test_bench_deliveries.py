"""The measurement of deliveries sends what it says, each once; how fast it is stands in no test."""

import asyncio
import sys

from opentsm.bench import deliveries


def test_deliveries_when_measured_then_each_is_sent_once_beside_as_many_posts() -> None:
    figures = deliveries.measure(deliveries=12, endpoints=11, rounds=1)
    assert (figures.deliveries, figures.endpoints, figures.at_once) == (12, 11, 44)
    assert figures.repeated == 0
    assert figures.share_of_floor == figures.deliveries_per_s / figures.floor_per_s
    assert figures.body_bytes > 200


async def test_receiver_when_its_starter_goes_then_it_ends() -> None:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "opentsm.bench.receiver", stdin=pipe, stdout=pipe
    )
    assert process.stdin is not None
    assert process.stdout is not None
    port = int(await process.stdout.readline())
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
    assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    writer.close()
    process.stdin.close()
    assert await process.wait() == 0
