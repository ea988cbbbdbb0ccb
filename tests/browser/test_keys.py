"""
The view of the keys in a browser: finding, reading and changing keys.
"""

from typing import Any

from etcd_twisted.errors import ErrorCode, EtcdError
from etcd_twisted.keyspace.commands import Delete, Set
from etcd_twisted.testing.replica import OTHER
from tests.browser.served import PageTest

HOSTILE = ("<img src=x onerror='window.hacked = 1'>", "<script>window.hacked = 1</script>", '"><b>bold</b>')
"""A text that would run or draw something if it were treated as HTML."""

MANY = 10_000


class WalkTests(PageTest):
    """These tests find their way through the keys."""

    async def test_mouse_opens_keys(self) -> None:
        """A click on a name opens it. A click on the arrow only opens and closes the directory."""
        for key in ("/b/2", "/b/10", "/b/x", "/a", "/_hidden/k"):
            self.set(key, f"value of {key}")
        await self.open("/")
        await self.until_rows("/", "a", "b")
        await (await self.browser.find("[aria-expanded=false] .arrow")).click()
        await self.until_rows("/", "a", "b", "2", "10", "x")
        self.assertIn("directory", await self.browser.text(".facts"))
        await (await self.browser.find("[role=treeitem]:nth-child(5)")).click()
        await self.browser.shows("/\nb\n10", ".path")
        self.assertEqual(await (await self.browser.find("textarea")).property("value"), "value of /b/10")
        self.assertTrue((await self.browser.url()).endswith("#keys/b/10"))
        await (await self.browser.find("[role=treeitem]:nth-child(3) .arrow")).click()
        await self.until_rows("/", "a", "b")

    async def test_keyboard_opens_keys(self) -> None:
        """It leads from the address to the tree, through the tree, and into the panel beside it."""
        for key in ("/a", "/b/c", "/b/d"):
            self.set(key, f"value of {key}")
        await self.open("/")
        steps = (("#to-cluster", "link"), ("#to-keys", "link"), (".goto input", "textbox"), (".goto button", "button"))
        for element, role in (*steps, ("input[type=search]", "searchbox")):
            await self.browser.press("Tab")
            self.assertTrue(await self.browser.run("return document.activeElement.matches(arguments[0])", element))
            self.assertEqual(await (await self.browser.find(element)).role(), role)
        await self.browser.press("Tab")
        self.assertEqual(await self._active(), ("/", "true"))
        outline = "return getComputedStyle(document.activeElement).outlineStyle"
        self.assertEqual(await self.browser.run(outline), "solid")
        for keys, names in (("Down Down Down Up", "a b b a"), ("b Home End", "b / b")):
            for key, name in zip(keys.split(), names.split(), strict=True):
                await self.browser.press(key)
                await self._until_active(name)
        await self.browser.press("Right")
        await self.until_rows("/", "a", "b", "c", "d")
        await self.browser.press("Right")
        await self._until_active("c")
        await self.browser.press("Enter")
        await self.browser.shows("/\nb\nc", ".path")
        self.assertEqual(await self._active(), ("c", "true"))
        await self.browser.press("Left")
        await self._until_active("b")
        await self.browser.press("Left")
        await self.until_rows("/", "a", "b")
        await self.browser.press("Tab", "Tab", "Tab", "Tab")
        await self.browser.press("!")
        await (await self.browser.button("Save")).click()
        await self.browser.shows("Saved", ".said")
        self.assertEqual(sorted(self.value("/b/c")), sorted("value of /b/c!"))

    async def _active(self) -> tuple[str, str]:
        """Returns the row that the tree marks as active, and whether the tree has the focus."""
        name, focused = await self.browser.run(
            """
            const tree = document.querySelector("[role=tree]");
            const row = document.getElementById(tree.getAttribute("aria-activedescendant"));
            return [row?.querySelector(".name").textContent ?? "", String(document.activeElement === tree)];
            """
        )
        return name, focused

    async def _until_active(self, name: str) -> None:
        async def active() -> bool | None:
            return True if await self._active() == (name, "true") else None

        await self.browser.until(active, f"{name} is active")

    async def test_roles_describe_the_tree(self) -> None:
        """A screen reader presents the tree by its roles."""
        self.set("/d/k", "v")
        await self.open("/d/k")
        tree = await self.browser.find("[role=tree]")
        self.assertEqual((await tree.role(), await tree.label()), ("tree", "Key tree"))
        rows = await self.browser.run(
            """
            const names = ["role", "aria-level", "aria-setsize", "aria-posinset", "aria-expanded", "aria-selected"];
            const rows = [...document.querySelectorAll(".row")];
            return rows.map((row) => names.map((name) => row.getAttribute(name)));
            """
        )
        self.assertEqual(
            rows,
            [
                ["treeitem", "1", "1", "1", "true", "false"],
                ["treeitem", "2", "1", "1", "true", "false"],
                ["treeitem", "3", "1", "1", None, "true"],
            ],
        )
        unnamed = await self.browser.run(
            """
            const fields = [...document.querySelectorAll("input, select, textarea, button, a, [role=img]")];
            const named = (field) => field.labels?.length || field.getAttribute("aria-label") || field.textContent;
            return fields.filter((field) => !named(field)).map((field) => field.outerHTML);
            """
        )
        self.assertEqual(unnamed, [])
        self.assertEqual(await (await self.browser.find(".panel textarea")).label(), "Value")

    async def test_hidden_key_is_found_by_its_path(self) -> None:
        """The key stays in the tree. For a missing key the page says that it is missing."""
        self.set("/_hidden/k", "v")
        await self.open("/")
        await self.until_rows("/")
        path = await self.browser.find(".goto input")
        await path.clear()
        await path.type("/_hidden/../_hidden//k\ue007")
        await self.until_rows("/", "_hidden", "k")
        await self.browser.shows("/\n_hidden\nk", ".path")
        await path.clear()
        await path.type("/nothing\ue007")
        await self.browser.shows("There is no key /nothing.")
        await path.clear()
        await path.type("/_hidden/k/below\ue007")
        await self.browser.shows("/_hidden/k is a key, not a directory, so there is nothing in it.")

    async def test_missing_key_can_be_created(self) -> None:
        """The leader's page creates it where it was looked for, and other pages link to the leader's."""
        self.replica.register(OTHER)
        self.set("/d/k", "v")
        await self.browser.open(f"{self.page}#keys/d/new/deep%20er")
        await self.browser.shows("There is no key /d/new/deep er.", "#keys")
        self.assertEqual(await self.browser.text(".path"), "/\nd")
        self.replica.follow()
        link = await self.browser.find("#keys > .notice a")
        self.assertEqual(await link.property("href"), f"{OTHER.client_url}/mod/dashboard/#keys/d/new/deep%20er")
        self.replica.lead()
        await (await self.browser.button("Create it…")).click()
        await self.browser.shows("Create in /d", "dialog[open]")
        self.assertEqual(await (await self.browser.find("dialog[open] input")).property("value"), "new/deep er")
        await (await self.browser.find("dialog[open] textarea")).type("made")
        await (await self.browser.button("Create")).click()
        await self.browser.shows("/\nd\nnew\ndeep er", ".path")
        self.assertEqual(self.value("/d/new/deep er"), "made")
        self.assertNotIn("There is no key", await self.browser.text("#keys"))

    async def test_empty_key_space_has_a_hint(self) -> None:
        """The page says what to do first, for as long as nothing is stored."""
        await self.open("/")
        command = f"curl -L -X PUT http://127.0.0.1:{self.port}/v2/keys/greeting -d value=hello"
        await self.browser.shows(command, ".panel")
        await (await self.browser.button("Create a key here…")).click()
        await (await self.browser.find("dialog[open] input")).type("greeting\ue007")
        await self.browser.shows("/\ngreeting", ".path")
        await (await self.browser.find(".path a")).click()
        await self.browser.shows("1", ".facts")
        self.assertNotIn("Nothing is stored", await self.browser.text(".panel"))

    async def test_filter_shows_matching_names(self) -> None:
        """
        Of the open rows, those whose names contain the text are left with the rows above and below them, and the page
        says how many are hidden. A key that the user opens is shown all the same.
        """
        for key in ("/app/Web/host", "/app/db", "/other/web", "/website", "/zoo"):
            self.set(key, "v")
        for key in ("/other", "/app/Web", "/"):
            await self.open(key)
        every = ("/", "app", "Web", "host", "db", "other", "web", "website", "zoo")
        await self.until_rows(*every)
        field = await self.browser.find("input[type=search]")
        await field.type("WEB")
        await self.until_rows("/", "app", "Web", "host", "other", "web", "website")
        await self.browser.shows("6 of 8 names are shown. Closed directories are not searched.", ".counted")
        places = await self.browser.run(
            """
            const numbers = (row) => ["aria-posinset", "aria-setsize"].map((name) => Number(row.getAttribute(name)));
            return [...document.querySelectorAll("[role=treeitem]")].map(numbers);
            """
        )
        self.assertEqual(places, [[1, 1], [1, 3], [1, 1], [1, 1], [2, 3], [1, 1], [3, 3]])
        self.set("/unseen", "v")
        await field.type("site")
        await self.until_rows("/", "website")
        await self.browser.press("Tab", "Down", "Enter")
        await self.browser.shows("/\nwebsite", ".path")
        await field.type("!")
        await self.until_rows("/")
        path = await self.browser.find(".goto input")
        await path.clear()
        await path.type("/zoo\ue007")
        await self.until_rows(*every[:-1], "zoo")
        self.assertEqual(await field.property("value"), "")

    async def test_hostile_names_and_values_are_text(self) -> None:
        """The page shows them as they are, and runs nothing in them. It would not run inline code either."""
        for number, text in enumerate(HOSTILE):
            self.set(f"/d/{text.replace('/', '')}{number}", text)
        await self.open("/d")
        await self.until_rows("/", "d", *(f"{HOSTILE[number].replace('/', '')}{number}" for number in (2, 0, 1)))
        await (await self.browser.button("Watch")).click()
        await self.browser.shows("Watching", ".watched")
        self.set("/d/k", HOSTILE[0])
        await self.browser.shows(HOSTILE[0], ".changes")
        await (await self.browser.find("[role=treeitem]:nth-child(4)")).click()
        await self.browser.shows("<img", ".path")
        self.assertEqual(await (await self.browser.find("textarea")).property("value"), HOSTILE[0])
        self.assertNotIn("Content Security Policy", "\n".join(await self.browser.complaints()))
        self.assertEqual(await self.browser.run("return document.querySelector('main :is(img, script, b)')"), None)
        await self.browser.run(
            """
            const script = document.createElement("script");
            script.textContent = "window.hacked = 1";
            document.body.append(script);
            document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.hacked = 1'>");
            """
        )

        async def refused() -> bool | None:
            complaints = "\n".join(await self.browser.complaints())
            return True if "Content Security Policy" in complaints else None

        await self.browser.until(refused, "the policy is kept")
        self.assertIsNone(await self.browser.run("return window.hacked ?? null"))

    async def test_hostile_machine_has_no_link(self) -> None:
        """Anybody may write where machines are registered, but only web addresses become links."""
        self.set("/_etcd/machines/evil", "etcd=javascript://xetcd=javascript:window.hacked=1//&raft=%3Cb%3E")
        await self.browser.open(self.page)
        await self.browser.shows("javascript://x", ".machines")
        links = "return [...document.querySelectorAll('.machine a')].map((link) => link.getAttribute('href'))"
        self.assertEqual(await self.browser.run(links), [None, "http://127.0.0.1:4001/mod/dashboard/"])

    async def test_large_directory_is_drawn_in_part(self) -> None:
        """The page draws only the rows that can be seen, and all rows can be reached."""
        self.replica.apply(*(Set(f"/many/key{number:05}", 0, f"value {number}") for number in range(MANY)))
        await self.open("/many")
        await self.browser.shows(f"{MANY:,}", ".facts")
        self.assertLess(await self.browser.run("return document.querySelectorAll('*').length"), 1_000)
        row = await self.browser.find("[role=treeitem]:nth-child(3)")
        self.assertIn("key00000", await row.text())
        await self.browser.run("document.querySelector('[role=tree]').focus()")
        await self.browser.press("End")

        async def last() -> bool | None:
            return True if (await self.rows())[-1:] == [f"key{MANY - 1:05}"] else None

        await self.browser.until(last, "the last key is shown")
        await self.browser.press("Enter")
        await self.browser.shows(f"key{MANY - 1:05}", ".path")
        await self.browser.run("document.querySelector('[role=tree]').focus()")
        await self.browser.press(*"key04999")
        await self.browser.press("Enter")
        await self.browser.shows("key04999", ".path")
        self.assertLess(await self.browser.run("return document.querySelectorAll('*').length"), 1_000)


class ChangeTests(PageTest):
    """These tests change keys."""

    async def _write(self, text: str) -> None:
        field = await self.browser.find(".panel textarea")
        await field.clear()
        await field.type(text)

    async def _value(self) -> Any:
        return await (await self.browser.find(".panel textarea")).property("value")

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
