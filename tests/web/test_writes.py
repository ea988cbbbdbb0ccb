"""
From a form to a command: rules that hold for every form. L{tests.web.test_keys} shows which command each form means.
"""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import EtcdError
from etcd_twisted.keyspace.commands import (
    Change,
    CompareAndDelete,
    CompareAndSwap,
    Create,
    Refresh,
    SetOrSwap,
    SetTtl,
    Update,
)
from etcd_twisted.keyspace.events import LAST_MOMENT
from etcd_twisted.web import writes
from etcd_twisted.web.forms import Parameters, flag

NOW = 1_000_000_000
SECOND = 1_000_000

BOOLEAN = st.sampled_from(("true", "false", "True", "no", "1", "0"))
NUMBER = st.one_of(st.integers(0, 2**64 + 1).map(str), st.sampled_from(("", "x", "-1", "1.5")))
FORMS = st.fixed_dictionaries(
    {},
    optional={
        "value": st.text(max_size=3),
        "ttl": NUMBER,
        "dir": BOOLEAN,
        "prevExist": BOOLEAN,
        "prevValue": st.text(max_size=3),
        "prevIndex": NUMBER,
        "refresh": BOOLEAN,
        "recursive": BOOLEAN,
        "unknown": st.text(max_size=3),
    },
)


def meant(make: Callable[[Parameters, str, int], Change], form: Parameters) -> Change | None:
    """Returns the command, or C{None} if the parameters are refused."""
    try:
        return make(form, "/k", NOW)
    except EtcdError:
        return None


class AnyFormTests(SynchronousTestCase):
    """These rules hold for all forms."""

    @given(st.sampled_from((writes.put, writes.post, writes.delete)), FORMS)
    def test_form_means_a_command_or_an_error(
        self, make: Callable[[Parameters, str, int], Change], form: Parameters
    ) -> None:
        """No other error is raised, and the command has the key and the time of the request."""
        command = meant(make, form)
        if command is not None:
            self.assertEqual((command.key, command.time), ("/k", NOW))

    @given(FORMS)
    def test_conditions_are_never_forgotten(self, form: Parameters) -> None:
        """A command with a condition is carried out with it or not at all."""
        put, delete = meant(writes.put, form), meant(writes.delete, form)
        compares = "prevValue" in form or "prevIndex" in form
        exists = form.get("prevExist", "").lower()
        if exists in ("false", "0"):
            self.assertIsInstance(put, Create | None)
        elif compares:
            self.assertIsInstance(put, CompareAndSwap | SetOrSwap | None)
            if isinstance(put, SetOrSwap):
                self.assertEqual((form.get("prevValue"), int(form["prevIndex"]), exists), (None, 0, ""))
        elif exists in ("true", "1"):
            self.assertIsInstance(put, Update | Refresh | None)
        elif form.get("refresh", "").lower() in ("true", "1"):
            self.assertIsInstance(put, SetTtl | None)
        if compares:
            self.assertIsInstance(delete, CompareAndDelete | None)
        for command in (put, delete):
            if isinstance(command, CompareAndSwap | CompareAndDelete):
                conditions = (command.previous_value, command.previous_index)
                self.assertEqual(conditions, (form.get("prevValue"), int(form.get("prevIndex", "0"))))

    @given(FORMS)
    def test_expiry_is_the_time_plus_the_ttl(self, form: Parameters) -> None:
        """The sum is within the calendar, and an empty TTL means no expiry."""
        command = meant(writes.put, form)
        if command is None:
            return
        ttl = form.get("ttl", "")
        self.assertEqual(command.expires, NOW + int(ttl) * SECOND if ttl else None)
        self.assertLessEqual(command.expires or 0, LAST_MOMENT)

    @given(FORMS)
    def test_refresh_keeps_the_value(self, form: Parameters) -> None:
        """A refresh has no value of its own and always has a TTL. It may create the key."""
        command = meant(writes.put, {**form, "refresh": "true"})
        if isinstance(command, CompareAndSwap):
            self.assertIsNone(command.value)
        elif isinstance(command, Create):
            self.assertEqual((command.value, flag(form, "prevExist")), ("", False))
        elif command is not None:
            self.assertIsInstance(command, Refresh if form.get("prevExist") else SetTtl)
        if command is not None:
            self.assertEqual(command.expires, NOW + int(form["ttl"]) * SECOND)

    @given(FORMS)
    def test_new_directories_have_no_value(self, form: Parameters) -> None:
        """A value that was sent is ignored. If a file is there already, it may take the value."""
        for make in (writes.put, writes.post):
            command = meant(make, {**form, "dir": "true"})
            if isinstance(command, Update | SetOrSwap):
                self.assertEqual(command.value, form.get("value", ""))
            elif getattr(command, "directory", False):
                self.assertEqual(command.value, "")

    @given(FORMS)
    def test_only_known_parameters_count(self, form: Parameters) -> None:
        """Parameters that the method does not know change nothing."""
        without = {name: value for name, value in form.items() if name != "unknown"}
        for make in (writes.put, writes.post, writes.delete):
            self.assertEqual(meant(make, form), meant(make, without))
