"""A reviewer who never stops: releases, corrects, rejects and undoes what is held, by the console's own API.

Consoles die meanwhile, and connections break before the answer. So what counts in the end is the ledger's own
list of acts: each act that was answered must be in it, and what AI got must follow from it.
"""

from __future__ import annotations

import random
import re
import threading
from collections import Counter
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2 as httpx
from rig import Gateway
from sqlalchemy import select

from gateway.bootstrap import Shell, now
from gateway.ledger.acting.table import DoneBy
from gateway.ledger.acting.tables import acts
from gateway.ledger.people import passwords
from gateway.ledger.people.records import Role
from gateway.settings import load

NAME, PASSWORD = "reviewer", "correct horse battery staple"
TOKEN = re.compile(r'<meta name="csrf-token" content="([^"]+)"')
TO = "chest-ai"
SENDING = (DoneBy.RELEASE, DoneBy.ACCEPT, DoneBy.CORRECT)
PAUSE_S = 0.2
AT_ONCE = 4  # films of one act
EARLY = timedelta(milliseconds=50)  # file times and the ledger's are cut off differently


@dataclass(slots=True)
class Reviewer:
    """Acts until told to stop; `answered` are the acts of which the console said that they were done."""

    running: Gateway
    seed: int = 0
    answered: dict[int, str] = field(default_factory=dict)
    refused: Counter[str] = field(default_factory=Counter)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread = field(init=False)

    def __enter__(self) -> Reviewer:
        with closing(self._shell()) as shell:
            hashed = passwords.hashed(PASSWORD)
            shell.ledger.add_user(NAME, Role.REVIEWER, by="bench", now=now(), password_hash=hashed)
        self._thread = threading.Thread(target=self._review)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _shell(self) -> Shell:
        return Shell.open(load(self.running.config, self.running.state))

    def _review(self) -> None:
        rng = random.Random(self.seed)
        url = f"http://127.0.0.1:{self.running.console_port}"
        with closing(self._shell()) as shell, httpx.Client(base_url=url, timeout=20) as client:
            token = ""
            while not self._over.wait(PAUSE_S):
                try:
                    token = token or self._signed_in(client)
                    self._act(client, token, shell, rng)
                except httpx.HTTPError as error:  # the console died; another one comes
                    self.refused[type(error).__name__] += 1

    def _signed_in(self, client: httpx.Client) -> str:
        client.post("/sign-in", data={"name": NAME, "password": PASSWORD})
        found = TOKEN.search(client.get("/").text)
        return found[1] if found else ""

    def _act(self, client: httpx.Client, token: str, shell: Shell, rng: random.Random) -> None:
        act = rng.choices(
            (DoneBy.RELEASE, DoneBy.CORRECT, DoneBy.REJECT, DoneBy.UNDO, DoneBy.ACCEPT), (5, 2, 3, 7, 2)
        )[0]
        wish: dict[str, Any] = {"act": act}
        if act is DoneBy.UNDO:
            done = [one for one, of in self.answered.items() if of != DoneBy.UNDO][-30:]
            if not done:
                return
            wish["acts"] = rng.sample(done, min(len(done), AT_ONCE))
        else:
            held = shell.ledger.holds()
            chosen = rng.sample(held, min(len(held), rng.randint(1, AT_ONCE)))
            if not chosen:
                return
            wish["films"] = [
                {"film": hold.film_id, "hold": hold.id, "decision": hold.decision_id} for hold in chosen
            ]
            wish |= {"operations": {"rotate": 90}} if act is DoneBy.CORRECT else {}
            wish |= {"reason": "113037"} if act is DoneBy.REJECT else {"to": [TO]}
        answer = client.post("/api/acts", json=wish, headers={"X-CSRF-Token": token})
        if answer.status_code != 200:
            self.refused[f"HTTP {answer.status_code}"] += 1
            return
        for one in answer.json()["results"]:
            if one["ok"]:
                self.answered[one["act_id"]] = act
            else:
                self.refused[f"{act} refused"] += 1

    def balance(self, delay_s: float, at_ai: dict[str, list[datetime]]) -> dict[str, Any]:
        """What does not add up, and how much there was of each; `at_ai`: film -> when its objects came."""
        with closing(self._shell()) as shell, shell.ledger.reading() as db:
            rows = db.execute(select(acts).order_by(acts.c.id)).all()
            uids = {film.id: film.sop_instance_uid for film in shell.ledger.films()}
            held = {hold.film_id for hold in shell.ledger.holds()}
        by_film: dict[int, list[Any]] = {}
        for row in rows:
            by_film.setdefault(row.film_id, []).append(row)
        early = lost = undone_at_ai = rejected_at_ai = 0
        for film_id, its in by_film.items():
            got = at_ai.get(uids[film_id], [])
            stands = [row for row in its if row.act in SENDING and row.undone_at is None]
            rejected = any(row.act == DoneBy.REJECT and row.undone_at is None for row in its)
            if stands and not rejected:
                lost += not got
                earliest = stands[0].at.replace(tzinfo=UTC) + timedelta(seconds=delay_s)
                early += bool(got) and min(got) < earliest - EARLY
            elif not stands:
                undone_at_ai += bool(got) and not rejected
                rejected_at_ai += bool(got) and rejected
                lost += not (rejected or film_id in held)  # undone: it waits again
        return {
            "acts": Counter(row.act for row in rows),
            "undone": Counter(row.act for row in rows if row.undone_at is not None),
            "not answered or refused": self.refused,
            "answered, and not in the ledger": len(self.answered.keys() - {row.id for row in rows}),
            "released, and not at the AI; undone, and not held": lost,
            "undone, and at the AI": undone_at_ai,
            "rejected, and at the AI": rejected_at_ai,
            "at the AI before its time": early,
        }
