"""Large writes begin one in each turn of the loop; small ones never wait."""

import asyncio

from unrolled_server.rpc.reply_writer import LARGE_BYTES, WriteScheduler


async def begin(scheduler, byte_count, begun, name, now):
    await scheduler.wait_turn(byte_count)
    begun.append((now[0], name))


def turns_of(writes, *, cancelled=()):
    """(turn of the loop, name) of each write, in the order in which they begin; all wait from the start."""

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


def test_large_writes_begin_in_turns_of_their_own_and_in_order():
    begun = turns_of(dict.fromkeys("abcd", LARGE_BYTES))
    assert [name for _, name in begun] == list("abcd")
    assert len({turn for turn, _ in begun}) == 4


def test_small_writes_never_wait():
    begun = turns_of({"a": LARGE_BYTES, "b": LARGE_BYTES, "small": LARGE_BYTES - 1, "c": LARGE_BYTES})
    turn_of = {name: turn for turn, name in begun}
    assert turn_of["small"] == turn_of["a"] < turn_of["b"] < turn_of["c"]


def test_a_cancelled_write_costs_no_turn_and_blocks_no_other():
    begun = turns_of(dict.fromkeys("abcd", LARGE_BYTES), cancelled="bc")
    assert [name for _, name in begun] == ["a", "d"]


def test_a_lone_large_write_begins_at_once_each_time():
    async def main():
        scheduler = WriteScheduler()
        for _ in range(3):
            await asyncio.wait_for(scheduler.wait_turn(LARGE_BYTES), 60)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        return True

    assert asyncio.run(main())
