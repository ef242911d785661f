"""Tables for the search for missed pushes: its state for each repository, and branch heads."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from jobs.states import CatchUpWay
from jobs.storage.columns import OneLine, WordColumn


class CatchUp(SQLModel, table=True):
    """The state of the search for a repository's missed pushes."""

    __tablename__ = "catch_ups"

    repository_id: int = Field(primary_key=True, foreign_key="repositories.id", ondelete="CASCADE")
    looked_at: datetime | None = None
    way: CatchUpWay | None = Field(default=None, sa_type=WordColumn(CatchUpWay))
    missed: int | None = None  # missed pushes that the last search found; None: unknown
    found: str = Field(default="", sa_type=OneLine(500))  # what happened to them, in words
    problem: str = Field(default="", sa_type=OneLine(500))
    settled_until: datetime | None = None  # all pushes up to this time are accounted for
    next_look_at: datetime | None = None  # None: as soon as possible
    paused_until: datetime | None = None  # GitHub asked for this pause; a restart keeps it


class BranchHead(SQLModel, table=True):
    """The head of an app's branch at the last comparison, deployed or not."""

    __tablename__ = "branch_heads"

    app_id: int = Field(primary_key=True, foreign_key="apps.id", ondelete="CASCADE")
    ref: str = Field(max_length=500)
    commit_sha: str = Field(max_length=64)
    seen_at: datetime
