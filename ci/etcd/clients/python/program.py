"""What a program does with etcd, by the public client aetcd, against any cluster that speaks its API.

program.py HOST:PORT HOST:PORT HOST:PORT KILL

KILL is a command that kills the node whose address it is given. Ends with 0 if everything held.
"""
import asyncio
import subprocess
import sys
import time

import aetcd

ENDPOINTS = sys.argv[1:4]
KILL = sys.argv[4]


def client(place):
    host, port = ENDPOINTS[place % len(ENDPOINTS)].rsplit(":", 1)
    return aetcd.Client(host=host, port=int(port), timeout=10)


def held(what, condition, seen=""):
    if not condition:
        sys.exit(f"FAILED: {what} {seen}")


async def keys():
    async with client(0) as one, client(1) as other:
        await one.put(b"py/greeting", b"hello")
        found = await other.get(b"py/greeting")
        held("a write is seen through another node", found.value == b"hello" and found.version == 1)
        for number in range(10):
            await one.put(b"py/many/%d" % number, b"%d" % number)
        many = [item.key async for item in aiter_of(await other.get_prefix(b"py/many/"))]
        held("a prefix has its keys in order", many == [b"py/many/%d" % n for n in range(10)], many)
        await one.delete_prefix(b"py/many/")
        held("a deleted key is gone", await other.get(b"py/many/3") is None)
    print("keys: written, read, listed, deleted")


async def aiter_of(items):
    for item in items:
        yield item


async def lock():
    """Those who hold the lock add to a number in two steps; nothing is lost."""
    async with client(0) as setter:
        await setter.put(b"py/count", b"0")

    async def add(place):
        async with client(place) as own:
            for _ in range(5):
                mutex = own.lock(b"py/mutex", ttl=20)
                held("the lock is acquired", await mutex.acquire(timeout=60))
                held("who has it knows it", await mutex.is_acquired())
                count = int((await own.get(b"py/count")).value)
                await own.put(b"py/count", b"%d" % (count + 1))
                held("the lock is released", await mutex.release())

    await asyncio.gather(*(add(place) for place in range(3)))
    async with client(1) as reader:
        count = int((await reader.get(b"py/count")).value)
    held("nothing is lost under the lock", count == 15, count)
    print("lock: 3 clients added 15 times under it")


async def lease():
    async with client(0) as own, client(2) as other:
        lease = await own.lease(2)
        await own.put(b"py/alive", b"yes", lease=lease)
        held("the lease knows its key", list(await lease.keys()) == [b"py/alive"])
        begun = time.monotonic()
        while time.monotonic() - begun < 5:
            await lease.refresh()
            await asyncio.sleep(0.5)
        held("a key lives as long as its lease is kept alive", await other.get(b"py/alive") is not None)
        begun = time.monotonic()
        while await other.get(b"py/alive") is not None:
            held("a lease ends", time.monotonic() - begun < 15)
            await asyncio.sleep(0.05)
        took = time.monotonic() - begun
        held("a lease does not end early", took > 1.4, took)
    print(f"lease: kept alive for 5 s, gone {took:.1f} s after the last time (it has 2 s)")


async def transactions():
    """Money moves between accounts by compare-and-swap; the sum stays."""
    accounts = [b"py/account/%d" % n for n in range(4)]
    async with client(0) as setter:
        for account in accounts:
            await setter.put(account, b"100")

    async def move(place):
        moved = 0
        async with client(place) as own:
            while moved < 10:
                source, target = accounts[(place + moved) % 4], accounts[(place + moved + 1) % 4]
                a, b = await own.get(source), await own.get(target)
                done, _ = await own.transaction(
                    compare=[own.transactions.mod(source) == a.mod_revision,
                             own.transactions.mod(target) == b.mod_revision],
                    success=[own.transactions.put(source, b"%d" % (int(a.value) - 1)),
                             own.transactions.put(target, b"%d" % (int(b.value) + 1))],
                    failure=[])
                moved += done

    await asyncio.gather(*(move(place) for place in range(3)))
    async with client(1) as reader:
        values = [int((await reader.get(account)).value) for account in accounts]
    held("the sum of all accounts stays", sum(values) == 400, values)
    print("transactions: 30 transfers, the sum stays")


async def watch():
    """Every change comes once and in order, though the node that tells of them is killed."""
    total, victim = 200, 0
    seen, resumed, next_revision = [], 0, None

    async def write():
        async with client(1) as own:
            for number in range(total):
                await own.put(b"py/news/%d" % (number % 7), b"%d" % number)
                if number == total // 2:
                    subprocess.run([KILL, ENDPOINTS[victim]], check=True)
                await asyncio.sleep(0.01)

    async with client(victim) as first:
        revision = (await first.put(b"py/news/begin", b"")).header.revision + 1
    writer = None
    place, next_revision = victim, revision
    while len(seen) < total:
        try:
            async with client(place) as own:
                events = await own.watch_prefix(b"py/news/", start_revision=next_revision)
                writer = writer or asyncio.create_task(write())
                async with asyncio.timeout(30):
                    async for event in events:
                        seen.append(int(event.kv.value))
                        next_revision = event.kv.mod_revision + 1
                        if len(seen) == total:
                            break
        except (aetcd.ClientError, asyncio.TimeoutError) as error:
            resumed += 1
            held("a watch goes on elsewhere", resumed < 20, error)
            place += 1
    await writer
    held("every change is seen once and in order", seen == list(range(total)), seen)
    held("the watch was cut off in the middle", resumed > 0)
    print(f"watch: {total} changes, each once and in order, resumed {resumed} times")


async def main():
    await keys()
    await lock()
    await lease()
    await transactions()
    await watch()


asyncio.run(main())
