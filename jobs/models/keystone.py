"""What this Keystone knows of itself."""

from datetime import datetime

from sqlalchemy import BigInteger
from sqlmodel import Field, SQLModel

from jobs.columns import json_column, now


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
