"""At most one large write starts in each event-loop iteration; small ones never wait."""

import asyncio

from unrolled_server.rpc.reply_writer import LARGE_BYTES, WriteScheduler


async def begin(scheduler, byte_count, begun, name, now):
    await scheduler.wait_turn(byte_count)
    begun.append((now[0], name))


def start_order(writes, *, cancelled=()):
    """Returns (loop iteration, name) of each write in starting order; all are submitted at once."""

    async def main():
        scheduler, begun, now = WriteScheduler(), [], [0]
        tasks = {
            name: asyncio.create_task(begin(scheduler, byte_count, begun, name, now))
            for name, byte_count in writes.items()
        }
        for turn in range(3 * len(writes) + 3):
            now[0] = turn
            if turn == 1:
                for name in cancelled:
                    tasks[name].cancel()
            await asyncio.sleep(0)
        await asyncio.gather(*tasks.values(), return_exceptions=True)
        return begun

    return asyncio.run(main())


def test_large_writes_start_in_order_and_in_separate_iterations():
    begun = start_order(dict.fromkeys("abcd", LARGE_BYTES))
    assert [name for _, name in begun] == list("abcd")
    assert len({turn for turn, _ in begun}) == 4


def test_small_writes_never_wait():
    begun = start_order({"a": LARGE_BYTES, "b": LARGE_BYTES, "small": LARGE_BYTES - 1, "c": LARGE_BYTES})
    turn_of = {name: turn for turn, name in begun}
    assert turn_of["small"] == turn_of["a"] < turn_of["b"] < turn_of["c"]


def test_a_cancelled_write_blocks_no_other():
    begun = start_order(dict.fromkeys("abcd", LARGE_BYTES), cancelled="bc")
    assert [name for _, name in begun] == ["a", "d"]


def test_a_single_large_write_starts_at_once():
    async def main():
        scheduler = WriteScheduler()
        for _ in range(3):
            await asyncio.wait_for(scheduler.wait_turn(LARGE_BYTES), 60)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return True

    assert asyncio.run(main())
