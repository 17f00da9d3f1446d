/* base/: buffers, text forms, crypto, files, frames. */

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>
#include <gcrypt.h>

#include "base/buf.h"
#include "base/crypto.h"
#include "base/file.h"
#include "base/ipc.h"
#include "base/log.h"
#include "base/text.h"

static void
test_numbers(void **state)
{
	static const char *const bad[] = {"", "-1", "+1", "01", "1 ", "1a",
	    "18446744073709551616", "99999999999999999999"};
	uint64_t n = 7;

	(void)state;
	assert_true(view_to_u64(view_text("0"), &n));
	assert_int_equal(n, 0);
	assert_true(view_to_u64(view_text("18446744073709551615"), &n));
	assert_true(n == UINT64_MAX);
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(view_to_u64(view_text(bad[i]), &n));
}

static void
test_reader_never_passes_the_end(void **state)
{
	struct buf b;
	struct reader r;

	(void)state;
	buf_init(&b);
	buf_put_u8(&b, 1);
	buf_put_u16(&b, 0x0203);
	buf_put_u32(&b, 0x04050607);
	buf_put_u64(&b, 0x08090a0b0c0d0e0fULL);
	for (size_t cut = 0; cut <= b.len; cut++) {
		r = reader_of(view_of(b.data, cut));
		(void)reader_u8(&r);
		(void)reader_u16(&r);
		(void)reader_u32(&r);
		(void)reader_u64(&r);
		assert_int_equal(reader_done(&r), cut == b.len);
	}
	r = reader_of(buf_view(&b));
	assert_int_equal(reader_u8(&r), 1);
	assert_int_equal(reader_u16(&r), 0x0203);
	assert_int_equal(reader_u32(&r), 0x04050607);
	assert_true(reader_u64(&r) == 0x08090a0b0c0d0e0fULL);
	buf_release(&b);
}

static void
test_utf8(void **state)
{
	static const struct {
		const char *bytes;
		bool valid;
	} cases[] = {
	    {"plain", true},
	    {"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80", true},
	    {"\xc0\xaf", false},         /* overlong */
	    {"\xe0\x80\xaf", false},     /* overlong */
	    {"\xf0\x80\x80\xaf", false}, /* overlong */
	    {"\xed\xa0\x80", false},     /* surrogate */
	    {"\xf4\x90\x80\x80", false}, /* above U+10FFFF */
	    {"\x80", false},
	    {"\xe2\x82", false},
	    {"\xff", false},
	};

	(void)state;
	for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
		assert_int_equal(
		    text_utf8_valid(view_text(cases[i].bytes)), cases[i].valid);
	assert_false(text_utf8_valid(view_of("a\0b", 3)));
}

static void
test_base64(void **state)
{
	static const char *const vectors[][2] = {{"", ""}, {"f", "Zg=="},
	    {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="},
	    {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
	static const char *const bad[] = {"Z", "Zg",
	    "Zg=", "Zh==", "Zm9=", "Zg==Zg==", "Z===", "====", "Zm 9",
	    "Zm9v\n"};
	struct buf b;
	uint8_t two[2];

	(void)state;
	buf_init(&b);
	for (size_t i = 0; i < sizeof vectors / sizeof vectors[0]; i++) {
		buf_clear(&b);
		text_put_base64(&b, vectors[i][0], strlen(vectors[i][0]));
		assert_true(view_is(buf_view(&b), vectors[i][1]));
		buf_clear(&b);
		assert_true(text_get_base64(view_text(vectors[i][1]), &b));
		assert_true(view_is(buf_view(&b), vectors[i][0]));
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		buf_clear(&b);
		assert_false(text_get_base64(view_text(bad[i]), &b));
		assert_int_equal(b.len, 0);
	}
	assert_true(text_get_base64_fixed(view_text("Zm8="), two, 2));
	assert_false(text_get_base64_fixed(view_text("Zm9v"), two, 2));
	assert_false(text_get_base64_fixed(view_text("Zg=="), two, 2));
	buf_release(&b);
}

static void
test_json_string(void **state)
{
	struct buf b;

	(void)state;
	buf_init(&b);
	text_put_json(&b, view_of("a\"b\\c\n\x01\x7f\xc3\xa4", 10));
	assert_true(
	    view_is(buf_view(&b), "\"a\\\"b\\\\c\\n\\u0001\\u007f\xc3\xa4\""));
	buf_release(&b);
}

static void
test_token(void **state)
{
	struct buf b, back;

	(void)state;
	buf_init(&b);
	buf_init(&back);
	text_put_token(&b, view_text("a b%\n\xc3\xa4/x"));
	assert_true(view_is(buf_view(&b), "a%20b%25%0A%C3%A4/x"));
	assert_true(text_get_token(buf_view(&b), &back));
	assert_true(view_is(buf_view(&back), "a b%\n\xc3\xa4/x"));
	assert_false(text_get_token(view_text("a b"), &back));
	assert_false(text_get_token(view_text("%4"), &back));
	assert_false(text_get_token(view_text("%zz"), &back));
	back.failed = true;
	assert_false(text_get_token(buf_view(&b), &back));
	buf_release(&b);
	buf_release(&back);
}

static void
test_time(void **state)
{
	static const struct {
		const char *text;
		uint64_t us;
	} good[] = {
	    {"1970-01-01", 0},
	    {"2024-02-29T12:00:00Z", 1709208000000000},
	    {"2024-02-29T13:00:00+01:00", 1709208000000000},
	    {"2024-02-29 12:00:00.5", 1709208000500000},
	    {"2024-02-29T12:00:00.1234567Z", 1709208000123456},
	};
	static const char *const bad[] = {"", "yesterday", "2023-02-29",
	    "2024-02-29T", "2024-02-29T12:00:00X", "2024-02-29T12:00:00.Z",
	    "2024-02-29T12:00:00+1", "1960-01-01"};
	struct buf b;
	uint64_t us;

	(void)state;
	for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
		assert_true(text_get_time(view_text(good[i].text), &us));
		assert_true(us == good[i].us);
	}
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
		assert_false(text_get_time(view_text(bad[i]), &us));
	buf_init(&b);
	text_put_time(&b, 1709208000123456);
	assert_true(view_is(buf_view(&b), "2024-02-29T12:00:00.123456Z"));
	buf_release(&b);
}

static void
from_hex(const char *hex, uint8_t *out, size_t n)
{
	assert_true(text_get_hex(view_text(hex), out, n));
}

/* FIPS 180-4 and RFC 1321 test vectors. */
static void
test_hashes(void **state)
{
	const struct view parts[] = {
	    view_text("a"), view_text("b"), view_text("c")};
	uint8_t expected[32], got[32], md5[16];
	struct crypto_hash *h;

	(void)state;
	from_hex("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f2001"
		 "5ad",
	    expected, 32);
	crypto_sha256("abc", 3, got);
	assert_memory_equal(got, expected, 32);
	crypto_sha256_parts(parts, 3, got);
	assert_memory_equal(got, expected, 32);
	h = crypto_hash_new();
	assert_non_null(h);
	crypto_hash_add(h, "ab", 2);
	crypto_hash_get(h, got);
	assert_memory_not_equal(got, expected, 32);
	crypto_hash_add(h, "c", 1);
	crypto_hash_get(h, got);
	assert_memory_equal(got, expected, 32);
	crypto_hash_free(h);
	from_hex("900150983cd24fb0d6963f7d28e17f72", expected, 16);
	crypto_md5("abc", 3, md5);
	assert_memory_equal(md5, expected, 16);
}

/* RFC 8032 section 7.1, test 2. */
static void
test_ed25519(void **state)
{
	uint8_t seed[32], pub[32], sig[64], got[64];
	const uint8_t msg[] = {0x72};
	struct crypto_key *k;

	(void)state;
	from_hex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a"
		 "6fb",
	    seed, 32);
	from_hex("3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af46"
		 "60c",
	    pub, 32);
	from_hex("92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb6"
		 "9da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612"
		 "bb0c00",
	    sig, 64);
	k = crypto_key_new(seed);
	assert_non_null(k);
	crypto_key_public(k, got);
	assert_memory_equal(got, pub, 32);
	assert_true(crypto_sign(k, msg, 1, got));
	assert_memory_equal(got, sig, 64);
	assert_true(crypto_verify(pub, msg, 1, sig));
	for (size_t i = 0; i < 64; i++) {
		sig[i] ^= 1;
		assert_false(crypto_verify(pub, msg, 1, sig));
		sig[i] ^= 1;
	}
	assert_false(crypto_verify(pub, "x", 1, sig));
	crypto_key_free(k);
}

/* What libgcrypt does when memory is short: other data, another point. */
static bool spoil_signature, spoil_point;

gcry_error_t __real_gcry_pk_sign(
    gcry_sexp_t *out, gcry_sexp_t data, gcry_sexp_t key);
gcry_error_t __wrap_gcry_pk_sign(
    gcry_sexp_t *out, gcry_sexp_t data, gcry_sexp_t key);
gcry_error_t __real_gcry_mpi_ec_new(
    gcry_ctx_t *out, gcry_sexp_t key, const char *curve);
gcry_error_t __wrap_gcry_mpi_ec_new(
    gcry_ctx_t *out, gcry_sexp_t key, const char *curve);

gcry_error_t
__wrap_gcry_pk_sign(gcry_sexp_t *out, gcry_sexp_t data, gcry_sexp_t key)
{
	gcry_sexp_t other = NULL;
	gcry_error_t e;

	if (!spoil_signature)
		return __real_gcry_pk_sign(out, data, key);
	assert_int_equal(gcry_sexp_build(&other, NULL,
			     "(data(flags eddsa)(hash-algo sha512)(value x))"),
	    0);
	e = __real_gcry_pk_sign(out, other, key);
	gcry_sexp_release(other);
	return e;
}

gcry_error_t
__wrap_gcry_mpi_ec_new(gcry_ctx_t *out, gcry_sexp_t key, const char *curve)
{
	static const uint8_t seed[CRYPTO_SEED_LEN] = {9};
	gcry_sexp_t other = NULL;
	gcry_error_t e;

	if (!spoil_point)
		return __real_gcry_mpi_ec_new(out, key, curve);
	assert_int_equal(
	    gcry_sexp_build(&other, NULL,
		"(private-key(ecc(curve Ed25519)(flags eddsa)(d %b)))",
		CRYPTO_SEED_LEN, seed),
	    0);
	e = __real_gcry_mpi_ec_new(out, other, curve);
	gcry_sexp_release(other);
	return e;
}

static void
test_what_does_not_hold_is_not_given_out(void **state)
{
	static const uint8_t seed[CRYPTO_SEED_LEN] = {1};
	struct crypto_key *k;
	uint8_t sig[64];

	(void)state;
	spoil_point = true;
	assert_null(crypto_key_new(seed));
	spoil_point = false;
	k = crypto_key_new(seed);
	assert_non_null(k);
	spoil_signature = true;
	assert_false(crypto_sign(k, "message", 7, sig));
	spoil_signature = false;
	assert_true(crypto_sign(k, "message", 7, sig));
	crypto_key_free(k);
}

static void
test_random_differs(void **state)
{
	uint8_t a[5000], b[5000];

	(void)state;
	crypto_random(a, sizeof a);
	crypto_random(b, sizeof b);
	assert_memory_not_equal(a, b, sizeof a);
	/* More than the pool holds: the two halves must differ, too. */
	assert_memory_not_equal(a, a + 2500, 2500);
}

static void
test_file_replace(void **state)
{
	char dir[] = "/tmp/chancery-unit-XXXXXX";
	struct buf b;
	struct stat st;
	char *path;

	(void)state;
	buf_init(&b);
	assert_non_null(mkdtemp(dir));
	path = file_join(dir, "f");
	assert_int_equal(file_create(path, view_text("one"), 0600), 0);
	assert_int_equal(file_create(path, view_text("two"), 0600), -1);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(file_read(path, 3, &b), 0);
	assert_true(view_is(buf_view(&b), "one"));
	assert_int_equal(file_replace(path, view_text("three"), 0640), 0);
	buf_clear(&b);
	assert_int_equal(file_read(path, 4, &b), -1);
	assert_int_equal(errno, EFBIG);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0640);
	assert_int_equal(unlink(path), 0);
	/* Nothing temporary was left behind. */
	assert_int_equal(rmdir(dir), 0);
	free(path);
	buf_release(&b);
}

static void
test_frames_in_pieces(void **state)
{
	static const uint8_t frame[] = {
	    0, 0, 0, 7, 0, IPC_VERSION, 0, 9, 'a', 'b', 'c'};
	struct ipc_decoder d;
	struct view payload;
	uint16_t type;

	(void)state;
	ipc_decoder_init(&d);
	for (size_t i = 0; i < sizeof frame; i++) {
		assert_int_equal(
		    ipc_decoder_next(&d, &type, &payload), IPC_MORE);
		buf_put_u8(&d.in, frame[i]);
	}
	assert_int_equal(ipc_decoder_next(&d, &type, &payload), IPC_FRAME);
	assert_int_equal(type, 9);
	assert_true(view_is(payload, "abc"));
	assert_int_equal(ipc_decoder_next(&d, &type, &payload), IPC_MORE);
	ipc_decoder_release(&d);
}

static void
test_frames_refused(void **state)
{
	static const uint8_t bad[][8] = {
	    {0, 0, 0, 3, 0, IPC_VERSION, 0, 9},             /* too short */
	    {0xff, 0xff, 0xff, 0xff, 0, IPC_VERSION, 0, 9}, /* too long */
	    {0, 0, 0, 4, 0, IPC_VERSION + 1, 0, 9},         /* other version */
	};
	struct ipc_decoder d;
	struct view payload;
	uint16_t type;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		ipc_decoder_init(&d);
		buf_put(&d.in, bad[i], sizeof bad[i]);
		assert_int_equal(
		    ipc_decoder_next(&d, &type, &payload), IPC_BROKEN);
		ipc_decoder_release(&d);
	}
}

struct peer {
	uv_loop_t *loop;
	struct ipc *link;
	unsigned frames;
	size_t bytes;
	int fd;
	bool closed;
};

static void
on_frame(void *arg, uint16_t type, struct view payload, int fd)
{
	struct peer *p = arg;

	assert_int_equal(type, p->frames % 5);
	p->frames++;
	p->bytes += payload.n;
	if (fd >= 0)
		p->fd = fd;
}

static void
on_closed(void *arg, const char *why)
{
	struct peer *p = arg;

	assert_non_null(why);
	p->closed = true;
	ipc_free(p->link);
}

/* Many frames, some large, one with a descriptor, then the end. */
static void
test_link(void **state)
{
	static uint8_t large[300000];
	uv_loop_t loop;
	struct peer a = {.loop = &loop, .fd = -1}, b = a;
	size_t sent = 0;
	int pair[2], file;
	char c;

	(void)state;
	assert_int_equal(uv_loop_init(&loop), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	a.link = ipc_new(&loop, pair[0], on_frame, on_closed, &a);
	b.link = ipc_new(&loop, pair[1], on_frame, on_closed, &b);
	file = open("/proc/self/cmdline", O_RDONLY);
	assert_true(file >= 0);
	for (uint16_t i = 0; i < 1000; i++) {
		size_t n = i % 100 == 0 ? sizeof large : i;

		if (i == 500)
			ipc_send_fd(a.link, i % 5, view_of(large, n), file);
		else
			ipc_send(a.link, i % 5, view_of(large, n));
		sent += n;
	}
	while (b.frames < 1000)
		(void)uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(b.bytes, sent);
	assert_int_equal(ipc_queued(a.link), 0);
	assert_true(b.fd >= 0 && b.fd != file);
	assert_int_equal(read(b.fd, &c, 1), 1);
	(void)close(b.fd);
	(void)close(file);
	ipc_free(a.link);
	while (!b.closed)
		(void)uv_run(&loop, UV_RUN_ONCE);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
}

/* It spoke, did not read, and ended; the next word to it fails. */
static void
last_word(bool unread, bool write_first, bool held)
{
	static const uint8_t word[] = {0, 0, 0, 4, 0, IPC_VERSION, 0, 0};
	struct peer p = {.fd = -1};
	uv_loop_t loop;
	int pair[2];

	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(uv_loop_init(&loop), 0);
	p.link = ipc_new(&loop, pair[0], on_frame, on_closed, &p);
	if (held)
		ipc_hold(p.link, true);
	if (unread) {
		ipc_send(p.link, 7, view_text("x"));
		ipc_flush(p.link);
	}
	assert_int_equal(write(pair[1], word, sizeof word), sizeof word);
	assert_int_equal(close(pair[1]), 0);
	if (write_first) {
		ipc_send(p.link, 7, view_text("y"));
		ipc_flush(p.link);
		assert_false(p.closed);
		ipc_send_fd(p.link, 7, view_text("z"), STDERR_FILENO);
		assert_int_equal(ipc_queued(p.link), 0);
	}
	if (held) {
		for (int i = 0; i < 5; i++)
			(void)uv_run(&loop, UV_RUN_NOWAIT);
		assert_int_equal(p.frames, 0);
		ipc_hold(p.link, false);
	}
	for (int i = 0; i < 100 && !p.closed; i++)
		(void)uv_run(&loop, UV_RUN_ONCE);
	assert_int_equal(p.frames, 1);
	assert_true(p.closed);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
}

static void
test_link_gives_the_last_word(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++)
		last_word((i & 1) != 0, (i & 2) != 0, (i & 4) != 0);
}

/* A child that is started before the copy is sent must not inherit it. */
static void
test_link_descriptor_is_not_inherited(void **state)
{
	struct peer p = {.fd = -1};
	uv_loop_t loop;
	int pair[2], lowest, flags;

	(void)state;
	assert_int_equal(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	assert_int_equal(uv_loop_init(&loop), 0);
	p.link = ipc_new(&loop, pair[0], on_frame, on_closed, &p);
	lowest = fcntl(pair[1], F_DUPFD_CLOEXEC, 0);
	assert_true(lowest >= 0);
	assert_int_equal(close(lowest), 0);
	ipc_send_fd(p.link, 1, view_of(NULL, 0), STDERR_FILENO);
	flags = fcntl(lowest, F_GETFD); /* of the copy */
	assert_true(flags >= 0);
	assert_true((flags & FD_CLOEXEC) != 0);
	ipc_free(p.link);
	assert_int_equal(close(pair[1]), 0);
	(void)uv_run(&loop, UV_RUN_DEFAULT);
	assert_int_equal(uv_loop_close(&loop), 0);
}

/* A log of many lines into what nobody reads, then a word at `go`. */
static void
log_to(int fd, int go)
{
	char c;

	if (dup2(fd, STDERR_FILENO) < 0)
		_exit(1);
	log_init("test", LOG_LEVEL_INFO);
	log_never_wait();
	for (int i = 0; i < 5000; i++)
		log_info("line %d", i);
	if (write(go, "x", 1) != 1 || read(go, &c, 1) != 1)
		_exit(2);
	log_info("the last line");
	_exit(0);
}

/* All that is there now, cut at the buffer's end. */
static size_t
drain(int fd, char *text, size_t size)
{
	size_t len = 0;
	ssize_t n;

	while (len + 1 < size && (n = read(fd, text + len, size - len - 1)) > 0)
		len += (size_t)n;
	text[len] = '\0';
	return len;
}

static void
test_log_never_waits(void **state)
{
	static char text[1 << 20];

	(void)state;
	for (int socket = 0; socket < 2; socket++) {
		int out[2], go[2], status;
		const char *told;
		unsigned long lost;
		size_t taken;
		pid_t pid;
		char c;

		assert_int_equal(socket
			? socketpair(AF_UNIX, SOCK_STREAM, 0, out)
			: pipe(out),
		    0);
		assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, go), 0);
		pid = fork();
		assert_true(pid >= 0);
		if (pid == 0)
			log_to(out[1], go[1]);
		assert_int_equal(close(out[1]), 0);
		assert_int_equal(close(go[1]), 0);
		assert_int_equal(read(go[0], &c, 1), 1); /* it did not wait */
		assert_int_equal(fcntl(out[0], F_SETFL, O_NONBLOCK), 0);
		taken = drain(out[0], text, sizeof text);
		assert_true(taken > 0);
		assert_int_equal(text[taken - 1], '\n'); /* whole lines */
		lost = 5000;
		for (size_t i = 0; i < taken; i++)
			lost -= text[i] == '\n';
		assert_true(lost > 0);
		assert_int_equal(write(go[0], "x", 1), 1);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_int_equal(status, 0);
		(void)drain(out[0], text, sizeof text);
		told = strstr(text, "warning: ");
		assert_non_null(told);
		assert_int_equal(
		    strtoul(told + strlen("warning: "), NULL, 10), lost);
		assert_non_null(strstr(told, "info: the last line\n"));
		assert_int_equal(close(out[0]), 0);
		assert_int_equal(close(go[0]), 0);
	}
}

int
main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_numbers),
	    cmocka_unit_test(test_reader_never_passes_the_end),
	    cmocka_unit_test(test_utf8),
	    cmocka_unit_test(test_base64),
	    cmocka_unit_test(test_json_string),
	    cmocka_unit_test(test_token),
	    cmocka_unit_test(test_time),
	    cmocka_unit_test(test_hashes),
	    cmocka_unit_test(test_ed25519),
	    cmocka_unit_test(test_what_does_not_hold_is_not_given_out),
	    cmocka_unit_test(test_random_differs),
	    cmocka_unit_test(test_file_replace),
	    cmocka_unit_test(test_frames_in_pieces),
	    cmocka_unit_test(test_frames_refused),
	    cmocka_unit_test(test_link),
	    cmocka_unit_test(test_link_gives_the_last_word),
	    cmocka_unit_test(test_link_descriptor_is_not_inherited),
	    cmocka_unit_test(test_log_never_waits),
	};

	crypto_init();
	return cmocka_run_group_tests_name("base", tests, NULL, NULL);
}
