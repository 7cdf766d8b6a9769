"""The notifier of one process: wakes those who wait, and forgets those who do not."""

import asyncio

import pytest

from opentsm.tsm.adapters.notifier import LocalNotifier


async def waiting(notifier: LocalNotifier, topic: str) -> asyncio.Task[bool]:
    task = asyncio.create_task(notifier.wait(topic, 60))
    await asyncio.sleep(0)  # let it begin to wait
    return task


async def test_wait_when_notified_then_all_who_wait_for_the_topic_wake() -> None:
    notifier = LocalNotifier()
    tasks = [await waiting(notifier, "se/1") for _ in range(3)]
    other = await waiting(notifier, "se/2")
    notifier.notify("se/1")
    assert await asyncio.gather(*tasks) == [True, True, True]
    assert not other.done()
    notifier.notify("se/2")
    assert await other


async def test_wait_when_the_time_is_over_then_false() -> None:
    assert await LocalNotifier().wait("topic", 0.001) is False
    assert await LocalNotifier().wait("topic", 0) is False


async def test_notify_when_nobody_waits_then_a_later_wait_sleeps() -> None:
    notifier = LocalNotifier()
    notifier.notify("topic")
    assert await notifier.wait("topic", 0.001) is False


async def test_notify_when_a_waiter_was_cancelled_then_the_others_wake() -> None:
    notifier = LocalNotifier()
    cancelled, other = await waiting(notifier, "topic"), await waiting(notifier, "topic")
    cancelled.cancel()
    notifier.notify("topic")
    assert await other
    with pytest.raises(asyncio.CancelledError):
        await cancelled


async def test_topics_when_nobody_waits_any_more_then_forgotten() -> None:
    notifier = LocalNotifier()
    await notifier.wait("timed out", 0)
    task = await waiting(notifier, "notified")
    notifier.notify("notified")
    await task
    assert not notifier._waiting
