"""
The commands for data directories: what they print, for people and for programs, and their exit statuses.
"""

import json
from pathlib import Path

from etcd_twisted.consensus.storage.data_directory import DataDirectory
from etcd_twisted.ctl.export_format import ExportReader, NodeRecord, UserRecord
from etcd_twisted.ctl.failures import BAD_ARGUMENTS, UNUSABLE_DATA
from tests.ctl.commands import CommandTest
from tests.datadir.etcd_files import EtcdFiles, put, request


class OfflineTests(CommandTest):
    def setUp(self) -> None:
        super().setUp()
        self.directory = Path(self.mktemp())
        self.directory.mkdir()
        files = EtcdFiles(self.directory / "etcd")
        files.apply(put("/app/key", "value", expiration=4_000_000_000 * 10**9), put("/_hidden", "x"))
        files.apply(request("PUT", "/2/users/u", '{"user":"u","password":"$2a$10$x","roles":[]}'))
        self.etcd = str(files.write(100))
        self.data, self.backup, self.restored = (str(self.directory / name) for name in ("data", "backup", "restored"))

    def imported(self) -> None:
        """Makes a data directory."""
        self.printed("import", "--from-data-dir", self.etcd, "--to-data-dir", self.data)

    def test_dry_run(self) -> None:
        """It says what there is, and makes nothing."""
        before = set(self.directory.iterdir())
        output = self.printed("import", "--from-data-dir", self.etcd, "--dry-run")
        self.assertEqual(
            output.splitlines(),
            [
                f"{self.etcd} is a data directory of etcd",
                "  etcd      cluster version 3.4.0",
                "  member    id bdae9bbc11dd390d, of the cluster d1cfaf999eb97a2a",
                "  members   m0 http://127.0.0.1:2379",
                "  snapshot  none",
                "  log       applied up to index 7, term 2",
                "  index     6",
                "  holds     3 keys and 2 directories, 3 of them hidden, 1 with a TTL",
                "  users     1 user and 0 roles, authentication disabled",
            ],
        )
        self.assertEqual(set(self.directory.iterdir()), before)
        fields = json.loads(self.printed("-o", "json", "import", "--from-data-dir", self.etcd, "--dry-run"))
        self.assertEqual(
            (fields["kind"], fields["index"], fields["keys"], fields["expiring"], fields["users"]),
            ("etcd", 6, 3, 1, ["u"]),
        )

    def test_into_a_data_directory(self) -> None:
        """It is checked, backed up and restored."""
        self.imported()
        before = json.loads(self.printed("-o", "json", "check", self.data))
        self.assertEqual((before["kind"], before["name"], before["index"]), ("machine", "m0", 6))
        self.assertEqual(before["machines"][0]["clientURL"], "http://127.0.0.1:2379")
        self.printed("backup", "--data-dir", self.data, self.backup)
        self.printed("restore", "--data-dir", self.restored, "--name", "other", self.backup)
        after = json.loads(self.printed("-o", "json", "check", self.restored))
        self.assertEqual((after["name"], after["index"], after["users"]), ("other", 6, ["u"]))
        self.assertNotEqual(after["clusterId"], before["clusterId"])

    def test_into_a_file(self) -> None:
        """It is one of export, with what clients have, and the hashes of passwords."""
        path = self.directory / "file"
        self.type("import", "--from-data-dir", self.etcd, "--to-file", str(path))
        with path.open("rb") as file:
            reader = ExportReader(file, "file")
            records = list(reader)
        self.assertEqual((reader.header.index, reader.header.server), (6, "etcd 3.4.0"))
        self.assertEqual(records[0], UserRecord("u", (), "$2a$10$x"))
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        nodes = [each for each in records if isinstance(each, NodeRecord)]
        self.assertEqual(
            nodes,
            [
                NodeRecord("/_hidden", "x", None, 5, 5),
                NodeRecord("/app", None, None, 4, 4),
                NodeRecord("/app/key", "value", 4_000_000_000.0, 4, 4),
            ],
        )

    def test_damage(self) -> None:
        """The file and the byte are named, the status is 6, and nothing is made."""
        (log,) = (Path(self.etcd) / "member" / "wal").iterdir()
        log.write_bytes(log.read_bytes().replace(b"value", b"valu?"))
        for target in (("--dry-run",), ("--to-data-dir", self.data)):
            command = ("import", "--from-data-dir", self.etcd, *target)
            self.assertFails(UNUSABLE_DATA, f"{log} is damaged at byte ", *command)
        self.assertFalse(Path(self.data).exists())

    def test_damaged_backup(self) -> None:
        """Wherever that is, the remedy is another one, and nothing is made."""
        self.imported()
        self.printed("backup", "--data-dir", self.data, self.backup)
        data = Path(self.backup).read_bytes()
        for offset in (20, len(data) // 2, len(data) - 2):
            Path(self.backup).write_bytes(data[:offset] + bytes([data[offset] ^ 1]) + data[offset + 1 :])
            for command in (("check",), ("restore", "--data-dir", self.restored)):
                self.assertFails(UNUSABLE_DATA, "; take another backup\n", *command, self.backup)
        self.assertFalse(Path(self.restored).exists())

    def test_mistakes(self) -> None:
        """Each is said in a line."""
        self.imported()
        from_etcd = ("import", "--from-data-dir", self.etcd)
        for status, message, *command in (
            (UNUSABLE_DATA, "no identity.json", "check", self.etcd),
            (UNUSABLE_DATA, "Remedy: import --from-data-dir DIRECTORY --dry-run says what is in", "check", self.etcd),
            (UNUSABLE_DATA, "No such file", "check", self.backup),
            (UNUSABLE_DATA, "exists already", "backup", "--data-dir", self.data, self.data),
            (UNUSABLE_DATA, "exists already", "restore", "--data-dir", self.data, self.data),
            (UNUSABLE_DATA, "one of etcd_twisted already", "import", "--from-data-dir", self.data, "--dry-run"),
            (UNUSABLE_DATA, "no file of a log", "import", "--from-data-dir", self.etcd, "--wal-dir", self.data),
            (BAD_ARGUMENTS, "--client-url", "restore", "--data-dir", self.restored, "--client-url", "x", self.data),
            (BAD_ARGUMENTS, "give either FILE or --from-data-dir", "import"),
            (BAD_ARGUMENTS, "give either FILE or --from-data-dir", "import", "--from-data-dir", self.etcd, "file"),
            (BAD_ARGUMENTS, "which is not given", "import", "--to-data-dir", self.data, "file"),
            (BAD_ARGUMENTS, "--to-data-dir, which is not given", *from_etcd, "--name", "m"),
            (BAD_ARGUMENTS, "are for a running cluster", *from_etcd, "--to-data-dir", self.restored, "--from", "/app"),
            (BAD_ARGUMENTS, "are for a running cluster", *from_etcd, "--to-file", self.restored, "--users"),
            (
                *(BAD_ARGUMENTS, "give either --to-data-dir or --to-file", "import", "--from-data-dir", self.etcd),
                *("--to-data-dir", self.restored, "--to-file", self.backup),
            ),
        ):
            self.assertFails(int(status), str(message), *map(str, command))

    def test_machine_that_runs(self) -> None:
        """Its directory is in use, and the remedy names the option that reads it all the same."""
        self.imported()
        machine = DataDirectory(Path(self.data))
        for command in (("backup", "--data-dir", self.data, self.backup), ("check", self.data)):
            self.assertFails(UNUSABLE_DATA, "Remedy: backup --running reads the directory of a machine", *command)
        self.printed("backup", "--data-dir", self.data, "--running", self.backup)
        machine.close()
