"""Tables for Keystone itself: identity, engine items, vault keys, vitals, router ports."""

import secrets
from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel

from jobs.storage.columns import WordColumn, json_column, now


class ItemKind(StrEnum):
    """The kind of an item on the Docker Engine."""

    CONTAINER = "container"
    IMAGE = "image"
    NETWORK = "network"


class DomainPort(SQLModel, table=True):
    """A port on which the router serves domains; rewritten at each start of the router."""

    __tablename__ = "domain_ports"

    scheme: str = Field(primary_key=True, max_length=5)  # "http" or "https"
    port: int


class Identity(SQLModel, table=True):
    """One row: distinguishes this Keystone from others on the same Docker Engine."""

    __tablename__ = "identity"

    id: int = Field(default=1, primary_key=True)
    name: str = Field(max_length=16)  # six letters, part of every container and image name
    # Key of the seals in image tags, so that another app's Dockerfile cannot guess a tag.
    image_key: str = Field(default_factory=lambda: secrets.token_hex(32), max_length=64)
    # True if items on the engine under our names may lack records: the sweep adds these once.
    adopts_items: bool = False


class SchemaUse(SQLModel, table=True):
    """One row: the oldest schema whose code can use the database; migrations keep it current."""

    __tablename__ = "schema_use"

    id: int = Field(default=1, primary_key=True)
    oldest: str = Field(max_length=32)


class EngineItem(SQLModel, table=True):
    """An item that Keystone made on the Docker Engine; recorded before it is made.

    The rows of a removed app stay, because their items still have to be removed from the engine.
    """

    __tablename__ = "engine_items"

    kind: ItemKind = Field(primary_key=True, sa_type=WordColumn(ItemKind))
    name: str = Field(primary_key=True, max_length=200)  # for an image: its id
    app: str = Field(max_length=63)
    # For a container: its id on the engine, once that is known.
    engine_id: str | None = Field(default=None, max_length=100)
    made_at: datetime = Field(default_factory=now)


class VaultKey(SQLModel, table=True):
    """A key that rows may be sealed with; Keystone refuses to start without it."""

    __tablename__ = "vault_keys"

    fingerprint: str = Field(primary_key=True, max_length=16)
    created_at: datetime = Field(default_factory=now)


class Vitals(SQLModel, table=True):
    """One row: the state of the machine and the other processes at the watcher's last check."""

    __tablename__ = "vitals"

    id: int = Field(default=1, primary_key=True)
    at: datetime = Field(default_factory=now)
    workers: int  # number of live workers
    disk_free: int = Field(sa_type=BigInteger)  # bytes, on the disk of Keystone's data
    disk_total: int = Field(sa_type=BigInteger)
    engine_free: int | None = Field(default=None, sa_type=BigInteger)  # None: engine is elsewhere
    problems: dict[str, str] = Field(sa_column=json_column())  # by part: "docker", "router"
