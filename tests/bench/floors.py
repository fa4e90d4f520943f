"""What the disk and SQLite can do on this machine, without any mail server: the floors beside which the servers stand."""
import contextlib
import os
import pathlib
import sqlite3
import time

PAGE = 4096


@contextlib.contextmanager
def file_of(folder, octets):
    """A file with so many octets, on the disk."""
    path = pathlib.Path(folder) / "sync"
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    try:
        os.pwrite(fd, b"y" * octets, 0)
        os.fsync(fd)
        yield fd
    finally:
        os.close(fd)
        path.unlink()


def syncs(folder, seconds, grows):
    """fdatasync() per second after each 8 KiB written: at the end of a file, or over what was there."""
    block, ring = b"x" * 2 * PAGE, 1024
    with file_of(folder, 0 if grows else ring * len(block)) as fd:
        began, count = time.monotonic(), 0
        while time.monotonic() < began + seconds:
            os.pwrite(fd, block, (count if grows else count % ring) * len(block))
            os.fdatasync(fd)
            count += 1
        return count / (time.monotonic() - began)


def idle_syncs(folder, count, pause):
    """How long each of so many syncs of 32 KiB took that came after such a pause, in microseconds: a disk that had nothing to do
    answers later."""
    block, ring, took = b"x" * 8 * PAGE, 256, []
    with file_of(folder, ring * len(block)) as fd:
        for n in range(count):
            time.sleep(pause)
            began = time.perf_counter()
            os.pwrite(fd, block, n % ring * len(block))
            os.fdatasync(fd)
            took.append(1e6 * (time.perf_counter() - began))
    return took


def commits(folder, rows_of, seconds, batch):
    """Messages per second that SQLite inserts into a new database of the same tables, `batch` of them in a transaction, with
    the rows that Waypost wrote to the queue.db `rows_of` and with its settings. Python's part takes its share."""
    path = pathlib.Path(folder) / "floor.db"
    source = sqlite3.connect(f"file:{rows_of}?mode=ro", uri=True)
    target = sqlite3.connect(path, isolation_level=None)
    try:
        target.execute("PRAGMA journal_mode = WAL")
        target.execute("PRAGMA synchronous = FULL")
        target.execute("PRAGMA secure_delete = OFF")
        for (sql,) in source.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%'"):
            target.execute(sql)
        rows = {}
        for table in ("message", "recipient"):
            rows[table] = source.execute(f"SELECT * FROM {table} ORDER BY 1 LIMIT 1000").fetchall()
        insert = {table: f"INSERT INTO {table} VALUES ({', '.join('?' * len(found[0]))})" for table, found in rows.items()}
        id_column = [column[1] for column in source.execute("PRAGMA table_info(recipient)")].index("message")
        began, count = time.monotonic(), 0
        while time.monotonic() < began + seconds:
            target.execute("BEGIN IMMEDIATE")
            for _ in range(batch):
                count += 1
                message = rows["message"][count % len(rows["message"])]
                recipient = list(rows["recipient"][count % len(rows["recipient"])])
                recipient[id_column] = count
                target.execute(insert["message"], (count, *message[1:]))
                target.execute(insert["recipient"], recipient)
            target.execute("COMMIT")
        return count / (time.monotonic() - began)
    finally:
        source.close()
        target.close()
        for end in ("", "-wal", "-shm"):
            path.with_name(path.name + end).unlink(missing_ok=True)
