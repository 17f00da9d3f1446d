#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crypto.h"

#include "compliance/note.h"
#include "compliance/signer.h"
#include "compliance/tree.h"

#include "tests/unit/leaf_tree.h"
#include "tests/unit/power_files.h"

/*
 * The signer's folder on a disk that loses power or fails at any operation:
 * what it signed it knows afterwards, the key that it announced is there, the
 * one that it gave up is not, and it goes on. CHANCERY_SEED varies what a cut
 * loses.
 */

#define ORIGIN "example.test/journal/0a1b2c3d"
#define RECORDS 8
#define TURN_AT 4 /* the key record is the last of so many */
#define DRAWS 4   /* of what a cut loses */
#define STARTS 4  /* of a signer that ends itself */

struct fixture {
	char dir[64];
	struct signer *s;
	uint64_t size, epoch; /* as the signer told last */
	char next[65], after[65];
	bool cut; /* starts anew at a failure, and the power goes then */
};

/* What others count upon. */
struct told {
	uint64_t size, epoch;
	char announced[65]; /* digest of the key after the next */
};

static uint64_t seed;

/* ---- a tree of few leaves ---- */

static void
put_request(struct buf *b, uint64_t old, uint64_t size)
{
	uint8_t root[32];
	struct buf proof;

	buf_init(&proof);
	assert_int_equal(tree_consistency(&leaf_source, old, size, &proof), 0);
	leaf_root(0, size, root);
	buf_put_u64(b, old);
	buf_put_u64(b, size);
	buf_put(b, root, sizeof root);
	buf_put_u16(b, (uint16_t)(proof.len / 32));
	buf_put_view(b, buf_view(&proof));
	buf_release(&proof);
}

/* ---- the signer ---- */

static void
put_digest(char out[65], struct view digest)
{
	for (size_t i = 0; i < 32; i++)
		(void)snprintf(out + 2 * i, 3, "%02x", digest.p[i]);
}

static void
hear(struct fixture *f)
{
	uint8_t root[32];
	struct reader r;
	struct buf b;

	buf_init(&b);
	signer_put_hello(f->s, &b);
	r = reader_of(buf_view(&b));
	f->size = reader_u64(&r);
	assert_in_range(f->size, 0, RECORDS);
	leaf_root(0, f->size, root);
	assert_memory_equal(reader_take(&r, 32).p, root, 32);
	f->epoch = reader_u64(&r);
	put_digest(f->next, reader_take(&r, 32));
	put_digest(f->after, reader_take(&r, 32));
	buf_release(&b);
}

/* False when it does not come up. */
static bool
start(struct fixture *f, char *why, size_t why_len)
{
	signer_close(f->s);
	f->s = signer_open(f->dir, why, why_len);
	if (f->s == NULL)
		return false;
	hear(f);
	return true;
}

static enum signer_verdict
sign(struct fixture *f, uint64_t size, char *why, size_t why_len)
{
	enum signer_verdict v;
	struct buf in, out;

	buf_init(&in);
	buf_init(&out);
	put_request(&in, f->size, size);
	v = signer_sign(f->s, buf_view(&in), &out, why, why_len);
	buf_release(&in);
	buf_release(&out);
	return v;
}

static enum signer_verdict
rotate(struct fixture *f, struct told *told, char *why, size_t why_len)
{
	enum signer_verdict v;
	struct buf in, out;

	buf_init(&in);
	buf_init(&out);
	buf_put_u64(&in, 1);
	v = signer_rotate(f->s, buf_view(&in), &out, why, why_len);
	if (v == SIGNER_SIGNED)
		put_digest(told->announced, view_of(out.data + 8, 32));
	buf_release(&in);
	buf_release(&out);
	return v;
}

static enum signer_verdict
turn(struct fixture *f, char *why, size_t why_len)
{
	enum signer_verdict v;
	struct buf in, out;

	buf_init(&in);
	buf_init(&out);
	buf_put_u64(&in, 1);
	buf_put_u8(&in, true);
	put_request(&in, f->size, TURN_AT);
	v = signer_turn(f->s, buf_view(&in), &out, why, why_len);
	buf_release(&in);
	buf_release(&out);
	return v;
}

/* What the keeper asks next, by what it was told and answered so far. */
static enum signer_verdict
ask(struct fixture *f, struct told *told, char *why, size_t why_len)
{
	/* What it signed without an answer is asked once more. */
	uint64_t size = f->size > told->size ? f->size : f->size + 1;
	enum signer_verdict v;

	if (told->announced[0] == '\0' && size == TURN_AT)
		return rotate(f, told, why, why_len);
	if (told->announced[0] != '\0' && told->epoch == 0) {
		v = turn(f, why, why_len);
		if (v == SIGNER_SIGNED) {
			f->size = told->size = TURN_AT;
			f->epoch = told->epoch = 1;
		}
		return v;
	}
	v = sign(f, size, why, why_len);
	if (v == SIGNER_SIGNED)
		f->size = told->size = size;
	return v;
}

/* Asks until all is signed, as often as the keeper would. */
static bool
go_on(struct fixture *f, struct told *told, char *why, size_t why_len)
{
	unsigned tries = 0, starts = 0;

	while (told->size < RECORDS) {
		switch (ask(f, told, why, why_len)) {
		case SIGNER_SIGNED:
			tries = 0;
			if (f->cut && disk.operations >= disk.fail_at) {
				disk.dead = true;
				return false;
			}
			break;
		case SIGNER_REFUSED:
			if (disk.dead || ++tries > 3 ||
			    (f->cut && !start(f, why, why_len)))
				return false;
			break;
		case SIGNER_ANEW:
			if (disk.dead || ++starts > STARTS ||
			    !start(f, why, why_len))
				return false;
			break;
		case SIGNER_MALFORMED:
			fail_msg("%s", why);
		}
	}
	return true;
}

/* ---- keys ---- */

static void
take(const struct fixture *f, const char *name, struct buf *out)
{
	char path[128];

	(void)snprintf(path, sizeof path, "%s/%s", f->dir, name);
	buf_init(out);
	(void)file_read(path, DISK_BYTES, out); /* may be none */
}

/* Whether the secret of the first key is in any file. */
static bool
is_anywhere(const struct fixture *f, const struct buf *secret)
{
	static const char *const names[] = {"key", "next", "after", "old"};
	bool found = false;

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		struct buf b;

		take(f, names[i], &b);
		found |= b.len == secret->len &&
		    memcmp(b.data, secret->data, b.len) == 0;
		buf_release(&b);
	}
	return found;
}

/* ---- the tests ---- */

static void
begin(struct fixture *f, struct told *told, struct buf *secret)
{
	char why[512] = "";
	struct buf vkey;

	memset(f, 0, sizeof *f);
	*told = (struct told){0};
	(void)snprintf(f->dir, sizeof f->dir, "%s/chancery-test-XXXXXX",
	    access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	assert_non_null(mkdtemp(f->dir));
	buf_init(&vkey);
	if (signer_init(f->dir, ORIGIN, &vkey, why, sizeof why) != 0)
		fail_msg("%s", why);
	buf_release(&vkey);
	take(f, "key", secret);
	assert_true(secret->len > 0);
}

static void
end(struct fixture *f, struct buf *secret)
{
	static const char *const names[] = {
	    "key", "next", "after", "old", "closing", "state"};
	char path[128];

	disk_forget();
	signer_close(f->s);
	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		(void)snprintf(path, sizeof path, "%s/%s", f->dir, names[i]);
		(void)unlink(path);
	}
	assert_int_equal(rmdir(f->dir), 0);
	buf_release(secret);
}

/* Nobody was told what is not so. */
static void
check(struct fixture *f, const struct told *told, const struct buf *secret,
    const char *when)
{
	hear(f);
	if (f->size < told->size)
		fail_msg("%s: %u records were signed, the signer knows of %u",
		    when, (unsigned)told->size, (unsigned)f->size);
	if (f->epoch < told->epoch)
		fail_msg("%s: the first key is back", when);
	if (told->announced[0] != '\0' &&
	    strcmp(told->announced, f->epoch == 0 ? f->after : f->next) != 0)
		fail_msg("%s: the announced key is not there", when);
	if (told->epoch > 0 && is_anywhere(f, secret))
		fail_msg("%s: the first key's secret is there", when);
}

/* Whether the power went before all was done. */
static bool
cut_at(unsigned operation, uint64_t draw)
{
	struct fixture f;
	struct told told;
	struct buf secret;
	char when[80], why[512] = "";
	bool whole;

	(void)snprintf(when, sizeof when, "power cut at operation %u, draw %u",
	    operation, (unsigned)draw);
	begin(&f, &told, &secret);
	disk_begin(f.dir, seed + operation * DRAWS + draw);
	disk.cut_at = operation;
	whole = start(&f, why, sizeof why) && go_on(&f, &told, why, sizeof why);
	signer_close(f.s);
	f.s = NULL;
	disk_restore();
	if (!start(&f, why, sizeof why))
		fail_msg("%s: %s", when, why);
	check(&f, &told, &secret, when);
	if (!go_on(&f, &told, why, sizeof why) || f.epoch != 1)
		fail_msg("%s: it does not go on: %s", when, why);
	check(&f, &told, &secret, when);
	end(&f, &secret);
	return !whole;
}

static void
power_goes_at_every_operation(void **state)
{
	unsigned n = 1;
	bool went = true;

	(void)state;
	for (; went; n++)
		for (uint64_t draw = 0; went && draw < DRAWS; draw++)
			went = cut_at(n, draw);
	assert_in_range(n, 40, 400);
	(void)fprintf(stderr, "# %u operations, %d draws each\n", n - 2, DRAWS);
}

/* One operation fails, once. A start that fails is tried once more. */
static bool
fail_at(unsigned operation)
{
	struct fixture f;
	struct told told;
	struct buf secret;
	char when[80], why[512] = "";
	bool failed;

	(void)snprintf(when, sizeof when, "failure of operation %u", operation);
	begin(&f, &told, &secret);
	disk_begin(f.dir, seed);
	disk.fail_at = operation;
	if ((!start(&f, why, sizeof why) && !start(&f, why, sizeof why)) ||
	    !go_on(&f, &told, why, sizeof why) || f.epoch != 1)
		fail_msg("%s: it does not go on: %s", when, why);
	failed = disk.operations >= operation;
	disk.fail_at = 0;
	check(&f, &told, &secret, when);
	if (!start(&f, why, sizeof why))
		fail_msg("%s: %s", when, why);
	check(&f, &told, &secret, when);
	end(&f, &secret);
	return failed;
}

static void
every_operation_fails_once(void **state)
{
	unsigned n = 1;

	(void)state;
	while (fail_at(n))
		n++;
	assert_in_range(n, 40, 400);
}

/*
 * An operation fails, the signer starts anew and the power goes with its first
 * answer: it rests on nothing that the failure left undone. Whether the power
 * went before all was signed.
 */
static bool
fail_then_cut(unsigned operation, uint64_t draw)
{
	struct fixture f;
	struct told told;
	struct buf secret;
	char when[80], why[512] = "";
	bool whole;

	(void)snprintf(when, sizeof when, "failure of operation %u, draw %u",
	    operation, (unsigned)draw);
	begin(&f, &told, &secret);
	f.cut = true;
	disk_begin(f.dir, seed + operation * DRAWS + draw);
	disk.fail_at = operation;
	whole = (start(&f, why, sizeof why) || start(&f, why, sizeof why)) &&
	    go_on(&f, &told, why, sizeof why);
	signer_close(f.s);
	f.s = NULL;
	disk_restore();
	if (!start(&f, why, sizeof why))
		fail_msg("%s: %s", when, why);
	check(&f, &told, &secret, when);
	end(&f, &secret);
	return !whole;
}

static void
power_goes_after_a_failure(void **state)
{
	unsigned n = 1;
	bool went = true;

	(void)state;
	for (; went; n++)
		for (uint64_t draw = 0; went && draw < DRAWS / 2; draw++)
			went = fail_then_cut(n, draw);
	assert_in_range(n, 40, 400);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(power_goes_at_every_operation),
	    cmocka_unit_test(every_operation_fails_once),
	    cmocka_unit_test(power_goes_after_a_failure),
	};
	const char *text = getenv("CHANCERY_SEED");

	seed = text != NULL ? strtoull(text, NULL, 10) : 1;
	crypto_init();
	for (unsigned i = 0; i < RECORDS; i++)
		crypto_sha256(&i, sizeof i, leaf[i]);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
