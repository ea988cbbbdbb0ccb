"""
Tests of L{etcd_twisted.process.pid_file}: which processes prevent another one from starting.
"""

import errno
import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted.errors import StartError
from etcd_twisted.process.pid_file import PidFile

OWN = str(os.getpid())


class PidFileTest(SynchronousTestCase):
    """A test case with a directory for the file, and one that shows processes as C{/proc} does."""

    def setUp(self) -> None:
        directory = Path(self.mktemp()).resolve()
        self.path = directory / "twistd.pid"
        self.processes = directory / "proc"
        self.processes.mkdir(parents=True)
        self.file = PidFile(self.path, self.processes)

    def run_process(self, pid: int, *arguments: str) -> Path:
        """Creates what the system shows of a process."""
        shown = self.processes / str(pid)
        shown.mkdir()
        (shown / "cmdline").write_bytes(b"".join(argument.encode() + b"\0" for argument in arguments))
        return shown

    def assert_refused(self, words: str) -> None:
        """Asserts that the file is unchanged, and stays when the process ends."""
        before = self.path.read_bytes()
        error = self.assertRaises(StartError, self.file.write)
        self.assertIn(f"{self.path} {words}", str(error))
        self.assertIn("--pidfile=", str(error))
        self.file.remove()
        self.assertEqual(self.path.read_bytes(), before)


class StaleTests(PidFileTest):
    """Tests of files that do not prevent a start."""

    def assert_written(self) -> None:
        self.file.write()
        self.assertEqual(self.path.read_text(), OWN)
        self.file.remove()
        self.assertFalse(self.path.exists())

    def test_a_missing_file_is_written(self) -> None:
        self.assert_written()

    def test_the_file_of_an_ended_process_is_overwritten(self) -> None:
        self.path.write_text("4711")
        self.assert_written()

    def test_the_file_with_the_own_id_is_overwritten(self) -> None:
        """The only process of a container has the same id each time."""
        self.run_process(os.getpid(), "/usr/bin/python3", "/usr/bin/twistd", "etcd")
        self.path.write_text(OWN)
        self.assert_written()

    def test_the_file_of_another_program_is_overwritten(self) -> None:
        """The id may by now belong to any program, or to a zombie."""
        for pid, arguments in enumerate(
            (
                ("/sbin/init",),
                ("/bin/sh", "-c", "twistd -n etcd"),
                ("/sbin/tini", "--", "/usr/bin/twistd", "-n", "etcd"),
                ("python3", "/usr/bin/supervisord"),
                ("vi", "twistd.log"),
                (),
            ),
            1,
        ):
            self.run_process(pid, *arguments)
            self.path.write_text(str(pid))
            self.assert_written()

    def test_an_empty_file_is_overwritten(self) -> None:
        """An empty file remains when the computer is switched off before the id reaches the disk."""
        for content in (b"", b"\0" * 5, b"\n"):
            self.path.write_bytes(content)
            self.assert_written()

    def test_a_huge_id_is_overwritten(self) -> None:
        """No system has a process with such an id."""
        self.path.write_text("9" * 30)
        self.assert_written()


class RefusalTests(PidFileTest):
    """Tests of files that prevent a start."""

    def test_a_running_twistd_prevents_the_start(self) -> None:
        """C{twistd} may be run in several ways."""
        for pid, arguments in enumerate(
            (
                ("/usr/bin/python3.11", "/usr/bin/twistd", "-n", "etcd"),
                ("python", "-X", "dev", "bin/twistd", "etcd"),
                ("python3", "-m", "twisted", "etcd"),
                ("twistd", "etcd"),
            ),
            1,
        ):
            self.run_process(pid, *arguments)
            for content in (f"{pid}", f"{pid}\n"):
                self.path.write_text(content)
                self.assert_refused(f"is that of process {pid}, which runs; ")

    def test_a_process_that_can_not_be_seen_prevents_the_start(self) -> None:
        """The process may be C{twistd}, because the system can hide the processes of others."""

        def hide(path: Path) -> bytes:
            raise PermissionError(path)

        self.patch(Path, "read_bytes", hide)
        self.path.write_text("7")
        error = self.assertRaises(StartError, self.file.write)
        self.assertIn("is that of process 7, which runs", str(error))

    def test_a_file_with_other_content_is_kept(self) -> None:
        """A mistyped name must not destroy a file."""
        for content in ("hello", "-1", "12 13", "1.5"):
            self.path.write_text(content)
            self.assert_refused("holds something other than a process id; ")

    def test_what_is_not_a_file_is_kept(self) -> None:
        for make in (self.path.mkdir, lambda: os.mkfifo(self.path)):
            make()
            error = self.assertRaises(StartError, self.file.write)
            self.assertIn(f"{self.path} is not a file; ", str(error))
            self.file.remove()
            self.path.rmdir() if self.path.is_dir() else self.path.unlink()

    def test_a_missing_directory_is_reported(self) -> None:
        file = PidFile(self.path / "no" / "file", self.processes)
        error = self.assertRaises(StartError, file.write)
        self.assertIn("can't be written: No such file or directory; ", str(error))

    def test_a_full_disk_leaves_no_file(self) -> None:

        def write_some(path: Path, _text: str) -> None:
            path.touch()
            raise OSError(errno.ENOSPC, "No space left on device")

        self.patch(Path, "write_text", write_some)
        error = self.assertRaises(StartError, self.file.write)
        self.assertIn("can't be written: No space left on device; ", str(error))
        self.assertFalse(self.path.exists())
