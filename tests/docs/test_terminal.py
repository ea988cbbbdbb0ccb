"""
The terminal in which pages are tried out: it finds what is wrong with them.
"""

from twisted.trial.unittest import TestCase

from tests.docs.terminal import Terminal
from tests.docs.transcript import File, Step


class TerminalTests(TestCase):
    """Commands that need no machine."""

    timeout = 240

    async def take(self, *steps: Step | File) -> None:
        terminal = Terminal(self, steps)
        for step in steps:
            await terminal.take(step)

    async def assert_wrong(self, step: Step) -> str:
        """It is found to be wrong; what is said of it."""
        try:
            await self.take(step)
        except self.failureException as failure:
            return str(failure)
        raise self.failureException(f"nothing is wrong with {step}")

    async def test_right(self) -> None:
        """Each command goes on from the last one, in one directory."""
        await self.take(Step("printf 'a\\nb\\n' > file"), Step("cp file other", ""), Step("printf b", "b\n"))

    async def test_other_answer(self) -> None:
        """Command, page and what was printed are shown."""
        said = await self.assert_wrong(Step("printf 'a b'", "a c\n"))
        for part in ("printf 'a b'", "a c", "a b"):
            self.assertIn(part, said)

    async def test_answer_that_is_not_shown(self) -> None:
        """A session that shows nothing below a command says that it prints nothing."""
        await self.assert_wrong(Step("printf a", ""))

    async def test_status(self) -> None:
        """A command has to succeed."""
        await self.assert_wrong(Step("cp missing other"))

    async def test_error(self) -> None:
        """A request whose answer the page does not show may not be answered with an error."""
        await self.assert_wrong(Step("""printf '{"errorCode":100}'"""))

    async def test_harmful(self) -> None:
        """What nobody knows to be harmless is not run, nor what leaves the directory."""
        for command in ("useradd etcd", "cp file /etc/file", "rm -r ../other", "touch ~/file", "printf a > /etc/a"):
            self.assertIn("harmless", await self.assert_wrong(Step(command)), command)

    async def test_package(self) -> None:
        """What a page has installed is installed for the tests."""
        await self.take(Step("apt-get install wrk"))
        await self.assert_wrong(Step("apt-get install no-such-package"))

    async def test_target(self) -> None:
        """What C{make} is asked for is there."""
        await self.take(Step("make test"))
        await self.assert_wrong(Step("make no-such-target"))

    async def test_ports(self) -> None:
        """Those of the page are others here, in commands and files, and are shown as the page's."""
        address = "127.0.0.1:4001"
        await self.take(
            File("a.txt", f"# a.txt\n{address}\n"),
            Step("dd if=a.txt status=none", f"# a.txt\n{address}\n"),
            Step(f"printf {address}", f"{address}\n"),
        )

    async def test_machine_that_does_not_start(self) -> None:
        """One that should go on, and ends."""
        await self.assert_wrong(Step(".venv/bin/twistd -n --pidfile= etcd --snapshot-count abc", ""))

    async def test_machine_that_should_not_start(self) -> None:
        """What it says is compared."""
        command = ".venv/bin/twistd -n --pidfile= etcd --snapshot-count abc"
        await self.take(Step(command, "twistd etcd: --snapshot-count 'abc': should be ...\n"))
        await self.assert_wrong(Step(command, "twistd etcd: --snapshot-count 'abc': may be ...\n"))
