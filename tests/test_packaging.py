"""
The wheel, installed where the source tree is not.

The real tools build and install it. Only its dependencies are not downloaded again: the tests copy the files of the
distributions that it requires, and of those that these require, from where the tests run. Nothing else is there, so an
import of something that the wheel does not require fails.
"""

import functools
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import zipfile
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from twisted.trial.unittest import SynchronousTestCase

from etcd_twisted import __version__
from etcd_twisted.testing.ports import free_ports
from tests.privileges import UNPRIVILEGED

SOURCE = Path(__file__).parent.parent
ENVIRONMENT = {"PATH": os.defpath, "PIP_NO_INDEX": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
PIP = (sys.executable, "-m", "pip", "--quiet")


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    """Runs a command from a directory that has nothing to do with the project."""
    with tempfile.TemporaryDirectory() as directory:
        return subprocess.run(command, cwd=directory, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def succeed(*command: str | Path) -> str:
    """Returns what a command printed, which has to succeed."""
    result = run(*command)
    if result.returncode != 0:
        raise AssertionError(f"{command}: status {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result.stdout


def files_below(directory: Path) -> set[str]:
    """Returns the names of all files in a directory, relative to the directory's parent."""
    return {str(path.relative_to(directory.parent)) for path in directory.rglob("*") if path.is_file()}


def first_program(page: Path) -> str:
    """Returns the first program on a page of the documentation."""
    return page.read_text().partition("```python\n")[2].partition("```")[0]


@functools.cache
def source() -> Path:
    """Returns a copy of what goes into the wheel: nothing is left in the tree, and nothing else in it is needed."""
    copy = Path(tempfile.mkdtemp(dir=Path.cwd()))
    leftovers = shutil.ignore_patterns("__pycache__", "dropin.cache")
    for name in ("etcd_twisted", "twisted"):
        shutil.copytree(SOURCE / name, copy / name, ignore=leftovers)
    (copy / "docs").mkdir()
    for name in ("pyproject.toml", "setup.cfg", "setup.py", "README.md", "LICENSE", "docs/txetcdctl.1"):
        shutil.copy(SOURCE / name, copy / name)
    return copy


@functools.cache
def wheel() -> Path:
    """Returns the wheel, built by the setuptools that is installed."""
    target = Path(tempfile.mkdtemp(dir=Path.cwd()))
    succeed(*PIP, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", target, source())
    (built,) = target.iterdir()
    return built


@functools.cache
def installation() -> Path:
    """Returns the C{site-packages} of a virtual environment with the wheel and what it requires."""
    environment = Path(tempfile.mkdtemp(dir=Path.cwd()))
    succeed(sys.executable, "-m", "venv", "--without-pip", environment)
    succeed(*PIP, "--python", environment / "bin" / "python", "install", "--no-deps", wheel())
    (site_packages,) = (environment / "lib").glob("python*/site-packages")
    (distribution,) = metadata.distributions(name="etcd_twisted", path=[str(site_packages)])
    for dependency in dependencies(distribution):
        copy_files(dependency, site_packages)
    twistd = environment / "bin" / "twistd"
    script = Path(sys.executable).with_name("twistd").read_text()
    twistd.write_text(script.replace(sys.executable, str(environment / "bin" / "python"), 1))
    twistd.chmod(0o755)
    return site_packages


def dependencies(distribution: metadata.Distribution) -> list[metadata.Distribution]:
    """Returns what a distribution requires, and what that requires, as it is installed where the tests run."""
    wanted = [(distribution, "")]
    found: dict[tuple[str, str], metadata.Distribution] = {}
    while wanted:
        asking, extra = wanted.pop()
        for requirement in map(Requirement, asking.requires or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
                for asked in ("", *requirement.extras):
                    if (requirement.name, asked) not in found:
                        found[requirement.name, asked] = metadata.distribution(requirement.name)
                        wanted.append((found[requirement.name, asked], asked))
    return list(found.values())


def copy_files(distribution: metadata.Distribution, site_packages: Path) -> None:
    """
    Copies what a distribution has in its own C{site-packages}, compiled files too. Commands are above it and left out.
    """
    for file in distribution.files or ():
        source_file = Path(str(distribution.locate_file(file)))
        if ".." not in file.parts and source_file.exists():
            target = site_packages / file
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source_file, target)


class WheelTests(SynchronousTestCase):
    """These tests look into the wheel."""

    def test_wheel_has_every_file(self) -> None:
        with zipfile.ZipFile(wheel()) as archive:
            names = {name for name in archive.namelist() if ".dist-info/" not in name}
        others = {
            "twisted/plugins/etcd_twisted_plugin.py",
            f"etcd_twisted-{__version__}.data/data/share/man/man1/txetcdctl.1",
        }
        self.assertEqual(names, files_below(source() / "etcd_twisted") | others)

    def test_wheel_has_its_metadata(self) -> None:
        (distribution,) = metadata.distributions(name="etcd_twisted", path=[str(installation())])
        self.assertEqual(distribution.version, __version__)
        self.assertEqual(distribution.metadata["Requires-Python"], ">=3.11")
        self.assertEqual(distribution.metadata["License"], "MIT")
        self.assertEqual(distribution.metadata["Description"], (SOURCE / "README.md").read_text())

    def test_lower_bounds_are_true(self) -> None:
        """pip refuses an environment with an older version, and accepts the tests' own."""
        (distribution,) = metadata.distributions(name="etcd_twisted", path=[str(installation())])
        asked = [Requirement(each) for each in distribution.requires or ()]
        asked = [each for each in asked if each.marker is None]
        self.assertGreater(len(asked), 10)
        for requirement in asked:
            self.assertEqual([each.operator for each in requirement.specifier], [">="], requirement)
            self.assertIn(metadata.version(requirement.name), requirement.specifier)

    def test_build_leaves_nothing_in_the_tree(self) -> None:
        """A leftover would go into the next wheel."""
        wheel()
        self.assertEqual([path.name for path in source().iterdir() if path.name in {"build", "dist"}], [])


class MakefileTests(SynchronousTestCase):
    """The source tree may be in any directory."""

    def test_directory_may_have_any_name(self) -> None:
        """C{pip} finds the constraints that C{make} gives it, whatever the directory is called."""
        program = f"{shlex.quote(sys.executable)} -m pip install --quiet --dry-run --no-index pip"
        for name in ("with two spaces", "100%20 of #1? it's 雪 & (more)"):
            directory = Path(self.mktemp()).resolve() / name
            directory.mkdir(parents=True)
            shutil.copy(SOURCE / "Makefile", directory)
            for version, status in (("", 0), ("==0.1", 2)):
                (directory / "constraints.txt").write_text(f"pip{version}\n")
                command = ("make", "--eval", f"try:;{program}", "try")
                done = subprocess.run(command, cwd=directory, capture_output=True, text=True, check=False)
                self.assertEqual(done.returncode, status, f"{name}: {done.stderr}")


class InstallationTests(SynchronousTestCase):
    """These tests use the installed wheel."""

    def setUp(self) -> None:
        site_packages = installation()
        self.plugins = site_packages / "twisted" / "plugins"
        self.cache = self.plugins / "dropin.cache"
        self.cache.unlink(missing_ok=True)
        self.python = site_packages.parent.parent.parent / "bin" / "python"
        self.twistd = self.python.with_name("twistd")

    def assertHelp(self, result: subprocess.CompletedProcess[str]) -> None:
        """Asserts that C{twistd etcd --help} printed its text and no warnings."""
        self.assertEqual((result.stderr, result.returncode), ("", 0))
        self.assertIn("Usage: twistd [options] etcd [options]", result.stdout)
        self.assertIn("--data-dir DIRECTORY", result.stdout)

    def test_every_module_can_be_imported(self) -> None:
        """It needs nothing that the wheel does not require."""
        modules = [
            name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            for name in files_below(source() / "etcd_twisted")
            if name.endswith(".py") and not name.endswith("__main__.py")
        ]
        imports = "".join(f"import {name}\n" for name in [*modules, "twisted.plugins.etcd_twisted_plugin"])
        printed = succeed(self.python, "-c", f"{imports}print(etcd_twisted.__file__)")
        self.assertEqual(printed, f"{installation()}/etcd_twisted/__init__.py\n")

    def test_command_line_tool_is_installed(self) -> None:
        """Its manual page is too, where C{man} looks if the environment's programs are on the path."""
        self.assertEqual(succeed(self.python.with_name("txetcdctl"), "--version"), f"txetcdctl {__version__}\n")
        installed = self.python.parent.parent / "share" / "man" / "man1" / "txetcdctl.1"
        self.assertEqual(installed.read_text(), (SOURCE / "docs" / "txetcdctl.1").read_text())

    def test_help_is_printed(self) -> None:
        self.assertHelp(run(self.twistd, "etcd", "--help"))
        self.assertTrue(self.cache.exists())

    def test_console_script_and_module_are_installed(self) -> None:
        """The server's command runs as a script, which the wheel brings, and as a module."""
        for command in ((self.python.with_name("etcd-twisted"),), (self.python, "-m", "etcd_twisted")):
            self.assertTrue(succeed(*command, "--help").startswith("Usage: etcd-twisted [options]\n"))
            self.assertTrue(succeed(*command, "--version").startswith(f"etcd_twisted {__version__} (Twisted "))

    def test_installed_machine_serves(self) -> None:
        """A machine starts, the first program of the page about the client library and the tool run, and it stops."""
        script = self.python.with_name("etcd-twisted")
        for command, last in (
            ((self.twistd, "-n", "etcd"), "Server Shut Down."),
            ((script,), "Main loop terminated."),
        ):
            client, peer = free_ports(2)
            program = first_program(SOURCE / "docs" / "client.md").replace("127.0.0.1:4001", f"127.0.0.1:{client}")
            with tempfile.TemporaryDirectory() as directory:
                flags = ("--data-dir", "data", "--addr", f"127.0.0.1:{client}", "--peer-addr", f"127.0.0.1:{peer}")
                settings = {"cwd": directory, "env": ENVIRONMENT, "stdout": subprocess.PIPE, "text": True}
                with subprocess.Popen((*command, *flags), stderr=subprocess.STDOUT, **settings) as machine:
                    self.addCleanup(machine.kill)
                    said = next((line for line in machine.stdout or () if "serves clients at" in line), None)
                    hello = Path(directory) / "hello.py"
                    hello.write_text(program)
                    printed = succeed(self.python, hello)
                    tool = (self.python.with_name("txetcdctl"), "--endpoints", f"http://127.0.0.1:{client}")
                    typed = succeed(*tool, "set", "/typed", "Hello tool") + succeed(*tool, "get", "/message")
                    machine.terminate()
                    rest = machine.communicate()[0]
            self.assertIn(f"http://127.0.0.1:{client}", str(said))
            self.assertEqual((printed, typed), ("Hello world\n", "Hello tool\nHello world\n"))
            self.assertIn(last, rest)

    def test_help_where_nothing_can_be_written(self) -> None:
        """Twisted cannot keep its cache of plugins, does without it, and prints no warning."""
        self.plugins.chmod(0o555)
        self.addCleanup(self.plugins.chmod, 0o755)
        self.assertHelp(run(*UNPRIVILEGED, self.twistd, "etcd", "--help"))
        self.assertFalse(self.cache.exists())
