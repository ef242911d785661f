"""What is known of pushes that never reached us: when each repository was asked, and how."""

from datetime import datetime

from sqlmodel import Field, SQLModel

from jobs.states import CatchUpWay
from jobs.storage.columns import OneLine, WordColumn


class CatchUp(SQLModel, table=True):
    """How the search for a repository's missed pushes stands."""

    __tablename__ = "catch_ups"

    repository_id: int = Field(primary_key=True, foreign_key="repositories.id", ondelete="CASCADE")
    looked_at: datetime | None = None
    way: CatchUpWay | None = Field(default=None, sa_type=WordColumn(CatchUpWay))
    missed: int | None = None  # how many pushes the last look found missing; None: not known
    found: str = Field(default="", sa_type=OneLine(500))  # what became of them, in words
    problem: str = Field(default="", sa_type=OneLine(500))
    settled_until: datetime | None = None  # what was pushed up to then is accounted for
    next_look_at: datetime | None = None  # None: as soon as may be
    paused_until: datetime | None = None  # GitHub's own wish, which a restart does not shorten


class BranchHead(SQLModel, table=True):
    """Where an app's branch was when it was compared last, deployed or not."""

    __tablename__ = "branch_heads"

    app_id: int = Field(primary_key=True, foreign_key="apps.id", ondelete="CASCADE")
    ref: str = Field(max_length=500)
    commit_sha: str = Field(max_length=64)
    seen_at: datetime
