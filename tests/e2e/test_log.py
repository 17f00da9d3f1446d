"""Standard error that nobody reads must not stop what the daemon is for."""

import contextlib
import fcntl
import os
import socket
import subprocess
import unittest

from chancery import Chancery, program, wait_until

F_SETPIPE_SZ = 1031


class Blocked(unittest.TestCase):
    @staticmethod
    def listens(port):
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", port)) == 0

    def test_a_log_that_nobody_reads(self):
        with Chancery() as c:
            c.init().add_users("ann")
            hall = c.add_room("Hall")
            reader, writer = os.pipe()
            self.addCleanup(os.close, reader)
            fcntl.fcntl(writer, F_SETPIPE_SZ, 4096)
            os.set_blocking(reader, False)
            # The writers share this flag's description: it stays as it was.
            daemon = subprocess.Popen(
                [program("chanceryd"), "-d", "-f", str(c.conf)],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=writer)
            try:
                wait_until(lambda: self.listens(c.ports["tcp"]),
                           "not ready", 60)
                for n in range(40):
                    ann = c.sign_in("ann")
                    ann.join(hall)
                    self.assertEqual(ann.post(hall, "post %d" % n), 200)
                    ann.sign_off()
                self.assertTrue(os.get_blocking(writer))
                said = b""
                with contextlib.suppress(BlockingIOError):
                    while True:
                        said += os.read(reader, 65536)
                self.assertGreaterEqual(len(said), 3000)
            finally:
                daemon.terminate()
                os.close(writer)
                status = daemon.wait(60)
            self.assertEqual(status, 0)
            with contextlib.suppress(BlockingIOError):
                while (more := os.read(reader, 65536)):
                    said += more
            self.assertIn(b"lines before this one were not taken", said)
            self.assertEqual(len(c.journal.posts()), 40)
            c.verify()


if __name__ == "__main__":
    unittest.main()
