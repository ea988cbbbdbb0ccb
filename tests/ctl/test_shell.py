"""
What shells and C{man} are told: completion, and the manual page.
"""

import shutil
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase, TestCase

from etcd_twisted.ctl.main import cli
from etcd_twisted.ctl.manual import page
from tests.ctl.commands import CommandTest
from tests.processes.child import SOURCE, spawn
from tests.processes.machine import Machine

TXETCDCTL = Path(sys.executable).with_name("txetcdctl")
MAN = shutil.which("man")
BASH = shutil.which("bash")

COMPLETE = """
eval "$(txetcdctl completion bash)"
complete() {
    COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()
    _txetcdctl_completion txetcdctl
    echo "${COMPREPLY[*]}"
}
complete txetcdctl se
complete txetcdctl member l
complete txetcdctl get --s
complete txetcdctl get /d
complete txetcdctl -o json ls /dir/s
complete txetcdctl rm o
complete txetcdctl get /none/
"""


class CompletionTests(TestCase):
    """Shells ask the tool for what they complete."""

    timeout = 120

    async def setUp(self) -> None:
        """Starts a machine with a few keys."""
        self.machine = Machine(self)
        await self.machine.embed()
        for key in ("/dir/sub/key", "/dir/key", "/other"):
            await self.machine.client.put(key, value="x")

    async def complete(self, *command: str, **environment: str) -> str:
        """Returns what a program prints, which succeeds."""
        path = f"{TXETCDCTL.parent}:/usr/bin:/bin"
        settings = {"TXETCDCTL_ENDPOINTS": self.machine.url, "PATH": path} | environment
        child = spawn(self, command, self.machine.directory, settings)
        self.assertEqual((await child.when_ended(), child.errors), (0, ""))
        return child.output

    async def test_bash(self) -> None:
        """Commands, options and keys are completed. A directory that is the only match comes with what is in it."""
        printed = await self.complete(str(BASH), "-c", COMPLETE)
        self.assertEqual(
            printed.split("\n"),
            [
                "set setdir",
                "list leader",
                "--sort",
                "/dir/ /dir/key /dir/sub/",
                "/dir/sub/ /dir/sub/key",
                "/other",
                "",
                "",
            ],
        )

    if BASH is None:
        test_bash.skip = "bash is not installed"  # type: ignore[attr-defined]

    async def test_zsh_and_fish(self) -> None:
        """They ask in their own ways."""
        fish = {"COMP_WORDS": "txetcdctl get /o", "COMP_CWORD": "/o", "_TXETCDCTL_COMPLETE": "fish_complete"}
        self.assertEqual(await self.complete(str(TXETCDCTL), **fish), "plain,/other\n")
        zsh = {"COMP_WORDS": "txetcdctl get /o", "COMP_CWORD": "2", "_TXETCDCTL_COMPLETE": "zsh_complete"}
        self.assertEqual(await self.complete(str(TXETCDCTL), **zsh), "plain\n/other\n_\n")

    async def test_no_machine(self) -> None:
        """Then there are no keys, and nothing is printed into the user's command line."""
        words = {"COMP_WORDS": "txetcdctl get /o", "COMP_CWORD": "2", "_TXETCDCTL_COMPLETE": "bash_complete"}
        self.assertEqual(await self.complete(str(TXETCDCTL), TXETCDCTL_ENDPOINTS="127.0.0.1:1", **words), "\n")


class ScriptTests(CommandTest):
    """There is a script for each shell."""

    def test_scripts(self) -> None:
        for shell in ("bash", "zsh", "fish"):
            self.assertIn(f"_TXETCDCTL_COMPLETE={shell}_complete", self.printed("completion", shell))
        self.assertFails(1, "'tcsh' is not one of 'bash', 'zsh', 'fish'", "completion", "tcsh")


class ManualTests(SynchronousTestCase):
    """The page is that of the commands."""

    path = SOURCE / "docs" / "txetcdctl.1"

    def test_page_is_current(self) -> None:
        """C{make manual} writes it."""
        self.assertEqual(self.path.read_text(), page(cli))

    def test_page_can_be_shown(self) -> None:
        command = [str(MAN), "--warnings", "-E", "utf-8", "-l", str(self.path)]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={"MANWIDTH": "100"})
        self.assertEqual(done.stderr, "")
        self.assertIn("member add [OPTIONS] NAME PEER_URL", done.stdout)

    if MAN is None:
        test_page_can_be_shown.skip = "man is not installed"  # type: ignore[attr-defined]
