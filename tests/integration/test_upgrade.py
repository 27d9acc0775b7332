"""A database that any earlier schema made comes up to date with its data; a later one is refused."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from forecaster.domain.errors import StoreError
from forecaster.planning.ledger import lives
from forecaster.store import EmbeddedServer, Store
from forecaster.store.migrate import shipped
from forecaster.store.queries import queries

SQL = queries("migrate")
T0 = "2026-01-06 08:00:00+00"
T0_S = 1_767_686_400.0
ROWS = {
    1: """
        insert into service (name, first_arrival, last_arrival, requests)
        values ('chat', timestamptz '{t}', timestamptz '{t}', 5);
        insert into demand_slot values (1, '{t}', 5, 50, 25, 250, 500, 125,
            decode('0500' || repeat('0000', 59), 'hex'));
        """,
    2: """
        insert into model (service_id, created, champion, slot_s, scores, calibration, verdict, live)
        values (1, '{t}', 'pool', 300, '{{}}', '{{}}', 'made before', true);
        """,
    3: """
        insert into decision (service_id, at, inputs, output, ordered)
        values (1, '{t}', '{{"kind": "tick"}}', '{{"units": 2}}', true);
        insert into unit_event values
            ('tier', 1, 'u1', 1, timestamptz '{t}' + interval '1 s', 'cold', 'starting', 1, '', ''),
            ('tier', 2, 'u1', 1, timestamptz '{t}' + interval '61 s', 'starting', 'failed', 60, '', ''),
            ('tier', 3, 'u2', 1, timestamptz '{t}' + interval '90 s', 'cold', 'starting', 2, '', '');
        """,
    4: "insert into pin (service_id, made, until, units, why) values (1, '{t}', '{t}', 3, 'before');",
    5: "insert into switch (made, service, name, value, why) values ('{t}', '', 'freeze', 'on', 'x');",
    6: "insert into tariff values (1, '{t}', 'small', 2.5, 60, 1);",
}  # fmt: skip
NEWEST = shipped()[-1].number


@pytest.fixture
def made_by(postgres: EmbeddedServer) -> Iterator[Callable[[int], str]]:
    """Make a database as the release with so many migrations left it."""
    names: list[str] = []
    with psycopg.connect(postgres.dsn, autocommit=True) as admin:

        def make(number: int) -> str:
            name = f"made_by_{number}"
            names.append(name)
            admin.execute(f"create database {name}")
            dsn = make_conninfo(postgres.dsn, dbname=name)
            with psycopg.connect(dsn) as old:
                old.execute(SQL["create_journal"])
                for each in shipped():
                    if each.number > number:
                        break
                    old.execute(each.text)
                    row = {"number": each.number, "name": each.name, "sha256": each.sha256}
                    old.execute(SQL["record"], row)
                    if each.number in ROWS:
                        old.execute(ROWS[each.number].format(t=T0).encode())
            return dsn

        yield make
        for name in names:
            admin.execute(f"drop database {name} with (force)")


@pytest.mark.parametrize("number", [each.number for each in shipped()[:-1]])
def test_every_earlier_schema_comes_up_to_date_with_its_data(
    made_by: Callable[[int], str], number: int
) -> None:
    with Store.open(made_by(number)) as store:
        assert store.migrate() == sum(each.number > number for each in shipped())
        assert store.migrate() == 0
        (chat,) = store.services()
        assert (chat.name, chat.requests, chat.first_s) == ("chat", 5, T0_S)
        assert store.slots("chat").arrivals.tolist() == [5]
        if number >= 2:
            model = store.live_model("chat")
            assert model is not None
            assert (model.champion, model.verdict) == ("pool", "made before")
        if number >= 3:
            (row,) = store.decisions("chat")
            assert (row.output, row.ordered) == ({"units": 2}, True)
            units = lives(store.books.life_events("chat", T0_S, T0_S + 3600))
            assert [(u.unit_id, u.born_s - T0_S, u.ended_s - T0_S) for u in units] == [
                ("u1", 0.0, 61.0), ("u2", 88.0, float("inf")),
            ]  # fmt: skip
            assert store.books.life_events("chat", T0_S + 62, T0_S + 80) == []
        if number >= 4:
            pin = store.pin("chat")
            assert pin is not None
            assert (pin.units, pin.why) == (3, "before")
        if number >= 5:
            assert store.switched() == {("", "freeze"): "on"}
            assert [(row.value, row.by) for row in store.switches()] == [("on", "")]
        if number >= 6:
            assert store.books.tariffs("chat")[0].price_per_hour == 2.5


def test_a_database_of_a_later_release_is_refused_and_left_alone(
    made_by: Callable[[int], str],
) -> None:
    dsn = made_by(NEWEST)
    with psycopg.connect(dsn) as later:
        later.execute("insert into migration values (9999, '9999_later.sql', 'x')")
    with Store.open(dsn) as store:
        with pytest.raises(StoreError, match=r"9999_later\.sql, which this release does not know"):
            store.migrate()
        assert store.services()[0].requests == 5
