"""Tasks, and asyncio's threads, that take bindings along."""

import asyncio

import pytest
from carry_module import ALL, VAR, look, look_and_set, look_at_var

import xctx
import xctx.concurrent


@pytest.fixture
def x(key_name):
    """An xlocal of a module, as those that cross processes are."""
    return ALL[key_name]


@pytest.mark.parametrize("bindings", ["copy", "share", "empty"])
def test_tasks_that_carry(x, key_name, bindings):
    expected = {} if bindings == "empty" else {"a": 1}

    async def work():
        seen = [look(key_name)]
        with x(b=2):
            await asyncio.sleep(0)
            seen.append(look(key_name))
        return [*seen, look(key_name)]

    async def main():
        with x(a=1):
            async with xctx.concurrent.TaskGroup() as group:
                tasks = [
                    xctx.concurrent.create_task(work(), bindings=bindings),
                    group.create_task(work(), bindings=bindings, name="mine"),
                ]
            assert tasks[1].get_name() == "mine"
            assert look(key_name) == {"a": 1}
        assert look(key_name) == {}
        return [await task for task in tasks]

    seen = asyncio.run(main())
    if bindings == "share" and key_name != "task":
        # One context and one unit for all: what one binds, the others see while it is bound.
        assert seen[0][0] == {"a": 1}
        assert all(each[1]["b"] == 2 for each in seen)
    else:
        assert seen == [[expected, {**expected, "b": 2}, expected]] * 2


def test_tasks_that_share_a_context_share_its_variables(key_name):
    async def work():
        return look_and_set(5)

    async def main():
        VAR.set(1)
        seen = [await xctx.concurrent.create_task(work(), bindings=bindings) for bindings in ("copy", "empty", "share")]
        return seen, VAR.get()

    assert asyncio.run(main()) == ([1, None, 1], 5)


def test_a_task_that_shares_leaves_nothing_in_the_context(x, thing, no_collector):
    import weakref

    value = thing()
    ref = weakref.ref(value)

    async def work():
        await asyncio.sleep(0)

    async def main(values):
        with x(a=values.pop()):
            await xctx.concurrent.create_task(work(), bindings="share")
        await asyncio.sleep(0)
        return ref() is None

    values = [value]
    del value
    assert asyncio.run(main(values))


def test_a_task_cancelled_before_it_began_warns_of_nothing(recwarn):
    async def work():
        raise AssertionError("it ran")

    async def main():
        task = xctx.concurrent.create_task(work())
        assert "work" in repr(task)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert not recwarn.list


def test_threads_of_asyncio(x, key_name):
    async def main():
        VAR.set(1)
        with x(a=1):
            with xctx.concurrent.ThreadPoolExecutor(1, contextvars=[VAR]) as pool:
                loop = asyncio.get_running_loop()
                seen = [
                    await xctx.concurrent.to_thread(lambda **kwargs: (look(key_name), VAR.get(), kwargs), b=2),
                    await xctx.concurrent.to_thread(lambda: (look(key_name), VAR.get(None)), bindings="empty"),
                    await xctx.concurrent.run_in_executor(None, look, key_name),
                    await xctx.concurrent.run_in_executor(None, look_at_var, contextvars=[VAR]),
                    await xctx.concurrent.run_in_executor(None, look, key_name, bindings="empty"),
                    await loop.run_in_executor(pool, look, key_name),
                    await loop.run_in_executor(pool, look_at_var),
                ]
        return seen

    assert asyncio.run(main()) == [({"a": 1}, 1, {"b": 2}), ({}, None), {"a": 1}, 1, {}, {"a": 1}, 1]


# gevent
