"""
The page of a machine with users: who logs in, what each sees and may do, and what a guest is told.
"""

from unittest import skipUnless

import attrs
import bcrypt

from etcd_twisted.auth.state import AuthState, Role, User
from tests.browser.served import AXE, NO_AXE, PageTest

PASSWORD = "sécret: 世界"


def user(name: str, *roles: str, password: str = PASSWORD) -> User:
    """Returns a user. The password is hashed at the lowest cost."""
    return User(name, bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode(), roles)


class UserTests(PageTest):
    """Ben may read and write below /web; guests may read what the test says."""

    async def setUp(self) -> None:
        await super().setUp()
        self.enable()
        for key in ("/web/a", "/other/b"):
            self.set(key, f"value of {key}")

    def enable(self, guest: Role = Role("guest"), ben: User = user("ben", "web")) -> None:  # noqa: B008  # frozen
        """Enables users."""
        roles = {"guest": guest, "web": Role("web", ("/all", "/web*"), ("/web*",))}
        self.replica.set_auth(AuthState(True, {"root": user("root", "root"), "ben": ben}, roles))

    async def visit(self, view: str) -> None:
        """Opens the page at a view."""
        await self.browser.open(self.page + view)

    async def log_in(self, name: str, password: str = PASSWORD) -> None:
        """Fills in the dialog, which is open."""
        for kind, text in (("[autocomplete=username]", name), ("[type=password]", password)):
            field = await self.browser.find(f"dialog[open] input{kind}")
            await field.clear()
            await field.type(text)
        await (await self.browser.find("dialog[open] button.main")).click()

    async def until_closed(self) -> None:
        """Returns when no dialog is open."""

        async def closed() -> bool | None:
            return True if await self.browser.run("return !document.querySelector('dialog[open]')") else None

        await self.browser.until(closed, "no dialog is open")

    async def test_guest_logs_in_and_out(self) -> None:
        """A refused guest is asked for a name and a password, is told when they are wrong, and then sees the key."""
        await self.visit("#keys/web/a")
        await self.browser.shows("Guests may not do that.", "dialog[open]")
        self.assertNotIn("value of", await self.browser.text("body"))
        for name, password in (("ben", "wrong"), ("nobody", PASSWORD)):
            await self.log_in(name, password)
            await self.browser.shows("The name or the password is wrong.", "dialog[open]")
        await self.log_in("ben")
        await self.until_closed()
        await self.browser.shows("/\nweb\na", ".path")
        self.assertEqual(await (await self.browser.find("textarea")).property("value"), "value of /web/a")
        await self.browser.shows("ben", ".user")
        kept = "return [location.href, document.cookie, JSON.stringify({ ...localStorage })].join()"
        self.assertNotIn("ben", await self.browser.run(kept))
        await self.browser.command("POST", "/refresh", {})
        await self.browser.shows("Modified at index", ".facts")  # the tab still knows the user
        await (await self.browser.button("Log out")).click()
        await self.browser.shows("Guests may not do that.", "dialog[open]")
        self.assertEqual(await self.browser.run("return JSON.stringify({ ...sessionStorage })"), "{}")
        self.assertNotIn("value of", await self.browser.text("body"))

    async def test_guest_that_does_not_log_in(self) -> None:
        """The dialog is closed with a key, and comes back only when something else is asked for."""
        await self.visit("#keys/web/a")
        await self.browser.shows("Guests may not do that.", "dialog[open]")
        await self.browser.press("Escape")
        await self.until_closed()
        await self.browser.shows("Guests may not do that: log in first.", "#keys")
        self.assertNotIn("Nothing is stored here yet", await self.browser.text("#keys"))
        index = self.replica.index
        self.set("/web/a", "2")
        await self.browser.run("location.hash = '#cluster'")
        await self.browser.shows(f"{index + 1}", ".figures:not(.first)")  # the page has looked at the machine since
        await self.browser.shows("Version", ".figures.first")
        await self.browser.shows("guest", ".user")
        self.assertTrue(await self.browser.run("return !document.querySelector('dialog[open]')"))

    async def test_keyboard_logs_in(self) -> None:
        """It is enough for the way to the dialog, through it, and back."""
        self.enable(Role("guest", ("/*",)))
        await self.open("/web/a")
        await self.browser.shows("Log in", ".user")
        focused = "return document.activeElement.matches(arguments[0])"
        for element in ("#to-cluster", "#to-keys", "#to-users", ".user button"):
            await self.browser.press("Tab")
            self.assertTrue(await self.browser.run(focused, element), element)
        await self.browser.press("Enter")
        await self.browser.shows("Password", "dialog[open]")
        dialog = await self.browser.find("dialog[open]")
        self.assertEqual((await dialog.role(), await dialog.label()), ("dialog", "Log in"))
        self.assertTrue(await self.browser.run(focused, "dialog[open] input[autocomplete=username]"))
        await self.browser.press("Escape")
        await self.until_closed()
        self.assertTrue(await self.browser.run(focused, ".user button"))
        await self.browser.press("Enter", *"root", "Tab", *PASSWORD, "Enter")
        await self.until_closed()
        await self.browser.shows("root", ".user")

    async def test_user_sees_and_changes_what_the_roles_allow(self) -> None:
        """Ben can't list the root, finds /web by its path, and is told what he may not do."""
        await self.visit("#cluster")
        await (await self.browser.button("Log in…")).click()
        await self.log_in("ben")
        await self.until_closed()
        await self.open("/web/a")
        await self.until_rows("/", "web", "a")
        await (await self.browser.find("textarea")).type("!")
        await (await self.browser.button("Save")).click()
        await self.browser.shows("Saved", ".said")
        self.assertEqual(self.value("/web/a"), "value of /web/a!")
        await self.visit("#keys/other/b")
        await self.browser.shows("The user ben may not do that.", "#keys")
        await self.until_closed()

    async def test_text_of_a_guest_is_saved_after_the_log_in(self) -> None:
        self.enable(Role("guest", ("/*",)))
        await self.open("/web/a")
        await (await self.browser.find("textarea")).type("!")
        await (await self.browser.button("Save")).click()
        await self.browser.shows("Guests may not do that.", "dialog[open]")
        await self.log_in("ben")
        await self.until_closed()
        await (await self.browser.button("Save")).click()
        await self.browser.shows("Saved", ".said")
        self.assertEqual(self.value("/web/a"), "value of /web/a!")

    async def test_password_that_was_changed(self) -> None:
        """The page says so, and asks for the new one."""
        await self.visit("#keys/web/a")
        await self.browser.shows("Guests may not do that.", "dialog[open]")
        await self.log_in("ben")
        await self.browser.shows("Modified at index", ".facts")
        self.enable(ben=user("ben", "web", password="another"))
        await (await self.browser.button("Reload")).click()
        await self.browser.shows("The password of ben is not right any more.", "dialog[open]")
        await self.log_in("ben", "another")
        await self.until_closed()
        await (await self.browser.button("Reload")).click()
        await self.browser.shows("Modified at index", ".facts")

    async def test_watch_ends_with_the_right_and_goes_on_after_a_log_in(self) -> None:
        self.enable(Role("guest", ("/*",)))
        await self.open("/web")
        await (await self.browser.button("Watch")).click()
        await self.browser.shows("Watching", ".watched")
        self.set("/web/a", "1")
        await self.browser.shows("One change so far", ".watched")
        self.enable()
        await self.browser.shows("Guests may not do that: log in first.", ".watched")
        self.set("/web/a", "2")
        self.enable(Role("guest", ("/*",)))  # or the parents could not be shown
        await (await self.browser.button("Log in…")).click()
        await self.log_in("ben")
        await self.until_closed()
        await self.browser.shows("2 changes so far", ".watched")

    async def test_users_and_roles_are_shown_to_root(self) -> None:
        await self.visit("#users")
        await self.browser.shows("Users and roles are shown to users with the role root.", "#users")
        await (await self.browser.button("Log in…")).click()
        await self.log_in("root")
        await self.until_closed()
        await self.browser.shows("May write", "#users")
        rows = await self.browser.run("return [...document.querySelectorAll('#users tr')].map((row) => row.innerText)")
        self.assertEqual(
            [" ".join(row.split()) for row in rows],
            [
                "User Roles",
                "ben web",
                "root root",
                "Role May read May write",
                "guest nothing nothing",
                "root /* /*",
                "web /all /web* /web*",
            ],
        )
        self.assertEqual(await self.browser.run("return document.title"), "Users · etcd_twisted")

    async def test_guests_that_may_do_everything_are_a_problem(self) -> None:
        self.enable(Role("guest", ("/*",), ("/*",)))
        await self.visit("#cluster")
        await self.browser.shows("Users are enabled, but guests may read and change every key.", "#health")
        self.assertIn("⚠ Open to guests", await self.browser.run("return document.title"))
        self.enable()

        async def well() -> bool | None:
            return True if await self.browser.run("return document.querySelector('#health').hidden") else None

        await self.browser.until(well, "nothing is wrong any more")

    async def test_users_that_are_not_enabled(self) -> None:
        """Without users there is nothing about them; once there are some, the page says that they protect nothing."""
        self.replica.set_auth(AuthState())
        await self.visit("#cluster")
        await self.browser.shows("Version", ".figures.first")
        for part in ("#to-users", ".user"):
            self.assertTrue(await (await self.browser.find(part)).property("hidden"), part)
        self.replica.set_auth(AuthState(False, {"root": user("root", "root")}))
        await (await self.browser.find("#to-users:not([hidden])")).click()
        await self.browser.shows("Users are not enabled: everybody who reaches this machine may read", "#users")
        await self.browser.shows("root", "#users table")

    async def test_login_and_users_fit_every_screen(self) -> None:
        long = "/a-name-that-goes-on" * 10
        ben = user("ben-" * 20, "web")
        self.enable(Role("guest", (f"{long}*", long), (long,)), ben)
        self.replica.set_auth(attrs.evolve(self.replica.auth, users={**self.replica.auth.users, ben.name: ben}))
        await self.visit("#users")
        await (await self.browser.button("Log in…")).click()
        await self.check_fits("the dialog")
        await self.log_in("root")
        await self.until_closed()
        await self.browser.shows("May write", "#users")
        await self.check_fits("users and roles")
        await (await self.browser.button("Log out")).click()
        await self.browser.shows("Users and roles are shown to users", "#users")
        await (await self.browser.button("Log in…")).click()
        await self.log_in(ben.name)
        await self.until_closed()
        await self.check_fits("the head")

    @skipUnless(AXE.exists(), NO_AXE)
    async def test_login_and_users_are_accessible(self) -> None:
        """axe-core finds no fault in the dialog, with what is wrong, and in the view of users."""
        await self.visit("#users")
        await self.browser.shows("Users and roles are shown to users", "#users")
        await self.check_accessible("users that a guest may not see")
        await (await self.browser.button("Log in…")).click()
        await self.log_in("root", "wrong")
        await self.browser.shows("The name or the password is wrong.", "dialog[open]")
        await self.check_accessible("a log-in that has failed")
        await self.log_in("root")
        await self.until_closed()
        await self.browser.shows("May write", "#users")
        await self.check_accessible("users and roles")
