"""A load process: reads its order from standard input, says `ready`, asks until standard input ends."""

from __future__ import annotations

import select
import sys
import threading
import time
from pathlib import Path
from typing import Final

from tests.bench.load.client import Checker, Client
from tests.bench.load.order import Order
from tests.bench.load.questions import Questions
from tests.bench.load.records import Records

_CONNECT_S: Final = 20.0


def run(order: Order) -> None:
    """Run every client on a thread of its own and write down what they saw."""
    questions = Questions.load(Path(order.questions))
    requests = questions.requests(order.model)
    checker = Checker(questions if order.checked else None)
    numbers = range(order.first_client, order.first_client + order.clients)
    clients = [Client(number, order.address, requests, checker) for number in numbers]
    for client in clients:
        client.connect(_CONNECT_S)

    stop = threading.Event()
    threads: list[threading.Thread] = []
    for number, client in zip(numbers, clients, strict=True):
        if order.rate:
            interval_s = order.all_clients / order.rate
            first = time.monotonic() + 0.2 + interval_s * number / order.all_clients
            threads.append(threading.Thread(target=client.paced, args=(stop, interval_s, first)))
        else:
            threads.append(threading.Thread(target=client.closed_loop, args=(stop,)))
    for thread in threads:
        thread.start()
    print("ready", flush=True)
    select.select([sys.stdin], [], [], order.max_s)
    stop.set()
    for thread in threads:
        thread.join()
    Records.merge([client.close() for client in clients]).save(Path(order.result))


if __name__ == "__main__":
    run(Order.from_json(sys.stdin.readline()))
