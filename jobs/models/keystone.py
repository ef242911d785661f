"""What this Keystone knows of itself."""

from sqlmodel import Field, SQLModel


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
