"""
Tests of L{etcd_twisted.interfaces.cluster}: the configuration of a whole cluster, and what machines say about its
members.
"""

import json
import tracemalloc
from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.consensus.cluster_keys import CONFIG_KEY, stored_config
from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.interfaces.cluster import ClusterView, fingerprint
from etcd_twisted.interfaces.cluster_config import MAX_CONFIG_BYTES, ClusterConfig, config_json, read_config
from etcd_twisted.keyspace.commands import Set
from etcd_twisted.keyspace.space import KeySpace
from tests.keyspace.running import key_space

BASE = ClusterConfig(5, 60.0, 2.5)

CONFIGS = st.builds(
    ClusterConfig,
    st.integers(3, 2**31 - 1),
    st.floats(2.0, 2**31 - 1),
    st.floats(1.0, 86_400.0),
)

SIZE = "activeSize should be a whole number from 3 to 2147483647"
DELAY = "removeDelay should be a number of seconds from 2 to 2147483647"
INTERVAL = "syncInterval should be a number of seconds from 1 to 86400"


class WrittenTests(SynchronousTestCase):
    """Tests of the configuration as it is stored and shown."""

    def test_whole_numbers_have_no_fraction(self) -> None:
        """Whole numbers have no fraction, and the fields are in the specification's order."""
        self.assertEqual(config_json(ClusterConfig(3)), '{"activeSize":3,"removeDelay":1800,"syncInterval":5}')
        self.assertEqual(config_json(BASE), '{"activeSize":5,"removeDelay":60,"syncInterval":2.5}')

    @given(CONFIGS)
    def test_written_configuration_is_read_again(self, config: ClusterConfig) -> None:
        """A configuration that was written can be read again."""
        self.assertEqual(read_config(config_json(config), BASE), config)


class ReadTests(SynchronousTestCase):
    """Tests of a configuration that somebody wants to set."""

    def read(self, **fields: Any) -> ClusterConfig:
        return read_config(json.dumps(fields), BASE)

    def assert_refused(self, code: ErrorCode, cause: str, text: str | bytes) -> None:
        error = self.assertRaises(EtcdError, read_config, text, BASE)
        self.assertEqual((error.code, error.cause), (code, cause), text)

    def test_every_field_can_be_set(self) -> None:
        """Each field gets the value that it was set to."""
        read = self.read(activeSize=3, removeDelay=1800, syncInterval=5)
        self.assertEqual(read, ClusterConfig(3, 1800.0, 5.0))
        self.assertEqual([type(each) for each in (read.active_size, read.remove_delay_seconds)], [int, float])

    def test_fields_that_are_not_set_stay(self) -> None:
        """The fields that were not set keep their values."""
        self.assertEqual(self.read(), BASE)
        self.assertEqual(self.read(activeSize=9), ClusterConfig(9, 60.0, 2.5))
        self.assertEqual(self.read(removeDelay=2.5), ClusterConfig(5, 2.5, 2.5))
        self.assertEqual(self.read(syncInterval=1), ClusterConfig(5, 60.0, 1.0))

    def test_whole_number_may_be_a_fraction(self) -> None:
        """A whole number may be written as a fraction, because JSON has one kind of number."""
        self.assertEqual(self.read(activeSize=7.0), ClusterConfig(7, 60.0, 2.5))
        self.assertEqual(type(self.read(activeSize=7.0).active_size), int)

    def test_values_below_the_minimum_are_raised(self) -> None:
        """A value below the minimum is raised to the minimum, whatever it is (spec, "Admin")."""
        for value in ("2", "0", "-3", "2.0", "-1e300", "-1" + 400 * "0"):
            self.assertEqual(read_config(f'{{"activeSize":{value}}}', BASE), ClusterConfig(3, 60.0, 2.5), value)
        for value in ("1", "1.9", "0", "-2", "-1e300", "-1" + 400 * "0"):
            self.assertEqual(read_config(f'{{"removeDelay":{value}}}', BASE), ClusterConfig(5, 2.0, 2.5), value)
        for value in ("0.9", "0", "-1", "-1" + 400 * "0"):
            self.assertEqual(read_config(f'{{"syncInterval":{value}}}', BASE), ClusterConfig(5, 60.0, 1.0), value)
        raised = self.read(activeSize=1, removeDelay=1, syncInterval=0)
        self.assertEqual([type(each) for each in msgspec.structs.astuple(raised)], [int, float, float])

    def test_values_above_the_maximum_are_refused(self) -> None:
        """A value above the maximum is refused, with the field and its bounds."""
        for value in ("2147483648", "1e300", "1" + 400 * "0"):
            self.assert_refused(ErrorCode.INVALID_ACTIVE_SIZE, SIZE, f'{{"activeSize":{value}}}')
            self.assert_refused(ErrorCode.STANDBY_REMOVE_DELAY, DELAY, f'{{"removeDelay":{value}}}')
        for value in ("86400.5", "1e300"):
            self.assert_refused(ErrorCode.INVALID_FIELD, INTERVAL, f'{{"syncInterval":{value}}}')

    def test_values_of_other_types_are_refused(self) -> None:
        """A value that is no number, or no whole number where one is needed, is refused."""
        for value in ('"3"', "true", "null", "[3]", '{"a":3}', "3.5"):
            self.assert_refused(ErrorCode.INVALID_FIELD, SIZE, f'{{"activeSize":{value}}}')
        for value in ('"60"', "false", "null", "[]"):
            self.assert_refused(ErrorCode.INVALID_FIELD, DELAY, f'{{"removeDelay":{value}}}')
            self.assert_refused(ErrorCode.INVALID_FIELD, INTERVAL, f'{{"syncInterval":{value}}}')

    def test_unknown_fields_are_refused(self) -> None:
        """Field names are matched exactly, and the error truncates a long one."""
        fields = "is none of activeSize, removeDelay, syncInterval"
        for name in ("activesize", "active_size", "promoteDelay", ""):
            self.assert_refused(ErrorCode.INVALID_FIELD, f"{name} {fields}", f'{{"{name}":3}}')
        self.assert_refused(ErrorCode.INVALID_FIELD, f"{40 * 'x'} {fields}", f'{{"{50_000 * "x"}":3}}')

    def test_all_bad_fields_are_named(self) -> None:
        """The error names all bad fields, so that one answer is enough to correct them."""
        self.assert_refused(
            ErrorCode.INVALID_ACTIVE_SIZE,
            f"{SIZE}; x is none of activeSize, removeDelay, syncInterval; {DELAY}",
            '{"activeSize":2147483648,"x":1,"syncInterval":1,"removeDelay":null}',
        )
        many = json.dumps({str(number): number for number in range(4_000)})
        self.assertLess(len(self.assertRaises(EtcdError, read_config, many, BASE).cause), 500)

    def test_what_is_no_json_object_is_refused(self) -> None:
        """The cause says what is wrong with the text."""
        for text in (b"", b"activeSize=3", b"[3]", b"3", b'{"activeSize":3', b'{"a":"\xff"}', b'{"activeSize":1e400}'):
            error = self.assertRaises(EtcdError, read_config, text, BASE)
            self.assertEqual(error.code, ErrorCode.INVALID_FORM)
            self.assertTrue(error.cause.startswith("the configuration should be a JSON object: "), error.cause)
        for text in (10_000 * b'{"a":', 60_000 * b"["):
            self.assertEqual(self.assertRaises(EtcdError, read_config, text, BASE).code, ErrorCode.INVALID_FORM)

    def test_too_long_text_is_not_decoded(self) -> None:
        """
        A text that is too long is not decoded, wherever it comes from: a client can write 10 MiB to the key that holds
        it.
        """
        longest = b'{"activeSize":7' + b" " * (MAX_CONFIG_BYTES - 16) + b"}"
        self.assertEqual(read_config(longest, BASE).active_size, 7)
        long = b'{"x":[' + b"[]," * 1_000_000 + b"1]}"
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for text in (longest + b" ", long):
            cause = f"the configuration should be a JSON object of at most 65536 bytes, not {len(text)}"
            error = self.assertRaises(EtcdError, read_config, text, BASE)
            self.assertEqual((error.code, error.cause), (ErrorCode.INVALID_FORM, cause))
        _, most = tracemalloc.get_traced_memory()
        self.assertLess(most, len(long))
        self.assertIsNone(stored_config(key_space(Set(CONFIG_KEY, 0, long.decode())).root))

    @given(st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
        lambda inner: st.dictionaries(
            st.sampled_from(("activeSize", "removeDelay", "syncInterval", "x")), inner
        ) | st.lists(inner),
        max_leaves=5,
    ))  # fmt: skip
    def test_any_value_is_within_the_bounds_or_refused(self, value: Any) -> None:
        """Any value results in a configuration within the bounds, or in an error."""
        try:
            read = read_config(json.dumps(value), BASE)
        except EtcdError:
            return
        self.assertGreaterEqual(read.active_size, 3)
        self.assertGreaterEqual(read.remove_delay_seconds, 2.0)
        self.assertGreaterEqual(read.sync_interval_seconds, 1.0)
        self.assertEqual(read_config(config_json(read), ClusterConfig()), read)


class StoredTests(SynchronousTestCase):
    """Tests of the key that holds the configuration."""

    def setUp(self) -> None:
        self.keyspace = KeySpace(10, lambda: None)

    def test_no_stored_configuration(self) -> None:
        """There is no configuration, whether or not there are other keys."""
        self.assertIsNone(stored_config(self.keyspace.root))
        self.keyspace.apply(Set("/_etcd/machines/a", 0, "x"))
        self.assertIsNone(stored_config(self.keyspace.root))

    def test_stored_configuration_is_found(self) -> None:
        """A configuration that was set is found."""
        self.keyspace.apply(Set(CONFIG_KEY, 0, config_json(BASE)))
        self.assertEqual(stored_config(self.keyspace.root), BASE)

    def test_unusable_configuration_is_ignored(self) -> None:
        """A value that a client has put there and that can't be used changes nothing."""
        for value in ("", "x", '{"activeSize":"3"}', '{"x":3}'):
            self.keyspace.apply(Set(CONFIG_KEY, 0, value))
            self.assertIsNone(stored_config(self.keyspace.root), value)
        self.keyspace.apply(Set(CONFIG_KEY, 0, '{"activeSize":1}'))
        self.assertEqual(stored_config(self.keyspace.root), ClusterConfig(3))

    def test_directory_or_file_in_its_place_is_ignored(self) -> None:
        """
        A directory in the place of the key, or a file in the place of its parent, means that there is no
        configuration.
        """
        self.keyspace.apply(Set(CONFIG_KEY, 0, "", True))
        self.assertIsNone(stored_config(self.keyspace.root))
        other = KeySpace(10, lambda: None)
        other.apply(Set("/_etcd", 0, "x"))
        self.assertIsNone(stored_config(other.root))


class ViewTests(SynchronousTestCase):
    """Tests of a cluster as one of its machines sees it."""

    def test_fingerprints_reveal_no_ids(self) -> None:
        """A fingerprint reveals nothing of the id, and is different in each cluster."""
        told = {fingerprint(cluster * 16, machine * 16) for cluster in "ab" for machine in "ab"}
        self.assertEqual(len(told), 4)
        for each in told:
            self.assertRegex(each, "^[0-9a-f]{16}$")
        self.assertEqual(fingerprint("a" * 16, "b" * 16), fingerprint("a" * 16, "b" * 16))

    def test_view_of_an_older_machine_is_read(self) -> None:
        """Fields that an older machine leaves out are empty, and it ignores additional fields."""
        older = {"cluster_id": "c" * 16, "machines": [], "leader": "", "config": {}}
        view = msgspec.msgpack.decode(msgspec.msgpack.encode(older), type=ClusterView)
        self.assertEqual((view.configuration_index, view.fingerprints), (0, ()))
        later = msgspec.msgpack.encode({**older, "configuration_index": 7, "fingerprints": ["f"], "more": 1})
        view = msgspec.msgpack.decode(later, type=ClusterView)
        self.assertEqual((view.configuration_index, view.fingerprints), (7, ("f",)))
