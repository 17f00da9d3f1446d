#include "compliance/signer_keys.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

#include "compliance/note.h"

#define KEY_MAX 1024 /* far smaller */
#define EPOCH_WORD "epoch "

static int __attribute__((format(printf, 3, 4)))
fail(char *why, size_t why_len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(why, why_len, fmt, ap); /* may cut: words for people */
	va_end(ap);
	return -1;
}

static int
fail_at(const struct signer_keys *k, const char *name, const char *reason,
    char *why, size_t why_len)
{
	return fail(why, why_len, "%s/%s: %s", k->path, name, reason);
}

static void
wipe_buf(struct buf *b)
{
	if (b->data != NULL)
		crypto_wipe(b->data, b->cap);
	buf_release(b);
}

/* ---- making ---- */

/* A key in a file of its own; its public half into *out. */
static int
put_key(const char *path, const char *name, const char *origin, uint64_t epoch,
    const uint8_t seed[CRYPTO_SEED_LEN], struct signer_public *out, char *why,
    size_t why_len)
{
	char *file = file_join(path, name);
	struct crypto_key *key = crypto_key_new(seed);
	struct buf text;
	int r = 0;

	buf_init(&text);
	if (key == NULL || file == NULL || !buf_reserve(&text, KEY_MAX)) {
		r = fail(why, why_len, "no key can be made");
		goto done;
	}
	out->there = true;
	out->epoch = epoch;
	crypto_key_public(key, out->public);
	note_put_skey(&text, view_text(origin), seed, out->public);
	buf_printf(&text, "\n" EPOCH_WORD "%" PRIu64 "\n", epoch);
	if (text.failed)
		r = fail(why, why_len, "out of memory");
	else if (file_create(file, buf_view(&text), 0600) != 0)
		r = fail(why, why_len, "%s: %s", file, strerror(errno));
done:
	wipe_buf(&text);
	crypto_key_free(key);
	free(file);
	return r;
}

static int
make_key(const char *path, const char *name, const char *origin, uint64_t epoch,
    struct signer_public *out, char *why, size_t why_len)
{
	uint8_t seed[CRYPTO_SEED_LEN];
	int r;

	crypto_random(seed, sizeof seed);
	r = put_key(path, name, origin, epoch, seed, out, why, why_len);
	crypto_wipe(seed, sizeof seed);
	return r;
}

int
signer_keys_make(const char *path, const char *origin, uint64_t epoch,
    struct buf *vkey, char *why, size_t why_len)
{
	struct signer_public key, next;

	if (make_key(path, "key", origin, epoch, &key, why, why_len) != 0 ||
	    make_key(path, "next", origin, epoch + 1, &next, why, why_len) != 0)
		return -1;
	note_put_vkey(vkey, view_text(origin), key.public);
	return vkey->failed ? fail(why, why_len, "out of memory") : 0;
}

/* ---- reading ---- */

static int
read_file(
    const struct signer_keys *k, const char *name, size_t max, struct buf *out)
{
	int fd = openat(k->dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	int r, saved;

	if (fd < 0)
		return -1;
	/* In one piece: a buffer that grows leaves copies behind. */
	r = buf_reserve(out, max + 32768) ? file_read_fd(fd, max, out) : -1;
	saved = errno;
	(void)close(fd); /* only read from */
	errno = saved;
	return r;
}

/* The two lines of a key file. */
static bool
parse_key(struct view text, struct view *name, uint64_t *epoch, uint32_t *id,
    uint8_t seed[CRYPTO_SEED_LEN])
{
	const uint8_t *end = text.n == 0 ? NULL : memchr(text.p, '\n', text.n);
	size_t word = strlen(EPOCH_WORD);
	struct view rest;

	if (end == NULL || text.p[text.n - 1] != '\n')
		return false;
	rest = view_of(end + 1, text.n - (size_t)(end + 1 - text.p));
	if (rest.n < word + 2 || memcmp(rest.p, EPOCH_WORD, word) != 0)
		return false;
	return view_to_u64(view_of(rest.p + word, rest.n - word - 1), epoch) &&
	    note_parse_skey(
		view_of(text.p, (size_t)(end - text.p)), name, id, seed);
}

/*
 * Reads one key: 1, 0 when there is no such file, or -1. Its origin must be
 * that of those before. key NULL: only the public half is of interest.
 */
static int
read_key(struct signer_keys *k, const char *file, struct signer_public *out,
    struct crypto_key **key, char *why, size_t why_len)
{
	uint8_t seed[CRYPTO_SEED_LEN];
	struct crypto_key *made = NULL;
	struct view name;
	struct buf text;
	uint32_t id;
	int r = 1;

	memset(out, 0, sizeof *out);
	buf_init(&text);
	if (read_file(k, file, KEY_MAX, &text) != 0) {
		r = errno == ENOENT
		    ? 0
		    : fail_at(k, file, strerror(errno), why, why_len);
	} else if (!parse_key(buf_view(&text), &name, &out->epoch, &id, seed) ||
	    (made = crypto_key_new(seed)) == NULL) {
		r = fail_at(k, file, "not a signing key", why, why_len);
	} else {
		crypto_key_public(made, out->public);
		out->there = true;
		if (note_key_id(name, out->public) != id)
			r = fail_at(
			    k, file, "key and id do not agree", why, why_len);
		else if (k->origin == NULL)
			k->origin = view_dup(name);
		else if (!view_is(name, k->origin))
			r = fail_at(
			    k, file, "a key of another origin", why, why_len);
	}
	crypto_wipe(seed, sizeof seed);
	wipe_buf(&text);
	if (r == 1 && key != NULL)
		*key = made;
	else
		crypto_key_free(made);
	return r;
}

/* Whether a file of a folder is the key of that digest, and its seed. */
static bool
find_seed(const char *from, const char *name,
    const uint8_t announced[CRYPTO_SHA256_LEN], uint8_t seed[CRYPTO_SEED_LEN])
{
	struct signer_public found = {.there = false};
	struct crypto_key *key = NULL;
	char *file = file_join(from, name);
	uint8_t digest[CRYPTO_SHA256_LEN];
	struct view origin;
	struct buf text;
	uint64_t epoch;
	uint32_t id;
	bool same = false;

	buf_init(&text);
	if (file != NULL && buf_reserve(&text, KEY_MAX + 32768) &&
	    file_read(file, KEY_MAX, &text) == 0 &&
	    parse_key(buf_view(&text), &origin, &epoch, &id, seed) &&
	    (key = crypto_key_new(seed)) != NULL) {
		crypto_key_public(key, found.public);
		signer_keys_digest(&found, digest);
		same = memcmp(digest, announced, sizeof digest) == 0;
	}
	wipe_buf(&text);
	crypto_key_free(key);
	free(file);
	return same;
}

int
signer_keys_follow(const char *path, const char *origin, const char *from,
    const uint8_t announced[CRYPTO_SHA256_LEN], struct buf *vkey, char *why,
    size_t why_len)
{
	struct signer_public key, next;
	uint8_t seed[CRYPTO_SEED_LEN];
	int r;

	if (!find_seed(from, "next", announced, seed) &&
	    !find_seed(from, "after", announced, seed) &&
	    !find_seed(from, "key", announced, seed))
		crypto_random(seed, sizeof seed);
	r = put_key(path, "key", origin, 0, seed, &key, why, why_len);
	crypto_wipe(seed, sizeof seed);
	if (r != 0 ||
	    make_key(path, "next", origin, 1, &next, why, why_len) != 0)
		return -1;
	note_put_vkey(vkey, view_text(origin), key.public);
	return vkey->failed ? fail(why, why_len, "out of memory") : 0;
}

static bool
exists(const struct signer_keys *k, const char *name)
{
	return faccessat(k->dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static int
read_all(struct signer_keys *k, char *why, size_t why_len)
{
	int r;

	crypto_key_free(k->key);
	k->key = NULL;
	if ((r = read_key(k, "key", &k->now, &k->key, why, why_len)) < 0)
		return -1;
	if (r == 0)
		return fail(why, why_len,
		    "%s/key: %s; nothing can be signed without it. Put the "
		    "folder's newest copy back, or go on with new keys: "
		    "chancery recover --new-incarnation --reason signer",
		    k->path, strerror(ENOENT));
	if ((r = read_key(k, "next", &k->next, NULL, why, why_len)) <= 0)
		return r < 0
		    ? -1
		    : fail_at(k, "next", strerror(ENOENT), why, why_len);
	if (read_key(k, "after", &k->after, NULL, why, why_len) < 0)
		return -1;
	if (k->origin == NULL)
		return fail(why, why_len, "out of memory");
	if (k->next.epoch != k->now.epoch + 1 ||
	    (k->after.there && k->after.epoch != k->now.epoch + 2))
		return fail(why, why_len,
		    "%s: the keys in it are not of epochs that follow each "
		    "other: files of different times",
		    k->path);
	buf_clear(&k->closing);
	if (read_file(k, "closing", NOTE_MAX, &k->closing) != 0 &&
	    errno != ENOENT)
		return fail_at(k, "closing", strerror(errno), why, why_len);
	return 0;
}

/* ---- erasing ---- */

/* Overwritten before it is unlinked; what the disk keeps is beyond us. */
static int
erase(const struct signer_keys *k, const char *name)
{
	static const uint8_t zeros[4096];
	int fd = openat(k->dir, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
	struct stat st;
	int r = 0;

	if (fd < 0)
		return errno == ENOENT ? 0 : -1;
	if (fstat(fd, &st) != 0)
		r = -1;
	for (off_t at = 0; r == 0 && at < st.st_size;) {
		off_t left = st.st_size - at;
		ssize_t n = pwrite(fd, zeros,
		    left < (off_t)sizeof zeros ? (size_t)left : sizeof zeros,
		    at);

		if (n > 0)
			at += n;
		else if (n == 0 || errno != EINTR)
			r = -1;
	}
	if (r == 0 && fsync(fd) != 0)
		r = -1;
	(void)close(fd); /* fsync told */
	if (r == 0 && (unlinkat(k->dir, name, 0) != 0 || fsync(k->dir) != 0))
		r = -1;
	return r;
}

/* "key.aB3xYz": what file_create() and file_replace() leave at a crash. */
static bool
is_temporary(const char *name)
{
	static const char *const files[] = {
	    "key", "next", "after", "state", "closing"};

	for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
		size_t n = strlen(files[i]);

		if (strncmp(name, files[i], n) == 0 && name[n] == '.' &&
		    strlen(name + n + 1) == 6)
			return true;
	}
	return false;
}

static int
erase_temporaries(const struct signer_keys *k)
{
	int fd = openat(k->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	const struct dirent *e;
	int r = 0;

	if (d == NULL) {
		if (fd >= 0)
			(void)close(fd); /* nothing was done with it */
		return -1;
	}
	// cppcheck-suppress readdirCalled ; one thread in each process
	while ((e = readdir(d)) != NULL)
		if (is_temporary(e->d_name) && erase(k, e->d_name) != 0)
			r = -1;
	(void)closedir(d); /* only read from */
	return r;
}

/* ---- from one key to the next ---- */

/*
 * Without a crash: key becomes old, next becomes key, after becomes next.
 * Each step is left out when it is done already; the first is taken only when
 * there is a key after the next, which the last one takes away.
 */
static int
take_steps(struct signer_keys *k, char *why, size_t why_len)
{
	static const struct {
		const char *from, *to;
	} steps[] = {{"key", "old"}, {"next", "key"}, {"after", "next"}};

	for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
		if (!exists(k, steps[i].from) || exists(k, steps[i].to) ||
		    (i == 0 && !exists(k, "after")))
			continue;
		/* Synced before the next: a disk may take the last one first. */
		if (renameat2(k->dir, steps[i].from, k->dir, steps[i].to,
			RENAME_NOREPLACE) != 0 ||
		    fsync(k->dir) != 0)
			return fail_at(
			    k, steps[i].from, strerror(errno), why, why_len);
	}
	if (erase(k, "old") != 0)
		return fail_at(k, "old", strerror(errno), why, why_len);
	return 0;
}

int
signer_keys_advance(struct signer_keys *k, char *why, size_t why_len)
{
	if (!k->moving && !k->after.there)
		return fail(why, why_len, "%s: no key is made ready", k->path);
	k->moving = true;
	if (take_steps(k, why, why_len) != 0 || read_all(k, why, why_len) != 0)
		return -1;
	k->moving = false;
	return 0;
}

int
signer_keys_prepare(struct signer_keys *k, char *why, size_t why_len)
{
	if (k->after.there)
		return 0;
	memset(&k->after, 0, sizeof k->after);
	if (make_key(k->path, "after", k->origin, k->now.epoch + 2, &k->after,
		why, why_len) == 0)
		return 0;
	k->after.there = false;
	return -1;
}

int
signer_keys_put_closing(
    struct signer_keys *k, struct view note, char *why, size_t why_len)
{
	char *file = file_join(k->path, "closing");
	int r = -1;

	if (file == NULL)
		(void)fail(why, why_len, "out of memory");
	else if ((r = file_replace(file, note, 0600)) != 0)
		(void)fail(why, why_len, "%s: %s", file, strerror(errno));
	free(file);
	return r;
}

/* Whether the present key has signed its last checkpoint already. */
static bool
is_closed(const struct signer_keys *k)
{
	struct note_vkey key = {.name = view_text(k->origin)};
	struct note note;
	const char *reason;

	memcpy(key.public, k->now.public, sizeof key.public);
	key.id = note_key_id(key.name, key.public);
	return k->after.there && k->closing.len > 0 &&
	    note_parse(buf_view(&k->closing), &note, &reason) &&
	    note_verify(&note, &key, &reason);
}

int
signer_keys_open(
    struct signer_keys *k, const char *path, char *why, size_t why_len)
{
	memset(k, 0, sizeof *k);
	k->path = strdup(path);
	k->dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (k->path == NULL)
		return fail(why, why_len, "out of memory");
	if (k->dir < 0)
		return fail(why, why_len, "%s: %s", path, strerror(errno));
	if (flock(k->dir, LOCK_EX | LOCK_NB) != 0)
		return fail(why, why_len,
		    "%s: another signer uses it. Two signers would sign two "
		    "histories: end the other one first",
		    path);
	/* What a failure left here without its sync is counted upon now. */
	if (erase_temporaries(k) != 0 || fsync(k->dir) != 0)
		return fail(why, why_len, "%s: %s", path, strerror(errno));
	if (exists(k, "old")) {
		k->moving = true;
		return signer_keys_advance(k, why, why_len);
	}
	if (read_all(k, why, why_len) != 0)
		return -1;
	return is_closed(k) ? signer_keys_advance(k, why, why_len) : 0;
}

void
signer_keys_close(struct signer_keys *k)
{
	if (k->dir >= 0)
		(void)close(k->dir); /* only a lock */
	crypto_key_free(k->key);
	buf_release(&k->closing);
	free(k->origin);
	free(k->path);
	memset(k, 0, sizeof *k);
	k->dir = -1;
}

void
signer_keys_digest(
    const struct signer_public *p, uint8_t out[CRYPTO_SHA256_LEN])
{
	crypto_sha256(p->public, sizeof p->public, out);
}

void
signer_keys_put_vkey(
    const struct signer_keys *k, const struct signer_public *p, struct buf *b)
{
	note_put_vkey(b, view_text(k->origin), p->public);
}
