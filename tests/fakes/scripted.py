"""The base class of the fakes: a test can attach an act to each call."""

from collections.abc import Callable

from jobs.errors import KeystoneError

Act = Callable[[str], object]


class Scripted:
    """Records every call, and first carries out the act that a test attached to it.

    Attributes:
        journal: every call in order, as `name argument`; the fakes of one world share it.
    """

    def __init__(self, journal: list[str] | None = None) -> None:
        self.journal: list[str] = [] if journal is None else journal
        self._acts: dict[str, Act] = {}

    def on(self, call: str, act: Act) -> None:
        """Carry out an act during every call of that name; it receives the call's argument."""
        self._acts[call] = act

    def fail(self, call: str, error: KeystoneError) -> None:
        """Make every call of that name raise an error."""

        def act(_about: str) -> None:
            raise error

        self.on(call, act)

    def heal(self) -> None:
        """Remove all acts."""
        self._acts.clear()

    def _called(self, call: str, about: object = "") -> None:
        self.journal.append(f"{call} {about}".rstrip())
        if (act := self._acts.get(call)) is not None:
            act(str(about))
