/* What an archive has beside a record: only what the record names holds. */

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "export/verify_named.h"
#include "tests/unit/verify_fixture.h"

#define TOKEN "\x30\x03 a token over "
#define LINE "\xe2\x80\x94 w.example YWJjZGVmZ2hpamtsbW5vcA==\n"
#define SELECTOR "{\"v\":1}"
#define REST "every 60\nevents 0\nqueue 1\nsync yes\nerror 1\ntai 37\n"

enum { OPEN, POST, HOLD, WITNESS, STAMP, BEAT, KEY, PURGE, LATER, RECORDS };

static struct fix f;
static struct verify_key key;
static char hex[3][65]; /* of the line, the token, and note8 */
static struct buf note3, note7, note8, token, salt, selector;

static void
hash_hex(const void *p, size_t n, char out[65])
{
	uint8_t hash[32];

	crypto_sha256(p, n, hash);
	for (int i = 0; i < 32; i++)
		snprintf(out + 2 * i, 3, "%02x", hash[i]);
}

/* Nine records, of which all control records name something. */
static int
setup(void **state)
{
	uint8_t raw[32] = {7}, hash[32];
	struct buf bare, bytes;
	const char *why;

	(void)state;
	fix_init(&f, 7);
	assert_true(verify_key_parse(view_text(f.vkey), &key, &why));
	fix_open(&f);
	fix_post(&f, "one");
	fix_hold_on(&f, 1, "uid:0", SELECTOR, "NULL,NULL,NULL,NULL");
	text_put_base64(&salt, raw, sizeof(raw));
	text_put_base64(&selector, SELECTOR, strlen(SELECTOR));
	buf_init(&bare);
	buf_init(&bytes);
	fix_note(&f, 3, &bare);
	buf_put_view(&note3, buf_view(&bare));
	buf_put_text(&note3, LINE);
	crypto_sha256(bare.data, bare.len, hash);
	buf_put_text(&bytes, TOKEN);
	buf_put(&bytes, hash, sizeof(hash));
	text_put_base64(&token, bytes.data, bytes.len);
	hash_hex(LINE, strlen(LINE), hex[0]);
	hash_hex(bytes.data, bytes.len, hex[1]);
	fix_control(&f, 141,
	    "what witness\nname w.example\nstate ok\nsize 3\ntime 5\n"
	    "sha256 %s\n",
	    hex[0]);
	fix_control(&f, 141,
	    "what stamp\nname h/p\nstate ok\nsize 3\ntime 5\nsha256 %s\n",
	    hex[1]);
	fix_control(&f, 133, REST "anchor %s\n", hex[0]);
	fix_control(&f, 135,
	    "epoch 1\nvkey %s\nnext " FIX_NEXT "\nreason daily\nclean yes\n",
	    f.vkey);
	fix_note(&f, 7, &note7);
	fix_control(&f, 131,
	    "purge 1\nfirst 1\nlast 1\ncount 1\nranges 1\nleaves %s\n"
	    "acks a:3\nheld 0\nhold -\napprovals -\nanchor 3\npolicy 0\n",
	    hex[0]);
	fix_note(&f, 8, &note8);
	hash_hex(note8.data, note8.len, hex[2]);
	fix_control(&f, 128,
	    "journal %s\norigin %s\nvkey %s\nnext " FIX_NEXT
	    "\nsoftware chancery/0.1\nsegment 1\nnote %s\n",
	    FIX_UUID, f.origin, f.vkey, hex[2]);
	assert_int_equal(f.n, RECORDS);
	buf_release(&bytes);
	buf_release(&bare);
	return 0;
}

static int
teardown(void **state)
{
	(void)state;
	buf_release(&note3);
	buf_release(&note7);
	buf_release(&note8);
	buf_release(&token);
	buf_release(&salt);
	buf_release(&selector);
	fix_free(&f);
	return 0;
}

/* Findings about a record with that beside it; known: of its key. */
static uint64_t
judge(int seq, const struct verify_named *n, const struct verify_key *by,
    bool *known)
{
	struct verify_report *r = verify_report_new();
	struct verify_leaf leaf;
	const char *why;
	unsigned line;
	uint64_t count;

	verify_report_begin(r, "x", "archive");
	if (!verify_leaf_parse(view_text(f.rec[seq].leaf), &leaf, &line, &why))
		fail_msg("record %d, line %u: %s", seq, line, why);
	*known = verify_named(&leaf, n, NULL, by, r);
	count = verify_report_findings(r);
	verify_report_free(r);
	return count;
}

static struct verify_named
with(enum verify_named_what what, const struct buf *b)
{
	struct verify_named n = {0};

	n.text[what] = buf_view(b);
	return n;
}

static void
only_at_the_record_that_names_it(void **state)
{
	const struct verify_named three = with(VERIFY_NAMED_NOTE, &note3);
	const struct verify_named seven = with(VERIFY_NAMED_NOTE, &note7);
	const struct verify_named eight = with(VERIFY_NAMED_NOTE, &note8);
	struct verify_named words = with(VERIFY_NAMED_SALT, &salt);
	struct verify_named stamp = three, none = {0};
	bool known;

	(void)state;
	words.text[VERIFY_NAMED_SELECTOR] = buf_view(&selector);
	stamp.text[VERIFY_NAMED_TOKEN] = buf_view(&token);
	for (int i = 0; i < RECORDS; i++) {
		bool of_three = i == WITNESS || i == BEAT || i == PURGE;

		if (i == POST)
			continue; /* verify_records.c: it has parts instead */
		assert_int_equal(judge(i, &none, &key, &known), 0);
		assert_int_equal(
		    judge(i, &words, &key, &known), i == HOLD ? 0 : 1);
		assert_int_equal(judge(i, &three, &key, &known),
		    of_three || i == STAMP ? 0 : 1);
		assert_int_equal(judge(i, &stamp, &key, &known),
		    i == STAMP     ? 0
			: of_three ? 1
				   : 2);
		assert_int_equal(
		    judge(i, &seven, &key, &known), i == KEY ? 0 : 1);
		assert_int_equal(
		    judge(i, &eight, &key, &known), i == LATER ? 0 : 1);
	}
}

/* A token that the record names, and another checkpoint or none. */
static void
a_token_is_of_its_checkpoint(void **state)
{
	struct verify_named n = with(VERIFY_NAMED_TOKEN, &token);
	struct fix_record saved = f.rec[STAMP];
	struct buf leaf;
	bool known;

	(void)state;
	assert_int_equal(judge(STAMP, &n, &key, &known), 1);
	n.text[VERIFY_NAMED_NOTE] = buf_view(&note3);
	assert_int_equal(judge(STAMP, &n, &key, &known), 0);
	buf_init(&leaf);
	buf_put_text(&leaf, saved.leaf);
	memcpy(memmem(leaf.data, leaf.len, "size 3", 6), "size 7", 6);
	f.rec[STAMP].leaf = view_dup(buf_view(&leaf));
	n.text[VERIFY_NAMED_NOTE] = buf_view(&note7);
	assert_int_equal(judge(STAMP, &n, &key, &known), 1);
	free(f.rec[STAMP].leaf);
	f.rec[STAMP] = saved;
	buf_release(&leaf);
}

static void
each_byte_counts(void **state)
{
	const struct {
		int seq;
		enum verify_named_what what;
		struct buf *text;
	} all[] = {{HOLD, VERIFY_NAMED_SALT, &salt},
	    {HOLD, VERIFY_NAMED_SELECTOR, &selector},
	    {STAMP, VERIFY_NAMED_TOKEN, &token},
	    {BEAT, VERIFY_NAMED_NOTE, &note3}, {KEY, VERIFY_NAMED_NOTE, &note7},
	    {LATER, VERIFY_NAMED_NOTE, &note8}};

	(void)state;
	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		for (size_t at = 0; at < all[i].text->len; at++) {
			struct verify_named n = {0};
			bool known;

			if (all[i].seq == HOLD) {
				n = with(VERIFY_NAMED_SALT, &salt);
				n.text[VERIFY_NAMED_SELECTOR] =
				    buf_view(&selector);
			} else if (all[i].seq == STAMP) {
				n = with(VERIFY_NAMED_TOKEN, &token);
				n.text[VERIFY_NAMED_NOTE] = buf_view(&note3);
			} else {
				n = with(all[i].what, all[i].text);
			}
			all[i].text->data[at] ^= 1;
			/* Or it is signed by a key of nobody's any more. */
			if (judge(all[i].seq, &n, &key, &known) == 0 && known)
				fail_msg("record %d: byte %zu", all[i].seq, at);
			all[i].text->data[at] ^= 1;
		}
}

static void
keys_of_other_epochs(void **state)
{
	struct verify_named n = with(VERIFY_NAMED_NOTE, &note7);
	struct verify_key other;
	const char *why;
	struct fix g;
	bool known;

	(void)state;
	fix_init(&g, 9);
	assert_true(verify_key_parse(view_text(g.vkey), &other, &why));
	assert_int_equal(judge(KEY, &n, &other, &known), 0);
	assert_false(known);
	assert_int_equal(judge(KEY, &n, NULL, &known), 0);
	assert_false(known);
	fix_free(&g);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(only_at_the_record_that_names_it),
	    cmocka_unit_test(a_token_is_of_its_checkpoint),
	    cmocka_unit_test(each_byte_counts),
	    cmocka_unit_test(keys_of_other_epochs),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, setup, teardown);
}
