"""What each process may do and holds open: its own, and nothing else."""

import os
import pathlib
import signal
import socket
import unittest
from concurrent import futures

import archives
from chancery import Chancery, wait_until

UIDS = {"server": 61001, "keeper": 61002, "signer": 61003, "engine": 61004,
        "adapter:xml": 61005, "adapter:tarball": 61005}
FOLDERS = ("journal", "signer", "chat")


def status(pid):
    lines = pathlib.Path("/proc/%d/status" % pid).read_text().splitlines()
    return {name: value.split() for name, _, value in
            (line.partition(":") for line in lines)}


def descriptors(pid):
    """{number: (what it is, whether it may be written)}"""
    found = {}
    folder = pathlib.Path("/proc/%d/fd" % pid)
    for entry in folder.iterdir():
        try:
            target = os.readlink(entry)
            info = (folder.parent / "fdinfo" / entry.name).read_text()
        except FileNotFoundError:   # closed meanwhile
            continue
        flags = int(info.split("flags:")[1].split()[0], 8)
        found[int(entry.name)] = (target, flags & os.O_ACCMODE != os.O_RDONLY)
    return found


def network_sockets(pid):
    """Descriptors that are sockets of IP."""
    inodes = set()
    for table in ("tcp", "tcp6", "udp", "udp6"):
        path = pathlib.Path("/proc/%d/net/%s" % (pid, table))
        if path.exists():
            inodes |= {line.split()[9] for line in
                       path.read_text().splitlines()[1:]}
    return [number for number, (target, _) in descriptors(pid).items()
            if target.startswith("socket:[") and target[8:-1] in inodes]


def reach(path, flags):
    """Opens a file; of a socket, whether it answers."""
    if path.suffix != ".sock":
        return os.open(path, flags) >= 0
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(20)
        s.connect(str(path))
        s.sendall(b'{"cmd":"status"}\n')
        return bool(s.recv(1))


class Roles(unittest.TestCase):
    def test_rights_and_descriptors(self):
        with Chancery(transports=("tcp", "udp"),
                      adapters=archives.adapters(None)) as c:
            c.init().add_users("ann")
            hall = c.add_room("Hall")
            c.start()
            ann = c.sign_in("ann")
            ann.join(hall)
            ann.post(hall, "hello")
            for name in ("records", "vault"):
                c.cli("adapter", "run", name)
            roles = c.roles()
            self.assertEqual(set(roles), set(UIDS))
            for role, pid in roles.items():
                with self.subTest(role=role):
                    self.rights(role, pid)
                    self.files(c, role, pid)
            self.assertEqual({r for r, pid in roles.items()
                              if network_sockets(pid)}, {"server"})
            self.same_program(c, roles)

    def rights(self, role, pid):
        found = status(pid)
        self.assertEqual(found["NoNewPrivs"], ["1"])
        core = next(line for line in pathlib.Path(
            "/proc/%d/limits" % pid).read_text().splitlines()
            if line.startswith("Max core file size"))
        self.assertEqual(core.split()[4:6], ["0", "0"])
        if os.geteuid() == 0:
            self.assertEqual(set(found["Uid"]), {str(UIDS[role])})
            self.assertEqual(set(found["Gid"]), {str(UIDS[role])})
            self.assertEqual(found["Groups"], [])
            self.assertEqual(int(found["CapEff"][0], 16), 0)

    def files(self, c, role, pid):
        """Which part of the state it holds, and how."""
        held = descriptors(pid)
        state = str(c.state)
        for folder in FOLDERS:
            paths = [(target, writes) for target, writes in held.values()
                     if target.startswith("%s/%s/" % (state, folder))]
            owner = {"journal": "keeper", "signer": "signer",
                     "chat": "server"}[folder]
            if role == owner:
                continue
            if (role, folder) == ("engine", "journal"):
                self.assertTrue(paths)
                self.assertEqual([t for t, writes in paths if writes and
                                  not t.endswith("-shm")], [])
            else:
                self.assertEqual(paths, [])
        sockets = {target for target, _ in held.values()
                   if target.startswith("socket:")}
        # To the parent and to each neighbour; an adapter has the engine.
        expected = {"signer": 2, "keeper": 4, "adapter:xml": 1,
                    "adapter:tarball": 1}
        self.assertEqual(len(sockets), expected.get(role, len(sockets)), held)
        if role.startswith("adapter:"):
            self.assertLessEqual(set(held), {0, 1, 2, 3}, held)

    @unittest.skipUnless(os.geteuid() == 0, "only root starts as others")
    def test_users_reach_only_their_own(self):
        """A role that is taken over has its own user's rights, no more."""
        may = {"journal/journal.db": {"keeper", "engine"},
               "signer/key": {"signer"}, "signer/state": {"signer"},
               "chat/chat.db": {"server"}, "control.sock": set()}
        with Chancery(adapters=archives.adapters(None)) as c:
            c.init().start()
            for name, allowed in may.items():
                for role, uid in UIDS.items():
                    with self.subTest(name=name, role=role):
                        self.assertEqual(
                            self.reaches(c.state / name, uid),
                            role in allowed)
            for role in ("keeper", "engine"):
                self.assertEqual(
                    self.reaches(c.state / "journal/journal.db", UIDS[role],
                                 os.O_RDWR), role == "keeper")

    @staticmethod
    def reaches(path, uid, flags=os.O_RDONLY):
        """Whether the user can open the file, or is answered by the socket."""
        child = os.fork()
        if child == 0:
            status = 1
            try:
                os.setgroups([])
                os.setresgid(uid, uid, uid)
                os.setresuid(uid, uid, uid)
                status = 0 if reach(path, flags) else 1
            except PermissionError:
                pass
            finally:
                os._exit(status)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def same_program(self, c, roles):
        daemon = os.readlink("/proc/%d/exe" % c.daemon.pid)
        for role, pid in roles.items():
            if not role.startswith("adapter:"):
                self.assertEqual(os.readlink("/proc/%d/exe" % pid), daemon)


class SilentServer(unittest.TestCase):
    """
    The keeper records nothing before the server has told what it holds. One
    that says nothing, because it hangs, is told of, and nothing is lost.
    """

    REASON = r"the chat server has not told what it holds.*Next: .*kill its"

    def test_batches_wait_for_the_server(self):
        with Chancery(adapters=archives.adapters(None)) as c:
            c.init().add_users("ann")
            hall = c.add_room("Hall")
            c.start()
            self.posts = []
            for end in (signal.SIGCONT, signal.SIGKILL):
                with self.subTest(end=end.name):
                    self.hang(c, hall, end)
            c.stop()
            self.assertEqual(c.journal.posts(), self.posts)
            c.journal.check()
            c.verify()

    def hang(self, c, hall, end):
        ann = c.sign_in("ann")
        ann.join(hall)
        self.posts.append("before %s" % end.name)
        self.assertEqual(ann.post(hall, self.posts[-1]), 200)
        server, keeper = (c.roles()[r] for r in ("server", "keeper"))
        mark = len(c.log.lines)
        os.kill(server, signal.SIGSTOP)
        os.kill(keeper, signal.SIGKILL)
        c.log.wait("^keeper: warning: no records are taken: " + self.REASON,
                   since=mark)
        size = c.journal.size()
        waiting = ann.post_start(hall, "waits for %s" % end.name)
        if end == signal.SIGCONT:
            self.told(c)
        self.assertEqual(c.journal.size(), size)
        self.assertEqual(waiting.status, 0)
        os.kill(server, end)
        c.log.wait("^keeper: info: records are taken", since=mark)
        if end == signal.SIGCONT:
            self.assertEqual(waiting.wait().status, 200)
            self.posts.append("waits for SIGCONT")
        else:
            c.log.wait("^server: info: journal open", since=mark)
        wait_until(lambda: self.archived(c) == self.posts,
                   "the archives lack posts")

    def told(self, c):
        """Both commands wait for a while, so at the same time."""
        with futures.ThreadPoolExecutor() as pool:
            status = pool.submit(c.cli, "status")
            run = pool.submit(c.cli, "adapter", "run", "records", check=False)
        self.assertRegex(status.result().stdout,
                         r"writable +NO: " + self.REASON)
        self.assertIn("failure              the server does not answer",
                      status.result().stdout)
        self.assertEqual(run.result().returncode, 1)
        self.assertRegex(run.result().stderr,
                         "^chancery: records: .*" + self.REASON)

    @staticmethod
    def archived(c):
        c.cli("adapter", "run", "records")
        found = {}
        for path in archives.files(c.folder / "out" / "xml", ".xml"):
            found.update(archives.xml_records(path))
        return archives.texts(found)


if __name__ == "__main__":
    unittest.main()
