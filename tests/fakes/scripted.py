"""What every fake is: something that can be told to act up."""

from collections.abc import Callable

from jobs.errors import KeystoneError

Act = Callable[[str], object]


class Scripted:
    """Something that can be told to act up: before a call is carried out, its act is done.

    Attributes:
        journal: every call in order, as `name what`; fakes of one world share it.
    """

    def __init__(self, journal: list[str] | None = None) -> None:
        self.journal: list[str] = [] if journal is None else journal
        self._acts: dict[str, Act] = {}

    def on(self, call: str, act: Act) -> None:
        """Have something happen in the middle of every such call; it is told what about."""
        self._acts[call] = act

    def fail(self, call: str, error: KeystoneError) -> None:
        """Have every such call fail."""

        def act(_about: str) -> None:
            raise error

        self.on(call, act)

    def heal(self) -> None:
        """Forget every act."""
        self._acts.clear()

    def _called(self, call: str, about: object = "") -> None:
        self.journal.append(f"{call} {about}".rstrip())
        if (act := self._acts.get(call)) is not None:
            act(str(about))
