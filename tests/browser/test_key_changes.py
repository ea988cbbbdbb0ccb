"""
The view of the keys in a browser: changing keys, and seeing what others change.
"""

from typing import Any

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.commands import Delete, Set
from etcd_twisted.testing.replica import OTHER
from tests.browser.served import PageTest


class PanelTest(PageTest):
    """A test that writes into the text of a key."""

    async def _write(self, text: str) -> None:
        field = await self.browser.find(".panel textarea")
        await field.clear()
        await field.type(text)

    async def _value(self) -> Any:
        return await (await self.browser.find(".panel textarea")).property("value")


class ChangeTests(PanelTest):
    """These tests change keys."""

    async def test_save_keeps_the_time_to_live(self) -> None:
        """A new value has the old one's TTL. There is nothing to save before a change."""
        self.set("/k", "old", seconds=500)
        await self.open("/k")
        save = await self.browser.button("Save")
        self.assertTrue(await save.property("disabled"))
        await self._write("new & improved\nß")
        await save.click()
        await self.browser.shows("Saved", ".said")
        self.assertEqual(self.value("/k"), "new & improved\nß")
        left = (self.replica.get("/k").expires - self.replica.now()) / 1e6
        self.assertGreater(left, 300)
        self.assertLess(left, 502)
        (saved,) = self.replica.proposed
        self.assertEqual(saved.previous_index, 2)

    async def test_conflict_is_shown_before_saving(self) -> None:
        """Another person's change is never overwritten unseen, whether the page knows of it yet or not."""
        self.set("/k", "old")
        await self.open("/k")
        await self._write("mine")
        self.set("/k", "theirs")
        await (await self.browser.button("Save")).click()
        await self.browser.shows("Somebody else has changed this key", ".panel")
        self.assertIn("theirs", await self.browser.text(".panel pre"))
        self.assertEqual((self.value("/k"), await self._value()), ("theirs", "mine"))
        await (await self.browser.button("Use the new value")).click()
        self.assertEqual(await self._value(), "theirs")
        await self._write("mine again")
        self.set("/k", "theirs again")
        await (await self.browser.button("Reload")).click()
        await self.browser.shows("theirs again", ".panel pre")
        await (await self.browser.button("Keep my text")).click()
        await (await self.browser.button("Save")).click()
        await self.browser.shows("Saved", ".said")
        self.assertEqual(self.value("/k"), "mine again")

    async def test_draft_is_kept(self) -> None:
        """A text that is not saved is still there after a look at another key, even if its key is gone."""
        self.set("/k", "old")
        self.set("/other", "x")
        await self.open("/k")
        await self._write("not saved")
        await (await self.browser.find("[role=treeitem]:nth-child(3)")).click()
        await self.browser.shows("/\nother", ".path")
        self.assertEqual(await self._value(), "x")
        await (await self.browser.find("[role=treeitem]:nth-child(2)")).click()
        await self.browser.shows("/\nk", ".path")
        self.assertEqual(await self._value(), "not saved")
        self.replica.apply(Delete("/k", 0))
        await (await self.browser.button("Save")).click()
        await self.browser.shows("Somebody else has deleted this key.", ".panel")
        self.assertEqual(await self._value(), "not saved")
        await (await self.browser.button("Save")).click()
        await self.browser.shows("Saved", ".said")
        self.assertEqual(self.value("/k"), "not saved")

    async def test_line_ends_are_kept(self) -> None:
        """A text field knows only one kind, but the value keeps its own."""
        self.set("/k", "a\r\nb\r\n")
        await self.open("/k")
        await (await self.browser.find(".panel textarea")).type("c")
        await (await self.browser.button("Save")).click()
        await self.browser.shows("Saved", ".said")
        self.assertEqual(self.value("/k"), "a\r\nb\r\nc")

    async def test_long_value_is_read_only(self) -> None:
        """
        The page shows a part of a value that would freeze a text field, and does not let the user save that part.
        """
        self.set("/k", "x" * 3_000_000)
        await self.open("/k")
        await self.browser.shows("The value has 3,000,000 characters, too many to edit here.", ".panel")
        self.assertEqual(len(await self._value()), 100_000)
        self.assertTrue(await (await self.browser.find(".panel textarea")).property("readOnly"))
        self.assertTrue(await self.browser.run("return document.querySelector('button.main').hidden"))

    async def test_create_each_kind_of_node(self) -> None:
        """No node replaces another one."""
        self.set("/d/k", "old")
        await self.open("/d")
        await self._create("k", "new")
        await self.browser.shows("/d/k exists already.", "dialog[open]")
        self.assertEqual(self.value("/d/k"), "old")
        await (await self.browser.find("dialog[open] input")).type("2/deeper")
        await self.browser.press("Enter")
        await self.browser.shows("/\nd\nk2\ndeeper", ".path")
        self.assertEqual(self.value("/d/k2/deeper"), "new")
        await self.open("/d")
        index = self.replica.index + 1
        await self._create("", "job", "key with a generated name, in order")
        await self.browser.shows(str(index), ".path")
        self.assertEqual(self.value(f"/d/{index}"), "job")
        await self.open("/d")
        await self._create("sub", None, "directory")
        await self.browser.shows("directory", ".facts")
        await self.until_rows("/", "d", str(index), "k", "k2", "deeper", "sub")
        await self._create("", "x", "key")
        await self.browser.shows("Enter a name.", "dialog[open]")

    async def _create(self, name: str, value: str | None, kind: str = "key") -> None:
        await (await self.browser.button("Create a key here…")).click()
        await self.browser.choose("dialog[open] select", kind)
        if kind != "key with a generated name, in order":
            await (await self.browser.find("dialog[open] input")).type(name)
        if value is not None:
            await (await self.browser.find("dialog[open] textarea")).type(value)
        await (await self.browser.button("Create")).click()

    async def test_delete_needs_two_confirmations(self) -> None:
        """
        A key is deleted only if it is the one that was shown. A directory is deleted with all that is in it, which the
        page counts first, hidden keys too.
        """
        self.set("/d/k", "old")
        for key in ("/d/e/f", "/d/e/_g/h", "/d/e/_g/i"):
            self.set(key, "x")
        await self.open("/d/k")
        await self._delete("Cancel")
        self.assertEqual(self.value("/d/k"), "old")
        self.set("/d/k", "new")
        await self._delete("Delete")
        await self.browser.shows("Somebody else has changed it since this page read it.", ".panel")
        self.assertEqual((self.value("/d/k"), await self._value()), ("new", "new"))
        await self._delete("Delete")
        await self.browser.shows("/d/k was deleted or has expired.", ".panel")
        self.assertRaises(EtcdError, self.replica.get, "/d/k")
        await self.until_rows("/", "d", "e")
        await (await self.browser.button("Delete…")).click()
        await self.browser.shows("3 keys and 2 directories in it (3 of them hidden)", "dialog[open]")
        await (await self.browser.button("Delete")).click()
        await self.until_rows("/")
        self.assertRaises(EtcdError, self.replica.get, "/d")

    async def _delete(self, answer: str) -> None:
        await (await self.browser.button("Delete…")).click()
        await (await self.browser.button(answer)).click()

    async def test_time_to_live_can_be_set(self) -> None:
        """It runs down on the page, and takes key and directory with it; "never" ends that."""
        self.set("/k", "v")
        self.set("/d/e", "v")
        await self.open("/k")
        await self._live("after a number of seconds", "x")
        await self.browser.shows("The number of seconds has to be a whole number", ".panel")
        await self._live("after a number of seconds", "1000")
        await self.browser.shows("in 16 min", ".facts")
        before = await self.browser.shows("16 min", ".row:nth-child(3) .left")

        async def less() -> bool | None:
            return True if await self.browser.text(".row:nth-child(3) .left") != before else None

        await self.browser.until(less, "there is less time left")
        await self._live("never")
        await self.browser.shows("never", ".facts")
        self.assertIsNone(self.replica.get("/k").expires)
        await self._live("after a number of seconds", "2")
        await self.browser.shows("/k was deleted or has expired.", ".panel")
        await self.until_rows("/", "d")
        await self.open("/d")
        await self._live("after a number of seconds", "2")
        await self.browser.shows("/d was deleted or has expired.", ".panel")
        await self.until_rows("/")

    async def _live(self, how: str, seconds: str | None = None) -> None:
        await self.browser.choose(".panel select", how)
        if seconds is not None:
            field = await self.browser.find(".panel .lifetime input")
            await field.clear()
            await field.type(seconds)
        await (await self.browser.button("Save")).click()

    async def test_follower_has_the_leader_change_keys(self) -> None:
        """Its page changes keys like the leader's; without a leader it changes nothing."""
        self.set("/k", "v")
        self.replica.register(OTHER)
        self.replica.follow()
        await self.open("/k")
        field = await self.browser.find(".panel textarea:read-write")
        await field.clear()
        await field.type("new")
        await (await self.browser.button("Save")).click()
        await self.browser.shows("Saved", ".said")
        self.assertEqual(len(self.replica.forwarded), 1)
        self.replica.lose_leader()
        await self.browser.shows("The cluster has no leader at the moment", ".panel")

    async def test_page_waits_for_a_readable_copy(self) -> None:
        """A machine that cannot read its keys offers no changes, and shows the key as soon as it can."""
        self.set("/k", "v")
        self.replica.serving = False
        await self.browser.open(f"{self.page}#keys/k")
        await self.browser.shows("This machine is catching up", "#health")
        self.replica.stop_serving(EtcdError(ErrorCode.RAFT_INTERNAL, "no leader is known", 1))
        await self.browser.shows("The cluster has no leader at the moment.", "#keys")
        self.assertFalse(await self.browser.run("return document.querySelector('.panel').offsetParent"))
        self.replica.serve()
        await self.browser.shows("Type", ".facts")
        self.assertEqual(await self._value(), "v")
        self.assertTrue(await (await self.browser.find("#keys > .notice.bad")).property("hidden"))


class WatchTests(PageTest):
    """These tests watch changes as they happen."""

    async def _watch(self, key: str) -> None:
        await self.open(key)
        await (await self.browser.button("Watch")).click()
        await self._until_watchers(1)

    async def _until_watchers(self, count: int) -> None:
        async def counted() -> bool | None:
            return True if self.replica.keyspace.hub.count == count else None

        await self.browser.until(counted, f"{count} watchers")

    async def test_watched_directory_shows_every_change(self) -> None:
        """Each change below it appears in order in the list, the tree and the panel, until the watch is stopped."""
        self.set("/d/k", "v")
        await self._watch("/d")
        self.set("/d/k", "w")
        for number in range(50):
            self.set(f"/d/{number}", "x")
        self.set("/d/sub/deep", "y")
        self.replica.apply(Delete("/d/k", 0))
        await self.browser.shows("53 changes so far.", ".watched")
        listed = await self.browser.run(
            "return [...document.querySelectorAll('.changes li a')].map((link) => link.textContent)"
        )
        expected = ["/d/k", *(f"/d/{number}" for number in range(50)), "/d/sub/deep", "/d/k"]
        self.assertEqual(listed, expected[::-1])
        await self.browser.shows("51", ".facts")

        async def gone() -> bool | None:
            return True if "k" not in await self.rows() else None

        await self.browser.until(gone, "the tree has no deleted key")
        await self._until_watchers(1)
        await (await self.browser.button("Stop watching")).click()
        await self._until_watchers(0)
        self.set("/d/late", "x")
        await self.browser.shows("Stopped. 53 changes so far.", ".watched")

    async def test_selected_key_changes_on_the_page(self) -> None:
        """A text that the user is writing stays."""
        self.set("/k", "v")
        await self._watch("/k")
        self.set("/k", "w")

        async def changed() -> bool | None:
            value = await (await self.browser.find(".panel textarea")).property("value")
            return True if value == "w" else None

        await self.browser.until(changed, "the new value is shown")
        await (await self.browser.find(".panel textarea")).type("ait")
        self.set("/k", "theirs")
        await self.browser.shows("theirs", ".panel pre")
        self.assertEqual(await (await self.browser.find(".panel textarea")).property("value"), "wait")

    async def test_missed_events_are_reported(self) -> None:
        """
        If the machine no longer has them all, the page says that some are missing, and the tree is right all the same.
        """
        await self._watch("/")
        self.replica.apply(*(Set(f"/d{number // 1_000}/{number}", 0, "x") for number in range(1_500)))
        await self.browser.shows("some changes are not listed", ".changes")
        await self.until_rows("/", "d0", "d1")
        self.set("/e", "x")
        await self.browser.shows("/e", ".changes")

    async def test_machine_that_goes_is_reported(self) -> None:
        """The page says so, and goes on when the machine is back."""
        self.set("/k", "v")
        await self._watch("/")
        await self.service.stopService()
        await self.browser.shows("The machine did not answer.", "#trouble")
        await self.browser.shows("Trying again", ".watched")


class RedirectingTests(PanelTest):
    """Tests of a machine that redirects changes to the leader."""

    settings = {"follower_requests": "redirect"}  # noqa: RUF012  # as in the base

    async def test_follower_changes_nothing(self) -> None:
        """Its page shows and watches, and links to the leader's page for changes."""
        self.replica.register(OTHER)
        self.set("/a key", "v")
        self.replica.follow()
        await self.open("/a key")
        await self.browser.shows("This is the copy of machine0.", ".panel")
        link = await self.browser.find(".panel .notice a")
        self.assertEqual(await link.property("href"), f"{OTHER.client_url}/mod/dashboard/#keys/a%20key")
        self.assertTrue(await (await self.browser.find(".panel textarea")).property("readOnly"))
        self.assertTrue(await self.browser.run("return document.querySelector('button.main').hidden"))
        self.replica.lose_leader()
        await self.browser.shows("The cluster has no leader at the moment", ".panel")
        self.replica.lead()
        await self.browser.button("Save")

    async def test_deposed_leader_keeps_the_text(self) -> None:
        """The page says that the machine no longer leads, and the text stays."""
        self.replica.register(OTHER)
        self.set("/k", "v")
        await self.open("/k")
        await self._write("mine")
        await self.browser.run(
            """
            const ask = window.fetch; // the page does not get to know before it tries
            window.fetch = (path, how) => (how.method === "GET" ? new Promise(() => {}) : ask(path, how));
            """
        )
        self.replica.follow()
        await (await self.browser.button("Save")).click()
        await self.browser.shows("This machine is not the leader", ".panel")
        self.assertEqual(await self._value(), "mine")

    async def test_missing_key_is_created_at_the_leader(self) -> None:
        """The page of a follower links to the leader's."""
        self.replica.register(OTHER)
        self.set("/d/k", "v")
        self.replica.follow()
        await self.browser.open(f"{self.page}#keys/d/new/deep%20er")
        await self.browser.shows("There is no key /d/new/deep er.", "#keys")
        link = await self.browser.find("#keys > .notice a")
        self.assertEqual(await link.property("href"), f"{OTHER.client_url}/mod/dashboard/#keys/d/new/deep%20er")
