"""What this Keystone knows of itself."""

import secrets
from datetime import datetime
from enum import StrEnum

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel

from jobs.storage.columns import WordColumn, json_column, now


class ItemKind(StrEnum):
    """What a thing on the Docker Engine is."""

    CONTAINER = "container"
    IMAGE = "image"
    NETWORK = "network"


class DomainPort(SQLModel, table=True):
    """A port on which the router serves domains, since it was started last."""

    __tablename__ = "domain_ports"

    scheme: str = Field(primary_key=True, max_length=5)  # "http" or "https"
    port: int


class Identity(SQLModel, table=True):
    """One row: what tells this Keystone from another on the same Docker Engine."""

    __tablename__ = "identity"

    id: int = Field(default=1, primary_key=True)
    name: str = Field(max_length=16)  # six letters, part of every container and image name
    # Makes the tags of images such that no other app's Dockerfile can guess one.
    image_key: str = Field(default_factory=lambda: secrets.token_hex(32), max_length=64)
    # What is on the engine under our names was not all put on record: the sweep does that once.
    adopts_items: bool = False


class EngineItem(SQLModel, table=True):
    """A thing that Keystone made on the Docker Engine; on record from before it was made.

    A removed app's rows stay, because what they tell of has to be removed yet.
    """

    __tablename__ = "engine_items"

    kind: ItemKind = Field(primary_key=True, sa_type=WordColumn(ItemKind))
    name: str = Field(primary_key=True, max_length=200)  # of an image: its id
    app: str = Field(max_length=63)
    # Of a container: its id on the engine, as soon as that is known.
    engine_id: str | None = Field(default=None, max_length=100)
    made_at: datetime = Field(default_factory=now)


class VaultKey(SQLModel, table=True):
    """A key that rows may be sealed with; a start without it is refused."""

    __tablename__ = "vault_keys"

    fingerprint: str = Field(primary_key=True, max_length=16)
    created_at: datetime = Field(default_factory=now)


class Vitals(SQLModel, table=True):
    """One row: how the machine and the other processes were when the watcher looked last."""

    __tablename__ = "vitals"

    id: int = Field(default=1, primary_key=True)
    at: datetime = Field(default_factory=now)
    workers: int  # alive
    disk_free: int = Field(sa_type=BigInteger)  # bytes, where Keystone keeps its data
    disk_total: int = Field(sa_type=BigInteger)
    engine_free: int | None = Field(default=None, sa_type=BigInteger)  # None: not this machine's
    problems: dict[str, str] = Field(sa_column=json_column())  # by part: "docker", "router"
