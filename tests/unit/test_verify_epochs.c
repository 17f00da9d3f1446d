#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/verify_fixture.h"

#include "export/verify_note.h"
#include "tests/unit/verify_run.h"

/*
 * A journal of three epochs and what a thief makes of it who has a key. Each
 * forgery is one that a naive verifier takes: one that is content when every
 * checkpoint is signed by some key of the journal and gives the right root.
 */

#define KEYS 5
#define THIEF 4
#define PATH_LEN 128

struct keys {
	struct crypto_key *key[KEYS];
	uint8_t public[KEYS][32];
	char vkey[KEYS][256];
};

struct story {
	struct fix f;
	struct keys keys;
	char folder[64], path[PATH_LEN];
	uint64_t turn[2];     /* numbers of the key records */
	const char *text;     /* of a post in epoch 0 */
	unsigned second;      /* the key that epoch 1 gets */
	const char *clean[2]; /* of the key records */
	const char *number;   /* of the first key record */
	const char *reason;   /* of it; NULL: the one that goes with clean */
	const char *vkey;     /* of it; NULL: that of `second` */
	const char *origin;   /* of record 0; NULL: the right one */
	sqlite3 *db;
};

static void
use_key(struct story *s, unsigned k)
{
	s->f.key = s->keys.key[k];
	memcpy(s->f.public, s->keys.public[k], 32);
}

static void
put_digest(const struct story *s, unsigned k, char out[65])
{
	struct buf hex;
	uint8_t digest[32];

	buf_init(&hex);
	crypto_sha256(s->keys.public[k], 32, digest);
	text_put_hex(&hex, digest, 32);
	snprintf(out, 65, "%s", buf_text(&hex));
	buf_release(&hex);
}

static void
begin(struct story *s)
{
	memset(s, 0, sizeof(*s));
	for (unsigned k = 0; k < KEYS; k++) {
		fix_init(&s->f, (uint8_t)(k + 1));
		s->keys.key[k] = s->f.key;
		memcpy(s->keys.public[k], s -> f.public, 32);
		snprintf(
		    s->keys.vkey[k], sizeof(s->keys.vkey[k]), "%s", s->f.vkey);
		free(s->f.rec);
	}
	fix_init(&s->f, 1);
	crypto_key_free(s->f.key);
	use_key(s, 0);
	snprintf(s->folder, sizeof(s->folder), "/tmp/epochs.XXXXXX");
	assert_non_null(mkdtemp(s->folder));
	snprintf(s->path, sizeof(s->path), "%s/journal.db", s->folder);
	s->text = "as it was said";
	s->second = 1;
	s->clean[0] = s->clean[1] = "yes";
	s->number = "1";
}

static void
key_record(struct story *s, const char *number, unsigned key, unsigned next,
    const char *clean)
{
	const char *reason = strcmp(clean, "yes") == 0 ? "daily" : "compromise";
	bool first = s->f.n == s->turn[0];
	char digest[65];

	put_digest(s, next, digest);
	fix_control(&s->f, 135,
	    "epoch %s\nvkey %s\nnext %s\nreason %s\nclean %s\n", number,
	    first && s->vkey != NULL ? s->vkey : s->keys.vkey[key], digest,
	    first && s->reason != NULL ? s->reason : reason, clean);
}

/* Records 0 to 12; key records 4 and 8. */
static void
tell(struct story *s)
{
	char digest[65];

	put_digest(s, 1, digest);
	fix_control(&s->f, 128,
	    "journal %s\norigin %s\nvkey %s\nnext %s\nsoftware chancery/0.1\n"
	    "segment 0\nnote -\n",
	    FIX_UUID, s->origin != NULL ? s->origin : s->f.origin,
	    s->keys.vkey[0], digest);
	fix_join(&s->f, "ann");
	fix_post(&s->f, s->text);
	fix_post(&s->f, "two");
	s->turn[0] = s->f.n;
	key_record(s, s->number, s->second, 2, s->clean[0]);
	for (unsigned i = 0; i < 3; i++)
		fix_post(&s->f, "in epoch 1");
	s->turn[1] = s->f.n;
	key_record(s, "2", 2, 3, s->clean[1]);
	for (unsigned i = 0; i < 4; i++)
		fix_post(&s->f, "in epoch 2");
	fix_write(&s->f, s->path);
	assert_int_equal(sqlite3_open(s->path, &s->db), SQLITE_OK);
}

/* A note by one key, or by two. */
static void
put_note(
    struct story *s, uint64_t size, unsigned key, int other, struct buf *note)
{
	struct buf more;
	const char *line;

	buf_init(&more);
	use_key(s, key);
	fix_note(&s->f, size, note);
	if (other >= 0) {
		use_key(s, (unsigned)other);
		fix_note(&s->f, size, &more);
		line = strstr(buf_text(&more), "\n\n") + 2;
		buf_put_text(note, line);
	}
	buf_release(&more);
}

static void
put_row(struct story *s, uint64_t size, unsigned key, int other)
{
	sqlite3_stmt *q =
	    fix_prepare(s->db, "INSERT INTO checkpoint VALUES(?,?)");
	struct buf note;

	buf_init(&note);
	put_note(s, size, key, other, &note);
	sqlite3_bind_int64(q, 1, (sqlite3_int64)size);
	fix_bind(q, 2, note.data, note.len);
	fix_step(q);
	sqlite3_finalize(q);
	buf_release(&note);
}

static void
put_head_of(struct story *s, uint64_t size, unsigned key)
{
	sqlite3_stmt *q = fix_prepare(s->db, "UPDATE head SET note = ?");
	struct buf note;

	buf_init(&note);
	put_note(s, size, key, -1, &note);
	fix_bind(q, 1, note.data, note.len);
	fix_step(q);
	sqlite3_finalize(q);
	buf_release(&note);
}

static void
put_head(struct story *s, unsigned key)
{
	put_head_of(s, s->f.n, key);
}

/* All checkpoints as an honest journal has them. */
static void
put_honest(struct story *s)
{
	put_row(s, 2, 0, -1);
	put_row(s, s->turn[0] + 1, 0, -1);
	put_row(s, s->turn[0] + 3, s->second, -1);
	put_row(s, s->turn[1] + 1, s->second, -1);
	put_head(s, 2);
}

/* Signed by any of the keys that the journal tells, with the right root. */
static bool
naive_note(const struct story *s, struct view text)
{
	const unsigned told[] = {0, s->second, 2};
	struct verify_note note;
	struct verify_key key;
	uint8_t root[32];
	unsigned line;
	const char *why;

	if (!verify_note_parse(text, &note, &line, &why))
		return false;
	fix_mth(&s->f, 0, note.size, root);
	for (unsigned i = 0; i < 3; i++)
		if (memcmp(root, note.root, 32) == 0 &&
		    verify_key_parse(
			view_text(s->keys.vkey[told[i]]), &key, &why) &&
		    verify_note_signed(&note, &key, &why))
			return true;
	return false;
}

static bool
naive(const struct story *s)
{
	sqlite3_stmt *q = fix_prepare(s->db,
	    "SELECT note FROM checkpoint UNION ALL SELECT note FROM head"
	    " WHERE note IS NOT NULL");
	unsigned count = 0;
	bool ok = true;

	for (; sqlite3_step(q) == SQLITE_ROW; count++)
		ok &= naive_note(s,
		    view_of(sqlite3_column_blob(q, 0),
			(size_t)sqlite3_column_bytes(q, 0)));
	sqlite3_finalize(q);
	return ok && count > 0;
}

static json_t *
judge(struct story *s, const char *vkey, const struct verify_outside *outside)
{
	assert_int_equal(sqlite3_close(s->db), SQLITE_OK);
	s->db = NULL;
	return run_journal(s->path, vkey, outside, outside != NULL);
}

static void
end(struct story *s, json_t *report)
{
	json_decref(report);
	s->f.key = NULL;
	fix_free(&s->f);
	for (unsigned k = 0; k < KEYS; k++)
		crypto_key_free(s->keys.key[k]);
	assert_int_equal(unlink(s->path), 0);
	assert_int_equal(rmdir(s->folder), 0);
}

/* The naive one is content, ours finds exactly this. */
static void
refused(struct story *s, const char *check, int64_t seq, const char *words)
{
	bool taken = naive(s);
	json_t *report = judge(s, s->keys.vkey[0], NULL);

	assert_true(taken);
	if (run_status(report) != 1 || !run_found(report, check, seq, words))
		run_print(report);
	assert_int_equal(run_status(report), 1);
	assert_true(run_found(report, check, seq, words));
	end(s, report);
}

static void
an_honest_journal_holds(void **state)
{
	struct story s;
	json_t *report;

	(void)state;
	begin(&s);
	tell(&s);
	put_honest(&s);
	assert_true(naive(&s));
	report = judge(&s, s.keys.vkey[0], NULL);
	if (run_status(report) != 0)
		run_print(report);
	assert_int_equal(run_status(report), 0);
	assert_int_equal(run_count(report, "epochs"), 3);
	assert_true(run_noted(report,
	    "records 9-12 are of the newest epoch, 2: whoever has its key "
	    "could have written them anew"));
	json_decref(report);
	report = run_journal(s.path, s.keys.vkey[1], NULL, 0);
	assert_int_equal(run_status(report), 0);
	assert_true(run_noted(report, "the key given is that of epoch 1"));
	end(&s, report);
}

/* Epoch 0 was rewritten, and the head signed anew with the stolen key. */
static void
old_epoch_rewritten(void **state)
{
	struct story s;

	(void)state;
	begin(&s);
	s.text = "as the thief wants it";
	tell(&s);
	put_head(&s, 2);
	refused(&s, "epochs", 4, "epoch 0 has no closing checkpoint");
}

static void
all_signed_anew(void **state)
{
	struct story s;

	(void)state;
	begin(&s);
	s.text = "as the thief wants it";
	tell(&s);
	put_row(&s, 2, 2, -1);
	put_row(&s, s.turn[0] + 1, 2, -1);
	put_row(&s, s.turn[1] + 1, 2, -1);
	put_head(&s, 2);
	refused(&s, "epochs", 8,
	    "the checkpoint of size 5 is signed by the key of epoch 2, but "
	    "its size is of epoch 0");
}

static void
signed_by_two(void **state)
{
	struct story s;

	(void)state;
	begin(&s);
	tell(&s);
	put_row(&s, 2, 0, 2);
	put_row(&s, s.turn[0] + 1, 0, -1);
	put_row(&s, s.turn[1] + 1, 1, -1);
	put_head(&s, 2);
	refused(&s, "epochs", 8, "size 2 is signed by the key of epoch 2");
}

/* Who stole the first key goes on with one of his own. */
static void
turned_to_the_thief(void **state)
{
	struct story s;

	(void)state;
	begin(&s);
	s.second = THIEF;
	tell(&s);
	put_honest(&s);
	refused(&s, "epochs", 4,
	    "the key of epoch 1 is not the one that record 0 announced");
}

static void
another_genesis(void **state)
{
	struct story s;
	json_t *report;

	(void)state;
	begin(&s);
	tell(&s);
	put_honest(&s);
	assert_true(naive(&s));
	report = judge(&s, s.keys.vkey[THIEF], NULL);
	assert_int_equal(run_status(report), 1);
	assert_true(run_found(report, "key", 0,
	    "the journal names another key than the one given"));
	end(&s, report);
}

static void
a_genesis_key_of_another_origin(void **state)
{
	struct story s;

	(void)state;
	begin(&s);
	s.origin = "other.test/journal/0a1b2c3d";
	tell(&s);
	put_honest(&s);
	refused(&s, "epochs", 0,
	    "the genesis key is of another origin than the journal");
}

static void
an_epoch_left_out(void **state)
{
	struct story s;

	(void)state;
	begin(&s);
	s.number = "3";
	tell(&s);
	put_honest(&s);
	refused(&s, "epochs", 4, "key record is not of epoch 1");
}

/*
 * He calls every change a compromise, so that no old key need sign. That is
 * a journal with a hole in it, and the report says where.
 */
static void
everything_called_a_theft(void **state)
{
	struct story s;
	json_t *report;

	(void)state;
	begin(&s);
	s.text = "as the thief wants it";
	s.clean[0] = s.clean[1] = "no";
	tell(&s);
	put_row(&s, s.turn[1] + 1, 2, -1);
	put_head(&s, 2);
	report = judge(&s, s.keys.vkey[0], NULL);
	assert_true(run_noted(report,
	    "records 0-4: epoch 0 ended without a closing checkpoint "
	    "(compromise, record 4); only keys of later epochs vouch for"));
	assert_true(run_noted(report, "records 0-8: epoch 1 ended"));
	assert_true(run_found(report, "epochs", 4,
	    "signed none of just the records up to its own"));
	end(&s, report);
}

/* The checkpoint that the key after it begins with is a row all the same. */
static void
theft_without_its_row(void **state)
{
	(void)state;
	for (int honest = 0; honest < 2; honest++) {
		struct story s;
		json_t *report;

		begin(&s);
		s.clean[0] = "no";
		tell(&s);
		put_row(&s, 2, 0, -1);
		if (honest)
			put_row(&s, s.turn[0] + 1, 1, -1);
		put_row(&s, s.turn[0] + 3, 1, -1);
		put_row(&s, s.turn[1] + 1, 1, -1);
		put_head(&s, 2);
		report = judge(&s, s.keys.vkey[0], NULL);
		assert_int_equal(run_status(report), !honest);
		assert_int_equal(run_found(report, "epochs", 4,
				     "epoch 0 has no closing checkpoint"),
		    !honest);
		end(&s, report);
	}
}

/* A checkpoint of the true journal that somebody else holds. */
static void
keep_outside(struct story *s, struct verify_outside *o)
{
	memset(o, 0, sizeof(*o));
	buf_init(&o->text);
	put_note(s, s->f.n, 2, -1, &o->text);
	o->path = "outside";
	o->size = s->f.n;
	fix_mth(&s->f, 0, o->size, o->root);
	snprintf(o->origin, sizeof(o->origin), "%s", s->f.origin);
}

/* Cut back to a closing checkpoint: nothing inside shows that. */
static void
cut_back(void **state)
{
	struct verify_outside o;
	struct story s, cut;
	json_t *report;

	(void)state;
	begin(&s);
	tell(&s);
	keep_outside(&s, &o);
	end(&s, judge(&s, NULL, NULL));
	for (unsigned round = 0; round < 2; round++) {
		char digest[65];

		begin(&cut);
		put_digest(&cut, 1, digest);
		fix_control(&cut.f, 128,
		    "journal %s\norigin %s\nvkey %s\nnext %s\n"
		    "software chancery/0.1\nsegment 0\nnote -\n",
		    FIX_UUID, cut.f.origin, cut.keys.vkey[0], digest);
		fix_join(&cut.f, "ann");
		fix_post(&cut.f, cut.text);
		fix_post(&cut.f, "two");
		key_record(&cut, "1", 1, 2, "yes");
		fix_write(&cut.f, cut.path);
		assert_int_equal(sqlite3_open(cut.path, &cut.db), SQLITE_OK);
		cut.second = 1;
		put_row(&cut, 5, 0, -1);
		put_head(&cut, 0);
		assert_true(naive(&cut));
		report = judge(&cut, cut.keys.vkey[0], round == 0 ? NULL : &o);
		assert_int_equal(run_status(report), round == 0 ? 0 : 1);
		if (round == 0)
			assert_true(run_noted(
			    report, "records may be missing at the end"));
		else
			assert_true(run_found(report, "roots", -1,
			    "covers 13 records, the journal has 5: its end is "
			    "missing"));
		end(&cut, report);
	}
	buf_release(&o.text);
}

/* Who has the newest key writes the newest epoch anew. */
static void
newest_epoch_rewritten(void **state)
{
	struct verify_outside o;
	struct story s;
	json_t *report;

	(void)state;
	begin(&s);
	tell(&s);
	keep_outside(&s, &o);
	put_honest(&s);
	end(&s, judge(&s, NULL, NULL));
	for (unsigned round = 0; round < 2; round++) {
		begin(&s);
		tell(&s);
		assert_int_equal(sqlite3_close(s.db), SQLITE_OK);
		assert_int_equal(unlink(s.path), 0);
		while (s.f.n > s.turn[1] + 1) {
			struct fix_record *last = &s.f.rec[--s.f.n];

			free(last->leaf);
			free(last->part[0].data);
			free(last->part[1].data);
			memset(last, 0, sizeof(*last));
		}
		for (unsigned i = 0; i < 4; i++)
			fix_post(&s.f, "what was never said");
		fix_write(&s.f, s.path);
		assert_int_equal(sqlite3_open(s.path, &s.db), SQLITE_OK);
		put_honest(&s);
		assert_true(naive(&s));
		report = judge(&s, s.keys.vkey[0], round == 0 ? NULL : &o);
		assert_int_equal(run_status(report), round == 0 ? 0 : 1);
		if (round == 0)
			assert_true(run_noted(report,
			    "only a checkpoint from outside shows that"));
		else
			assert_true(run_found(report, "roots", -1,
			    "the records do not give the root that the "
			    "checkpoint from outside states for size 13"));
		end(&s, report);
	}
	buf_release(&o.text);
}

/* A keeper that died between the record and the closing checkpoint. */
static void
a_change_under_way(void **state)
{
	struct story s;
	json_t *report;

	(void)state;
	begin(&s);
	tell(&s);
	put_row(&s, 2, 0, -1);
	put_row(&s, s.turn[0] + 1, 0, -1);
	put_row(&s, s.turn[1], 1, -1);
	report = judge(&s, s.keys.vkey[0], NULL);
	assert_int_equal(run_status(report), 0);
	assert_true(run_noted(report,
	    "epoch 2 is about to begin (record 8): the closing checkpoint of "
	    "epoch 1 is not there yet"));
	end(&s, report);
}

/* The newest epoch's key has signed, and the one before has not closed. */
static void
the_last_change_without_its_row(void **state)
{
	struct story s;

	(void)state;
	begin(&s);
	tell(&s);
	put_row(&s, 2, 0, -1);
	put_row(&s, s.turn[0] + 1, 0, -1);
	put_head(&s, 2);
	refused(&s, "epochs", 8, "epoch 1 has no closing checkpoint");
}

/* The head's note goes with the next one: it closes nothing. */
static void
closed_by_the_head_alone(void **state)
{
	struct story s;

	(void)state;
	begin(&s);
	tell(&s);
	put_row(&s, 2, 0, -1);
	put_row(&s, s.turn[1] + 1, 1, -1);
	put_row(&s, s.f.n, 2, -1);
	put_head_of(&s, s.turn[0] + 1, 0);
	refused(&s, "epochs", 4, "epoch 0 has no closing checkpoint");
}

/* A key of that name with the right public half. */
static const char *
foreign_vkey(const struct story *s)
{
	static const char origin[] = "other.test/journal/0a1b2c3d";
	static char text[256];
	struct buf b, base64;
	uint8_t blob[33] = {1}, id[32];

	buf_init(&b);
	buf_init(&base64);
	memcpy(blob + 1, s->keys.public[1], 32);
	buf_printf(&b, "%s\n", origin);
	buf_put(&b, blob, sizeof(blob));
	crypto_sha256(b.data, b.len, id);
	text_put_base64(&base64, blob, sizeof(blob));
	snprintf(text, sizeof(text), "%s+%02x%02x%02x%02x+%s", origin, id[0],
	    id[1], id[2], id[3], buf_text(&base64));
	buf_release(&b);
	buf_release(&base64);
	return text;
}

static void
words_of_a_key_record(void **state)
{
	static const char clean[] =
	    "clean is \"no\" after a compromise and \"yes\" else";
	static const struct {
		const char *reason, *clean, *check, *finding;
		bool foreign;
	} breaches[] = {
	    {"weekly", "yes", "control", "key record: value malformed", false},
	    {"compromise", "yes", "epochs", clean, false},
	    {"daily", "no", "epochs", clean, false},
	    {"daily", "maybe", "epochs", clean, false},
	    {"daily", "maybe", "control", "value malformed", false},
	    {"daily", "yes", "epochs",
		"the key of epoch 1 is of another origin", true},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(breaches) / sizeof(breaches[0]); i++) {
		struct story s;
		json_t *report;

		begin(&s);
		s.reason = breaches[i].reason;
		s.clean[0] = breaches[i].clean;
		s.vkey = breaches[i].foreign ? foreign_vkey(&s) : NULL;
		tell(&s);
		put_honest(&s);
		report = judge(&s, s.keys.vkey[0], NULL);
		assert_int_equal(run_status(report), 1);
		if (!run_found(
			report, breaches[i].check, 4, breaches[i].finding)) {
			run_print(report);
			fail_msg("not found: %s", breaches[i].finding);
		}
		end(&s, report);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(an_honest_journal_holds),
	    cmocka_unit_test(old_epoch_rewritten),
	    cmocka_unit_test(all_signed_anew),
	    cmocka_unit_test(signed_by_two),
	    cmocka_unit_test(turned_to_the_thief),
	    cmocka_unit_test(another_genesis),
	    cmocka_unit_test(a_genesis_key_of_another_origin),
	    cmocka_unit_test(an_epoch_left_out),
	    cmocka_unit_test(everything_called_a_theft),
	    cmocka_unit_test(theft_without_its_row),
	    cmocka_unit_test(cut_back),
	    cmocka_unit_test(newest_epoch_rewritten),
	    cmocka_unit_test(a_change_under_way),
	    cmocka_unit_test(the_last_change_without_its_row),
	    cmocka_unit_test(closed_by_the_head_alone),
	    cmocka_unit_test(words_of_a_key_record),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
