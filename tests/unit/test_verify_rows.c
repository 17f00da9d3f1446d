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

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_rows),
	    cmocka_unit_test(test_locked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
