"""The doorbell: Celery on Redis, carrying one message without arguments, "look at the ledger".

Celery is imported here and nowhere else. A lost, doubled or late ring costs delay and never a film:
what is to be done stands in the ledger.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Thread
from typing import Any

import redis
import structlog
from celery import Celery, signals
from celery.platforms import EX_OK
from celery.worker import state
from kombu.exceptions import OperationalError

log = structlog.get_logger()

QUEUE = "filmgate"
TASK = "filmgate.look"
# Redis answers locally within a millisecond; a stopped one must not hold the dispatcher for long.
SOCKET_TIMEOUT_S = 2.0
LISTEN_AGAIN_S = 5.0  # after Redis said that it cannot be used


class Doorbell:
    """One ring wakes one worker.

    Args:
        celery_url: broker URL as kombu takes it ("redis+socket:///path", "redis://host/0").
        redis_url: the same server as redis-py takes it ("unix:///path", "redis://host/0").
    """

    def __init__(self, celery_url: str, redis_url: str) -> None:
        self._celery = _celery(celery_url)
        self._redis = redis.Redis.from_url(
            redis_url, socket_timeout=SOCKET_TIMEOUT_S, socket_connect_timeout=SOCKET_TIMEOUT_S
        )
        self._reachable = True

    def ring(self) -> bool:
        """Put one message into the queue unless one still waits there; False when Redis is away."""
        try:
            if not self._redis.llen(QUEUE):
                self._celery.send_task(TASK, queue=QUEUE, ignore_result=True, retry=False)
        except (redis.RedisError, OperationalError, OSError) as error:
            self._say(reachable=False, error=type(error).__name__)
            return False
        self._say(reachable=True)
        return True

    def answer(
        self, work: Callable[[], object], *, name: str, ready: Callable[[], None], stopping: Event
    ) -> None:
        """Run `work` for every ring until `stopping` is set, and to the end of what it does then; blocks.

        The pool is `solo`: prefork children are daemonic, may not have children of their own (the
        decoder is one), and hang when torch ran before the fork.
        """

        @self._celery.task(name=TASK, ignore_result=True)  # type: ignore[untyped-decorator]
        def look() -> None:
            work()

        @signals.worker_init.connect(weak=False)  # type: ignore[untyped-decorator]
        def _ready(**_: Any) -> None:
            if not is_ready.is_set():
                is_ready.set()
                ready()

        def stop() -> None:
            stopping.wait()
            state.should_stop = EX_OK  # what Celery's own handlers would set

        is_ready = Event()
        Thread(target=stop, name="stop", daemon=True).start()
        while not stopping.is_set():
            self._listen(name)
            while not (stopping.wait(LISTEN_AGAIN_S) or self._usable()):
                pass

    def _usable(self) -> bool:
        """Whether Redis takes what we write; one that is away counts, for Celery gets over that by itself."""
        try:
            self._redis.set(f"{QUEUE}.probe", 1, ex=1)
        except redis.ResponseError as error:
            self._say(reachable=False, error=f"{type(error).__name__}: {error}")
            return False
        except redis.RedisError:
            return True
        self._say(reachable=True)
        return True

    def _listen(self, name: str) -> None:
        """Hear rings until `stopping` is set, or until Redis answers with an error.

        Celery gets over a Redis that is away. One that answers, and says that its disk is full (MISCONF), its
        memory (OOM), that it is a replica (READONLY, NOREPLICAS) or that it is a cluster, ends its worker.
        """
        worker = self._celery.Worker(
            pool="solo",
            concurrency=1,
            hostname=name,
            queues=[QUEUE],
            loglevel="WARNING",
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
        # No handlers of Celery's for signals: at SIGHUP it begins this program anew, without `-P` and
        # unwatched; at SIGQUIT or a second SIGINT it breaks off the film in hand.
        worker.install_platform_tweaks = _nothing
        worker.start()

    def _say(self, *, reachable: bool, error: str = "") -> None:
        """Log a change of Redis's health once, not at every ring."""
        if reachable != self._reachable:
            self._reachable = reachable
            if reachable:
                log.info("redis is back", meaning="workers are woken at once again")
            else:
                log.warning(
                    "redis is away", error=error, meaning="films are kept; workers look by themselves"
                )


def _nothing(_: object) -> None:
    pass


def _celery(url: str) -> Celery:
    app = Celery("filmgate", broker=url, set_as_current=False)
    app.conf.update(
        task_default_queue=QUEUE,
        task_ignore_result=True,
        task_serializer="json",
        accept_content=["json"],
        worker_prefetch_multiplier=1,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        worker_enable_remote_control=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        # kombu waits for ever unless told: a Redis that stopped would hold a worker that is to end. Above
        # kombu's brpop_timeout of 1 s, so that waiting for a ring is no timeout.
        broker_transport_options={
            "socket_timeout": SOCKET_TIMEOUT_S,
            "socket_connect_timeout": SOCKET_TIMEOUT_S,
        },
        # One message at most waits and carries nothing: it may be acknowledged early and forgotten.
        task_acks_late=False,
    )
    return app
