"""What derived forms are left over, over their cap, or not whole; found and removed by whoever tidies up.

None of it is ever a loss: a form that is gone is made again, or its artifact is loaded instead.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from interlock_registry.derived import Held, bytes_of, cpu_features, evictions, installed_runtime, why_useless
from interlock_registry.derived_store import DerivedStore
from interlock_registry.fsck import Finding, Repair, Severity

_MADE_AGAIN: Final = "`interlock fsck --repair` removes it; it is made again"


@dataclass(frozen=True, slots=True, kw_only=True)
class DueForm:
    """A form that may go."""

    key: str
    size_bytes: int
    """What its removal gives back, if it is the only one that goes."""
    why: str


class FormKeeper:
    """Looks after the derived forms of one data directory; a server may be running on it."""

    def __init__(
        self,
        store: DerivedStore,
        referenced: Callable[[Sequence[str]], Set[str]],
        *,
        runtime: str | None = None,
        cpu: str | None = None,
    ) -> None:
        """Take the store, and what tells which of some digests belong to versions that are not deleted.

        `runtime` and `cpu` are those of this machine where nothing else is said.
        """
        self._store = store
        self._referenced = referenced
        self._runtime = installed_runtime() if runtime is None else runtime
        self._cpu = cpu_features() if cpu is None else cpu

    def survey(self, *, kept_graphs: Set[str], cap_bytes: int) -> tuple[DueForm, ...]:
        """Return what may go: what nobody will load again, and then the longest unused until the rest fits the cap.

        A form of one of `kept_graphs` (sha256), which are to be loaded, never makes room. Raises RegistryUnavailable.
        """
        held = self._store.held()
        live = self._referenced([each.form.recipe.graph_sha256 for each in held])
        useless = {
            each.form.key: why
            for each in held
            if (why := why_useless(each.form, runtime=self._runtime, cpu=self._cpu, live_graphs=live))
        }
        rest = [each for each in held if each.form.key not in useless]
        kept = frozenset(each.form.key for each in rest if each.form.recipe.graph_sha256 in kept_graphs)
        evicted = dict.fromkeys(
            evictions(rest, kept, cap_bytes), "derived_cache_bytes is full, and it is longest unused"
        )
        reasons = {**evicted, **useless}
        return tuple(
            DueForm(key=each.form.key, size_bytes=_gain(each, held), why=reasons[each.form.key])
            for each in held
            if each.form.key in reasons
        )

    def collect(self, due: Sequence[DueForm]) -> None:
        """Remove forms. Idempotent."""
        self._store.drop(each.key for each in due)

    def check(self, *, alone: bool, read: bool) -> Iterator[Finding]:
        """Yield what is not whole, and what is left over if no server is there that might be making it."""
        held = self._store.held()
        for each in held:
            why = self._store.fault(each.form, read=read)
            if why and (alone or self._store.record_path(each.form.key).exists()):
                yield _note(self._subject(self._store.record_path(each.form.key)), f"{why}; the form is of no use")
        if not alone:
            return
        for path in self._store.strays():
            yield _note(self._subject(path), "it belongs to no derived form: a server that was killed left it behind")

    def remove(self, finding: Finding) -> bool:
        """Remove what `check` found; False where it is none of its findings."""
        for each in self._store.held():
            if self._subject(self._store.record_path(each.form.key)) == finding.subject:
                self._store.drop([each.form.key])
                return True
        for path in self._store.strays():
            if self._subject(path) == finding.subject:
                self._store.remove(path)
                return True
        return False

    def _subject(self, path: Path) -> str:
        return str(path.relative_to(self._store.root))


def _gain(one: Held, held: Sequence[Held]) -> int:
    return bytes_of(held) - bytes_of([each for each in held if each is not one])


def _note(subject: str, what: str) -> Finding:
    return Finding(severity=Severity.NOTE, subject=subject, what=what, remedy=_MADE_AGAIN, repair=Repair.REMOVE)
