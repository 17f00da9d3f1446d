#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "base/file.h"

#include "compliance/note.h"
#include "compliance/signer.h"
#include "compliance/tree.h"

#define ORIGIN "example.test/journal/0a1b2c3d"

struct fixture {
	char dir[64];
	struct signer *s;
	char vkey[3][320]; /* of the epochs, as far as known */
};

static struct signer *
reopen(struct fixture *f)
{
	char why[512] = "";

	signer_close(f->s);
	f->s = signer_open(f->dir, why, sizeof why);
	if (f->s == NULL)
		fail_msg("%s", why);
	return f->s;
}

static void
setup(struct fixture *f)
{
	char why[256] = "";
	struct buf vkey;

	memset(f, 0, sizeof *f);
	(void)snprintf(f->dir, sizeof f->dir, "/tmp/chancery-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	buf_init(&vkey);
	assert_int_equal(
	    signer_init(f->dir, ORIGIN, &vkey, why, sizeof why), 0);
	(void)snprintf(f->vkey[0], sizeof f->vkey[0], "%s", buf_text(&vkey));
	buf_release(&vkey);
	(void)reopen(f);
}

static void
path_of(const struct fixture *f, const char *name, char out[128])
{
	(void)snprintf(out, 128, "%s/%s", f->dir, name);
}

static bool
there(const struct fixture *f, const char *name)
{
	char path[128];

	path_of(f, name, path);
	return access(path, F_OK) == 0;
}

static void
move(const struct fixture *f, const char *from, const char *to)
{
	char a[128], b[128];

	path_of(f, from, a);
	path_of(f, to, b);
	assert_int_equal(rename(a, b), 0);
}

static void
put(const struct fixture *f, const char *name, struct view text)
{
	char path[128];

	path_of(f, name, path);
	assert_int_equal(file_replace(path, text, 0600), 0);
}

static void
take(const struct fixture *f, const char *name, struct buf *out)
{
	char path[128];

	path_of(f, name, path);
	assert_int_equal(file_read(path, 4096, out), 0);
}

static void
teardown(struct fixture *f)
{
	static const char *const names[] = {
	    "key", "next", "after", "old", "closing", "state"};

	signer_close(f->s);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		char path[128];

		path_of(f, names[i], path);
		(void)unlink(path);
	}
	assert_int_equal(rmdir(f->dir), 0);
}

/* Epoch that the hello tells, with the vkey. */
static uint64_t
epoch_of(struct fixture *f, char vkey[320])
{
	struct buf b;
	struct reader r;
	struct view key;
	uint64_t epoch;

	buf_init(&b);
	signer_put_hello(f->s, &b);
	r = reader_of(buf_view(&b));
	(void)reader_u64(&r);
	(void)reader_take(&r, 32);
	epoch = reader_u64(&r);
	(void)reader_take(&r, 64);
	key = reader_rest(&r);
	(void)snprintf(vkey, 320, "%.*s", (int)key.n, (const char *)key.p);
	buf_release(&b);
	return epoch;
}

static void
prepare(struct fixture *f, uint64_t epoch)
{
	struct buf in, out;
	struct reader r;
	struct view key;
	char why[256] = "";

	buf_init(&in);
	buf_init(&out);
	buf_put_u64(&in, epoch);
	if (signer_rotate(f->s, buf_view(&in), &out, why, sizeof why) !=
	    SIGNER_SIGNED)
		fail_msg("%s", why);
	r = reader_of(buf_view(&out));
	assert_int_equal(reader_u64(&r), epoch);
	(void)reader_take(&r, 32);
	key = reader_rest(&r);
	(void)snprintf(f->vkey[epoch], sizeof f->vkey[epoch], "%.*s",
	    (int)key.n, (const char *)key.p);
	buf_release(&in);
	buf_release(&out);
}

static void
refuse_epoch(struct fixture *f, uint64_t epoch)
{
	struct buf in, out;
	char why[256] = "";

	buf_init(&in);
	buf_init(&out);
	buf_put_u64(&in, epoch);
	assert_int_equal(
	    signer_rotate(f->s, buf_view(&in), &out, why, sizeof why),
	    SIGNER_REFUSED);
	assert_non_null(strstr(why, "cannot begin: the next one is 1"));
	assert_int_equal(out.len, 0);
	buf_release(&in);
	buf_release(&out);
}

/* To a tree of one record, or of two. */
static enum signer_verdict
turn_to(struct fixture *f, uint64_t size, uint64_t old, uint64_t epoch,
    bool clean, struct buf *note, char *why, size_t why_len)
{
	uint8_t left[TREE_HASH_LEN], right[TREE_HASH_LEN], root[TREE_HASH_LEN];
	enum signer_verdict v;
	struct buf in, out;

	tree_leaf_hash("x", 1, left);
	tree_leaf_hash("y", 1, right);
	tree_node_hash(left, right, root);
	buf_init(&in);
	buf_init(&out);
	buf_put_u64(&in, epoch);
	buf_put_u8(&in, clean);
	buf_put_u64(&in, old);
	buf_put_u64(&in, size);
	buf_put(&in, size == 1 ? left : root, sizeof root);
	buf_put_u16(&in, size == 2 && old == 1);
	if (size == 2 && old == 1)
		buf_put(&in, right, sizeof right);
	v = signer_turn(f->s, buf_view(&in), &out, why, why_len);
	if (v == SIGNER_SIGNED) {
		buf_clear(note);
		buf_put(note, out.data + 8, out.len - 8);
	}
	buf_release(&in);
	buf_release(&out);
	return v;
}

static enum signer_verdict
turn(struct fixture *f, uint64_t old, uint64_t epoch, bool clean,
    struct buf *note, char *why, size_t why_len)
{
	return turn_to(f, 1, old, epoch, clean, note, why, why_len);
}

static void
check_note(const struct buf *text, const char *vkey)
{
	struct note_vkey key;
	struct note note;
	const char *why = "";

	assert_true(note_parse(buf_view(text), &note, &why));
	assert_true(note_parse_vkey(view_text(vkey), &key));
	assert_true(note_verify(&note, &key, &why));
}

static void
check_after(struct fixture *f)
{
	char vkey[320];

	assert_int_equal(epoch_of(f, vkey), 1);
	assert_string_equal(vkey, f->vkey[1]);
	assert_false(there(f, "old"));
	assert_false(there(f, "after"));
	prepare(f, 2);
	assert_true(there(f, "after"));
}

static void
one_key_after_the_other(void **state)
{
	char why[256] = "", vkey[320], path[128], kept[128];
	struct buf note, again;
	struct fixture f;
	struct stat st;

	(void)state;
	buf_init(&note);
	buf_init(&again);
	setup(&f);
	assert_int_equal(epoch_of(&f, vkey), 0);
	assert_string_equal(vkey, f.vkey[0]);
	/* Nothing turns that was not made ready. */
	assert_int_equal(
	    turn(&f, 0, 1, true, &note, why, sizeof why), SIGNER_ANEW);
	assert_non_null(strstr(why, "was not made ready"));
	/* Nor is any other epoch than the next one made ready. */
	refuse_epoch(&f, 0);
	refuse_epoch(&f, 2);
	assert_false(there(&f, "after"));
	prepare(&f, 1);
	path_of(&f, "after", path);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	path_of(&f, "key", path);
	path_of(&f, "kept", kept);
	assert_int_equal(link(path, kept), 0);
	assert_int_equal(
	    turn(&f, 1, 1, true, &note, why, sizeof why), SIGNER_SIGNED);
	check_note(&note, f.vkey[0]);
	/* The secret is overwritten, not only its name taken away. */
	take(&f, "kept", &again);
	assert_true(again.len > 0);
	for (size_t i = 0; i < again.len; i++)
		assert_int_equal(again.data[i], 0);
	assert_int_equal(unlink(kept), 0);
	buf_clear(&again);
	/* The answer was lost: it is the same once more, by the old key. */
	assert_int_equal(
	    turn(&f, 1, 1, true, &again, why, sizeof why), SIGNER_SIGNED);
	assert_int_equal(again.len, note.len);
	assert_memory_equal(again.data, note.data, note.len);
	check_after(&f);
	(void)reopen(&f);
	assert_int_equal(epoch_of(&f, vkey), 1);
	/* Of another size it is not that answer. */
	assert_int_equal(
	    turn_to(&f, 2, 1, 1, true, &again, why, sizeof why), SIGNER_ANEW);
	buf_release(&again);
	buf_release(&note);
	teardown(&f);
}

static void
a_stolen_key_signs_nothing(void **state)
{
	char why[256] = "";
	struct fixture f;
	struct buf note;

	(void)state;
	buf_init(&note);
	setup(&f);
	prepare(&f, 1);
	assert_int_equal(
	    turn(&f, 0, 1, false, &note, why, sizeof why), SIGNER_SIGNED);
	check_note(&note, f.vkey[1]);
	assert_false(there(&f, "closing"));
	assert_int_equal(
	    turn(&f, 1, 1, false, &note, why, sizeof why), SIGNER_SIGNED);
	check_note(&note, f.vkey[1]);
	check_after(&f);
	buf_release(&note);
	teardown(&f);
}

/* The folder as a crash after each step leaves it. */
static void
each_step_goes_on(void **state)
{
	static const char *const names[] = {"key", "next", "after"};

	(void)state;
	for (unsigned crash = 0; crash < 7; crash++) {
		char why[512] = "", vkey[320];
		struct buf file[3], closing, note;
		struct fixture f;

		setup(&f);
		prepare(&f, 1);
		buf_init(&closing);
		buf_init(&note);
		for (unsigned i = 0; i < 3; i++) {
			buf_init(&file[i]);
			take(&f, names[i], &file[i]);
		}
		assert_int_equal(turn(&f, 0, 1, true, &note, why, sizeof why),
		    SIGNER_SIGNED);
		take(&f, "closing", &closing);
		signer_close(f.s);
		f.s = NULL;
		for (unsigned i = 0; i < 3; i++)
			put(&f, names[i], buf_view(&file[i]));
		if (crash == 0 || crash == 6) {
			char path[128];

			path_of(&f, "closing", path);
			assert_int_equal(unlink(path), 0);
		}
		if (crash >= 2 && crash < 6)
			move(&f, "key", "old");
		if (crash >= 3 && crash < 6)
			move(&f, "next", "key");
		if (crash >= 4 && crash < 6)
			move(&f, "after", "next");
		if (crash == 5) /* overwritten, and not unlinked yet */
			put(&f, "old", view_of("\0\0\0\0", 4));
		if (crash == 6)
			put(&f, "after.aB3xYz", view_text("half a key"));
		(void)reopen(&f);
		assert_false(there(&f, "after.aB3xYz"));
		if (crash == 0 || crash == 6) {
			/* State was written, nothing signed: asked again. */
			assert_int_equal(epoch_of(&f, vkey), 0);
			assert_int_equal(
			    turn(&f, 1, 1, true, &note, why, sizeof why),
			    SIGNER_SIGNED);
		} else {
			/* The closing key signs nothing any more. */
			assert_int_equal(epoch_of(&f, vkey), 1);
			assert_string_equal(vkey, f.vkey[1]);
		}
		check_note(&note, f.vkey[0]);
		assert_int_equal(turn(&f, 1, 1, true, &note, why, sizeof why),
		    SIGNER_SIGNED);
		check_note(&note, f.vkey[0]);
		check_after(&f);
		for (unsigned i = 0; i < 3; i++)
			buf_release(&file[i]);
		buf_release(&closing);
		buf_release(&note);
		teardown(&f);
	}
}

static void
refuse(struct fixture *f, const char *words, const char *step)
{
	char why[512] = "";

	signer_close(f->s);
	f->s = signer_open(f->dir, why, sizeof why);
	assert_null(f->s);
	if (strstr(why, words) == NULL || strstr(why, step) == NULL)
		fail_msg("%s", why);
}

/* The state, but of an origin that differs in one letter. */
static void
put_other(const struct fixture *f, const struct buf *state)
{
	struct buf other;

	buf_init(&other);
	buf_put_view(&other, buf_view(state));
	assert_memory_equal(other.data, ORIGIN, strlen(ORIGIN));
	other.data[0] = 'f';
	put(f, "state", buf_view(&other));
	buf_release(&other);
}

/* That key of a journal with another name. */
static void
put_foreign(const struct fixture *f, const char *name)
{
	struct fixture other = {.s = NULL};
	char why[256] = "";
	struct buf text;

	buf_init(&text);
	(void)snprintf(
	    other.dir, sizeof other.dir, "/tmp/chancery-test-XXXXXX");
	assert_non_null(mkdtemp(other.dir));
	assert_int_equal(
	    signer_init(other.dir, "f" ORIGIN, &text, why, sizeof why), 0);
	buf_clear(&text);
	take(&other, name, &text);
	put(f, name, buf_view(&text));
	buf_release(&text);
	teardown(&other);
}

static void
folders_that_are_refused(void **state)
{
	char why[512] = "", path[128];
	struct fixture f;
	struct buf text;
	char *line;

	(void)state;
	buf_init(&text);
	setup(&f);
	assert_null(signer_open(f.dir, why, sizeof why));
	assert_non_null(strstr(why, "another signer uses it"));
	take(&f, "state", &text);
	line = strstr(buf_text(&text), "\nmachine ");
	assert_non_null(line);
	if (line[9] != '-') {
		/* The same folder on another machine. */
		line[9] = line[9] == '0' ? '1' : '0';
		put(&f, "state", buf_view(&text));
		refuse(&f, "of another machine", "chancery recover --moved");
		line[9] = '-';
		line[10] = '\n';
		put(&f, "state",
		    view_of(
			text.data, (size_t)(line + 11 - (char *)text.data)));
		(void)reopen(&f);
	}
	/* What was signed last under another name. */
	buf_clear(&text);
	take(&f, "state", &text);
	put_other(&f, &text);
	refuse(&f, "not the state of the key", ORIGIN);
	put(&f, "state", buf_view(&text));
	(void)reopen(&f);
	/* Keys of different times. */
	buf_clear(&text);
	take(&f, "next", &text);
	put(&f, "after", buf_view(&text));
	refuse(&f, "not of epochs that follow each other", "different times");
	path_of(&f, "after", path);
	assert_int_equal(unlink(path), 0);
	put_foreign(&f, "next");
	refuse(&f, "a key of another origin", "next");
	put(&f, "next", buf_view(&text));
	path_of(&f, "key", path);
	assert_int_equal(unlink(path), 0);
	refuse(&f, "No such file", "--new-incarnation --reason signer");
	path_of(&f, "state", path);
	put(&f, "key", buf_view(&text));
	refuse(&f, "not of epochs that follow each other", "different times");
	buf_release(&text);
	teardown(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(one_key_after_the_other),
	    cmocka_unit_test(a_stolen_key_signs_nothing),
	    cmocka_unit_test(each_step_goes_on),
	    cmocka_unit_test(folders_that_are_refused),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
