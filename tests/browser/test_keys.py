"""
The view of the keys in a browser: finding, reading and changing keys.
"""

from etcd_twisted.keyspace.commands import Set
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
        """The page creates it where it was looked for."""
        self.set("/d/k", "v")
        await self.browser.open(f"{self.page}#keys/d/new/deep%20er")
        await self.browser.shows("There is no key /d/new/deep er.", "#keys")
        self.assertEqual(await self.browser.text(".path"), "/\nd")
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
