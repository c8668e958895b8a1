"""A way from a server to its engine that can lead elsewhere, fall silent, or clog.

What is passed is read only while it may be written, so that a way which is silent pushes back as a
real one does. Each connection is a thread for each direction.
"""

import contextlib
import socket
import threading
import time

# The two directions of a way.
TO_ENGINE, TO_SERVER = "to the engine", "to the server"

# What a way holds of each connection and direction: little, so that whoever writes to one that is
# silent notices.
BUFFER_BYTES = 16 * 1_024


class Link:
    """A way that passes everything on, to begin with."""

    def __init__(self, stack, target):
        self.target = target
        self.open = threading.Condition()
        self.silent, self.bytes_per_s, self.streams = set(), None, []
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        self.is_over = False
        stack.callback(self.end)
        threading.Thread(target=self.accept, daemon=True).start()

    @property
    def url(self):
        return f"redis://127.0.0.1:{self.port}"

    def accept(self):
        while not self.is_over:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.socket()
            # Before it connects, or the kernel makes it larger.
            far.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
            try:
                far.connect(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            with self.open:
                self.streams = [it for it in self.streams if it.fileno() >= 0] + [near, far]
            for streams, direction in (((near, far), TO_ENGINE), ((far, near), TO_SERVER)):
                threading.Thread(target=self.carry, args=(*streams, direction), daemon=True).start()

    def carry(self, source, to, direction):
        while chunk := self.take(source, direction):
            try:
                to.sendall(chunk)
            except OSError:
                break
        for stream in (source, to):
            with contextlib.suppress(OSError):
                stream.shutdown(socket.SHUT_RDWR)

    def take(self, source, direction):
        """What is to be passed on next; nothing, if a connection has ended."""
        pace = self.await_open(direction)
        try:
            chunk = source.recv(min(BUFFER_BYTES, pace // 20) if pace else BUFFER_BYTES)
        except OSError:
            chunk = b""
        if pace:
            time.sleep(len(chunk) / pace)
        # What came while it fell silent waits, too, and so does an end.
        self.await_open(direction)
        return chunk

    def await_open(self, direction):
        """Waits until something passes in a direction: how much in a second, if that is bounded."""
        with self.open:
            self.open.wait_for(lambda: direction not in self.silent or self.is_over)
            return self.bytes_per_s

    def lead(self, target):
        """Leads to another port; connections that there are end."""
        self.target = target
        self.cut()

    def cut(self):
        """Ends all connections."""
        with self.open:
            for stream in self.streams:
                with contextlib.suppress(OSError):
                    stream.shutdown(socket.SHUT_RDWR)
            self.streams = []

    def fall_silent(self, *directions):
        """Nothing passes any more in these directions, and nobody is told."""
        with self.open:
            self.silent = set(directions)

    def clog(self, bytes_per_s):
        """So much passes in each direction and connection, and no more."""
        with self.open:
            self.bytes_per_s = bytes_per_s

    def heal(self):
        """Everything passes again, and what was on the way comes late."""
        with self.open:
            self.silent, self.bytes_per_s = set(), None
            self.open.notify_all()

    def end(self):
        self.is_over = True
        self.listener.close()
        self.heal()
        self.cut()
