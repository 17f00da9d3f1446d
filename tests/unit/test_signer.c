#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/crypto.h"
#include "base/file.h"

#include "compliance/note.h"
#include "compliance/signer.h"
#include "compliance/tree.h"

#include "tests/unit/leaf_tree.h"

#define ORIGIN "example.test/journal/0a1b2c3d"

struct fixture {
	char dir[64];
	char key[96], state[96];
	struct buf vkey;
	struct signer *s;
};

static void
reopen(struct fixture *f)
{
	char why[256] = "";

	signer_close(f->s);
	f->s = signer_open(f->dir, why, sizeof why);
	if (f->s == NULL)
		fail_msg("%s", why);
}

static void
setup(struct fixture *f)
{
	char why[256] = "";

	memset(f, 0, sizeof *f);
	for (unsigned i = 0; i < LEAVES; i++)
		crypto_sha256(&i, sizeof i, leaf[i]);
	(void)snprintf(f->dir, sizeof f->dir, "/tmp/chancery-test-XXXXXX");
	assert_non_null(mkdtemp(f->dir));
	(void)snprintf(f->key, sizeof f->key, "%s/key", f->dir);
	(void)snprintf(f->state, sizeof f->state, "%s/state", f->dir);
	buf_init(&f->vkey);
	if (signer_init(f->dir, ORIGIN, &f->vkey, why, sizeof why) != 0)
		fail_msg("%s", why);
	reopen(f);
}

static void
teardown(struct fixture *f)
{
	char path[96];

	signer_close(f->s);
	buf_release(&f->vkey);
	(void)unlink(f->key);
	(void)unlink(f->state);
	(void)snprintf(path, sizeof path, "%s/next", f->dir);
	(void)unlink(path);
	assert_int_equal(rmdir(f->dir), 0);
}

static void
put_request(struct buf *b, uint64_t old, uint64_t size)
{
	uint8_t root[32];
	struct buf proof;

	buf_init(&proof);
	if (old <= size)
		assert_int_equal(
		    tree_consistency(&leaf_source, old, size, &proof), 0);
	leaf_root(0, size, root);
	buf_put_u64(b, old);
	buf_put_u64(b, size);
	buf_put(b, root, sizeof root);
	buf_put_u16(b, (uint16_t)(proof.len / 32));
	buf_put_view(b, buf_view(&proof));
	buf_release(&proof);
}

static enum signer_verdict
ask(struct fixture *f, uint64_t old, uint64_t size, char *why, size_t why_len)
{
	enum signer_verdict v;
	struct buf request, out;

	buf_init(&request);
	buf_init(&out);
	put_request(&request, old, size);
	v = signer_sign(f->s, buf_view(&request), &out, why, why_len);
	if (v == SIGNER_SIGNED) {
		struct reader r = reader_of(buf_view(&out));
		struct note_vkey key;
		const char *reason = "";
		struct note note;

		assert_int_equal(reader_u64(&r), size);
		assert_true(note_parse(reader_rest(&r), &note, &reason));
		assert_int_equal(note.size, size);
		assert_true(note_parse_vkey(buf_view(&f->vkey), &key));
		assert_true(note_verify(&note, &key, &reason));
	} else {
		assert_int_equal(out.len, 0);
	}
	buf_release(&out);
	buf_release(&request);
	return v;
}

static void
check_hello(struct fixture *f, uint64_t size)
{
	struct buf b;
	struct reader r;
	uint8_t root[32];

	buf_init(&b);
	signer_put_hello(f->s, &b);
	r = reader_of(buf_view(&b));
	leaf_root(0, size, root);
	assert_int_equal(reader_u64(&r), size);
	assert_memory_equal(reader_take(&r, 32).p, root, 32);
	assert_int_equal(reader_u64(&r), 0);
	(void)reader_take(&r, 64); /* digests */
	assert_true(view_is(reader_rest(&r), buf_text(&f->vkey)));
	buf_release(&b);
}

static void
signs_what_grows(void **state)
{
	struct fixture f;
	char why[256] = "";
	struct stat st;

	(void)state;
	setup(&f);
	assert_int_equal(stat(f.key, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(stat(f.state, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	check_hello(&f, 0);
	assert_int_equal(ask(&f, 0, 1, why, sizeof why), SIGNER_SIGNED);
	assert_int_equal(ask(&f, 1, 1, why, sizeof why), SIGNER_SIGNED);
	assert_int_equal(ask(&f, 1, 7, why, sizeof why), SIGNER_SIGNED);
	assert_int_equal(ask(&f, 7, 513, why, sizeof why), SIGNER_SIGNED);
	reopen(&f);
	check_hello(&f, 513);
	assert_int_equal(ask(&f, 513, 600, why, sizeof why), SIGNER_SIGNED);
	assert_int_equal(
	    signer_init(f.dir, ORIGIN, &f.vkey, why, sizeof why), -1);
	teardown(&f);
}

static void
refuses_rollback_and_fork(void **state)
{
	struct fixture f;
	char why[256] = "";

	(void)state;
	setup(&f);
	assert_int_equal(ask(&f, 0, 100, why, sizeof why), SIGNER_SIGNED);
	assert_int_equal(ask(&f, 99, 99, why, sizeof why), SIGNER_REFUSED);
	assert_non_null(strstr(why, "rollback"));
	assert_int_equal(ask(&f, 0, 50, why, sizeof why), SIGNER_REFUSED);
	assert_int_equal(ask(&f, 50, 120, why, sizeof why), SIGNER_REFUSED);
	assert_non_null(strstr(why, "elsewhere"));
	assert_int_equal(ask(&f, 0, 120, why, sizeof why), SIGNER_REFUSED);
	leaf[3][0] ^= 1;
	assert_int_equal(ask(&f, 100, 100, why, sizeof why), SIGNER_REFUSED);
	assert_non_null(strstr(why, "fork"));
	assert_int_equal(ask(&f, 100, 101, why, sizeof why), SIGNER_REFUSED);
	assert_non_null(strstr(why, "fork"));
	assert_int_equal(ask(&f, 100, 600, why, sizeof why), SIGNER_REFUSED);
	leaf[3][0] ^= 1;
	reopen(&f);
	check_hello(&f, 100);
	assert_int_equal(ask(&f, 100, 101, why, sizeof why), SIGNER_SIGNED);
	teardown(&f);
}

static void
requests_are_read_to_the_end(void **state)
{
	struct fixture f;
	struct buf request, out;
	char why[256] = "";

	(void)state;
	setup(&f);
	assert_int_equal(ask(&f, 0, 5, why, sizeof why), SIGNER_SIGNED);
	buf_init(&request);
	buf_init(&out);
	put_request(&request, 5, 9);
	for (size_t n = 0; n < request.len; n++)
		assert_int_equal(signer_sign(f.s, view_of(request.data, n),
				     &out, why, sizeof why),
		    SIGNER_MALFORMED);
	/* Every hash of the proof, and the root, matters. */
	for (size_t i = 16; i < request.len; i += 3) {
		if (i == 48 || i == 49)
			continue;
		request.data[i] ^= 1;
		assert_int_equal(
		    signer_sign(f.s, buf_view(&request), &out, why, sizeof why),
		    SIGNER_REFUSED);
		request.data[i] ^= 1;
	}
	buf_put_u8(&request, 0);
	assert_int_equal(
	    signer_sign(f.s, buf_view(&request), &out, why, sizeof why),
	    SIGNER_MALFORMED);
	assert_int_equal(out.len, 0);
	check_hello(&f, 5);
	buf_release(&request);
	buf_release(&out);
	teardown(&f);
}

static void
opens_only_with_key_and_state(void **state)
{
	static const char *const bad_state[] = {"", "x", ORIGIN "\n1\n",
	    "other.test/journal/1\n0\n"
	    "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
	    ORIGIN "\n01\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n",
	    ORIGIN "\n0\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\nx"};
	struct fixture f;
	struct signer *second;
	char why[256] = "";

	(void)state;
	setup(&f);
	second = signer_open(f.dir, why, sizeof why);
	assert_null(second);
	assert_non_null(strstr(why, "another signer"));
	signer_close(f.s);
	f.s = NULL;
	for (size_t i = 0; i < sizeof bad_state / sizeof bad_state[0]; i++) {
		assert_int_equal(
		    file_replace(f.state, view_text(bad_state[i]), 0600), 0);
		assert_null(signer_open(f.dir, why, sizeof why));
		assert_non_null(strstr(why, "not the state"));
	}
	assert_int_equal(unlink(f.state), 0);
	assert_null(signer_open(f.dir, why, sizeof why));
	assert_non_null(strstr(why, "what was signed last"));
	assert_int_equal(
	    file_replace(f.key, view_text("PRIVATE+KEY+a+0+b\n"), 0600), 0);
	assert_null(signer_open(f.dir, why, sizeof why));
	assert_non_null(strstr(why, "not a signing key"));
	assert_int_equal(unlink(f.key), 0);
	assert_null(signer_open(f.dir, why, sizeof why));
	assert_int_equal(
	    signer_init(f.dir, "bad origin", &f.vkey, why, sizeof why), -1);
	teardown(&f);
}

/* Nothing is signed that was not written down before. */
static void
no_signature_without_state(void **state)
{
	struct fixture f;
	char why[256] = "";
	pid_t pid;
	int status;

	(void)state;
	setup(&f);
	assert_int_equal(ask(&f, 0, 10, why, sizeof why), SIGNER_SIGNED);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		struct rlimit none = {0, 0};
		enum signer_verdict v;

		(void)signal(SIGXFSZ, SIG_IGN);
		if (setrlimit(RLIMIT_FSIZE, &none) != 0)
			_exit(9);
		v = ask(&f, 10, 20, why, sizeof why);
		_exit(v == SIGNER_REFUSED && strstr(why, f.state) ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	reopen(&f);
	check_hello(&f, 10);
	teardown(&f);
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(signs_what_grows),
	    cmocka_unit_test(refuses_rollback_and_fork),
	    cmocka_unit_test(requests_are_read_to_the_end),
	    cmocka_unit_test(opens_only_with_key_and_state),
	    cmocka_unit_test(no_signature_without_state),
	};

	crypto_init();
	return cmocka_run_group_tests(tests, NULL, NULL);
}
