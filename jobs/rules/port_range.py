"""The range of ports that apps are given. Pure."""

from pydantic import BaseModel, ConfigDict, Field


class PortRange(BaseModel):
    """The range of ports for apps, both ends included."""

    model_config = ConfigDict(frozen=True)

    first: int = Field(ge=1, le=65535)
    last: int = Field(ge=1, le=65535)

    def __contains__(self, port: object) -> bool:
        return isinstance(port, int) and self.first <= port <= self.last

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"

    def __len__(self) -> int:
        return self.last - self.first + 1


def parse_port_range(value: object) -> object:
    """Take a range written as `20000-20999` apart; leave other values to pydantic.

    Raises:
        ValueError: it is no range; the message says what it must be.
    """
    if not isinstance(value, str):
        return value
    first, dash, last = value.partition("-")
    if not dash or not first.strip().isdecimal() or not last.strip().isdecimal():
        raise ValueError("must be two ports with a dash between them, like 20000-20999")
    if int(first) > int(last):
        raise ValueError("must begin with the smaller port")
    return {"first": int(first), "last": int(last)}
