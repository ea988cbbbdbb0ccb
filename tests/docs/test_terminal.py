"""
The terminal that tries out pages finds what is wrong with them.
"""

from twisted.trial.unittest import TestCase

from tests.docs.terminal import Terminal
from tests.docs.transcript import File, Step


class TerminalTests(TestCase):
    """These commands need no machine."""

    timeout = 240

    async def take(self, *steps: Step | File) -> None:
        terminal = Terminal(self, steps)
        for step in steps:
            await terminal.take(step)

    async def assert_wrong(self, step: Step) -> str:
        """Asserts that the terminal finds a page wrong. Returns the reason."""
        try:
            await self.take(step)
        except self.failureException as failure:
            return str(failure)
        raise self.failureException(f"nothing is wrong with {step}")

    async def test_commands_share_a_directory(self) -> None:
        """Each command goes on from the last one."""
        await self.take(Step("printf 'a\\nb\\n' > file"), Step("cp file other", ""), Step("printf b", "b\n"))

    async def test_another_answer_is_wrong(self) -> None:
        """The failure shows the command, the page and the output."""
        said = await self.assert_wrong(Step("printf 'a b'", "a c\n"))
        for part in ("printf 'a b'", "a c", "a b"):
            self.assertIn(part, said)

    async def test_an_answer_that_is_not_shown_is_wrong(self) -> None:
        """A console session without output below a command says that it prints nothing."""
        await self.assert_wrong(Step("printf a", ""))

    async def test_a_failing_command_is_wrong(self) -> None:
        await self.assert_wrong(Step("cp missing other"))

    async def test_an_error_that_is_not_shown_is_wrong(self) -> None:
        """A request whose answer the page does not show may not be answered with an error."""
        await self.assert_wrong(Step("""printf '{"errorCode":100}'"""))

    async def test_harmful_commands_are_not_run(self) -> None:
        """These are commands that are not known to be harmless, or that leave the directory."""
        for command in ("useradd etcd", "cp file /etc/file", "rm -r ../other", "touch ~/file", "printf a > /etc/a"):
            self.assertIn("harmless", await self.assert_wrong(Step(command)), command)

    async def test_installed_packages_are_those_of_the_tests(self) -> None:
        await self.take(Step("apt-get install wrk"))
        await self.assert_wrong(Step("apt-get install no-such-package"))

    async def test_make_targets_exist(self) -> None:
        await self.take(Step("make test"))
        await self.assert_wrong(Step("make no-such-target"))

    async def test_ports_are_translated(self) -> None:
        """Commands and files have other ports than the page, and outputs are shown with the page's."""
        address = "127.0.0.1:4001"
        await self.take(
            File("a.txt", f"# a.txt\n{address}\n"),
            Step("dd if=a.txt status=none", f"# a.txt\n{address}\n"),
            Step(f"printf {address}", f"{address}\n"),
        )

    async def test_a_machine_that_does_not_start_is_wrong(self) -> None:
        """The machine should go on running, and ends."""
        await self.assert_wrong(Step(".venv/bin/twistd -n --pidfile= etcd --snapshot-count abc", ""))

    async def test_a_machine_that_should_not_start(self) -> None:
        """Its error is compared with the page."""
        command = ".venv/bin/twistd -n --pidfile= etcd --snapshot-count abc"
        await self.take(Step(command, "twistd etcd: --snapshot-count 'abc': should be ...\n"))
        await self.assert_wrong(Step(command, "twistd etcd: --snapshot-count 'abc': may be ...\n"))
