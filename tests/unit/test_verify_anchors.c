/* Cosignatures, time-stamps and what names them, sound but for one thing. */

#include "export/verify_anchors.h"
#include "tests/unit/token_fixture.h"
#include "tests/unit/verify_story.h"

#define TIME 1795335000
#define STAMPED 1795335009
#define SIZE 6 /* of the checkpoint that others hold */
#define WITNESSED 6
#define TIMED 7
#define BEAT 8
#define PURGE 9

static const char sha[] =
    "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

struct breach {
	const char *check;
	int64_t seq; /* of the finding */
	const char *finding;
	struct {
		uint64_t record;
		const char *from, *to;
	} edit;
	const char *sql; /* what is done to the rows */
	bool forged;     /* the signature is of another key */
	bool longer;     /* the token has one byte more than was told */
	bool other;      /* the newest policy names another witness */
	bool impostor;   /* the witness has the name of another one */
};

static const struct breach *breach;

struct witness {
	const char *name;
	struct crypto_key *key;
	uint8_t id[4];
	struct buf vkey;
};

static void
witness_init(struct witness *w, const char *name, uint8_t seed_byte)
{
	uint8_t seed[32] = {seed_byte}, blob[33] = {0x04}, hash[32];
	struct buf b;

	w->name = name;
	w->key = crypto_key_new(seed);
	assert_non_null(w->key);
	crypto_key_public(w->key, blob + 1);
	buf_init(&b);
	buf_printf(&b, "%s\n", name);
	buf_put(&b, blob, sizeof(blob));
	crypto_sha256(b.data, b.len, hash);
	memcpy(w->id, hash, sizeof(w->id));
	buf_release(&b);
	buf_init(&w->vkey);
	buf_printf(&w->vkey, "%s+%02x%02x%02x%02x+", name, hash[0], hash[1],
	    hash[2], hash[3]);
	text_put_base64(&w->vkey, blob, sizeof(blob));
}

static void
witness_free(struct witness *w)
{
	crypto_key_free(w->key);
	buf_release(&w->vkey);
}

/* The line of the checkpoint, made with the key of `by`. */
static void
put_line(struct buf *out, const struct fix *f, const struct witness *w,
    const struct witness *by)
{
	uint8_t blob[76] = {0};
	struct buf note, message;
	const uint8_t *end;

	buf_init(&note);
	buf_init(&message);
	fix_note(f, SIZE, &note);
	end = memmem(note.data, note.len, "\n\n", 2);
	buf_printf(&message, "cosignature/v1\ntime %d\n", TIME);
	buf_put(&message, note.data, (size_t)(end + 1 - note.data));
	memcpy(blob, w->id, 4);
	for (unsigned i = 0; i < 4; i++)
		blob[11 - i] = (uint8_t)(TIME >> (8 * i));
	assert_true(crypto_sign(by->key, message.data, message.len, blob + 12));
	buf_printf(out, "\xe2\x80\x94 %s ", w->name);
	text_put_base64(out, blob, sizeof(blob));
	buf_put_text(out, "\n");
	buf_release(&note);
	buf_release(&message);
}

static void
put_token(struct buf *out, const struct fix *f)
{
	uint8_t hash[32];
	struct buf note;

	buf_init(&note);
	fix_note(f, SIZE, &note);
	crypto_sha256(note.data, note.len, hash);
	token_put(out, hash, STAMPED);
	buf_release(&note);
}

static void
put_hash(struct buf *out, const struct buf *bytes)
{
	uint8_t hash[32];

	crypto_sha256(bytes->data, bytes->len, hash);
	text_put_hex(out, hash, sizeof(hash));
}

/* The record, with the words that the breach changes in it. */
static void
say(struct fix *f, unsigned kind, const char *fields)
{
	const char *at = NULL;

	if (breach != NULL && breach->edit.from != NULL &&
	    breach->edit.record == f->n) {
		at = strstr(fields, breach->edit.from);
		assert_non_null(at);
	}
	if (at == NULL)
		fix_control(f, kind, "%s", fields);
	else
		fix_control(f, kind, "%.*s%s%s", (int)(at - fields), fields,
		    breach->edit.to, at + strlen(breach->edit.from));
}

static void
say_policy(struct fix *f, struct witness *w)
{
	struct buf b;

	buf_init(&b);
	buf_printf(&b,
	    "required records\nafter 0\napprovals 0\nquorum 1\n"
	    "witnesses %s\nstamp yes\nclasses -\n",
	    buf_text(&w->vkey));
	say(f, 134, buf_text(&b));
	buf_release(&b);
}

/* Records that tell of line and token, and the rows of these. */
static void
say_evidence(struct fix *f, const struct buf *line, const struct buf *token)
{
	struct buf b;

	buf_init(&b);
	buf_printf(&b,
	    "what witness\nname a.example\nstate ok\nsize %d\ntime %d\nsha256 ",
	    SIZE, TIME);
	put_hash(&b, line);
	buf_put_text(&b, "\n");
	say(f, 141, buf_text(&b));
	buf_clear(&b);
	buf_printf(&b,
	    "what stamp\nname tsa.example\nstate ok\nsize %d\ntime %d\nsha256 ",
	    SIZE, STAMPED);
	put_hash(&b, token);
	buf_put_text(&b, "\n");
	say(f, 141, buf_text(&b));
	buf_clear(&b);
	buf_put_text(&b,
	    "every 60\nevents 1\nqueue 1\nsync yes\nerror 1\ntai 37\nanchor ");
	put_hash(&b, token);
	buf_put_text(&b, "\n");
	say(f, 133, buf_text(&b));
	buf_clear(&b);
	text_put_hex(&b, line->data, line->len);
	buf_printf(&f->sql,
	    "INSERT INTO cosig VALUES(%d,'a.example',x'%s',%d);", SIZE,
	    buf_text(&b), TIME);
	buf_clear(&b);
	text_put_hex(&b, token->data, token->len);
	if (breach != NULL && breach->longer)
		buf_put_text(&b, "00");
	buf_printf(&f->sql, "INSERT INTO stamp VALUES(%d,%d,x'%s');", SIZE,
	    STAMPED, buf_text(&b));
	buf_release(&b);
}

/* Records 0 to 3, resting on the checkpoint. */
static void
purge_anchored(struct fix *f)
{
	struct buf b, hex;

	buf_init(&b);
	buf_init(&hex);
	for (unsigned i = 0; i < 4; i++)
		buf_put(&b, f->rec[i].hash, 32);
	put_hash(&hex, &b);
	buf_clear(&b);
	buf_printf(&b,
	    "purge 1\nfirst 0\nlast 3\ncount 1\nranges 0-3\nleaves %s\n"
	    "acks records:5\nheld 0\nhold -\napprovals -\nanchor %d\n"
	    "policy 2\n",
	    buf_text(&hex), SIZE);
	say(f, 131, buf_text(&b));
	buf_put_text(&f->sql, "INSERT INTO purge_range VALUES(0,3,1,9);");
	f->rec[3].purged = true;
	buf_release(&b);
	buf_release(&hex);
}

static void
story(struct fix *f)
{
	struct witness a, b;
	struct buf line, token;

	witness_init(
	    &a, "a.example", breach != NULL && breach->impostor ? 3 : 1);
	witness_init(&b, "b.example", 2);
	buf_init(&line);
	buf_init(&token);
	say_policy(f, &a);
	say_policy(f, breach != NULL && breach->other ? &b : &a);
	fix_post(f, "word");
	fix_batch(f, "records", 1, 0, 3);
	fix_ack(f, "records", 1, 0, 3, "l", sha, 1);
	assert_int_equal(f->n, SIZE);
	f->stored[f->stored_count++] = SIZE;
	put_line(&line, f, &a, breach != NULL && breach->forged ? &b : &a);
	put_token(&token, f);
	say_evidence(f, &line, &token);
	assert_int_equal(f->n, PURGE);
	purge_anchored(f);
	if (breach != NULL && breach->sql != NULL)
		buf_put_text(&f->sql, breach->sql);
	buf_release(&line);
	buf_release(&token);
	witness_free(&a);
	witness_free(&b);
}

#define ANCHORS "anchors"
#define NOT_THERE "what this anchor record tells of is not there"
#define ROW(words) "checkpoint of size 6: " words

#define MALFORMED ROW("a cosignature line is malformed")
#define LINE(from, to)                                                         \
	"UPDATE cosig SET line=CAST(replace(CAST(line AS TEXT)," from "," to   \
	") AS BLOB);"

static void
test_sound(void **state)
{
	(void)state;
	run_story(story, NULL, -1, NULL);
}

static void
test_breaches(void **state)
{
	static const struct breach breaches[] = {
	    {ANCHORS, -1, ROW("the cosignature of a.example is wrong"),
		.forged = true},
	    {ANCHORS, -1, ROW("name and time of a cosignature are not"),
		.sql = "UPDATE cosig SET at=at+1;"},
	    {ANCHORS, -1, ROW("name and time of a cosignature are not"),
		.sql = "UPDATE cosig SET name='b.example';"},
	    {ANCHORS, -1, ROW("name and time of a cosignature are not"),
		.sql = "UPDATE cosig SET name='a.example2';"},
	    {ANCHORS, -1, MALFORMED, .sql = "UPDATE cosig SET line=x'00';"},
	    {ANCHORS, -1, MALFORMED, .sql = LINE("'\u2014 '", "'----'")},
	    {ANCHORS, -1, MALFORMED, .sql = LINE("char(10)", "'x'")},
	    {ANCHORS, -1, MALFORMED, .sql = LINE("'example '", "'examplex'")},
	    {ANCHORS, -1, MALFORMED,
		.sql = LINE("'.'", "' '") "UPDATE cosig SET name='a example';"},
	    {ANCHORS, -1, MALFORMED,
		.sql = LINE("'.'", "'+'") "UPDATE cosig SET name='a+example';"},
	    {ANCHORS, -1, "size 5: cosigned, but there is no such checkpoint",
		.sql = "UPDATE cosig SET size=5;"},
	    {ANCHORS, -1, ROW("its time-stamp is not of this checkpoint"),
		.sql = "UPDATE stamp SET token=x'3000';"},
	    {ANCHORS, -1, ROW("its time-stamp is not of this checkpoint"),
		.longer = true},
	    {ANCHORS, -1, ROW("its time-stamp tells another time"),
		.sql = "UPDATE stamp SET at=at+1;"},
	    {ANCHORS, -1, "size 5: time-stamped, but there is no such",
		.sql = "UPDATE stamp SET size=5;"},
	    {ANCHORS, -1, "size 0: a row has no size or no time",
		.sql = "UPDATE stamp SET at=NULL;"},
	    {ANCHORS, WITNESSED, NOT_THERE, .sql = "DELETE FROM cosig;"},
	    {ANCHORS, TIMED, NOT_THERE, .longer = true},
	    {ANCHORS, TIMED, NOT_THERE, .sql = "DELETE FROM stamp;"},
	    {ANCHORS, TIMED, NOT_THERE, .sql = "UPDATE stamp SET at=at+1;"},
	    {ANCHORS, BEAT, "the evidence that this beat names is not there",
		.sql = "DELETE FROM stamp;"},
	    {ANCHORS, WITNESSED, NOT_THERE,
		.edit = {WITNESSED, "size 6", "size 5"}},
	    {ANCHORS, WITNESSED, NOT_THERE,
		.edit = {WITNESSED, "000\n", "001\n"}},
	    {ANCHORS, WITNESSED, NOT_THERE,
		.edit = {WITNESSED, "a.example", "b.example"}},
	    {ANCHORS, WITNESSED, NOT_THERE,
		.edit = {WITNESSED, "size 6", "size 0"}},
	    {ANCHORS, WITNESSED, "of a checkpoint that covers itself",
		.edit = {WITNESSED, "size 6", "size 7"}},
	    {"control", WITNESSED, "value malformed",
		.edit = {WITNESSED, "state ok", "state well"}},
	    {"control", WITNESSED, "value malformed",
		.edit = {WITNESSED, "what witness", "what friend"}},
	    {"control", TIMED, "value malformed",
		.edit = {TIMED, "state ok", "state failed"}},
	    {"purges", PURGE, "0 of 1 witnesses", .sql = "DELETE FROM cosig;"},
	    {"purges", PURGE, "0 of 1 witnesses", .forged = true},
	    /* It holds, and is of a witness that the policy names no more. */
	    {"purges", PURGE, "0 of 1 witnesses", .other = true},
	    {"purges", PURGE, "without a time-stamp",
		.sql = "DELETE FROM stamp;"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(breaches) / sizeof(breaches[0]); i++) {
		breach = &breaches[i];
		run_story(story, breach->check, breach->seq, breach->finding);
	}
	breach = NULL;
}

/* How far the witness whose key we have vouches is told, and no farther. */
static void
test_given(void **state)
{
	static const struct {
		struct breach breach;
		bool counts;
	} cases[] = {
	    {.counts = true},
	    {{.impostor = true}, false},
	    {{.forged = true}, false},
	    {{.sql = "DELETE FROM cosig;"}, false},
	    {{.sql = "UPDATE leaf SET bytes=CAST(replace(CAST(bytes AS TEXT),"
		     "'location l','location m') AS BLOB) WHERE seq=5;"},
		false},
	};
	struct witness a;
	const char *why;

	(void)state;
	witness_init(&a, "a.example", 1);
	assert_true(verify_anchors_trust(buf_view(&a.vkey), &why));
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		bool counts = cases[i].counts;
		json_t *o;

		breach = &cases[i].breach;
		o = judge_story(story);
		if (run_noted(o,
			"records 0-5 are of the newest epoch, 0, and "
			"cosigned by witness a.example:") != counts ||
		    !run_noted(o,
			counts ? "records 6-9 are of the newest epoch, 0: "
				 "whoever has its key could"
			       : "records 0-9 are of the newest epoch, 0: "
				 "whoever has its key could")) {
			run_print(o);
			fail_msg("case %zu", i);
		}
		if (cases[i].breach.impostor)
			assert_false(run_noted(o, "a.example has cosigned"));
		json_decref(o);
	}
	breach = NULL;
	witness_free(&a);
}

/* Each byte of a witness's key counts, and its length. */
static void
test_keys(void **state)
{
	struct witness w;
	const char *why;
	struct buf b;

	(void)state;
	witness_init(&w, "a.example", 3);
	buf_init(&b);
	for (size_t i = 0; i < w.vkey.len; i++) {
		buf_clear(&b);
		buf_put_view(&b, buf_view(&w.vkey));
		b.data[i] ^= 1;
		if (verify_anchors_trust(buf_view(&b), &why))
			fail_msg("taken: %s", buf_text(&b));
		assert_false(
		    verify_anchors_trust(view_of(w.vkey.data, i), &why));
	}
	assert_true(verify_anchors_trust(buf_view(&w.vkey), &why));
	buf_release(&b);
	witness_free(&w);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_sound),
	    cmocka_unit_test(test_breaches),
	    /* The last ones: their keys stay. */
	    cmocka_unit_test(test_given),
	    cmocka_unit_test(test_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
