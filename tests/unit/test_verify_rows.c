/* A sound journal and a row that is not what its records say. */

#include "tests/unit/verify_story.h"

static const char sha[] =
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
static const char *sql;

static void
story(struct fix *f)
{
	fix_control(f, 134, "required records\nafter 0\n" POLICY_REST);
	fix_post(f, "a");
	fix_batch(f, "records", 1, 0, 2);
	fix_ack(f, "records", 1, 0, 2, "l", sha, 1);
	f->stored[f->stored_count++] = f->n;
	fix_post(f, "b");
	fix_purge(f, 1, 0, 2, "records:4");
	if (sql != NULL)
		buf_put_text(&f->sql, sql);
}

static void
test_rows(void **state)
{
	static const char batch[] = "table batch", ack[] = "table ack";
	static const char range[] = "table purge_range";
	static const char head[] = "head row is malformed";
	static const struct {
		const char *sql, *check;
		int64_t seq;
		const char *words;
	} all[] = {
	    {"UPDATE batch SET first=1", "tables", -1, batch},
	    {"UPDATE batch SET last=3", "tables", -1, batch},
	    {"UPDATE batch SET seq=4", "tables", -1, batch},
	    {"UPDATE batch SET n=2", "tables", -1, batch},
	    {"UPDATE batch SET adapter='xml'", "tables", -1, batch},
	    {"UPDATE batch SET seq=NULL", "tables", -1, batch},
	    {"UPDATE ack SET n=2", "tables", -1, ack},
	    {"UPDATE ack SET seq=5", "tables", -1, ack},
	    {"UPDATE ack SET seq=NULL", "tables", -1, ack},
	    {"UPDATE ack SET state='accepted'", "tables", -1, ack},
	    {"UPDATE ack SET adapter='xml'", "tables", -1, ack},
	    {"UPDATE purge_range SET first=1", "tables", -1, range},
	    {"UPDATE purge_range SET last=1", "tables", -1, range},
	    {"UPDATE purge_range SET n=2", "tables", -1, range},
	    {"UPDATE purge_range SET seq=7", "tables", -1, range},
	    {"DELETE FROM batch", "tables", -1, batch},
	    {"DELETE FROM ack", "tables", -1, ack},
	    {"DELETE FROM purge_range", "tables", -1, range},
	    {"UPDATE head SET root=x'00'", "head", -1, head},
	    {"UPDATE head SET size=NULL", "head", -1, head},
	    {"UPDATE head SET id=2", "head", -1, head},
	    {"UPDATE head SET note=x''", "head", -1, head},
	    {"INSERT INTO head SELECT 2,size,root,note FROM head", "head", -1,
		head},
	    {"DELETE FROM head", "head", -1, "there is no head row"},
	    {"UPDATE checkpoint SET size=4", "signatures", -1,
		"row of size 4 holds a note of size 5"},
	    {"UPDATE meta SET value='x' WHERE name='journal'", "tables", 0,
		"meta: journal"},
	    {"UPDATE meta SET value='x' WHERE name='origin'", "tables", 0,
		"meta: origin"},
	    {"UPDATE meta SET value='x' WHERE name='vkey'", "tables", 0,
		"meta: vkey"},
	    {"PRAGMA application_id=1", "file", -1, "application id"},
	    {"PRAGMA user_version=1", "file", -1, "schema version"},
	    {"DROP TABLE stamp; CREATE TABLE stamp(size INTEGER PRIMARY KEY,"
	     "at INTEGER,token BLOB)",
		"file", -1, "tables are not as"},
	    {"DROP TABLE stamp; CREATE TABLE stamp(size INTEGER PRIMARY KEY,"
	     "at INTEGER,token TEXT) STRICT",
		"file", -1, "tables are not as"},
	    {"ALTER TABLE leaf RENAME COLUMN at TO time", "file", -1,
		"tables are not as"},
	};

	(void)state;
	sql = NULL;
	run_story(story, NULL, -1, NULL);
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
		sql = all[i].sql;
		run_story(story, all[i].check, all[i].seq, all[i].words);
	}
}

/* Whoever else has the file: that is nothing about what is in it. */
static void
test_locked(void **state)
{
	char folder[] = "/tmp/verify.XXXXXX", path[160];
	sqlite3 *other;
	struct fix f;
	json_t *o;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/story.db", folder);
	fix_init(&f, 7);
	fix_open(&f);
	f.note_size = f.n;
	fix_write(&f, path);
	assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
	fix_run(other,
	    "PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=WAL; UPDATE head SET id=1");
	o = run_journal(path, f.vkey, NULL, 0);
	assert_int_equal(run_status(o), 3);
	assert_false(run_found(o, NULL, -1, NULL));
	json_decref(o);
	sqlite3_close(other);
	unlink(path);
	rmdir(folder);
	fix_free(&f);
}

/* Reads of files from one on fail, that one alone or all after it. */
static struct {
	sqlite3_vfs vfs;
	const sqlite3_io_methods *real;
	sqlite3_io_methods methods;
	int result;
	unsigned left;
	bool once, failed;
} disk;

static int
read_or_fail(sqlite3_file *file, void *to, int n, sqlite3_int64 at)
{
	bool fails = disk.left > 0 && --disk.left == 0;

	if (fails || (disk.failed && !disk.once)) {
		disk.failed = true;
		return disk.result;
	}
	return disk.real->xRead(file, to, n, at);
}

static int
open_disk(
    sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *out)
{
	sqlite3_vfs *real = vfs->pAppData;
	int r = real->xOpen(real, name, file, flags, out);

	if (r != SQLITE_OK)
		return r;
	assert_true(disk.real == NULL || disk.real == file->pMethods);
	disk.real = file->pMethods;
	disk.methods = *file->pMethods;
	disk.methods.xRead = read_or_fail;
	file->pMethods = &disk.methods;
	return r;
}

/* How many reads there were until all of them could be had. */
static unsigned
sweep(const char *path, const char *vkey, int result, bool once)
{
	unsigned n = 0;
	json_t *o;
	bool again;
	int status;

	do {
		disk.left = ++n;
		disk.result = result;
		disk.once = once;
		disk.failed = false;
		o = run_journal(path, vkey, NULL, 0);
		status = run_status(o);
		/* SQLite asks a lock again by itself. */
		again = status == 0 && once && result == SQLITE_BUSY;
		if (status != (disk.failed && !again ? 3 : 0) ||
		    run_found(o, NULL, -1, NULL)) {
			run_print(o);
			fail_msg("status %d at read %u", status, n);
		}
		json_decref(o);
	} while (disk.failed);
	return n;
}

/* A disk that fails says nothing about what is on it. */
static void
test_unread(void **state)
{
	char folder[] = "/tmp/verify.XXXXXX", path[160];
	sqlite3_vfs *real = sqlite3_vfs_find(NULL);
	struct fix f;

	(void)state;
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/story.db", folder);
	fix_init(&f, 7);
	fix_open(&f);
	sql = NULL;
	story(&f);
	f.note_size = f.n;
	fix_write(&f, path);
	disk.vfs = *real;
	disk.vfs.zName = "failing";
	disk.vfs.pAppData = real;
	disk.vfs.xOpen = open_disk;
	assert_int_equal(sqlite3_vfs_register(&disk.vfs, 1), SQLITE_OK);
	for (int once = 0; once < 2; once++) {
		assert_true(sweep(path, f.vkey, SQLITE_IOERR_READ, once) > 10);
		assert_true(sweep(path, f.vkey, SQLITE_BUSY, once) > 10);
	}
	assert_int_equal(sqlite3_vfs_unregister(&disk.vfs), SQLITE_OK);
	unlink(path);
	rmdir(folder);
	fix_free(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_locked),
	    cmocka_unit_test(test_unread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
