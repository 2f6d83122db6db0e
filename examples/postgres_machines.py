"""Two "machines", which have nothing in common but a PostgreSQL server, refresh a shared cache and hand out ids.

Each machine is a process with several threads. The price of a day is computed once, by whichever thread of whichever
machine first finds it missing, under a lock that many hold to read and one to write. Orders get their numbers from a
sequence, a hundred in one query. In the middle one machine is killed, while it has the lock to write; the other goes
on. Run it:

    python examples/postgres_machines.py                            # starts a server of its own
    python examples/postgres_machines.py --conninfo "dbname=test"   # or uses yours, in which it makes two tables
"""

import argparse
import contextlib
import json
import signal
import subprocess
import sys
import threading

import postgres_server
import psycopg

import xctx
import xctx.postgres

DAYS = 20
THREADS = 4
LAST_WORDS = "computing"  # what the machine says that is to be killed, when it has the lock


# --- a machine --------------------------------------------------------------------------------------------------------


class Machine:
    def __init__(self, conninfo, dies_on):
        self.conninfo = conninfo
        self.dies_on = dies_on
        self.lock = xctx.postgres.SharedLock("example prices", conninfo, fencing=True)
        ids = xctx.postgres.sequence("example_orders_id", conninfo, 100)
        self.ids = xctx.BatchExecutor.from_batches(ids, ids.size, prefetch=25)
        self.orders = []
        self.computed = []

    def price(self, database, day):
        """What the cache says; computed here if nobody has."""
        query = "SELECT price FROM example_prices WHERE day = %s"
        with self.lock:
            found = database.execute(query, [day]).fetchone()
        if found is None:
            with self.lock.exclusive():
                found = database.execute(query, [day]).fetchone()  # another may have been quicker
                if found is None:
                    return self.compute(database, day)
        return found[0]

    def compute(self, database, day):
        if day == self.dies_on:
            print(LAST_WORDS, flush=True)
            signal.pause()
        self.lock.check()
        database.execute("INSERT INTO example_prices VALUES (%s, %s, %s)", [day, 100 + day, self.lock.token])
        self.computed.append(day)
        return 100 + day

    def work(self):
        with psycopg.connect(self.conninfo, autocommit=True) as database:
            for day in range(DAYS):
                assert self.price(database, day) == 100 + day
                self.orders.append(self.ids.load())

    def run(self):
        threads = [threading.Thread(target=self.work) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.ids.close()
        print(json.dumps({"orders": self.orders, "computed": self.computed}), flush=True)


# --- the program that starts two of them ------------------------------------------------------------------------------


def start(conninfo, dies_on=None):
    command = [sys.executable, __file__, "--conninfo", conninfo, "--machine"]
    if dies_on is not None:
        command += ["--dies-on", str(dies_on)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def show(conninfo):
    with psycopg.connect(conninfo, autocommit=True) as database:
        database.execute("DROP TABLE IF EXISTS example_prices")
        database.execute("CREATE TABLE example_prices (day int PRIMARY KEY, price int, token bigint)")
        database.execute("DROP SEQUENCE IF EXISTS example_orders_id")
        database.execute("CREATE SEQUENCE example_orders_id")

        first = start(conninfo, dies_on=DAYS // 2)
        assert first.stdout.readline().strip() == LAST_WORDS
        print(f"one machine has computed {DAYS // 2} prices, and has the lock to write")
        second, third = start(conninfo), start(conninfo)
        first.kill()
        first.wait()
        first.stdout.close()
        print("it is killed; two others go on")
        done = [json.loads(machine.communicate(timeout=60)[0]) for machine in (second, third)]

        orders = [order for machine in done for order in machine["orders"]]
        assert len(orders) == len({*orders}) == 2 * THREADS * DAYS, "an order number was handed out twice"
        computed = sorted(day for machine in done for day in machine["computed"])
        assert computed == [*range(DAYS // 2, DAYS)], "a price was computed twice, or never"
        tokens = [token for (token,) in database.execute("SELECT token FROM example_prices ORDER BY day")]
        assert tokens == sorted(tokens), "a late writer was not refused"
        print(f"{DAYS} prices, each computed once; {len(orders)} order numbers, each handed out once")


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--conninfo", help="of a server that is there (default: one is started)")
    parser.add_argument("--machine", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--dies-on", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.machine:
        Machine(options.conninfo, options.dies_on).run()
        return
    with contextlib.ExitStack() as stack:
        show(options.conninfo or stack.enter_context(postgres_server.server()).conninfo)


if __name__ == "__main__":
    main()
